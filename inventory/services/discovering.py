"""Nodes that a cluster lists by itself, taken over by the rules of an import without a person."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final
from uuid import uuid4

import orjson
from django.db import transaction
from django.utils import timezone

from inventory.absence import MOST_FRAC, NOT_THERE
from inventory.importers.found import Fault, RefusedError
from inventory.models import ImportRun, InventoryVersion, Node, Switch
from inventory.plan import Plan
from inventory.services.columns import MODELS, Resolver
from inventory.services.domains import derive_domains
from inventory.services.importing import Upload, Wanted, plan_files, wanted_of
from inventory.services.locks import lock_inventory
from inventory.services.lookups import Lookups
from inventory.services.versions import stamp
from inventory.services.writing import Writer
from inventory.stored import newest_version
from inventory.summaries import Holders

FORMAT: Final = "kubernetes"
SHRINK_WITHIN: Final = timedelta(hours=1)
_PLACE: Final = re.compile(r"items\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Discovered:
    """What became of a list: the version it made, ``None`` for none, and what a person must do."""

    version: int | None = None
    told: tuple[str, ...] = ()


def agreed(cluster: str) -> Wanted | None:
    """Return how a cluster's nodes are read, ``None`` before a person applied a first import."""
    applied = ImportRun.objects.filter(
        state=ImportRun.State.APPLIED,
        reverts=None,
        format__contains=FORMAT,
        clusters__contains=[cluster],
    )
    run = applied.order_by("-applied_at").first()
    # The files may be gone with their run; that its nodes are there says as much.
    if run is None and not Node.objects.filter(cluster__slug=cluster, source=FORMAT).exists():
        return None
    merges = dict(wanted_of(run).merges) if run is not None else {}
    return Wanted(form=FORMAT, cluster=cluster, merges=merges)


def discover(nodes: bytes, wanted: Wanted, services: Holders) -> Discovered:
    """Write what a list of all nodes says, all of it or nothing.

    What would refuse an import, or make it ask a person, writes nothing and is told: errors, and
    more than a fifth of the nodes gone. Nodes that are wrong in themselves are told and left as
    they are; then none counts as gone (K19). Fields that people set stay.
    """
    try:
        done, odd = _tried(nodes, wanted, services)
        if not odd:
            return done
        rest, _ = _tried(_without(nodes, odd), replace(wanted, part=True), services)
    except RefusedError as fault:
        return Discovered(told=(f"Its nodes can't be read: {fault.message}.",))
    return Discovered(rest.version, (*done.told, *rest.told))


def _tried(nodes: bytes, wanted: Wanted, services: Holders) -> tuple[Discovered, set[int]]:
    """Return what became of a list, and the places in it of nodes that are wrong in themselves."""
    files = [Upload(f"{wanted.cluster} nodes.json", nodes)]
    plan = plan_files(files, wanted, services)
    if told := _hindrances(plan):
        return Discovered(told=told), _odd(plan)
    if not plan.changes:
        return Discovered(), set()
    with transaction.atomic():
        lock_inventory()
        if plan.base_version != newest_version():
            plan = plan_files(files, wanted, services)
        told = _hindrances(plan)
        return Discovered(None if told else _written(plan, wanted), told), set()


def _odd(plan: Plan) -> set[int]:
    """Return where nodes are that alone make a plan wrong; none if something else is wrong too."""
    places = [_PLACE.match(fault.field) for fault in plan.errors]
    return {int(each[1]) for each in places if each} if all(places) else set()


def _without(nodes: bytes, odd: set[int]) -> bytes:
    plain = orjson.loads(nodes)
    items = [each for number, each in enumerate(plain["items"]) if number not in odd]
    return orjson.dumps({**plain, "items": items})


def _written(plan: Plan, wanted: Wanted) -> int:
    by, now = f"cluster {wanted.cluster}", timezone.now()
    changes = [
        one if one.row else replace(one, row=uuid4()) for one in plan.changes if one.kind in MODELS
    ]
    resolver = Resolver(Lookups(plan.clusters), now, f"{InventoryVersion.Cause.DISCOVERY} ({by})")
    Writer(resolver, lambda *_: None).write(changes)
    version = stamp(InventoryVersion.Cause.DISCOVERY, by, counts=dict(plan.counts))
    derive_domains(plan.clusters, version)
    for model in (Node, Switch):
        listed = model.objects.filter(cluster__slug__in=plan.clusters, source=FORMAT)
        listed.filter(missing_since=None).update(observed_at=now)
    return version


def _hindrances(plan: Plan) -> tuple[str, ...]:
    """Return what only a person may decide about."""
    return (*_errors(plan.errors), *_shrinks(plan))


def _errors(errors: Sequence[Fault]) -> list[str]:
    if not errors:
        return []
    first, more = errors[0], len(errors) - 1
    rest = f", and {more} more" if more else ""
    said = f"{first.field}: {first.message.removesuffix('.')}{rest}"
    return [f"Not all of its nodes are taken over: {said}."]


def _shrinks(plan: Plan) -> list[str]:
    """Return the clusters that would lose more than a fifth of their nodes within an hour.

    What goes in parts is asked about as what goes at once.
    """
    found = []
    leaving = Counter(
        one.cluster for one in plan.objects if one.operation == "missing" and one.kind == "node"
    )
    for cluster, going in leaving.items():
        nodes = Node.objects.filter(cluster__slug=cluster).exclude(lifecycle__in=NOT_THERE)
        there = nodes.filter(missing_since=None).count()
        went = nodes.filter(missing_since__gt=timezone.now() - SHRINK_WITHIN).count()
        if going + went > MOST_FRAC * (there + went):
            before = f", after {went:,} within the last hour" if went else ""
            found.append(
                f"{going:,} of {there:,} nodes of {cluster} are no longer listed{before}: so many "
                "are not taken for gone before a person imports the nodes."
            )
    return found
