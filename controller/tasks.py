"""What workers run: ids in, one call out. Everything else is read again from PostgreSQL."""

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import wraps
from typing import Final, ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from rq import get_current_job

from controller import loop, wiring
from controller.core.lifecycle import ActionState
from controller.core.placement import advice
from controller.core.ports import UnreachableError
from controller.models.clock import database_now
from controller.selectors import schema
from controller.selectors.node_use import holders
from controller.selectors.placing import in_vain, reports
from controller.selectors.situation import refused_requests, situation, start_up_s
from controller.services import (
    actions,
    anchoring,
    approvals,
    backtest_jobs,
    backtest_load,
    fleet,
    granting,
    import_jobs,
    leadership,
    overriding,
    placing,
    rearranging,
    registering,
    retention,
    sealing,
    verifying,
    withdrawing,
)
from controller.services.errors import NotLeadingError
from controller.simulator import curation
from inventory.models import Service
from inventory.services.settling import settle

log = structlog.get_logger(__name__)

HEAVY_NICENESS: Final = 10
SLOW_S: Final = 5.0
SWEPT_WITHIN_S: Final = 120.0
CARRY_S: Final = 10.0
"""Nothing more of a kind is begun after that, so that each kind has its turn within a sweep."""

SEALED_AFTER_TICK: Final = 500
SEALED_BY_SWEEP: Final = 4_000

Words = ParamSpec("Words")
Said = TypeVar("Said")


def _of_this_version(carry_out: Callable[Words, Said]) -> Callable[Words, Said | str]:
    """Leave a task to workers of the database's version, and say why (P08).

    Nothing is lost: what was recorded is found again by their sweep.
    """

    @wraps(carry_out)
    def guarded(*words: Words.args, **named: Words.kwargs) -> Said | str:
        differs = schema.difference()
        if differs is None:
            return carry_out(*words, **named)
        log.warning("left undone", task=carry_out.__name__, why=differs.sentence)
        return differs.sentence

    return guarded


@_of_this_version
def tick() -> str:
    """Look at the fleet once and decide for every service; says in words what happened."""
    job = get_current_job()
    lease = leadership.take(f"tick {job.id}" if job else "tick", seconds=settings.LEASE_S)
    if lease is None:
        return "another tick holds the lease"
    try:
        report = loop.run(
            lease,
            source_of=wiring.metrics_source,
            settings=loop.LoopSettings(
                settings.TICK_S,
                settings.MAX_AGE_S,
                wiring.fleet_rules(),
                wiring.breaker_thresholds(),
            ),
        )
    except NotLeadingError as fault:
        log.warning("epoch refused", epoch=lease.epoch, fault=str(fault))
        return str(fault)
    finally:
        leadership.give_back(lease)
    if report.slot is None:
        return "a tick ran just now"
    actions.enqueue(report.actions)
    placing.enqueue()
    _alone(actions.follow, database_now())
    actions.enqueue(withdrawing.due())
    registering.enqueue()
    _alone(overriding.call_off_begun)
    _alone(sealing.seal, SEALED_AFTER_TICK)
    log.info("tick", slot=report.slot, decisions=report.decisions, actions=len(report.actions))
    return f"tick {report.slot}: {report.decisions} decisions, {len(report.actions)} actions"


@_of_this_version
def place() -> str:
    """Bring bindings in line with what runs, and give recorded actions their GPUs."""
    # What is wrong with a report or with moves keeps no change of another service from its GPUs.
    _alone(_settle)
    _alone(rearranging.advance)
    bound = placing.place_due(situation)
    actions.enqueue(bound)
    return f"{len(bound)} actions placed"


def _settle() -> None:
    settle(reports(), in_vain(), database_now())


@_of_this_version
def advise() -> str:
    """Look for moves and shrunk services that would help, and keep their proposals up to date."""
    found = situation()
    budget = replace(advice.USUAL, start_up_s=start_up_s())
    advised = advice.advise(found, refused_requests(database_now()), budget=budget)
    rearranging.keep_up(advised, version=found.version)
    return f"{len(advised)} proposals of moves"


@_of_this_version
def sweep() -> None:
    """Pick up whatever was accepted and is carried by nobody, and let go of old rows."""
    now = database_now()
    approvals.expire_due(now)
    _alone(overriding.note_ended)
    _alone(granting.note_over)
    found = actions.due(now)
    _take_turns(run_proposal, found.approved)
    _alone(place)
    _carry_on(found)
    # A cluster that is dead would keep the sweep from everything else.
    actions.enqueue(withdrawing.due())
    registering.enqueue()
    _alone(backtest_jobs.pick_up)
    _alone(import_jobs.pick_up)
    _alone(fleet.settle_reservations)
    _alone(retention.turn_days, now)
    _alone(retention.prune, now)
    _alone(sealing.seal, SEALED_BY_SWEEP)
    _alone(_anchor)
    _alone(verifying.advance, now)


def _carry_on(found: actions.Due) -> None:
    """Send what waits, and look for what was not answered; a cluster that is silent once, once."""
    silent: set[UUID] = set()

    def of_cluster(carry_out: Callable[[str], str]) -> Callable[[UUID], object]:
        def asked(pk: UUID) -> None:
            cluster = found.cluster_of[pk]
            if cluster not in silent and carry_out(str(pk)) == ActionState.UNKNOWN:
                silent.add(cluster)

        return wraps(carry_out)(asked)

    _take_turns(of_cluster(run_action), found.recorded)
    _take_turns(of_cluster(resolve_action), found.unanswered)


def _take_turns(carry_out: Callable[..., object], items: Iterable[object]) -> None:
    """Carry out one after the other while there is time; the next sweep goes on (K06)."""
    until_s = time.monotonic() + CARRY_S
    for item in items:
        if time.monotonic() < until_s:
            _alone(carry_out, item)


def _anchor() -> None:
    anchoring.keep(settings.AUDIT_ANCHOR, database_now(), every_s=settings.AUDIT_ANCHOR_S)


def _alone(carry_out: Callable[..., object], *item: object) -> None:
    """Carry out one step of several; what goes wrong with it stops no other (S24)."""
    try:
        carry_out(*item)
    except Exception:
        named = " ".join(str(part) for part in item)
        log.exception("done in vain", item=named, what=carry_out.__name__)


@_of_this_version
def run_proposal(pk: int) -> str:
    """Start an approved proposal, if it may still run, and send its action."""
    start = actions.start_approved(pk)
    if start.action is None:
        return start.refused
    place()
    return withdrawing.run(start.action, wiring.softly())


@_of_this_version
def resolve_action(pk: str) -> str:
    """Find out what became of an action whose answer is missing."""
    return actions.resolve(UUID(pk), actuator_of=wiring.actuator_of)


@_of_this_version
def run_action(pk: str) -> str:
    """Carry an action on: take out who is to go, send it, read it back, or let them return."""
    return withdrawing.run(UUID(pk), wiring.softly())


@_of_this_version
def register() -> str:
    """Let instances that wait outside service discovery join it, where they may."""
    dead: set[UUID] = set()
    for service in registering.due():
        if service.cluster_id not in dead:
            _alone(_register, service, dead)
    return f"{len(dead)} clusters don't answer"


def _register(service: Service, dead: set[UUID]) -> None:
    begun = time.monotonic()
    try:
        registering.register(service, wiring.discovery_of)
    except UnreachableError as fault:
        log.warning("not registered", service=service.slug, fault=str(fault))
        dead.add(service.cluster_id)
    if time.monotonic() - begun > SLOW_S:  # the others have as little time as this one had much
        dead.add(service.cluster_id)


@_of_this_version
def run_backtest(pk: str) -> str:
    """Run a queued backtest behind everything else this machine does, then ask for the next."""
    if get_current_job():
        os.nice(max(0, HEAVY_NICENESS - os.nice(0)))
    sources = wiring.backtest_sources()
    tools = backtest_jobs.Tools(
        question_of=lambda row: backtest_load.question_of(
            row.asked, backtest_load.load_of_row(row), sources
        ),
        run=curation.answered,
        clock=time.perf_counter,
    )
    said = backtest_jobs.carry_out(UUID(pk), tools)
    backtest_jobs.enqueue_next()
    log.info("backtest", backtest=pk, said=said)
    return said


@_of_this_version
def run_import(pk: str) -> str:
    """Plan or apply an import that was left to a worker."""
    said = import_jobs.carry_out(UUID(pk), holders(database_now()))
    log.info("import", run=pk, said=said)
    return said
