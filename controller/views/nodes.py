"""The page of one node."""

from __future__ import annotations

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller.selectors import node_page
from controller.services import fleet, people
from controller.views import fragments, shell
from inventory.models import Node


@shell.page("GET")
def page(request: HttpRequest, cluster: str, name: str) -> HttpResponse:
    """Show one node as it stands; to htmx only what changes by itself."""
    node = _find(cluster, name)
    if node.get_absolute_url() != request.path:
        return redirect(node)
    now = timezone.now()
    here = node_page.read_node(node, now)
    values = {
        "here": here,
        "node": node,
        "line": here.line,
        "now": now,
        "may_cordon": request.user.has_perm(people.CORDON),
        "may_edit": request.user.has_perm(people.EDIT_FLEET),
    }
    if request.headers.get("HX-Request"):
        state = (node.version, here.line, here.open_events)
        return fragments.answer(request, "controller/_node_now.html", values, state=state)
    return render(request, "controller/node.html", values)


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
