"""Tables of how many pods of each part lie in some domains, each count at its least cost."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.placement.ground import BoolArray, IntArray

KEY_BITS: Final = 63
"""Bits of a key; the counts of all parts share them."""

MOST_AT_ONCE: Final = 2_000_000
"""Pairs of rows that one joining of two tables may look at."""

MOST_IN_ALL: Final = 12_000_000
"""Pairs of rows that one search may look at: some seconds on one core."""


class TooLargeError(Exception):
    """The tables of an exact search would outgrow its budget."""


class Budget:
    """Counts pairs of rows down; a search that has none left must do without tables."""

    def __init__(self, pairs: int = MOST_IN_ALL) -> None:
        self.left = pairs

    def spend(self, pairs: int) -> None:
        """Take pairs off. Raises :class:`TooLargeError` when there are too few."""
        if pairs > min(MOST_AT_ONCE, self.left):
            raise TooLargeError(f"{pairs} pairs of rows to look at, {self.left} left")
        self.left -= pairs


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """Counts of P parts as one number: each has a field with a bit to spare.

    ``bias`` fills a field up to its spare bit when the count is the most there may be, so adding
    it to a sum of two keys tells at once whether any count is too high.
    """

    shifts: tuple[int, ...]
    fields: tuple[int, ...]
    full: int
    bias: int
    spare: int

    def too_many(self, keys: IntArray) -> BoolArray:
        """Return which sums of two keys hold more pods of a part than are wanted."""
        found: BoolArray = ((keys + self.bias) & self.spare) != 0
        return found

    def count(self, keys: IntArray, part: int) -> IntArray:
        """Return the pods of one part in each key."""
        return (keys & self.fields[part]) >> self.shifts[part]

    def mask(self, parts: list[int]) -> int:
        """Return the bits of some parts' counts."""
        return sum(self.fields[part] for part in parts)


def keys_of(pods: list[int]) -> Keys:
    """Return the keys of counts up to ``pods``. Raises :class:`TooLargeError` beyond 63 bits."""
    widths = [count.bit_length() + 1 for count in pods]
    if sum(widths) > KEY_BITS:
        raise TooLargeError(f"{len(pods)} parts of {sum(pods)} pods need longer keys")
    shifts = [sum(widths[:part]) for part in range(len(pods))]
    fields = [((1 << width) - 1) << shift for width, shift in zip(widths, shifts, strict=True)]
    spare = [1 << (width + shift - 1) for width, shift in zip(widths, shifts, strict=True)]
    full = sum(count << shift for count, shift in zip(pods, shifts, strict=True))
    bias = sum(
        (bit >> shift) - 1 - count << shift
        for bit, count, shift in zip(spare, pods, shifts, strict=True)
    )
    return Keys(tuple(shifts), tuple(fields), full, bias, sum(spare))


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows of counts (``keys``, ascending) with their least ``costs`` (rows, K).

    A table of one node has its number in ``node``. One joined from two has the rows it came
    from in ``of_left`` and ``of_right``.
    """

    keys: IntArray
    costs: IntArray
    node: int = -1
    left: "Table | None" = None
    right: "Table | None" = None
    of_left: IntArray | None = None
    of_right: IntArray | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the table knows nothing but that there are no pods."""
        return len(self.keys) == 1 and int(self.keys[0]) == 0

    def only(self, kept: BoolArray) -> "Table":
        """Return the rows that are kept."""
        if bool(kept.all()):
            return self
        rows = np.flatnonzero(kept)
        return Table(
            self.keys[rows],
            self.costs[rows],
            self.node,
            self.left,
            self.right,
            None if self.of_left is None else self.of_left[rows],
            None if self.of_right is None else self.of_right[rows],
        )

    def dearer(self, extra: IntArray) -> "Table":
        """Return the table with something added to the cost of each row."""
        return Table(
            self.keys,
            self.costs + extra,
            self.node,
            self.left,
            self.right,
            self.of_left,
            self.of_right,
        )


def joined(left: Table, right: Table, keys: Keys, budget: Budget) -> Table:
    """Return the table of two tables' domains together.

    Of two ways to a count that cost the same, that with more pods on the left stays: on the
    names that come first.
    """
    if left.is_empty or right.is_empty:
        return right if left.is_empty else left
    wide = len(right.keys)
    budget.spend(len(left.keys) * wide)
    sums = (left.keys[:, None] + right.keys[None, :]).ravel()
    pairs = np.flatnonzero(~keys.too_many(sums))[::-1]
    of_left, of_right = np.divmod(pairs, wide)
    costs = left.costs[of_left] + right.costs[of_right]
    sums = sums[pairs]
    order = np.lexsort((*costs.T[::-1], sums))
    fresh = np.ones(len(order), dtype=np.bool_)
    fresh[1:] = np.diff(sums[order]) != 0
    rows = order[fresh]
    return Table(
        sums[rows],
        costs[rows],
        left=left,
        right=right,
        of_left=of_left[rows],
        of_right=of_right[rows],
    )


def traced(table: Table, row: int) -> Iterator[tuple[int, int]]:
    """Yield the nodes a row of a table uses, each with its key."""
    waiting = [(table, row)]
    while waiting:
        here, at = waiting.pop()
        if here.left is None or here.right is None:
            yield here.node, int(here.keys[at])
        elif here.of_left is not None and here.of_right is not None:
            waiting.append((here.left, int(here.of_left[at])))
            waiting.append((here.right, int(here.of_right[at])))
