"""Imports as rows: their files read, their plan kept, and written in one transaction."""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import uuid4

import orjson
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone
from psycopg.types.json import Jsonb

from inventory.absence import Shrink
from inventory.differences import Planned
from inventory.importers.detect import AUTO, read
from inventory.importers.found import Found, Options, RefusedError
from inventory.importers.gathering import MAX_FAULTS, merge
from inventory.importers.ibnetdiscover import read_names
from inventory.models import (
    Cluster,
    ImportChange,
    ImportFile,
    ImportRun,
    InventoryVersion,
    Node,
    Switch,
)
from inventory.plan import Plan, PlanOptions, plan_against
from inventory.services import bulk
from inventory.services.columns import MODELS, Resolver
from inventory.services.domains import derive_domains
from inventory.services.locks import lock_inventory
from inventory.services.lookups import Lookups
from inventory.services.versions import stamp
from inventory.services.writing import Tell, Writer
from inventory.stored import newest_version, read_for
from inventory.summaries import Holders

State = ImportRun.State
DEFAULT_CLUSTER: Final = "imported"
"""Where things belong whose file names no cluster, if nobody chose one."""

CHANGED_SINCE: Final = (
    "The inventory changed after this plan was made, and the plan with it: look at it again."
)
_CHANGE_COLUMNS: Final = (
    *("run_id", "seq", "operation", "kind", "name", "cluster", "row"),
    *("before", "after", "held", "owners", "at"),
)


@dataclass(frozen=True, slots=True)
class Upload:
    """One file as it came."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How files are to be read and planned, as an import keeps it.

    ``level_keys`` are label keys of S1, S2 and further levels, ``names`` the text of a map of
    InfiniBand GUIDs, ``merges`` new hardware types that are existing ones.
    """

    form: str = AUTO
    cluster: str = ""
    level_keys: tuple[str, ...] = ()
    names: str = ""
    part: bool = False
    merges: Mapping[str, str] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self) | {"level_keys": list(self.level_keys), "merges": dict(self.merges)}


def wanted_of(run: ImportRun) -> Wanted:
    """Return how an import's files are to be read."""
    told = {name: value for name, value in run.options.items() if name in _WANTED}
    return Wanted(**{**told, "level_keys": tuple(told.get("level_keys", ()))})


_WANTED: Final = frozenset(Wanted.__dataclass_fields__)


class InterruptedImportError(Exception):
    """The import was cancelled, or another worker has it by now."""


# Files.


def keep_files(run: ImportRun, uploads: Sequence[Upload]) -> None:
    """Keep the files of an import, packed."""
    ImportFile.objects.bulk_create(
        ImportFile(
            run=run,
            name=one.name[:200],
            size=len(one.body),
            sha256=hashlib.sha256(one.body).hexdigest(),
            body=zlib.compress(one.body, 1),
        )
        for one in uploads
    )


def found_in(uploads: Iterable[Upload], wanted: Wanted) -> Found:
    """Return what files say together. Raises :class:`RefusedError` that names the file."""
    options = Options(
        cluster=wanted.cluster or DEFAULT_CLUSTER,
        level_keys=wanted.level_keys,
        node_names=read_names(wanted.names.encode()) if wanted.names else {},
    )
    parts = []
    for one in uploads:
        try:
            parts.append(read(one.body, one.name, options, wanted.form))
        except RefusedError as fault:
            raise RefusedError(fault.code, fault.message, fault.line, one.name) from fault
    found = merge(parts, options)
    if not found.faults and next(iter(found.things()), None) is None:
        # Nothing to do and nothing understood must not look the same (I02).
        said = "; ".join(note.removesuffix(".") for note in found.notes)
        raise RefusedError(
            "nothing", "nothing to import was found" + (f": {said}" if said else "")
        )
    return found


def known_levels(cluster: str) -> tuple[str, ...]:
    """Return the label keys that were chosen for a cluster before."""
    keys = Cluster.objects.filter(slug__iexact=cluster).values_list("level_keys", flat=True)
    return tuple(keys.first() or ())


def _uploads(run: ImportRun) -> Iterator[Upload]:
    for name, body in run.files.values_list("name", "body").iterator(chunk_size=1):
        yield Upload(name, zlib.decompress(bytes(body)))


# Plans.


def plan_files(uploads: Iterable[Upload], wanted: Wanted, services: Holders) -> Plan:
    """Return what files would do to the inventory as it is. Raises :class:`RefusedError`."""
    levels = wanted.level_keys or known_levels(wanted.cluster or DEFAULT_CLUSTER)
    found = found_in(uploads, replace(wanted, level_keys=levels))
    chosen = PlanOptions(
        part=wanted.part,
        merges=wanted.merges,
        cluster=wanted.cluster or DEFAULT_CLUSTER,
        level_keys=wanted.level_keys,
    )
    return plan_against(read_for(found), found, chosen, services)


def plan_run(run: ImportRun, services: Holders) -> Plan:
    """Return what an import's files would do now. Raises :class:`RefusedError`."""
    return plan_files(_uploads(run), wanted_of(run), services)


def keep_plan(run: ImportRun, plan: Plan) -> None:
    """Keep a plan's changes in place of those before; its fields are :func:`plan_fields`."""
    run.changes.all().delete()
    keep_changes(run, plan.objects)


def plan_fields(plan: Plan) -> dict[str, Any]:
    """Return what a run keeps of its plan."""
    errors = plan.errors[:MAX_FAULTS]
    return {
        "format": plan.form[:100],
        "counts": dict(plan.counts),
        "summary": list(plan.summary),
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "impact": list(plan.impact),
        "errors": [asdict(fault) for fault in errors],
        "further_errors": plan.further_errors + len(plan.errors) - len(errors),
        "shrink": {cluster: asdict(one) for cluster, one in plan.shrink.items()},
        "digest": plan.digest,
        "base_version": plan.base_version,
        "clusters": list(plan.clusters),
        "total": len(plan.changes),
        "done": 0,
    }


def keep_changes(run: ImportRun, objects: Iterable[Planned]) -> None:
    """Keep what changes, is in conflict or is held; what is unchanged is counted alone."""
    rows = []
    for seq, one in enumerate(one for one in objects if one.operation != "unchanged" or one.held):
        is_new = one.operation == "create" and one.kind in MODELS
        rows.append(
            (
                *(run.pk, seq, one.operation, one.kind, one.name[:600], one.cluster[:63]),
                one.row or (uuid4() if is_new else None),
                *(Jsonb(dict(part), orjson.dumps) for part in (one.before, one.after)),
                *(Jsonb(dict(part), orjson.dumps) for part in (one.held, one.owners)),
                one.at[:300],
            )
        )
    bulk.copy(ImportChange, _CHANGE_COLUMNS, rows)


def changes_of(run: ImportRun) -> list[Planned]:
    """Return what an import changes in rows, domains left out: those follow."""
    rows = (
        run.changes.filter(operation__in=("create", "change", "missing"))
        .exclude(kind="domain")
        .order_by("seq")
    )
    names = ("operation", "kind", "name", "cluster", "row", "before", "after", "at")
    return [
        Planned(
            operation=operation,
            kind=kind,
            key=(),
            name=name,
            cluster=cluster,
            row=row,
            before=before,
            after=after,
            at=at,
        )
        for operation, kind, name, cluster, row, before, after, at in rows.values_list(
            *names
        ).iterator(chunk_size=5_000)
    ]


def shrink_of(run: ImportRun) -> dict[str, Shrink]:
    """Return the clusters that would lose more than a fifth of their nodes."""
    return {cluster: Shrink(**told) for cluster, told in run.shrink.items()}


# Writing.


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of an import: its version, and what it did, or a plan that is to be reviewed."""

    run: ImportRun
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Doing:
    """Who writes an import, and whom to tell.

    ``now`` is the database's time. ``mine`` are the rows of the run while it is this attempt's;
    ``within`` is called in the transaction, before it ends.
    """

    now: datetime
    mine: Callable[[], QuerySet[ImportRun]]
    tell: Tell
    within: Callable[[Applied], None]


def bring(found: Found, *, by: str) -> int:
    """Write what is found as an import would, without keeping one; returns the version it makes.

    Raises :class:`RefusedError` for the first thing wrong with its plan.
    """
    with transaction.atomic():
        lock_inventory()
        plan = plan_against(read_for(found), found)
        if plan.errors:
            raise RefusedError("bad_plan", plan.errors[0].message)
        changes = [
            one if one.row else replace(one, row=uuid4())
            for one in plan.changes
            if one.kind in MODELS
        ]
        resolver = Resolver(Lookups(plan.clusters), timezone.now(), by)
        Writer(resolver, lambda *_: None).write(changes)
        version = stamp(InventoryVersion.Cause.IMPORT, by, counts=dict(plan.counts))
        derive_domains(plan.clusters, version)
        return version


def apply_run(doing: Doing, services: Holders) -> Applied:
    """Write a planned import, all of it or nothing, and derive the domains anew.

    If the inventory changed meanwhile the plan is made again; where it says something else the
    import waits to be reviewed again. Raises :class:`InterruptedImportError`.
    """
    with transaction.atomic():
        lock_inventory()
        run = _mine(doing)
        if run.base_version != newest_version():
            plan = plan_run(run, services)
            if plan.digest != run.digest and not _was_seen(run, plan):
                return _stale(doing, run, plan)
            if plan.digest != run.digest:
                _lessened(doing, run, plan)
            run.base_version = plan.base_version
        changes = changes_of(run)
        version = newest_version()
        if changes:
            version = written(run, changes, doing, InventoryVersion.Cause.IMPORT)
        if not wanted_of(run).part:
            _seen(run, doing.now)
        return ended(doing, run, version, counts=run.counts)


def _mine(doing: Doing) -> ImportRun:
    run = doing.mine().first()
    if run is None:
        raise InterruptedImportError
    return run


def _was_seen(run: ImportRun, plan: Plan) -> bool:
    """Return whether all that a plan does now was in the plan a person agreed to.

    So it is when others did a part of it meanwhile, such as making the same hardware type.
    """
    if plan.errors or plan.counts.get("conflict", 0) > run.counts.get("conflict", 0):
        return False
    if any(one != shrink_of(run).get(cluster) for cluster, one in plan.shrink.items()):
        return False
    kept = run.changes.values_list("operation", "kind", "name", "cluster", "before", "after")
    seen = {_same(*row) for row in kept.iterator(chunk_size=5_000)}
    return all(
        _same(one.operation, one.kind, one.name, one.cluster, one.before, one.after) in seen
        for one in plan.changes
    )


def _same(*told: object) -> bytes:
    """Return what a change says, whichever way it was kept."""
    return orjson.dumps(told, option=orjson.OPT_SORT_KEYS)


def _lessened(doing: Doing, run: ImportRun, plan: Plan) -> None:
    """Keep what is left to do in place of the plan that was agreed to."""
    keep_plan(run, plan)
    if not doing.mine().update(**plan_fields(plan)):
        raise InterruptedImportError
    run.refresh_from_db()


def _stale(doing: Doing, run: ImportRun, plan: Plan) -> Applied:
    keep_plan(run, plan)
    fields = plan_fields(plan) | {"warnings": [CHANGED_SINCE, *plan.warnings]}
    wanted = doing.mine().filter(cancel_requested_at=None)
    if not wanted.update(state=State.PLANNED, planned_at=Now(), error="", **fields):
        raise InterruptedImportError
    run.refresh_from_db()
    answer = Applied(run, is_stale=True)
    doing.within(answer)
    return answer


def written(
    run: ImportRun,
    changes: Sequence[Planned],
    doing: Doing,
    cause: InventoryVersion.Cause,
    also: Callable[[], None] = lambda: None,
) -> int:
    """Write changes, then do what is ``also`` to be done, and return the version it makes."""
    clusters = clusters_of(changes) | set(run.clusters)
    resolver = Resolver(Lookups(clusters), doing.now, f"{cause.value} ({run.applied_name})")
    Writer(resolver, doing.tell).write(changes)
    also()
    version = stamp(cause, run.applied_name, run=run, counts=run.counts)
    doing.tell(run.total, "domain")
    derive_domains(clusters, version)
    return version


def clusters_of(changes: Iterable[Planned]) -> set[str]:
    """Return the slugs of the clusters that changes are about."""
    named = {one.cluster for one in changes if one.cluster}
    return named | {one.name for one in changes if one.kind == "cluster"}


def _seen(run: ImportRun, now: datetime) -> None:
    """Note when the sources of an import listed what they list."""
    listed = Q(cluster__slug__in=run.clusters, source__in=run.format.split("+"))
    for model in (Node, Switch):
        model.objects.filter(listed, missing_since=None).update(observed_at=now)


def ended(doing: Doing, run: ImportRun, version: int, **fields: Any) -> Applied:  # noqa: ANN401
    """Say in the row that it is done, unless it was cancelled until now."""
    mine = doing.mine().filter(cancel_requested_at=None)
    done = {"base_version": run.base_version, "done": run.total, "step": "", "error": ""} | fields
    if not mine.update(state=State.APPLIED, applied_at=Now(), inventory_version=version, **done):
        raise InterruptedImportError
    run.refresh_from_db()
    answer = Applied(run)
    doing.within(answer)
    return answer
