"""The loop closed: decide, change the counts, decide again."""

from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.decide import decide
from controller.core.types import Decision, Gate, History, Instances, Mode, ServiceSpec, Wish
from tests.core.build import NOW_S, PLENTY, SPEC, context, healthy, limits, policy, state
from tests.core.strategies import specs

TICK_S = 15.0


@dataclass(slots=True)
class Loop:
    """A service whose counts follow every decision at once."""

    spec: ServiceSpec
    current: Instances
    now_s: float = NOW_S
    history: History = field(default_factory=History)

    def tick(self, decode_tps: float) -> Decision:
        """Decide at a load, carry the decision out and remember it."""
        signals = healthy(decode_tps, self.current)
        ctx = context(self.current, decode_tps, spec=self.spec, signals=signals)
        ctx = replace(ctx, now_s=self.now_s, history=self.history, gpus_free=PLENTY)
        found = decide(replace(ctx, state=state(self.current)))
        kept = [wish for wish in self.history.wishes if wish.at_s > self.now_s - 400.0]
        past = replace(self.history, wishes=(*kept, Wish(self.now_s, found.raw)))
        if found.gate is Gate.ACT:
            final, before = found.final, found.current
            if final.prefill > before.prefill or final.decode > before.decode:
                past = replace(past, last_scale_out_s=self.now_s)
            if final.prefill < before.prefill or final.decode < before.decode:
                past = replace(past, last_scale_in_s=self.now_s)
            self.current = final
        self.history, self.now_s = past, self.now_s + TICK_S
        return found

    def run(self, decode_tps: float, *, for_s: float) -> list[Decision]:
        """Tick at one load for a while."""
        return [self.tick(decode_tps) for _ in range(int(for_s / TICK_S))]


@pytest.mark.parametrize(
    ("start", "tps", "end"),
    [
        pytest.param(
            Instances(2, 4), 20_000.0, Instances(10, 20), id="4 to 20 in steps of 4 and 25 %"
        ),
        pytest.param(Instances(10, 20), 4000.0, Instances(2, 4), id="20 to 4 as slowly as 300 s"),
        pytest.param(Instances(20, 10), 10_000.0, Instances(5, 10), id="20 prefill too many"),
        pytest.param(Instances(1, 20), 20_000.0, Instances(8, 20), id="prefill too few"),
        pytest.param(Instances(10, 20), 0.0, Instances(1, 1), id="load gone for good (L8)"),
    ],
)
def test_the_target_is_reached_and_kept_l1_l8(
    start: Instances, tps: float, end: Instances
) -> None:
    loop = Loop(SPEC, start)
    loop.run(tps, for_s=6000.0)
    assert loop.current == end
    assert not any(found.changes for found in loop.run(tps, for_s=1200.0))


def reversals(decisions: list[Decision]) -> list[float]:
    """Return when the decode count turned round."""
    signs = [
        (found.now_s, found.final.decode > found.current.decode)
        for found in decisions
        if found.final.decode != found.current.decode
    ]
    return [two[0] for one, two in pairwise(signs) if one[1] != two[1]]


@pytest.mark.parametrize(
    "wave",
    [
        pytest.param(lambda k: 9600.0 if k % 2 else 6400.0, id="±20 % every tick"),
        pytest.param(lambda k: 6400.0 + 3200.0 * abs((k % 20) - 10) / 10, id="triangle of 300 s"),
    ],
)
def test_no_flapping_m20(wave: object) -> None:
    """At most one reversal in ten minutes."""
    assert callable(wave)
    loop = Loop(SPEC, Instances(4, 8))
    turns = reversals([loop.tick(wave(k)) for k in range(480)])
    assert all(late - early >= 600.0 for early, late in pairwise(turns))


def test_nothing_is_removed_right_after_a_start() -> None:
    loop = Loop(SPEC, Instances(4, 8))
    assert not any(found.changes for found in loop.run(2000.0, for_s=240.0))
    assert any(found.changes for found in loop.run(2000.0, for_s=120.0))


def test_the_window_begins_anew_after_an_outage_m18() -> None:
    loop = Loop(SPEC, Instances(4, 8))
    loop.run(8000.0, for_s=600.0)
    loop.now_s += 3600.0
    assert not any(found.changes for found in loop.run(2000.0, for_s=240.0))


def test_after_an_outage_growth_comes_in_steps_m18() -> None:
    loop = Loop(SPEC, Instances(4, 8))
    loop.now_s += 3600.0
    assert loop.tick(40_000.0).final == Instances(6, 12)


@settings(max_examples=10, deadline=None)
@given(spec=specs(), load=st.floats(0.05, 3.0), start=st.integers(0, 30))
def test_any_service_settles_and_empties_l1_l8(spec: ServiceSpec, load: float, start: int) -> None:
    """Under any configuration: a constant load leads to rest, no load to the floor."""
    quick = replace(
        spec,
        mode=Mode.AUTOMATIC,
        limits=replace(spec.limits, max_gpus=1_000_000),
        policy=replace(
            spec.policy,
            driver="decode_tps",
            target=1000.0,
            cooldown_out_s=0.0,
            cooldown_in_s=0.0,
            stabilisation_s=0.0,
        ),
    )
    loop = Loop(quick, Instances(start, start))
    loop.run(load * 10_000.0, for_s=160 * TICK_S)
    assert not any(found.changes for found in loop.run(load * 10_000.0, for_s=10 * TICK_S))
    loop.run(0.0, for_s=160 * TICK_S)
    assert loop.current == quick.limits.minimum


def test_a_floor_is_repaired_at_once_l3() -> None:
    loop = Loop(limits(minimum=Instances(10, 20)), Instances(0, 0))
    assert loop.tick(0.0).final == Instances(10, 20)


def test_a_lowered_maximum_is_reached_l1() -> None:
    loop = Loop(limits(maximum=Instances(3, 6)), Instances(6, 12))
    loop.run(5000.0, for_s=3000.0)
    assert loop.current == Instances(3, 5)


def test_a_prefill_driver_settles_l1() -> None:
    loop = Loop(policy(driver="prefill_tps_uncached", target=2000.0), Instances(1, 1))
    loop.run(16_000.0, for_s=1800.0)
    assert loop.current == Instances(8, 16)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.8, 2.0])
@pytest.mark.parametrize("start", [Instances(2, 3), Instances(3, 3), Instances(4, 6)])
@pytest.mark.parametrize("load", [1000.0, 2000.0, 3000.0])
def test_a_role_kept_for_its_latency_does_not_flap_with_its_partner_l1(
    ratio: float, start: Instances, load: float
) -> None:
    """Without cooldowns: what the prediction keeps of one role holds the ratio of the other."""
    spec = policy(pd_ratio=ratio, cooldown_in_s=0.0, cooldown_out_s=0.0, stabilisation_s=0.0)
    current, seen = start, []
    for _ in range(14):
        current = decide(context(current, load, spec=spec)).final
        seen.append(current)
    assert len(set(seen[-4:])) == 1
