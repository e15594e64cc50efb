"""What pages say of changes whose instances are watched first, and of those that are half done."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.core.soft import Soft
from controller.models import Freeze, ServiceStatus, Tick
from controller.selectors.freezes import requests_outstanding
from inventory.models import Service
from tests.factories import make_cluster, make_service
from tests.loop.test_actions import make_action
from tests.pages.reading import reading

SOFT = Soft(("d-3", "d-2"), 0.0, window_s=60.0, drain_s=300.0)


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def reader(client: Client, db: None, now: datetime) -> Client:  # noqa: ARG001
    client.force_login(User.objects.create_user("ana", password="a long enough phrase"))
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    return client


def make_soft(service: Service, at: datetime, **fields: Any) -> None:
    soft = {**SOFT.plain(), "asked_s": at.timestamp(), **fields.pop("soft", {})}
    given = {"to_prefill": 2, "to_decode": 2, "state": "withdrawn", "soft": soft, "is_out": True}
    make_action(service, recorded_at=at - timedelta(seconds=2), **{**given, **fields})


def test_a_change_that_is_watched_says_who_is_out_and_what_comes(
    reader: Client, now: datetime
) -> None:
    make_soft(make_service(), now, soft={"out_s": now.timestamp()})
    page = reading(reader, "/services/chat/")
    assert "Decode 4 → 2 out of service discovery, watched" in page
    assert "recorded withdrawn +2 s sent … applied … ready …" in page
    assert (
        "d-3 and d-2 out of service discovery: watched for 60 s, then sent as soon as nothing is"
        " in flight, at the latest after 300 s more." in page
    )


def test_those_that_return_say_why(reader: Client, now: datetime) -> None:
    why = "TTFT p95 of 1.3 s is over its goal of 1 s."
    make_soft(make_service(), now, soft={"back": why, "back_s": now.timestamp()})
    assert f"d-3 and d-2 return: {why}" in reading(reader, "/services/chat/")


def test_who_could_not_be_watched_first_is_told(reader: Client, now: datetime) -> None:
    said = "Who of RoleBasedGroupScalingAdapter prod/chat (decode) goes is chosen by its operator."
    given = {"soft": None, "is_out": False, "state": "applied", "gone_at_once": said}
    make_action(make_service(), recorded_at=now, applied_at=now, **given)
    page = reading(reader, "/services/chat/")
    assert "not watched first" in page
    assert said in page


def test_a_half_done_change_is_told_as_that_and_needs_a_person(
    reader: Client, now: datetime
) -> None:
    said = "decode: quota exceeded"
    make_action(make_service(), state="partly", partly_at=now, sent_at=now, error=said)
    page = reading(reader, "/services/chat/")
    assert "half done" in page
    assert said in page
    overview = reading(reader, "/")
    assert "of which one half is done: it is finished or taken back" in overview


@pytest.mark.parametrize(
    ("fields", "outstanding"),
    [
        pytest.param({"state": "recorded", "is_out": False}, 0, id="recorded"),
        pytest.param({"state": "withdrawn"}, 1, id="withdrawn"),
        pytest.param({"state": "partly", "is_out": False}, 1, id="half done"),
        pytest.param({"state": "cancelled"}, 1, id="cancelled, somebody may be out"),
        pytest.param({"state": "cancelled", "is_out": False}, 0, id="cancelled"),
        pytest.param({"state": "applied"}, 0, id="applied: they go"),
    ],
)
def test_stopping_counts_what_can_still_change_a_cluster(
    reader: Client, now: datetime, fields: dict[str, Any], outstanding: int
) -> None:
    service = make_service()
    make_soft(service, now, **fields)
    Freeze.objects.create(by_name="ana", reason="incident", since=now)
    assert requests_outstanding(None) == outstanding
    words = "stopping: 1 request outstanding"
    assert (words in reading(reader, "/")) is bool(outstanding)


@pytest.mark.parametrize(
    ("kind", "mode", "told"),
    [
        pytest.param("kubernetes", "observe", True, id="only observed"),
        pytest.param("kubernetes", "automatic", False, id="automatic: they join"),
        pytest.param("simulated", "observe", False, id="the simulator registers its own"),
    ],
)
def test_instances_that_nobody_registers_need_a_person(
    reader: Client, now: datetime, kind: str, mode: str, *, told: bool
) -> None:
    make_service(cluster=make_cluster("c", kind), mode=mode)
    ServiceStatus.objects.update(observed_at=now, decode_held=2)
    said = "2 instances that are up and out of service discovery: while it is only observed"
    assert (said in reading(reader, "/")) is told
    page = reading(reader, "/services/chat/")
    assert ("while it is only observed nobody registers them" in page) is told
