"""A demonstration day of two hours: what a visitor sees, held as properties."""

from itertools import groupby, pairwise

import pytest

from controller.core.breaker import USUAL, Attempt, Sight, judge
from controller.core.reasons import Code
from controller.core.types import Decision, Gate, Instances, Mode
from controller.selectors.breakers import sight_of
from controller.simulator.demo import DEMO_SERVICES
from controller.simulator.model import Fault
from tests.scenarios.drive import BEGIN_S, Drive

DAY_S = 7200.0
SERVICES = {service.slug: service for service in DEMO_SERVICES}


@pytest.fixture(scope="module")
def day() -> Drive:
    return Drive.of(DEMO_SERVICES).run(DAY_S)


def changes(drive: Drive, key: str) -> list[Decision]:
    return [d for d in drive.of_service(key) if d.gate in (Gate.ACT, Gate.PROPOSE)]


@pytest.mark.parametrize("key", [s.slug for s in DEMO_SERVICES if s.mode is not Mode.OBSERVE])
def test_each_service_scales_out_and_in_within_a_day(day: Drive, key: str) -> None:
    moves = changes(day, key)
    assert any(d.final.decode > d.current.decode for d in moves)
    assert any(d.final.decode < d.current.decode for d in moves)


def test_every_tick_decides_once_for_every_service_s22(day: Drive) -> None:
    assert len(day.decisions) == DAY_S / 15 * len(DEMO_SERVICES)


def test_counts_stay_within_limits_and_budget_s1_s2(day: Drive) -> None:
    for decision in day.decisions:
        service = SERVICES[decision.service]
        low, high = service.limits.minimum, service.limits.maximum
        assert low.prefill <= decision.final.prefill <= high.prefill
        assert low.decode <= decision.final.decode <= high.decode
        assert decision.final.gpus(service.gpus_per_instance) <= service.limits.max_gpus


def test_steps_chain_from_the_present_to_the_final_counts(day: Drive) -> None:
    for decision in day.decisions:
        places = [decision.current, *(s.after for s in decision.steps)]
        assert places[-1] == decision.final
        assert [s.before for s in decision.steps] == places[:-1]


@pytest.mark.parametrize("key", list(SERVICES))
def test_reversals_within_ten_minutes_are_rare(day: Drive, key: str) -> None:
    signs = [
        (d.now_s, (d.final.decode > d.current.decode) - (d.final.decode < d.current.decode))
        for d in changes(day, key)
    ]
    turns = [(b[0] - a[0]) for a, b in pairwise(signs) if a[1] * b[1] < 0]
    assert len(turns) <= DAY_S / 600 / 2, turns
    assert sum(gap < 600 for gap in turns) <= 3, turns


def _added(one: Decision) -> Instances:
    was, will = one.current, one.final
    return Instances(will.prefill - was.prefill, will.decode - was.decode)


def test_an_ordinary_day_opens_no_breaker(day: Drive) -> None:
    tried = [
        Attempt(one.service, one.now_s, _added(one), failed=False)
        for one in day.decisions
        if one.gate in (Gate.ACT, Gate.PROPOSE)
    ]
    before: list[Sight] = []
    for now_s, group in groupby(day.decisions, key=lambda one: one.now_s):
        decisions = list(group)
        ready = {one.service: sum(one.current) for one in decisions}
        now = sight_of(decisions, ready)
        assert judge(tried, now, before, now_s=now_s) == (), now_s - BEGIN_S
        before = [now, *before][: USUAL.fresh_ticks]
    assert len(tried) > len(DEMO_SERVICES)


def test_most_samples_keep_the_slo(day: Drive) -> None:
    kept = total = 0
    for decision in day.decisions:
        slo, signals = SERVICES[decision.service].slo, decision.signals
        ttft, tbt = signals["ttft_s"].value, signals["tbt_s"].value
        if ttft is not None and tbt is not None:
            total += 1
            kept += ttft <= slo.ttft_s and tbt <= slo.tbt_s
    assert total > 0.95 * len(day.decisions)
    assert kept / total > 0.9, kept / total


def test_gpus_of_each_pool_add_up_at_the_end_of_the_day(day: Drive) -> None:
    for pool in day.engines.world.pools(day.now_s):
        parts = (
            pool.busy + pool.held_idle + pool.free + pool.reserved
            + pool.maintenance + pool.unhealthy + pool.unknown
        )  # fmt: skip
        assert parts == pool.total


@pytest.mark.parametrize("fault", [Fault.MISSING, Fault.STALE, Fault.PARTIAL])
def test_faulty_metrics_never_shrink_a_service_m04_m07_m10(fault: Fault) -> None:
    drive = Drive.of([SERVICES["chat"]]).run(600)
    drive.engines.world.inject("chat", fault)
    before = len(drive.decisions)
    drive.run(1800)
    after = drive.decisions[before + 4 :]
    assert all(d.final.decode >= d.current.decode for d in after)
    assert all(d.final.prefill >= d.current.prefill for d in after)
    if fault is not Fault.PARTIAL:
        assert {d.code for d in after} <= {Code.METRIC_MISSING, Code.METRIC_STALE}


def test_metrics_that_come_back_are_trusted_again() -> None:
    drive = Drive.of([SERVICES["chat"]]).run(300)
    drive.engines.world.inject("chat", Fault.MISSING)
    drive.run(300)
    drive.engines.world.inject("chat", Fault.NONE)
    drive.run(180)
    assert drive.decisions[-1].code not in {Code.METRIC_MISSING, Code.METRIC_STALE}


def test_the_traced_service_is_driven_through_engines_with_unequal_starts() -> None:
    drive = Drive.of([SERVICES["chat"]]).run(3600)
    world = drive.engines.world
    state = world.state("chat")
    assert Instances(state.prefill.desired, state.decode.desired) == world.desired("chat")[0]
