"""Racks: a row of elevations, one rack with its facts, and a node that moves to another place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django import forms as django_forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_safe

from controller.core.words import clean
from controller.drawings.looks import ColourBy
from controller.drawings.mounted import Face
from controller.drawings.rack import draw
from controller.forms import MoveForm, RackForm
from controller.selectors.rack_page import Move, RackPage, find_rack, read_move, read_rack
from controller.selectors.racks import Asked, read_racks
from controller.services import people
from controller.services import racks as service
from controller.services.errors import ConflictError, InvalidError
from controller.views import fragments, shell
from controller.views.chrome import rights_of
from controller.views.drawn import rack_of

COLOURS: Final[Mapping[ColourBy, str]] = {
    ColourBy.HEALTH: "health",
    ColourBy.USE: "use of GPUs",
    ColourBy.SERVICE: "service",
    ColourBy.HARDWARE: "hardware type",
}
SHEETS: Final = ("A4", "Letter")
LONGEST_PAGE: Final = 6


@require_safe
def index(request: HttpRequest) -> HttpResponse:
    """Answer the row of elevations the query string names; to htmx only what changes."""
    view = _found if request.htmx else _index  # type: ignore[attr-defined]
    return view(request)


@login_required
def _index(request: HttpRequest) -> HttpResponse:
    return render(request, "controller/racks.html", _row(request))


@fragments.signed_in
def _found(request: HttpRequest) -> HttpResponse:
    values = _row(request)
    return fragments.answer(request, "controller/_racks_found.html", values, state=values["racks"])


def _row(request: HttpRequest) -> dict[str, Any]:
    asked, look, now = _asked(request), _look(request), timezone.now()
    found = read_racks(asked, now)
    if found is None:
        raise Http404(f"There is no {asked.place.replace(':', ' ')} with racks.")
    kept = {"place": asked.place} | look.kept
    drawn = draw([rack_of(one) for one in found.racks], colour_by=look.colour_by, face=look.face)
    return {
        "now": now,
        "racks": found,
        "asked": asked,
        "drawn": drawn,
        "pairs": list(zip(found.racks, drawn.racks, strict=True)),
        "here": "?" + urlencode({name: value for name, value in kept.items() if value}) + "&",
        **look.choices,
    }


def _asked(request: HttpRequest) -> Asked:
    given = {
        name: clean(request.GET.get(name, "")).strip()[:100]
        for name in ("place", "site", "cluster", "page")
    }
    places = (
        given["place"],
        given["cluster"] and f"cluster:{given['cluster']}",
        given["site"] and f"site:{given['site']}",
    )
    page = given["page"]
    return Asked(
        place=next(filter(None, places), "").lower(),
        page=int(page) if page.isdecimal() and len(page) <= LONGEST_PAGE else 1,
    )


@dataclass(frozen=True, slots=True)
class Look:
    """How racks are shown: coloured by what, from which side, and printed on which sheet."""

    colour_by: ColourBy
    face: Face
    sheet: str

    @property
    def kept(self) -> dict[str, str]:
        """What links to other racks keep of it."""
        return {
            "colour": "" if self.colour_by is ColourBy.HEALTH else self.colour_by.value,
            "face": "" if self.face is Face.FRONT else self.face.value,
        }

    @property
    def choices(self) -> dict[str, Any]:
        """What a form offers, and this choice."""
        return {"look": self, "colours": COLOURS.items(), "faces": tuple(Face), "sheets": SHEETS}


def _look(request: HttpRequest) -> Look:
    colour, face, sheet = (request.GET.get(name, "") for name in ("colour", "face", "sheet"))
    return Look(
        colour_by=ColourBy(colour)
        if colour in {str(one) for one in ColourBy}
        else ColourBy.HEALTH,
        face=Face(face) if face in {str(one) for one in Face} else Face.FRONT,
        sheet=sheet if sheet in SHEETS else SHEETS[0],
    )


@shell.page("GET", "POST")
def page(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Show a rack, or save the facts a person sent."""
    if request.method == "POST":
        return _save(request, pk)
    found = _rack(pk)
    return _show(request, found, RackForm.of(found.row))


def _rack(pk: UUID) -> RackPage:
    found = read_rack(pk, timezone.now())
    if found is None:
        raise Http404("There is no such rack: it may have been removed.")
    return found


def _show(
    request: HttpRequest, found: RackPage, form: RackForm, *, status: int = 200, conflict: str = ""
) -> HttpResponse:
    look = _look(request)
    drawn = draw([rack_of(found.seen)], colour_by=look.colour_by, face=look.face)
    values = {
        "now": timezone.now(),
        "rack": found,
        "drawn": drawn,
        "form": form,
        "conflict": conflict,
        "may_edit": rights_of(request).may(people.EDIT_FLEET, found.row),
        "needs": people.NEEDS[people.EDIT_FLEET],
        **look.choices,
    }
    return render(request, "controller/rack.html", values, status=status)


def _save(request: HttpRequest, pk: UUID) -> HttpResponse:
    row = find_rack(pk)
    if row is None:
        raise Http404("There is no such rack: it may have been removed.")
    people.require(request.user, people.EDIT_FLEET, row)
    form = RackForm(request.POST)
    if not form.is_valid():
        return _show(request, _rack(pk), form, status=400)
    given = dict(form.cleaned_data)
    try:
        service.save_facts(
            row,
            given,
            opened=given.pop("version"),
            reason=given.pop("reason"),
            user=request.user,
        )
    except InvalidError as fault:
        form.add_error(fault.field, str(fault))
        return _show(request, _rack(pk), form, status=400)
    except ConflictError as conflict:
        return _overtaken(request, pk, str(conflict))
    messages.success(request, f"Saved rack {row.name}.")
    return redirect("rack", pk=pk)


def _overtaken(request: HttpRequest, pk: UUID, conflict: str) -> HttpResponse:
    """Show what was typed on top of the version that came first, and what holds now."""
    found = _rack(pk)
    again = RackForm(_on_top(request, found.row.version))
    again.is_valid()
    return _show(request, found, again, status=409, conflict=conflict)


def _on_top(request: HttpRequest, version: int) -> dict[str, str]:
    return {**request.POST.dict(), "version": str(version)}


@shell.page("GET", "POST")
def move(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Ask where a node is to stand, or move it."""
    found = read_move(cluster, name)
    if found is None:
        raise Http404(f"There is no node {name} in {cluster}.")
    if request.method == "POST":
        return _move(request, found)
    if (found.node.cluster.slug, found.node.name) != (cluster, name):
        return redirect("node-move", found.node.cluster.slug, found.node.name)
    node = found.node
    initial = {
        "rack": str(node.rack_id or request.GET.get("rack", "")),
        "u_position": node.u_position,
        "face": node.face,
        "version": node.version,
    }
    return _ask(request, found, MoveForm(initial=initial, racks=found.racks))


def _ask(
    request: HttpRequest,
    found: Move,
    form: django_forms.Form,
    *,
    status: int = 200,
    conflict: str = "",
) -> HttpResponse:
    values = {
        "now": timezone.now(),
        "move": found,
        "form": form,
        "conflict": conflict,
        "may_edit": rights_of(request).may(people.EDIT_FLEET, found.node),
        "needs": people.NEEDS[people.EDIT_FLEET],
    }
    return render(request, "controller/node_move.html", values, status=status)


def _move(request: HttpRequest, found: Move) -> HttpResponse:
    people.require(request.user, people.EDIT_FLEET, found.node)
    form = MoveForm(request.POST, racks=found.racks)
    if not form.is_valid():
        return _ask(request, found, form, status=400)
    given = form.cleaned_data
    place = {
        "rack": UUID(given["rack"]) if given["rack"] else None,
        "u_position": given["u_position"],
        "face": given["face"],
    }
    try:
        moved = service.move_node(
            found.node,
            place,
            opened=given["version"],
            user=request.user,
            reason=given["reason"],
        )
    except InvalidError as fault:
        form.add_error(fault.field, str(fault))
        return _ask(request, found, form, status=400)
    except ConflictError as conflict:
        again = MoveForm(_on_top(request, found.node.version), racks=found.racks)
        again.is_valid()
        return _ask(request, found, again, status=409, conflict=str(conflict))
    messages.success(request, f"Moved {moved.name}.")
    return redirect("rack", pk=moved.rack_id) if moved.rack_id else redirect("racks")
