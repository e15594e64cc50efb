"""Hardware types: the list, the page of one, and what people change of it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core.phrases import plural
from controller.selectors import hardware_page
from controller.services import hardware, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.hardware import Consent
from controller.views import shell
from controller.views.hardware_form import HardwareForm
from inventory.models import HardwareType

LONGEST_NUMBER = 9


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show every type."""
    values = {"types": hardware_page.read_types(), "now": timezone.now()}
    return render(request, "controller/hardware_types.html", values)


@shell.page("GET")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one type; a word for it leads to its own address."""
    row = _find(slug)
    if row.get_absolute_url() != request.path:
        return redirect(row)
    return _page(request, row)


@shell.page("GET", "POST")
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    """Show the form of the facts, or write them."""
    row = _find(slug)
    if request.method != "POST":
        return _form(request, row, HardwareForm(instance=row, initial={"version": row.version}))
    people.require(request.user, people.EDIT_FLEET)
    # A copy: a form that does not validate leaves what it read on the row it is given.
    form = HardwareForm(request.POST, instance=_find(slug))
    if not form.is_valid():
        return _form(request, row, form, status=400)
    try:
        changed = hardware.edit(
            row.pk,
            form.facts(),
            seen=form.seen,
            user=request.user,
            reason=form.cleaned_data["reason"],
        )
    except ConflictError as conflict:
        row = _find(slug)
        sent = request.POST.copy()
        sent["version"] = str(row.version)
        again = HardwareForm(sent, instance=_find(slug))
        return _form(request, row, again, status=409, conflict=str(conflict))
    messages.success(request, f"{row.slug} was changed." if changed else "Nothing differs.")
    return redirect(row)


@shell.page("POST")
def alias(request: HttpRequest, slug: str) -> HttpResponse:
    """Add a word imports call it by, or with ``remove`` take one away."""
    row = _find(slug)
    if word := request.POST.get("remove"):
        hardware.remove_word(row.pk, word, user=request.user)
        messages.success(request, f"Imports that say {word} do not mean {row.slug} any more.")
        return redirect(row)
    text = request.POST.get("text", "")
    try:
        word = hardware.add_word(row.pk, text, user=request.user)
    except InvalidError as fault:
        return _page(request, row, status=400, alias_text=text[:253], alias_fault=str(fault))
    messages.success(request, f"Imports that say {word} mean {row.slug} from now on.")
    return redirect(row)


@shell.page("GET", "POST")
def merge(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what merging this type into another would do; with ``confirm``, do it."""
    row = _find(slug)
    given = request.POST if request.method == "POST" else request.GET
    target = hardware_page.find(given.get("into", "")[:63])
    if target is None or target.pk == row.pk:
        messages.error(request, "Choose another type to merge this one into.")
        return redirect(row)
    if request.method != "POST":
        return _merge(request, row, target)
    consent = Consent(
        seen=_number(given.get("version", "")) or 0,
        seen_target=_number(given.get("target_version", "")) or 0,
        gpus=_number(given.get("typed", "")),
        reason=given.get("reason", ""),
    )
    try:
        done = hardware.merge(row.pk, target.pk, consent=consent, user=request.user)
    except (InvalidError, ConflictError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        return _merge(request, _find(slug), _find(target.slug), fault=fault, status=status)
    messages.success(
        request,
        f"{slug} is {target.slug} now: {plural(done.nodes, 'node')} and "
        f"{plural(done.roles, 'role')} moved.",
    )
    return redirect(target)


@shell.page("GET", "POST")
def delete(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask before a type that nothing uses is removed, or remove it."""
    row = _find(slug)
    if request.method != "POST":
        return _delete(request, row)
    seen, reason = _number(request.POST.get("version", "")), request.POST.get("reason", "")
    try:
        hardware.delete(row.pk, seen=seen or 0, user=request.user, reason=reason)
    except (InvalidError, ConflictError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        return _delete(request, row, fault=fault, status=status)
    messages.success(request, f"{row.slug} was removed.")
    return redirect("hardware-types")


def _find(slug: str) -> HardwareType:
    row = hardware_page.find(slug)
    if row is None:
        raise Http404(f"There is no hardware type {slug}.")
    return row


def _number(text: str) -> int | None:
    is_number = text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER
    return int(text) if is_number else None


def _may(request: HttpRequest) -> bool:
    return request.user.has_perm(people.EDIT_FLEET)


def _page(request: HttpRequest, row: HardwareType, status: int = 200, **more: Any) -> HttpResponse:  # noqa: ANN401 - values of the page
    now = timezone.now()
    here = hardware_page.read_type(row, now)
    values = {"here": here, "type": row, "now": now, "may_edit": _may(request), **more}
    return render(request, "controller/hardware.html", values, status=status)


def _form(
    request: HttpRequest,
    row: HardwareType,
    form: HardwareForm,
    *,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    history = hardware_page.read_history(row) if conflict else ()
    values = {
        "form": form,
        "type": row,
        "conflict": conflict,
        "theirs": history[0] if history else None,
        "may_edit": _may(request),
        "now": timezone.now(),
    }
    return render(request, "controller/hardware_edit.html", values, status=status)


def _merge(
    request: HttpRequest,
    row: HardwareType,
    target: HardwareType,
    *,
    fault: Exception | None = None,
    status: int = 200,
) -> HttpResponse:
    values = {
        "found": hardware_page.preview_merge(row, target),
        "fault": fault,
        "reason": request.POST.get("reason", "")[:1000],
        "may_edit": _may(request),
        "now": timezone.now(),
    }
    return render(request, "controller/hardware_merge.html", values, status=status)


def _delete(
    request: HttpRequest, row: HardwareType, *, fault: Exception | None = None, status: int = 200
) -> HttpResponse:
    values = {
        "here": hardware_page.read_type(row, timezone.now()),
        "type": row,
        "fault": fault,
        "may_edit": _may(request),
        "now": timezone.now(),
    }
    return render(request, "controller/hardware_delete.html", values, status=status)
