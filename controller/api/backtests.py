"""Backtests for machines: the list and one answer as JSON, scores and time series as CSV."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from typing import Any, Final
from uuid import UUID

import orjson
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from controller.api.figures import StrangerError, refusal, require_session
from controller.charts.plot import Cell, cell
from controller.core.spreadsheet import cell_text
from controller.selectors import backtests
from controller.selectors.backtest_scores import BOUND, COLUMNS
from controller.selectors.backtest_series import (
    SERIES,
    BacktestSeries,
    UnansweredBacktestError,
    UnknownBacktestError,
    answered,
    series_of,
)

UNITS: Final[Mapping[str, str]] = {
    "prefill_ready": "instances",
    "prefill_desired": "instances",
    "decode_ready": "instances",
    "decode_desired": "instances",
    "gpus": "GPUs",
    "ttft_p95_s": "s",
    "tbt_p95_s": "s",
    "attained_frac": "1",
}
LARGEST_PAGE: Final = 10_000
MOST_DIGITS: Final = 9

View = Callable[..., HttpResponseBase]


def _answering(view: View) -> View:
    """Wrap a view of machines: reads only, refusals as JSON."""

    @wraps(view)
    def inside(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        try:
            require_session(request)
            if "pk" in kwargs:
                kwargs["pk"] = _id(str(kwargs["pk"]))
            return view(request, *args, **kwargs)
        except StrangerError:
            return refusal(401, "unauthenticated", "Sign in to read backtests.", "session")
        except UnknownBacktestError:
            return refusal(404, "unknown_backtest", "No backtest has this id.", "id")
        except UnansweredBacktestError as error:
            return refusal(409, "no_answer", str(error), "id")

    return require_safe(inside)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise UnknownBacktestError(text) from None


@_answering
def index(request: HttpRequest) -> HttpResponse:
    """Return one page of the list, newest first: ``?state=``, ``?mine=1`` and ``?page=``."""
    state, page = request.GET.get("state", ""), request.GET.get("page", "1")
    if state and state not in backtests.states():
        return refusal(400, "bad_parameter", f"Use {', '.join(backtests.states())}.", "state")
    known = page.isascii() and page.isdigit() and len(page) <= MOST_DIGITS
    if not (known and 0 < int(page) <= LARGEST_PAGE):
        return refusal(400, "bad_parameter", "Use a whole number from 1 on.", "page")
    filters = backtests.Filters(state, request.GET.get("mine") == "1")
    listing = backtests.listing(filters, int(page), request.user.pk)
    return _json(
        {
            "backtests": [_line(row) for row in listing.rows],
            "page": listing.page,
            "more": listing.more,
        }
    )


def _line(row: backtests.Row) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "url": f"/backtests/{row.pk}/",
        "state": row.state,
        "created_at": row.created_at,
        "created_by": row.by,
        "load": row.load,
        "policies": row.policies,
        **{
            word: row.best.label if row.best and row.best.standing == word else None
            for word in ("best", "nearest")
        },
        "took_s": row.took_s,
        "error": row.error or None,
    }


@_answering
@gzip_page
def one(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Return one backtest: its state, what was asked, and its answer once there is one.

    ``?series=0`` leaves the time series out.
    """
    found = backtests.whole(pk)
    if found is None:
        raise UnknownBacktestError(str(pk))
    answer = dict(found.answer or {})
    if answer and request.GET.get("series") != "0":
        answer = _joined(answer, found.series or {})
    return _json(
        {
            "id": str(found.pk),
            "state": found.state,
            "created_at": found.created_at,
            "created_by": found.created_by.get_username() if found.created_by else None,
            "started_at": found.started_at,
            "finished_at": found.finished_at,
            "progress_frac": found.progress_frac,
            "attempts": found.attempts,
            "load": found.load_name,
            "trace_sha256": found.trace.sha256 if found.trace else None,
            "asked": found.asked,
            "error": {"message": found.error, "where": found.error_field} if found.error else None,
            "answer": answer or None,
        }
    )


def _joined(answer: dict[str, Any], series: Mapping[str, Any]) -> dict[str, Any]:
    common = {name: column for name, column in series.items() if name != "runs"}
    runs = [
        run | {"series": columns}
        for run, columns in zip(answer["runs"], series["runs"], strict=True)
    ]
    return answer | {"runs": runs, "series": common}


def _json(body: object) -> HttpResponse:
    response = HttpResponse(orjson.dumps(body), content_type="application/json")
    response["Cache-Control"] = "private, no-cache"
    return response


@_answering
def scores(_request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Return a row a policy and one of the bound as CSV; unknown cells are empty."""
    found = answered(pk)
    answer: Mapping[str, Any] = found.answer or {}
    head = ["policy", *(f"{column.name} [{column.unit}]" for column in COLUMNS)]
    rows: list[Sequence[Cell]] = [
        [run["label"], *(run[column.name] for column in COLUMNS)] for run in answer["runs"]
    ]
    bound = {"gpu_hours": answer["clairvoyant_gpu_hours"], "gpu_hours_over_clairvoyant": 1.0}
    rows.append([BOUND, *(bound.get(column.name) for column in COLUMNS)])
    return _csv([head, *rows], f"backtest-{pk}-scores.csv")


@_answering
def series(_request: HttpRequest, pk: UUID) -> HttpResponseBase:
    """Return a row for each policy and time as CSV; unknown cells are empty."""
    return _csv(_series_rows(series_of(answered(pk))), f"backtest-{pk}-series.csv")


def _series_rows(found: BacktestSeries) -> Iterator[Sequence[Cell]]:
    yield [
        "policy",
        "t [s]",
        "load [requests/s]",
        "clairvoyant bound [GPUs]",
        *(f"{name} [{UNITS[name]}]" for name in SERIES),
    ]
    for run in found.runs:
        columns = [found.t_s, found.request_rps, found.bound_gpus]
        columns += [run.values[name] for name in SERIES]
        for row in zip(*(column.tolist() for column in columns), strict=True):
            yield [run.label, *(cell(value, 6) for value in row)]


class _Echo:
    """A file that gives back each line instead of keeping it."""

    def write(self, line: str) -> str:
        """Return the line."""
        return line


def _csv(rows: Iterable[Sequence[Cell]], name: str) -> StreamingHttpResponse:
    writer = csv.writer(_Echo())
    lines = (writer.writerow([cell_text(value) for value in row]) for row in rows)
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "private, no-cache"
    return response
