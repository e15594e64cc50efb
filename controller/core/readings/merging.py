"""Answers of several endpoints put side by side: rows moved to their services, times left out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from controller.core.readings.tables import NOWHERE, Answer, Buckets, Table
from controller.core.types import Counts, Floats


def merged(answer: Answer, rows: Sequence[int], shape: tuple[int, int]) -> Answer:
    """Return an answer with each of its rows where ``rows`` says, of ``shape`` ``(S, T)``.

    Services that were not asked for are absent.
    """
    if list(rows) == list(range(shape[0])):
        return answer
    at_s = _spread(answer.at_s, rows, shape)
    reporting: Counts = np.zeros(shape, dtype=np.int64)
    reporting[rows] = answer.reporting
    if isinstance(answer, Table):
        return Table(_spread(answer.values, rows, shape), at_s, reporting)
    rates = np.full((shape[0], answer.le.size, shape[1]), NOWHERE)
    rates[rows] = answer.rates
    return Buckets(answer.le, rates, at_s, reporting)


def since(answer: Answer, begin_s: float, times_s: Floats) -> Answer:
    """Return an answer without what belongs to a time before ``begin_s`` (M18).

    ``times_s`` are those of its columns, shape ``(T,)``; the newest one always stays.
    """
    old = times_s < begin_s
    old[-1:] = False
    if not old.any():
        return answer
    at_s = np.where(old, NOWHERE, answer.at_s)
    reporting = np.where(old, 0, answer.reporting)
    if isinstance(answer, Table):
        return Table(answer.values, at_s, reporting)
    return Buckets(answer.le, np.where(old, NOWHERE, answer.rates), at_s, reporting)


def newest_s(answers: Iterable[Answer]) -> tuple[float | None, int]:
    """Return when the newest sample of all was taken [s], and how many services have any."""
    latest = None
    for answer in answers:
        own = np.fmax.reduce(answer.at_s, axis=1, initial=-np.inf)
        latest = own if latest is None else np.fmax(latest, own)
    if latest is None or not np.isfinite(latest).any():
        return None, 0
    known = np.isfinite(latest)
    return float(latest[known].max()), int(known.sum())


def _spread(values: Floats, rows: Sequence[int], shape: tuple[int, int]) -> Floats:
    found = np.full(shape, NOWHERE)
    found[rows] = values
    return found
