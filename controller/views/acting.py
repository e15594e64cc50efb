"""From observing to acting: what would have been done, and the mode a person then chooses."""

from __future__ import annotations

from typing import Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.core.rights import NEEDS
from controller.selectors import would_have
from controller.services import modes, people
from controller.services.errors import ConflictError, InvalidError
from controller.views import fresh, shell
from inventory.models import Service

DONE: Final = {
    "observe": "is only observed from now on.",
    "approve": "waits for approval of each change from now on.",
    "automatic": "is changed by the controller itself from now on.",
}


@shell.page("GET", "POST")
@fresh.needed
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show what would have been done, or write the mode that was chosen."""
    service = _find(slug)
    if request.method != "POST":
        return _page(request, service)
    mode, reason = request.POST.get("mode", ""), request.POST.get("reason", "")
    try:
        modes.change(
            slug, mode, seen=request.POST.get("seen", ""), user=request.user, reason=reason
        )
    except InvalidError as fault:
        return _page(request, service, fault=str(fault), status=400)
    except ConflictError as fault:
        return _page(request, _find(slug), fault=str(fault), status=409)
    messages.success(request, f"{slug} {DONE[mode]}")
    return redirect(service)


def _find(slug: str) -> Service:
    found = would_have.find(slug)
    if found is None:
        raise Http404(f"There is no service {slug}.")
    return found


def _page(
    request: HttpRequest, service: Service, *, fault: str = "", status: int = 200
) -> HttpResponse:
    now = timezone.now()
    values = {
        "here": would_have.read(service, now),
        "service": service,
        "fault": fault,
        "reason": request.POST.get("reason", "")[:1000],
        "chosen": request.POST.get("mode", Service.Mode.APPROVE),
        "modes": Service.Mode.choices,
        "days": would_have.DAYS,
        "may_change": people.may(request.user, people.CHANGE_MODE, service),
        "needs": NEEDS[people.CHANGE_MODE],
        "now": now,
    }
    return render(request, "controller/acting.html", values, status=status)
