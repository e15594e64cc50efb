"""The table of nodes: every node read once, then narrowed, counted and cut into pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from controller.selectors.fleet_filters import FACETS, NONE, ORDERS, WORDS, Filters, values_of
from controller.selectors.fleet_lines import Line, open_parts, read_lines
from controller.selectors.node_use import node_uses
from inventory.gpus import PARTS, Parts, total_of
from inventory.models import InventoryVersion, Lifecycle

PAGE: Final = 100
MOST_SHOWN: Final = 12
"""Choices of a facet shown before the rest is folded away."""


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet: how many nodes have it, and the address with and without it."""

    value: str
    word: str
    count: int
    chosen: bool
    query: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to narrow the table."""

    name: str
    word: str
    choices: tuple[Choice, ...]
    further: tuple[Choice, ...]

    @property
    def active(self) -> bool:
        """Whether one of its choices is chosen."""
        return any(choice.chosen for choice in (*self.choices, *self.further))


@dataclass(frozen=True, slots=True)
class Fleet:
    """One page of the table, the facets, and the GPUs of all nodes that match."""

    filters: Filters
    lines: tuple[Line, ...]
    matching: int
    nodes: int
    parts: Parts
    open: frozenset[str]
    facets: tuple[Facet, ...]
    page: int
    pages: int
    version: InventoryVersion | None
    retired: int
    unobserved: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def links(self) -> tuple[tuple[str, int, str, bool], ...]:
        """Each part of the GPUs: word, count, the address of its nodes, and whether it is open.

        Of an open part there are at least so many, see ``open_parts``.
        """
        return tuple(
            (
                part.replace("_", " "),
                getattr(self.parts, part),
                self.filters.query(gpus=(part,)),
                part in self.open,
            )
            for part in PARTS
        )

    @property
    def sorts(self) -> Mapping[str, str]:
        """The address of each order."""
        return {name: self.filters.turned(name) for name in ORDERS}

    @property
    def retired_link(self) -> str:
        """The address of the retired nodes that would match."""
        return self.filters.query(lifecycle=(str(Lifecycle.RETIRED),))

    @property
    def earlier(self) -> str:
        """The address of the page before."""
        return self.filters.query(page=self.page - 1)

    @property
    def later(self) -> str:
        """The address of the page after."""
        return self.filters.query(page=self.page + 1)

    @property
    def state(self) -> tuple[object, ...]:
        """What the fragment of the table is made of."""
        version = self.version.seq if self.version else 0
        return (
            self.filters.query(),
            version,
            self.lines,
            self.parts,
            self.open,
            self.unobserved,
            self.stale,
        )


def read_fleet(filters: Filters, now: datetime) -> Fleet:
    """Read every node, then what the filters keep of them; five queries for any fleet."""
    uses = node_uses(now)
    everything = read_lines(uses)
    left_out = [filters.misses(line) for line in everything]
    kept = [line for line, missed in zip(everything, left_out, strict=True) if not missed]
    matching = filters.ordered(kept)
    pages = max(1, -(-len(matching) // PAGE))
    page = min(filters.page, pages)
    clusters = {line.cluster for line in everything}
    return Fleet(
        filters=filters,
        lines=tuple(matching[(page - 1) * PAGE : page * PAGE]),
        matching=len(matching),
        nodes=len(everything),
        parts=total_of(line.parts for line in matching),
        open=open_parts(matching),
        facets=_facets(filters, everything, left_out),
        page=page,
        pages=pages,
        version=InventoryVersion.objects.first(),
        retired=0 if "lifecycle" in filters.chosen else _retired(left_out),
        unobserved=tuple(sorted(clusters - uses.observed)),
        stale=tuple(sorted(clusters & uses.stale)),
    )


def _retired(left_out: Sequence[Sequence[str]]) -> int:
    """Return how many nodes only their retirement leaves out."""
    return sum(list(missed) == ["lifecycle"] for missed in left_out)


def _facets(
    filters: Filters, lines: Sequence[Line], left_out: Sequence[Sequence[str]]
) -> tuple[Facet, ...]:
    """Return each facet with the nodes of its choices among those the other facets keep."""
    found = []
    for name, (word, _) in FACETS.items():
        counts = Counter(
            value
            for line, missed in zip(lines, left_out, strict=True)
            if not missed or (len(missed) == 1 and missed[0] == name)
            for value in values_of(name, line)
        )
        chosen = filters.chosen.get(name, ())
        values = sorted(counts.keys() | set(chosen), key=lambda value: (value == NONE, value))
        choices = [_choice(filters, name, value, counts[value]) for value in values]
        if len(choices) > 1 or chosen:
            shown = [one for i, one in enumerate(choices) if i < MOST_SHOWN or one.chosen]
            further = [one for one in choices if one not in shown]
            found.append(Facet(name, word, tuple(shown), tuple(further)))
    return tuple(found)


def _choice(filters: Filters, name: str, value: str, count: int) -> Choice:
    chosen = filters.chosen.get(name, ())
    others = tuple(one for one in chosen if one != value)
    wanted = others if value in chosen else (*chosen, value)
    return Choice(
        value=value,
        word=WORDS.get(name, {}).get(value, value),
        count=count,
        chosen=value in chosen,
        query=filters.query(**{name: wanted}),
    )
