"""Where metrics are read: the list of endpoints, the page of one, and what people change of it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import wiring
from controller.core.rights import NEEDS
from controller.core.types import Role
from controller.selectors import source_pages
from controller.services import endpoints, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.metrics_plan import UnusableError
from controller.views import shell
from controller.views.source_form import SourceForm
from inventory.models import MetricsEndpoint

LONGEST_NUMBER = 9
KINDS = frozenset(MetricsEndpoint.Kind.values)


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show every endpoint and how it answers."""
    now = timezone.now()
    values = {"sources": source_pages.read_sources(now), "now": now, **_may(request)}
    return render(request, "controller/sources.html", values)


@shell.page("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """Show the form of a new endpoint, or add it."""
    if request.method != "POST":
        kind = request.GET.get("kind", "")
        first = MetricsEndpoint(kind=kind) if kind in KINDS else MetricsEndpoint()
        return _form(request, SourceForm(row=first))
    people.require(request.user, people.EDIT_SOURCES)
    form = SourceForm(request.POST)
    if not form.is_valid():
        return _form(request, form, status=400)
    try:
        row = endpoints.add(form.draft(), user=request.user, reason=form.cleaned_data["reason"])
    except InvalidError as fault:
        form.refuse(fault.field, str(fault))
        return _form(request, form, status=400)
    messages.success(request, f"{row.slug} was added. Test it, then say which services read it.")
    return redirect(row)


@shell.page("GET")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one endpoint."""
    row = find(slug)
    return show(request, row)


@shell.page("POST")
def test(request: HttpRequest, slug: str) -> HttpResponse:
    """Reach an endpoint and show what it knows; nothing of what it says but figures."""
    row = find(slug)
    people.require(request.user, people.EDIT_SOURCES)
    names = source_pages.names_at(row)
    try:
        trial = wiring.source_trial_of(row, list(names))
    except UnusableError as fault:
        return show(request, row, test_fault=str(fault))
    known = [
        (names[name], name, by[Role.PREFILL], by[Role.DECODE])
        for name, by in sorted(trial.known.items())
    ]
    values = {"trial": trial, "known": known, "asked": len(names)}
    if request.htmx:  # type: ignore[attr-defined]
        return render(request, "controller/_source_tried.html", values)
    return show(request, row, **values)


@shell.page("GET", "POST")
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the form of an endpoint, or write what it says."""
    row = find(slug)
    if request.method != "POST":
        return _form(request, SourceForm(row=row), row=row)
    people.require(request.user, people.EDIT_SOURCES)
    return _edit(request, row, SourceForm(request.POST, row=row))


def _edit(request: HttpRequest, row: MetricsEndpoint, form: SourceForm) -> HttpResponse:
    try:
        changed = _write(row, form, request)
    except InvalidError as fault:
        form.refuse(fault.field, str(fault))
        return _form(request, form, row=row, status=400)
    except ConflictError as conflict:
        row = find(row.slug)
        sent = request.POST.copy()
        sent["version"] = str(row.version)
        again = SourceForm(sent, row=row)
        return _form(request, again, row=row, status=409, conflict=str(conflict))
    if changed is None:
        return _form(request, form, row=row, status=400)
    messages.success(request, f"{row.slug} was changed." if changed else "Nothing differs.")
    return redirect("source", slug=form.cleaned_data["slug"])


def _write(row: MetricsEndpoint, form: SourceForm, request: HttpRequest) -> bool | None:
    """Return whether anything differed; ``None`` for a form that has told what is wrong."""
    if not form.is_valid():
        return None
    return endpoints.edit(
        row.pk,
        form.draft(),
        seen=form.seen,
        user=request.user,
        reason=form.cleaned_data["reason"],
    )


@shell.page("GET", "POST")
def remove(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask before an endpoint that no service reads from is removed, or remove it."""
    row = find(slug)
    if request.method != "POST":
        return _remove(request, row)
    text = request.POST.get("version", "")
    is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    seen, reason = int(text) if is_number else 0, request.POST.get("reason", "")
    try:
        endpoints.remove(row.pk, seen=seen, user=request.user, reason=reason)
    except (InvalidError, ConflictError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        return _remove(request, find(slug), fault=fault, status=status)
    messages.success(request, f"{row.slug} was removed.")
    return redirect("sources")


def find(slug: str) -> MetricsEndpoint:
    """Return the endpoint of that name. Raises :class:`Http404`."""
    row = source_pages.find(slug)
    if row is None:
        raise Http404(f"There is no metrics source {slug}.")
    return row


def show(request: HttpRequest, row: MetricsEndpoint, **more: Any) -> HttpResponse:  # noqa: ANN401 - values of the page
    """Show the page of an endpoint, with what a test of it gave if there was one."""
    now = timezone.now()
    values = {"here": source_pages.read_source(row, now), "row": row, "now": now, **_may(request)}
    return render(request, "controller/source.html", values | more)


def _may(request: HttpRequest) -> dict[str, Any]:
    may = request.user.has_perm(people.EDIT_SOURCES)
    return {"may_edit": may, "needs": NEEDS[people.EDIT_SOURCES]}


def _form(
    request: HttpRequest,
    form: SourceForm,
    *,
    row: MetricsEndpoint | None = None,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    history = source_pages.read_history(row) if row and conflict else ()
    values = {
        "form": form,
        "row": row,
        "conflict": conflict,
        "theirs": history[0] if history else None,
        "now": timezone.now(),
        **_may(request),
    }
    return render(request, "controller/source_edit.html", values, status=status)


def _remove(
    request: HttpRequest,
    row: MetricsEndpoint,
    *,
    fault: Exception | None = None,
    status: int = 200,
) -> HttpResponse:
    now = timezone.now()
    values = {
        "here": source_pages.read_source(row, now),
        "row": row,
        "fault": fault,
        "reason": request.POST.get("reason", "")[:1000],
        "now": now,
        **_may(request),
    }
    return render(request, "controller/source_remove.html", values, status=status)
