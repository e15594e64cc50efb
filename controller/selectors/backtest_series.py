"""What the figures of a backtest show: load, bound, each policy over time, what was curated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import numpy as np

from controller.core.backtest_states import State
from controller.models import Backtest

if TYPE_CHECKING:
    from controller.core.types import Floats
    from controller.selectors.series import Ask

SERIES: Final = (
    "prefill_ready",
    "prefill_desired",
    "decode_ready",
    "decode_desired",
    "gpus",
    "ttft_p95_s",
    "tbt_p95_s",
    "attained_frac",
)


class UnknownBacktestError(LookupError):
    """No backtest has this id."""


class UnansweredBacktestError(ValueError):
    """The backtest has no answer; the message says why."""


@dataclass(frozen=True, slots=True)
class RunSeries:
    """One policy over time, arrays of shape ``(T,)``, NaN where unknown.

    ``index`` is its place among all that were asked, whichever of them are shown.
    """

    index: int
    label: str
    gpu_hours: float
    attained: float | None
    over_bound: float | None
    values: Mapping[str, Floats]


@dataclass(frozen=True, slots=True)
class BacktestSeries:
    """One backtest; ``t_s`` [s since its begin], the load and the bound have shape ``(T,)``."""

    load: str
    ttft_slo_s: float
    tbt_slo_s: float
    bound_gpu_hours: float
    t_s: Floats
    request_rps: Floats
    bound_gpus: Floats
    runs: Sequence[RunSeries]
    curation: Mapping[str, Any] | None = None


def backtest_series(ask: Ask) -> BacktestSeries:
    """Read the answer of one backtest; without ``ask.runs`` all its policies."""
    return series_of(answered(UUID(ask.backtest)), ask.runs)


def answered(pk: UUID) -> Backtest:
    """Return a backtest with its answer.

    Raises :class:`UnknownBacktestError` and :class:`UnansweredBacktestError`.
    """
    found = Backtest.objects.defer("generator").filter(pk=pk).first()
    if found is None:
        raise UnknownBacktestError(str(pk))
    if found.state != State.DONE:
        raise UnansweredBacktestError(f"This backtest is {found.state}: it has no answer.")
    return found


def series_of(backtest: Backtest, wanted: Iterable[int] = ()) -> BacktestSeries:
    """Return the series of an answered backtest; ``wanted`` are places of policies."""
    answer: Mapping[str, Any] = backtest.answer or {}
    series: Mapping[str, Any] = backtest.series or {}
    chosen = set(wanted) & set(range(len(answer["runs"]))) or set(range(len(answer["runs"])))
    return BacktestSeries(
        load=backtest.load_name,
        ttft_slo_s=answer["slo"]["ttft_s"],
        tbt_slo_s=answer["slo"]["tbt_s"],
        bound_gpu_hours=answer["clairvoyant_gpu_hours"],
        t_s=_floats(series["t_s"]),
        request_rps=_floats(series["request_rps"]),
        bound_gpus=_floats(series["clairvoyant_gpus"]),
        runs=[
            RunSeries(
                index=i,
                label=run["label"],
                gpu_hours=run["gpu_hours"],
                attained=run["slo_attainment"],
                over_bound=run["gpu_hours_over_clairvoyant"],
                values={name: _floats(columns[name]) for name in SERIES},
            )
            for i, (run, columns) in enumerate(zip(answer["runs"], series["runs"], strict=True))
            if i in chosen
        ],
        curation=answer.get("curation"),
    )


def _floats(column: Sequence[float | None]) -> Floats:
    """Return the column as an array, unknown as NaN."""
    return np.array([np.nan if value is None else value for value in column], dtype=np.float64)
