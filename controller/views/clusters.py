"""Clusters of Kubernetes: how each answers, what we may there, and what people change of it."""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone

from controller import wiring
from controller.core.kube import rights
from controller.core.kube.errors import KubeError
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.manifest import manifest
from controller.core.rights import NEEDS
from controller.selectors import clusters
from controller.selectors.node_use import holders
from controller.services import cluster_access, imports, people, preflight
from controller.services.errors import ConflictError, InvalidError, SteeringError
from controller.services.imports import Upload, Wanted
from controller.views import fragments, shell
from controller.views.cluster_form import ClusterForm
from inventory.importers.kubernetes import levels_of
from inventory.models import Cluster

KINDS: Final = tuple(kind for kind in WorkloadKind if kind is not WorkloadKind.SCALE)
UNREACHABLE: Final = 502


@shell.page("GET")
def index(request: HttpRequest) -> HttpResponse:
    """Show every cluster that is connected and how it answers."""
    now = timezone.now()
    values = {"clusters": clusters.read_clusters(now), "now": now, **_may(request)}
    return render(request, "controller/clusters.html", values)


@shell.page("GET", "POST")
def new(request: HttpRequest) -> HttpResponse:
    """Show the form of a cluster that is not connected, or connect it and look what we may."""
    if request.method != "POST":
        return _form(request, ClusterForm())
    people.require(request.user, people.CONNECT)
    return _connect(request, ClusterForm(request.POST))


@shell.page("GET", "POST")
def edit(request: HttpRequest, slug: str) -> HttpResponse:
    """Show how a cluster is reached, or write it anew and look what we may."""
    cluster = find(slug)
    if request.method != "POST":
        return _form(request, ClusterForm(row=cluster.access))
    people.require(request.user, people.CONNECT)
    return _connect(request, ClusterForm(request.POST, row=cluster.access), slug)


def _connect(request: HttpRequest, form: ClusterForm, slug: str = "") -> HttpResponse:
    if not form.is_valid():
        return _form(request, form, status=400)
    given = form.cleaned_data
    try:
        cluster = cluster_access.connect(
            slug or given["slug"],
            form.draft(),
            user=request.user,
            reason=given["reason"],
            region=given.get("region", ""),
            is_new=not slug,
        )
    except InvalidError as fault:
        form.refuse(fault.field, str(fault))
        return _form(request, form, status=400)
    except ConflictError as conflict:
        form.refuse("slug", str(conflict))
        return _form(request, form, status=409)
    _check(request, cluster, f"{cluster.slug} is connected.", f"{cluster.slug} is kept.")
    return redirect("cluster", slug=cluster.slug)


@shell.page("GET")
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Show one cluster; to htmx only how it answers."""
    cluster = find(slug)
    if request.headers.get("HX-Request") is None:
        return _page(request, cluster)
    now = timezone.now()
    known = clusters.connected(cluster, now)
    values = {"known": known, "now": now}
    state = (known.word, known.told, known.sight and known.sight.heard_at, known.seen)
    return fragments.answer(request, "controller/_cluster_now.html", values, state=state)


@shell.page("POST")
def check(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask a cluster anew what we may there."""
    cluster = find(slug)
    people.require(request.user, people.CONNECT)
    _check(request, cluster, "It was asked anew.", "It was asked anew.")
    return redirect("cluster", slug=slug)


def _check(request: HttpRequest, cluster: Cluster, done: str, silent: str) -> None:
    """Look what we may and tell it after ``done``, or after ``silent`` where nothing answers."""
    found = preflight.check(cluster, wiring.api_of, user=request.user)
    if found.unanswered:
        messages.warning(request, f"{silent} It could not be asked: {found.unanswered}")
    elif found.lacking:
        messages.warning(
            request, f"{done} {len(found.lacking)} of what is needed lacks: see below."
        )
    else:
        messages.success(request, f"{done} Nothing that is needed lacks.")


@shell.page("POST")
def nodes(request: HttpRequest, slug: str) -> HttpResponse:
    """Read the nodes of a cluster and go to what bringing them in would change."""
    cluster = find(slug)
    people.require(request.user, people.EDIT_FLEET)
    try:
        body = wiring.nodes_of(cluster)
    except KubeError as fault:
        return _page(request, cluster, fault=fault.text, status=UNREACHABLE)
    # Kept with the cluster once they are applied: pods are kept in a domain by the same labels.
    levels = tuple(cluster.level_keys) or levels_of(body)
    wanted = Wanted(form="kubernetes", cluster=slug, level_keys=levels)
    try:
        run = imports.ask(
            uuid4(),
            files=[Upload(f"the nodes of {slug}", body)],
            wanted=wanted,
            user=request.user,
            services=holders(timezone.now()),
        )
    except SteeringError as fault:
        return _page(request, cluster, fault=str(fault), status=400)
    return redirect(run)


@shell.page("POST")
def watch(request: HttpRequest, slug: str) -> HttpResponse:
    """Let a cluster be looked at, or no longer."""
    cluster = find(slug)
    watching = request.POST.get("watching") == "1"
    reason = request.POST.get("reason", "")
    try:
        cluster_access.watch(slug, watching=watching, user=request.user, reason=reason)
    except InvalidError as fault:
        return _page(request, cluster, fault=str(fault), status=400)
    return redirect("cluster", slug=slug)


@shell.page("GET", "POST")
def remove(request: HttpRequest, slug: str) -> HttpResponse:
    """Ask before it is forgotten how a cluster is reached, or forget it."""
    cluster = find(slug)
    if request.method != "POST":
        return _remove(request, cluster)
    try:
        cluster_access.remove(slug, user=request.user, reason=request.POST.get("reason", ""))
    except (InvalidError, ConflictError) as fault:
        status = 409 if isinstance(fault, ConflictError) else 400
        return _remove(request, cluster, fault=str(fault), status=status)
    messages.success(request, f"{slug} is not connected any more.")
    return redirect("clusters")


@shell.page("GET")
def manifest_file(request: HttpRequest) -> HttpResponse:
    """Send the rights that a cluster has to give, as YAML; of one that is connected as it is."""
    text = manifest(
        rights.wanted(_asked(request).used, acts=request.GET.get("observe") != "1"),
        _asked(request).namespaces,
    )
    answer = HttpResponse(text, content_type="application/yaml; charset=utf-8")
    answer["Content-Disposition"] = 'attachment; filename="heteroscale-rights.yaml"'
    return answer


def _asked(request: HttpRequest) -> preflight.Asked:
    found = clusters.find(request.GET.get("cluster", "")[:63])
    if found is not None:
        return preflight.asked_of(found)
    given = request.GET.getlist("kind")
    kinds = [kind for kind in KINDS if kind.value in given] or rights.USUAL
    gate = Gate.READINESS if request.GET.get("gate") == "readiness" else Gate.NONE
    try:
        namespaces = cluster_access.read_namespaces(request.GET.get("namespaces", "")[:10_000])
    except InvalidError as fault:
        raise Http404(str(fault)) from None
    return preflight.Asked(rights.usual(kinds, gate), namespaces)


def find(slug: str) -> Cluster:
    """Return the connected cluster of that name. Raises :class:`Http404`."""
    found = clusters.find(slug)
    if found is None:
        raise Http404(f"No cluster {slug} is connected.")
    return found


def _page(
    request: HttpRequest, cluster: Cluster, *, fault: str = "", status: int = 200
) -> HttpResponse:
    now = timezone.now()
    values = {
        "here": clusters.read_cluster(cluster, now),
        "cluster": cluster,
        "fault": fault,
        "now": now,
        "may_import": request.user.has_perm(people.EDIT_FLEET),
        "needs_import": NEEDS[people.EDIT_FLEET],
        "may_set_up": request.user.has_perm(people.SET_UP),
        "needs_set_up": NEEDS[people.SET_UP],
        **_may(request),
    }
    return render(request, "controller/cluster.html", values, status=status)


def _may(request: HttpRequest) -> dict[str, Any]:
    may = request.user.has_perm(people.CONNECT)
    return {"may_connect": may, "needs": NEEDS[people.CONNECT]}


def _form(request: HttpRequest, form: ClusterForm, *, status: int = 200) -> HttpResponse:
    values = {"form": form, "row": form.row, "kinds": KINDS, **_may(request)}
    return render(request, "controller/cluster_edit.html", values, status=status)


def _remove(
    request: HttpRequest, cluster: Cluster, *, fault: str = "", status: int = 200
) -> HttpResponse:
    values = {"cluster": cluster, "fault": fault, **_may(request)}
    reason = request.POST.get("reason", "")[:1000]
    return render(
        request, "controller/cluster_remove.html", values | {"reason": reason}, status=status
    )
