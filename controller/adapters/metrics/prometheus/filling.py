"""Answers become tables of leaves; what was not asked for, or is no number, changes none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from controller.adapters.metrics.prometheus.client import Answer
from controller.adapters.metrics.prometheus.expressions import WrittenAsk
from controller.adapters.metrics.prometheus.parts import FIGURE, Part, called, part_told
from controller.adapters.metrics.prometheus.promql import BOUND, Form
from controller.core.readings.asking import Reading, Wanted
from controller.core.readings.recipe import Kind, Leaf, Term, Written
from controller.core.readings.tables import WHOLE, Buckets, Table
from controller.core.types import Flags, Floats

MOST_BOUNDS: Final = 256
# A sample belongs to the step it was asked for; a frontend that moves steps moves them back.
_ROUNDING: Final = 1e-3
_NUMBER: Final = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_WORDS: Final[Mapping[object, float]] = {"+Inf": math.inf, "Inf": math.inf, "-Inf": -math.inf}


def number(text: object) -> float:
    """Return what a sample says; NaN for all that Prometheus would not write (M06)."""
    if isinstance(text, str) and _NUMBER.fullmatch(text):
        return float(text)
    return _WORDS.get(text, math.nan) if isinstance(text, str) else math.nan


@dataclass(slots=True)
class _Rows:
    """Values of one form of a leaf for each bound, and where there was any; (S, T) each."""

    shape: tuple[int, int]
    values: dict[float, Floats] = field(default_factory=dict)
    there: dict[float, Flags] = field(default_factory=dict)

    def of(self, bound: float) -> tuple[Floats, Flags]:
        if bound not in self.values:
            self.values[bound] = np.zeros(self.shape)
            self.there[bound] = np.zeros(self.shape, dtype=np.bool_)
        return self.values[bound], self.there[bound]

    def told(self, bound: float) -> Floats:
        """Return the values (S, T) of a bound, NaN where there was none."""
        values, there = self.of(bound)
        return np.where(there, values, np.nan)

    def stacked(self) -> tuple[Floats, Floats]:
        """Return bounds, ascending, the last infinite, and values (S, L, T)."""
        self.of(math.inf)
        le = sorted(self.values)
        return np.array(le), np.stack([self.told(each) for each in le], axis=1)


class Filling:
    """Takes answers one after another, so that none has to be kept."""

    def __init__(self, wanted: Wanted) -> None:
        """Begin with nothing."""
        self._wanted = wanted
        self._shape = (len(wanted.scope.services), wanted.grid.samples)
        self._position = {name: at for at, name in enumerate(wanted.scope.services)}
        self._rows: dict[tuple[Term, Form], _Rows] = {}
        self._partial: set[Term] = set()
        self._unanswered: set[tuple[Written, str]] = set()
        self._told: dict[str, None] = {}

    def take(self, asks: Sequence[Part], answer: Answer | str) -> None:
        """Take the answer to one request, or a sentence why there is none."""
        if isinstance(answer, str):
            self._told[answer] = None
            self._unanswered.update(
                (each.term, each.service) for each in asks if isinstance(each, WrittenAsk)
            )
            return
        self._told.update(dict.fromkeys(answer.told))
        if answer.partial:
            self._partial.update(each.term for each in asks)
        for each in asks:
            self._rows.setdefault((each.term, each.form), _Rows(self._shape))
        for series in answer.result:
            self._series(asks, series)

    def reading(self) -> Reading:
        """Return what was taken."""
        made = {
            term: self._answered(term) if isinstance(term, Written) else self._made(term)
            for term in self._wanted.leaves
        }
        leaves = {leaf: table for leaf, table in made.items() if table is not None}
        return Reading(leaves, frozenset(self._partial), tuple(self._told))

    def _series(self, asks: Sequence[Part], series: object) -> None:
        """Take one series; one that was not asked for, or of another form, is left."""
        found = part_told(series, asks)
        if found is None:
            return
        ask, told, points = found
        service = self._position.get(_service(ask, told))
        bound = number(told.get(BOUND)) if ask.bounds else math.inf
        if service is None or math.isnan(bound):
            return
        rows = self._rows[ask.term, ask.form]
        if bound not in rows.values and len(rows.values) >= MOST_BOUNDS:
            self._told[f"{called(ask)} has more than {MOST_BOUNDS} buckets."] = None
            return
        values, there = rows.of(bound)
        self._points(points, values[service], there[service])

        if ask.form is Form.MANY and isinstance(ask, WrittenAsk):
            self._tell_many(
                ask,
                int(
                    np.nan_to_num(rows.told(bound)[service], posinf=0.0, neginf=0.0).max(
                        initial=0.0
                    )
                ),
            )

    def _tell_many(self, ask: WrittenAsk, most: int) -> None:
        if most:
            self._unanswered.add((ask.written, ask.service))
            self._told[f"{called(ask)} gives {most} series: wrap it in sum(…) or max(…)."] = None

    def _points(self, points: Sequence[object], values: Floats, there: Flags) -> None:
        grid = self._wanted.grid
        for point in points:
            match point:
                case [int() | float() as at_s, text] if at_s <= grid.newest_s + _ROUNDING:
                    step = math.ceil((at_s - grid.oldest_s) / grid.step_s - _ROUNDING)
                case _:
                    continue
            if step >= 0:
                # Two spellings of one bound (1 and 1.0) are two series of the same bucket.
                values[step] += number(text)
                there[step] = True

    def _made(self, leaf: Leaf) -> Table | Buckets | None:
        """Return a leaf of which all was answered; a value without a time is none."""
        values, newest, reporting = (self._rows.get((leaf, form)) for form in FIGURE)
        if values is None or newest is None or reporting is None:
            return None
        stamps = np.where(values.of(math.inf)[1], newest.told(math.inf), np.nan)
        counts = np.nan_to_num(reporting.told(math.inf), posinf=0.0, neginf=0.0).astype(np.int64)
        if leaf.kind is Kind.BUCKETS:
            le, rates = values.stacked()
            return Buckets(le, rates, stamps, counts)
        return Table(values.told(math.inf), stamps, counts)

    def _answered(self, written: Written) -> Table | None:
        """Return a written query's figures where all that was asked of a service was answered."""
        values, newest = (self._rows.get((written, form)) for form in (Form.VALUES, Form.NEWEST))
        if values is None or newest is None:
            return None
        stamps = np.where(values.of(math.inf)[1], newest.told(math.inf), np.nan)
        stamps[[self._position[name] for term, name in self._unanswered if term == written]] = (
            np.nan
        )
        if np.isnan(stamps).all():
            return None
        reporting = self._rows.get((written, Form.REPORTING))
        counts = np.where(np.isnan(stamps), 0, WHOLE)
        if reporting is not None:
            counts = np.nan_to_num(reporting.told(math.inf), posinf=0.0, neginf=0.0).astype(
                np.int64
            )
        return Table(values.told(math.inf), stamps, counts)


def _service(ask: Part, told: Mapping[str, str]) -> str:
    return ask.service if isinstance(ask, WrittenAsk) else told.get(ask.attach.service, "")
