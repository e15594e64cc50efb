"""What an import did is taken back, as far as nobody changed or used it since."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Model

from inventory.differences import Planned, same
from inventory.kept import PLANNED_KINDS, Kept, Value, Values
from inventory.models import (
    Binding,
    Cluster,
    Fabric,
    Gpu,
    HealthEvent,
    ImportChange,
    ImportRun,
    InventoryVersion,
    Link,
    Nic,
    Node,
    NvlinkDomain,
    Rack,
    ReservedNode,
    RoleHardware,
    RolePart,
    RoleSpec,
    Service,
    Site,
    Switch,
)
from inventory.services import importing
from inventory.services.columns import MODELS
from inventory.services.importing import Applied, Doing, InterruptedImportError
from inventory.services.locks import lock_inventory
from inventory.services.run_states import move
from inventory.services.writing import chunks, put_aside
from inventory.stored import newest_version, read
from inventory.summaries import Holders

MOST_KEPT: Final = 200
PARTS: Final = ("link", "nic", "gpu")
"""What goes before anything is set back; the rest goes after, when nothing rests on it."""
RESTED_ON: Final = tuple(kind for kind in reversed(PLANNED_KINDS) if kind not in PARTS)
EMPTIED: Final[Mapping[str, Values]] = {
    "switch": {"name": "", "guid": ""},
    "node": {"name": "", "serial": "", "provider_id": "", "k8s_uid": "", "u_position": 0},
}
"""What rows that will go give up first, so that others may take it back."""


@dataclass(slots=True)
class Inverse:
    """What takes an import back: rows that go, fields that are set back, and what stays."""

    remove: list[Planned] = field(default_factory=list)
    changes: list[Planned] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)


def size_of(run: ImportRun) -> int:
    """Return how many things an import changed."""
    return len(importing.changes_of(run))


def revert_run(doing: Doing, services: Holders) -> Applied:
    """Take back the import that a run reverts, in one transaction; its notes say what stays.

    ``services`` are those with instances on nodes: such a node stays. Raises
    :class:`InterruptedImportError`.
    """
    with transaction.atomic():
        lock_inventory()
        run = doing.mine().select_related("reverts").first()
        if run is None or run.reverts is None or run.reverts_id is None:
            raise InterruptedImportError
        back = inverse(run.reverts, services)
        written = _Writing(doing, back)
        version = written.write(run) if back.changes or back.remove else newest_version()
        move(ImportRun.objects.filter(pk=run.reverts_id), ImportRun.State.REVERTED)
        done = [*back.changes, *written.removed]
        importing.keep_changes(run, done)
        stays = [*back.stays, *written.stays]
        counts = {"change": len(back.changes), "remove": len(written.removed)}
        return importing.ended(
            doing, run, version, counts=counts, notes=_cut(stays), total=len(done)
        )


def _cut(stays: Sequence[str]) -> list[str]:
    more = len(stays) - MOST_KEPT
    rest = [f"And {more:,} more things stay as they are."] if more > 0 else []
    return [*stays[:MOST_KEPT], *rest]


_ENDS: Final = frozenset(("node", "switch", "peer"))
USES: Final[Mapping[str, tuple[tuple[type[Model], str], ...]]] = {
    "gpu": ((HealthEvent, "gpu"),),
    "nic": ((HealthEvent, "nic"),),
    "node": (
        *((Gpu, "node"), (Nic, "node"), (Link, "node")),
        *((HealthEvent, "node"), (ReservedNode, "node"), (Binding, "node")),
    ),
    "switch": ((Link, "switch"), (Link, "peer"), (HealthEvent, "switch")),
    "nvlink_domain": ((Node, "nvlink_domain"),),
    "rack": ((Node, "rack"), (Switch, "rack")),
    "hardware": (
        (Node, "hardware"),
        (RoleSpec, "hardware"),
        (RoleHardware, "hardware"),
        (RolePart, "hardware"),
    ),
    "fabric": ((Switch, "fabric"),),
    "cluster": (
        *((Service, "cluster"), (Node, "cluster"), (Switch, "cluster")),
        *((Fabric, "cluster"), (NvlinkDomain, "cluster")),
    ),
    "site": ((Rack, "site"),),
    "region": ((Cluster, "region"), (Site, "region")),
}
"""What rests on a row of each kind."""


# What to do.


def inverse(run: ImportRun, services: Holders) -> Inverse:
    """Return what would take an import back now."""
    done = importing.changes_of(run)
    stored = read(importing.clusters_of(done) | set(run.clusters))
    rows = {one.row: one for kind in PLANNED_KINDS for one in stored.of(kind)}
    later = _later(run)
    back = Inverse()
    for one in done:
        kept = rows.get(one.row) if one.row else None
        if kept is None:
            if one.operation != "create":
                back.stays.append(f"{_words(one)} is there no longer.")
        elif one.operation == "create":
            _remove(back, one, kept, later, services)
        else:
            _set_back(back, one, kept)
    return back


def _later(run: ImportRun) -> set[UUID]:
    """Return the rows that imports after this one changed or brought, unless taken back."""
    rows = ImportChange.objects.filter(
        run__state=ImportRun.State.APPLIED,
        run__reverts=None,
        run__inventory_version__gt=run.inventory_version or 0,
        row__isnull=False,
    )
    return {row for row in rows.values_list("row", flat=True) if row is not None}


def _remove(
    back: Inverse, one: Planned, kept: Kept, later: Collection[UUID], services: Holders
) -> None:
    holders: Sequence[str] = ()
    if kept.kind == "node":
        holders = services.get((kept.cluster.lower(), str(kept.values["name"]).lower()), ())
    now = _now(kept)
    changed = [name for name, value in one.after.items() if not same(name, now.get(name), value)]
    for holds, why in (
        (holders, f"{', '.join(holders)} runs there"),
        (kept.row in later, "a later import has it"),
        (kept.held or changed, "it was changed since"),
    ):
        if holds:
            back.stays.append(f"{_words(one)} stays: {why}.")
            return
    back.remove.append(replace(one, operation="remove", before=one.after, after={}))


def _now(kept: Kept) -> dict[str, Value]:
    """Return a row's fields as an import writes them."""
    source = {} if kept.kind == "hardware" else {"source": kept.source}
    return {**kept.values, **source, "missing": kept.missing}


def _set_back(back: Inverse, one: Planned, kept: Kept) -> None:
    now = _now(kept)
    own = {name: value for name, value in one.after.items() if same(name, now.get(name), value)}
    for name in one.after.keys() - own.keys():
        back.stays.append(f"{_words(one)} keeps its {name}, which was changed since.")
    if own:
        before = {name: one.before.get(name) for name in own}
        back.changes.append(replace(one, operation="change", before=own, after=before))


def _words(one: Planned) -> str:
    return f"{one.kind.replace('_', ' ')} {one.name}"


# Doing it.


@dataclass(slots=True)
class _Writing:
    """Takes an import back, and keeps what turned out to be in use."""

    doing: Doing
    back: Inverse
    removed: list[Planned] = field(default_factory=list)
    stays: list[str] = field(default_factory=list)

    def write(self, run: ImportRun) -> int:
        """Write everything and return the version that makes."""
        kinds: dict[str, list[Planned]] = {kind: [] for kind in PLANNED_KINDS}
        for one in self.back.remove:
            kinds[one.kind].append(one)
        for kind in PARTS:
            self._remove(kind, kinds[kind])
        # Cables and parts that go back to where they were don't hold what they are on now.
        moving = {one.row for one in self.back.changes if one.after.keys() & _ENDS}
        for kind, given_up in EMPTIED.items():
            kinds[kind] = self._unused(kind, kinds[kind], moving)
            put_aside(kind, [replace(one, after=given_up) for one in kinds[kind]])

        def rest() -> None:
            for kind in RESTED_ON:
                self._remove(kind, kinds[kind])

        cause = InventoryVersion.Cause.REVERT
        return importing.written(run, self.back.changes, self.doing, cause, rest)

    def _remove(self, kind: str, going: Sequence[Planned]) -> None:
        free = self._unused(kind, going, frozenset())
        for some in chunks(free):
            rows = MODELS[kind]._default_manager  # noqa: SLF001 - public by custom
            rows.filter(pk__in=[one.row for one in some]).delete()
        self.removed += free
        self.doing.tell(len(self.removed), kind)

    def _unused(
        self, kind: str, going: Sequence[Planned], moving: Collection[UUID | None]
    ) -> list[Planned]:
        """Return what nothing else rests on; the rest stays, and is named."""
        used: set[object] = set()
        rows = [one.row for one in going]
        for model, path in USES.get(kind, ()) if going else ():
            holding = model._default_manager.filter(**{f"{path}__in": rows})  # noqa: SLF001 - public by custom
            used |= set(holding.exclude(pk__in=list(moving)).values_list(path, flat=True))
        self.stays += [
            f"{_words(one)} stays: it is in use by now." for one in going if one.row in used
        ]
        return [one for one in going if one.row not in used]
