"""What a Prometheus proposes: a look at it, the proposals, and what people accept of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core.phrases import listed, plural
from controller.core.readings.detection import UnansweredError
from controller.core.rights import NEEDS
from controller.selectors import detected
from controller.selectors.detected import Page
from controller.services import detecting, metrics_plan, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.metrics_plan import UnusableError
from controller.views import shell, sources
from controller.views.detection_form import ProposalForm
from controller.wiring import detected as look_at
from inventory.models import MetricsEndpoint

MS = 1000.0


@shell.page("GET", "POST")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what was found last, or look now: that takes up to 20 s."""
    row = _find(slug)
    if request.method != "POST":
        return _page(request, row)
    people.require(request.user, people.EDIT_SOURCES)
    begun = time.monotonic()
    try:
        source = metrics_plan.source_of(row)
        found = look_at(source, timezone.now().timestamp(), settings.METRICS_REACH)
    except (UnansweredError, UnusableError) as fault:
        said = f"{row.slug} could not be looked through: {fault}"
        return _page(request, row, fault=said, status=502)
    took_ms = MS * (time.monotonic() - begun)
    detecting.keep(row, found, took_ms=took_ms, user=request.user)
    messages.success(request, f"{plural(len(found.proposals), 'service')} found.")
    return redirect("source-detect", slug=row.slug)


@shell.page("POST")
def accept(request: HttpRequest, slug: str) -> HttpResponse:
    """Set up the chosen proposals, all or none of them."""
    row = _find(slug)
    people.require(request.user, people.EDIT_SOURCES)
    read = detected.read(row)
    forms = _forms(read, row, request)
    chosen = [form for form in forms if form.is_chosen]
    if not chosen:
        said = "Nothing was set up: choose at least one of the services."
        return _page(request, row, forms=forms, fault=said, status=400)
    try:
        made = _accepted(row, chosen, request)
    except InvalidError as fault:
        _refuse(chosen, fault)
        said = f"Nothing was set up: {fault}"
        return _page(request, row, forms=forms, fault=said, status=400)
    except ConflictError as conflict:
        return _page(request, row, fault=str(conflict), status=409)
    messages.success(request, f"{listed(made)} read from here from now on.")
    return redirect("source-detect", slug=row.slug)


def _accepted(
    row: MetricsEndpoint, chosen: Sequence[ProposalForm], request: HttpRequest
) -> list[str]:
    wrong = [form for form in chosen if not form.is_valid()]
    if wrong:
        raise InvalidError("", f"look at the marked fields of {_wrong(wrong)}.")
    wishes = [form.wish() for form in chosen]
    seen = request.POST.get("seen", "")
    made = detecting.accept(row, seen, wishes, user=cast("User", request.user))
    return [each.slug for each in made]


def _find(slug: str) -> MetricsEndpoint:
    row = sources.find(slug)
    if row.kind != MetricsEndpoint.Kind.PROMETHEUS:
        raise Http404(f"{slug} is scraped directly: only a Prometheus knows the last 24 h.")
    return row


def _forms(
    read: Page, row: MetricsEndpoint, request: HttpRequest | None = None
) -> list[ProposalForm]:
    data = request.POST if request else None
    found = [each for each in read.found if each.may]
    forms = [ProposalForm(each, read.choice, row.slug, data) for each in found]
    if data is not None:
        # What was not chosen is shown as it was found, not as wrong.
        forms = [
            form if form.is_chosen else ProposalForm(form.found, read.choice, row.slug)
            for form in forms
        ]
    return forms


def _wrong(forms: Sequence[ProposalForm]) -> str:
    return listed(
        [
            f"{form.found.proposal['slug']} ({listed([str(form[n].label) for n in form.errors])})"
            for form in forms
        ]
    )


def _refuse(forms: Sequence[ProposalForm], fault: InvalidError) -> None:
    """Show what is wrong at its field; a name may begin as another one does."""
    fitting = [form for form in forms if fault.field.startswith(f"{form.prefix}-")]
    if fitting:
        form = max(fitting, key=lambda each: len(each.prefix or ""))
        name = fault.field.removeprefix(f"{form.prefix}-")
        form.add_error(name if name in form.fields else None, str(fault))


def _page(
    request: HttpRequest,
    row: MetricsEndpoint,
    *,
    forms: Sequence[ProposalForm] | None = None,
    fault: str = "",
    status: int = 200,
) -> HttpResponse:
    read = detected.read(row)
    shown = {form.found.proposal["slug"]: form for form in forms or _forms(read, row)}
    values = {
        "row": row,
        "here": read,
        "found": [(each, shown.get(each.proposal["slug"])) for each in read.found],
        "offered": bool(shown),
        "seen": read.kept.at.isoformat() if read.kept else "",
        "fault": fault,
        "may_edit": request.user.has_perm(people.EDIT_SOURCES),
        "needs": NEEDS[people.EDIT_SOURCES],
        "now": timezone.now(),
    }
    return render(request, "controller/detection.html", values, status=status)
