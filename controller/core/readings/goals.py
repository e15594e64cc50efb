"""Goals and figures worked out of a day's hours: what was kept, what was carried meanwhile."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.readings.cook import cook
from controller.core.readings.recipe import Kind, Leaf, Quantile
from controller.core.readings.survey import BOUND, Row
from controller.core.readings.tables import Buckets
from controller.core.types import Flags, Floats

NEARLY_ALL: Final = 0.95
_ROUND: Final = (1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
_DIGITS: Final = 12
_LEAF: Final = Leaf(("hours",), Kind.BUCKETS, None)


@dataclass(frozen=True, slots=True)
class Goal:
    """A latency [s] that nearly all hours kept, and the hours it was made of."""

    value_s: float
    kept: int
    hours: int
    least_s: float
    median_s: float
    most_s: float

    @property
    def text(self) -> str:
        """How it came about, in numbers."""
        return (
            f"p95 of {self.hours} hours from {self.least_s:.3g} to {self.most_s:.3g} s, median"
            f" {self.median_s:.3g} s; {self.kept} of {self.hours} kept {self.value_s:g} s"
        )


@dataclass(frozen=True, slots=True)
class Carried:
    """A rate over the hours: its mean and the hour with most."""

    mean: float
    peak: float


def rounded_up(value: float) -> float:
    """Return the next round figure from a positive value on: 1, 1.2, 1.5, 2 … times a power."""
    power = 10.0 ** math.floor(math.log10(value))
    leading = round(value / power, _DIGITS)
    step = next(each for each in _ROUND if each >= leading)
    return float(f"{step * power:.3g}")


def goal_of(hourly_s: Floats) -> Goal | None:
    """Return the goal that the hours (T,) suggest; hours without a request are NaN."""
    known = np.sort(hourly_s[np.isfinite(hourly_s) & (hourly_s > 0.0)])
    if not known.size:
        return None
    nearly = float(known[math.ceil(NEARLY_ALL * known.size) - 1])
    value_s = rounded_up(nearly)
    return Goal(
        value_s,
        int((known <= value_s).sum()),
        int(known.size),
        float(known[0]),
        float(np.median(known)),
        float(known[-1]),
    )


def quantile_of(rows: Iterable[Row], q: float = 0.95) -> Floats | None:
    """Return a quantile (T,) of histograms put together, as Prometheus makes it; NaN if idle."""
    sums: dict[float, Floats] = {}
    for row in rows:
        try:
            le = float(row.labels.get(BOUND, ""))
        except ValueError:
            continue
        values: Floats = np.nan_to_num(row.values)
        sums[le] = sums[le] + values if le in sums else values
    if math.inf not in sums:
        return None
    bounds = sorted(sums)
    rates = np.stack([sums[each] for each in bounds])[np.newaxis]
    shape = (1, rates.shape[2])
    buckets = Buckets(np.array(bounds), rates, np.zeros(shape), np.ones(shape, dtype=np.int64))
    found = cook(Quantile(q, _LEAF), {_LEAF: buckets}, shape).values[0]
    return np.where(rates[0, -1] > 0.0, found, np.nan)


def summed(rows: Iterable[Row]) -> Floats | None:
    """Return rates (T,) added up; NaN where none of them was there."""
    values = [row.values for row in rows]
    if not values:
        return None
    stacked = np.stack(values)
    total: Floats = np.nansum(stacked, axis=0)
    return np.where(np.isnan(stacked).all(axis=0), np.nan, total)


def carried(rates: Floats | None) -> Carried | None:
    """Return mean and peak of rates (T,) [1/s]."""
    if rates is None or np.isnan(rates).all():
        return None
    return Carried(float(np.nanmean(rates)), float(np.nanmax(rates)))


def target_of(rates: Floats, counts: Floats, kept: Flags) -> float | None:
    """Return the most that an instance carried in an hour that kept the goals, to 3 digits.

    Rates [1/s], instances and whether the goals were kept have shape (T,).
    """
    usable = kept & (counts > 0.0) & (rates > 0.0)
    if not usable.any():
        return None
    return float(f"{float((rates[usable] / counts[usable]).max()):.3g}")


def ratio_of(prefill: Floats, decode: Floats) -> float | None:
    """Return the median of prefill instances per decode instance over the looks (T,)."""
    both = (prefill > 0.0) & (decode > 0.0)
    if not both.any():
        return None
    return float(f"{float(np.median(prefill[both] / decode[both])):.3g}")
