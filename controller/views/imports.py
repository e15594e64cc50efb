"""Imports: the list, the box they are put in, and one from its plan to its revert."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID, uuid4

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core.spreadsheet import cell_text
from controller.forms import NO_REASON, ApplyForm, ImportForm, ReplanForm, form_of
from controller.selectors import import_review, imports
from controller.selectors.node_use import holders
from controller.services import imports as service
from controller.services import people
from controller.services.errors import (
    ConflictError,
    InvalidError,
    SteeringError,
    TooManyError,
)
from controller.services.imports import Consent, Upload
from controller.views import fragments, shell
from inventory.importers.detect import FORMATS, MAX_BYTES
from inventory.models import ImportRun

LARGEST_PAGE: Final = 10_000
OVERTAKEN: Final = "The inventory changed since you looked: below is what the import would do now."
_STATUS: Final = {ConflictError: 409, TooManyError: 429}
TOO_LARGE: Final = (
    f"A file is larger than {MAX_BYTES // 2**20} MiB, or all together are larger than"
    f" {service.MOST_BYTES // 2**20} MiB: import them in parts."
)


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show one page of the list."""
    values = {
        "listing": imports.listing(_filters(request), page_of(request)),
        "states": ImportRun.State.choices,
        "formats": list(FORMATS),
        "clusters": imports.cluster_slugs(),
        "may": request.user.has_perm(people.EDIT_FLEET),
        "now": timezone.now(),
    }
    return render(request, "controller/imports.html", values)


def _filters(request: HttpRequest) -> imports.Filters:
    """Return what the address narrows the list to; what it can't mean narrows nothing."""
    state, form = (request.GET.get(name, "") for name in ("state", "format"))
    return imports.Filters(
        state=state if state in ImportRun.State.values else "",
        form=form if form in FORMATS else "",
        cluster=request.GET.get("cluster", "")[:63],
        mine=request.user.pk if request.GET.get("mine") == "1" else None,
    )


def page_of(request: HttpRequest) -> int:
    """Return which page the address asks for; what is no number is the first."""
    text = request.GET.get("page", "1")
    known = text.isascii() and text.isdigit() and len(text) < 7  # noqa: PLR2004
    return max(1, min(int(text), LARGEST_PAGE)) if known else 1


@shell.page("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """Show the box, or take what was put into it and go to its plan."""
    if request.method != "POST":
        before = _again(request.GET.get("again", ""))
        start = form_of(before, uuid4()) if before else ImportForm(initial={"key": uuid4()})
        return _form(request, start)
    people.require(request.user, people.EDIT_FLEET)
    form = ImportForm(request.POST, request.FILES)
    if getattr(request, "files_too_large", ()):
        form.add_error("uploads", TOO_LARGE)
    return _asked(request, form) if form.is_valid() else _form(request, form, 400)


def _again(text: str) -> ImportRun | None:
    """Return the import whose files are to be used again, if the address names one."""
    try:
        found = imports.find(UUID(text))
    except ValueError:
        return None
    return found.run if found and found.row.files else None


def _asked(request: HttpRequest, form: ImportForm) -> HttpResponse:
    try:
        run = service.ask(
            form.cleaned_data["key"],
            files=_uploads(request, form),
            wanted=form.wanted(),
            user=request.user,
            services=holders(timezone.now()),
        )
    except SteeringError as fault:
        named = getattr(fault, "field", "")
        form.add_error(named if named in form.fields else None, str(fault))
        return _form(request, form, _STATUS.get(type(fault), 400))
    return redirect(run)


def _uploads(request: HttpRequest, form: ImportForm) -> list[Upload]:
    """Return what was pasted and the files that were chosen, or those of an import before."""
    pasted = form.cleaned_data["pasted"].strip()
    files = [Upload("pasted", pasted.encode())] if pasted else []
    if form.cleaned_data["again"]:
        files += import_review.files_of(form.cleaned_data["again"])
    return files + [
        Upload(one.name or "file", one.read()) for one in request.FILES.getlist("uploads")
    ]


def _form(request: HttpRequest, form: ImportForm, status: int = 200) -> HttpResponse:
    before = _again(str(form["again"].value() or ""))
    values = {
        "form": form,
        "again": before,
        "formats": list(FORMATS),
        "may": request.user.has_perm(people.EDIT_FLEET),
    }
    return render(request, "controller/import_new.html", values, status=status)


@shell.page("GET")
def page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show one import as it stands; to htmx only that."""
    found = _find(pk)
    if request.headers.get("HX-Request"):
        state = (found.state, request.GET.urlencode())
        return fragments.answer(
            request, "controller/_import_live.html", _values(request, found), state=state
        )
    return _page(request, found)


def _page(
    request: HttpRequest,
    found: imports.ImportPage,
    *,
    status: int = 200,
    **extra: Any,  # noqa: ANN401 - what a template shows besides
) -> HttpResponse:
    values = _values(request, found) | extra
    return render(request, "controller/import.html", values, status=status)


def _values(request: HttpRequest, found: imports.ImportPage) -> dict[str, Any]:
    operation, kind = (request.GET.get(name, "")[:20] for name in ("operation", "kind"))
    is_planned = found.run.state == ImportRun.State.PLANNED
    opened = None
    if operation or kind:
        opened = imports.changes(
            found.run.pk, operation=operation, kind=kind, page=page_of(request)
        )
    return {
        "found": found,
        "run": found.run,
        "opened": opened,
        "group": found.group(operation, kind),
        "matrix": import_review.matrix(found),
        "hardware": imports.hardware_choices() if is_planned else (),
        "news": import_review.new_hardware(found) if is_planned else (),
        "levels": import_review.level_choices(found) if is_planned else (),
        "bad_files": import_review.bad_files(found) if found.errors else (),
        "choices": import_review.choices_of(found),
        "formats": list(FORMATS),
        "may": request.user.has_perm(people.EDIT_FLEET),
        "now": timezone.now(),
    }


def _find(pk: UUID) -> imports.ImportPage:
    found = imports.find(pk)
    if found is None:
        raise Http404(f"There is no import {pk}.")
    return found


@shell.page("POST")
def apply(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Write the plan that was shown; another one is shown instead of being written."""
    form = ApplyForm(request.POST)
    if not form.is_valid():
        return _page(request, _find(pk), status=400, fault=form.problem())
    try:
        run = service.apply(
            pk,
            consent=Consent(**form.cleaned_data),
            user=request.user,
            services=holders(timezone.now()),
        )
    except (ConflictError, InvalidError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        return _page(request, _find(pk), status=status, fault=str(fault))
    if run.state == ImportRun.State.PLANNED:
        return _page(request, _find(pk), status=409, fault=OVERTAKEN)
    return redirect(run)


@shell.page("POST")
def replan(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Plan the same files with other choices."""
    form = ReplanForm(request.POST)
    found = _find(pk)
    if not form.is_valid():
        return _page(request, found, status=400, fault=form.problem())
    try:
        run = service.replan(
            pk,
            wanted=form.wanted(found.run),
            user=request.user,
            services=holders(timezone.now()),
        )
    except (ConflictError, InvalidError) as fault:
        return _page(request, _find(pk), status=409, fault=str(fault))
    return redirect(run)


@shell.page("POST")
def cancel(request: HttpRequest, pk: UUID) -> HttpResponse:
    """End an import that is not written yet."""
    try:
        run = service.cancel(pk, user=request.user)
    except ConflictError as fault:
        return _page(request, _find(pk), status=409, fault=str(fault))
    messages.success(request, "Cancelled: nothing of it is written.")
    return redirect(run)


@shell.page("GET", "POST")
def revert(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show what a revert would do; then take back what nobody changed since.

    Where nodes go, the number of their GPUs has to be typed.
    """
    found, now = _find(pk), timezone.now()
    is_sent = request.method == "POST"
    if is_sent:
        people.require(request.user, people.EDIT_FLEET)
    if not found.can_be_reverted:
        told = f"The import is {found.run.get_state_display()}: it can't be taken back."
        return _page(request, found, status=409 if is_sent else 200, fault=told)
    back = import_review.going_back(found.run, holders(now))
    form = ApplyForm(request.POST)
    missing = _refused(form, back) if is_sent else ""
    if missing or not is_sent:
        return _back(request, found, back, fault=missing)
    try:
        run = service.revert(
            pk,
            key=form.key(),
            user=request.user,
            services=holders(now),
            reason=form.cleaned_data["reason"],
        )
    except ConflictError as fault:
        return _page(request, _find(pk), status=409, fault=str(fault))
    return redirect(run)


def _refused(form: ApplyForm, back: import_review.GoingBack) -> str:
    """Return what a revert still needs, empty if nothing."""
    if not form.is_valid():
        return form.problem()
    if not form.cleaned_data["reason"].strip():
        return NO_REASON
    if back.gpus and form.cleaned_data["gpus"] != back.gpus:
        return f"{back.gpus:,} GPUs go: type their number to go on."
    return ""


def _back(
    request: HttpRequest,
    found: imports.ImportPage,
    back: import_review.GoingBack,
    *,
    fault: str = "",
) -> HttpResponse:
    values = {
        "found": found,
        "run": found.run,
        "back": back,
        "key": uuid4(),
        "fault": fault,
        "reason": request.POST.get("reason", "")[:1000],
        "may": request.user.has_perm(people.EDIT_FLEET),
        "now": timezone.now(),
    }
    return render(request, "controller/import_revert.html", values, status=400 if fault else 200)


@shell.page("GET")
def errors(_request: HttpRequest, pk: UUID) -> HttpResponse:
    """Answer what is wrong with the files as CSV, one row an error."""
    faults = _find(pk).run.errors
    rows = [[one["file"], one["line"] or "", one["field"], one["message"]] for one in faults]
    return _csv([["file", "line", "field", "error"], *rows], f"import-{pk}-errors.csv")


@shell.page("GET")
def rows(_request: HttpRequest, pk: UUID, place: int) -> HttpResponse:
    """Answer the lines of one file that have faults as CSV, with a column ``error``."""
    found = import_review.bad_rows_of(_find(pk), place)
    if found is None:
        raise Http404("This file has no lines to mend, or is kept no longer.")
    return _csv(found, f"import-{pk}-rows-{place + 1}.csv")


def _csv(table: Iterable[Sequence[object]], name: str) -> HttpResponse:
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    writer = csv.writer(response)
    for row in table:
        # A lone dash is what clears a field, and no formula.
        writer.writerow([cell if cell == "-" else cell_text(cell) for cell in row])
    return response
