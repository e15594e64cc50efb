"""What instances export: sums that are the fleet's own signals, and counters of one life."""

from collections.abc import Sequence

import numpy as np
import pytest

from controller.core.types import SIGNAL_INDEX, Instances, Role
from controller.simulator.exported import BROKEN, Exported
from controller.simulator.meters import TBT, TTFT
from controller.simulator.model import Fault
from controller.simulator.world import Setup, World
from tests.simulator.examples import NODES, SERVICE, SLOW_SERVICE, START_S

METERED = Setup(metered=True)


def metered() -> World:
    return World([SERVICE, SLOW_SERVICE], NODES, start_s=START_S, seed=7, setup=METERED)


def total(seen: Sequence[Exported], role: Role, figure: str) -> float:
    return sum(each.counted.figures[figure] for each in seen if each.role is role)


def signals_of(made: World, key: str, samples: int) -> dict[str, float]:
    (window,) = made.windows([key], made.now_s, 15 * samples)
    return {name: float(window.values[at].mean()) for name, at in SIGNAL_INDEX.items()}


@pytest.mark.parametrize("key", ["chat", "documents"])
def test_the_sums_over_instances_are_the_signals_of_the_service(key: str) -> None:
    made = metered()
    made.advance(START_S + 300)
    before = made.exported(key)
    made.advance(START_S + 450)
    after, told = made.exported(key), signals_of(made, key, 10)

    def rate(role: Role, figure: str) -> float:
        return (total(after, role, figure) - total(before, role, figure)) / 150

    def mean_s(role: Role, name: str) -> float:
        held = [each.counted.histograms[name] for each in after if each.role is role]
        return sum(each.total for each in held) / sum(each.count for each in held)

    # The signals carry 1 % of noise; what comes is counted when its prefill ends.
    assert rate(Role.DECODE, "generated") == pytest.approx(told["decode_tps"], rel=0.02)
    assert rate(Role.PREFILL, "prompt") == pytest.approx(told["prefill_tps"], rel=0.02)
    assert rate(Role.PREFILL, "computed") == pytest.approx(told["prefill_tps_uncached"], rel=0.02)
    assert rate(Role.PREFILL, "requests") == pytest.approx(told["request_rps"], rel=0.05)
    # What decode finished is what prefill did, but for those inside.
    assert rate(Role.DECODE, "finished") == pytest.approx(told["request_rps"], rel=0.1)
    assert rate(Role.DECODE, "prompt") == pytest.approx(rate(Role.PREFILL, "prompt"))
    assert told["ttft_p50_s"] < mean_s(Role.PREFILL, TTFT) < told["ttft_s"]
    assert mean_s(Role.DECODE, TBT) == pytest.approx(told["tbt_p50_s"], rel=0.05)
    assert mean_s(Role.DECODE, TTFT) < mean_s(Role.PREFILL, TTFT)
    assert [each.util for each in after if each.role is Role.PREFILL] == pytest.approx(
        [signals_of(made, key, 1)["prefill_util"]] * made.ready(key).prefill
    )


def test_buckets_hold_the_share_of_requests_the_percentiles_say() -> None:
    made = metered()
    made.advance(START_S + 900)
    (window,) = made.windows(["chat"], made.now_s, 180)
    held = made.exported("chat")[0].counted.histograms[TTFT]
    p50_s, p99_s = (
        float(window.values[SIGNAL_INDEX[name]].mean()) for name in ("ttft_p50_s", "ttft_p99_s")
    )
    below = np.interp([p50_s, p99_s], held.bounds, np.array(held.below) / held.count)
    assert below == pytest.approx([0.5, 0.99], abs=0.1)
    assert list(held.below) == sorted(held.below)
    assert held.below[-1] == pytest.approx(held.count)


def test_a_new_instance_counts_from_nothing_and_no_counter_falls() -> None:
    made = metered()
    made.advance(START_S + 300)
    made.scale("chat", Instances(2, 5))
    last: dict[str, float] = {}
    seen: dict[str, list[float]] = {}
    for at in range(301, 601, 7):
        made.advance(START_S + at)
        for each in made.exported("chat"):
            if each.role is Role.DECODE and not each.silent:
                now = each.counted.figures["generated"]
                assert now >= last.get(each.name, 0.0)
                last[each.name] = now
                seen.setdefault(each.name, []).append(now)
    new = [name for name in seen if name.endswith(("-6", "-7"))]
    assert len(new) == 2
    # Within the 7 s of a step, a fifth of 1,000 tokens/s is 1,400 tokens at most.
    assert all(0.0 <= seen[name][0] <= 1_500 for name in new)
    made.scale("chat", Instances(2, 2))
    made.advance(START_S + 900)
    assert sum(each.role is Role.DECODE for each in made.exported("chat")) == 2


def test_what_was_counted_survives_the_row_however_time_is_cut() -> None:
    whole, cut = metered(), metered()
    whole.advance(START_S + 333)
    for at in range(0, 333, 11):
        cut.advance(START_S + at)
        cut = World.restore([SERVICE, SLOW_SERVICE], NODES, cut.dump(), seed=7, setup=METERED)
    cut.advance(START_S + 333)
    assert cut.exported("chat") == whole.exported("chat")
    assert cut.dump() == whole.dump()


def test_a_world_stored_without_meters_counts_from_then_on() -> None:
    plain = World([SERVICE, SLOW_SERVICE], NODES, start_s=START_S, seed=7)
    plain.advance(START_S + 100)
    made = World.restore([SERVICE, SLOW_SERVICE], NODES, plain.dump(), seed=7, setup=METERED)
    assert total(made.exported("chat"), Role.DECODE, "generated") == 0.0
    made.advance(START_S + 130)
    # 1,000 tokens/s for 30 s; requests are random.
    assert total(made.exported("chat"), Role.DECODE, "generated") == pytest.approx(30_000, rel=0.2)


def test_measuring_changes_nothing_that_happens() -> None:
    made, plain = metered(), World([SERVICE, SLOW_SERVICE], NODES, start_s=START_S, seed=7)
    for each in (made, plain):
        each.advance(START_S + 200)
        each.scale("chat", Instances(2, 4))
        each.advance(START_S + 500)
    (mine,), (other,) = (each.windows(["chat"], each.now_s, 180) for each in (made, plain))
    assert np.array_equal(mine.values, other.values, equal_nan=True)


@pytest.mark.parametrize(
    ("fault", "silent"),
    [
        pytest.param(Fault.MISSING, 5, id="no values: all 5 are silent"),
        pytest.param(Fault.STALE, 5, id="no samples: all 5 are silent"),
        pytest.param(Fault.PARTIAL, 2, id="a third of 2, rounded up, and of 3: 1 + 1"),
        pytest.param(Fault.RESET, 0, id="restarted: all answer"),
    ],
)
def test_a_fault_shows_as_instances_that_do_not_answer(fault: Fault, silent: int) -> None:
    made = metered()
    made.advance(START_S + 300)
    made.inject("chat", fault)
    seen = made.exported("chat")
    assert [each.silent for each in seen if each.silent] == [BROKEN] * silent
    if fault is Fault.RESET:
        assert total(seen, Role.DECODE, "generated") == 0.0


def test_what_starts_does_not_answer_and_what_rests_begins_anew() -> None:
    made = metered()
    made.advance(START_S + 60)
    made.scale("chat", Instances(2, 4))
    made.advance(START_S + 70)
    assert [each.silent for each in made.exported("chat") if each.silent] == ["it loads its model"]
    made.skip(START_S + 600)
    assert total(made.exported("chat"), Role.DECODE, "generated") == 0.0
