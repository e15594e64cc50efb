"""A database that was restored may be behind a cluster's epoch; a person raises it (D04)."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from controller.models import AuditEvent, ControllerLease, ServiceSight
from controller.services import leadership
from controller.services.errors import NotLeadingError
from tests.factories import make_service

pytestmark = pytest.mark.django_db


def epoch(*words: str) -> str:
    out = StringIO()
    call_command("epoch", *words, stdout=out)
    return out.getvalue()


def sight(slug: str, *epochs: int | str | None) -> None:
    """Write what the watcher saw of a service: a workload for each epoch, or why there is none."""
    workloads = [
        {
            "ref": {"plural": "deployments", "namespace": "llm", "name": f"{slug}-{at}"},
            "seen": found if isinstance(found, str) else {"epoch": found},
            "pods": [],
        }
        for at, found in enumerate(epochs)
    ]
    body: dict[str, Any] = {"workloads": workloads, "rivals": []}
    ServiceSight.objects.create(service=make_service(slug), changed_at=timezone.now(), body=body)


def test_without_a_lease_and_without_clusters_it_is_the_beginning() -> None:
    assert json.loads(epoch("--json")) == {"database": 0, "clusters": [], "needed": None}
    assert "No cluster is ahead" in epoch()


@pytest.mark.parametrize(
    ("stamped", "highest", "needed"),
    [
        pytest.param((1,), 1, None, id="written under the epoch of now"),
        pytest.param((7, 3), 7, 8, id="7 is ahead of 1: at least 8"),
        pytest.param((0, None, "it is gone"), None, None, id="never written, or not readable"),
    ],
)
def test_what_clusters_carry_is_compared(
    stamped: tuple[int | str | None, ...], highest: int | None, needed: int | None
) -> None:
    leadership.take("tick 1", seconds=60.0)
    sight("chat", *stamped)
    found = json.loads(epoch("--json"))
    assert (found["database"], found["needed"]) == (1, needed)
    assert [one["epoch"] for one in found["clusters"]] == ([highest] if highest else [])
    said = epoch()
    assert (f"--at-least {needed}" in said) is (needed is not None)
    if highest:
        assert f"epoch {highest}, seen on deployments llm/chat-0." in said


def test_a_raise_is_audited_and_takes_the_lease_from_whoever_holds_it() -> None:
    held = leadership.take("tick 1", seconds=60.0)
    assert held is not None
    said = epoch("--at-least", "42", "--by", "ana", "--reason", "restored the backup of 03:00")
    assert "Database: epoch 42." in said

    with pytest.raises(NotLeadingError):
        leadership.confirm(held)
    following = leadership.take("tick 2", seconds=60.0)
    assert following is not None
    assert following.epoch == 43
    event = AuditEvent.objects.get(verb="raised the epoch")
    assert (event.actor, event.reason) == ("ana", "restored the backup of 03:00")
    assert (event.before, event.after) == ({"epoch": 1}, {"epoch": 42})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--at-least", "5"), "--reason: Say why", id="no reason"),
        pytest.param(("--at-least", "5", "--reason", " "), "--reason: Say why", id="a blank"),
        pytest.param(("--at-least", "1", "--reason", "x"), "is 1 already", id="the present one"),
        pytest.param(("--at-least", "0", "--reason", "x"), "from 1 to", id="back to nothing"),
        pytest.param(("--at-least", "-3", "--reason", "x"), "from 1 to", id="before that"),
        pytest.param(("--at-least", f"{10**16}", "--reason", "x"), "from 1 to", id="a slip"),
        pytest.param(("--reason", "x"), "--at-least: Nothing", id="a reason for nothing"),
    ],
)
def test_it_never_goes_back_and_never_without_a_reason(words: tuple[str, ...], says: str) -> None:
    leadership.take("tick 1", seconds=60.0)
    for more in ((), ("--json",)):
        with pytest.raises(CommandError, match=says) as refusal:
            epoch(*words, *more)
        assert refusal.value.returncode == 2
    assert ControllerLease.objects.get().epoch == 1
    assert not AuditEvent.objects.exists()


def test_a_migration_ends_the_lease_of_the_former_version() -> None:
    held = leadership.take("tick 1", seconds=60.0)
    assert held is not None
    leadership.end_all()
    with pytest.raises(NotLeadingError):
        leadership.confirm(held)
    assert leadership.current_epoch() == 2
