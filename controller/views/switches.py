"""The switches of a cluster, and the page of one."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.core.words import clean
from controller.selectors.switch_list import read_switches
from controller.selectors.switch_page import read_switch
from controller.views import fragments


@login_required
@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Answer the switches of the cluster and tier the query string names."""
    cluster, tier, page = (
        clean(request.GET.get(name, "")).strip()[:63] for name in ("cluster", "tier", "page")
    )
    tier = tier if tier == "unknown" or (tier.isascii() and tier.isdecimal()) else ""
    number = int(page) if page.isascii() and page.isdecimal() else 1
    found = read_switches(cluster, tier[:4] if tier != "unknown" else tier, number)
    if found is None:
        raise Http404(f"There is no cluster {cluster}.")
    return render(request, "controller/switches.html", {"found": found})


@require_safe
def page(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Answer the page of a switch; to htmx only what changes."""
    view = _fragment if request.htmx else _page  # type: ignore[attr-defined]
    return view(request, cluster, name)


@login_required
def _page(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    now = timezone.now()
    found = read_switch(cluster, name, now)
    if found is None:
        raise Http404(f"There is no switch {name} in {cluster}.")
    if (found.switch.cluster.slug, found.switch.name) != (cluster, name):
        return redirect("switch", found.switch.cluster.slug, found.switch.name)
    return render(request, "controller/switch.html", {"now": now, "page": found})


@fragments.signed_in
def _fragment(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    now = timezone.now()
    found = read_switch(cluster, name, now)
    if found is None:
        raise Http404(f"There is no switch {name} in {cluster}.")
    return fragments.answer(
        request,
        "controller/_switch_found.html",
        {"now": now, "page": found},
        state=(found.switch.version, found),
    )
