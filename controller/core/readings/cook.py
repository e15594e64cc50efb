"""From leaves to signals: the arithmetic of recipes, for all services and samples at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np

from controller.core.readings.presets import terms_of
from controller.core.readings.recipe import (
    First,
    Leaf,
    Less,
    Mean,
    Plus,
    Quantile,
    Recipe,
    Term,
    Times,
    Written,
)
from controller.core.readings.tables import (
    NOWHERE,
    WHOLE,
    Answer,
    Buckets,
    Leaves,
    Table,
    nothing,
)
from controller.core.signals import FUTURE_SLACK_S
from controller.core.types import ROLE_INDEX, ROLES, SIGNALS, Counts, Flags, Floats, Window

Recipes = Mapping[str, Recipe]


def cook(recipe: Recipe, leaves: Leaves, shape: tuple[int, int]) -> Table:
    """Return what a recipe makes of leaves, for S services at T times: ``shape`` is ``(S, T)``.

    A leaf nobody answered is absent, and so is a quotient with nothing below the line: an idle
    service has no latency. What is neither a number nor absent stays so: who reads it says what
    it is worth.
    """
    with np.errstate(all="ignore"):
        return _cooked(recipe, leaves, shape)


def _cooked(recipe: Recipe, leaves: Leaves, shape: tuple[int, int]) -> Table:  # noqa: PLR0911 - one for each form
    match recipe:
        case Leaf() | Written():
            return _leaf(recipe, leaves.get(recipe), shape)
        case Mean(total, count):
            over, under = (_leaf(leaf, leaves.get(leaf), shape) for leaf in (total, count))
            return _both(over, under, over.values / under.values, under.values != 0.0)
        case Quantile(q, leaf):
            return _quantile(q, leaf, leaves.get(leaf), shape)
        case Less(whole, part):
            all_of, of_it = _cooked(whole, leaves, shape), _cooked(part, leaves, shape)
            return _both(all_of, of_it, np.maximum(all_of.values - of_it.values, 0.0))
        case Plus(parts):
            return _plus([_cooked(part, leaves, shape) for part in parts])
        case Times(inner, factor):
            table = _cooked(inner, leaves, shape)
            return Table(table.values * factor, table.at_s, table.reporting)
        case First(of):
            return _first([_cooked(one, leaves, shape) for one in of])


def _leaf(leaf: Term, answer: Answer | None, shape: tuple[int, int]) -> Table:
    if not isinstance(answer, Table):
        return nothing(shape)
    return Table(answer.values, answer.at_s, _speaking(leaf, answer))


def _speaking(leaf: Term, answer: Answer) -> Counts:
    if leaf.role is not None or isinstance(leaf, Written):
        return answer.reporting
    return np.where(answer.reporting > 0, WHOLE, 0)


def _both(one: Table, other: Table, values: Floats, sound: Flags | None = None) -> Table:
    """Return values made of two tables, where both are there: as old as the older one."""
    present = one.present & other.present
    if sound is not None:
        present &= sound
    at_s = np.where(present, np.minimum(one.at_s, other.at_s), NOWHERE)
    return Table(values, at_s, np.minimum(one.reporting, other.reporting))


def _plus(parts: Sequence[Table]) -> Table:
    present = np.stack([part.present for part in parts])
    values = np.where(present, np.stack([part.values for part in parts]), 0.0).sum(axis=0)
    at_s = np.fmin.reduce([part.at_s for part in parts])
    reporting = np.where(present, np.stack([part.reporting for part in parts]), WHOLE)
    return Table(values, at_s, np.where(present.any(axis=0), reporting.min(axis=0), 0))


def _first(of: Sequence[Table]) -> Table:
    """Return, of each service, the first that has a value at any time: never two in a window."""
    has = np.stack([table.present.any(axis=1) for table in of])
    chosen = has.argmax(axis=0)
    rows = np.arange(chosen.size)
    return Table(
        np.stack([table.values for table in of])[chosen, rows],
        np.stack([table.at_s for table in of])[chosen, rows],
        np.stack([table.reporting for table in of])[chosen, rows],
    )


def _quantile(q: float, leaf: Leaf, answer: Answer | None, shape: tuple[int, int]) -> Table:
    """Return a quantile of cumulative buckets, as histogram_quantile of Prometheus does.

    It is linear within a bucket. Above the last finite bound nothing is known but that bound.
    Bounds that a service does not have are passed over.
    """
    if not isinstance(answer, Buckets) or not answer.le.size:
        return nothing(shape)
    le, held = answer.le, ~np.isnan(answer.rates)
    # Each bucket holds at least what is below it, though they were not read at the same moment.
    below = np.maximum.accumulate(np.where(held, answer.rates, 0.0), axis=1)
    total = below[:, -1]
    bounded = held & np.isfinite(le)[:, np.newaxis]
    bounds = np.maximum.accumulate(np.where(bounded, le[:, np.newaxis], -np.inf), axis=1)
    top = bounds[:, -1]
    at = (held & (below >= q * total[:, np.newaxis])).argmax(axis=1)[:, np.newaxis]

    def here(table: Floats) -> Floats:
        return np.take_along_axis(table, at, axis=1)[:, 0]

    def before(table: Floats, first: float) -> Floats:
        shifted = np.concatenate([np.full_like(table[:, :1], first), table[:, :-1]], axis=1)
        return here(shifted)

    upper = le[at[:, 0]]
    lower, less = before(bounds, -np.inf), before(below, 0.0)
    lower = np.where(np.isneginf(lower), np.minimum(upper, 0.0), lower)
    inside = lower + (upper - lower) * (q * total - less) / (here(below) - less)
    values = np.where(np.isinf(upper), top, inside)
    values[~np.isfinite(total)] = np.nan
    counted = held[:, -1] & np.isposinf(le[-1]) & (total != 0.0) & np.isfinite(top)
    at_s = np.where(counted, answer.at_s, NOWHERE)
    return Table(values, at_s, _speaking(leaf, answer))


def figures(
    choices: Sequence[Recipes], leaves: Leaves, names: Sequence[str], samples: int
) -> Mapping[str, Table]:
    """Return figures by name, of as many services as there are choices, at so many times.

    ``choices`` are the recipes of each service, in the order of the leaves' services. Each recipe
    that differs is cooked once, and only for those that chose it.
    """
    # The same recipe is the same object nearly always, and that is much cheaper to ask.
    known: dict[int, Recipe] = {}
    return {
        name: _figure([c.get(name) for c in choices], leaves, samples, known) for name in names
    }


def _figure(
    choices: Sequence[Recipe | None], leaves: Leaves, samples: int, known: dict[int, Recipe]
) -> Table:
    chosen: dict[int, list[int]] = {}
    for row, recipe in enumerate(choices):
        if recipe is not None:
            known[id(recipe)] = recipe
            chosen.setdefault(id(recipe), []).append(row)
    blank = nothing((len(choices), samples))
    values, at_s, reporting = blank.values.copy(), blank.at_s.copy(), blank.reporting
    for key, rows in chosen.items():
        recipe = known[key]
        theirs = {
            leaf: _rows(leaves[leaf], rows, len(choices))
            for leaf in terms_of((recipe,))
            if leaf in leaves
        }
        table = cook(recipe, theirs, (len(rows), samples))
        values[rows], at_s[rows], reporting[rows] = table.values, table.at_s, table.reporting
    return Table(values, at_s, reporting)


def _rows(answer: Answer, rows: list[int], of: int) -> Answer:
    if len(rows) == of:
        return answer
    at_s, reporting = answer.at_s[rows], answer.reporting[rows]
    if isinstance(answer, Buckets):
        return Buckets(answer.le, answer.rates[rows], at_s, reporting)
    return Table(answer.values[rows], at_s, reporting)


_ROLE_ROWS: Final = np.array([ROLE_INDEX[kind.role] for kind in SIGNALS])


def windows(  # noqa: PLR0913, PLR0917 - the axes of its arrays, and what they hold
    choices: Sequence[Recipes],
    leaves: Leaves,
    expected: Counts,
    times_s: Floats,
    step_s: float,
    partial: Collection[Term] = (),
) -> list[Window]:
    """Return the window of each service.

    Leaves are at ``times_s`` ``(T,)``, which are ``step_s`` apart; ``expected`` ``(S, 2)`` or
    ``(S, 2, T)`` are the instances of each role that should report. A value counts once,
    where its newest sample first appears, so that one which stays gets old; one from the future is
    none. Of ``partial`` leaves series are known to be missing.
    """
    shape = (len(choices), times_s.size)
    cooked = figures(choices, leaves, [kind.name for kind in SIGNALS], times_s.size)
    tables = [cooked[kind.name] for kind in SIGNALS]
    values = np.stack([table.values for table in tables], axis=1)
    at_s = np.stack([table.at_s for table in tables], axis=1)
    present = _counted(at_s, times_s, step_s)
    values = np.where(at_s > times_s + FUTURE_SLACK_S, np.nan, values)
    due = np.broadcast_to(expected.reshape(*expected.shape[:2], -1), (shape[0], 2, shape[1]))
    heard = np.stack([table.reporting for table in tables], axis=1)
    everyone = np.maximum(due[:, _ROLE_ROWS], 1)
    heard = np.where(present, np.where(heard == WHOLE, everyone, heard), 0)
    reporting = np.stack(
        [heard[:, ROLE_INDEX[role] == _ROLE_ROWS].max(axis=1) for role in ROLES], axis=1
    )
    partly = _partly(choices, frozenset(partial))
    return [
        Window(
            times_s,
            values[row],
            present[row],
            reporting[row],
            due[row],
            heard[row],
            at_s[row],
            partly[row] if partly else None,
        )
        for row in range(shape[0])
    ]


def _counted(at_s: Floats, times_s: Floats, step_s: float) -> Flags:
    """Return where values count: those taken within their step, or since the time before.

    Samples that always come late are old, and there; so is one that was the last.
    """
    came: Flags = at_s > times_s - step_s
    came[..., 1:] |= at_s[..., 1:] > at_s[..., :-1]
    there = ~np.isnan(at_s)
    first = there & (np.cumsum(there, axis=-1) == 1)
    alone: Flags = first & ~came.any(axis=-1, keepdims=True)
    return came | alone


def _partly(choices: Sequence[Recipes], partial: frozenset[Term]) -> list[Flags]:
    """Return, of each service, the signals that rest on partial leaves; nothing without any."""
    if not partial:
        return []
    known: dict[int, bool] = {}

    def rests(recipe: Recipe | None) -> bool:
        if recipe is None:
            return False
        if id(recipe) not in known:
            known[id(recipe)] = not partial.isdisjoint(terms_of((recipe,)))
        return known[id(recipe)]

    return [np.array([rests(choice.get(kind.name)) for kind in SIGNALS]) for choice in choices]
