"""Counts that are kept while GPUs are given away and taken back are those counted anew."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.fleet import FleetView, Level, NodeRow, view_of
from controller.core.placement.choose import Ask, Choosing, Share
from controller.core.placement.slots import Option, Part, Size, Slots

TYPES = ("h20", "h800")
SIZES = (Size(1), Size(2), Size(4), Size(8), Size(8, 2))


@st.composite
def fleets(draw: st.DrawFn) -> FleetView:
    """Nodes of 4 or 8 GPUs in up to six S1s, three S2s and two clusters."""
    rows = []
    for at in range(draw(st.integers(1, 14))):
        s1 = draw(st.integers(0, 5))
        gpus = draw(st.sampled_from((4, 8, 8)))
        rows.append(
            NodeRow(
                name=f"n{at:02}",
                cluster=f"c{s1 // 4}",
                s2=f"s2-{s1 // 2}",
                s1=f"s1-{s1}",
                rack="",
                hardware=draw(st.sampled_from(TYPES)),
                gpus=gpus,
                free=draw(st.just(gpus) | st.integers(0, gpus)),
                usable=draw(st.sampled_from((True, True, True, False))),
            )
        )
    return view_of(rows)


@st.composite
def asks(draw: st.DrawFn, view: FleetView) -> Ask:
    """One or two roles, each on one type or on all, perhaps some pods worth less than others."""
    kinds = range(len(view.topology.types))
    parts = []
    for at in range(draw(st.integers(1, 2))):
        size = draw(st.sampled_from(SIZES))
        types = draw(st.permutations(kinds))[: draw(st.integers(1, len(kinds)))]
        worth = draw(st.sampled_from((1.0, 1.0, 0.5)))
        options = tuple(Option(kind, size, worth if n else 1.0) for n, kind in enumerate(types))
        parts.append(Part(f"role{at}", draw(st.integers(1, 3)), options))
    return Ask("chat", tuple(parts), draw(st.integers(1, 4)), draw(st.sampled_from(Level)))


def counted_anew(choosing: Choosing) -> Choosing:
    slots = choosing.slots
    usable = np.ones(len(slots.free), np.bool_)
    view = FleetView(slots.topology, slots.free, usable)
    return Choosing(Slots(view, slots.sizes), choosing.pressure)


def state(choosing: Choosing, queries: list[Ask]) -> list[list[int]]:
    """Return what is free, all tables, and the rooms of the queries."""
    slots = choosing.slots
    found = [slots.free.tolist()]
    for level in Level:
        found += [slots.table(size, level).ravel().tolist() for size in slots.sizes]
        for ask in queries:
            for scarcity in slots.topology.ranks:
                found.append(choosing.room(ask, level, scarcity).tolist())
    return found


class History:
    """Places, takes, undoes and copies as they are drawn."""

    def __init__(self, view: FleetView, queries: list[Ask], pressure: list[float]) -> None:
        self.queries = queries
        self.choosing = Choosing(Slots(view, SIZES), np.array(pressure))
        self.placed: list[list[Share]] = []
        self.left: list[tuple[Choosing, list[list[Share]], list[list[int]]]] = []

    def place(self, data: st.DataObject) -> None:
        ask = data.draw(st.sampled_from(self.queries))
        expected = counted_anew(self.choosing).place(ask)
        self.placed.append(self.choosing.place(ask))
        assert self.placed[-1] == expected

    def take(self, data: st.DataObject) -> None:
        slots = self.choosing.slots
        node = data.draw(st.integers(0, len(slots.free) - 1))
        free = int(slots.free[node])
        slots.take(node, data.draw(st.integers(free - int(slots.gpus[node]), free)))
        self.placed.clear()

    def undo(self, _: st.DataObject) -> None:
        if self.placed:
            self.choosing.undo(self.placed.pop())

    def copy(self, _: st.DataObject) -> None:
        self.left.append((self.choosing, list(self.placed), self.state()))
        self.choosing = self.choosing.copy()

    def back(self, _: st.DataObject) -> None:
        if self.left:
            self.choosing, self.placed, seen = self.left.pop()
            assert self.state() == seen, "a copy takes nothing from what it was copied of"

    def state(self) -> list[list[int]]:
        return state(self.choosing, self.queries)


@settings(deadline=None, max_examples=70)
@given(st.data())
def test_what_is_kept_is_what_is_counted_anew_after_any_takes_undos_and_copies(
    data: st.DataObject,
) -> None:
    view = data.draw(fleets())
    queries = [data.draw(asks(view)) for _ in range(2)]
    pressure = data.draw(st.permutations((0.25, 1.5)))[: len(view.topology.types)]
    history = History(view, queries, pressure)
    deeds = (History.place, History.take, History.undo, History.copy, History.back)
    for deed in data.draw(st.lists(st.sampled_from(deeds), min_size=1, max_size=16)):
        deed(history, data)
        if data.draw(st.booleans()):
            assert history.state() == state(counted_anew(history.choosing), queries)
    while history.left:
        history.back(data)
    assert history.state() == state(counted_anew(history.choosing), queries)
