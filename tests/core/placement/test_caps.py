"""A service is spread over failure domains: none takes more than its cap."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.fleet import FleetView, Level, view_of
from controller.core.placement.choose import Ask, Choosing
from controller.core.placement.slots import Option, Part, Size, Slots
from tests.core.placement.test_kept_counts import SIZES, asks, fleets
from tests.core.placement.test_whole import row

Caps = tuple[tuple[Level, tuple[int, ...]], ...]


def domain_at(view: FleetView, level: Level, domain: int, outer: Level) -> int:
    """Return the domain further out that holds one of a level."""
    return int(view.topology.of[outer][view.topology.starts[level][domain]])


def two_by_two() -> FleetView:
    """Two S2s of two S1s, each of one free node of 8 GPUs."""
    return view_of(
        row(f"n{s2}{s1}", f"s1-{s2}{s1}", s2=f"s2-{s2}") for s2 in range(2) for s1 in range(2)
    )


def placed(view: FleetView, units: int, caps: Caps, require: Level = Level.CLUSTER) -> list[str]:
    """Return the names of the domains of shares of 4-GPU units, each as often as it has units."""
    ask = Ask("chat", (Part("decode", 1, (Option(0, Size(4)),)),), units, require, caps=caps)
    shares = Choosing(Slots(view, {Size(4)}), np.ones(1)).place(ask)
    names = view.topology.domains
    return sorted(names[share.level][share.domain] for share in shares for _ in range(share.units))


@pytest.mark.parametrize(
    ("units", "caps", "expect"),
    [
        pytest.param(2, (), ["s1-00"] * 2, id="no cap: both units in the first S1 of 8 / 4"),
        pytest.param(2, ((Level.S1, (1, 1, 1, 1)),), ["s1-00", "s1-01"], id="one an S1: 1 + 1"),
        pytest.param(
            4,
            ((Level.S1, (1, 0, 1, 1)),),
            ["s1-00", "s1-10", "s1-11"],
            id="1 + 0 + 1 + 1 of 4: one is not placed",
        ),
        pytest.param(
            4,
            ((Level.S2, (3, 1)),),
            ["s1-00", "s1-00", "s1-01", "s1-10"],
            id="2 + 1 under an S2 of 3, 1 under the other",
        ),
        pytest.param(
            8,
            ((Level.S1, (2, 2, 2, 1)), (Level.S2, (3, 9))),
            ["s1-00", "s1-00", "s1-01", "s1-10", "s1-10", "s1-11"],
            id="both levels at once: min(2 + 2, 3) + min(2 + 1, 9)",
        ),
        pytest.param(4, ((Level.CLUSTER, (0,)),), [], id="nothing in a cluster of none"),
    ],
)
def test_no_domain_takes_more_than_its_cap(units: int, caps: Caps, expect: list[str]) -> None:
    assert placed(two_by_two(), units, caps) == expect


def test_a_unit_that_only_a_wider_domain_holds_is_in_no_failure_domain() -> None:
    # 3 pods of 8 GPUs need three of the nodes: more than any S2 has.
    ask = Ask("chat", (Part("decode", 3, (Option(0, Size(8)),)),), 1)
    view = two_by_two()
    choosing = Choosing(Slots(view, {Size(8)}), np.ones(1))
    assert choosing.room(ask, Level.CLUSTER).tolist() == [1]
    capped = replace(ask, caps=((Level.S2, (9, 9)),))
    assert choosing.room(capped, Level.CLUSTER).tolist() == [0]
    assert choosing.place(capped) == []
    assert [share.level for share in choosing.place(ask)] == [Level.CLUSTER]


@settings(deadline=None, max_examples=70)
@given(st.data())
def test_shares_of_one_ask_keep_within_every_cap_and_rooms_tell_so(data: st.DataObject) -> None:
    view = data.draw(fleets())
    levels = data.draw(st.sets(st.sampled_from(Level), min_size=1))
    caps = tuple(
        (level, tuple(data.draw(st.integers(0, 3)) for _ in view.topology.domains[level]))
        for level in sorted(levels)
    )
    ask = data.draw(asks(view))
    capped = replace(ask, caps=caps)
    choosing = Choosing(Slots(view, SIZES), np.ones(len(view.topology.types)))
    for level in Level:
        free, room = choosing.room(ask, level), choosing.room(capped, level)
        for domain in range(len(room)):
            most = [
                cap[domain_at(view, level, domain, outer)] if level <= outer else 0
                for outer, cap in caps
            ]
            assert room[domain] == min(int(free[domain]), *most)
    shares = choosing.place(capped)
    assert sum(share.units for share in shares) <= ask.units
    for outer, cap in caps:
        assert all(share.level <= outer for share in shares)
        taken: Counter[int] = Counter()
        for share in shares:
            taken[domain_at(view, share.level, share.domain, outer)] += share.units
        assert all(units <= cap[domain] for domain, units in taken.items())
