"""Counts as the cluster tells them, signals as endpoints of metrics measured them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from time import monotonic
from typing import Final

from controller.adapters.turn import Turn
from controller.core.counted_pools import Place
from controller.core.ports import MetricsSource, Pool, View
from controller.core.readings.asking import Grid, Reading, Scope, Wanted
from controller.core.readings.choosing import SIGNAL_NAMES, Asked, asked, recipes_for
from controller.core.readings.cook import Recipes, windows
from controller.core.readings.counting import counted_state, expected_of
from controller.core.readings.merging import merged, newest_s, since
from controller.core.readings.presets import terms_of
from controller.core.readings.recipe import Term
from controller.core.readings.sources import EndpointKind, Plan, Source
from controller.core.readings.standing import Answering, Outcome, Standing
from controller.core.readings.tables import Answer, Leaves
from controller.core.types import ROLES, Observation, ServiceSpec, ServiceState, Window

FEWEST_SCRAPES: Final = 4
"""A rate over fewer is not to be trusted (metrics: trap 3)."""
LATE: Final = "It did not answer in time."


@dataclass(frozen=True, slots=True)
class Pace:
    """Steps of the window [s] and how many; a rate's shortest window [s]."""

    step_s: float
    samples: int
    window_s: float

    def grid(self, now_s: float) -> Grid:
        """Return the times samples are wanted at."""
        return Grid(now_s, self.step_s, self.samples)

    def over_s(self, source: Source) -> int:
        """Return the window of rates [s] that an endpoint allows."""
        return int(max(self.window_s, FEWEST_SCRAPES * source.scrape_s))


Reader = Callable[[Source, Wanted, Turn], Reading]


@dataclass(frozen=True, slots=True)
class Look:
    """What all endpoints answered at one look, and how each did; by name."""

    readings: Mapping[str, Reading]
    outcomes: Mapping[str, Outcome]
    asked: Mapping[str, Asked]


@dataclass(frozen=True, slots=True)
class Terms:
    """What endpoints are asked under: who reads each kind, the pace, when a look ends.

    In ``counting`` clusters nobody tells counts: instances are counted where their metrics are,
    and ``pools_of`` gives the pools there when that many GPUs of a cluster and type are held.
    """

    readers: Mapping[EndpointKind, Reader]
    pace: Pace
    turn_of: Callable[[float], Turn]
    counting: frozenset[str] = frozenset()
    pools_of: Callable[[Mapping[Place, int]], Sequence[Pool]] = lambda _: ()


class Measured:
    """Takes counts and pools from the clusters' own sources, and windows from endpoints.

    A service that reads from no endpoint stays as its cluster tells it.
    """

    def __init__(
        self, own: MetricsSource, plan: Plan, standings: Mapping[str, Standing], terms: Terms
    ) -> None:
        """Take who tells counts, what is read where, and how endpoints answered so far."""
        self._own = own
        self._plan = plan
        self._standings = standings
        self._terms = terms

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return what the clusters and the endpoints say; no endpoint stops another (S24)."""
        view = self._own.observe(services, now_s=now_s)
        broken = {spec.key for spec in services} & self._plan.broken.keys()
        counted = {spec.key for spec in services if spec.cluster in self._terms.counting}
        reading = [
            spec.key
            for spec in services
            if self._plan.uses.get(spec.key)
            and (spec.key in counted or _state(view, spec.key) is not None)
        ]
        found, lost, look = self._found(view, reading, counted, now_s)
        failures = {key: text for key, text in view.failures.items() if key not in found}
        observations = {**view.observations, **found}
        for key in broken:
            observations.pop(key, None)
            failures[key] = self._plan.broken[key]
        marks = {name: each.marks for name, each in look.readings.items() if each.marks}
        pools = (*view.pools, *self._counted_pools(services, observations))
        failures |= lost
        return View(observations, pools, failures, look.outcomes, marks, view.rivals)

    def _counted_pools(
        self, services: Sequence[ServiceSpec], seen: Mapping[str, Observation]
    ) -> Sequence[Pool]:
        held: dict[Place, int] = {}
        counted = [spec for spec in services if spec.cluster in self._terms.counting]
        for spec in counted:
            state = seen[spec.key].state if spec.key in seen else None
            if state is None:
                continue
            for role in ROLES:
                place = (spec.cluster, spec.hardware[role])
                gpus = state.of(role).desired * spec.gpus_per_instance.of(role)
                held[place] = held.get(place, 0) + gpus
        return self._terms.pools_of(held) if counted else ()

    def _found(
        self, view: View, keys: Sequence[str], counted: set[str], now_s: float
    ) -> tuple[dict[str, Observation], dict[str, str], Look]:
        if not keys:
            return {}, {}, Look({}, {}, {})
        choices = {key: recipes_for(self._plan.uses[key], SIGNAL_NAMES) for key in keys}
        turn = self._terms.turn_of(now_s)
        look = self.look(choices, turn, frozenset(counted))
        return *self._observations(view, choices, look, turn), look

    def look(
        self, choices: Mapping[str, Recipes], turn: Turn, counted: frozenset[str] = frozenset()
    ) -> Look:
        """Ask every endpoint that services with these choices read from, all at once."""
        wanted = asked(self._plan, choices, counted=counted)
        due = {
            name: each
            for name, each in wanted.items()
            if name not in self._standings or not self._standings[name].rests(turn.now_s)
        }
        readings, took_s = self._read(due, turn)
        outcomes = {
            name: _outcome(readings.get(name), due[name], took_s.get(name), turn) for name in due
        }
        return Look(readings, outcomes, wanted)

    def _read(
        self, due: Mapping[str, Asked], turn: Turn
    ) -> tuple[dict[str, Reading], dict[str, float]]:
        """Return the reading of each endpoint that answered in time; nobody waits for the rest."""
        if not due:
            return {}, {}
        begun = monotonic()
        took_s: dict[str, float] = {}

        def one(name: str) -> Reading:
            reading = self._one(name, due[name], turn)
            took_s[name] = monotonic() - begun
            return reading

        pool = ThreadPoolExecutor(len(due), thread_name_prefix="endpoints")
        futures = {pool.submit(one, name): name for name in due}
        done, _ = wait(futures, timeout=max(turn.until - monotonic(), 0.0))
        pool.shutdown(wait=False, cancel_futures=True)
        return {futures[each]: each.result() for each in done}, took_s

    def _one(self, name: str, wanted: Asked, turn: Turn) -> Reading:
        source = self._plan.sources[name]
        scope = Scope(tuple(wanted.services.values()), self._terms.pace.over_s(source))
        attach = dict.fromkeys(wanted.leaves, source.attach)
        grid = self._terms.pace.grid(turn.now_s)
        asking = Wanted(attach, scope, grid, wanted.written_for)
        try:
            return self._terms.readers[source.kind](source, asking, turn)
        except Exception as fault:  # noqa: BLE001 - one endpoint must not stop the others (S24)
            return Reading({}, told=(f"It can't be read: {type(fault).__name__}: {fault}",))

    def _observations(
        self, view: View, choices: Mapping[str, Recipes], look: Look, turn: Turn
    ) -> tuple[dict[str, Observation], dict[str, str]]:
        keys, grid = list(choices), self._terms.pace.grid(turn.now_s)
        leaves = self._leaves(keys, look, grid)
        # Of a sum whose part was asked for and not answered, nobody knows the whole (M17).
        partial = {
            leaf
            for name, each in look.readings.items()
            for leaf in (*each.partial, *(set(look.asked[name].leaves) - set(each.leaves)))
        }
        own = [_state(view, key) for key in keys]
        found = windows(
            list(choices.values()),
            leaves,
            expected_of(own, leaves, (len(keys), grid.samples)),
            grid.times_s,
            grid.step_s,
            partial,
        )
        observations: dict[str, Observation] = {}
        lost: dict[str, str] = {}
        for row, (key, window) in enumerate(zip(keys, found, strict=True)):
            state = own[row] or counted_state(leaves, window, row)
            if state is not None:
                shown = view.observations.get(key)
                refs, bar = (shown.instances, shown.bar) if shown else ((), None)
                told_by = sources_of(choices[key])
                observations[key] = Observation(window, state, refs, told_by, bar)
            if text := self._lost(key, look, window, has_state=state is not None):
                lost[key] = text
        return observations, lost

    def _leaves(self, keys: Sequence[str], look: Look, grid: Grid) -> Leaves:
        """Return the leaves of all endpoints with a row for each of the services."""
        rows = {key: row for row, key in enumerate(keys)}
        shape = (len(keys), grid.samples)
        made: dict[Term, Answer] = {}
        for name, reading in look.readings.items():
            theirs = [rows[key] for key in look.asked[name].services]
            standing = self._standings.get(name)
            back_s = standing.back_s if standing else None
            for leaf, answer in reading.leaves.items():
                kept = answer if back_s is None else since(answer, back_s, grid.times_s)
                made[leaf] = merged(kept, theirs, shape)
        return made

    def _lost(self, key: str, look: Look, window: Window, *, has_state: bool) -> str:
        """Return why nothing is known of a service, where its endpoints are the reason."""
        names = [use.source for use in self._plan.uses[key]]
        silent = [name for name in names if not _answers(look, name)]
        if silent and not window.present.any():
            return " ".join(f"{name} does not answer. {self._why(look, name)}" for name in silent)
        if not has_state:
            told = {use.source: use.known_as for use in self._plan.uses[key]}
            where = ", ".join(f"{name} (as {known!r})" for name, known in told.items())
            return f"No instance of it is known at {where}."
        return ""

    def _why(self, look: Look, name: str) -> str:
        outcome, standing = look.outcomes.get(name), self._standings.get(name)
        told = outcome.told if outcome else standing.told if standing else ()
        return " ".join(told[:1])


def sources_of(recipes: Recipes) -> Mapping[str, str]:
    """Return the endpoints that tell each figure, the first that has it counts."""
    return {
        name: ", ".join(dict.fromkeys(leaf.source for leaf in terms_of((recipe,))))
        for name, recipe in recipes.items()
    }


def _state(view: View, key: str) -> ServiceState | None:
    seen = view.observations.get(key)
    return seen.state if seen is not None else None


def _answers(look: Look, name: str) -> bool:
    outcome = look.outcomes.get(name)
    return outcome is not None and outcome.state is not Answering.FAILED


def _outcome(reading: Reading | None, wanted: Asked, took_s: float | None, turn: Turn) -> Outcome:
    if reading is None or took_s is None:
        spent_s = monotonic() - turn.begun
        return Outcome(
            Answering.FAILED, turn.now_s, spent_s, (LATE,), services=len(wanted.services)
        )
    missing = set(wanted.leaves) - set(reading.leaves)
    silent, exporters = reading.silent
    state = Answering.OK
    if missing or reading.partial or silent:
        heard = reading.leaves and silent < exporters
        state = Answering.PARTIAL if heard else Answering.FAILED
    found, answered = newest_s(reading.leaves.values())
    return Outcome(state, turn.now_s, took_s, reading.told, found, len(wanted.services), answered)
