"""Planned changes become rows: in bulk, each kind after those it rests on."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from uuid import UUID

import orjson
from django.db.models import JSONField
from psycopg.types.json import Jsonb

from inventory.differences import Planned
from inventory.kept import PLANNED_KINDS
from inventory.models import HardwareAlias, Link
from inventory.services import bulk
from inventory.services.columns import MODELS, Resolver, fields_of

CHUNK: Final = 5_000
Tell = Callable[[int, str], None]
"""Told how many things are written and of which kind; raises to stop."""

_SPARE: Final = 16_000
ASIDE: Final[Mapping[str, Mapping[str, Callable[[UUID], object]]]] = {
    "switch": {"name": str, "guid": lambda _: ""},
    "node": {
        "name": str,
        "serial": lambda _: "",
        "provider_id": lambda _: "",
        "k8s_uid": lambda _: "",
        "u_position": lambda _: None,
    },
    "gpu": {"uuid": lambda _: "", "index": lambda row: _SPARE + row.int % _SPARE},
    "nic": {"name": str, "guid": lambda _: ""},
    "link": {"port": str, "peer_port": str},
}
"""What no two rows may share, and what a row has meanwhile, so that two may exchange it."""


@dataclass(slots=True)
class Writer:
    """Writes planned changes and tells how far it is."""

    resolver: Resolver
    tell: Tell
    done: int = 0

    def write(self, changes: Sequence[Planned]) -> None:
        """Write all changes; raises what the database raises for what it refuses."""
        kinds: dict[str, list[Planned]] = defaultdict(list)
        for one in changes:
            kinds[one.kind].append(one)
        for kind in PLANNED_KINDS:
            own = kinds.get(kind, [])
            self._change(kind, [one for one in own if one.operation in {"change", "missing"}])
            self._create(kind, [one for one in own if one.operation == "create"])
            if own:
                self.resolver.lookups.forget(kind)

    def _change(self, kind: str, changes: Sequence[Planned]) -> None:
        if not changes:
            return
        put_aside(kind, changes)
        if kind == "link":
            self.resolver.far = _far(changes)
        groups: dict[tuple[str, ...], list[Sequence[object]]] = defaultdict(list)
        for one in changes:
            cells = self.resolver.changed(one)
            groups[tuple(cells)].append((one.row, *cells.values()))
        # What is missing leaves its place before another takes it.
        for names, rows in sorted(groups.items(), key=lambda one: "missing_since" not in one[0]):
            for some in chunks(rows):
                if names:
                    bulk.update(MODELS[kind], "id", names, some, bulk.NEXT_VERSION)
                self._tell(len(some), kind)
        if kind == "hardware":
            give_words(changes)

    def _create(self, kind: str, changes: Sequence[Planned]) -> None:
        fields = fields_of(kind)
        names = [str(one.column) for one in fields]
        jsons = [isinstance(one, JSONField) for one in fields]
        for some in chunks(changes):
            rows = []
            for one in some:
                cells = self.resolver.created(one)
                rows.append(
                    [_cell(cells[name], json) for name, json in zip(names, jsons, strict=True)]
                )
            bulk.copy(MODELS[kind], names, rows)
            self._tell(len(some), kind)
        if kind == "hardware":
            give_words(changes)

    def _tell(self, count: int, kind: str) -> None:
        self.done += count
        self.tell(self.done, kind)


def _cell(value: object, is_json: bool) -> object:  # noqa: FBT001 - one of two columns
    return Jsonb(value, orjson.dumps) if is_json else value


def put_aside(kind: str, changes: Iterable[Planned]) -> None:
    """Free the names and identifiers that rows give up, so that others may take them."""
    own = [(one.row, one.after) for one in changes if one.row is not None]
    for name, meanwhile in ASIDE.get(kind, {}).items():
        rows = [(row, meanwhile(row)) for row, after in own if name in after]
        bulk.update(MODELS[kind], "id", (name,), rows)


def give_words(changes: Iterable[Planned]) -> None:
    """Give hardware types the words that imports call them by."""
    told = {one.row: one.after["aliases"] for one in changes if one.row and "aliases" in one.after}
    HardwareAlias.objects.filter(hardware__in=list(told)).delete()
    HardwareAlias.objects.bulk_create(
        HardwareAlias(hardware_id=row, text=str(word))
        for row, words in told.items()
        for word in (words if isinstance(words, list) else [])
    )


def _far(changes: Iterable[Planned]) -> dict[UUID, bool]:
    """Return whether cables that get another far end have a node there."""
    moved = [one.row for one in changes if one.row and "peer" in one.after]
    rows = Link.objects.filter(pk__in=moved).values_list("pk", "node_id")
    return {row: node is not None for row, node in rows}


def chunks(rows: Iterable[Any]) -> Iterator[list[Any]]:
    """Return rows a few thousand at a time."""
    left = iter(rows)
    while some := list(islice(left, CHUNK)):
        yield some
