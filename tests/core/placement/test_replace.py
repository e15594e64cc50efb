"""What is lost with its node: back beside its partners, refused with numbers, or offered whole."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.fleet import Level, NodeRow
from controller.core.placement.choose import Choosing
from controller.core.placement.layout import Facts, Fleet, fleet_of, sizes_of
from controller.core.placement.replace import Replacing, lost_of, replacements
from controller.core.placement.slots import Slots
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    PartNeed,
    RoleForm,
    RoleNeed,
    Spread,
    Tenant,
)
from controller.core.reasons import Code
from controller.core.types import Instances, Role
from tests.core.placement.cycles import IN_S2, need, node, tenant

EXAMPLES: Final = 60 * int(os.environ.get("HETEROSCALE_EXAMPLES", "1"))

GROUP: Final = (
    Held("p1", Role.PREFILL, "chat-g1", (("a", 4),)),
    Held("d1", Role.DECODE, "chat-g1", (("x", 4),)),
    Held("d2", Role.DECODE, "chat-g1", (("x", 4),)),
)
LOST_X: Final = node("x", "h20", "s2-1/s1-1", free=0, usable=False)


def service(held: Sequence[Held] = GROUP, affinity: Affinity | None = None) -> Tenant:
    form = need("h20", 4)
    return tenant("chat", form, form, held=held, affinity=affinity or IN_S2)


def ground(rows: Sequence[NodeRow], one: Tenant) -> tuple[Choosing, Fleet]:
    barred = {row.name: "draining" for row in rows if not row.usable}
    fleet = fleet_of(rows, [one], Facts(barred=barred, lost=frozenset(barred)))
    slots = Slots(fleet.view, sizes_of([one]))
    return Choosing(slots, np.ones(len(fleet.view.topology.types))), fleet


def replaced(rows: Sequence[NodeRow], one: Tenant) -> Replacing:
    choosing, fleet = ground(rows, one)
    return replacements(choosing, fleet, one, lost_of(fleet, [one]).get(one.name, ()))


def to(found: Replacing) -> dict[str, str]:
    return {move.instance: move.to_nodes[0][0] for move in found.moves}


def test_what_failed_or_drains_is_lost_and_what_is_unknown_or_cordoned_stays() -> None:
    held = [
        *GROUP,
        Held("d3", Role.DECODE, "chat-g1", (("gone", 4),)),
        Held("d4", Role.DECODE, "chat-g1", (("y", 4),)),
    ]
    chat, other = service(held), replace(service(GROUP[:1]), name="other")
    rows = [node("a", "h20"), LOST_X, node("y", "h20", free=0, usable=False)]
    facts = Facts(barred={"x": "draining", "y": "cordoned"}, lost=frozenset({"x"}))
    found = lost_of(fleet_of(rows, [chat], facts), [chat, other])
    assert {name: [one.name for one in lost] for name, lost in found.items()} == {
        "chat": ["d1", "d2"]
    }


@pytest.mark.parametrize(
    ("rows", "expect"),
    [
        pytest.param(
            [node("a", "h20", free=0), node("b", "h20"), node("c", "h20", "s2-1/s1-2")],
            {"d1": "b", "d2": "b"},
            id="both in the S1 of the survivor",
        ),
        pytest.param(
            [node("a", "h20", free=4), node("b", "h20", "s2-1/s1-2")],
            {"d1": "a", "d2": "b"},
            id="one in the S1 of the survivor, one as near as its S2 allows",
        ),
        pytest.param(
            [node("a", "h20", free=0), node("b", "h20", "s2-2/s1-9")],
            {},
            id="none in another S2",
        ),
    ],
)
def test_what_is_lost_comes_back_as_near_to_the_survivors_as_can_be(
    rows: list[NodeRow], expect: dict[str, str]
) -> None:
    assert to(replaced([*rows, LOST_X], service())) == expect


def test_a_refusal_has_the_numbers_and_the_whole_group_is_offered() -> None:
    """s2-1 has 4 GPUs left: one of two; s2-2 has 16: 3 instances of 4 fit."""
    rows = [
        node("a", "h20", free=0),
        node("b", "h20", "s2-1/s1-1", free=4),
        node("c", "h20", "s2-2/s1-9"),
        node("d", "h20", "s2-2/s1-9"),
        LOST_X,
    ]
    chat = service()
    choosing, fleet = ground(rows, chat)
    found = replacements(choosing, fleet, chat, GROUP[1:])
    (refused,) = found.refused
    assert refused.sentence == (
        "2 decode instances of chat-g1 are lost on x; s2-1 has room for 1 of them."
    )
    assert (refused.code, refused.would_fit_if) == (
        Code.NO_CAPACITY_DOMAIN,
        "room for 1 more decode instance in s2-1",
    )
    assert (refused.asked, refused.placed) == (Instances(0, 2), Instances(0, 1))
    assert to(found) == {"d1": "b"}
    offered = {move.instance: (move.from_nodes, move.where.label) for move in found.whole_group}
    assert offered == {one.name: (one.nodes, "s1-9") for one in GROUP}
    free = dict(zip(fleet.view.topology.names, choosing.slots.free.tolist(), strict=True))
    assert free == {"a": 0, "b": 0, "c": 8, "d": 8, "x": 0}, "an offer takes nothing"


def test_a_group_is_not_offered_where_it_does_not_fit_whole() -> None:
    rows = [node("a", "h20", free=0), node("c", "h20", "s2-2/s1-9"), LOST_X]
    found = replaced(rows, service())
    assert found.whole_group == ()
    assert found.refused[0].sentence.endswith("s2-1 has room for 0 of them.")


def test_the_one_that_is_lost_is_told_as_one() -> None:
    rows = [node("a", "h20", free=0), LOST_X]
    (refused,) = replaced(rows, service(GROUP[:2])).refused
    assert refused.sentence == (
        "1 decode instance of chat-g1 is lost on x; s2-1 has no room for it."
    )


def test_nodes_beyond_the_third_are_counted() -> None:
    held = [GROUP[0], *(Held(f"d{n}", Role.DECODE, "chat-g1", ((f"x{n}", 4),)) for n in range(5))]
    rows = [node(f"x{n}", "h20", free=0, usable=False) for n in range(5)]
    (refused,) = replaced([node("a", "h20", free=0), *rows], service(held)).refused
    assert "are lost on x0, x1, x2 and 2 more nodes;" in refused.sentence


def test_a_group_of_which_nothing_is_left_begins_anew_and_whole() -> None:
    held = [replace(one, nodes=(("x", 2),)) for one in GROUP]
    rows = [node("b", "h20", free=4), node("c", "h20", "s2-2/s1-9", free=8), LOST_X]
    (refused,) = replaced(rows, service(held)).refused
    assert refused.sentence == (
        "1 prefill instance and 2 decode instances of chat-g1 are lost on x;"
        " no S2 has room for all of them."
    )
    found = replaced([*rows, node("d", "h20", "s2-2/s1-8")], service(held))
    assert set(to(found)) == {"p1", "d1", "d2"}
    assert {move.to_nodes[0][0] for move in found.moves} == {"c", "d"}


def test_survivors_that_are_apart_fix_the_nearest_they_share() -> None:
    """One survivor in each S2: the cluster is what they share, though S2 was asked for."""
    held = [*GROUP, Held("d3", Role.DECODE, "chat-g1", (("c", 4),))]
    rows = [
        node("a", "h20", free=0),
        node("c", "h20", "s2-2/s1-9", free=4),
        node("e", "h20", "s2-3/s1-7", free=4),
        LOST_X,
    ]
    assert set(to(replaced(rows, service(held))).values()) == {"c", "e"}


def test_hardware_is_taken_in_its_order_and_one_replaces_one_whatever_its_pace() -> None:
    form = RoleForm(RoleNeed((Choice("h800", 4), Choice("h20", 4, throughput=0.5))))
    chat = tenant("chat", form, form, held=GROUP)
    rows = [node("a", "h20", free=4), node("b", "h800", free=4), LOST_X]
    found = replaced(rows, chat)
    assert [(move.instance, move.hardware) for move in found.moves] == [
        ("d1", "h800"),
        ("d2", "h20"),
    ]


def test_a_role_with_less_choice_is_served_first() -> None:
    """Prefill may use both types, decode only h20: b is left to decode."""
    chat = tenant(
        "chat",
        RoleForm(RoleNeed((Choice("h20", 8), Choice("h800", 8)))),
        need("h20", 8),
        held=[
            Held("p0", Role.PREFILL, "chat-g1", (("a", 8),)),
            Held("p1", Role.PREFILL, "chat-g1", (("x", 8),)),
            Held("d1", Role.DECODE, "chat-g1", (("x", 8),)),
        ],
    )
    rows = [node("a", "h800", free=0), node("b", "h20"), node("c", "h800"), LOST_X]
    assert to(replaced(rows, chat)) == {"d1": "b", "p1": "c"}


def test_a_part_comes_back_beside_the_rest_of_its_instance() -> None:
    """The FFN pod of u1 goes to the S1 of its attention pods, though the S2 has more room."""
    parts = (
        PartNeed("attention", 2, RoleNeed((Choice("h20", 2),))),
        PartNeed("ffn", 1, RoleNeed((Choice("h20", 4),))),
    )
    held = [
        Held("u1-a1", Role.PREFILL, "moe-g1", (("a", 2),), part="attention", unit="u1"),
        Held("u1-a2", Role.PREFILL, "moe-g1", (("a", 2),), part="attention", unit="u1"),
        Held("u1-f1", Role.PREFILL, "moe-g1", (("x", 4),), part="ffn", unit="u1"),
        Held("d1", Role.DECODE, "moe-g1", (("c", 4),)),
    ]
    moe = replace(
        tenant("moe", held=held),
        roles={Role.PREFILL: RoleForm(parts=parts), Role.DECODE: need("h20", 4)},
    )
    rows = [node("a", "h20", free=4), node("c", "h20", "s2-1/s1-2", free=4), LOST_X]
    assert to(replaced(rows, moe)) == {"u1-f1": "a"}
    full = [replace(rows[0], free=2), rows[1], LOST_X]
    refused = replaced(full, moe)
    assert [one.asked for one in refused.refused] == [Instances(1, 0)]
    elsewhere = [node(f"e{n}", "h20", f"s2-2/s1-{n}") for n in (8, 9)]
    offered = replaced([*full, *elsewhere], moe).whole_group
    assert {move.instance for move in offered} == {one.name for one in held}
    prefill = {move.to_nodes[0][0] for move in offered if move.role is Role.PREFILL}
    assert len(prefill) == 1


def test_a_spread_service_keeps_to_its_share_of_each_domain() -> None:
    """4 decode over 2 S1s are 2 each: s1-1 has 1 and takes 1 more, s1-2 has 1 and takes 1."""
    held = [
        Held("p1", Role.PREFILL, "chat-g1", (("a", 4),)),
        *(
            Held(f"d{n}", Role.DECODE, "chat-g1", ((at, 4),))
            for n, at in enumerate(("b", "c", "x", "x"))
        ),
    ]
    chat = replace(service(held), spread=Spread(Level.S1, 2))
    rows = [
        node("a", "h20", free=0),
        node("b", "h20", free=8),
        node("c", "h20", "s2-1/s1-2", free=8),
        replace(LOST_X, s1="s1-3"),
    ]
    assert sorted(to(replaced(rows, chat)).values()) == ["b", "c"]


@st.composite
def broken(draw: st.DrawFn) -> tuple[list[NodeRow], Tenant]:
    """A fleet of three S2s of two S1s and one service on it, some nodes of which drain."""
    rows = [
        node(
            f"n{at}",
            draw(st.sampled_from(("h20", "h800"))),
            f"s2-{at % 3}/s1-{at % 6}",
            free=draw(st.sampled_from((0, 2, 4, 8))),
            usable=draw(st.integers(0, 3)) > 0,
        )
        for at in range(draw(st.integers(1, 12)))
    ]
    names = [row.name for row in rows] + ["gone"]
    held = [
        Held(f"i{at}", draw(st.sampled_from(list(Role))), f"g{at % 3}", ((place, 2),))
        for at, place in enumerate(draw(st.lists(st.sampled_from(names), max_size=9)))
    ]
    form = RoleForm(RoleNeed((Choice("h20", 2), Choice("h800", 4))))
    affinity = Affinity(draw(st.sampled_from(list(Level))), draw(st.booleans()))
    return rows, tenant("chat", form, form, held=held, affinity=affinity)


@settings(deadline=None, max_examples=EXAMPLES)
@given(broken())
def test_all_that_is_lost_is_replaced_or_refused_and_nothing_is_given_twice(
    drawn: tuple[list[NodeRow], Tenant],
) -> None:
    rows, chat = drawn
    choosing, fleet = ground(rows, chat)
    lost = lost_of(fleet, [chat]).get("chat", ())
    found = replacements(choosing, fleet, chat, lost)
    for role in Role:
        moved = sum(move.role is role for move in found.moves)
        short = sum(one.asked.of(role) - one.placed.of(role) for one in found.refused)
        assert moved + short == sum(one.role is role for one in lost)
    for some in (found.moves, found.moves + found.whole_group):
        taken = Counter(name for move in some for name, gpus in move.to_nodes for _ in range(gpus))
        free = {row.name: row.free if row.usable else 0 for row in rows}
        assert all(gpus <= free[name] for name, gpus in taken.items())
    left = dict(zip(fleet.view.topology.names, choosing.slots.free.tolist(), strict=True))
    used = Counter(name for m in found.moves for name, gpus in m.to_nodes for _ in range(gpus))
    usable = [row for row in rows if row.usable]
    assert {row.name: left[row.name] for row in usable} == {
        row.name: row.free - used[row.name] for row in usable
    }


@settings(deadline=None, max_examples=EXAMPLES)
@given(broken())
def test_a_group_is_as_near_after_as_its_survivors_or_its_affinity_allow(
    drawn: tuple[list[NodeRow], Tenant],
) -> None:
    rows, chat = drawn
    choosing, fleet = ground(rows, chat)
    lost = lost_of(fleet, [chat]).get("chat", ())
    found = replacements(choosing, fleet, chat, lost)
    offered = {move.group for move in found.whole_group}
    assert offered <= {one.group for one in chat.held if one not in lost}
    for group in {one.group for one in chat.held}:
        stays = {n for one in chat.held if one.group == group and one not in lost
                 for n, _ in one.nodes}  # fmt: skip
        came = {n for move in found.moves if move.group == group for n, _ in move.to_nodes}
        near = fleet.nearest(sorted(stays)) if stays else None
        if near is not None and came:
            after = fleet.nearest(sorted(stays | came))
            assert after is not None
            farthest = chat.affinity.level if chat.affinity.required else Level.CLUSTER
            assert after.level <= max(near.level, farthest)
        whole = {n for move in found.whole_group if move.group == group for n, _ in move.to_nodes}
        assert not whole or fleet.domain_of(whole, chat.affinity.level) is not None
    again, _ = ground(rows, chat)
    assert replacements(again, fleet, chat, lost) == found
