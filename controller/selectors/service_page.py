"""One service on its own page: now, what was decided, what was done, and how it is sized."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db.models import Q, Sum

from controller.core import wording
from controller.core.lifecycle import ActionState
from controller.core.types import SIGNALS, Gate
from controller.models import Action, Decision
from controller.selectors import outside, overrides, proposals
from controller.selectors.freezes import requests_outstanding
from controller.selectors.in_use import InUse, in_use
from controller.selectors.placement_seen import Seen, read_seen
from controller.selectors.profiles import problem_of
from controller.selectors.progress import SOFT_WORDS, Milestone, Waits, milestones, waits_of
from controller.selectors.services import (
    DecisionLine,
    RatioBand,
    ServiceRow,
    decision_line,
    read_rows,
)
from controller.selectors.strip import StripState
from inventory.models import Policy, RoleSpec, Service, Slo

SHOWN: Final = 10
LABELS: Final = {kind.name: kind.label for kind in SIGNALS}
UNITS: Final = {kind.name: kind.unit for kind in SIGNALS}
ACTION_TONES: Final = {
    ActionState.READY: "ok",
    ActionState.FAILED: "crit",
    ActionState.UNKNOWN: "warn",
    ActionState.PARTLY: "warn",
    ActionState.CANCELLED: "muted",
}
ACTION_WORDS: Final = {
    ActionState.WITHDRAWN: "out of service discovery, watched",
    ActionState.PARTLY: "half done",
}
"""What a state is called where its name alone would say too little."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A word and its value in words."""

    word: str
    value: str


@dataclass(frozen=True, slots=True)
class Held:
    """GPUs one role holds, starting and draining instances included.

    ``instances`` is absent until the cluster has reported the service once.
    """

    role: str
    hardware: str
    instances: int | None
    gpus_per_instance: int

    @property
    def gpus(self) -> int | None:
        """GPUs of the role, absent when unknown."""
        return None if self.instances is None else self.instances * self.gpus_per_instance


@dataclass(frozen=True, slots=True)
class Watched:
    """What observing recorded so far: decisions, and those that would have changed something."""

    decisions: int
    would_apply: int


@dataclass(frozen=True, slots=True)
class Now:
    """The head of the page; ``next_at`` is when the loop looks again."""

    row: ServiceRow
    held: tuple[Held, ...]
    max_gpus: int
    next_at: datetime | None
    card: proposals.Card | None
    watched: Watched | None
    seen: Seen
    outstanding: int = 0
    overrides: tuple[overrides.Row, ...] = ()
    outside: outside.Row | None = None

    @property
    def gpus(self) -> int | None:
        """GPUs the service holds, absent when a role's are unknown."""
        known = [held.gpus for held in self.held if held.gpus is not None]
        return sum(known) if len(known) == len(self.held) else None

    @property
    def state(self) -> tuple[object, ...]:
        """What the head shows, ages left out."""
        card = self.card.proposal.version if self.card else None
        fresh = self.card.is_refreshed if self.card else None
        return (
            self.row,
            self.held,
            self.max_gpus,
            self.next_at,
            card,
            fresh,
            self.watched,
            self.seen.line,
            self.outstanding,
            *(one.shown for one in self.overrides),
            self.outside and self.outside.change.pk,
        )


@dataclass(frozen=True, slots=True)
class ActionLine:
    """One change of the service: who, from what to what, where it stands and how long it took."""

    pk: str
    actor: str
    reason: str
    change: str
    state: str
    recorded_at: datetime
    error: str
    way: tuple[Milestone, ...]
    waits: Waits | None = None
    was_applied: bool = False

    @property
    def softly(self) -> str:
        """Who left service discovery before, or why nobody did; empty where nothing is to say."""
        told = (point.note for point in self.way if point.word in SOFT_WORDS)
        note = next(filter(None, told), "")
        return f"{note.rstrip('.')}." if note else ""

    @property
    def word(self) -> str:
        """What its state is called."""
        return ACTION_WORDS.get(ActionState(self.state), self.state)

    @property
    def tone(self) -> str:
        """The colour of its state."""
        return ACTION_TONES.get(ActionState(self.state), "busy")


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a service is sized, in words."""

    slo: tuple[Fact, ...]
    policy: tuple[Fact, ...]
    limits: tuple[Fact, ...]
    revision: int | None


def find(slug: str) -> Service | None:
    """Return the service of a slug."""
    return Service.objects.select_related("cluster").filter(slug=slug).first()


def action(pk: UUID) -> Action | None:
    """Return one change with its service."""
    return Action.objects.select_related("service__cluster__region").filter(pk=pk).first()


def read_now(service: Service, strip: StripState, now: datetime) -> Now:
    """Return the head of the page of a service."""
    row = read_rows(Service.objects.filter(pk=service.pk), now)[0]
    roles = RoleSpec.objects.filter(service=service).select_related("hardware")
    next_at = strip.tick.at + timedelta(seconds=settings.TICK_S) if strip.tick else None
    return Now(
        row=row,
        held=tuple(_held(role, row) for role in roles),
        max_gpus=service.max_gpus,
        next_at=next_at,
        card=proposals.open_of(service, now=now),
        watched=_watched(service) if service.mode == Service.Mode.OBSERVE else None,
        seen=read_seen(service),
        outstanding=requests_outstanding(service) if row.freeze else 0,
        overrides=overrides.of_service(service, now),
        outside=outside.open_of(service),
    )


def _held(role: RoleSpec, row: ServiceRow) -> Held:
    counts = row.prefill if role.role == RoleSpec.RoleName.PREFILL else row.decode
    seen = counts.ready + counts.held + counts.starting + counts.draining
    instances = None if row.observed_at is None else seen
    return Held(role.role, role.hardware.gpu_model, instances, role.gpus_per_instance)


def _watched(service: Service) -> Watched:
    counts = Decision.objects.filter(service=service, mode=Service.Mode.OBSERVE).aggregate(
        # Identical decisions in a row share one row: its count tells how many there were.
        decisions=Sum("count", default=0),
        would_apply=Sum("count", filter=Q(gate=Gate.RECORD), default=0),
    )
    return Watched(counts["decisions"], counts["would_apply"])


def read_decisions(service: Service) -> tuple[DecisionLine, ...]:
    """Return the newest decisions of a service, holds included."""
    rows = Decision.objects.filter(service=service)[:SHOWN]
    return tuple(decision_line(row, service.slug) for row in rows)


def read_actions(service: Service, now: datetime) -> tuple[ActionLine, ...]:
    """Return the newest changes of a service with their milestones."""
    rows = Action.objects.filter(service=service)[:SHOWN]
    return tuple(
        ActionLine(
            pk=str(row.pk),
            actor=row.actor,
            reason=row.reason,
            change=_change(row),
            state=row.state,
            recorded_at=row.recorded_at,
            error=row.error,
            way=milestones(None, row),
            waits=waits_of(row, now, service) if _is_starting(row) else None,
            was_applied=row.applied_at is not None,
        )
        for row in rows
    )


def _is_starting(row: Action) -> bool:
    return row.state == ActionState.APPLIED and row.ended_at is None


def _change(row: Action) -> str:
    pairs = (
        ("decode", row.from_decode, row.to_decode),
        ("prefill", row.from_prefill, row.to_prefill),
    )
    return ", ".join(f"{role} {a} → {b}" for role, a, b in pairs if a != b) or "no change"


def read_sizing(service: Service, band: RatioBand | None) -> Sizing:
    """Return the goals, the policy and the limits of a service in words with units.

    ``band`` is the one in force, told beside the policy's where a person set it.
    """
    slo = Slo.objects.filter(service=service).first()
    policy = Policy.objects.filter(service=service).first()
    roles = list(RoleSpec.objects.filter(service=service).select_related("hardware"))
    return Sizing(
        slo=_slo_facts(slo) if slo else (),
        policy=_policy_facts(policy, in_use(service), band) if policy else (),
        limits=(
            *(_limit_fact(role) for role in roles),
            *(_engine_fact(role) for role in roles),
            Fact("most GPUs", wording.number(service.max_gpus)),
            Fact("priority", str(service.priority)),
        ),
        revision=policy.revision if policy else None,
    )


def _slo_facts(slo: Slo) -> tuple[Fact, ...]:
    share = wording.percent(slo.goal_frac)
    return (
        Fact("TTFT p95", f"at most {wording.latency(slo.ttft_s)} for {share} of requests"),
        Fact("TBT p95", f"at most {wording.latency(slo.tbt_s)} for {share} of requests"),
    )


def _policy_facts(policy: Policy, used: InUse | None, band: RatioBand | None) -> tuple[Fact, ...]:
    """Return the policy in words; target and ratio in use stand beside those that adapt."""
    unit = UNITS.get(policy.driver, "")
    spread = policy.ratio_tolerance * policy.pd_ratio
    low, high = policy.pd_ratio - spread, policy.pd_ratio + spread
    return (
        Fact("policy", f"{policy.name} on {LABELS.get(policy.driver, policy.driver)}"),
        Fact(
            "target",
            f"{wording.number(policy.target)} {unit} per instance"
            + (f"; in use {wording.number(used.target)}" if used else ""),
        ),
        Fact(
            "acts when",
            f"over target by {wording.percent(policy.theta_out)}, "
            f"or under it by {wording.percent(policy.theta_in)}",
        ),
        Fact(
            "prefill per decode",
            f"{wording.ratio(policy.pd_ratio)} (band {wording.ratio(low)}–{wording.ratio(high)})"
            + _ratio_in_force(used, band),
        ),
        Fact(
            "largest step",
            f"{policy.step_abs} instances or {wording.percent(policy.step_frac)}, the larger",
        ),
        Fact(
            "waits",
            f"{wording.duration(policy.cooldown_out_s)} after scale-out, "
            f"{wording.duration(policy.cooldown_in_s)} after scale-in",
        ),
        Fact("scales in", f"after {wording.duration(policy.stabilisation_s)} under target"),
        Fact("needs", f"{wording.percent(policy.coverage_in_frac)} of instances reporting"),
        Fact(
            "proposals expire",
            f"after {wording.duration(policy.proposal_ttl_s)}, "
            f"{wording.duration(policy.proposal_ttl_in_s)} to scale in",
        ),
    )


def _ratio_in_force(used: InUse | None, band: RatioBand | None) -> str:
    if band is not None and band.set_by:
        low, high = wording.ratio(band.low), wording.ratio(band.high)
        return f"; in force {low}–{high}, set by {band.set_by}"
    return f"; in use {wording.ratio(used.pd_ratio)}" if used else ""


def _engine_fact(role: RoleSpec) -> Fact:
    said = problem_of(role.profile) or role.profile or "unknown: no engine profile is named"
    return Fact(f"{role.role} speed", said)


def _limit_fact(role: RoleSpec) -> Fact:
    return Fact(
        str(role.role),
        f"{role.minimum} to {role.maximum} instances, "
        f"{role.gpus_per_instance} × {role.hardware.gpu_model} each",
    )
