"""The table of services and the page of one."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import Action, Freeze, ServiceStatus, Tick
from inventory.models import Policy
from tests import factories
from tests.pages.reading import words


@pytest.fixture
def now() -> datetime:
    return timezone.now()


@pytest.fixture
def reader(client: Client, db: None, now: datetime) -> Client:  # noqa: ARG001
    client.force_login(User.objects.create_user("ana", password="a long enough phrase"))
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    return client


def seen(slug: str, now: datetime) -> None:
    status = ServiceStatus.objects.get(service__slug=slug)
    for signal in status.signals.values():
        signal["measured_at_s"] = now.timestamp()
    status.observed_at = now
    status.save()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        pytest.param("", ["agents", "chat", "search"], id="all"),
        pytest.param("?text=CHA", ["chat"], id="by text, any case"),
        pytest.param("?mode=observe", ["search"], id="by mode"),
        pytest.param("?mode=frozen", ["agents"], id="frozen"),
        pytest.param("?cluster=us-2-b", ["chat"], id="by cluster"),
        pytest.param("?mode=nonsense", ["agents", "chat", "search"], id="unknown mode: no filter"),
    ],
)
def test_the_table_is_narrowed_by_the_address(
    reader: Client, now: datetime, query: str, found: list[str]
) -> None:
    agents = factories.make_service("agents")
    factories.make_service("chat", cluster=factories.make_cluster("us-2-b"))
    factories.make_service("search", mode="observe")
    Freeze.objects.create(service=agents, by_name="ana", reason="incident", since=now)
    page = reader.get(f"/services/{query}").text
    told = [slug for slug in ("agents", "chat", "search") if f'href="/services/{slug}/"' in page]
    assert told == found


def test_three_kinds_of_empty(reader: Client) -> None:
    assert "No service yet" in reader.get("/services/").text
    factories.make_service("chat")
    none_match = reader.get("/services/?text=nowhere").text
    assert "None of 1 services matches" in none_match
    assert "text “nowhere”" in none_match
    assert "No service is frozen now" in reader.get("/services/?mode=frozen").text


def test_only_the_table_is_fetched_again(reader: Client) -> None:
    factories.make_service("chat")
    first = reader.get("/services/", headers={"HX-Request": "true"})
    assert "<html" not in first.text
    given = {"HX-Request": "true", "If-None-Match": first["ETag"]}
    assert reader.get("/services/", headers=given).status_code == 304


@pytest.mark.parametrize("services", [1, 3])
def test_the_table_costs_the_same_for_any_fleet(
    reader: Client, django_assert_num_queries: DjangoAssertNumQueries, services: int
) -> None:
    for i in range(services):
        factories.make_decision(factories.make_service(f"service-{i}"))
    reader.get("/services/")
    # session, person, preferences, 5 for the strip, 4 for the rows, clusters, 2 of permissions
    with django_assert_num_queries(18):
        reader.get("/services/")


def test_the_head_says_the_state_in_words(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat")
    factories.make_decision(service)
    seen("chat", now)
    ServiceStatus.objects.filter(service=service).update(decode_starting=2, decode_desired=6)
    page = reader.get("/services/chat/").text
    assert "<b>2</b> starting · <b>6</b> desired" in page
    assert "band 0.38–0.62" in page
    assert "975 tok/s per decode instance is within ±10 % of 1,000." in page
    # 2 prefill and 4 + 2 decode instances of 2 GPUs
    assert '16<span class="of"> of 400</span>' in page
    assert "next look in" in page


def test_who_is_held_is_counted_and_explained(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat")
    factories.make_decision(service)
    seen("chat", now)
    ServiceStatus.objects.filter(service=service).update(decode_held=2, decode_desired=6)
    page = reader.get("/services/chat/").text
    assert "<b>2</b> held · <b>6</b> desired" in page
    assert "held: up, and not registered before the other role catches up" in page
    # A held instance has its GPUs: 2 prefill and 4 + 2 decode instances of 2.
    assert '16<span class="of"> of 400</span>' in page
    assert "2 held</span>" in reader.get("/services/").text


def test_a_service_without_metrics_says_what_it_waits_for(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat")
    ServiceStatus.objects.filter(service=service).update(signals={}, observed_at=now)
    page = reader.get("/services/chat/").text
    assert "No metrics yet." in page
    assert "Expected decode_tps" in page


def test_watching_only_counts_what_would_have_applied(reader: Client) -> None:
    service = factories.make_service("chat", mode="observe")
    factories.make_decision(service)
    factories.make_decision(service, move="scale_out", gate="record", count=3)
    page = reader.get("/services/chat/").text
    # one hold, and three alike that share a row
    assert "4 decisions recorded" in page
    assert "3 would have applied" in page


@pytest.mark.parametrize("has_status", [True, False])
def test_what_was_never_observed_is_not_told_as_zero(reader: Client, *, has_status: bool) -> None:
    service = factories.make_service("chat")
    status = ServiceStatus.objects.filter(service=service)
    status.update(observed_at=None, prefill_ready=0, decode_ready=0)
    if not has_status:
        status.delete()
    page = words(reader.get("/services/chat/").text)
    held = page[page.index("GPUs held") :][:60]
    assert "prefill — H800" in held
    assert "decode — H800" in held


def test_gpus_held_long_ago_say_when(reader: Client) -> None:
    factories.make_service("chat")
    page = words(reader.get("/services/chat/").text)
    # 4 decode instances of 2 GPUs, last seen long ago
    assert "decode 8 H800 as of" in page


def test_a_frozen_service_offers_to_resume(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat")
    Freeze.objects.create(service=service, by_name="ana", reason="incident 8812", since=now)
    page = reader.get("/services/chat/").text
    assert "<b>chat is frozen</b> by ana" in page
    assert "/services/chat/resume/" in page
    assert 'id="freeze-service"' not in page


def test_the_freeze_sheet_is_for_those_who_may(reader: Client) -> None:
    factories.make_service("chat")
    assert 'id="freeze-service"' not in reader.get("/services/chat/").text
    User.objects.get().user_permissions.add(Permission.objects.get(codename="freeze"))
    page = reader.get("/services/chat/").text
    assert 'action="/services/chat/freeze/"' in page


def test_an_open_proposal_is_shown_where_it_can_be_decided(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat", mode="approve")
    proposal = factories.make_proposal(service, expires_at=now + timedelta(minutes=5))
    assert f'id="proposal-{proposal.pk}"' in reader.get("/services/chat/").text


def test_actions_tell_how_long_each_step_took(reader: Client, now: datetime) -> None:
    service = factories.make_service("chat")
    Action.objects.create(
        id=uuid.uuid4(),
        service=service,
        actor="policy proportional, revision 1",
        epoch=1,
        state="ready",
        reason="over target",
        from_prefill=2,
        from_decode=4,
        to_prefill=3,
        to_decode=6,
        resource_version="1",
        recorded_at=now,
        sent_at=now + timedelta(seconds=1),
        applied_at=now + timedelta(seconds=3),
        ready_at=now + timedelta(seconds=61),
    )
    page = reader.get("/services/chat/").text
    assert "Decode 4 → 6, prefill 2 → 3" in page
    assert "ready <b>+58 s</b>" in page


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("", "service=chat&amp;range=3h"),
        ("?range=24h", "service=chat&amp;range=24h"),
        ("?range=9y", "service=chat&amp;range=3h"),
        ("?from=2026-03-01T10:00&to=2026-03-01T11:00", "from=2026-03-01T10%3A00"),
    ],
)
def test_the_range_lives_in_the_address(reader: Client, query: str, params: str) -> None:
    factories.make_service("chat")
    assert params in reader.get(f"/services/chat/{query}").text


@pytest.mark.parametrize("panel", ["now", "decisions", "actions"])
def test_a_panel_is_sent_once(reader: Client, panel: str) -> None:
    factories.make_decision(factories.make_service("chat"))
    address = f"/services/chat/panel/{panel}/"
    first = reader.get(address)
    again = reader.get(address, headers={"If-None-Match": first["ETag"]})
    assert (first.status_code, again.status_code) == (200, 304)


@pytest.mark.parametrize("address", ["/services/nowhere/", "/services/chat/panel/weather/"])
def test_what_is_not_there_is_not_found(reader: Client, address: str) -> None:
    factories.make_service("chat")
    assert reader.get(address).status_code == 404


@pytest.mark.parametrize(
    ("adapt", "forecast", "said"),
    [
        pytest.param("automatic", {"ratio": 0.62, "target": 820.0}, ("820", "0.62"), id="both"),
        pytest.param("automatic", {"ratio": 0.62, "target": None}, ("1,000", "0.62"), id="ratio"),
        pytest.param("automatic", {"ratio": None, "target": None}, None, id="not measured"),
        pytest.param("automatic", None, None, id="nothing reckoned"),
        pytest.param("propose", {"ratio": 0.62, "target": 820.0}, None, id="only suggested"),
    ],
)
def test_target_and_ratio_in_use_stand_beside_the_configured_ones(
    reader: Client, adapt: str, forecast: object, said: tuple[str, str] | None
) -> None:
    chat = factories.make_service("chat")
    Policy.objects.update(adapt=adapt)
    factories.make_decision(chat, forecast=forecast)
    for address in ("/services/chat/", "/services/chat/policy/"):
        page = words(reader.get(address).content.decode())
        assert ("; in use" in page) is (said is not None)
        if said is not None:
            target, ratio = said
            assert f"in use {target}" in page
            assert f"in use {ratio}" in page
