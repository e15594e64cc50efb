"""The answer of a backtest as a table and as a sentence: every policy beside the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.core import wording
from controller.selectors.backtests import attained, by_merit, goal_of, hours, times

Runs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column: the score's name, its heading, what it means, and which end is better.

    ``better`` is "low", "high", or empty where neither is.
    """

    name: str
    word: str
    meaning: str
    better: str
    text: Callable[[Any], str]
    unit: str = ""


def _count(value: float | None) -> str:
    return wording.number(value)


COLUMNS: Final = (
    Column("gpu_hours", "GPU-hours", "from allocation to release", "low", hours, "GPU-hours"),
    Column(
        "gpu_hours_over_clairvoyant",
        "× bound",
        "of the clairvoyant's GPU-hours",
        "low",
        times,
        "1",
    ),
    Column("slo_attainment", "both goals", "requests within both goals", "high", attained, "1"),
    Column("slo_attainment_ttft", "TTFT", "requests within the TTFT goal", "high", attained, "1"),
    Column("slo_attainment_tbt", "TBT", "requests within the TBT goal", "high", attained, "1"),
    Column("actions", "actions", "changes of the counts", "low", _count, "actions"),
    Column(
        "reversals_10min",
        "reversals",
        "actions against one not more than 10 min before",
        "low",
        _count,
        "actions",
    ),
    Column(
        "ratio_out_of_tolerance_s",
        "ratio off",
        "time the ready P/D ratio was outside its tolerance",
        "low",
        wording.duration,
        "s",
    ),
    Column("peak_gpus", "peak GPUs", "most GPUs held at once", "low", _count, "GPUs"),
    Column("prefill_util", "util P", "mean utilisation of prefill", "high", attained, "1"),
    Column("decode_util", "util D", "mean utilisation of decode", "high", attained, "1"),
)
BY_NAME: Final = {column.name: column for column in COLUMNS}
BOUND: Final = "clairvoyant bound"
COSTS: Final = frozenset({"gpu_hours", "gpu_hours_over_clairvoyant", "peak_gpus"})
"""Holding little is no merit where the goals are missed."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One score in words; ``best`` when no policy has a better one and some have a worse one."""

    word: str
    text: str
    best: bool = False


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One policy's scores. ``index`` is its place in the answer, absent for the bound.

    ``merit`` says why it is the best one, of all the others it is empty.
    """

    label: str
    index: int | None
    cells: Sequence[Cell]
    merit: str = ""


def table(answer: Mapping[str, Any], sort: str) -> Sequence[ScoreRow]:
    """Return a row a policy and one of the bound, ordered by ``sort``, unknown scores last.

    ``sort`` is a column's name, with a ``-`` before it for the largest first; anything else
    leaves the order they were asked in, the bound at the end.
    """
    runs: Runs = answer["runs"]
    best, chosen = _best_values(answer), by_merit(answer)[:1]
    rows = [
        (
            run,
            ScoreRow(
                run["label"],
                i,
                [
                    Cell(
                        column.word,
                        column.text(run[column.name]),
                        best=column.name in best and run[column.name] == best[column.name],
                    )
                    for column in COLUMNS
                ],
                merit=_merit(answer, run) if run in chosen else "",
            ),
        )
        for i, run in enumerate(runs)
    ]
    rows.append(_bound(answer))
    return [row for _, row in _sorted(rows, sort)]


def _bound(answer: Mapping[str, Any]) -> tuple[Mapping[str, Any], ScoreRow]:
    known = {
        "gpu_hours": answer["clairvoyant_gpu_hours"],
        "gpu_hours_over_clairvoyant": 1.0,
    }
    cells = [
        Cell(column.word, column.text(known[column.name]) if column.name in known else "—")
        for column in COLUMNS
    ]
    return known, ScoreRow(BOUND, None, cells)


def _keeping(answer: Mapping[str, Any]) -> Runs:
    goal = goal_of(answer)
    return [run for run in answer["runs"] if (run["slo_attainment"] or 0.0) >= goal]


def _merit(answer: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    if len(answer["runs"]) == 1:
        return ""
    if run in _keeping(answer):
        return f"cheapest that keeps {wording.percent(goal_of(answer))}"
    return "keeps most" if run["slo_attainment"] is not None else ""


def _best_values(answer: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the best value of each column in which policies differ."""
    found: dict[str, float] = {}
    everyone: Runs = answer["runs"]
    for column in COLUMNS:
        runs = (_keeping(answer) or everyone) if column.name in COSTS else everyone
        values = [run[column.name] for run in runs if run[column.name] is not None]
        if column.better and len(set(values)) > 1:
            found[column.name] = min(values) if column.better == "low" else max(values)
    return found


def _sorted(
    rows: list[tuple[Mapping[str, Any], ScoreRow]], sort: str
) -> list[tuple[Mapping[str, Any], ScoreRow]]:
    name = sort.removeprefix("-")
    if name not in BY_NAME:
        return rows
    known = [pair for pair in rows if pair[0].get(name) is not None]
    unknown = [pair for pair in rows if pair[0].get(name) is None]
    known.sort(key=lambda pair: float(pair[0][name]), reverse=sort.startswith("-"))
    return known + unknown


def headline(answer: Mapping[str, Any]) -> str:
    """Return what came out in one sentence: the best policy, then the next two."""
    ranked = by_merit(answer)
    if not ranked:
        return "No policy was compared."
    said = [_first(ranked[0]), *(_next(run) for run in ranked[1:3])]
    more = len(ranked) - 3
    tail = f"; {more} more below" if more > 0 else ""
    return "; ".join(said) + tail + "."


def _first(run: Mapping[str, Any]) -> str:
    cost = f"{hours(run['gpu_hours'])} GPU-hours{_over(run, ', ', ' the bound')}"
    if run["slo_attainment"] is None:
        return f"{run['label']} held {cost}; no request arrived, so nothing is known of the goals"
    kept = attained(run["slo_attainment"])
    return f"{run['label']} kept {kept} of requests within both goals with {cost}"


def _next(run: Mapping[str, Any]) -> str:
    needed = f"{run['label']} needed {hours(run['gpu_hours'])}{_over(run, ' (', ')')}"
    if run["slo_attainment"] is None:
        return needed
    return f"{needed} and kept {attained(run['slo_attainment'])}"


def _over(run: Mapping[str, Any], before: str, after: str) -> str:
    over = run["gpu_hours_over_clairvoyant"]
    return "" if over is None else f"{before}{times(over)}{after}"
