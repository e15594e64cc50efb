"""Weaker hardware where the preferred is short: more instances for the same work (§7)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.decide import decide
from controller.core.placement.plan_plain import PlainPlacement, placement_of, what_matters
from controller.core.placement.preview import Situation, preview
from controller.core.placement.values import Choice, Held, Request, Tenant
from controller.core.placement.weaker import counts_of, handicaps, placed_of, trimmed
from controller.core.reasons import Code
from controller.core.types import Decision, Gate, Instances, Limits, Move, Role
from tests.core.build import context, limits, policy
from tests.core.placement.cycles import need, node, tenant

WIDE: Final = Limits(Instances(1, 1), Instances(50, 50), 10_000)
HALF: Final = Choice("h20", 4, throughput=0.5)


def chat(*held: Held, other: Choice = HALF) -> Tenant:
    """Return a service whose decode prefers h800 and may run on another type; prefill is l40s."""
    return tenant("chat", need("l40s", 4), need("h800", 4, other), held=held)


def fleet(h800: int, h20: int, chat: Tenant) -> Situation:
    """Return nodes with room for so many decode instances on each type, and enough for prefill."""
    rows = [
        *(node(f"a{at}", "h800", free=4) for at in range(h800)),
        *(node(f"b{at}", "h20", free=4) for at in range(h20)),
        *(node(f"c{at}", "l40s") for at in range(10)),
    ]
    return Situation(rows, {"chat": chat})


def grown(now: Instances, to: Instances) -> Decision:
    """Return the decision, made by a load alone, to grow."""
    spec = policy(ratio_tolerance=0.9, step_out_frac=9.0, pd_ratio=0.25)
    found = decide(context(now, 1000.0 * to.decode, spec=spec))
    assert (found.final, found.gate) == (to, Gate.ACT)
    return found


def previewed(
    situation: Situation, decision: Decision, bounds: Limits = WIDE
) -> tuple[Decision, PlainPlacement]:
    (found,), parts = preview([decision], situation, {}, {"chat": bounds})
    return found, parts["chat"]


def hardware(part: PlainPlacement) -> dict[str, int]:
    counted: dict[str, int] = {}
    for one in part["places"]:
        if one["role"] == "decode":
            counted[one["hardware"]] = counted.get(one["hardware"], 0) + 1
    return counted


PREFILL: Final = Held("chat-prefill-1", Role.PREFILL, "chat-g1", (("c0", 4),))
DECODE: Final = Held("chat-decode-1", Role.DECODE, "chat-g1", (("c0", 4),))


@pytest.mark.parametrize(
    ("h800", "throughput", "final", "where", "said"),
    [
        pytest.param(3, 0.5, 4, {"h800": 3}, "", id="room-for-all-3"),
        pytest.param(
            2, 0.5, 5, {"h800": 2, "h20": 2}, "2 decode on h20 do the work of 1", id="2+2x0.5"
        ),
        pytest.param(0, 0.5, 7, {"h20": 6}, "6 decode on h20 do the work of 3", id="6x0.5"),
        pytest.param(
            2, 0.4, 6, {"h800": 2, "h20": 3}, "3 decode on h20 do the work of 1.2", id="2+3x0.4"
        ),
        pytest.param(
            0, 2.0, 3, {"h20": 2}, "2 decode on h20 do the work of 4", id="2x2-a-faster-type"
        ),
    ],
)
def test_the_decision_follows_what_is_placed(
    h800: int, throughput: float, final: int, where: dict[str, int], said: str
) -> None:
    """3 decode instances more are wanted, of 1 there is."""
    service = chat(PREFILL, DECODE, other=Choice("h20", 4, throughput))
    found, part = previewed(fleet(h800, 9, service), grown(Instances(1, 1), Instances(1, 4)))
    assert found.final == Instances(1, final)
    assert hardware(part) == where
    steps = [step for step in found.steps if step.name == "hardware"]
    assert [step.code for step in steps] == [Code.WEAKER_HARDWARE] * bool(said)
    assert part.get("asked") == ({"prefill": 0, "decode": 3} if said else None)
    assert said in found.sentence
    for one, two in zip(found.steps[-2:], found.steps[-1:], strict=False):
        assert one.after == two.before == found.final


@pytest.mark.parametrize(
    ("bounds", "final", "where"),
    [
        pytest.param(
            replace(WIDE, maximum=Instances(50, 4)), 4, {"h800": 2, "h20": 1}, id="at-most-4"
        ),
        pytest.param(replace(WIDE, max_gpus=20), 4, {"h800": 2, "h20": 1}, id="8-held-12-more"),
        pytest.param(replace(WIDE, max_gpus=12), 2, {"h800": 1}, id="8-held-4-more"),
        pytest.param(replace(WIDE, max_gpus=11), 1, {}, id="8-held-3-more-are-none"),
    ],
)
def test_no_limit_is_exceeded_and_the_weakest_are_left_out(
    bounds: Limits, final: int, where: dict[str, int]
) -> None:
    """S2: 2 on h800 and 2 on h20 would be placed, each of 4 GPUs."""
    found, part = previewed(
        fleet(2, 9, chat(PREFILL, DECODE)), grown(Instances(1, 1), Instances(1, 4)), bounds
    )
    assert found.final == Instances(1, final)
    assert hardware(part) == where
    assert found.changes is bool(where)
    assert (found.move is Move.BLOCKED) is not where or bool(where)
    assert (found.gate is Gate.NONE) is (not where)


def test_what_is_carried_out_is_computed_the_same() -> None:
    service = chat(PREFILL, DECODE)
    situation = fleet(2, 9, service)
    bounds = replace(WIDE, maximum=Instances(50, 4))
    found, part = previewed(situation, grown(Instances(1, 1), Instances(1, 4)), bounds)
    plan = situation.plan([Request("chat", Instances(**part["asked"]))])
    plan = trimmed(plan, service, Instances(0, found.final.decode - 1))
    now = placement_of(plan, "chat", version=0, touched="")
    assert what_matters(part, now) == ""
    assert now["places"] == part["places"]


@pytest.mark.parametrize(
    ("h800", "said"),
    [
        pytest.param(2, "", id="as-it-was"),
        pytest.param(3, "It would run on decode h800, not on decode h20, decode h800", id="freed"),
        pytest.param(1, "It would run on 3 decode h20, 1 decode h800, not on 2", id="one-less"),
    ],
)
def test_other_hardware_than_agreed_matters(h800: int, said: str) -> None:
    service = chat(PREFILL, DECODE)
    found, part = previewed(fleet(2, 9, service), grown(Instances(1, 1), Instances(1, 4)))
    plan = fleet(h800, 9, service).plan([Request("chat", Instances(0, 3))])
    plan = trimmed(plan, service, Instances(0, found.final.decode - 1))
    why = what_matters(part, placement_of(plan, "chat", version=0, touched=""))
    if h800 == 3:
        assert why.startswith("There is room for 3 of 4 decode instances now.")
    else:
        assert why.startswith(said)
        assert bool(why) is bool(said)


@pytest.mark.parametrize(
    ("speeds", "lacking"),
    [
        pytest.param((1.0, 1.0), 0, id="as-fast"),
        pytest.param((0.5, 0.5), 1, id="1"),
        pytest.param((0.5,), 1, id="0.5-up"),
        pytest.param((0.4, 0.4, 0.4), 2, id="1.8-up"),
        pytest.param((0.8,) * 5, 1, id="five-times-0.2-is-1-not-more"),
        pytest.param((2.0, 2.0), 0, id="a-faster-one-counts-as-one"),
    ],
)
def test_what_instances_do_less(speeds: tuple[float, ...], lacking: int) -> None:
    held = [
        Held(f"chat-decode-{at}", Role.DECODE, "g", ((f"b{at}", 4),)) for at in range(len(speeds))
    ]
    service = chat(*held, other=Choice("h20", 4, speeds[0]))
    found = handicaps([service], fleet(0, 9, service).rows)
    assert found == ({"chat": Instances(0, lacking)} if lacking else {})


@given(
    st.integers(0, 6),
    st.sampled_from([0.3, 0.4, 0.5, 0.75, 0.9, 1.5, 2.0]),
    st.floats(1.0, 9.0),
    st.integers(5, 40),
)
def test_a_load_that_stays_is_served_and_left_alone(
    h800: int, throughput: float, load: float, most: int
) -> None:
    """S2, S8, S9: grown once for the load, the service neither shrinks again nor grows on."""
    spec = replace(
        policy(ratio_tolerance=0.99, step_out_frac=10.0),
        limits=limits(maximum=Instances(1, most)).limits,
    )
    service = chat(PREFILL, DECODE, other=Choice("h20", 4, throughput))
    counts = Instances(1, 1)
    seen: list[Instances] = []
    for _ in range(6):
        situation = fleet(h800, 60, service)
        ctx = replace(
            context(counts, 1000.0 * load, spec=spec),
            handicap=handicaps([service], situation.rows).get("chat", Instances(0, 0)),
        )
        found, parts = preview([decide(ctx)], situation, {}, {"chat": spec.limits})
        counts = found[0].final
        seen.append(counts)
        assert counts.decode <= most
        if parts:
            service = _with(service, parts["chat"])
            h800 -= hardware(parts["chat"]).get("h800", 0)
        assert service.counts == counts
    first = next(at for at, each in enumerate(seen) if each == seen[-1])
    assert seen[first:] == [seen[-1]] * (len(seen) - first)
    assert [each.decode for each in seen] == sorted(each.decode for each in seen)
    does = 1 + sum(
        1.0 if dict(one.nodes).keys() < {f"a{at}" for at in range(9)} else throughput
        for one in service.held[2:]
    )
    assert does >= min(load / 1.1, 1 + (most - 1) * min(throughput, 1.0)) - 1e-9


def _with(service: Tenant, part: PlainPlacement) -> Tenant:
    new = [
        Held(f"{one['instance']}", Role(one["role"]), one["group"], tuple(one["nodes"].items()))
        for one in part["places"]
    ]
    return replace(service, held=(*service.held, *new))


def test_instances_are_counted_once_however_many_pods_they_have() -> None:
    service = chat(PREFILL, DECODE)
    plan = fleet(2, 9, service).plan([Request("chat", Instances(1, 3))])
    placed = placed_of(plan, "chat")
    assert counts_of(placed) == Instances(1, 4)
