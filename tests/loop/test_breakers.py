"""Breakers through the loop: failures or blindness stop automation at once, a person resets it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from pytest_django import Settings

from controller import loop, wiring
from controller.core.breaker import Thresholds
from controller.core.lifecycle import ActionState
from controller.models import Action, Breaker, Decision, Override
from controller.services import actions, breakers
from controller.services.leadership import Lease
from tests.clusters import Cluster
from tests.factories import make_service
from tests.loop.test_tick import SETTINGS, lead, run
from tests.services.people import person
from tests.sources import HEALTHY, ArraySource

FLEET = ("chat", "code", "far", "mail")
TICK = timedelta(seconds=SETTINGS.tick_s)


def wanting(*keys: str) -> ArraySource:
    """Return a source in which each of these services wants decode 4 → 6, prefill 2 → 3."""
    source = ArraySource()
    for key in keys:
        source = source.now_reports(key, decode_tps=6000.0)
    return source


def send(key: str, cluster: Cluster) -> ActionState:
    action = Action.objects.filter(service__slug=key).latest("recorded_at")
    return actions.run(action.pk, actuator_of=cluster.of)


def reset() -> None:
    row = Breaker.objects.get(ended_at=None)
    breakers.reset(row.pk, user=person("ana"), reason="the quota is back")


def tick_at(lease: Lease, source: ArraySource) -> loop.Report:
    """Run one tick at the time of the lease."""
    return loop.run(lease, source_of=lambda _: source, settings=SETTINGS)


def codes() -> dict[str, str]:
    """Return the code of each service's last decision."""
    rows = Decision.objects.order_by("seq").values_list("service__slug", "code")
    return dict(rows)


@pytest.mark.django_db
def test_failures_of_many_services_stop_the_fleet_within_a_tick_until_a_person_resets_it() -> None:
    for key in FLEET:
        make_service(key)
    source, quota = wanting(*FLEET), Cluster(trouble=["refused"] * 3)
    run(source)
    assert {send(key, quota) for key in FLEET[:3]} == {ActionState.FAILED}
    waiting = Action.objects.get(service__slug="mail")

    report = run(source)

    assert report.actions == ()
    assert Breaker.objects.get().cause == "Changes of 3 of 4 services failed within 10 min."
    assert actions.run(waiting.pk, actuator_of=quota.of) == ActionState.CANCELLED
    assert run(source).actions == ()
    assert set(codes().values()) == {"BREAKER_OPEN"}
    assert quota.writes == []

    reset()

    assert run(source).actions == ()
    assert set(codes().values()) == {"ADVISORY_ONLY"}, "watched first (A09)"

    Override.objects.all().delete()  # the time of watching is over

    assert len(run(source).actions) == 4
    assert send("chat", quota) == ActionState.APPLIED


@pytest.mark.django_db
def test_a_service_that_fails_three_times_stops_alone() -> None:
    for key in FLEET[:2]:
        make_service(key)
    source, quota = wanting(*FLEET[:2]), Cluster(trouble=["refused"] * 3)
    for _ in range(3):
        assert len(run(source).actions) >= 1
        assert send("chat", quota) == ActionState.FAILED

    run(source)

    assert Breaker.objects.get().scope == "chat"
    assert codes()["chat"] == "BREAKER_OPEN"
    assert send("code", quota) == ActionState.APPLIED


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("after", "cause"),
    [
        pytest.param(
            replace(wanting(*FLEET), silent=frozenset(FLEET[:3])),
            "Services with fresh metrics fell from 4 of 4 to 1 of 4.",
            id="three of four fall silent",
        ),
        pytest.param(
            replace(wanting(), values={key: {**HEALTHY, "decode_tps": 2000.0} for key in FLEET}),
            "The load of 4 services fell by 67% within one tick, from 36.0 to 12.0 instances.",
            id="6000 to 2000 tokens/s everywhere (M19)",
        ),
    ],
)
def test_signals_that_are_gone_fleet_wide_stop_it_before_anything_is_sent(
    after: ArraySource, cause: str
) -> None:
    for key in FLEET:
        make_service(key)
    first, cluster = lead(), Cluster()
    assert len(tick_at(first, wanting(*FLEET)).actions) == 4

    report = tick_at(replace(first, now=first.now + TICK), after)

    assert report.actions == ()
    assert Breaker.objects.get().cause == cause
    assert {send(key, cluster) for key in FLEET} == {ActionState.CANCELLED}
    assert cluster.writes == []


def test_the_worker_judges_by_the_settings(settings: Settings) -> None:
    assert wiring.breaker_thresholds() == Thresholds()
    settings.BREAKER = {**settings.BREAKER, "failed": 2}
    assert wiring.breaker_thresholds() == Thresholds(failed=2)
