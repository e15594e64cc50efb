"""Figures as JSON for the page that draws them, and as CSV for everyone else."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.http import parse_etags
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from controller.api.asks import Moment, Wanted, wanted
from controller.charts import FIGURES, Figure
from controller.charts.clock import Clock
from controller.charts.plot import Plot, Table
from controller.core.spreadsheet import cell_text
from controller.selectors.backtest_series import (
    UnansweredBacktestError,
    UnknownBacktestError,
    backtest_series,
)
from controller.selectors.capacity import read_fits, read_headroom
from controller.selectors.capacity_peaks import read_peaks
from controller.selectors.decision_counts import decision_counts, reversals
from controller.selectors.fleet_series import fleet_trend, pools_now, slo_bins
from controller.selectors.overrides import read_timeline
from controller.selectors.placement_map import placement_map
from controller.selectors.preferences import read_preferences
from controller.selectors.ranges import BadAskError
from controller.selectors.series import (
    Ask,
    BrokenServiceError,
    UnknownDecisionError,
    UnknownServiceError,
    decision_record,
    decision_window,
    service_series,
)
from controller.selectors.signal_samples import signal_study

READERS: Final[Mapping[str, Callable[[Ask], Any]]] = {
    "service": service_series,
    "slo_bins": slo_bins,
    "pools": pools_now,
    "fleet_trend": fleet_trend,
    "fits": read_fits,
    "headroom": read_headroom,
    "peaks": read_peaks,
    "overrides": read_timeline,
    "decision": decision_record,
    "decision_window": decision_window,
    "decision_counts": decision_counts,
    "reversals": reversals,
    "placement_map": placement_map,
    "signals": signal_study,
    "backtest": backtest_series,
}
# What a spreadsheet would take for a formula.


class StrangerError(PermissionError):
    """Nobody is signed in."""


class UnknownFigureError(LookupError):
    """No figure has this name."""


# What can't be answered: status, code, sentence and the parameter it is about. Without a sentence
# the error brings its own.
REFUSALS: Final[Mapping[type[Exception], tuple[int, str, str, str]]] = {
    StrangerError: (401, "unauthenticated", "Sign in to read figures.", "session"),
    UnknownFigureError: (
        404,
        "unknown_figure",
        f"There is no such figure: use {', '.join(FIGURES)}.",
        "name",
    ),
    UnknownServiceError: (404, "unknown_service", "No service has this slug.", "service"),
    UnknownDecisionError: (404, "unknown_decision", "No decision has this number.", "decision"),
    UnknownBacktestError: (404, "unknown_backtest", "No backtest has this id.", "backtest"),
    UnansweredBacktestError: (409, "no_answer", "", "backtest"),
    BrokenServiceError: (409, "config_invalid", "", "service"),
}


@require_safe
@gzip_page
def figure(request: HttpRequest, name: str) -> HttpResponse:
    """Return a figure as JSON, or its table as CSV with ``format=csv``."""
    try:
        require_session(request)
        made = _named(name)
        given = {key: ",".join(texts) for key, texts in request.GET.lists()}
        asked = wanted(given, made, _moment(request))
        clock = Clock.at(asked.zone, asked.ask.until.timestamp())
        plot = made.build(READERS[made.reads](asked.ask), clock)
    except BadAskError as error:
        return refusal(400, "bad_parameter", str(error), error.where)
    except tuple(REFUSALS) as error:
        status, code, message, where = REFUSALS[type(error)]
        return refusal(status, code, message or str(error), where)
    if asked.csv:
        return _csv(plot["table"], f"heteroscale-{name}.csv")
    return _json(request, _body(name, plot, asked, clock))


def require_session(request: HttpRequest) -> None:
    """Raise :class:`StrangerError` unless somebody is signed in."""
    # A script can't follow a redirect to a form: it is told in its own language.
    if not request.user.is_authenticated:
        raise StrangerError


def _named(name: str) -> Figure:
    if name not in FIGURES:
        raise UnknownFigureError(name)
    return FIGURES[name]


def _moment(request: HttpRequest) -> Moment:
    return Moment(
        now=timezone.now(),
        zone=read_preferences(request.user.pk).zone,
        tick_s=settings.TICK_S,
        window_s=settings.WINDOW_S,
    )


def _body(name: str, plot: Plot, asked: Wanted, clock: Clock) -> dict[str, Any]:
    """Return the figure with what the page needs to keep it fresh.

    ``live`` figures follow the clock; ``stale`` says that the newest measurement is older than
    two ticks before the end of a live range.
    """
    live = plot.get("live", asked.live)
    body: dict[str, Any] = {"name": name, "zone": clock.title, **plot, "live": live}
    as_of_s = body.pop("as_of_s", None)
    if as_of_s is not None:
        body["as_of"] = clock.full(as_of_s)
        late_s = asked.ask.until.timestamp() - as_of_s
        if live and late_s > 2 * asked.ask.tick_s:
            body["stale"] = f"Nothing newer than {clock.hour(as_of_s)} {clock.title}."
    if not asked.table:
        body.pop("table")
    return body


def _json(request: HttpRequest, body: dict[str, Any]) -> HttpResponse:
    text = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    tag = f'"{hashlib.blake2b(text, digest_size=12).hexdigest()}"'
    known = parse_etags(request.headers.get("If-None-Match", ""))
    # The same content compressed has a weak tag; for a GET the two count as equal.
    if tag in {one.removeprefix("W/") for one in known} or "*" in known:
        response = HttpResponse(status=304)
    else:
        response = HttpResponse(text, content_type="application/json")
    response["ETag"] = tag
    response["Cache-Control"] = "private, no-cache"
    return response


def _csv(table: Table, name: str) -> HttpResponse:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow([cell_text(column) for column in table["columns"]])
    writer.writerows([cell_text(value) for value in row] for row in table["rows"])
    response = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Cache-Control"] = "private, no-cache"
    return response


def refusal(status: int, code: str, message: str, where: str) -> HttpResponse:
    """Return an error in the one form that scripts read."""
    body = {"error": {"code": code, "message": message, "where": where}}
    response = HttpResponse(orjson.dumps(body), content_type="application/json", status=status)
    response["Cache-Control"] = "no-store"
    return response
