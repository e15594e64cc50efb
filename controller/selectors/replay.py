"""A decision as it could be made again: what its rows keep of all it rested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Final

from django.core.exceptions import ObjectDoesNotExist
from django.db.models import F, Q

from controller.core.config_check import MOST_GPUS
from controller.core.decision_plain import document_of, stage_from, with_terms
from controller.core.overrides import Override, OverrideKind
from controller.core.overrides_plain import from_plain
from controller.core.steering import steered
from controller.core.types import (
    SIGNAL_INDEX,
    SIGNALS,
    Context,
    History,
    Hold,
    Instances,
    Mode,
    PolicyConfig,
    Quality,
    Refusal,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Signal,
    Wish,
)
from controller.models import Action, Breaker, Decision, Freeze, PoolSample, Proposal, Sample
from controller.models.holds import BY_ITSELF
from controller.models.scopes import chain_of
from controller.selectors.decisions import may_be_joined
from controller.selectors.memory import REFUSED_FOR_S
from controller.selectors.profiles import readable
from controller.selectors.replay_outlook import with_outlook
from controller.simulator.profiles import PROFILES
from inventory.models import Policy, PolicyRevision, Service
from inventory.services.policies import body_of
from inventory.snapshot import config_of, service_spec

THEN: Final = "then"
NOW: Final = "now"
COUNTS: Final = ("ready", "starting", "draining", "held")
NEAR: Final = timedelta(seconds=60)
"""A sample further from a decision than this is not what it saw."""

WISHES: Final = timedelta(hours=1)
"""Wishes are read back as far, so that a longer stabilisation window can be tried."""

UNREAD: Final = (Quality.MISSING, Quality.INVALID)


class NoReplayError(ValueError):
    """The decision can't be made again; the message says what lacks."""


@dataclass(frozen=True, slots=True)
class Replayable:
    """A decision and the document that :func:`context_from` makes its context of.

    ``revision`` is that of the policy in use, ``then`` and ``now`` those to choose from; ``then``
    is ``None`` where its text was not kept. ``gaps`` say what is not known of that time.
    """

    decision: Decision
    document: Mapping[str, Any]
    revision: int
    then: int | None
    now: int
    gaps: Sequence[str]

    def goes_on(self, now: datetime) -> bool:
        """Return whether the next tick may still join the decision's row."""
        row = self.decision
        newer = Decision.objects.filter(service_id=row.service_id, seq__gt=row.seq)
        return may_be_joined(row, now) and not newer.exists()


def replayable(pk: int, policy: str) -> Replayable | None:
    """Return a decision with all it rested on, ``None`` when there is none of that number.

    ``policy`` is ``then`` or ``now``. Raises :class:`NoReplayError` when the service's
    configuration can't be read.
    """
    row = _decision(pk)
    if row is None:
        return None
    then, now = _policies(row)
    config = now if policy == NOW or then is None else then
    gaps = [] if then else ["The text of the policy's revision was not kept: the one in force."]
    spec = replace(_under_terms(row, gaps), policy=config, mode=_mode(row))
    if spec.further:
        gaps.append("What ran on weaker hardware is not kept: every instance counts as one.")
    at = row.last_at
    spec = steered(spec, _overrides(row), at.timestamp())
    state = _state(row, gaps)
    ctx = Context(
        now_s=at.timestamp(),
        spec=spec,
        state=state.state,
        signals=_signals(row, state.sample),
        history=_history(row, config),
        hold=_hold(row),
        gpus_free=_gpus_free(row, spec, gaps),
    )
    ctx = with_outlook(ctx, row.forecast, _before(row))
    return Replayable(
        decision=row,
        document=document_of(ctx),
        revision=config.version,
        then=then.version if then else None,
        now=now.version,
        gaps=(*gaps, *ALWAYS),
    )


ALWAYS: Final = (
    "Engine profiles are those of now.",
    (
        "Of what was learnt of the load only the forecast is kept: tokens per request, ratio, "
        "peaks, margins and start-up time stay as recorded, whatever values are tried."
    ),
    (
        "The fleet's own budgets, what service discovery was told, freezes by file or "
        "environment, and a change of the counts from outside are not replayed."
    ),
)


UNKEPT: Final = (
    "SLO, limits, hardware, GPUs per instance and priority of that time were not kept: those of "
    "now. Nor was whether half of an exchange waited: none does."
)


def _decision(pk: int) -> Decision | None:
    return (
        Decision.objects.select_related("service__cluster", "service__slo", "service__policy")
        .prefetch_related(
            "service__roles__hardware",
            "service__roles__alternatives__hardware",
            "service__roles__parts__hardware",
        )
        .filter(pk=pk)
        .first()
    )


def _policies(row: Decision) -> tuple[PolicyConfig | None, PolicyConfig]:
    """Return the policy of the decision's revision, if it was kept, and the one in force."""
    policy: Policy | None = getattr(row.service, "policy", None)
    if policy is None:
        raise NoReplayError("The service has no policy any more: add one.")
    kept = PolicyRevision.objects.filter(
        service_id=row.service_id, revision=row.policy_revision
    ).first()
    body = kept.body if kept else None
    if body is None and policy.revision == row.policy_revision:
        # A policy that was made with its service has no row for its first revision.
        body = body_of(policy)
    try:
        then = config_of(body, revision=row.policy_revision) if body is not None else None
        return then, config_of(body_of(policy), revision=policy.revision)
    except (TypeError, ValueError) as fault:
        raise NoReplayError(f"The policy can't be read: {fault}.") from fault


def _spec(service: Service) -> ServiceSpec:
    named = {role.profile for role in service.roles.all() if role.profile} - PROFILES.keys()
    try:
        return service_spec(service, {**readable(named), **PROFILES} if named else PROFILES)
    except (ObjectDoesNotExist, KeyError) as fault:
        raise NoReplayError("The service lacks its SLO or a role: complete it first.") from fault
    except ValueError as fault:
        raise NoReplayError(f"The configuration can't be read: {fault}.") from fault


def _under_terms(row: Decision, gaps: list[str]) -> ServiceSpec:
    """Return the service under the SLO, limits and hardware of that time, where they are kept."""
    now = _spec(row.service)
    then = with_terms(now, row.terms)
    if then is None:
        gaps.append(UNKEPT)
    return then or now


def _mode(row: Decision) -> Mode:
    """Return the mode that was set then: overrides steer it again."""
    kept = row.terms.get("mode_set") if isinstance(row.terms, Mapping) else None
    mode = row.mode if kept is None else kept
    return Mode(mode) if mode in set(Mode) else Mode.OBSERVE


@dataclass(frozen=True, slots=True)
class _Seen:
    state: ServiceState
    sample: Sample | None


def _state(row: Decision, gaps: list[str]) -> _Seen:
    """Return the counts of that time: the wish from the decision, the rest from its sample."""
    sample = (
        Sample.objects.filter(
            service_id=row.service_id, at__lte=row.last_at, at__gte=row.last_at - NEAR
        )
        .order_by("-at")
        .first()
    )
    if sample is None:
        gaps.append("No sample of that time is kept: all instances are taken as ready.")
    prefill = _role(Role.PREFILL, row.current_prefill, sample)
    decode = _role(Role.DECODE, row.current_decode, sample)
    return _Seen(ServiceState(prefill, decode, resource_version=""), sample)


def _role(role: Role, desired: int, sample: Sample | None) -> RoleState:
    if sample is None:
        return RoleState(desired, ready=desired)
    return RoleState(desired, **{name: getattr(sample, f"{role.value}_{name}") for name in COUNTS})


def _signals(row: Decision, sample: Sample | None) -> dict[str, Signal]:
    """Return the inputs as the decision saw them; their newest values are the sample's."""
    kept = [each for each in row.inputs if isinstance(each, Mapping)]
    return {
        str(each["name"]): _signal(each, row.last_at.timestamp(), sample)
        for each in kept
        if each.get("name") in SIGNAL_INDEX
    }


def _signal(kept: Mapping[str, Any], now_s: float, sample: Sample | None) -> Signal:
    name, value, age_s = kept["name"], _figure(kept.get("value")), _figure(kept.get("age_s"))
    quality = next((each for each in Quality if each == kept.get("quality")), Quality.MISSING)
    if value is None and quality not in UNREAD:
        quality = Quality.MISSING
    newest = None if sample is None or quality in UNREAD else getattr(sample, name)
    return Signal(
        name=name,
        value=None if quality in UNREAD else value,
        unit=SIGNALS[SIGNAL_INDEX[name]].unit,
        measured_at_s=None if age_s is None else now_s - age_s,
        reporting=_count(kept.get("reporting")),
        expected=_count(kept.get("expected")),
        quality=quality,
        newest=newest,
    )


def _history(row: Decision, config: PolicyConfig) -> History:
    before = Action.objects.filter(service_id=row.service_id, applied_at__lt=row.last_at)
    grew = Q(to_prefill__gt=F("from_prefill")) | Q(to_decode__gt=F("from_decode"))
    shrank = Q(to_prefill__lt=F("from_prefill")) | Q(to_decode__lt=F("from_decode"))
    out, into = (
        before.filter(kind).order_by("-applied_at").values_list("applied_at", flat=True).first()
        for kind in (grew, shrank)
    )
    return History(
        last_scale_out_s=out.timestamp() if out else None,
        last_scale_in_s=into.timestamp() if into else None,
        wishes=_wishes(row, config),
        in_flight=_in_flight(row),
        refusals=_refusals(row),
        stage=stage_from(row.terms.get("exchange")) if isinstance(row.terms, Mapping) else None,
    )


def _wishes(row: Decision, config: PolicyConfig) -> tuple[Wish, ...]:
    back = max(WISHES, timedelta(seconds=config.stabilisation_s) + NEAR)
    found = list(
        Decision.objects.filter(
            service_id=row.service_id, last_at__lt=row.last_at, last_at__gte=row.last_at - back
        )
        .exclude(code="CONFIG_INVALID")
        .order_by("last_at")
        .values_list("first_at", "last_at", "raw_prefill", "raw_decode")
    )
    if row.count > 1 and row.code != "CONFIG_INVALID":
        # The row stands for many equal decisions; the last of them knew those before it.
        tick = (row.last_at - row.first_at) / (row.count - 1)
        found.append((row.first_at, row.last_at - tick, row.raw_prefill, row.raw_decode))
    return tuple(
        Wish(last.timestamp(), Instances(prefill, decode), first.timestamp())
        for first, last, prefill, decode in found
    )


def _in_flight(row: Decision) -> str | None:
    under_way = Action.objects.filter(
        Q(applied_at__isnull=True) | Q(applied_at__gte=row.last_at),
        Q(ended_at__isnull=True) | Q(ended_at__gte=row.last_at),
        service_id=row.service_id,
        recorded_at__lt=row.last_at,
    ).exclude(decision_id=row.pk)
    found = under_way.values_list("pk", flat=True).first()
    return None if found is None else str(found)


def _refusals(row: Decision) -> tuple[Refusal, ...]:
    rows = Proposal.objects.filter(
        service_id=row.service_id,
        state="rejected",
        decided_at__lte=row.last_at,
        decided_at__gt=row.last_at - timedelta(seconds=REFUSED_FOR_S),
    ).select_related("decided_by")
    return tuple(
        Refusal(
            want=Instances(one.to_prefill, one.to_decode),
            until_s=one.decided_at.timestamp() + REFUSED_FOR_S,
            by=one.decided_by.get_username() if one.decided_by else "somebody",
            reason=one.decided_reason,
        )
        for one in rows.order_by("decided_at")
        if one.decided_at is not None
    )


def _overrides(row: Decision) -> tuple[Override, ...]:
    """Return the overrides that ruled then."""
    return from_plain(row.terms.get("overrides")) if isinstance(row.terms, Mapping) else ()


def _hold(row: Decision) -> Hold | None:
    freeze = (
        Freeze.objects.filter(
            chain_of(row.service).covering,
            Q(ended_at__isnull=True) | Q(ended_at__gt=row.last_at),
            since__lte=row.last_at,
        )
        .select_related("service", "cluster", "region")
        .order_by(*(F(part).asc(nulls_first=True) for part in ("service", "cluster", "region")))
        .first()
    )
    timed = next((one for one in _overrides(row) if one.kind is OverrideKind.FREEZE), None)
    if freeze is None and timed is not None:
        return Hold(timed.scope_name, timed.by, timed.reason, timed.since_s, timed.until_s)
    if freeze is None:
        return _breaker(row)
    return Hold(freeze.scope, freeze.by_name, freeze.reason, freeze.since.timestamp())


def _breaker(row: Decision) -> Hold | None:
    """Return the breaker a decision was made under, the fleet's first."""
    found = (
        Breaker.objects.filter(
            chain_of(row.service).covering,
            Q(ended_at__isnull=True) | Q(ended_at__gt=row.last_at),
            opened_at__lte=row.last_at,
        )
        .select_related("service")
        .order_by(F("service").asc(nulls_first=True))
        .first()
    )
    if found is None:
        return None
    since_s = found.opened_at.timestamp()
    return Hold(found.scope, BY_ITSELF, found.cause, since_s, is_breaker=True)


def _gpus_free(row: Decision, spec: ServiceSpec, gaps: list[str]) -> dict[str, int]:
    found = dict(
        PoolSample.objects.filter(cluster_id=row.service.cluster_id, at=row.last_at).values_list(
            "hardware__slug", "free"
        )
    )
    if found:
        gaps.append("Free GPUs are those of the pool, before services of higher priority.")
        return found
    gaps.append("Free GPUs of that time are not kept: there are enough.")
    return dict.fromkeys(spec.hardware.values(), MOST_GPUS)


def _before(row: Decision) -> object:
    return (
        Decision.objects.filter(service_id=row.service_id, seq=row.seq - 1)
        .values_list("forecast", flat=True)
        .first()
    )


def _figure(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
