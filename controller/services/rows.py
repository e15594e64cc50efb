"""Values into rows: what one observation, decision, proposal or action looks like when kept."""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from controller.core.approval import Basis, Change, approvers_needed, fingerprint, lasts_s
from controller.core.decision_plain import forecast_plain, stage_plain, terms_plain
from controller.core.lifecycle import ActionState
from controller.core.memory import Memory
from controller.core.overrides import digest
from controller.core.overrides_plain import effects
from controller.core.placement.plan_plain import (
    PlainPlacement,
    leaving,
    moves_of,
    spots_of,
)
from controller.core.ports import Pool, ScaleOrder
from controller.core.prediction import expected
from controller.core.registration import InStep, in_step
from controller.core.types import (
    ROLE_INDEX,
    SIGNALS,
    Context,
    Decision,
    InstanceRef,
    Instances,
    Observation,
    Role,
    ServiceSpec,
    ServiceState,
    Signals,
)
from controller.models import Action, PoolSample, Proposal, orders
from controller.models import Decision as DecisionRow
from inventory.models import Service
from inventory.snapshot import Snapshot, service_spec

OLDEST_S: Final = 60.0
"""A sample older than this is not what the service reported now."""

COUNTS: Final = ("desired", "ready", "starting", "draining", "held")
SAMPLE_COLUMNS: Final[Sequence[str]] = (
    "service_id",
    "at",
    *(f"{role}_{part}" for role in Role for part in COUNTS),
    *(f"{role}_{part}" for role in Role for part in ("reporting", "expected")),
    *(kind.name for kind in SIGNALS),
)
PARTS: Final = PoolSample.PARTS
POOL_COLUMNS: Final = ("cluster_id", "hardware_id", "at", "total", *PARTS, "largest_free")


@dataclass(frozen=True, slots=True)
class Entry:
    """One service's part of a tick: what is written about it.

    ``state`` is ``None`` when the cluster did not answer, ``spec`` when the configuration can't be
    read; ``breach`` is since when TTFT and TBT are over their goals [s]. ``placement`` is where a
    change would go, ``None`` where nothing changes or nothing is placed. ``told_by`` are the
    endpoints that signals were read from.
    """

    decision: Decision
    memory: Memory
    spec: ServiceSpec | None
    state: ServiceState | None
    breach: tuple[float | None, float | None] = (None, None)
    placement: PlainPlacement | None = None
    told_by: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The slug of the service."""
        return self.decision.service


def sample_row(service: UUID, at: datetime, seen: Observation) -> tuple[object, ...]:
    """Return the newest column of a window as a row; what was not reported is NULL."""
    state, window = seen.state, seen.window
    if state is None:
        raise ValueError("an observation without a state leaves no sample")
    counts = [getattr(state.of(role), part) for role in Role for part in COUNTS]
    coverage: list[object] = []
    for role in Role:
        i = ROLE_INDEX[role]
        has = window.times_s.size > 0
        coverage += [
            int(window.reporting[i, -1]) if has else 0,
            int(window.expected[i, -1]) if has else 0,
        ]
    values: list[object] = [None] * len(SIGNALS)
    if window.times_s.size and at.timestamp() - float(window.times_s[-1]) < OLDEST_S:
        newest, present = window.values[:, -1].tolist(), window.present[:, -1].tolist()
        values = [
            value if there and math.isfinite(value) else None
            for value, there in zip(newest, present, strict=True)
        ]
    return (service, at, *counts, *coverage, *values)


def pool_row(pool: Pool, known: Snapshot, at: datetime) -> tuple[object, ...]:
    """Return a pool as a row, in the order of ``POOL_COLUMNS``."""
    place = (known.clusters[pool.cluster], known.hardware[pool.hardware], at)
    return (*place, pool.total, *(getattr(pool, part) for part in PARTS), pool.largest_free)


def inputs_of(
    decision: Decision, told_by: Mapping[str, str] | None = None
) -> list[dict[str, object]]:
    """Return the inputs of a decision as its record keeps them (product: decision record).

    ``told_by`` names the endpoints signals were read from; without it they are the cluster's own.
    """
    signals, now_s, sources = decision.signals, decision.now_s, told_by or {}
    roles = {kind.name: kind.role for kind in SIGNALS}
    found: list[dict[str, object]] = [
        {
            "name": name,
            "role": str(roles[name]),
            "value": signal.value,
            "unit": signal.unit,
            "age_s": None
            if signal.measured_at_s is None
            else round(now_s - signal.measured_at_s, 1),
            "reporting": signal.reporting,
            "expected": signal.expected,
            "quality": str(signal.quality),
        }
        for name, signal in signals.items()
    ]
    for each in found:
        if source := sources.get(str(each["name"])):
            each["source"] = source
    return found


def steps_of(decision: Decision) -> list[dict[str, object]]:
    """Return the constraint table of a decision as its record keeps it."""
    return [
        {
            "name": step.name,
            "before": {"prefill": step.before.prefill, "decode": step.before.decode},
            "after": {"prefill": step.after.prefill, "decode": step.after.decode},
            "code": str(step.code),
            "detail": step.detail,
        }
        | ({} if step.override is None else {"override": step.override})
        for step in decision.steps
    ]


def forecast_of(decision: Decision) -> dict[str, object] | None:
    """Return what a decision provided for as its record keeps it; ``None`` if it reckoned none."""
    return None if decision.forecast is None else forecast_plain(decision.forecast)


def parts_of(decision: Decision) -> list[dict[str, object]]:
    """Return what each policy of a composition wanted as the record keeps it."""
    return [
        {
            "policy": part.policy,
            "prefill": part.want.prefill,
            "decode": part.want.decode,
            "code": str(part.reason.code),
            "text": part.reason.text,
        }
        for part in decision.parts
    ]


def terms_of(entry: Entry) -> dict[str, object]:
    """Return what was in force at a decision beside its policy; nothing if that can't be read.

    It is kept with each row like its inputs: a digest would need a place to be looked up, and
    this is a small part of what a row holds anyway. ``exchange`` is the half of one that waits,
    ``overrides`` are those that ruled and what they did, ``mode_set`` the mode that is set where
    one of them took its place.
    """
    if entry.spec is None:
        return {}
    stage, overrides = entry.memory.history.stage, effects_of(entry)
    mode_set = entry.spec.mode_set
    return (
        terms_plain(entry.spec)
        | ({"exchange": stage_plain(stage)} if stage else {})
        | ({"overrides": overrides} if overrides else {})
        | ({"mode_set": mode_set.value} if mode_set else {})
    )


def effects_of(entry: Entry) -> list[dict[str, Any]]:
    """Return the overrides that ruled at a decision and what they did to it."""
    return effects(entry.decision, entry.spec.overrides) if entry.spec is not None else []


def decision_row(
    entry: Entry, known: Snapshot, *, seq: int, at: datetime, slot: int
) -> DecisionRow:
    """Return a decision as a new row."""
    decision = entry.decision
    return DecisionRow(
        service_id=known.services[entry.key],
        seq=seq,
        first_at=at,
        last_at=at,
        slot=slot,
        mode=decision.mode,
        policy_revision=decision.policy_version,
        inventory_version=known.inventory_version,
        inputs=inputs_of(decision, entry.told_by),
        driver=decision.driver,
        load=decision.load,
        current_prefill=decision.current.prefill,
        current_decode=decision.current.decode,
        raw_prefill=decision.raw.prefill,
        raw_decode=decision.raw.decode,
        final_prefill=decision.final.prefill,
        final_decode=decision.final.decode,
        then_prefill=decision.then and decision.then.prefill,
        then_decode=decision.then and decision.then.decode,
        steps=steps_of(decision),
        forecast=forecast_of(decision),
        parts=parts_of(decision),
        terms=terms_of(entry),
        move=decision.move,
        gate=decision.gate,
        code=decision.code,
        sentence=decision.sentence,
    )


def signals_of(signals: Signals) -> dict[str, dict[str, object]]:
    """Return signals as a status keeps them."""
    return {
        name: {
            "value": signal.value,
            "unit": signal.unit,
            "quality": str(signal.quality),
            "measured_at_s": signal.measured_at_s,
            "reporting": signal.reporting,
            "expected": signal.expected,
        }
        for name, signal in signals.items()
    }


def instances_of(instances: Sequence[InstanceRef]) -> list[dict[str, str]]:
    """Return instances as a status keeps them."""
    return [
        {
            "name": one.name,
            "role": str(one.role),
            "group": one.group,
            "node": one.node,
            "state": one.state,
        }
        for one in instances
    ]


def steered(service: Service, now: datetime) -> ServiceSpec:
    """Return a service under the overrides in force."""
    return orders.read_for(service).steer(service_spec(service), now.timestamp())


def basis_of(spec: ServiceSpec, current: Instances, resource_version: str) -> Basis:
    """Return what an approval of a change of this service is bound to."""
    return Basis(
        service=spec.key,
        resource_version=resource_version,
        current=current,
        policy_version=spec.policy.version,
        hold=None,
        mode=spec.mode,
        overrides=digest(spec.overrides),
    )


def basis_columns(basis: Basis) -> dict[str, Any]:
    """Return what a proposal rests on as columns, so that a change of it can be named."""
    return {
        "resource_version": basis.resource_version,
        "policy_revision": basis.policy_version,
        "mode": basis.mode.value,
        "overrides": basis.overrides,
    }


def change_of(entry: Entry) -> Change:
    """Return what a decision asks people to approve."""
    wanted, (spec, _) = entry.decision, known(entry)
    return Change(
        before=wanted.current,
        after=wanted.final,
        gpus_per_instance=spec.gpus_per_instance,
        is_breaching=any(since is not None for since in entry.breach),
        then=wanted.then,
    )


def needs_of(change: Change) -> dict[str, Any]:
    """Return how many people must approve a change and why, as columns."""
    most_gpus = settings.SECOND_APPROVER_GPUS or None
    needs, why = approvers_needed(change, most_gpus=most_gpus)
    return {"needs": needs, "needs_why": why[:300]}


def _predicted(entry: Entry) -> dict[str, list[float | None]] | None:
    """Return the latencies to expect of a decision, both halves of an exchange counted."""
    wanted, spec, state = entry.decision, entry.spec, entry.state
    if spec is None or state is None:
        return None
    ctx = Context(
        now_s=wanted.now_s,
        spec=spec,
        state=state,
        signals=wanted.signals,
        history=entry.memory.history,
        hold=None,
        gpus_free={},
        forecast=wanted.forecast,
    )
    return expected(ctx, wanted.then or wanted.final)


def proposal_row(entry: Entry, *, service: UUID, decision: int | None, now: datetime) -> Proposal:
    """Return a decision that asks for a person as a pending proposal."""
    wanted, (spec, version) = entry.decision, known(entry)
    change, basis = change_of(entry), basis_of(spec, wanted.current, version)
    return Proposal(
        service_id=service,
        decision_id=decision,
        from_prefill=wanted.current.prefill,
        from_decode=wanted.current.decode,
        to_prefill=wanted.final.prefill,
        to_decode=wanted.final.decode,
        then_prefill=wanted.then and wanted.then.prefill,
        then_decode=wanted.then and wanted.then.decode,
        sentence=wanted.sentence,
        placement=entry.placement,
        predicted=_predicted(entry),
        **needs_of(change),
        **basis_columns(basis),
        fingerprint=fingerprint(basis, wanted.final, wanted.then),
        created_at=now,
        evidence_at=now,
        expires_at=now + timedelta(seconds=lasts_s(change, spec.policy)),
    )


def action_row(entry: Entry, *, service: UUID, now: datetime, epoch: int) -> Action:
    """Return a decision that is carried out as a recorded action."""
    wanted, spec, version = entry.decision, *known(entry)
    rule = in_step(wanted, entry.state.ready, spec) if entry.state else None
    return Action(
        id=uuid.uuid4(),
        service_id=service,
        actor=f"policy {spec.policy.name}, revision {wanted.policy_version}",
        epoch=epoch,
        state=ActionState.RECORDED,
        reason=wanted.sentence,
        from_prefill=wanted.current.prefill,
        from_decode=wanted.current.decode,
        to_prefill=wanted.final.prefill,
        to_decode=wanted.final.decode,
        resource_version=version,
        placement=entry.placement,
        in_step=None if rule is None else rule.plain(),
        overrides=digest(spec.overrides),
        recorded_at=now,
    )


def order_of(action: Action, service: str) -> ScaleOrder:
    """Return what is sent for a recorded action.

    Whoever was taken out of service discovery for it is who goes.
    """
    placement: PlainPlacement | None = action.placement
    return ScaleOrder(
        action=str(action.pk),
        service=service,
        epoch=action.epoch,
        want=Instances(action.to_prefill, action.to_decode),
        resource_version=action.resource_version,
        in_step=InStep.from_plain(action.in_step) if action.in_step else None,
        spots=spots_of(placement) if placement else (),
        leave=_leave(action, placement),
        moves=moves_of(placement) if placement else (),
    )


def _leave(action: Action, placement: PlainPlacement | None) -> tuple[str, ...]:
    names = action.soft.get("names") if isinstance(action.soft, dict) else ()
    out = tuple(map(str, names)) if isinstance(names, list) else ()
    planned = leaving(placement) if placement else ()
    return out + tuple(name for name in planned if name not in out)


def known(entry: Entry) -> tuple[ServiceSpec, str]:
    """Return the configuration and the version of the object that a change rests on.

    Raises :class:`ValueError` for a service that was not observed.
    """
    if entry.spec is None or entry.state is None:
        raise ValueError(f"{entry.key} was not observed: it can't be changed")
    return entry.spec, entry.state.resource_version
