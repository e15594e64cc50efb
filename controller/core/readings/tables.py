"""What a source answers for leaves: one number per service and sample, or one per bucket."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np

from controller.core.readings.recipe import Term
from controller.core.types import Counts, Flags, Floats


@dataclass(frozen=True, slots=True)
class Table:
    """A figure of S services at T times; all arrays have shape ``(S, T)``.

    ``at_s`` is when the newest sample behind a value was taken, NaN where there is no value: a
    value is absent there and nowhere else, so that one which is NaN itself stays apart from none.
    ``reporting`` are the instances behind it.
    """

    values: Floats
    at_s: Floats
    reporting: Counts

    @property
    def present(self) -> Flags:
        """Where there is a value, of whatever kind."""
        return ~np.isnan(self.at_s)


@dataclass(frozen=True, slots=True)
class Buckets:
    """Rates of cumulative buckets: ``le`` ``(L,)`` ascending, ``rates`` ``(S, L, T)`` [1/s].

    A bound that a service does not have is NaN in its rates. ``at_s`` and ``reporting`` have
    shape ``(S, T)`` and mean what they do in :class:`Table`.
    """

    le: Floats
    rates: Floats
    at_s: Floats
    reporting: Counts


Answer = Table | Buckets
Leaves = Mapping[Term, Answer]
Numbers = TypeVar("Numbers", Floats, Counts)

WHOLE: Final = int(np.iinfo(np.int64).max)
"""Instances behind what a frontend says: it speaks for all of them."""

NOWHERE: Final = float("nan")
"""The time of a value that is not there."""


def nothing(shape: tuple[int, int]) -> Table:
    """Return a table in which no service has a value."""
    empty = np.full(shape, NOWHERE)
    return Table(empty, empty, np.zeros(shape, dtype=np.int64))


def side_by_side(samples: Sequence[Leaves]) -> Leaves:
    """Return the samples of several times as one, in their order; services are the same in each.

    A leaf that is missing at a time is absent there.
    """
    leaves = dict.fromkeys(leaf for sample in samples for leaf in sample)
    return {leaf: _joined([sample.get(leaf) for sample in samples], samples) for leaf in leaves}


def _joined(parts: Sequence[Answer | None], samples: Sequence[Leaves]) -> Answer:
    shapes = [next(iter(sample.values())).at_s.shape if sample else None for sample in samples]
    services = next(shape[0] for shape in shapes if shape is not None)
    blanks = [nothing((services, 1 if shape is None else shape[1])) for shape in shapes]
    at_s = _across(parts, blanks, lambda part: part.at_s)
    reporting = _across(parts, blanks, lambda part: part.reporting)
    buckets = [part for part in parts if isinstance(part, Buckets)]
    if not buckets:
        return Table(_across(parts, blanks, _values), at_s, reporting)
    le = np.unique(np.concatenate([part.le for part in buckets]))
    rates = np.full((services, le.size, at_s.shape[1]), NOWHERE)
    begin = 0
    for part, blank in zip(parts, blanks, strict=True):
        end = begin + blank.at_s.shape[1]
        if isinstance(part, Buckets):
            rates[:, np.searchsorted(le, part.le), begin:end] = part.rates
        begin = end
    return Buckets(le, rates, at_s, reporting)


def _values(part: Answer) -> Floats:
    # A leaf is of one kind at all times; where it is not there at all, its blank is a table.
    return part.values if isinstance(part, Table) else part.at_s


def _across(
    parts: Sequence[Answer | None], blanks: Sequence[Table], of: Callable[[Answer], Numbers]
) -> Numbers:
    return np.concatenate(
        [of(blank if part is None else part) for part, blank in zip(parts, blanks, strict=True)],
        axis=1,
    )
