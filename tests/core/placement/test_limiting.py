"""What a placement cycle makes of decisions: growth without room is cut or held."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.core.placement.limiting import limited, requests_of, unplanned
from controller.core.placement.preview import Situation, preview
from controller.core.placement.values import Plan, Request, Unplaced
from controller.core.reasons import Code
from controller.core.types import Decision, Gate, Instances, Mode, Move, Step
from tests.core.placement.cycles import need, node, tenant

NOW = Instances(2, 4)


def decision(
    final: Instances,
    *,
    service: str = "chat",
    gate: Gate = Gate.ACT,
    then: Instances | None = None,
) -> Decision:
    """Return a decision of a service that stands at prefill 2, decode 4."""
    code = Code.AWAITING_APPROVAL if gate is Gate.PROPOSE else Code.ABOVE_TARGET
    said = "Proposes decode 4 → 8" if gate is Gate.PROPOSE else "Decode 4 → 8"
    return Decision(
        service=service,
        now_s=0.0,
        mode=Mode.AUTOMATIC,
        policy_version=1,
        signals={},
        current=NOW,
        raw=final,
        steps=(Step("policy", NOW, final, code, ""), Step("gate", final, final, code, "")),
        final=final,
        then=then,
        move=Move.SCALE_OUT,
        gate=gate,
        code=code,
        sentence=f"{said}. Decode throughput is over target.",
        driver="decode_tps",
    )


def unplaced(asked: Instances, placed: Instances, *, service: str = "chat") -> Unplaced:
    return Unplaced(
        service, asked, placed, Code.FRAGMENTED, "12 GPUs are free in pieces.", "4 more H20 GPUs"
    )


@pytest.mark.parametrize(
    ("wanted", "placed", "final"),
    [
        pytest.param((4, 8), (1, 2), (3, 6), id="one-of-two-units: 2+1, 4+2"),
        pytest.param((5, 10), (2, 4), (4, 8), id="two-of-three-units: 2+2, 4+4"),
        pytest.param((2, 9), (0, 3), (2, 7), id="decode-alone: 3-of-5"),
        pytest.param((1, 8), (0, 3), (1, 7), id="what-shrinks-beside-still-goes: 2-1, 4+3"),
    ],
)
def test_growth_is_cut_to_what_was_placed(
    wanted: tuple[int, int], placed: tuple[int, int], final: tuple[int, int]
) -> None:
    one = decision(Instances(*wanted), then=Instances(9, 9))
    asked = Instances(*(max(want - now, 0) for want, now in zip(wanted, NOW, strict=True)))
    (cut,) = limited([one], Plan(unplaced=[unplaced(asked, Instances(*placed))]))
    assert (cut.final, cut.then, cut.gate) == (Instances(*final), None, Gate.ACT)
    assert (cut.move, cut.code) == (one.move, one.code), "it still is carried out"
    *_, step, gate = cut.steps
    assert (step.name, step.before, step.after) == ("placement", one.final, Instances(*final))
    assert step.code is Code.FRAGMENTED
    assert (gate.name, gate.before, gate.after) == ("gate", cut.final, cut.final)


@pytest.mark.parametrize(
    ("gate", "start"),
    [
        (Gate.ACT, "Prefill 2 → 3 (wanted 4), decode 4 → 6 (wanted 8). Limited by placement: "),
        (
            Gate.PROPOSE,
            "Proposes prefill 2 → 3 (wanted 4), decode 4 → 6 (wanted 8). Limited by placement: ",
        ),
    ],
)
def test_the_sentence_of_a_cut_says_both_counts_why_and_what_would_help(
    gate: Gate, start: str
) -> None:
    plan = Plan(unplaced=[unplaced(Instances(2, 4), Instances(1, 2))])
    (cut,) = limited([decision(Instances(4, 8), gate=gate)], plan)
    assert cut.sentence == (
        f"{start}12 GPUs are free in pieces. It would fit with 4 more H20 GPUs."
        " Decode throughput is over target."
    )


def test_nothing_placed_is_blocked_and_its_second_half_dropped() -> None:
    one = decision(Instances(1, 8), then=Instances(3, 8))
    (held,) = limited([one], Plan(unplaced=[unplaced(Instances(0, 4), Instances(0, 0))]))
    assert (held.final, held.then) == (NOW, None), "not even what would have shrunk"
    assert (held.move, held.gate, held.code) == (Move.BLOCKED, Gate.NONE, Code.FRAGMENTED)
    assert [step.name for step in held.steps] == ["policy", "placement"]
    assert held.steps[-1].after == NOW
    assert held.sentence == (
        "Wanted decode 4 → 8, prefill 2 → 1, and there is no room:"
        " 12 GPUs are free in pieces. It would fit with 4 more H20 GPUs."
    )


def test_others_and_their_order_stay() -> None:
    ones = [decision(Instances(4, 8), service=name) for name in ("c", "a", "b")]
    plan = Plan(unplaced=[unplaced(Instances(2, 4), Instances(0, 0), service="a")])
    after = limited(ones, plan)
    assert [one.service for one in after] == ["c", "a", "b"]
    assert (after[0], after[2]) == (ones[0], ones[2])


def test_only_what_is_carried_out_or_proposed_asks_for_room() -> None:
    ones = [
        decision(Instances(4, 8), service="acts"),
        decision(Instances(1, 2), service="shrinks", gate=Gate.PROPOSE),
        decision(Instances(4, 8), service="observed", gate=Gate.RECORD),
        decision(NOW, service="holds", gate=Gate.ACT),
    ]
    assert requests_of(ones, {"acts": 3}) == [
        Request("acts", Instances(2, 4), 3),
        Request("shrinks", Instances(-1, -2), 0),
    ]


def test_what_is_wrong_with_a_service_holds_its_growth_and_lets_it_shrink_s24() -> None:
    asked = [Request("grows", Instances(1, -1)), Request("shrinks", Instances(-1, -1))]
    wrong = dict.fromkeys(("grows", "shrinks"), "KeyError: 'zone'")
    (held,) = unplanned(asked, wrong)
    assert (held.service, held.asked, held.placed) == ("grows", Instances(1, 0), Instances(0, 0))
    (grows,) = limited([decision(Instances(3, 3), service="grows")], Plan(unplaced=[held]))
    assert (grows.final, grows.gate, grows.code) == (NOW, Gate.NONE, Code.EXECUTOR_ERROR)
    assert grows.sentence == (
        "Wanted decode 4 → 3, prefill 2 → 3, and nothing grows:"
        " Where it would go can't be worked out (KeyError: 'zone')."
    )


ROWS = [node(f"c/n{at}", "h20") for at in range(2)]
SMALL = tenant("chat", need("h20", 2), need("h20", 2))


def test_one_service_that_cannot_be_planned_leaves_the_others_as_they_are_s24() -> None:
    broken = replace(SMALL, name="bad", pd_ratio=float("nan"))
    ones = [decision(Instances(3, 6), service=name) for name in ("bad", "chat")]
    alone = preview(ones[1:], Situation(ROWS, {"chat": SMALL}), {}, {})
    both, found = preview(ones, Situation(ROWS, {"chat": SMALL, "bad": broken}), {}, {})
    assert (both[1], found["chat"]["places"]) == (alone[0][0], alone[1]["chat"]["places"])
    assert both[0].code is Code.EXECUTOR_ERROR
    assert "ValueError" in both[0].sentence


def test_one_service_that_cannot_be_read_leaves_the_others_as_they_are_s24() -> None:
    seen = Situation(ROWS, {"chat": SMALL}, unreadable={"bad": "TypeError: no list"})
    ones = [decision(Instances(3, 6), service=name) for name in ("bad", "chat")]
    both, _ = preview(ones, seen, {}, {})
    assert [one.code for one in both] == [Code.EXECUTOR_ERROR, Code.ABOVE_TARGET]
    shrinks = decision(Instances(1, 2), service="bad")
    assert preview([shrinks], seen, {}, {})[0] == [shrinks]


def test_a_service_of_a_cluster_without_nodes_passes_untouched() -> None:
    ones = [decision(Instances(40, 80), service="elsewhere")]
    assert preview(ones, Situation(ROWS, {"chat": SMALL}), {}, {}) == (ones, {})


def test_a_pair_is_placed_in_whole_multiples_of_its_ratio() -> None:
    """16 GPUs hold 8 instances: two units of (1, 2) in the (3, 6) asked, with two places over."""
    (cut,), found = preview([decision(Instances(5, 10))], Situation(ROWS, {"chat": SMALL}), {}, {})
    assert cut.final == Instances(4, 8)
    assert found["chat"]["unplaced"] is not None
    assert found["chat"]["unplaced"]["prefill"] == 1
    assert len(found["chat"]["places"]) == 6
