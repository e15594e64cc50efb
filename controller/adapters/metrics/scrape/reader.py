"""One endpoint of direct scrapes: this look beside the last ones, in leaves of all services."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.adapters.metrics.scrape.fetching import NO_TIME, Fetched, fetch
from controller.adapters.metrics.scrape.marks import (
    Column,
    Marks,
    fingerprint,
    packed,
    unpacked,
)
from controller.adapters.metrics.scrape.placing import Seen, told_roles
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Reading, Wanted
from controller.core.readings.attach import Attach
from controller.core.readings.recipe import Kind, Leaf, Term
from controller.core.readings.scrapes import (
    LONGEST_GAP_S,
    Instance,
    Scrape,
    instances_behind,
    leaves_from,
    renamed,
)
from controller.core.readings.sources import Source
from controller.core.readings.tables import (
    NOWHERE,
    Answer,
    Buckets,
    Leaves,
    Table,
    side_by_side,
)
from controller.core.types import Counts, Floats

UP: Final = "up"
"""The name of the leaf that is no metric: how many targets there are and how many answer."""
MOST_TOLD: Final = 5
_SLOTS: Final = 4
"""Looks kept per step of the grid, so that the one nearest to each of its times is there."""


def read(source: Source, wanted: Wanted, turn: Turn, marks: bytes | None) -> tuple[Reading, bytes]:
    """Return what the targets say, and what to remember until the next look.

    Tables have shape (S, T): the newest time is this look, earlier ones are looks that ``marks``
    remembers. Raises nothing for what targets answer, or that they don't.
    """
    look = _Look.of(source, wanted, turn, unpacked(marks))
    newest = look.newest()
    columns = _columns(look.old.columns, wanted, newest)
    leaves = _window(newest, wanted, columns)
    kept = Marks(look.kept(), look.roles_kept(), look.failed(), columns)
    silent = len(look.fetched.faults), max(len(source.targets), 1)
    return Reading(leaves, told=tuple(look.told()), silent=silent), packed(kept)


def who(
    source: Source, wanted: Wanted, turn: Turn, marks: bytes | None
) -> Mapping[Leaf, Mapping[str, frozenset[str]]]:
    """Return, of each leaf and service, the instances that export it now.

    One that has just begun is among them, though it has no rate yet.
    """
    look = _Look.of(source, wanted, turn, unpacked(marks))
    found: dict[Leaf, Mapping[str, frozenset[str]]] = {}
    for leaves, instances in look.groups():
        found.update(instances_behind(leaves, instances, wanted.scope.services))
    return found


@dataclass(frozen=True, slots=True)
class _Look:
    """What all targets said at one time."""

    wanted: Wanted
    fetched: Fetched
    seen: Seen
    old: Marks
    now_s: float
    ended_s: float

    @classmethod
    def of(cls, source: Source, wanted: Wanted, turn: Turn, old: Marks) -> _Look:
        """Scrape all targets."""
        names = frozenset(name for leaf in wanted.metrics for name in leaf.names)
        oldest_s = turn.now_s - wanted.scope.over_s
        fetched = fetch(source, names, turn, oldest_s=oldest_s, last=old.failed)
        roles = told_roles(source.targets, fetched.scrapes, old.roles)
        seen = Seen(source.targets, fetched.scrapes, old.scrapes, roles)
        ended_s = turn.now_s + time.monotonic() - turn.begun
        return cls(wanted, fetched, seen, old, turn.now_s, ended_s)

    def groups(self) -> Iterator[tuple[list[Leaf], list[Instance]]]:
        """Yield leaves with the instances that answer them."""
        groups: dict[tuple[tuple[str, ...], str], tuple[list[Leaf], Attach]] = {}
        for leaf, attach in self.wanted.metrics.items():
            if not _is_up(leaf):
                groups.setdefault((leaf.owner, repr(attach)), ([], attach))[0].append(leaf)
        engines = self.seen.engines()
        for leaves, attach in groups.values():
            yield leaves, [*engines, *self.seen.pods(leaves, attach)]

    def newest(self) -> Leaves:
        """Return the leaves of this look alone, shape (S, 1)."""
        services = self.wanted.scope.services
        if not services:
            return {}
        found: dict[Term, Answer] = {}
        for leaves, instances in self.groups():
            found.update(leaves_from(leaves, instances, services))
        found.update((leaf, self._up(leaf)) for leaf in self.wanted.metrics if _is_up(leaf))
        half = self._half_heard()
        return {leaf: self._dated(leaf, found[leaf], half) for leaf in self.wanted.metrics}

    def _dated(self, leaf: Leaf, answer: Answer, half: Counts) -> Answer:
        # Read within this look is read at its time: targets answer one after another.
        newest_s = self.wanted.grid.newest_s
        within = (answer.at_s > newest_s) & (answer.at_s <= self.ended_s)
        at_s = np.where(within, newest_s, answer.at_s)
        reporting = answer.reporting
        if leaf.role is None and not _is_up(leaf):
            # Whoever speaks for a whole service does so together with those that are silent.
            reporting = np.where(half[:, np.newaxis], 0, reporting)
        return replace(answer, at_s=at_s, reporting=reporting)

    def _half_heard(self) -> Counts:
        """Return which services have a target of no role that did not answer, shape (S,)."""
        silent = {
            target.service
            for target in self.seen.targets
            if target.url in self.fetched.faults and self.seen.role_of(target) is None
        }
        return np.array([name in silent for name in self.wanted.scope.services], dtype=np.int64)

    def _up(self, leaf: Leaf) -> Table:
        """Count instances: those that answer, and as reporting those that are known."""
        known: dict[tuple[str, str], bool] = {}
        for target in self.seen.targets:
            if leaf.role in {None, self.seen.role_of(target)}:
                key = (target.service, target.instance)
                known[key] = known.get(key, False) or target.url in self.fetched.scrapes
        row = {name: at for at, name in enumerate(self.wanted.scope.services)}
        values, reporting = np.zeros((len(row), 1)), np.zeros((len(row), 1), dtype=np.int64)
        for (service, _), answers in known.items():
            if service in row:
                values[row[service], 0] += answers
                reporting[row[service], 0] += 1
        at_s = np.where(reporting > 0, self.wanted.grid.newest_s, NOWHERE)
        return Table(np.where(reporting > 0, values, NOWHERE), at_s, reporting)

    def kept(self) -> dict[str, Scrape]:
        """Return what rates need at the next look; the silent keep what they said before."""
        rates = {
            name
            for leaf in self.wanted.metrics
            if leaf.kind is not Kind.GAUGE
            for name in leaf.names
        }
        found: dict[str, Scrape] = {}
        for target in self.seen.targets:
            scrape = self.fetched.scrapes.get(target.url) or self.old.scrapes.get(target.url)
            if scrape is not None and abs(self.now_s - scrape.at_s) <= LONGEST_GAP_S:
                samples = {name: each for name, each in scrape.samples.items() if name in rates}
                found[target.url] = Scrape(scrape.at_s, samples)
        return found

    def roles_kept(self) -> dict[str, str]:
        """Return roles by address, as text."""
        return {url: role.value for url, role in self.seen.roles.items()}

    def failed(self) -> frozenset[str]:
        """Return who is asked last at the next look."""
        return frozenset(url for url, fault in self.fetched.faults.items() if fault != NO_TIME)

    def told(self) -> Iterator[str]:
        """Yield sentences: who does not answer, whose times are wrong, what was renamed."""
        yield from _first_of(self.fetched.faults, "targets do not answer", self.seen)
        yield from _first_of(self.fetched.doubts, "targets date samples wrongly", self.seen)
        hints: list[str] = []
        engines: dict[str, list[Instance]] = {}
        for one in self.seen.engines():
            engines.setdefault(one.service, []).append(one)
        for leaf in self.wanted.metrics:
            if leaf.role is not None and not leaf.owner and not _is_up(leaf):
                found = (renamed(leaf, theirs) for theirs in engines.values())
                hints += [f"{hint}." for hint in found if hint]
        yield from list(dict.fromkeys(hints))[:MOST_TOLD]


def _is_up(leaf: Leaf) -> bool:
    return leaf.names == (UP,) and leaf.kind is Kind.GAUGE


def _first_of(said: Mapping[str, str], what: str, seen: Seen) -> Iterator[str]:
    """Yield the first few in words, each with its target, then how many more there are."""
    names = {target.url: target.instance for target in seen.targets}
    for url in list(said)[:MOST_TOLD]:
        yield f"{names[url]} ({url}): {said[url]}"
    if len(said) > MOST_TOLD:
        yield f"{len(said) - MOST_TOLD} more {what}, {len(said)} of {len(names)}."


def _columns(old: Sequence[Column], wanted: Wanted, newest: Leaves) -> list[Column]:
    """Return the looks to remember, the oldest first: those of the window, a few per step."""
    grid = wanted.grid
    slot_s, since_s = grid.step_s / _SLOTS, grid.oldest_s - grid.step_s
    kept = {
        int(each.at_s // slot_s): each
        for each in reversed(old)
        if since_s < each.at_s < grid.newest_s
    }
    now = Column(
        grid.newest_s,
        wanted.scope.services,
        {fingerprint(leaf, wanted.leaves[leaf]): answer for leaf, answer in newest.items()},
    )
    if newest:
        kept.setdefault(int(now.at_s // slot_s), now)
    return sorted(kept.values(), key=lambda each: each.at_s)


def _window(newest: Leaves, wanted: Wanted, columns: Sequence[Column]) -> Leaves:
    """Return leaves over the grid: of each earlier time the look that was nearest to it."""
    if not newest:
        return {}
    keys = {leaf: fingerprint(leaf, attach) for leaf, attach in wanted.metrics.items()}
    grid = wanted.grid
    times = [float(each) for each in grid.times_s[:-1]]
    older = [_nearest(at_s, grid, columns) for at_s in times]
    looks = [
        {} if look is None else dict(_placed(look, at_s, keys, wanted.scope.services))
        for at_s, look in zip(times, older, strict=True)
    ]
    return side_by_side([*looks, newest])


def _nearest(at_s: float, grid: Grid, columns: Sequence[Column]) -> Column | None:
    near = [
        each
        for each in columns
        if abs(each.at_s - at_s) <= grid.step_s / 2 and each.at_s < grid.newest_s
    ]
    return min(near, key=lambda each: abs(each.at_s - at_s), default=None)


def _placed(
    look: Column, at_s: float, keys: Mapping[Leaf, str], services: Sequence[str]
) -> Iterator[tuple[Term, Answer]]:
    """Yield the leaves of an earlier look, in rows of the services there are now."""
    before = {name: row for row, name in enumerate(look.services)}
    rows = np.array([before.get(name, len(before)) for name in services], dtype=np.int64)
    for leaf, key in keys.items():
        answer = look.leaves.get(key)
        if answer is None:
            continue
        stamps = _rows(answer.at_s, rows)
        # A look shortly after the time it stands for is none of the future.
        stamps = np.where(stamps <= look.at_s, np.minimum(stamps, at_s), stamps)
        counts = np.nan_to_num(_rows(answer.reporting.astype(np.float64), rows)).astype(np.int64)
        if isinstance(answer, Buckets):
            yield leaf, Buckets(answer.le, _rows(answer.rates, rows), stamps, counts)
        else:
            yield leaf, Table(_rows(answer.values, rows), stamps, counts)


def _rows(numbers: Floats, rows: Counts) -> Floats:
    """Return rows by position; one beyond the last is not there."""
    absent = np.full((1, *numbers.shape[1:]), NOWHERE)
    found: Floats = np.concatenate([numbers, absent])[rows]
    return found
