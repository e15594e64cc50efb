"""One look at a service or an endpoint while a person waits: what it gives, and who is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from time import monotonic
from typing import Final

from controller.adapters.measured import LATE, Measured, Terms
from controller.adapters.metrics.nothing import NoSource
from controller.adapters.turn import Turn
from controller.core.readings.asking import Grid, Scope, Wanted
from controller.core.readings.choosing import UP, Asked, asked, recipes_for
from controller.core.readings.merging import merged
from controller.core.readings.presets import KINDS, PRESETS, leaves_of
from controller.core.readings.recipe import Leaf, Recipe, Term
from controller.core.readings.sources import EndpointKind, Plan, Source
from controller.core.readings.standing import Answering
from controller.core.readings.tables import Leaves
from controller.core.readings.trying import (
    Answered,
    Names,
    Ready,
    Seen,
    SourceTrial,
    Trial,
    tried,
)
from controller.core.types import ROLES, Role

Named = Mapping[Term, Mapping[str, Names]]
Who = Callable[[Source, Wanted, Turn], Named]
WORDS: Final[Mapping[Answering, str]] = {
    Answering.OK: "answers",
    Answering.PARTIAL: "answers in part",
    Answering.FAILED: "does not answer",
}
FIRST: Final = ("running", "kv_frac", "waiting", "tps")
"""Endings of figures by which instances of a role are counted."""


@dataclass(frozen=True, slots=True)
class Trying:
    """How it is asked: as ticks do, and who tells instances by name, of each kind."""

    terms: Terms
    who: Mapping[EndpointKind, Who]
    version: Callable[[Source, Turn], str]
    max_age_s: float


def try_service(plan: Plan, key: str, ready: Ready, trying: Trying, turn: Turn) -> Trial:
    """Return what the service ``key`` of a plan has now, every figure that its presets make."""
    recipes = recipes_for(plan.uses[key], tuple(KINDS))
    choices = {key: recipes}
    wanted = asked(plan, choices)
    pool = ThreadPoolExecutor(max(len(wanted), 1), thread_name_prefix="who")
    jobs = {
        name: pool.submit(_who, plan.sources[name], each, trying, turn)
        for name, each in wanted.items()
    }
    look = Measured(NoSource(), plan, {}, trying.terms).look(choices, turn)
    grid = trying.terms.pace.grid(turn.now_s)
    leaves: Leaves = {
        leaf: merged(answer, [0], (1, grid.samples))
        for reading in look.readings.values()
        for leaf, answer in reading.leaves.items()
    }
    named = _named(jobs, wanted, key, turn)
    pool.shutdown(wait=False, cancel_futures=True)
    return Trial(
        tried(recipes, leaves, Seen(grid, ready, named, trying.max_age_s)),
        tuple(
            Answered(name, WORDS[outcome.state], outcome.took_s, outcome.told)
            for name, outcome in look.outcomes.items()
        ),
    )


def _who(source: Source, wanted: Asked, trying: Trying, turn: Turn) -> Named:
    ask = trying.who.get(source.kind)
    if ask is None:
        return {}
    scope = Scope(tuple(wanted.services.values()), trying.terms.pace.over_s(source))
    attach = dict.fromkeys(wanted.leaves, source.attach)
    grid = trying.terms.pace.grid(turn.now_s)
    return ask(source, Wanted(attach, scope, grid, wanted.written_for), turn)


def _named(
    jobs: Mapping[str, Future[Named]], wanted: Mapping[str, Asked], key: str, turn: Turn
) -> Mapping[Recipe, Names]:
    """Return the names behind each leaf; an endpoint that is late, or fails, names nobody."""
    wait(jobs.values(), timeout=max(turn.until - monotonic(), 0.0))
    found: dict[Recipe, Names] = {}
    for name, job in jobs.items():
        if job.done() and job.exception() is None:
            known_as = wanted[name].services[key]
            for leaf, services in job.result().items():
                found[leaf] = services.get(known_as, frozenset())
    return found


def try_source(source: Source, services: Sequence[str], trying: Trying, turn: Turn) -> SourceTrial:
    """Return whether an endpoint answers, its version, and the instances of services it knows."""
    leaves = _telling(source)
    names = tuple(services) or ("",)
    wanted = Wanted(
        dict.fromkeys(leaves, source.attach),
        Scope(names, trying.terms.pace.over_s(source)),
        Grid(turn.now_s, trying.terms.pace.step_s, 1),
    )
    begun = monotonic()
    with ThreadPoolExecutor(1, thread_name_prefix="about") as pool:
        told = pool.submit(trying.version, source, turn)
        reading = trying.terms.readers[source.kind](source, wanted, turn)
        version = told.result()
    took_s = monotonic() - begun
    known: dict[str, dict[Role, int]] = {}
    for leaf, answer in reading.leaves.items():
        if leaf.role is None:
            continue
        for row, name in enumerate(names):
            if count := int(answer.reporting[row].max(initial=0)):
                mine = known.setdefault(name, dict.fromkeys(ROLES, 0))
                mine[leaf.role] = max(mine[leaf.role], count)
    state = Answering.OK if reading.leaves else Answering.FAILED
    sentences = reading.told or (() if reading.leaves else (LATE,))
    answered = Answered(source.name, WORDS[state], took_s, sentences)
    return SourceTrial(answered, version, known, len(services))


def _telling(source: Source) -> list[Leaf]:
    """Return leaves by which instances of a role are known, whatever exports them."""
    found = [replace(UP[role], source=source.name) for role in ROLES]
    for preset in PRESETS.values():
        for role in ROLES:
            mine = [
                leaf
                for ending in FIRST
                for name, recipe in preset.recipes.items()
                if name.endswith(ending)
                for leaf in leaves_of((recipe,))
                if leaf.role is role
            ]
            found += [replace(leaf, source=source.name) for leaf in mine[:1]]
    return list(dict.fromkeys(found))
