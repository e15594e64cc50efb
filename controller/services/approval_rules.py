"""Rules that let proposals through by themselves: edited as revisions, applied by the tick."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.core.validators import validate_slug
from django.db import IntegrityError, transaction
from django.db.models import Exists
from django.db.models.functions import Now

from controller.core.approval import Change
from controller.core.approval_rules import Facts, Rule, passes
from controller.core.lifecycle import ProposalState
from controller.core.reasons import Code
from controller.core.types import Gate, Instances
from controller.models import ApprovalRule, Breaker, Proposal, holds
from controller.models.clock import database_now
from controller.models.scopes import covering
from controller.services import actions, approvals, audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from controller.services.rows import Entry, change_of
from inventory.models import Cluster, Region, Service

About = Region | Cluster | Service | None

COLUMNS: Final = {
    "direction": "direction",
    "most_gpus": "most_gpus",
    "most_frac": "most_frac",
    "days": "days",
    "begin": "from_time",
    "end": "until_time",
    "time_zone": "time_zone",
    "within": "within",
}
"""Fields of a rule by the columns that keep them."""


@dataclass(frozen=True, slots=True)
class Named:
    """A rule under its name, for a scope (``None``: the fleet); ``opened`` is the revision seen.

    0 where there was none.
    """

    name: str
    rule: Rule
    about: About = None
    opened: int = 0
    is_enabled: bool = True


def save(named: Named, *, user: Person, reason: str) -> ApprovalRule:
    """Save a rule as the next revision, which is in force from now on; returns its row.

    What an older revision approved and nobody carried out yet no longer runs. Raises
    :class:`ForbiddenError`, :class:`InvalidError` for what can't be used and without a reason, and
    :class:`ConflictError` when another revision is in force than the one that was seen.
    """
    before = _in_force(named.name)
    people.require(user, people.RULE, named.about)
    if before is not None:
        people.require(user, people.RULE, before)
    reason = people.reason_text(reason, needed=True)
    _check(named)
    try:
        with transaction.atomic():
            if (before.revision if before else 0) != named.opened:
                raise ConflictError(_overtaken(named.name))
            return _next(named, before, user, reason)
    except IntegrityError:
        raise ConflictError(_overtaken(named.name)) from None


def set_enabled(
    name: str, *, is_enabled: bool, opened: int, user: Person, reason: str
) -> ApprovalRule:
    """Switch a rule on or off, as another revision of it; returns its row.

    Raises what :func:`save` raises, and :class:`MissingError`.
    """
    found = _in_force(name)
    if found is None:
        raise MissingError(f"There is no rule {name!r}.")
    about = found.service or found.cluster or found.region
    named = Named(name, found.limits, about, opened, is_enabled)
    return save(named, user=user, reason=reason)


def _in_force(name: str) -> ApprovalRule | None:
    rows = ApprovalRule.objects.select_related("service__cluster", "cluster__region", "region")
    return rows.filter(name=name, superseded_at=None).first()


def _next(named: Named, before: ApprovalRule | None, user: Person, reason: str) -> ApprovalRule:
    now = database_now()
    if before is not None:
        ApprovalRule.objects.filter(pk=before.pk, superseded_at=None).update(superseded_at=now)
    last = ApprovalRule.objects.filter(name=named.name).order_by("-revision").first()
    made = ApprovalRule.objects.create(
        name=named.name,
        revision=last.revision + 1 if last else 1,
        is_enabled=named.is_enabled,
        **_scope(named.about),
        **{column: getattr(named.rule, field) for field, column in COLUMNS.items()}
        | {"days": list(named.rule.days)},
        reason=reason,
        by_name=user.get_username(),
        made_at=now,
    )
    audit.record(
        actor=user.get_username(),
        verb="changed a rule" if before else "made a rule",
        obj=made,
        before=_plain(before) if before else {},
        after=_plain(made),
        reason=reason,
    )
    return made


def _scope(about: About) -> dict[str, About]:
    for part, kind in (("service", Service), ("cluster", Cluster), ("region", Region)):
        if isinstance(about, kind):
            return {part: about}
    return {}


def _plain(row: ApprovalRule) -> dict[str, Any]:
    kept = {
        column: _told(getattr(row, column))
        for column in ("revision", "is_enabled", *COLUMNS.values())
    }
    return kept | {"scope": row.scope}


def _told(value: object) -> object:
    return value.isoformat() if isinstance(value, time) else value


def _check(named: Named) -> None:
    """Raise :class:`InvalidError` for a rule that can't be used, naming the field."""
    for field, fault in _faults(named):
        if fault:
            raise InvalidError(field, fault)


def _faults(named: Named) -> list[tuple[str, str]]:
    rule = named.rule
    return [
        ("name", _name_fault(named.name)),
        ("most_gpus", _least_fault(rule.most_gpus)),
        ("most_frac", _least_fault(rule.most_frac)),
        (
            "days",
            "" if set(rule.days) <= set(range(7)) else "Give days from 0, Monday, to 6, Sunday.",
        ),
        (
            "until_time",
            "Give both times of the day, or none."
            if (rule.begin is None) != (rule.end is None)
            else "",
        ),
        ("time_zone", _zone_fault(rule.time_zone)),
    ]


def _name_fault(name: str) -> str:
    try:
        validate_slug(name)
    except ValueError:
        return "Give a name of letters, digits, hyphens and underscores."
    return "" if len(name) <= 63 else "Give a name of at most 63 characters."  # noqa: PLR2004


def _least_fault(figure: float | None) -> str:
    return (
        "Give more than 0, or nothing for no limit." if figure is not None and figure <= 0 else ""
    )


def _zone_fault(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return f"There is no time zone {name!r}; give one such as Europe/Berlin."
    return ""


def _overtaken(name: str) -> str:
    found = ApprovalRule.objects.filter(name=name, superseded_at=None).first()
    if found is None:
        return f"Rule {name} is gone: look again."
    return f"{found.by_name} saved revision {found.revision} of rule {name}: look again."


def let_through(entries: Sequence[Entry], services: Mapping[str, UUID], now: datetime) -> None:
    """Approve what of the controller's waiting proposals passes a rule in force, at once.

    Two queries where something waits, and a few for each that passes; a freeze is looked at in
    the statement that approves.
    """
    asking = {
        services[entry.key]: entry
        for entry in entries
        if entry.decision.gate is Gate.PROPOSE
        and entry.spec is not None
        and entry.state is not None
    }
    in_force = ApprovalRule.objects.filter(is_enabled=True, superseded_at=None)
    rules = list(in_force.order_by("name")) if asking else []
    if not rules or holds.by_environment() or holds.by_file():
        return
    for row in _waiting(asking, now):
        rule = _first_passed(row, asking[row.service_id], rules, now)
        if rule is not None:
            _approve(row, rule)


def _waiting(asking: Mapping[UUID, Entry], now: datetime) -> Sequence[Proposal]:
    open_breakers = Breaker.objects.filter(covering("service"), ended_at=None)
    return list(
        Proposal.objects.filter(
            state=ProposalState.PENDING,
            origin=Proposal.Origin.CONTROLLER,
            requested_by=None,
            requesters=[],
            service__in=asking,
            evidence_at=now,
            expires_at__gt=Now(),
        )
        .annotate(breaker_open=Exists(open_breakers))
        .select_related("service__cluster")
        .order_by("pk")
    )


def _first_passed(
    row: Proposal, entry: Entry, rules: Sequence[ApprovalRule], now: datetime
) -> ApprovalRule | None:
    facts = Facts(
        _change(row, entry),
        needs=row.needs,
        breaker_open=row.breaker_open,  # type: ignore[attr-defined]
        is_beyond_budget=entry.decision.code is Code.REMOVAL_BUDGET,
        levels=tuple(one["level"] for one in (row.placement or {}).get("places", ())),
    )
    fitting = (rule for rule in rules if _covers(rule, row) and passes(rule.limits, facts, now))
    return next(fitting, None)


def _change(row: Proposal, entry: Entry) -> Change:
    """Return what the row asks for, which may be a trifle apart from what the tick decided."""
    return replace(change_of(entry), after=Instances(row.to_prefill, row.to_decode), then=row.then)


def _covers(rule: ApprovalRule, row: Proposal) -> bool:
    place = {
        "service": row.service_id,
        "cluster": row.service.cluster_id,
        "region": row.service.cluster.region_id,
    }
    held = [part for part in place if getattr(rule, f"{part}_id") is not None]
    return all(getattr(rule, f"{part}_id") == place[part] for part in held)


def _approve(row: Proposal, rule: ApprovalRule) -> None:
    waiting = Proposal.objects.filter(
        ~holds.held(),
        Exists(ApprovalRule.objects.filter(pk=rule.pk, is_enabled=True, superseded_at=None)),
        pk=row.pk,
        state=ProposalState.PENDING,
        version=row.version,
    )
    said = f"rule {rule}"
    if waiting.update(
        state=ProposalState.APPROVED, rule=rule, decided_at=Now(), decided_reason=said
    ):
        audit.record(
            actor=said,
            verb="approved",
            obj=row,
            before={"state": row.state} | approvals.body_of(row),
            after={"state": ProposalState.APPROVED.value} | approvals.body_of(row),
            reason=rule.reason,
        )
        transaction.on_commit(lambda: actions.enqueue_approved(row.pk), robust=True)
