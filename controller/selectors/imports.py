"""Imports as pages and programs read them: the list, one with its plan, and its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, F, Func, IntegerField, Prefetch, Q
from django.utils import timezone

from inventory.importers.detect import AUTO
from inventory.models import Cluster, HardwareType, ImportChange, ImportFile, ImportRun
from inventory.services.importing import shrink_of, wanted_of

PAGE: Final = 30
CHANGES: Final = 50
SILENT: Final = timedelta(seconds=10)
"""Workers tell every second that they live."""
NAMED: Final = 3
MOST_PARTS: Final = 12
"""So many labels or names of one field are shown."""
FIRST: Final = ("hardware", "switch")
"""What is new of these kinds is looked at first: a wrong one is the dearest."""

ORDER: Final = ("create", "change", "missing", "conflict", "remove", "unchanged")
WORDS: Final[Mapping[str, str]] = {
    "create": "new",
    "change": "changed",
    "unchanged": "as they are",
    "conflict": "in conflict",
    "missing": "no longer listed",
    "remove": "taken away",
}
KINDS: Final[Mapping[str, str]] = {
    "hardware": "hardware type",
    "nvlink_domain": "NVLink domain",
    "gpu": "GPU",
    "nic": "network adapter",
    "domain": "derived domain",
}
_STATES: Final[Mapping[str, str]] = {
    "applied": "ok",
    "reverted": "muted",
    "cancelled": "muted",
    "failed": "crit",
    "planned": "warn",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One import in the list."""

    run: ImportRun
    files: tuple[str, ...]

    @property
    def icon(self) -> str:
        """The icon and colour of its state."""
        return _STATES.get(self.run.state, "busy")

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """What it does to how many things, without the zeros."""
        told = ((WORDS[name], self.run.counts.get(name, 0)) for name in ORDER)
        return tuple((word, count) for word, count in told if count)

    @property
    def faults(self) -> int:
        """How much is wrong with its files, of one in the list."""
        return int(getattr(self.run, "faults", 0))

    @property
    def clusters(self) -> str:
        """The clusters it is for, the first by name."""
        named = self.run.clusters
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        return ", ".join(named[:NAMED]) + more

    @property
    def name(self) -> str:
        """What a person calls it."""
        if self.run.reverts_id:
            return "revert"
        more = len(self.files) - 1
        # Files are deleted a month after their import.
        return f"{self.files[0]} and {more} more" if more > 0 else "".join(self.files) or "files"


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list is narrowed to; ``mine`` is the key of the person who looks."""

    state: str = ""
    form: str = ""
    cluster: str = ""
    mine: int | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.state or self.form or self.cluster or self.mine)

    @property
    def query(self) -> str:
        """The query string that asks for the same."""
        given = {"state": self.state, "format": self.form, "cluster": self.cluster}
        given["mine"] = "1" if self.mine else ""
        return urlencode({name: value for name, value in given.items() if value})


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of imports."""

    rows: tuple[Row, ...]
    page: int
    more: bool
    filters: Filters


def listing(filters: Filters, page: int) -> Listing:
    """Return one page, newest first; two queries however many imports there are."""
    found = ImportRun.objects.defer("errors", "summary", "warnings", "notes")
    if filters.state:
        found = found.filter(state=filters.state)
    if filters.form:
        form = filters.form
        # Several files of several formats are "csv+kubernetes".
        found = found.filter(
            Q(format=form)
            | Q(format__startswith=f"{form}+")
            | Q(format__endswith=f"+{form}")
            | Q(format__contains=f"+{form}+")
        )
    if filters.cluster:
        found = found.filter(clusters__contains=[filters.cluster])
    if filters.mine:
        found = found.filter(created_by=filters.mine)
    begin = (page - 1) * PAGE
    named = Prefetch("files", ImportFile.objects.only("run", "name"))
    found = found.prefetch_related(named).annotate(
        faults=Func("errors", function="jsonb_array_length", output_field=IntegerField())
        + F("further_errors")
    )
    rows = list(found[begin : begin + PAGE + 1])
    return Listing(tuple(_row(one) for one in rows[:PAGE]), page, len(rows) > PAGE, filters)


def cluster_slugs() -> list[str]:
    """Return the clusters an import may have been for."""
    return list(Cluster.objects.values_list("slug", flat=True))


def _row(run: ImportRun) -> Row:
    return Row(run, tuple(one.name for one in run.files.all()))


def kind_words(kind: str, count: int) -> str:
    """Return a kind as people call it, in the plural unless it is one."""
    noun = KINDS.get(kind, kind)
    many = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return noun if count == 1 else many


@dataclass(frozen=True, slots=True)
class Group:
    """Things of one kind to which the same happens; ``query`` opens them."""

    operation: str
    kind: str
    count: int
    held: int

    @property
    def word(self) -> str:
        """What happens to what: "switches new"."""
        return f"{kind_words(self.kind, self.count)} {WORDS[self.operation]}"

    @property
    def did(self) -> str:
        """What happens to them."""
        return WORDS[self.operation]

    @property
    def query(self) -> str:
        """The query string that opens it."""
        return f"operation={self.operation}&kind={self.kind}"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of a plan, its fields beside each other."""

    row: ImportChange

    @property
    def fields(self) -> tuple[tuple[str, Shown, Shown, str], ...]:
        """Field, before, after, and which source set what was there."""
        before, after, owners = self.row.before, self.row.after, self.row.owners
        names = dict.fromkeys((*before, *after))
        return tuple(
            (name, *_beside(before.get(name), after.get(name)), owners.get(name, ""))
            for name in names
        )

    @property
    def held(self) -> tuple[tuple[str, Shown, Shown], ...]:
        """Field, what a person set and what the file says."""
        return tuple((name, *_beside(*pair)) for name, pair in self.row.held.items())


Shown = str | int | float | None


def _beside(before: Any, after: Any) -> tuple[Shown, Shown]:  # noqa: ANN401 - JSON
    """Return two values as text; of labels only those that differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        before, after = (
            {key: side[key] for key in keys if key in side} for side in (before, after)
        )
    return _shown(before), _shown(after)


def _shown(value: Any) -> Shown:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        value = [f"{key}={one}" for key, one in value.items()]
    if isinstance(value, list):
        more = len(value) - MOST_PARTS
        parts = ["nothing" if one is None else str(one) for one in value[:MOST_PARTS]]
        return ", ".join(parts) + (f" and {more:,} more" if more > 0 else "") or None
    shown: Shown = value
    return shown


@dataclass(frozen=True, slots=True)
class ImportPage:
    """One import: its state, and its plan while there is one."""

    row: Row
    groups: tuple[Group, ...]
    reverted_by: ImportRun | None
    gpus_missing: int
    now: datetime

    @property
    def run(self) -> ImportRun:
        """The import itself."""
        return self.row.run

    @property
    def is_working(self) -> bool:
        """Whether it goes on by itself."""
        state = ImportRun.State
        return self.run.state in {state.QUEUED, state.PLANNING, state.ASKED, state.APPLYING}

    @property
    def is_silent(self) -> bool:
        """Whether its worker was not heard of for so long that it may be dead."""
        at = self.run.heartbeat_at
        return self.run.state in ImportRun.RUNNING and at is not None and self.now - at > SILENT

    @property
    def can_be_reverted(self) -> bool:
        """Whether it changed something that is not taken back yet."""
        return self.run.state == ImportRun.State.APPLIED and self.run.reverts_id is None

    @property
    def changes_nothing(self) -> bool:
        """Whether all that the files say is there already."""
        return not self.run.total and not self.run.errors and not self.run.counts.get("conflict")

    @property
    def errors(self) -> int:
        """How much is wrong in all."""
        return len(self.run.errors) + self.run.further_errors

    @property
    def percent(self) -> int:
        """How far it is."""
        return 100 * self.run.done // self.run.total if self.run.total else 0

    def group(self, operation: str, kind: str) -> Group | None:
        """Return the group of one operation and kind, if it has any."""
        return next(
            (one for one in self.groups if (one.operation, one.kind) == (operation, kind)), None
        )

    @property
    def cluster(self) -> str:
        """The cluster of what a file puts into none, empty where nobody named one."""
        return wanted_of(self.run).cluster

    @property
    def form(self) -> str:
        """The format that was chosen, empty where the content tells it."""
        form = wanted_of(self.run).form
        return "" if form == AUTO else form

    @property
    def levels(self) -> str:
        """The label keys it was read with."""
        return ", ".join(wanted_of(self.run).level_keys)

    @property
    def part(self) -> bool:
        """Whether its files list a part only."""
        return wanted_of(self.run).part

    @property
    def merges(self) -> Mapping[str, str]:
        """New hardware types that are existing ones."""
        return wanted_of(self.run).merges

    @property
    def lost(self) -> tuple[tuple[str, int, int, int], ...]:
        """Cluster, nodes no longer listed, of how many, with how many GPUs."""
        return tuple(
            (cluster, one.missing, one.of, one.gpus)
            for cluster, one in shrink_of(self.run).items()
        )

    @property
    def state(self) -> tuple[object, ...]:
        """What the fragment of the page is made of."""
        run = self.run
        return (
            run.state,
            run.done,
            run.total,
            run.step,
            run.digest,
            run.cancel_requested_at,
            self.is_silent,
        )


def find(pk: UUID) -> ImportPage | None:
    """Return one import; five queries however large it is."""
    run = (
        ImportRun.objects.select_related("reverts")
        .prefetch_related(
            Prefetch("files", ImportFile.objects.defer("body")),
            "reverted_by",
        )
        .filter(pk=pk)
        .first()
    )
    if run is None:
        return None
    done = [one for one in run.reverted_by.all() if one.state == ImportRun.State.APPLIED]
    return ImportPage(
        row=_row(run),
        groups=_groups(run),
        reverted_by=done[0] if done else None,
        gpus_missing=sum(one.gpus for one in shrink_of(run).values()),
        now=timezone.now(),
    )


def _groups(run: ImportRun) -> tuple[Group, ...]:
    rows = run.changes.order_by().values_list("operation", "kind")
    counted = rows.annotate(count=Count("pk"))
    held = {(operation, kind): count for operation, kind, count in counted.exclude(held={})}
    groups = [
        Group(operation, kind, count, held.get((operation, kind), 0))
        for operation, kind, count in counted
    ]
    return tuple(sorted(groups, key=_place))


def _place(group: Group) -> tuple[object, ...]:
    is_first = group.operation == "create" and group.kind in FIRST
    return (not is_first, ORDER.index(group.operation), group.kind == "domain", group.kind)


@dataclass(frozen=True, slots=True)
class Changes:
    """One page of the changes of an import."""

    operation: str
    kind: str
    rows: tuple[Change, ...]
    page: int
    more: bool


def changes(pk: UUID, *, operation: str, kind: str, page: int) -> Changes:
    """Return one page of an import's changes, of one operation and kind or of all; one query."""
    found = ImportChange.objects.filter(run=pk)
    if operation:
        found = found.filter(operation=operation)
    if kind:
        found = found.filter(kind=kind)
    begin = (page - 1) * CHANGES
    rows = list(found.order_by("seq")[begin : begin + CHANGES + 1])
    return Changes(operation, kind, tuple(map(Change, rows[:CHANGES])), page, len(rows) > CHANGES)


def hardware_choices() -> Sequence[tuple[str, str]]:
    """Return the hardware types there are, by slug."""
    return [(row.slug, str(row)) for row in HardwareType.objects.all()]
