"""Nodes that a cluster lists by itself, taken over by the rules of an import without a person."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from django.db import transaction
from django.utils import timezone

from inventory.importers.found import RefusedError
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

FORMAT = "kubernetes"


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
    more than a fifth of the nodes gone. Fields that people set stay (see ``managed_fields``).
    """
    files = [Upload(f"{wanted.cluster} nodes.json", nodes)]
    try:
        plan = plan_files(files, wanted, services)
        if _hindrances(plan) or not plan.changes:
            return Discovered(told=_hindrances(plan))
        with transaction.atomic():
            lock_inventory()
            if plan.base_version != newest_version():
                plan = plan_files(files, wanted, services)
            told = _hindrances(plan)
            return Discovered(None if told else _written(plan, wanted), told)
    except RefusedError as fault:
        return Discovered(told=(f"Its nodes can't be read: {fault.message}.",))


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


def _errors(errors: Sequence[object]) -> list[str]:
    if not errors:
        return []
    first = getattr(errors[0], "message", "")
    more = f", and {len(errors) - 1} more" if len(errors) > 1 else ""
    return [f"Its nodes are not taken over: {first}{more}."]


def _shrinks(plan: Plan) -> list[str]:
    return [
        f"{one.missing:,} of {one.of:,} nodes of {cluster} are no longer listed, with "
        f"{one.gpus:,} GPUs: so many are not taken for gone before a person imports the nodes."
        for cluster, one in plan.shrink.items()
    ]
