"""What all services together may give up without a person (S4, M19)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.decide import decide
from controller.core.fleet import REMOVAL_FRAC, Fleet, removed_between, within_removal_budget
from controller.core.reasons import Code
from controller.core.types import Decision, Gate, Instances, Move, ServiceSpec
from tests.core.build import SPEC, context, state

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
    return Fleet({s.key: s for s in specs}, {s.key: state(WIDE) for s in specs}, removed)


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
    small = Fleet({"a": service("a")}, {"a": state(tiny)}, 0)
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
    most = max(REMOVAL_FRAC * GPUS * len(specs), per.decode)
    assert gone == 0 or removed + gone <= most
    for before, after in zip(asked, found, strict=True):
        assert after.final.prefill >= min(before.final.prefill, WIDE.prefill)
        if before.final.prefill > WIDE.prefill:
            assert after.final.prefill == before.final.prefill or after.gate is Gate.PROPOSE
    backwards = within_removal_budget(asked[::-1], fleet(*specs[::-1], removed=removed))
    assert backwards == found[::-1]
