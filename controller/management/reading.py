"""Signals of files in which scrapes were kept: which file is whose, and what they make."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np

from controller.adapters.exposition import ExpositionError, read_exposition
from controller.core.readings.cook import cook
from controller.core.readings.presets import KINDS, PRESETS, leaves_of, recipes_of
from controller.core.readings.recipe import Preset, Recipe, Speaker
from controller.core.readings.scrapes import (
    Instance,
    Scrape,
    leaves_from,
    owned,
    renamed,
    told_role,
)
from controller.core.readings.tables import WHOLE, Table
from controller.core.signals import plausible
from controller.core.types import Quality, Role, SignalKind
from controller.management.answering import AnswerError
from controller.management.inputs import read_file

_ROLE_WORD: Final = re.compile(r"(?:^|[^a-z])(prefill|decode)(?![a-z])")


@dataclass(frozen=True, slots=True)
class Ask:
    """What is read: presets, the service, pairs of files, roles by file or pod, time between."""

    presets: Sequence[Preset]
    service: str
    pairs: Sequence[tuple[Path | None, Path]]
    roles: Mapping[str, Role]
    interval_s: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Every signal and figure, as the command answers it, and what instances may call others."""

    figures: Mapping[str, Mapping[str, Any]]
    hints: Sequence[str]


def presets_named(names: str) -> list[Preset]:
    """Return presets by their names, with commas between. Raises :class:`AnswerError`."""
    for name in names.split(","):
        if name not in PRESETS:
            known = ", ".join(PRESETS)
            raise AnswerError("no_such_engine", f"{name!r} is none of {known}", "--engine")
    return [PRESETS[name] for name in names.split(",")]


def roles_named(pairs: str) -> dict[str, Role]:
    """Return roles by file or pod, of ``NAME=role,…``. Raises :class:`AnswerError`."""
    roles: dict[str, Role] = {}
    for pair in filter(None, pairs.split(",")):
        name, _, role = pair.rpartition("=")
        if not name or role not in tuple(Role):
            message = f"{pair!r} is not NAME=prefill or NAME=decode"
            raise AnswerError("bad_usage", message, "--roles")
        roles[name] = Role(role)
    return roles


def read_signals(ask: Ask) -> Reading:
    """Return what the files say. Raises :class:`AnswerError`."""
    recipes = recipes_of(ask.presets)
    leaves = leaves_of(recipes.values())
    wanted = {name for leaf in leaves for name in leaf.names}
    wanted.update(name for preset in ask.presets for name in preset.proof)
    owners = {name: leaf.owner for leaf in leaves if leaf.owner for name in leaf.names}
    engines: list[Instance] = []
    pods: list[Instance] = []
    for before, now in ask.pairs:
        scrapes = (
            None if before is None else _scrape(before, 0.0, wanted),
            _scrape(now, ask.interval_s, wanted),
        )
        pods += _pods(ask, scrapes, owners)
        engines += _engine(ask, (before, now), scrapes, owners)
    answers = leaves_from(leaves, [*engines, *pods], [ask.service])
    figures = {}
    for kind in KINDS.values():
        recipe = recipes.get(kind.name)
        by = pods if recipe is not None and _by_pod(recipe) and pods else engines
        expected = len({one.name for one in by if one.role is kind.role})
        table = None if recipe is None else cook(recipe, answers, (1, 1))
        figures[kind.name] = _figure(kind, table, expected)
    found = (renamed(leaf, engines) for leaf in leaves if leaf.role and not leaf.owner)
    return Reading(figures, list(dict.fromkeys(hint for hint in found if hint)))


def _by_pod(recipe: Recipe) -> bool:
    return any(leaf.owner for leaf in leaves_of((recipe,)))


def _scrape(path: Path, at_s: float, wanted: set[str]) -> Scrape:
    try:
        return read_exposition(read_file(path), at_s, wanted)
    except ExpositionError as fault:
        raise AnswerError("bad_exposition", str(fault), str(path)) from fault


Scrapes = tuple[Scrape | None, Scrape]
Owners = Mapping[str, tuple[str, ...]]


def _engine(
    ask: Ask, paths: tuple[Path | None, Path], scrapes: Scrapes, owners: Owners
) -> Iterator[Instance]:
    """Yield the instance a file is of; none where all of it is about the pods of a node."""
    before, now = scrapes
    engines = [p for p in ask.presets if p.speaker is Speaker.ENGINE]
    is_engine = any(now.names.intersection(preset.proof) for preset in engines)
    if now.names.intersection(owners) and not is_engine:
        return
    role = _role_of_file(ask.roles, paths)
    told = (told_role(preset.roles, now) for preset in ask.presets)
    role = role or next((one for one in told if one is not None), None)
    if role is None and is_engine:
        message = "its metrics don't say which role it has: name it with --roles"
        raise AnswerError("no_role", message, str(paths[1]))
    yield Instance(paths[1].name, ask.service, role, now, before)


def _role_of_file(roles: Mapping[str, Role], paths: Iterable[Path | None]) -> Role | None:
    for path in paths:
        if path is not None:
            for name in (str(path), path.name, path.name.partition(".")[0]):
                if name in roles:
                    return roles[name]
    return None


def _pods(ask: Ask, scrapes: Scrapes, owners: Owners) -> Iterator[Instance]:
    """Yield the pods that an exporter of a node speaks of and that are of the service.

    Those are the pods named with a role; else those whose name begins with the service's; else
    all. Who is not named has the role that is a word of its name.
    """
    labels = next(iter(owners.values()), ())
    before, now = ({} if one is None else owned(_only(one, owners), labels) for one in scrapes)
    named = {
        pod: role for pod in now for name, role in ask.roles.items() if fnmatchcase(pod, name)
    }
    theirs = list(named) or [pod for pod in now if pod.startswith(f"{ask.service}-")]
    for pod in theirs or now:
        word = _ROLE_WORD.search(pod)
        role = named.get(pod) or (Role(word[1]) if word else None)
        if role is not None:
            yield Instance(pod, ask.service, role, now[pod], before.get(pod))


def _only(scrape: Scrape, owners: Owners) -> Scrape:
    samples = {name: found for name, found in scrape.samples.items() if name in owners}
    return Scrape(scrape.at_s, samples, scrape.names)


def _figure(kind: SignalKind, table: Table | None, expected: int) -> dict[str, Any]:
    known = table is not None and bool(table.present[0, 0])
    value = float(table.values[0, 0]) if table is not None and known else None
    reporting = int(table.reporting[0, 0]) if table is not None and known else 0
    if reporting == WHOLE:
        reporting = expected = max(expected, 1)
    quality = _quality(value, reporting, expected)
    return {
        "value": value if quality in {Quality.OK, Quality.PARTIAL} else None,
        "unit": kind.unit,
        "quality": str(quality),
        "reporting": reporting,
        "expected": expected,
    }


def _quality(value: float | None, reporting: int, expected: int) -> Quality:
    if value is None:
        return Quality.MISSING
    if not plausible(np.array(value)):
        return Quality.INVALID
    return Quality.PARTIAL if reporting < expected else Quality.OK
