"""What all services together may give up without a person (S4, M19), and hold (S2)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.budgets import (
    USUAL,
    Allowance,
    Fleet,
    FleetRules,
    held_gpus,
    removed_between,
    within_removal_budget,
)
from controller.core.cycle import Look, Outcome, decide_all
from controller.core.decide import decide
from controller.core.memory import Memory
from controller.core.outlook import Learnt, Outlook
from controller.core.pairs import larger
from controller.core.ports import Pool, View
from controller.core.reasons import Code
from controller.core.starts import START_S
from controller.core.types import (
    Decision,
    Gate,
    History,
    Instances,
    Mode,
    Move,
    Observation,
    ServiceSpec,
    ServiceState,
)
from tests.core.build import NOW_S, SPEC, context, healthy, policy, state, window

WIDE = Instances(10, 20)
# 10 · 2 + 20 · 4 GPUs.
GPUS = 100


def service(name: str, priority: int = 0) -> ServiceSpec:
    return replace(SPEC, key=name, priority=priority)


def decided(spec: ServiceSpec, final: Instances) -> Decision:
    """Return a decision of an automatic service at (10, 20) that ends at these counts."""
    found = decide(context(WIDE, 20_000.0, spec=spec))
    assert not found.changes
    gate = replace(found.steps[-1], before=final, after=final)
    return replace(
        found, final=final, gate=Gate.ACT, move=Move.SCALE_IN, steps=(*found.steps[:-1], gate)
    )


def fleet(*specs: ServiceSpec, removed: int = 0) -> Fleet:
    states = {s.key: state(WIDE) for s in specs}
    return Fleet({s.key: s for s in specs}, states, Allowance(USUAL, removed))


def gates(found: list[Decision]) -> list[Gate]:
    return [one.gate for one in found]


@pytest.mark.parametrize(
    ("removed", "final", "gate"),
    [
        pytest.param(0, Instances(9, 18), Gate.ACT, id="1·2 + 2·4 = 10 of 10 % of 100"),
        pytest.param(1, Instances(9, 18), Gate.PROPOSE, id="10 and 1 gone before are 11"),
        pytest.param(0, Instances(10, 17), Gate.PROPOSE, id="3·4 = 12 of 10"),
        pytest.param(6, Instances(10, 19), Gate.ACT, id="4 and 6 are 10"),
    ],
)
def test_a_tenth_may_go_by_itself_s4(removed: int, final: Instances, gate: Gate) -> None:
    one = decided(service("a"), final)
    (found,) = within_removal_budget([one], fleet(service("a"), removed=removed))
    assert (found.gate, found.final) == (gate, final)
    if gate is Gate.PROPOSE:
        assert (found.move, found.code) == (Move.PROPOSE, Code.REMOVAL_BUDGET)
        assert [step.name for step in found.steps[-2:]] == ["fleet", "gate"]
        assert "10 may go by themselves, 10 % of 100" in found.sentence


def test_one_instance_may_always_go_s4() -> None:
    """A tenth of 6 GPUs is less than one decode instance of 4."""
    tiny = Instances(1, 1)
    small = Fleet({"a": service("a")}, {"a": state(tiny)}, Allowance(USUAL, 0))
    one = replace(decided(service("a"), Instances(10, 19)), current=WIDE)
    assert within_removal_budget([one], small) == [one]


def test_lower_priority_gives_first() -> None:
    low, high = service("z-low", 0), service("a-high", 9)
    final = Instances(10, 16)
    found = within_removal_budget([decided(high, final), decided(low, final)], fleet(low, high))
    assert gates(found) == [Gate.PROPOSE, Gate.ACT]


def test_of_a_rebalance_the_growth_stays() -> None:
    one = replace(decided(service("a"), Instances(12, 10)), move=Move.REBALANCE)
    (found,) = within_removal_budget([one], fleet(service("a")))
    assert (found.gate, found.move, found.final) == (Gate.ACT, Move.SCALE_OUT, Instances(12, 20))
    assert found.steps[-1].after == found.final


def test_unusual_agreement_is_told_m19() -> None:
    specs = [service(name) for name in "abc"]
    found = within_removal_budget([decided(s, Instances(5, 10)) for s in specs], fleet(*specs))
    assert gates(found) == [Gate.PROPOSE] * 3
    assert "unusual agreement: 3 of 3 services want to shrink" in found[0].sentence


FINALS = st.builds(Instances, st.integers(1, 20), st.integers(1, 30))


@given(finals=st.lists(FINALS, min_size=1, max_size=6), removed=st.integers(0, 80))
def test_never_more_than_the_budget_and_growth_untouched_s4(
    finals: list[Instances], removed: int
) -> None:
    specs = [service(f"s{at}", at % 2) for at in range(len(finals))]
    asked = [decided(s, final) for s, final in zip(specs, finals, strict=True)]
    found = within_removal_budget(asked, fleet(*specs, removed=removed))
    per = SPEC.gpus_per_instance
    gone = sum(removed_between(WIDE, f.final, per) for f in found if f.gate is Gate.ACT)
    most = max(USUAL.removal_frac * GPUS * len(specs), per.decode)
    assert gone == 0 or removed + gone <= most
    for before, after in zip(asked, found, strict=True):
        assert after.final.prefill >= min(before.final.prefill, WIDE.prefill)
        if before.final.prefill > WIDE.prefill:
            assert after.final.prefill == before.final.prefill or after.gate is Gate.PROPOSE
    backwards = within_removal_budget(asked[::-1], fleet(*specs[::-1], removed=removed))
    assert backwards == found[::-1]


CHANGE = st.tuples(st.integers(0, 4), FINALS, st.floats(0.0, 400.0))


@given(changes=st.lists(CHANGE, min_size=1, max_size=30), window_s=st.sampled_from([60.0, 600.0]))
def test_over_any_window_automatic_removals_stay_within_the_budget_s4(
    changes: list[tuple[int, Instances, float]], window_s: float
) -> None:
    """Services change one after the other, each from where the last change left it."""
    specs = [service(f"s{at}", at % 2) for at in range(5)]
    held = {spec.key: WIDE for spec in specs}
    gone: list[tuple[float, int]] = []
    now_s, per = 0.0, SPEC.gpus_per_instance
    for at, final, later_s in changes:
        now_s += later_s
        lately = sum(gpus for at_s, gpus in gone if at_s > now_s - window_s)
        seen = Fleet(
            {spec.key: spec for spec in specs},
            {key: state(counts) for key, counts in held.items()},
            Allowance(FleetRules(window_s=window_s), lately),
        )
        asked = replace(decided(specs[at], final), current=held[f"s{at}"])
        (found,) = within_removal_budget([asked], seen)
        if found.gate is Gate.ACT:
            gpus = removed_between(found.current, found.final, per)
            allowed = max(0.1 * seen.serving_gpus, per.decode)
            assert gpus == 0 or lately + gpus <= allowed
            gone.append((now_s, gpus))
            held[found.service] = found.final


def looked(specs: list[ServiceSpec], load_tps: float, *, blind: str = "") -> Look:
    """Return a look at services at (2, 4), 20 GPUs each, under this load; one may be unseen."""
    states = {spec.key: state(SMALL) for spec in specs if spec.key != blind}
    observations = {key: Observation(window({}), seen) for key, seen in states.items()}
    pools = [Pool("eu-1", kind, 10**5, 0, 0, 10**5, 0, 0, 0, 0, 64) for kind in ("H800", "H20")]
    signals = {key: healthy(load_tps, SMALL) for key in states}
    return Look(NOW_S, 45.0, View(observations, pools, {}), signals)


SMALL = Instances(2, 4)
# At 5,000 tok/s each asks for (3, 5), at 6,000 for (3, 6): 6 and 10 GPUs more.
BUSY_TPS = 6000.0


def finals(outcome: Outcome) -> dict[str, Instances]:
    return {one.service: one.final for one in outcome.decisions}


@pytest.mark.parametrize(
    ("max_gpus", "expect"),
    [
        pytest.param(None, [Instances(3, 6), Instances(3, 6)], id="no budget"),
        pytest.param(60, [Instances(3, 6), Instances(3, 6)], id="40 held and 2·10 more are 60"),
        pytest.param(56, [Instances(3, 6), Instances(3, 5)], id="6 left: one of each"),
        pytest.param(50, [Instances(3, 6), SMALL], id="all 10 to the first"),
        pytest.param(30, [SMALL, SMALL], id="over it already: no growth, no shrinking"),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("mode", [Mode.AUTOMATIC, Mode.APPROVE])
def test_the_fleet_holds_at_most_its_budget_s2(
    max_gpus: int | None, expect: list[Instances], order: int, mode: Mode
) -> None:
    wide = policy(step_out_frac=1.0)
    specs = [replace(wide, key="z-first", priority=9), replace(wide, key="a-second")]
    specs = [replace(spec, mode=mode) for spec in specs][::order]
    allowance = Allowance(FleetRules(max_gpus=max_gpus), 0)
    outcome = decide_all(
        specs,
        looked(specs, BUSY_TPS),
        recall=lambda _: Memory(),
        hold_of=lambda _: None,
        allowance=allowance,
    )
    assert finals(outcome) == dict(zip(["z-first", "a-second"], expect, strict=True))


def test_whom_the_budget_stops_is_told_s2() -> None:
    specs = [replace(SPEC, key="a"), replace(SPEC, key="b")]
    outcome = decide_all(
        specs,
        looked(specs, BUSY_TPS),
        recall=lambda _: Memory(),
        hold_of=lambda _: None,
        allowance=Allowance(FleetRules(max_gpus=40), 0),
    )
    assert {one.code for one in outcome.decisions} == {Code.BUDGET_EXHAUSTED}
    assert "the fleet's budget has 0 GPUs left" in outcome.decisions[0].sentence


def test_a_service_that_cannot_be_seen_keeps_its_last_known_use_s2() -> None:
    specs = [replace(SPEC, key="a"), replace(SPEC, key="b")]
    outcome = decide_all(
        specs,
        looked(specs, BUSY_TPS, blind="b"),
        recall={"a": Memory(), "b": Memory(current=Instances(5, 5))}.__getitem__,
        hold_of=lambda _: None,
        allowance=Allowance(FleetRules(max_gpus=56), 0),
    )
    # 20 and 5·2 + 5·4 = 30 are held; 6 are left: one of each.
    assert finals(outcome)["a"] == Instances(3, 5)


@pytest.mark.parametrize(
    ("memory", "seen", "gpus"),
    [
        pytest.param(Memory(), state(SMALL), 20, id="2·2 + 4·4"),
        pytest.param(
            Memory(), state(SMALL, draining=Instances(1, 2)), 30, id="1·2 + 2·4 drain as well"
        ),
        pytest.param(
            Memory(asked=Instances(3, 6)), state(SMALL), 30, id="an action asks for 3·2 + 6·4"
        ),
        pytest.param(
            Memory(asked=Instances(1, 2)), state(SMALL), 20, id="what it takes away still holds"
        ),
        pytest.param(Memory(current=SMALL), None, 20, id="unseen: last known"),
        pytest.param(Memory(), None, 0, id="never seen"),
    ],
)
def test_what_a_service_holds_of_the_fleet_s2(
    memory: Memory, seen: ServiceState | None, gpus: int
) -> None:
    states = {"chat": seen} if seen is not None else {}
    assert held_gpus([SPEC], states, lambda _: memory) == gpus


@given(
    loads=st.lists(st.floats(0.0, 40_000.0), min_size=1, max_size=5),
    max_gpus=st.integers(0, 300),
    priorities=st.lists(st.integers(0, 3), min_size=5, max_size=5),
)
def test_no_load_takes_the_fleet_over_its_budget_s2(
    loads: list[float], max_gpus: int, priorities: list[int]
) -> None:
    wide = policy(step_out_frac=1.0)
    specs = [
        replace(wide, key=f"s{at}", priority=priorities[at], mode=list(Mode)[at % 3])
        for at in range(len(loads))
    ]
    seen = looked(specs, 0.0)
    signals = {f"s{at}": healthy(load, SMALL) for at, load in enumerate(loads)}
    found = [
        decide_all(
            order,
            replace(seen, signals=signals),
            recall=lambda _: Memory(),
            hold_of=lambda _: None,
            allowance=Allowance(FleetRules(max_gpus=max_gpus), 0),
        )
        for order in (specs, specs[::-1])
    ]
    assert found[0].decisions == found[1].decisions
    counts = [
        larger(one.final if one.gate is not Gate.RECORD else SMALL, SMALL)
        for one in found[0].decisions
    ]
    held = 20 * len(loads)
    assert sum(each.gpus(SPEC.gpus_per_instance) for each in counts) <= max(max_gpus, held)


@pytest.mark.parametrize(
    ("allowance", "lead_s"),
    [
        pytest.param(Allowance(FleetRules(), 0), 77.0, id="a fleet: as its services"),
        pytest.param(None, START_S, id="contestants of a backtest don't learn from each other"),
    ],
)
def test_a_new_service_starts_as_the_others_of_its_fleet_do(
    allowance: Allowance | None, lead_s: float
) -> None:
    specs = [replace(SPEC, key="a-old"), replace(SPEC, key="b-new")]
    times = Learnt(took_s=(77.0,))
    known = Memory(history=History(outlook=Outlook(prefill=times, decode=times)))
    outcome = decide_all(
        specs,
        looked(specs, BUSY_TPS),
        recall={"a-old": known, "b-new": Memory()}.__getitem__,
        hold_of=lambda _: None,
        allowance=allowance,
    )
    found = {one.service: one.forecast for one in outcome.decisions}
    assert found["b-new"] is not None
    assert found["b-new"].lead_s == lead_s
