"""One tick: gather, decide, record."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction

from controller.core import memory as memories
from controller.core.breaker import USUAL as USUAL_THRESHOLDS
from controller.core.breaker import Thresholds, Trip
from controller.core.budgets import USUAL, Allowance, FleetRules
from controller.core.cycle import Look, Outcome, blind, decide_all, look
from controller.core.memory import Memory
from controller.core.placement.limiting import PLACED, limited, requests_of, unplanned
from controller.core.placement.plan_plain import PlainPlacement
from controller.core.placement.preview import Situation, preview
from controller.core.placement.values import Plan
from controller.core.placement.weaker import handicaps
from controller.core.ports import MetricsSource, View
from controller.core.reasons import Code
from controller.core.types import Decision, Hold, Instances, Quality, ServiceSpec
from controller.core.words import clean
from controller.selectors import breakers, freezes, overriding, profiles, removals
from controller.selectors import memory as rows
from controller.selectors.freezes import Holds
from controller.selectors.situation import refused_in_a_row, situation
from controller.services import breakers as stopping
from controller.services import recording
from controller.services.leadership import Lease
from controller.services.recording import Page
from controller.services.rows import Entry
from inventory import snapshot
from inventory.snapshot import Snapshot

log = structlog.get_logger(__name__)

LONGEST_WINDOW_S: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Period and oldest usable sample [s], the rules of the whole fleet, when it stops itself."""

    tick_s: float
    max_age_s: float
    rules: FleetRules = USUAL
    breaker: Thresholds = USUAL_THRESHOLDS


@dataclass(frozen=True, slots=True)
class Report:
    """What a tick did: its number (``None``: one ran just now), decisions, actions to send."""

    slot: int | None
    decisions: int
    actions: tuple[UUID, ...]


class Stopwatch:
    """Milliseconds spent in each stage of a tick."""

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Count the time since the last mark as this stage's."""
        now_s = time.perf_counter()
        spent_ms = 1000 * (now_s - self._last_s)
        self.stages_ms[stage] = round(self.stages_ms.get(stage, 0.0) + spent_ms, 2)
        self._last_s = now_s


class _Timed:
    """A source whose answer is timed as a stage of its own."""

    def __init__(self, source: MetricsSource, watch: Stopwatch) -> None:
        self._source = source
        self._watch = watch

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        view = self._source.observe(services, now_s=now_s)
        self._watch.mark("observe")
        return view


def run(
    lease: Lease,
    *,
    source_of: Callable[[Mapping[str, str]], MetricsSource],
    settings: LoopSettings,
) -> Report:
    """Run one tick under the lease: read what is known, decide for all, record in one go.

    ``source_of`` builds the source from the kind of each cluster. Raises
    :class:`NotLeadingError` when the lease ran out on the way: then nothing was written.
    """
    watch = Stopwatch()
    slot = recording.claim_slot(lease, tick_s=settings.tick_s)
    if slot is None:
        return Report(None, 0, ())
    now_s = lease.now.timestamp()
    known, frozen = _steered(now_s), freezes.in_force()
    removed = removals.removed_gpus(known.specs, lease.now, settings.rules)
    recall = rows.read(lease.now, keep_s=_longest_window_s(known.specs)).of
    source = _Timed(source_of(known.cluster_kinds), watch)
    watch.mark("gather")
    seen = look(known.specs, source, now_s=now_s, max_age_s=settings.max_age_s)
    now = Known(known.specs)
    seen = _with_handicaps(seen, now)
    allowance = Allowance(settings.rules, removed)
    outcome, trips = _decided(
        lambda hold_of: decide_all(
            known.specs, seen, recall=recall, hold_of=hold_of, allowance=allowance
        ),
        frozen,
        lease,
        settings,
    )
    unreadable = [
        blind(key, recall(key), Code.CONFIG_INVALID, text, now_s=now_s)
        for key, text in known.broken.items()
    ]
    outcome = replace(
        outcome,
        decisions=[*outcome.decisions, *unreadable],
        failures={**outcome.failures, **known.broken},
    )
    watch.mark("decide")
    outcome, placements = _placed(outcome, now)
    watch.mark("place")
    page = Page(
        now=lease.now,
        snapshot=known,
        view=outcome.view,
        entries=[
            replace(entry, placement=placements.get(entry.key))
            for entry in entries_of(outcome, {spec.key: spec for spec in known.specs}, recall)
        ],
        failures=outcome.failures,
        fresh=sum(map(is_fresh, outcome.decisions)),
        trips=trips,
    )
    due = recording.record(page, lease=lease, slot=slot)
    watch.mark("record")
    recording.note_stages(slot, watch.stages_ms)
    return Report(slot, len(page.entries), tuple(due))


def _steered(now_s: float) -> Snapshot:
    """Return the configuration of all services under the overrides in force."""
    known, orders = snapshot.read(profiles.readable), overriding.in_force()
    return replace(known, specs=[orders.steer(spec, now_s) for spec in known.specs])


def _decided(
    decide: Callable[[Callable[[str], Hold | None]], Outcome],
    stops: Holds,
    lease: Lease,
    settings: LoopSettings,
) -> tuple[Outcome, tuple[Trip, ...]]:
    """Return what is decided and why the controller stops itself, if it does.

    What the very tick that trips wanted is no longer trusted either. Where that can't be judged
    the tick goes on under the breakers that are open already (S24).
    """
    outcome = decide(stops.automatic_over)
    try:
        with transaction.atomic():
            trips = breakers.tripped(
                outcome, stops, lease.now, tick_s=settings.tick_s, limits=settings.breaker
            )
    except Exception:
        log.exception("the circuit breakers can't be judged")
        trips = ()
    if trips:
        outcome = decide(stopping.with_trips(stops, trips, lease.now.timestamp()))
    return outcome, trips


class Known:
    """Where services are, read once a tick and only if somebody asks."""

    def __init__(self, specs: Sequence[ServiceSpec]) -> None:
        self.several = frozenset(spec.key for spec in specs if spec.further)
        self.limits = {spec.key: spec.limits for spec in specs}

    @cached_property
    def situation(self) -> Situation:
        """All nodes and who holds them, as they are at the first look."""
        return situation()

    def handicaps(self) -> dict[str, Instances]:
        """Return what services on several hardware types do less."""
        tenants = self.situation.tenants
        own = (tenants[key] for key in self.several & tenants.keys())
        return handicaps(own, self.situation.rows)


def _with_handicaps(seen: Look, now: Known) -> Look:
    """Return the look with what instances on several hardware types do.

    Services of which that can't be told are not judged: they would be taken for more than they
    are (S24).
    """
    if not now.several:
        return seen
    found: dict[str, Instances] = {}
    try:
        with transaction.atomic():
            found = now.handicaps()
        unreadable = now.situation.unreadable
        wrong = {key: unreadable[key] for key in now.several & unreadable.keys()}
    except Exception as fault:
        log.exception("nobody knows what runs on which hardware")
        wrong = dict.fromkeys(now.several, clean(f"{type(fault).__name__}: {fault}"))
    told = {key: f"What it runs on can't be told: {text}" for key, text in wrong.items()}
    known = {key: one for key, one in seen.view.observations.items() if key not in wrong}
    view = replace(seen.view, observations=known, failures={**seen.view.failures, **told})
    return replace(seen, view=view, handicaps=found)


def _placed(outcome: Outcome, now: Known) -> tuple[Outcome, dict[str, PlainPlacement]]:
    """Return what was decided as far as there is room for it, and where it would go.

    Where that can't be worked out at all nothing grows, what shrinks goes on, and so does the
    tick (S24).
    """
    if not any(one.gate in PLACED and one.changes for one in outcome.decisions):
        return outcome, {}
    found: dict[str, PlainPlacement] = {}
    try:
        with transaction.atomic():
            decisions, found = preview(
                outcome.decisions, now.situation, refused_in_a_row(), now.limits
            )
    except Exception as fault:
        log.exception("placement failed, nothing grows")
        asked = requests_of(outcome.decisions, {})
        text = clean(f"{type(fault).__name__}: {fault}")
        wrong = unplanned(asked, dict.fromkeys((one.service for one in asked), text))
        decisions = limited(outcome.decisions, Plan(unplaced=wrong))
    return replace(outcome, decisions=decisions), found


def entries_of(
    outcome: Outcome, specs: Mapping[str, ServiceSpec], recall: Callable[[str], Memory]
) -> list[Entry]:
    """Return what is to be written about each service of a tick."""
    entries = []
    for decision in outcome.decisions:
        memory, spec = recall(decision.service), specs.get(decision.service)
        seen = outcome.view.observations.get(decision.service)
        entries.append(
            Entry(
                decision=decision,
                memory=memory,
                spec=spec,
                state=seen.state if seen else None,
                breach=memories.breaches(memory, decision, spec.slo) if spec else (None, None),
                told_by=seen.told_by if seen else {},
            )
        )
    return entries


def is_fresh(decision: Decision) -> bool:
    """Return whether the signal that sizes the service can be trusted."""
    driver = decision.signals.get(decision.driver)
    return driver is not None and driver.quality is Quality.OK


def _longest_window_s(specs: Sequence[ServiceSpec]) -> float:
    """Return how far back wishes matter to anybody [s], a policy row gone wrong left aside."""
    windows = [spec.policy.stabilisation_s for spec in specs]
    return max((s for s in windows if 0 <= s <= LONGEST_WINDOW_S), default=0.0) + 60.0
