"""What a person needs to judge an import by: its plan as a table, its labels, what goes back."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import connection

from controller.selectors.imports import (
    FIRST,
    ORDER,
    WORDS,
    Change,
    Group,
    ImportPage,
    changes,
    kind_words,
)
from inventory.importers.bad_rows import bad_rows
from inventory.importers.detect import AUTO
from inventory.models import ImportFile, ImportRun
from inventory.services import reverting
from inventory.services.importing import Upload, wanted_of
from inventory.summaries import Holders

MOST_KEYS: Final = 200
SAMPLED: Final = 2_000
"""Labels of so many nodes tell which keys there are."""
SHOWN: Final = 50
LEVELS: Final = ("S1", "S2", "S3")


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of thing: what happens to how many, in the order of the table's columns."""

    word: str
    cells: tuple[Group | None, ...]
    held: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """A plan in counts: a row a kind, a column an operation."""

    columns: tuple[str, ...]
    rows: tuple[KindRow, ...]

    @property
    def has_held(self) -> bool:
        """Whether people hold fields the files say otherwise."""
        return any(row.held for row in self.rows)


def matrix(found: ImportPage) -> Matrix:
    """Return the plan in counts; new hardware types and switches are looked at first."""
    by_place = {(one.kind, one.operation): one for one in found.groups if one.count}
    operations = [name for name in ORDER if any(key[1] == name for key in by_place)]
    kinds = dict.fromkeys((*FIRST, *(one.kind for one in found.groups)))
    rows = []
    for kind in kinds:
        cells = tuple(by_place.get((kind, name)) for name in operations)
        there = [one for one in cells if one]
        if there:
            rows.append(KindRow(kind_words(kind, 2), cells, sum(one.held for one in there)))
    return Matrix(tuple(WORDS[name] for name in operations), tuple(rows))


def new_hardware(found: ImportPage) -> tuple[Change, ...]:
    """Return the hardware types a plan would make, none without any."""
    is_new = any(one.kind == "hardware" and one.operation == "create" for one in found.groups)
    if not is_new:
        return ()
    return changes(found.run.pk, operation="create", kind="hardware", page=1).rows


# Labels.


@dataclass(frozen=True, slots=True)
class LabelKey:
    """A label key of the nodes: how many carry it, with how many values."""

    key: str
    nodes: int
    values: int

    @property
    def word(self) -> str:
        """The key with what makes a wrong one obvious: "own/leaf: 42 values, 12 nodes each"."""
        each = self.nodes / self.values
        values = "1 value" if self.values == 1 else f"{self.values:,} values"
        return f"{self.key}: {values}, {each:.0f} node{'' if round(each) == 1 else 's'} each"


@dataclass(frozen=True, slots=True)
class LevelChoice:
    """What may be chosen for one level, and what is."""

    level: str
    chosen: str
    keys: tuple[LabelKey, ...]

    @property
    def is_strange(self) -> bool:
        """Whether what is chosen is none of the keys that were seen."""
        return bool(self.chosen) and self.chosen not in {one.key for one in self.keys}


_KEYS: Final = """
SELECT label.key, count(*), count(DISTINCT label.value) FROM (
    (SELECT after->'labels' AS labels FROM inventory_importchange
     WHERE run_id = %(run)s AND kind = 'node' AND operation IN ('create', 'change') LIMIT %(most)s)
    UNION ALL
    (SELECT node.labels FROM inventory_node node JOIN inventory_cluster c ON c.id = node.cluster_id
     WHERE c.slug = ANY(string_to_array(%(clusters)s, ',')) LIMIT %(most)s)
) seen CROSS JOIN LATERAL jsonb_each_text(
    CASE jsonb_typeof(seen.labels) WHEN 'object' THEN seen.labels ELSE '{}'::jsonb END
) label
GROUP BY label.key HAVING count(DISTINCT label.value) < count(*)
ORDER BY count(DISTINCT label.value) DESC, label.key LIMIT %(keys)s
"""


def level_choices(found: ImportPage) -> tuple[LevelChoice, ...]:
    """Return which label keys may name S1, S2 and S3; none where nodes have no labels.

    A key with another value on each node joins none, and is left out. One query.
    """
    run = found.run
    asked: dict[str, str | int] = {"run": str(run.pk), "clusters": ",".join(run.clusters)}
    asked |= {"most": SAMPLED, "keys": MOST_KEYS}
    with connection.cursor() as cursor:
        cursor.execute(_KEYS, asked)
        keys = tuple(LabelKey(*row) for row in cursor.fetchall())
    chosen = (*wanted_of(run).level_keys, *("" for _ in LEVELS))
    if not keys:
        return ()
    return tuple(LevelChoice(level, key, keys) for level, key in zip(LEVELS, chosen, strict=False))


# Files.


def files_of(pk: UUID) -> list[Upload]:
    """Return the files of an import, to be used again; none once they are deleted."""
    kept = ImportFile.objects.filter(run=pk).values_list("name", "body")
    return [Upload(name, zlib.decompress(bytes(body))) for name, body in kept]


def bad_files(found: ImportPage) -> tuple[tuple[int, str], ...]:
    """Return the files with faults in single lines, by their place among the files."""
    bad = {fault["file"] for fault in found.run.errors if fault["line"]}
    return tuple((place, name) for place, name in enumerate(found.row.files) if name in bad)


def bad_rows_of(found: ImportPage, place: int) -> list[list[str]] | None:
    """Return the lines of one file that have faults, each with its error; ``None`` without."""
    if place not in {number for number, _ in bad_files(found)}:
        return None
    run = found.run
    kept = run.files.values_list("name", "body")[place]
    form = wanted_of(run).form
    return bad_rows(
        zlib.decompress(bytes(kept[1])),
        [(one["line"], one["message"]) for one in run.errors if one["file"] == kept[0]],
        form if form != AUTO else "",
    )


# What goes back.


@dataclass(frozen=True, slots=True)
class GoingBack:
    """What a revert would do now: kinds that go and that are set back, and what stays."""

    removes: tuple[str, ...]
    restores: tuple[str, ...]
    stays: tuple[str, ...]
    further: int
    gpus: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be taken back."""
        return not self.removes and not self.restores


def going_back(run: ImportRun, services: Holders) -> GoingBack:
    """Return what reverting an import would do; ``gpus`` are those of the nodes that go."""
    back = reverting.inverse(run, services)
    return GoingBack(
        removes=_counted(Counter(one.kind for one in back.remove)),
        restores=_counted(Counter(one.kind for one in back.changes)),
        stays=tuple(back.stays[:SHOWN]),
        further=max(0, len(back.stays) - SHOWN),
        gpus=sum(_gpus(one.before) for one in back.remove if one.kind == "node"),
    )


def _counted(kinds: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(f"{count:,} {kind_words(kind, count)}" for kind, count in sorted(kinds.items()))


def _gpus(fields: Mapping[str, object]) -> int:
    gpus = fields.get("gpus")
    return gpus if isinstance(gpus, int) else 0


def choices_of(found: ImportPage) -> Sequence[tuple[str, str]]:
    """Return the choices an import was read with, in words, without those left to it."""
    wanted = wanted_of(found.run)
    told = [
        ("cluster", wanted.cluster),
        ("format", "" if wanted.form == AUTO else wanted.form),
        ("label keys", ", ".join(wanted.level_keys)),
        ("GUIDs", "named" if wanted.names else ""),
        ("part", "yes" if wanted.part else ""),
    ]
    return [pair for pair in told if pair[1]]
