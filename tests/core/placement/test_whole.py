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

from controller.core.fleet import FleetView, Level, NodeRow, Scarcity, view_of
from controller.core.placement.choose import Ask, Choosing
from controller.core.placement.slots import Option, Part, Size, Slots, counting_of
from controller.core.placement.whole import pack_groups

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


@settings(deadline=None, max_examples=60)
@given(
    nodes,
    st.lists(st.tuples(roles, roles), min_size=1, max_size=4),
    st.sampled_from((Level.S2, Level.CLUSTER)),
)
def test_no_gpu_is_given_twice_and_no_group_leaves_its_domain_s19(
    drawn: list[tuple[int, str, int]],
    wanted: list[tuple[tuple[int, int, str], ...]],
    require: Level,
) -> None:
    view = fleet_of(drawn)
    asks = [
        Ask(f"s{at}", ask.parts, 3, require=require, prefer=Level.S1, ranked=False)
        for at, one in enumerate(wanted)
        if (ask := ask_of(view, list(one), units=3)) is not None
    ]
    groups = pack_groups(view, asks, np.random.default_rng(0), looks=60_000)
    taken: Counter[int] = Counter()
    for group in groups:
        ask = next(one for one in asks if one.service == group.service)
        assert Counter(pod.role for pod in group.pods) == {
            part.role: part.pods for part in ask.parts
        }
        for pod in group.pods:
            for node, gpus in pod.nodes:
                taken[node] += gpus
        used = [node for pod in group.pods for node, _ in pod.nodes]
        assert len({int(view.topology.of[require][node]) for node in used}) == 1
    assert all(gpus <= view.free[node] for node, gpus in taken.items())
    assert max(Counter(group.service for group in groups).values(), default=0) <= 3


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
