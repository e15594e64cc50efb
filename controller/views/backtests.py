"""Backtests: the list, the form of a new one, and one from its queue to its answer."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import wiring
from controller.core.backtest_states import Source
from controller.selectors import backtest_scores, backtests
from controller.selectors.backtests import Filters, Found, TraceLine
from controller.services import backtest_load, people, traces
from controller.services import backtests as service
from controller.services.errors import ConflictError, InvalidError, TooManyError
from controller.simulator.backtest.question import QuestionError
from controller.simulator.workload import TraceError
from controller.views import backtest_form, backtest_words, fragments, shell
from controller.views.backtest_form import BacktestForm

LARGEST_PAGE: Final = 10_000
MOST_DIGITS: Final = 9


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the list; to htmx only the rows."""
    state = request.GET.get("state", "")
    filters = Filters(state if state in backtests.states() else "", request.GET.get("mine") == "1")
    listing = backtests.listing(filters, _page(request), request.user.pk)
    values: dict[str, Any] = {
        "filters": filters,
        "listing": listing,
        "states": backtests.states(),
        "newer": _query(filters, listing.page - 1) if listing.page > 1 else "",
        "older": _query(filters, listing.page + 1) if listing.more else "",
        "now": timezone.now(),
    }
    if request.headers.get("HX-Request"):
        return fragments.answer(
            request, "controller/_backtest_found.html", values, state=(listing, filters)
        )
    return render(request, "controller/backtests.html", values)


def _page(request: HttpRequest) -> int:
    text = request.GET.get("page", "1")
    known = text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
    return max(1, min(int(text), LARGEST_PAGE)) if known else 1


def _query(filters: Filters, page: int) -> str:
    given = {
        "state": filters.state,
        "mine": "1" if filters.mine else "",
        "page": str(page) if page > 1 else "",
    }
    return urlencode({name: value for name, value in given.items() if value})


@shell.page("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """Show the form, or queue what it asks and go to the new backtest's page."""
    names = list(wiring.backtest_sources().profiles)
    if request.method != "POST":
        form = BacktestForm(initial=_initial(request, names), profiles=names)
        return _form(request, form)
    people.require(request.user, people.BACKTEST)
    sent = request.POST.copy()
    kept, refused, status = _keep_upload(request)
    if kept is not None:
        sent["trace"] = str(kept.pk)
    form = BacktestForm(sent, request.FILES, profiles=names, kept=kept, refused=refused)
    queued = _queued(request, form) if form.is_valid() else None
    return queued or _form(request, form, status)


def _initial(request: HttpRequest, names: list[str]) -> dict[str, Any]:
    """Return the form's first values: usual ones, a service's, or those of an earlier one."""
    usual = backtest_form.Defaults(bool(backtests.traces())).values()
    copied = _copied(request.GET.get("copy", ""))
    if copied is not None:
        return usual | copied
    asked = backtests.service(request.GET.get("service", "")[:63])
    return usual | (backtest_form.of_service(asked, names) if asked else {})


def _copied(text: str) -> dict[str, Any] | None:
    try:
        found = backtests.find(UUID(text), timezone.now())
    except ValueError:
        return None
    if found is None:
        return None
    row = found.backtest
    return backtest_form.as_copied(row.asked, row.recorded_until)


def _form(request: HttpRequest, form: BacktestForm, status: int = 200) -> HttpResponse:
    values = {
        "form": form,
        "may": request.user.has_perm(people.BACKTEST),
        "now": timezone.now(),
    }
    return render(request, "controller/backtest_new.html", values, status=status)


def _keep_upload(request: HttpRequest) -> tuple[TraceLine | None, str, int]:
    """Keep an uploaded trace, so that it is there whatever else is wrong; or say why not.

    The last value is the status of a form that is shown again.
    """
    if "upload" in getattr(request, "files_too_large", ()):
        return None, "The file is larger than 16 MiB: cut it, or pack it with gzip.", 400
    upload = request.FILES.get("upload")
    if request.POST.get("source") != Source.TRACE or upload is None or not upload.size:
        return None, "", 400
    try:
        row = traces.keep(upload.name or "", upload.read(), user=request.user)
    except (TraceError, InvalidError, TooManyError) as fault:
        return None, str(fault), 429 if isinstance(fault, TooManyError) else 400
    return backtests.trace_line(row), "", 400


def _queued(request: HttpRequest, form: BacktestForm) -> HttpResponse | None:
    """Queue a checked form; ``None`` when the engine refuses it, which the form then says."""
    asked, load = form.asked(), backtest_form.load_of(form.cleaned_data, timezone.now())
    try:
        backtest_load.check(asked, load, wiring.backtest_sources())
        made = service.ask(form.cleaned_data["key"], asked=asked, load=load, user=request.user)
    except QuestionError as fault:
        form.refuse(fault.where, fault.message)
        return None
    except (TooManyError, ConflictError) as fault:
        form.add_error(None, str(fault))
        if isinstance(fault, ConflictError):
            form.renew()
        return _form(request, form, 429 if isinstance(fault, TooManyError) else 409)
    return redirect(made)


@shell.page("GET")
def page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show one backtest as it stands; to htmx only that."""
    found = _find(pk)
    values = {"found": found, "backtest": found.backtest, "now": timezone.now()}
    values |= _shown(request, found)
    if request.headers.get("HX-Request"):
        return fragments.answer(
            request, "controller/_backtest_live.html", values, state=found.state
        )
    return render(request, "controller/backtest.html", values)


def _find(pk: UUID) -> Found:
    found = backtests.find(pk, timezone.now())
    if found is None:
        raise Http404(f"There is no backtest {pk}.")
    return found


def _shown(request: HttpRequest, found: Found) -> dict[str, Any]:
    """Return what was asked, and the answer in the order and with the policies of the address."""
    row = found.backtest
    values: dict[str, Any] = {
        "asked": backtest_words.asked(row),
        "command": backtest_words.command(row),
        "error_label": backtest_words.field_label(row.error_field),
        "may": request.user.has_perm(people.BACKTEST),
        "tries": backtest_words.tries(row),
        "after_silence": backtest_words.after_silence(row),
    }
    if not row.answer:
        return values
    view = backtest_words.View.of(request.GET, row.answer)
    return values | {
        "headline": backtest_scores.headline(row.answer),
        "rows": backtest_scores.table(row.answer, view.sort),
        "columns": view.columns(),
        "choices": view.choices(),
        "view": view,
        "answer": row.answer,
        "facts": backtest_words.found(row.answer),
        "params": view.params(str(row.pk)),
    }


@shell.page("POST")
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Cancel what waits or runs, and show how it stands."""
    try:
        found = service.cancel(pk, user=request.user)
    except ConflictError as conflict:
        messages.warning(request, str(conflict))
        return redirect("backtest", pk=pk)
    if found.finished_at is None:
        messages.success(request, "Cancelling: it stops at its next step.")
    else:
        messages.success(request, "Cancelled.")
    return redirect("backtest", pk=pk)


@shell.page("GET")
def trace(_request: HttpRequest, pk: int) -> HttpResponse:
    """Return an uploaded trace as a packed CSV."""
    found = backtests.trace(pk)
    if found is None:
        raise Http404(f"There is no trace {pk}.")
    response = HttpResponse(bytes(found.content), content_type="application/gzip")
    response["Content-Disposition"] = f'attachment; filename="{backtest_words.file_of(found)}"'
    return response
