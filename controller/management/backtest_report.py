"""What the backtest command prints for a person."""

from collections.abc import Sequence
from typing import Final

from controller.core.wording import UNKNOWN
from controller.simulator.backtest.answer import Answer, Run

COLUMNS: Final = (
    "policy",
    "GPU-hours",
    "x bound",
    "both kept",
    "TTFT kept",
    "TBT kept",
    "P util",
    "D util",
    "actions",
    "reversals",
    "ratio off",
    "peak GPUs",
    "wall s",
)


def lines(answer: Answer) -> list[str]:
    """Return the answer as lines of text: the load, the engines, a row for each policy."""
    load, profile = answer.workload, answer.profile
    rows = [COLUMNS, *(_row(run) for run in answer.runs)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    load_line = (
        f"{load['name']}: {_hours(load['span_s'])} at {_number(load['mean_rps'])} requests/s on"
        f" average, {load['requests']}"
    )
    engine_line = (
        f"{_name(profile['prefill'])} for prefill, {_name(profile['decode'])} for decode;"
        f" simulated as {answer.fidelity['used']}: {answer.fidelity['rule']}"
    )
    bound_line = f"clairvoyant bound: {answer.clairvoyant_gpu_hours:,.1f} GPU-hours"
    return [load_line, engine_line, bound_line, "", *(_aligned(row, widths) for row in rows)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first = row[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
    return "  ".join((first, *rest))


def _row(run: Run) -> tuple[str, ...]:
    score = run.score
    over = score.gpu_hours_over_clairvoyant
    return (
        run.label,
        f"{score.gpu_hours:,.1f}",
        UNKNOWN if over is None else f"{over:.2f}",
        _share(score.slo_attainment),
        _share(score.slo_attainment_ttft),
        _share(score.slo_attainment_tbt),
        _share(score.prefill_util, 0),
        _share(score.decode_util, 0),
        str(score.actions),
        str(score.reversals_10min),
        f"{score.ratio_out_of_tolerance_s:,.0f} s",
        str(score.peak_gpus),
        f"{score.wall_s:.1f}",
    )


def _share(frac: float | None, digits: int = 2) -> str:
    return UNKNOWN if frac is None else f"{100 * frac:.{digits}f} %"


def _hours(span_s: object) -> str:
    return f"{span_s / 3600:,.1f} h" if isinstance(span_s, int | float) else UNKNOWN


def _number(value: object) -> str:
    return f"{value:,.3g}" if isinstance(value, int | float) else UNKNOWN


def _name(engine: object) -> str:
    return str(engine["name"]) if isinstance(engine, dict) else UNKNOWN
