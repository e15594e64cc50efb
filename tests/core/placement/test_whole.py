"""Whole groups on fleets: nothing is given twice, no group leaves its domain, few are lost."""

from __future__ import annotations

import json
from collections import Counter
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fleets import fleet
from benchmarks.optimum import Optimum, ours
from controller.core.fleet import FleetView, Level, NodeRow, Scarcity, view_of
from controller.core.placement.choose import Ask, Choosing
from controller.core.placement.slots import Option, Part, Size, Slots, counting_of
from controller.core.placement.whole import WholeGroup, pack_groups

TYPES = ("h20", "h800")


def row(name: str, s1: str, hardware: str = "h800", free: int = 8, s2: str = "s2") -> NodeRow:
    return NodeRow(name, "c", s2, s1, "r", hardware, 8, free)


nodes = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(TYPES), st.integers(0, 8)),
    min_size=1,
    max_size=12,
)
roles = st.tuples(
    st.integers(1, 3), st.sampled_from((1, 2, 4, 8)), st.sampled_from((*TYPES, "both"))
)


def fleet_of(drawn: list[tuple[int, str, int]]) -> FleetView:
    return view_of(
        row(f"n{at}", f"s1-{s1}", hardware, free, s2=f"s2-{s1 // 2}")
        for at, (s1, hardware, free) in enumerate(drawn)
    )


def ask_of(view: FleetView, drawn: list[tuple[int, int, str]], **fields: Any) -> Ask | None:
    parts = []
    for at, (pods, gpus, hardware) in enumerate(drawn):
        names = TYPES if hardware == "both" else (hardware,)
        kinds = [kind for name in names if (kind := view.topology.type_of(name)) is not None]
        if not kinds:
            return None
        options = tuple(Option(kind, Size(gpus)) for kind in kinds)
        parts.append(Part(f"role{at}", pods, options))
    return Ask("chat", tuple(parts), **fields)


def most_by_hand(view: FleetView, ask: Ask, domain: slice) -> int:
    """Count units one by one, through every way to spread their pods over the nodes."""
    free = tuple(view.free[domain].tolist())
    kinds = view.topology.hardware[domain].tolist()

    def after(left: frozenset[tuple[int, ...]]) -> frozenset[tuple[int, ...]]:
        for part in ask.parts:
            types = {option.type for option in part.options}
            gpus = part.options[0].size.gpus
            for _ in range(part.pods):
                left = frozenset(
                    (*have[:at], have[at] - gpus, *have[at + 1 :])
                    for have, at in product(left, range(len(kinds)))
                    if kinds[at] in types and have[at] >= gpus
                )
        return left

    count, states = 0, frozenset({free})
    while count < 6 and (states := after(states)):
        count += 1
    return count


@settings(deadline=None, max_examples=60)
@given(nodes.filter(lambda drawn: len(drawn) <= 4), st.tuples(roles, roles))
def test_units_are_counted_as_by_hand(
    drawn: list[tuple[int, str, int]], wanted: tuple[tuple[int, int, str], ...]
) -> None:
    view = fleet_of(drawn)
    ask = ask_of(view, list(wanted), units=1)
    if ask is None:
        return
    slots = Slots(view, {option.size for part in ask.parts for option in part.options})
    counting = counting_of(ask.parts)
    assert counting.exact
    for level in Level:
        counted = counting.units(slots, level)
        for domain in range(len(counted)):
            by_hand = most_by_hand(view, ask, view.topology.members(level, domain))
            assert min(int(counted[domain]), 6) == by_hand


wishes = st.tuples(st.sampled_from(Level), st.sampled_from((Level.S1, None)))


def check(view: FleetView, asks: list[Ask], groups: list[WholeGroup]) -> None:
    """Fail unless groups are whole, in one domain each, on nodes of the right type with room."""
    taken: Counter[int] = Counter()
    for group in groups:
        ask = next(one for one in asks if one.service == group.service)
        assert Counter(pod.role for pod in group.pods) == {
            part.role: part.pods for part in ask.parts
        }
        for pod in group.pods:
            (part,) = [one for one in ask.parts if one.role == pod.role]
            for node, gpus in pod.nodes:
                assert view.topology.hardware[node] in {one.type for one in part.options}
                taken[node] += gpus
        used = [node for pod in group.pods for node, _ in pod.nodes]
        for level in {ask.require, group.level}:
            assert len({int(view.topology.of[level][node]) for node in used}) == 1
    assert all(gpus <= view.free[node] for node, gpus in taken.items())
    counts = Counter(group.service for group in groups)
    assert all(counts[ask.service] <= ask.units for ask in asks)


def asks_of(
    view: FleetView,
    wanted: list[tuple[tuple[int, int, str], ...]],
    wished: list[tuple[Level, Level | None]],
) -> list[Ask]:
    return [
        Ask(f"s{at}", ask.parts, 3, require=require, prefer=prefer, ranked=False)
        for at, (one, (require, prefer)) in enumerate(zip(wanted, wished, strict=True))
        if (ask := ask_of(view, list(one), units=3)) is not None
    ]


@settings(deadline=None, max_examples=60)
@given(
    nodes,
    st.lists(st.tuples(roles, roles), min_size=4, max_size=4),
    st.lists(wishes, min_size=4, max_size=4),
)
def test_no_gpu_is_given_twice_and_no_group_leaves_its_domain_s19(
    drawn: list[tuple[int, str, int]],
    wanted: list[tuple[tuple[int, int, str], ...]],
    wished: list[tuple[Level, Level | None]],
) -> None:
    view = fleet_of(drawn)
    asks = asks_of(view, wanted, wished)
    groups = pack_groups(view, asks, np.random.default_rng(0), looks=20_000)
    check(view, asks, groups)
    assert groups == pack_groups(view, asks, np.random.default_rng(0), looks=20_000)


@settings(deadline=None, max_examples=60)
@given(
    nodes,
    st.lists(
        st.tuples(
            *[st.tuples(st.integers(1, 2), st.sampled_from((3, 4, 8)), st.just("both"))] * 2
        ),
        min_size=2,
        max_size=2,
    ),
    st.lists(wishes, min_size=2, max_size=2),
)
def test_sizes_that_do_not_divide_each_other_and_unnamed_domains_have_valid_answers(
    drawn: list[tuple[int, str, int]],
    wanted: list[tuple[tuple[int, int, str], ...]],
    wished: list[tuple[Level, Level | None]],
) -> None:
    view = view_of(
        row(f"n{at}", f"s1-{s1}" if s1 else "", hardware, free, s2="s2" if s1 % 2 else "")
        for at, (s1, hardware, free) in enumerate(drawn)
    )
    asks = asks_of(view, wanted, wished)
    check(view, asks, pack_groups(view, asks, np.random.default_rng(0), looks=20_000))


def test_a_role_that_spans_nodes_is_placed_beside_one_that_does_not() -> None:
    view = view_of(row(f"n{at}", f"s1-{at // 3}") for at in range(6))
    # Two S1s of three nodes: each holds one instance over two, and two small pods on the third.
    parts = (
        Part("decode", 1, (Option(0, Size(8, 2)),)),
        Part("prefill", 2, (Option(0, Size(4)),)),
    )
    asks = [Ask("big", parts, 3, require=Level.S1)]
    groups = pack_groups(view, asks, np.random.default_rng(0))
    check(view, asks, groups)
    assert len(groups) == 2


def mixed_and_plain() -> FleetView:
    return view_of(
        [
            row("a1", "mixed", "h800"),
            row("a2", "mixed", "h20"),
            row("b1", "plain", "h800", s2="s2-b"),
        ]
    )


def one_pod(view: FleetView, service: str, units: int, *types: str, **fields: Any) -> Ask:
    parts = tuple(
        Part(f"role{at}", 1, (Option(kind, Size(4)),))
        for at, name in enumerate(types)
        if (kind := view.topology.type_of(name)) is not None
    )
    return Ask(service, parts, units, ranked=False, **fields)


@pytest.mark.parametrize(
    ("units", "on_mixed"),
    [
        pytest.param(2, 0, id="2 pods of 4 fit the plain node of 8: the mixed S1 is spared"),
        pytest.param(3, 1, id="3 don't: one is on the mixed S1"),
    ],
)
def test_who_has_no_use_for_a_mixed_s1_is_kept_from_it(units: int, on_mixed: int) -> None:
    view = mixed_and_plain()
    asks = [one_pod(view, "chat", units, "h800")]
    groups = pack_groups(view, asks, np.random.default_rng(0), looks=20_000)
    names = [
        view.topology.names[node] for one in groups for pod in one.pods for node, _ in pod.nodes
    ]
    assert sorted(names) == ["a1"] * on_mixed + ["b1"] * 2


def test_levels_may_differ_between_services() -> None:
    view = mixed_and_plain()
    asks = [
        one_pod(view, "anywhere", 2, "h800"),
        one_pod(view, "pair", 2, "h800", "h20", require=Level.S1),
    ]
    # Two pairs fill the mixed S1's h800 node; the others are left the plain one.
    groups = pack_groups(view, asks, np.random.default_rng(0), looks=20_000)
    check(view, asks, groups)
    assert [(one.service, one.level) for one in groups] == [
        ("anywhere", Level.S1),
        ("anywhere", Level.S1),
        ("pair", Level.S1),
        ("pair", Level.S1),
    ]


def test_a_group_that_requires_an_s1_is_not_spread_over_two() -> None:
    # 4 and 4 free GPUs under two S1s of one S2: no S1 holds two pods of 4.
    view = view_of([row("a", "s1-a", free=4), row("b", "s1-b", free=4)])
    part = Part("decode", 2, (Option(0, Size(4)),))
    asks = {level: Ask("chat", (part,), 1, require=level) for level in Level}
    found = {
        level: len(pack_groups(view, [ask], np.random.default_rng(0), looks=20_000))
        for level, ask in asks.items()
    }
    assert found == {Level.S1: 0, Level.S2: 1, Level.CLUSTER: 1}


def test_nothing_free_and_nothing_asked_is_an_answer_too() -> None:
    full = view_of([row("a", "s1-a", free=0)])
    rng = np.random.default_rng(0)
    assert pack_groups(full, [one_pod(full, "chat", 1, "h800")], rng, looks=20_000) == []
    assert pack_groups(full, [Ask("chat", (), 1)], rng, looks=20_000) == []
    assert pack_groups(view_of([]), [], rng) == []


@pytest.mark.parametrize("number", [2, 14])
def test_as_many_groups_as_an_integer_program_finds(number: int) -> None:
    assert ours(number)["groups"] == Optimum(fleet(number)).most().found


@settings(deadline=None, max_examples=60)
@given(nodes, st.tuples(roles, roles), st.integers(1, 3))
def test_what_is_given_back_leaves_everything_as_it_was(
    drawn: list[tuple[int, str, int]], wanted: tuple[tuple[int, int, str], ...], units: int
) -> None:
    view = fleet_of(drawn)
    ask = ask_of(view, list(wanted), units=units, require=Level.S2)
    if ask is None:
        return
    slots = Slots(view, {option.size for part in ask.parts for option in part.options})
    before = {
        (size, level): slots.table(size, level).copy() for size in slots.sizes for level in Level
    }
    choosing = Choosing(slots, np.ones(len(view.topology.types)))
    shares = choosing.place(ask)
    fresh = Slots(FleetView(view.topology, slots.free, view.usable), slots.sizes)
    for size, level in before:
        assert (slots.table(size, level) == fresh.table(size, level)).all(), "kept is counted anew"
    choosing.undo(shares)
    assert all((slots.table(size, level) == kept).all() for (size, level), kept in before.items())


def test_scarce_domains_are_spared_until_they_are_needed() -> None:
    # An S1 of two types is scarcer than one of a single type in another S2 (HeteroScale §6).
    view = view_of(
        [
            row("a1", "mixed", "h800"),
            row("a2", "mixed", "h20"),
            row("b1", "plain", "h800", s2="s2-b"),
        ]
    )
    kind = view.topology.type_of("h800")
    assert kind is not None
    ranks = dict(
        zip(view.topology.domains[Level.S1], view.topology.scarcity.tolist(), strict=True)
    )
    assert ranks == {"mixed": Scarcity.HIGH, "plain": Scarcity.LOW}
    choosing = Choosing(Slots(view, {Size(4)}), np.ones(2))
    ask = Ask("chat", (Part("decode", 1, (Option(kind, Size(4)),)),), 3)
    shares = choosing.place(ask)
    where = [view.topology.domains[share.level][share.domain] for share in shares]
    assert [(name, share.units) for name, share in zip(where, shares, strict=True)] == [
        ("plain", 2),
        ("mixed", 1),
    ]


def test_an_instance_over_nodes_takes_whole_ones_under_one_s1() -> None:
    view = view_of(
        [*(row(f"a{i}", "a") for i in range(3)), row("b1", "b"), row("b2", "b", free=7)]
    )
    kind = view.topology.type_of("h800")
    assert kind is not None
    choosing = Choosing(Slots(view, {Size(8, 2)}), np.ones(1))
    shares = choosing.place(Ask("big", (Part("decode", 1, (Option(kind, Size(8, 2)),)),), 2))
    (pod,) = [pod for share in shares for pod in share.pods]
    assert [(view.topology.names[node], gpus) for node, gpus in pod.nodes] == [
        ("a0", 8),
        ("a1", 8),
    ]


def test_the_command_places_what_fits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = {
        "nodes": [
            {"id": f"n{i}", "at": {"s2": "x", "s1": f"l{i // 2}"}, "labels": {"hw": "h800"},
             "gpus": 8, "free": {"gpu": 8}}
            for i in range(4)
        ],
        "services": [
            {"id": "chat", "groups": 9, "require": "s2", "prefer": "s1", "roles": {
                "prefill": {"pods": 1, "gpu": 4, "hw": ["h800"]},
                "decode": {"pods": 3, "gpu": 4, "hw": ["h800", "h20"]},
            }},
        ],
    }  # fmt: skip
    file = tmp_path / "fleet.json"
    file.write_text(json.dumps(told))
    call_command("place", "--fleet", str(file))
    first = capsys.readouterr().out
    groups = json.loads(first)["groups"]
    # 4 nodes of 8 hold 8 pods of 4: two groups of 4.
    assert [sum(group["decode"].values()) for group in groups] == [3, 3]
    call_command("place", "--fleet", str(file))
    assert capsys.readouterr().out == first
    told["nodes"][1]["free"]["gpu"] = -1  # type: ignore[index]
    file.write_text(json.dumps(told))
    with pytest.raises(CommandError, match=r"nodes\[1\]\.free\.gpu"):
        call_command("place", "--fleet", str(file))
