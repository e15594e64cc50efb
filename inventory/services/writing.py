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


def _nothing(_row: UUID) -> object:
    return ""


def _spare(row: UUID) -> object:
    return _SPARE + row.int % _SPARE


Meanwhile = Callable[[UUID], object]
ASIDE: Final[Mapping[str, Mapping[str, Meanwhile]]] = {
    "switch": {"name": str, "guid": _nothing},
    "node": {
        "name": str,
        "serial": _nothing,
        "provider_id": _nothing,
        "k8s_uid": _nothing,
        "u_position": lambda _: None,
    },
    "gpu": {"uuid": _nothing, "index": _spare},
    "nic": {"name": str, "guid": _nothing},
    "link": {"port": str, "peer_port": str},
}
"""What no two rows may share, and what a row has meanwhile, so that two may exchange it."""

WITHIN: Final[Mapping[str, Mapping[str, frozenset[str]]]] = {
    "node": {"u_position": frozenset(("rack", "u_height"))},
    "gpu": {"index": frozenset(("node",))},
    "nic": {"name": frozenset(("node",))},
    "link": {
        "port": frozenset(("switch",)),
        "peer_port": frozenset(("peer",)),
    },
}
"""What no two rows may share within something else: it is freed when that changes too."""


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
        restored = put_aside(kind, changes)
        if kind == "link":
            self.resolver.far = _far(changes)
        leaving = [one for one in changes if one.after.get("missing") is True]
        back = [one for one in changes if one.after.get("missing") is False]
        aside = {one.row for one in (*leaving, *back)}
        # What is missing leaves its place before another takes it, and takes it when that is free.
        self._update(kind, leaving)
        self._update(kind, [one for one in changes if one.row not in aside])
        for name, rows in restored.items():
            bulk.update(MODELS[kind], "id", (name,), rows)
        self._update(kind, back)
        if kind == "hardware":
            give_words(changes)

    def _update(self, kind: str, changes: Sequence[Planned]) -> None:
        groups: dict[tuple[str, ...], list[Sequence[object]]] = defaultdict(list)
        for one in changes:
            cells = self.resolver.changed(one)
            groups[tuple(cells)].append((one.row, *cells.values()))
        for names, rows in groups.items():
            for some in chunks(rows):
                if names:
                    bulk.update(MODELS[kind], "id", names, some, bulk.NEXT_VERSION)
                self._tell(len(some), kind)

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


def put_aside(kind: str, changes: Iterable[Planned]) -> dict[str, list[tuple[UUID, object]]]:
    """Free the names and places that rows give up, so that others may take them.

    Returns by column what rows had that get no other value, to be given back.
    """
    own = [(one.row, one.after) for one in changes if one.row is not None]
    restored: dict[str, list[tuple[UUID, object]]] = {}
    for name, meanwhile in ASIDE.get(kind, {}).items():
        within = WITHIN.get(kind, {}).get(name, frozenset())
        moved = [row for row, after in own if name not in after and within & after.keys()]
        if moved:
            rows = MODELS[kind]._default_manager.filter(pk__in=moved)  # noqa: SLF001 - public by custom
            restored[name] = list(rows.values_list("pk", name))
        given_up = [row for row, after in own if name in after]
        freed = [(row, meanwhile(row)) for row in (*given_up, *moved)]
        bulk.update(MODELS[kind], "id", (name,), freed)
    return restored


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
