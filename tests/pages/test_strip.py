"""The strip: what the controller is doing, from the rows it left behind."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from controller.models import Action, Breaker, ChainCheck, Freeze, Grant, SimulatedFleet, Tick
from controller.selectors.strip import (
    Fleet,
    FleetFreeze,
    FleetMode,
    LastTick,
    StripState,
    fleet_freeze,
    read_strip,
    strip_state,
)
from tests import factories
from tests.factories import NOW

CALM = Fleet(services=3, steered=3, frozen=0, breaching=0, waiting=0)


def ticked(age_s: float = 8, *, services: int = 3, fresh: int = 3, failures: int = 0) -> LastTick:
    return LastTick(NOW - timedelta(seconds=age_s), services, fresh, failures)


def judged(
    tick: LastTick | None, fleet: Fleet = CALM, freeze: FleetFreeze | None = None
) -> StripState:
    return strip_state(tick, fleet, freeze=freeze, simulation=None, now=NOW)


ANA = FleetFreeze("ana", "incident 8812", NOW - timedelta(minutes=4))
WATCHED = Fleet(services=3, steered=0, frozen=0, breaching=0, waiting=0)


@pytest.mark.parametrize(
    ("tick", "fleet", "freeze", "mode"),
    [
        pytest.param(ticked(), CALM, None, FleetMode.ACTING, id="fresh tick, steered services"),
        pytest.param(ticked(), WATCHED, None, FleetMode.ADVISORY, id="every service is observed"),
        pytest.param(ticked(), CALM, ANA, FleetMode.FROZEN, id="frozen by a person"),
        pytest.param(ticked(fresh=1), CALM, None, FleetMode.DEGRADED, id="1 of 3 fresh is < half"),
        pytest.param(ticked(fresh=2), CALM, None, FleetMode.ACTING, id="2 of 3 fresh is enough"),
        pytest.param(ticked(failures=2), CALM, None, FleetMode.DEGRADED, id="2 of 3 unanswered"),
        pytest.param(ticked(failures=1), CALM, None, FleetMode.ACTING, id="1 of 3 unanswered"),
        pytest.param(ticked(failures=3), CALM, ANA, FleetMode.FROZEN, id="freeze before failure"),
        pytest.param(ticked(59), CALM, None, FleetMode.ACTING, id="59 s is under 4 x 15 s"),
        pytest.param(ticked(60), CALM, None, FleetMode.STOPPED, id="60 s is 4 x 15 s"),
        pytest.param(ticked(60), CALM, ANA, FleetMode.STOPPED, id="stopped before frozen"),
        pytest.param(None, CALM, None, FleetMode.STOPPED, id="never ran"),
    ],
)
def test_the_mode_follows_the_rows(
    tick: LastTick | None, fleet: Fleet, freeze: FleetFreeze | None, mode: FleetMode
) -> None:
    assert judged(tick, fleet, freeze).mode is mode


@pytest.mark.parametrize(
    ("age_s", "tone"), [(8, "ok"), (29, "ok"), (30, "warn"), (59, "warn"), (60, "crit")]
)
def test_the_heartbeat_is_amber_after_two_periods_and_red_after_four(
    age_s: float, tone: str
) -> None:
    assert judged(ticked(age_s)).tone == tone


@pytest.mark.parametrize(
    ("fleet", "freeze", "title", "worst"),
    [
        pytest.param(CALM, None, "", "ok", id="calm"),
        pytest.param(Fleet(3, 3, 0, 1, 1), None, "(1) ✕ 1 breach — ", "crit", id="one breach"),
        pytest.param(Fleet(3, 3, 0, 2, 0), ANA, "✕ 2 breaches — ", "crit", id="breach first"),
        pytest.param(CALM, ANA, "■ frozen — ", "warn", id="frozen"),
        pytest.param(Fleet(3, 3, 0, 0, 2), None, "(2) ", "ok", id="only proposals wait"),
    ],
)
def test_title_and_favicon_carry_the_worst_state(
    fleet: Fleet, freeze: FleetFreeze | None, title: str, worst: str
) -> None:
    state = judged(ticked(), fleet, freeze)
    assert (state.title, state.worst) == (title, worst)


@pytest.fixture
def person(db: None) -> User:  # noqa: ARG001 - the fixture opens the database
    return User.objects.create_user("ana", password="a long enough phrase")


def made_tick(**fields: object) -> Tick:
    now = timezone.now()
    given = {"slot": 1, "at": now, "epoch": 1, "finished_at": now, "services": 1, "fresh": 1}
    return Tick.objects.create(**given | fields)


def test_a_setting_of_the_environment_freezes(
    person: User, settings: pytest.FixtureRequest
) -> None:
    settings.FREEZE_FLAG = True
    made_tick()
    state = read_strip(person, timezone.now())
    assert state.mode is FleetMode.FROZEN
    assert "HETEROSCALE_FREEZE" in state.why


def test_only_proposals_the_reader_may_decide_are_waiting(person: User) -> None:
    service = factories.make_service(mode="approve")
    now = timezone.now()
    factories.make_proposal(service, expires_at=now + timedelta(minutes=5))
    assert read_strip(person, now).fleet.waiting == 0
    person.user_permissions.add(Permission.objects.get(codename="approve_proposal"))
    assert read_strip(User.objects.get(pk=person.pk), now).fleet.waiting == 1


@pytest.mark.parametrize("services", [1, 3])
def test_the_strip_costs_the_same_for_any_fleet(
    person: User, django_assert_num_queries: DjangoAssertNumQueries, services: int
) -> None:
    for i in range(services):
        factories.make_service(f"service-{i}")
    made_tick()
    person.has_perm("controller.approve_proposal")
    with django_assert_num_queries(7):
        read_strip(person, timezone.now())


def test_the_fragment_is_sent_once(person: User, client: Client) -> None:
    made_tick()
    client.force_login(person)
    first = client.get("/strip/")
    assert first.status_code == 200
    assert "ADVISORY" in first.text
    again = client.get("/strip/", headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    Freeze.objects.create(by=person, by_name="ana", reason="incident", since=timezone.now())
    frozen = client.get("/strip/", headers={"If-None-Match": first["ETag"]})
    assert "FROZEN" in frozen.text


@pytest.mark.django_db
def test_a_stranger_is_told_to_load_the_page_again(client: Client) -> None:
    answer = client.get("/strip/")
    assert (answer.status_code, answer["HX-Refresh"]) == (401, "true")


def test_a_simulated_fleet_says_so(person: User, client: Client) -> None:
    factories.make_service()
    made_tick()
    SimulatedFleet.objects.create(
        speed=10, trace_name="two busy hours", history="running", history_frac=0.43
    )
    client.force_login(person)
    page = client.get("/strip/").text
    assert "simulated fleet" in page
    assert "load runs 10 × faster; ticks, cooldowns and cold starts are real seconds" in page
    assert "two busy hours" in page
    assert "Producing the last 24 h of history: 43 %" in page


@pytest.mark.django_db
def test_the_flag_file_shows_as_frozen(settings: Settings, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    assert fleet_freeze(()) is None
    (tmp_path / "FREEZE").write_text("no page answers")
    found = fleet_freeze(())
    assert found is not None
    assert (found.by, found.reason) == ("the file FREEZE", "no page answers")


@pytest.mark.django_db
def test_a_freeze_counts_what_was_sent_and_not_answered_s16(person: User) -> None:
    service = factories.make_service()
    Action.objects.create(
        id=uuid.uuid4(), service=service, actor="ana", epoch=1, state="unknown", reason="",
        from_prefill=2, from_decode=4, to_prefill=3, to_decode=6, resource_version="1",
        recorded_at=NOW,
    )  # fmt: skip
    assert read_strip(person, NOW).fleet.outstanding == 1
    Action.objects.update(state="applied")
    assert read_strip(person, NOW).fleet.outstanding == 0


def test_an_open_breaker_below_the_fleet_is_named_with_its_page(
    person: User, client: Client
) -> None:
    made_tick()
    chat = factories.make_service("chat")
    opened = Breaker.objects.create(service=chat, opened_at=NOW, cause="x")
    client.force_login(person)
    page = client.get("/strip/").text
    assert f'href="/breakers/{opened.pk}/reset/"' in page
    assert "breaker open: chat" in page
    Breaker.objects.create(cluster=chat.cluster, opened_at=NOW, cause="x")
    page = client.get("/strip/").text
    assert "2 breakers open" in page
    assert read_strip(person, timezone.now()).worst == "warn"


def test_a_broken_chain_of_the_audit_is_told_in_the_strip_and_first_on_the_overview_s22(
    person: User, client: Client
) -> None:
    made_tick()
    factories.make_service("chat")
    check = ChainCheck.objects.create(problem="The audit event 3 is missing.")
    client.force_login(person)
    page = client.get("/").text
    assert 'href="/audit/" title="The audit event 3 is missing."' in page
    assert "the audit's chain is broken" in page.replace("&#x27;", "'")
    first = page[page.index('<li class="line') :].partition("</li>")[0]
    assert "has a broken chain: The audit event 3 is missing." in first
    assert 'class="line crit"' in first
    assert read_strip(person, timezone.now()).worst == "crit"
    ChainCheck.objects.filter(pk=check.pk).update(problem="")
    assert "chain is broken" not in client.get("/strip/").text


def test_who_may_freeze_a_part_is_led_to_the_parts_they_may(person: User, client: Client) -> None:
    made_tick()
    chat = factories.make_service("chat")
    factories.make_service("far", cluster=factories.make_cluster("eu-1-b"))
    client.force_login(person)
    assert "Freeze needs an operator" in client.get("/strip/").text
    Grant.objects.create(
        user=person,
        role="Approver",
        cluster=chat.cluster,
        reason="on call",
        by_name="root",
        granted_at=NOW,
    )
    page = client.get("/").text
    assert 'id="open-freeze" href="/freeze/"' in page
    assert 'id="freeze-fleet"' not in page
    page = client.get("/freeze/")
    assert [key for key, _ in page.context["choices"]] == ["cluster:eu-1-a", "service:chat"]
    assert "Freeze cluster eu-1-a</button>" in page.text
    assert client.post("/freeze/", {"reason": "incident"}).status_code == 403, "never guessed"
    assert not Freeze.objects.exists()


def test_a_stop_of_the_host_leaves_the_freeze_of_a_person_within_reach(
    client: Client, settings: Settings, db: None
) -> None:
    del db
    settings.FREEZE_FLAG = True
    made_tick()
    client.force_login(User.objects.create_superuser("root", password="a long enough phrase"))
    page = client.get("/freeze/").text
    assert 'id="open-freeze"' in page
    assert 'id="freeze-fleet"' in page


def test_with_every_steered_service_frozen_the_pill_says_so_s16(person: User) -> None:
    service = factories.make_service("chat", mode="automatic")
    factories.make_service("code", cluster=service.cluster, mode="observe")
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=2, fresh=2)
    freeze = {"by_name": "ana", "reason": "fire drill", "since": now}
    Freeze.objects.create(cluster=service.cluster, **freeze)
    found = read_strip(person, timezone.now())
    assert found.mode is FleetMode.FROZEN
    assert found.why == "no service is left that may act: cluster eu-1-a by ana: fire drill"

    factories.make_service("search", cluster=factories.make_cluster("eu-1-b"), mode="automatic")
    assert read_strip(person, timezone.now()).mode is FleetMode.ACTING
