"""The page of one node."""

from __future__ import annotations

import json
from typing import Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.selectors import node_page
from controller.selectors.node_page import NodePage
from controller.services import fleet, people
from controller.services.errors import InvalidError
from controller.views import fragments, shell
from controller.views.chrome import rights_of
from inventory.models import Node

LONGEST_LABELS: Final = 50_000


@shell.page("GET")
def page(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Show one node as it stands; to htmx only what changes by itself."""
    node = _find(cluster, name)
    if node.get_absolute_url() != request.path:
        return redirect(node)
    if request.headers.get("HX-Request"):
        here = node_page.read_node(node, timezone.now())
        state = (node.version, here.line, here.open_events)
        return fragments.answer(request, "controller/_node_now.html", _values(here), state=state)
    return _shown(request, node)


def _values(here: NodePage) -> dict[str, Any]:
    return {"here": here, "node": here.node, "line": here.line, "now": timezone.now()}


def _shown(request: HttpRequest, node: Node, *, status: int = 200, **more: Any) -> HttpResponse:  # noqa: ANN401 - values of a template
    here = node_page.read_node(node, timezone.now())
    values = _values(here) | {
        "may_cordon": rights_of(request).may(people.CORDON, node),
        "may_edit": rights_of(request).may(people.EDIT_FLEET, node),
        "needs_cordon": people.NEEDS[people.CORDON],
        "needs_edit": people.NEEDS[people.EDIT_FLEET],
        "undo": here.undo_for(request.user.get_username(), timezone.now()),
        "labels_seen": json.dumps(node.labels),
        "labels_text": here.labels_text,
    }
    return render(request, "controller/node.html", values | more, status=status)


@shell.page("POST")
def relabel(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Write the labels as they were edited; over those the form had, not over newer ones."""
    node = _find(cluster, name)
    text = request.POST.get("labels", "")[:LONGEST_LABELS]
    try:
        done = fleet.relabel(node, _labels(request.POST.get("seen", "")), text, user=request.user)
    except InvalidError as fault:
        return _shown(request, node, status=400, labels_text=text, labels_fault=fault)
    if done.refused:
        node = _find(cluster, name)
        said = done.refused[0][1]
        return _shown(request, node, status=409, labels_text=text, labels_conflict=said)
    messages.success(request, f"The labels of {node.name} are changed.")
    return redirect(node)


def _labels(text: str) -> dict[str, str]:
    """Return the labels a form was filled with; what is none of ours is as if there were none."""
    try:
        given = json.loads(text[:LONGEST_LABELS])
    except ValueError:
        return {}
    if not isinstance(given, dict):
        return {}
    return {str(key): str(value) for key, value in given.items()}


@shell.page("POST")
def release(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Give a field that a person holds back to imports."""
    node = _find(cluster, name)
    field, version = request.POST.get("field", "")[:60], request.POST.get("version", "")
    seen = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0  # noqa: PLR2004
    done = fleet.release(node.pk, field, seen=seen, user=request.user)
    if done.changed:
        messages.success(request, f"The next import may change {field} again.")
    for _, said in done.refused:
        messages.error(request, f"Nothing was changed: {said}.")
    return redirect(node)


def _find(cluster: str, name: str) -> Node:
    node = node_page.find(cluster, name)
    if node is None:
        raise Http404(f"There is no node {name} in {cluster}.")
    return node
