"""The answer of a backtest as a table and as a sentence: every policy beside the bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.core import wording
from controller.selectors.backtests import attained, by_merit, goal_of, hours, keeps_goal, times

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
ATTAINMENTS: Final = frozenset({"slo_attainment", "slo_attainment_ttft", "slo_attainment_tbt"})
"""What may be best of any policy; the rest is no merit where the goals are missed."""

DEFAULT: Final = "default"
NAMED: Final = 3
"""Policies the headline names, beside ``default``."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One score in words.

    ``best`` when of the policies that are compared none has a better one and some a worse one:
    of those that keep the goals, for attainments of all.
    """

    word: str
    text: str
    best: bool = False


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One policy's scores. ``index`` is its place in the answer, absent for the bound.

    ``merit`` says why it comes first, of all the others it is empty; ``keeps`` whether it keeps
    the goals.
    """

    label: str
    index: int | None
    cells: Sequence[Cell]
    merit: str = ""
    keeps: bool = False


def table(answer: Mapping[str, Any], sort: str) -> Sequence[ScoreRow]:
    """Return a row a policy and one of the bound, ordered by ``sort``, unknown scores last.

    ``sort`` is a column's name, with a ``-`` before it for the largest first; anything else
    leaves the order they were asked in, the bound at the end.
    """
    best, chosen = _best_values(answer), by_merit(answer)[:1]
    rows = [
        (
            run,
            ScoreRow(
                run["label"],
                i,
                _cells(run, best, keeps=keeps_goal(answer, run)),
                merit=_merit(answer, run) if run in chosen else "",
                keeps=keeps_goal(answer, run),
            ),
        )
        for i, run in enumerate(answer["runs"])
    ]
    rows.append(_bound(answer))
    return [row for _, row in _sorted(rows, sort)]


def _cells(run: Mapping[str, Any], best: Mapping[str, float], *, keeps: bool) -> list[Cell]:
    return [
        Cell(
            column.word,
            column.text(run[column.name]),
            best=(keeps or column.name in ATTAINMENTS)
            and column.name in best
            and run[column.name] == best[column.name],
        )
        for column in COLUMNS
    ]


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


def _merit(answer: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    if len(answer["runs"]) == 1 or run["slo_attainment"] is None:
        return ""
    return f"cheapest that keeps {_goal(answer)}" if keeps_goal(answer, run) else "nearest"


def _goal(answer: Mapping[str, Any]) -> str:
    return f"{100 * goal_of(answer):.4g} %"


def _best_values(answer: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the best value of each column in which the policies it compares differ."""
    found: dict[str, float] = {}
    everyone: Runs = answer["runs"]
    keeping = [run for run in everyone if keeps_goal(answer, run)]
    for column in COLUMNS:
        runs = everyone if column.name in ATTAINMENTS else keeping
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
    """Return what came out in one sentence: the policy that comes first, then the next two.

    That none kept the goals is said before anything else, and ``default`` is always named.
    """
    ranked = by_merit(answer)
    if not ranked:
        return "No policy was compared."
    named = [run for i, run in enumerate(ranked) if i < NAMED or run["label"] == DEFAULT]
    said = [_first(answer, named[0]), *(_next(run) for run in named[1:])]
    more = len(ranked) - len(named)
    tail = f"; {more} more below" if more > 0 else ""
    return "; ".join(said) + tail + "."


def _first(answer: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    cost = f"{hours(run['gpu_hours'])} GPU-hours{_over(run, ', ', ' the bound')}"
    if run["slo_attainment"] is None:
        return f"{run['label']} held {cost}; no request arrived, so nothing is known of the goals"
    kept = attained(run["slo_attainment"])
    if keeps_goal(answer, run):
        return f"{run['label']} kept {kept} of requests within both goals with {cost}"
    return (
        f"No policy kept {_goal(answer)} of requests within both goals: "
        f"{run['label']} came nearest with {kept} for {cost}"
    )


def _next(run: Mapping[str, Any]) -> str:
    needed = f"{run['label']} needed {hours(run['gpu_hours'])}{_over(run, ' (', ')')}"
    if run["slo_attainment"] is None:
        return needed
    return f"{needed} and kept {attained(run['slo_attainment'])}"


def _over(run: Mapping[str, Any], before: str, after: str) -> str:
    over = run["gpu_hours_over_clairvoyant"]
    return "" if over is None else f"{before}{times(over)}{after}"
