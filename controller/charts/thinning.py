"""Few enough points to draw, without losing a spike, a gap or a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from controller.core.types import Counts, Flags, Floats

MAX_POINTS: Final = 2_000
GAP_TICKS: Final = 2.5
# What one bucket may leave: its lowest, its highest and its first missing value.
PER_BUCKET: Final = 3


def downsample(values: Floats, *, limit: int = MAX_POINTS, keep: Counts | None = None) -> Counts:
    """Return the indices to draw, increasing, at most ``limit`` of them.

    ``values`` has shape ``(T,)``, NaN where nothing was measured. Kept are the first and last
    point, every index in ``keep``, and in each of equally long buckets the lowest value, the
    highest and one missing value, so that neither a spike nor a gap disappears. Raises
    :class:`ValueError` when ``keep`` holds more than half of ``limit`` or ``limit`` is below 10.
    """
    count = len(values)
    if count <= limit:
        return np.arange(count)
    kept = np.unique(keep) if keep is not None else np.empty(0, dtype=np.int64)
    if limit < 10 or len(kept) > limit // 2:  # noqa: PLR2004 - the docstring's numbers
        raise ValueError(f"{len(kept)} points to keep do not fit into {limit}")
    buckets = (limit - len(kept) - 2) // PER_BUCKET
    width = -(-count // buckets)
    padded = np.full(buckets * width, np.nan)
    padded[:count] = values
    grid = padded.reshape(buckets, width)
    missing = np.isnan(grid)
    start = np.arange(buckets) * width
    chosen = np.concatenate(
        [
            start + np.where(missing, np.inf, grid).argmin(axis=1),
            start + np.where(missing, -np.inf, grid).argmax(axis=1),
            (start + missing.argmax(axis=1))[missing.any(axis=1)],
            [0, count - 1],
            kept,
        ]
    )
    return np.unique(chosen[chosen < count]).astype(np.int64)


def with_gaps(times_s: Floats, values: Floats, *, step_s: float) -> tuple[Floats, Floats]:
    """Return times and values with a NaN wherever samples are too far apart to be connected.

    ``times_s`` has shape ``(T,)`` [s], ``values`` ``(T,)`` or ``(K, T)``. Too far is more than
    2.5 × ``step_s``; the NaN stands one step after the last sample before the gap.
    """
    before = np.flatnonzero(np.diff(times_s) > GAP_TICKS * step_s)
    if not len(before):
        return times_s, values
    return (
        np.insert(times_s, before + 1, times_s[before] + step_s),
        np.insert(values.astype(float), before + 1, np.nan, axis=-1),
    )


def spans(flags: Flags, times_s: Floats, *, step_s: float) -> list[tuple[float, float]]:
    """Return (begin, end) [s] of each run of true ``flags``, shape ``(T,)``.

    A run lasts until one step after its last sample, but not beyond the next sample; runs that
    touch are one.
    """
    marked = np.concatenate([[False], np.asarray(flags, dtype=bool), [False]])
    edges = np.flatnonzero(np.diff(marked.astype(np.int8)))
    found: list[tuple[float, float]] = []
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        end_s = float(times_s[after - 1]) + step_s
        if after < len(times_s):
            end_s = min(end_s, float(times_s[after]))
        if found and float(times_s[first]) - found[-1][1] <= step_s:
            found[-1] = (found[-1][0], end_s)
        else:
            found.append((float(times_s[first]), end_s))
    return found
