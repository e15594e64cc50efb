"""What a backtest answers: a score and a time series per policy, and the bound beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from controller.core.types import Floats

Plain = str | float | int | bool | None | list["Plain"] | dict[str, "Plain"]


@dataclass(frozen=True, slots=True)
class Score:
    """What a policy cost and kept.

    GPU-hours count from allocation to release, starting and draining included. Attainments are
    shares of requests, ``None`` when there was none; utilisations ``None`` when none was read.
    ``reversals_10min`` are actions against the direction of one not more than 10 minutes before.
    ``ratio_out_of_tolerance_s`` is the time the ready ratio was outside the tolerance of the
    target ratio.
    """

    gpu_hours: float
    gpu_hours_over_clairvoyant: float | None
    slo_attainment_ttft: float | None
    slo_attainment_tbt: float | None
    slo_attainment: float | None
    slo_attainment_tokens: float | None
    prefill_util: float | None
    decode_util: float | None
    actions: int
    reversals_10min: int
    ratio_out_of_tolerance_s: float
    overshoot_gpus: int
    peak_gpus: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """How a run went, arrays of shape ``(T,)`` on the answer's ``t_s``; NaN where unknown."""

    prefill_ready: Floats
    prefill_desired: Floats
    decode_ready: Floats
    decode_desired: Floats
    gpus: Floats
    ttft_p95_s: Floats
    tbt_p95_s: Floats
    attained_frac: Floats


@dataclass(frozen=True, slots=True)
class Run:
    """One policy's outcome; ``params`` are all it ran with, ``label`` is how it was asked for."""

    policy: str
    label: str
    params: Mapping[str, float | str]
    score: Score
    series: Series


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything one backtest found; ``workload``, ``profile`` and ``fidelity`` are plain facts.

    ``curation`` is what was found of ratio, targets and policy where that was asked, plain too.
    ``t_s``, ``request_rps`` and ``clairvoyant_gpus`` have shape ``(T,)``, NaN where the load is
    unknown.
    """

    workload: Mapping[str, Plain]
    profile: Mapping[str, Plain]
    slo: Mapping[str, float]
    fidelity: Mapping[str, str]
    clairvoyant_gpu_hours: float
    t_s: Floats
    request_rps: Floats
    clairvoyant_gpus: Floats
    runs: Sequence[Run]
    curation: Mapping[str, Plain] | None = None


def as_plain(answer: Answer, *, series: bool) -> dict[str, Plain]:
    """Return the answer as JSON values, with the time series or without; unknown is null."""
    plain: dict[str, Plain] = {
        "workload": dict(answer.workload),
        "profile": dict(answer.profile),
        "slo": dict(answer.slo),
        "fidelity": dict(answer.fidelity),
        "clairvoyant_gpu_hours": answer.clairvoyant_gpu_hours,
        "runs": [_run(run, series=series) for run in answer.runs],
    }
    if answer.curation is not None:
        plain["curation"] = dict(answer.curation)
    if series:
        plain["series"] = {
            "t_s": _column(answer.t_s),
            "request_rps": _column(answer.request_rps),
            "clairvoyant_gpus": _column(answer.clairvoyant_gpus),
        }
    return plain


def _run(run: Run, *, series: bool) -> dict[str, Plain]:
    plain: dict[str, Plain] = {
        "policy": run.policy,
        "label": run.label,
        "params": dict(run.params),
        **asdict(run.score),
    }
    if series:
        plain["series"] = {
            name: _column(getattr(run.series, name)) for name in Series.__dataclass_fields__
        }
    return plain


def _column(values: Floats) -> list[Plain]:
    """Return the values with six significant digits, which no figure shows more of."""
    return [None if np.isnan(value) else float(f"{value:.6g}") for value in values.tolist()]
