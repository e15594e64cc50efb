"""The topology of a cluster: domains, racks and nodes as a tree, and the cables between them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.core.words import clean
from controller.drawings import tree
from controller.drawings.overlays import Overlay
from controller.drawings.topology import Topology as Drawing
from controller.drawings.topology import draw
from controller.drawings.unfold import View
from controller.selectors.topology import Asked, Topology, read_topology
from controller.selectors.topology_focus import AT
from controller.views import fragments
from controller.views.drawn import cluster_of, lines_of

HOPS: Final = (1, 2, 3)
LONGEST_FOCUS: Final = 800
OVERLAYS: Final[Mapping[Overlay, str]] = {
    Overlay.HEALTH: "health",
    Overlay.UTILISATION: "use of GPUs",
    Overlay.FREE: "free GPUs",
    Overlay.SERVICE: "one service",
    Overlay.HARDWARE: "hardware type",
}


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Answer the page of the cluster the query string names; to htmx only what changes."""
    view = _found if request.htmx else _page  # type: ignore[attr-defined]
    return view(request)


@login_required
def _page(request: HttpRequest) -> HttpResponse:
    return render(request, "controller/topology.html", _values(request, timezone.now()))


@fragments.signed_in
def _found(request: HttpRequest) -> HttpResponse:
    values = _values(request, timezone.now())
    return fragments.answer(
        request,
        "controller/_topology_found.html",
        values,
        state=(values["topology"], values["drawing"]),
    )


def _values(request: HttpRequest, now: datetime) -> dict[str, Any]:
    given = {
        name: clean(request.GET.get(name, "")).strip()[:LONGEST_FOCUS]
        for name in ("cluster", "focus", "hops", "overlay", "service")
    }
    asked = Asked(given["cluster"], given["focus"], given["service"])
    found = read_topology(asked, now)
    if found is None and asked.cluster:
        raise Http404(f"There is no cluster {asked.cluster}.")
    view = _view(given, found)
    hops = _hops(given)
    here = _here(view, hops, found)
    drawing = _drawn(found, view, here) if found and found.nodes else None
    return {
        "now": now,
        "asked": asked,
        "topology": found,
        "drawing": drawing,
        "lines": lines_of(found, drawing) if found and drawing else (),
        "view": view,
        "overlays": OVERLAYS.items(),
        "hops": hops,
        "all_hops": HOPS,
        "here": here,
    }


def _view(given: Mapping[str, str], found: Topology | None) -> View:
    overlay = given["overlay"]
    if given["service"] and not overlay:
        overlay = Overlay.SERVICE
    path = found.focus.path if found else ()
    return View(
        focus=tree.key_of(*path) if path else None,
        # The whole cluster begins one level further out than the outermost domain.
        hops=_hops(given) + (not path),
        overlay=Overlay(overlay) if overlay in {str(one) for one in OVERLAYS} else Overlay.HEALTH,
        service=found.service if found and overlay == Overlay.SERVICE else "",
    )


def _hops(given: Mapping[str, str]) -> int:
    """Return how many levels are asked for; where a reader does not say, as many as fit."""
    return int(given["hops"]) if given["hops"] in {str(one) for one in HOPS} else HOPS[-1]


def _here(view: View, hops: int, found: Topology | None) -> str:
    """Return the address of the page to which a focus is added: all else that was chosen."""
    kept = {
        "cluster": found.cluster if found else "",
        "overlay": "" if view.overlay is Overlay.HEALTH else view.overlay.value,
        "service": view.service,
        "hops": str(hops) if hops < HOPS[-1] else "",
    }
    return "?" + "".join(f"{urlencode({name: value})}&" for name, value in kept.items() if value)


def _drawn(found: Topology, view: View, here: str) -> Drawing:
    def href(key: str) -> str:
        return here + urlencode({"focus": f"{AT}:{key}"}) if key else here.rstrip("&")

    return draw(cluster_of(found, href), view)
