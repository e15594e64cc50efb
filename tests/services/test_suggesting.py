"""The controller's side of suggestions: they form, open, follow, and end, through rows alone."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controller.core.cycle import blind
from controller.core.engine import Mix
from controller.core.memory import Memory
from controller.core.reasons import Code
from controller.core.types import Adapt, Forecast
from controller.models import Decision as DecisionRow
from controller.models import PolicySuggestion
from controller.services import suggesting
from controller.services.rows import Entry
from inventory.models import RoleSpec, Service
from inventory.snapshot import service_spec
from tests.factories import NOW, make_service
from tests.loop.test_tick import run
from tests.sources import ArraySource

MINUTES_10 = timedelta(minutes=10)
FITS = (0.5, 1000.0)
MOVED = (0.62, 1000.0)


def proposing(slug: str = "chat") -> Service:
    """Return a service at ratio 0.5 and target 1,000 that asks for suggestions."""
    return make_service(slug, policy={"adapt": "propose"})


def saw(service: Service, figures: tuple[float, float] | None) -> Entry:
    """Return what a tick found about a service; ``None`` where nothing could be measured."""
    spec = service_spec(service)
    forecast = None
    if figures is not None:
        forecast = Forecast(
            lead_s=120.0,
            needs=(2.0, 4.0),
            peaks=(2.0, 4.0),
            margins=(0.0, 0.0),
            measured=(3.1, 5.0),
            ratio=figures[0],
            target=figures[1],
            mix=Mix(1500.0, 1200.0, 250.0),
            rps=20.0,
        )
    held = blind(spec.key, Memory(), Code.WITHIN_TOLERANCE, "In order.", now_s=0.0, spec=spec)
    return Entry(replace(held, forecast=forecast), Memory(), spec, None)


def tick(service: Service, at: datetime, figures: tuple[float, float] | None) -> None:
    """Write one tick."""
    service.policy.refresh_from_db()
    suggesting.write([saw(service, figures)], services={service.slug: service.pk}, now=at)


def opened(service: Service, at: datetime = NOW) -> PolicySuggestion:
    """Return a suggestion of :data:`MOVED` that has stood ten minutes until ``at``."""
    for minute in (10, 6, 3, 0):
        tick(service, at - timedelta(minutes=minute), MOVED)
    return PolicySuggestion.objects.get(state="open")


def states() -> list[str]:
    return list(PolicySuggestion.objects.order_by("pk").values_list("state", flat=True))


@pytest.mark.django_db
def test_it_opens_when_the_wish_has_stood_ten_minutes() -> None:
    service = proposing()
    for second in (0, 240, 480, 599):
        tick(service, NOW + timedelta(seconds=second), MOVED)
        assert states() == ["forming"]
    tick(service, NOW + MINUTES_10, MOVED)
    row = PolicySuggestion.objects.get()
    assert (row.state, row.revision, row.version) == ("open", 1, 1)
    assert (row.from_pd_ratio, row.pd_ratio, row.target) == (0.5, 0.62, 1000.0)
    assert (row.first_seen_at, row.opened_at) == (NOW, NOW + MINUTES_10)
    assert row.expires_at == NOW + MINUTES_10 + timedelta(hours=24)
    assert row.evidence == {
        "at_s": (NOW + MINUTES_10).timestamp(),
        "mix": {"input_tokens": 1500.0, "uncached_tokens": 1200.0, "output_tokens": 250.0},
        "rps": 20.0,
        "needs": {"prefill": 3.1, "decode": 5.0},
    }


@pytest.mark.django_db
def test_a_break_begins_the_ten_minutes_anew() -> None:
    service = proposing()
    tick(service, NOW, MOVED)
    tick(service, NOW + timedelta(minutes=4), FITS)
    assert states() == []
    for minute in (5, 9, 13):
        tick(service, NOW + timedelta(minutes=minute), MOVED)
    assert states() == ["forming"]
    tick(service, NOW + timedelta(minutes=15), MOVED)
    assert states() == ["open"]


@pytest.mark.django_db
def test_a_tick_that_cannot_measure_breaks_nothing_but_a_long_pause_does() -> None:
    service = proposing()
    tick(service, NOW, MOVED)
    tick(service, NOW + timedelta(minutes=2), None)
    tick(service, NOW + timedelta(minutes=5), MOVED)
    tick(service, NOW + MINUTES_10, MOVED)
    assert states() == ["open"]
    PolicySuggestion.objects.all().delete()
    tick(service, NOW, MOVED)
    tick(service, NOW + timedelta(minutes=11), MOVED)
    row = PolicySuggestion.objects.get()
    assert (row.state, row.first_seen_at) == ("forming", NOW + timedelta(minutes=11))


@pytest.mark.django_db
def test_figures_that_move_are_followed_and_trifles_are_not() -> None:
    service = proposing()
    row = opened(service)
    tick(service, NOW + timedelta(minutes=1), (0.64, 1000.0))
    row.refresh_from_db()
    assert (row.version, row.pd_ratio, row.confirmed_at) == (1, 0.62, NOW + timedelta(minutes=1))
    assert row.evidence["at_s"] == NOW.timestamp()
    tick(service, NOW + timedelta(minutes=2), (0.7, 900.0))
    row.refresh_from_db()
    assert (row.version, row.pd_ratio, row.target) == (2, 0.7, 900.0)
    assert "follows by at most 10 % a minute and is at 0.7, in place of 0.5." in row.sentence
    assert row.evidence["at_s"] == (NOW + timedelta(minutes=2)).timestamp()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("figures", "state"),
    [
        pytest.param((0.53, 1000.0), "open", id="0.53 is 6 % over 0.5: kept"),
        pytest.param((0.52, 1000.0), "superseded", id="0.52 is 4 % over 0.5: let go"),
    ],
)
def test_one_that_is_read_is_not_taken_away_at_the_edge(
    figures: tuple[float, float], state: str
) -> None:
    service = proposing()
    opened(service)
    tick(service, NOW + timedelta(minutes=1), figures)
    assert states() == [state]


@pytest.mark.django_db
def test_another_revision_supersedes_it_and_a_new_one_forms() -> None:
    service = proposing()
    row = opened(service)
    service.policy.revision = 2
    service.policy.save()
    tick(service, NOW + timedelta(minutes=1), MOVED)
    row.refresh_from_db()
    assert states() == ["superseded", "forming"]
    assert row.closed_reason == "It was made from revision 1; revision 2 is in force."


@pytest.mark.django_db
@pytest.mark.parametrize("adapt", [Adapt.OFF, Adapt.AUTOMATIC])
def test_who_turns_suggestions_off_gets_none(adapt: Adapt) -> None:
    service = proposing()
    opened(service)
    service.policy.adapt, service.policy.revision = adapt.value, 2
    service.policy.save()
    tick(service, NOW + timedelta(minutes=1), MOVED)
    assert states() == ["superseded"]


@pytest.mark.django_db
def test_nobody_answers_for_a_day() -> None:
    service = proposing()
    row = opened(service)
    tick(service, NOW + timedelta(hours=23, minutes=59), MOVED)
    assert states() == ["open"]
    tick(service, NOW + timedelta(hours=24), MOVED)
    row.refresh_from_db()
    assert (row.state, row.closed_at) == ("expired", NOW + timedelta(hours=24))
    assert states() == ["expired", "forming"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("figures", "later", "expect"),
    [
        pytest.param(MOVED, timedelta(hours=2), [], id="the same: not for a day"),
        pytest.param((0.68, 1000.0), timedelta(hours=2), [], id="0.68 is 9.7 % over 0.62"),
        pytest.param((0.69, 1000.0), timedelta(hours=2), ["forming"], id="0.69 is 11.3 % over"),
        pytest.param(MOVED, timedelta(hours=24), ["forming"], id="the same a day later"),
    ],
)
def test_what_was_dismissed_is_not_suggested_again(
    figures: tuple[float, float], later: timedelta, expect: list[str]
) -> None:
    service = proposing()
    row = opened(service)
    PolicySuggestion.objects.filter(pk=row.pk).update(state="dismissed", decided_at=NOW)
    tick(service, NOW + later, figures)
    assert states() == ["dismissed", *expect]


def statements(services: list[Service], at: datetime, figures: tuple[float, float]) -> int:
    """Return how many statements one tick's suggestions take."""
    entries = [saw(service, figures) for service in services]
    rows = {service.slug: service.pk for service in services}
    with CaptureQueriesContext(connection) as seen:
        suggesting.write(entries, services=rows, now=at)
    return len(seen)


@pytest.mark.django_db
def test_a_tick_costs_the_same_for_one_and_three_services() -> None:
    asked = []
    for slugs in (("a",), ("b", "c", "d")):
        PolicySuggestion.objects.all().delete()
        services = [proposing(slug) for slug in slugs]
        quiet = statements(services, NOW, FITS)
        forming = [
            statements(services, NOW + timedelta(minutes=m), MOVED) for m in range(0, 12, 4)
        ]
        gone = statements(services, NOW + timedelta(minutes=12), FITS)
        asked.append((quiet, forming, gone))
    assert asked[0] == asked[1]
    assert asked[0][0] == 1


@pytest.mark.django_db
def test_a_tick_of_the_loop_forms_one_from_measured_tokens() -> None:
    proposing()
    RoleSpec.objects.update(profile="qwen3-32b-fp8/h800")
    run(ArraySource())
    row = PolicySuggestion.objects.get()
    decision = DecisionRow.objects.get()
    assert row.state == "forming"
    assert row.evidence["rps"] == decision.forecast["rps"] == 18.0
    assert row.evidence["needs"] == decision.forecast["measured"]
