"""The placement tab of a service: where it runs, what is promised and why, and its rules."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.forms import PlacementForm
from controller.selectors import placement_page, service_page
from controller.services import people, placement_rules
from controller.services.errors import ConflictError, InvalidError
from controller.views import shell
from controller.views.chrome import rights_of
from inventory.models import Service


@shell.page("GET", "POST")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show where a service runs, or save the rules a person sent."""
    service = _find(slug)
    if request.method == "POST":
        return _save(request, service)
    return _show(request, service, PlacementForm.of(service))


def _find(slug: str) -> Service:
    service = service_page.find(slug)
    if service is None:
        raise Http404(f"There is no service {slug}.")
    return service


def _show(
    request: HttpRequest,
    service: Service,
    form: PlacementForm,
    *,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    now = timezone.now()
    values = {
        "now": now,
        "service": service,
        "here": placement_page.read_page(service, now),
        "params": f"service={service.slug}",
        "form": form,
        "conflict": conflict,
        "may_edit": rights_of(request).may(people.EDIT_POLICY, service),
        "needs": people.NEEDS[people.EDIT_POLICY],
    }
    return render(request, "controller/placement.html", values, status=status)


def _save(request: HttpRequest, service: Service) -> HttpResponse:
    people.require(request.user, people.EDIT_POLICY, service)
    form = PlacementForm(request.POST)
    if not form.is_valid():
        return _show(request, service, form, status=400)
    given: dict[str, Any] = dict(form.cleaned_data)
    try:
        placement_rules.save_rules(
            service,
            given,
            opened=given.pop("version"),
            reason=given.pop("reason"),
            user=request.user,  # type: ignore[arg-type]
        )
    except InvalidError as fault:
        form.add_error(fault.field, str(fault))
        return _show(request, service, form, status=400)
    except ConflictError as conflict:
        return _overtaken(request, service.slug, str(conflict))
    messages.success(request, "Saved: what is placed from now on keeps to it; nothing is moved.")
    return redirect("service-placement", slug=service.slug)


def _overtaken(request: HttpRequest, slug: str, conflict: str) -> HttpResponse:
    """Show what was typed on top of the version that came first, and what holds now."""
    service = _find(slug)
    again = PlacementForm({**request.POST.dict(), "version": str(service.version)})
    again.is_valid()
    return _show(request, service, again, status=409, conflict=conflict)
