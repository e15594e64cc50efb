"""The overview: what needs a person, worst first, and what it says when nothing does."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import Action, Breaker, Freeze, Rearrangement, Sample, ServiceStatus, Tick
from controller.selectors.attention import read_broken_glass
from controller.selectors.overview import read_recent_decisions, read_state
from controller.selectors.sparklines import BINS, bin_start, draw, read_sparklines
from controller.selectors.strip import StripState, read_strip
from inventory.models import Service
from tests import factories


@pytest.fixture
def person(db: None) -> User:  # noqa: ARG001 - the fixture opens the database
    return User.objects.create_superuser("ana", password="a long enough phrase")


@pytest.fixture
def signed_in(client: Client, person: User) -> Client:
    client.force_login(person)
    return client


@pytest.fixture
def now() -> datetime:
    return timezone.now()


def tick(now: datetime) -> Tick:
    return Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)


def running(slug: str, now: datetime, **signals: float) -> Service:
    """A service that was observed just now, within its SLO unless told otherwise."""
    service = factories.make_service(slug)
    told = {"decode_tps": 3900.0, "ttft_s": 0.4, "tbt_s": 0.03} | signals
    ServiceStatus.objects.filter(service=service).update(
        observed_at=now,
        signals={
            name: {
                "value": value,
                "unit": "",
                "quality": "ok",
                "measured_at_s": now.timestamp(),
                "reporting": 4,
                "expected": 4,
            }
            for name, value in told.items()
        },
    )
    return service


def change(service: Service, **fields: object) -> Action:
    now = timezone.now()
    given = {
        "id": uuid.uuid4(),
        "actor": "policy proportional, revision 1",
        "epoch": 1,
        "state": "failed",
        "reason": "over target",
        "from_prefill": 2,
        "from_decode": 4,
        "to_prefill": 2,
        "to_decode": 5,
        "resource_version": "1",
        "recorded_at": now,
        "error": "409 Conflict",
    }
    return Action.objects.create(service=service, **given | fields)


def sentences(person: User, now: datetime) -> list[str]:
    items = read_state(strip(person, now), now).attention.items
    return [f"{item.subject} {item.sentence}" for item in items]


def strip(person: User, now: datetime) -> StripState:
    return read_strip(person, now)


def test_a_calm_fleet_is_told_so(signed_in: Client, now: datetime) -> None:
    tick(now)
    service = running("chat", now)
    ServiceStatus.objects.filter(service=service).update(
        last_scale_out_at=now - timedelta(minutes=41)
    )
    page = signed_in.get("/").text
    assert "The one service is within SLO." in page
    assert "41 min ago" in page


def test_a_breach_comes_first_with_its_proposal(person: User, now: datetime) -> None:
    tick(now)
    failed = running("agents", now)
    change(failed)
    slow = running("chat", now, ttft_s=1.9)
    ServiceStatus.objects.filter(service=slow).update(ttft_breach_since=now)
    factories.make_proposal(slow, expires_at=now + timedelta(minutes=5))
    assert sentences(person, now) == [
        "chat TTFT p95 1.9 s against 1.0 s. Decode 4 → 6, prefill 2 → 3 is proposed.",
        "agents could not be changed: 409 Conflict.",
    ]


def test_every_source_has_its_line(person: User, now: datetime) -> None:
    tick(now)
    running("calm", now)
    unanswered = running("unanswered", now)
    change(unanswered, state="unknown", error="")
    stale = running("stale", now)
    ServiceStatus.objects.filter(service=stale).update(observed_at=now - timedelta(minutes=4))
    asking = running("asking", now)
    factories.make_proposal(asking, expires_at=now + timedelta(minutes=5))
    blocked = running("blocked", now)
    factories.make_decision(blocked, move="blocked", sentence="Wanted decode 24 → 18.")
    factories.make_suggestion(running("advised", now))
    frozen = running("frozen", now)
    Freeze.objects.create(service=frozen, by_name="ana", reason="incident 8812", since=now)
    assert sentences(person, now) == [
        "unanswered has a change that was sent and not answered: its outcome is unknown.",
        "stale has not been observed for two ticks; its numbers are old.",
        "asking decode 4 → 6, prefill 2 → 3 is proposed.",
        "blocked Wanted decode 24 → 18.",
        (
            "advised could have another policy: P/D ratio 0.5 → 0.62, "
            "target 1,000 → 1,200 tok/s per instance is suggested."
        ),
        "frozen is frozen by ana: incident 8812.",
    ]


def test_an_exchange_is_proposed_with_both_its_halves(person: User, now: datetime) -> None:
    tick(now)
    halves = {"to_prefill": 1, "to_decode": 4, "then_prefill": 1, "then_decode": 5}
    service = running("chat", now)
    factories.make_proposal(service, expires_at=now + timedelta(minutes=5), **halves)
    assert sentences(person, now) == ["chat prefill 2 → 1, then decode 4 → 5 is proposed."]


def test_a_suggestion_is_reviewed_on_its_own_page(person: User, now: datetime) -> None:
    tick(now)
    service = running("chat", now)
    open_one = factories.make_suggestion(service)
    over = now - timedelta(seconds=1)
    factories.make_suggestion(running("agents", now), expires_at=over)
    (item,) = read_state(strip(person, now), now).attention.items
    assert (item.address, item.button) == (f"/approvals/suggestions/{open_one.pk}/", "Review…")


def test_a_stopped_loop_is_above_all(person: User, now: datetime) -> None:
    running("chat", now, ttft_s=1.9)
    assert sentences(person, now)[0] == "The loop is stopped: the loop has not run yet."


def test_at_most_seven_lines_and_the_rest_counted(person: User, now: datetime) -> None:
    tick(now)
    for i in range(9):
        running(f"service-{i}", now, ttft_s=1.9)
    attention = read_state(strip(person, now), now).attention
    assert (len(attention.items), attention.more) == (7, 2)
    assert attention.heading == "9 services are over their SLO"


def test_old_numbers_are_not_told_as_now(signed_in: Client, now: datetime) -> None:
    tick(now)
    service = running("chat", now)
    then = now - timedelta(minutes=4)
    ServiceStatus.objects.filter(service=service).update(observed_at=then)
    page = signed_in.get("/").text
    assert "prefill 2, decode 4 as of" in page
    assert "4 min ago" in page


@pytest.mark.parametrize("services", [1, 3])
def test_the_overview_costs_the_same_for_any_fleet(
    signed_in: Client,
    now: datetime,
    django_assert_num_queries: DjangoAssertNumQueries,
    services: int,
) -> None:
    tick(now)
    for i in range(services):
        service = running(f"service-{i}", now)
        factories.make_decision(service, move="scale_out")
        factories.make_samples(service, until=now)
        change(service)
        factories.make_suggestion(service)
        factories.make_outside(service)
    signed_in.get("/")
    # session, person, preferences, 6 for the strip, 5 for the rows, actions, suggestions,
    # changes from outside, silent endpoints, dark clusters, pools, decisions
    with django_assert_num_queries(25):
        assert signed_in.get("/").status_code == 200


def test_without_services_it_is_a_checklist(signed_in: Client) -> None:
    page = signed_in.get("/").text
    assert "No service yet" in page
    assert "/admin/inventory/service/add/" in page


@pytest.mark.parametrize("panel", ["attention", "services", "pools", "decisions"])
def test_a_panel_is_sent_once(signed_in: Client, now: datetime, panel: str) -> None:
    tick(now)
    running("chat", now)
    first = signed_in.get(f"/overview/{panel}/")
    again = signed_in.get(f"/overview/{panel}/", headers={"If-None-Match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")


def test_there_is_no_other_panel(signed_in: Client) -> None:
    assert signed_in.get("/overview/weather/").status_code == 404


def test_a_stranger_is_asked_to_sign_in(client: Client, db: None) -> None:  # noqa: ARG001
    assert client.get("/")["Location"] == "/sign-in/?next=/"


@pytest.mark.parametrize(
    ("values", "stretches"),
    [
        pytest.param([0.0, 1.0, 2.0], 1, id="one unbroken line"),
        pytest.param([1.0, 1.0, None, 1.0, 1.0], 2, id="a gap is not bridged"),
        pytest.param([1.0, None, 1.0], 2, id="single points are short dashes"),
    ],
)
def test_gaps_are_not_connected(values: list[float | None], stretches: int) -> None:
    line = draw(values)
    assert line is not None
    assert len(line.stretches) == stretches


def test_nothing_measured_draws_nothing() -> None:
    assert draw([None, None]) is None


def test_sixty_services_stay_within_the_page_s_budget(signed_in: Client, now: datetime) -> None:
    # Product 2.8: 120 kB of HTML. The worst come first, so what is left out is no worse.
    for i in range(60):
        service = running(f"service-with-a-name-{i:02}", now)
        factories.make_samples(service, until=bin_start(now), count=720)
    text = signed_in.get("/").content.decode()
    assert "20 more services" in text
    assert len(text) < 120_000


@pytest.mark.django_db
def test_sparklines_are_thinned_by_the_database(
    now: datetime, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    services = [factories.make_service(f"service-{i}") for i in range(3)]
    for service in services:
        factories.make_samples(service, until=bin_start(now), count=720)
    Sample.objects.filter(service=services[2]).update(decode_tps=None)
    with django_assert_num_queries(1):
        lines = read_sparklines([service.pk for service in services], bin_start(now))
    assert set(lines) == {services[0].pk, services[1].pk}
    assert len(lines[services[0].pk].stretches[0].split()) == BINS


@pytest.mark.parametrize(
    ("code", "shown"),
    [("COOLDOWN", False), ("FLAP_PREVENTED", False), ("NO_CAPACITY_SKU", True), ("AT_MAX", True)],
)
def test_a_wait_that_passes_by_itself_needs_nobody(
    person: User, now: datetime, code: str, *, shown: bool
) -> None:
    tick(now)
    factories.make_decision(
        running("chat", now), move="blocked", code=code, sentence="Wanted decode 4 → 6."
    )
    assert sentences(person, now) == (["chat Wanted decode 4 → 6."] if shown else [])
    listed = [line.code for line in read_recent_decisions()]
    assert listed == ([code] if shown else [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("hours", "told"), [pytest.param(23, True, id="23 h"), pytest.param(25, False, id="25 h")]
)
def test_a_broken_glass_is_told_for_a_day_a11(now: datetime, hours: int, *, told: bool) -> None:
    proposal = factories.make_proposal(
        factories.make_service(), state="applied", is_break_glass=True,
        decided_at=now - timedelta(hours=hours), decided_reason="users wait",
    )  # fmt: skip

    found = [f"{row.service} {row.pk}" for row in read_broken_glass(now)]

    assert found == ([f"{proposal.service} {proposal.pk}"] if told else [])


def test_what_is_critical_stands_before_what_warns(person: User, now: datetime) -> None:
    tick(now)
    code = running("a-code", now)
    factories.make_proposal(
        code, state="applied", is_break_glass=True, decided_at=now, decided_reason="down"
    )
    Breaker.objects.create(service=running("chat", now), opened_at=now, cause="x")
    items = read_state(strip(person, now), now).attention.items
    assert [(item.tone, item.subject) for item in items] == [("crit", "chat"), ("warn", "a-code")]


@pytest.mark.parametrize(("decides", "button"), [(True, "Decide…"), (False, "Look…")])
def test_who_may_not_decide_on_moves_is_asked_to_look(
    person: User, now: datetime, button: str, *, decides: bool
) -> None:
    tick(now)
    Rearrangement.objects.create(
        service=running("chat", now), kind="room", key="1", sentence="Move 1.", touched="",
        body={"moves": [], "shrinks": []}, inventory_version=1,
        created_at=now, evidence_at=now, expires_at=now + timedelta(minutes=5),
    )  # fmt: skip
    (item,) = read_state(strip(person, now), now, lambda _row: decides).attention.items
    assert item.button == button
