"""A person sets something over the policy for a while, lengthens it or ends it early."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.timezone import is_naive

from controller.core import phrases
from controller.core.overrides import (
    PIN_FIELDS,
    OverrideKind,
    clock,
    fault_of,
)
from controller.core.words import capitalised
from controller.models import Override, ServiceStatus
from controller.models.clock import database_now
from controller.models.scopes import in_time, keys_of
from controller.services import actions, audit, exchanges, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from inventory.models import Cluster, HardwareType, Node, Region, RoleSpec, Service

LONGEST: Final = timedelta(days=7)
"""An override lasts no longer: what is to stay belongs in the policy."""

FURTHEST: Final = timedelta(days=30)
"""How far ahead one may begin."""

WATCH: Final = timedelta(minutes=10)
"""How long what a person lets go on again is only watched at first (A09)."""

LATE: Final = timedelta(minutes=1)
"""A beginning not longer ago than this is now: a form takes a moment to fill in."""

_LOCK: Final = 7_205_862
Scope = Region | Cluster | Service | None
"""What an override is for; ``None`` is the fleet."""


class OverlapError(ConflictError):
    """Another override stands against a new one; ``other`` is its number."""

    def __init__(self, other: Override, why: str) -> None:
        until = clock(other.ends_at.timestamp(), database_now().timestamp())
        super().__init__(
            f"{why}: override {other.pk}, {other.kind} of {other.scope} by {other.by_name} until "
            f"{until} ({other.reason}). End that one first."
        )
        self.other = other.pk


@dataclass(frozen=True, slots=True)
class _Times:
    starts_at: datetime
    ends_at: datetime


def place(  # noqa: PLR0913 - the columns of one row
    kind: OverrideKind,
    scope: Scope,
    values: Mapping[str, Any],
    *,
    starts_at: datetime | None = None,
    ends_at: datetime,
    reason: str,
    user: Person,
) -> Override:
    """Set an override over the scope; it begins now where no beginning is given.

    Raises :class:`InvalidError` with the field that can't be used, :class:`OverlapError` naming
    the override that stands against it, and :class:`ForbiddenError` (A10).
    """
    people.require(user, people.OVERRIDE, scope)
    with transaction.atomic():
        _one_at_a_time()
        made = check(
            kind, scope, values, starts_at=starts_at, ends_at=ends_at, reason=reason, user=user
        )
        made.save()
        _record(made, user, "override set", before={}, reason=made.reason)
    if kind is OverrideKind.FREEZE and made.starts_at <= database_now():
        call_off(made)
    return made


def check(  # noqa: PLR0913 - the columns of one row
    kind: OverrideKind,
    scope: Scope,
    values: Mapping[str, Any],
    *,
    starts_at: datetime | None = None,
    ends_at: datetime,
    reason: str,
    user: Person,
) -> Override:
    """Return the override that :func:`place` would set, unsaved, whoever may set it.

    Raises what that raises but for the right.
    """
    reason = people.reason_text(reason, needed=True)
    times = _times(starts_at, ends_at, database_now())
    _check(kind, scope, values)
    made = _made(kind, scope, times, user=user, reason=reason)
    made.values = dict(values)
    _refuse_overlap(made)
    return made


def call_off(freeze: Override) -> None:
    """Cancel what is recorded under a timed freeze and not sent, as under any other (S16)."""
    why = f"Frozen ({freeze.scope}) by {freeze.by_name}: {freeze.reason}"
    exchanges.end_within(freeze.about, why)
    actions.call_off_within(freeze.about, why)


def call_off_begun() -> None:
    """Call off under the timed freezes in force: one may have begun since the last look."""
    begun = Override.objects.filter(in_time(Now()), kind=OverrideKind.FREEZE)
    for row in begun.select_related("region", "cluster", "service"):
        call_off(row)


def watch(scope: Scope, *, after: str, user: Person, reason: str) -> Override:
    """Let a scope be only observed for :data:`WATCH`; returns the override that sees to it.

    Call it inside the transaction that lets the scope go on: whoever may do that needs no further
    right. ``after`` is what they did, in a word. One that lasts as long already is left as it is,
    a shorter one is lengthened.
    """
    _one_at_a_time()
    kind, now = OverrideKind.ADVISORY, database_now()
    times = _Times(now, now + WATCH)
    same = Override.objects.filter(in_time(Now()), **keys_of(scope), kind=kind)
    found = same.order_by("-ends_at").select_for_update().first()
    if found is not None and found.ends_at >= times.ends_at:
        return found
    if found is None:
        told = f"{after}: {reason}"
        row, verb, before = _made(kind, scope, times, user=user, reason=told), "set", {}
    else:
        row, verb, before = found, "extended", _body(found)
        row.ends_at, row.version = times.ends_at, found.version + 1
    row.save()
    _record(row, user, f"override {verb}", before=before, reason=reason)
    return row


def _made(
    kind: OverrideKind, scope: Scope, times: _Times, *, user: Person, reason: str
) -> Override:
    return Override(
        **keys_of(scope),
        kind=kind,
        reason=reason,
        by=people.account_of(user),
        by_name=user.get_username(),
        made_at=database_now(),
        starts_at=times.starts_at,
        ends_at=times.ends_at,
    )


def extend(pk: int, *, version: int, ends_at: datetime, reason: str, user: Person) -> Override:
    """Let an override last longer; counts only for the ``version`` that the person saw.

    Raises :class:`InvalidError`, :class:`OverlapError`, :class:`ForbiddenError`,
    :class:`MissingError`, and :class:`ConflictError` in words when somebody was faster.
    """
    found = _find(pk)
    people.require(user, people.OVERRIDE, _scope_of(found))
    reason = people.reason_text(reason, needed=True)
    now = database_now()
    _times(max(found.starts_at, now), ends_at, now)
    if ends_at <= found.ends_at:
        raise InvalidError("ends_at", "That is not later than its present end: end it instead.")
    with transaction.atomic():
        _one_at_a_time()
        before, found.ends_at = _body(found), ends_at
        _refuse_overlap(found)
        if Override.objects.filter(
            pk=pk, version=version, ended_at=None, ends_at__gt=Now()
        ).update(ends_at=ends_at, version=F("version") + 1):
            longer = _find(pk)
            _record(longer, user, "override extended", before=before, reason=reason)
            return longer
    raise _lost(pk, version)


def end(pk: int, *, version: int, reason: str, user: Person) -> Override:
    """End an override now; what it held is approached again step by step, never at once.

    To end a freeze takes the right to resume, and its scope is only watched at first (A09).
    Raises :class:`ForbiddenError`, :class:`InvalidError` without a reason,
    :class:`MissingError`, and :class:`ConflictError` in words when somebody was faster.
    """
    found = _find(pk)
    right = people.RESUME if found.kind == OverrideKind.FREEZE else people.OVERRIDE
    people.require(user, right, _scope_of(found))
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        _one_at_a_time()
        before = _body(found)
        if Override.objects.filter(
            pk=pk, version=version, ended_at=None, ends_at__gt=Now()
        ).update(
            ended_at=Now(),
            ended_by_name=user.get_username(),
            end_reason=reason,
            version=F("version") + 1,
        ):
            ended = _find(pk)
            _record(ended, user, "override ended", before=before, reason=reason)
            if found.kind == OverrideKind.FREEZE and found.starts_at <= database_now():
                watch(_scope_of(found), after="Freeze ended", user=user, reason=reason)
            return ended
    raise _lost(pk, version)


def note_ended() -> int:
    """Write once into the audit what ended by itself; returns how many."""
    with transaction.atomic():
        over = Override.objects.select_for_update(skip_locked=True, of=("self",)).filter(
            ended_at=None, ends_at__lte=Now()
        )
        rows = list(over.select_related("region", "cluster", "service"))
        for row in rows:
            before = _body(row)
            row.ended_at, row.ended_by_name = row.ends_at, "controller"
            row.end_reason = "Its time was over."
            row.save(update_fields=["ended_at", "ended_by_name", "end_reason"])
            audit.record(
                actor="controller",
                verb="override ended",
                obj=row,
                before=before,
                after=_body(row),
                reason=row.end_reason,
            )
    return len(rows)


def _times(starts_at: datetime | None, ends_at: datetime, now: datetime) -> _Times:
    for name, at in (("starts_at", starts_at), ("ends_at", ends_at)):
        if at is not None and is_naive(at):
            raise InvalidError(name, "Give the time with its zone.")
    starts_at = now if starts_at is None else starts_at
    if starts_at < now - LATE:
        raise InvalidError("starts_at", "That is in the past: leave it empty to begin now.")
    if starts_at > now + FURTHEST:
        raise InvalidError("starts_at", f"Give a beginning within {FURTHEST.days} days.")
    starts_at = max(starts_at, now)
    if ends_at <= now:
        raise InvalidError("ends_at", "That is in the past.")
    if ends_at <= starts_at:
        raise InvalidError("ends_at", "It would end before it begins.")
    if ends_at - starts_at > LONGEST:
        raise InvalidError(
            "ends_at",
            f"An override lasts at most {LONGEST.days} days: what is to stay is for the policy.",
        )
    return _Times(starts_at, ends_at)


def _check(kind: OverrideKind, scope: Scope, values: Mapping[str, Any]) -> None:
    """Refuse values that can't be used, or not for every service of the scope."""
    fault = fault_of(kind, values)
    if fault is not None:
        raise InvalidError(fault[0] or "values", f"{capitalised(fault[1])}.")
    if kind is OverrideKind.PIN and not isinstance(scope, Service):
        raise InvalidError("scope", "A pin names the counts of one service: choose one.")
    if not _services(scope).exists():
        raise InvalidError("scope", "There is no service in it.")
    if kind in {OverrideKind.PIN, OverrideKind.BOUNDS}:
        _check_limits(kind, scope, values)
    if kind is OverrideKind.EXCLUDE:
        _check_excluded(scope, values)


def _services(scope: Scope) -> Any:  # noqa: ANN401 - a query of services
    match scope:
        case Region():
            return Service.objects.filter(cluster__region=scope)
        case Cluster():
            return Service.objects.filter(cluster=scope)
        case Service():
            return Service.objects.filter(pk=scope.pk)
        case None:
            return Service.objects.all()


def _check_limits(kind: OverrideKind, scope: Scope, values: Mapping[str, Any]) -> None:
    """Refuse counts outside the configured limits of any service (A10: the safety floor)."""
    needed: dict[str, int] = {}
    most: dict[str, int] = {}
    rows = RoleSpec.objects.filter(service__in=_services(scope)).order_by("service__slug", "role")
    for slug, gpus, role, low, high, per in rows.values_list(
        *("service__slug", "service__max_gpus", "role", "minimum", "maximum"),
        "gpus_per_instance",
    ):
        for name in (role, f"{role}_min", f"{role}_max"):
            given = values.get(name)
            if given is not None and not low <= given <= high:
                side = f"below the minimum of {low}" if given < low else f"above {high}"
                raise InvalidError(
                    name, f"{given} {role} is {side} of {slug}: an override only narrows limits."
                )
        least = values.get(role, max(values.get(f"{role}_min", low), low))
        needed[slug], most[slug] = needed.get(slug, 0) + least * per, gpus
    for slug, gpus in needed.items():
        if gpus > most[slug]:
            field = PIN_FIELDS[1] if kind is OverrideKind.PIN else "values"
            raise InvalidError(field, f"That takes {gpus} GPUs and {slug} may hold {most[slug]}.")


_WHERE: Final = {
    "s1": "s1_domain__name",
    "s2": "s2_domain__name",
    "rack": "rack__name",
    "node": "name",
}


def _check_excluded(scope: Scope, values: Mapping[str, Any]) -> None:
    what, name = values["what"], values["name"]
    if what == "hardware":
        known = HardwareType.objects.filter(slug=name).exists()
    else:
        nodes = Node.objects.filter(cluster__in=_services(scope).values("cluster"))
        cluster, slash, node = name.partition("/")
        is_it = Q(**{_WHERE[what]: name})
        if what == "node" and slash:
            is_it = Q(cluster__slug=cluster, name=node)
        known = nodes.filter(is_it).exists()
    if not known:
        raise InvalidError("name", f"There is no {what} {name!r} where these services run.")


def _refuse_overlap(new: Override) -> None:
    """Refuse what can't be in force together with another override of exactly its scope."""
    others = Override.objects.filter(
        region=new.region,
        cluster=new.cluster,
        service=new.service,
        ended_at=None,
        starts_at__lt=new.ends_at,
        ends_at__gt=max(new.starts_at, database_now()),
    ).exclude(pk=new.pk)
    for other in others.select_related("region", "cluster", "service"):
        # What rules nothing because it can't be used stands against nothing either.
        why = "" if _is_unusable(other) else _against(new, other)
        if why:
            raise OverlapError(other, why)


def _is_unusable(row: Override) -> bool:
    kinds = [kind for kind in OverrideKind if kind == row.kind]
    return not kinds or fault_of(kinds[0], row.values) is not None


def _against(new: Override, other: Override) -> str:
    """Return why two overrides of one scope can't be in force together, or nothing."""
    kinds = {new.kind, other.kind}
    if new.kind == other.kind:
        several = new.kind == OverrideKind.EXCLUDE and new.values != other.values
        return "" if several else "There is one of this kind for this scope already"
    if kinds == {OverrideKind.OUT_ONLY, OverrideKind.IN_ONLY}:
        return "Together nothing could change"
    by_kind = {one.kind: one.values for one in (new, other)}
    pin = by_kind.pop(OverrideKind.PIN, None)
    if pin is not None:
        return _against_pin(pin, by_kind) or _against_way(pin, new, other)
    apart = kinds == {OverrideKind.BOUNDS, OverrideKind.RATIO} and not _meet(new, by_kind)
    return "No counts within the bounds keep the ratio" if apart else ""


def _against_way(pin: Mapping[str, int], new: Override, other: Override) -> str:
    """Return why a service can't go to its pin the one way it may.

    Nothing is known of counts of later, nor of a service that was never seen.
    """
    now = ServiceStatus.objects.filter(service=new.service).first()
    if now is None or max(new.starts_at, other.starts_at) > database_now():
        return ""
    present = [getattr(now, f"{role}_desired") for role in PIN_FIELDS]
    ways = [pin[role] - count for role, count in zip(PIN_FIELDS, present, strict=True)]
    kinds = {new.kind, other.kind} if any(present) else set()
    if OverrideKind.OUT_ONLY in kinds and min(ways) < 0:
        return "The pin is below the present counts, which may only grow"
    if OverrideKind.IN_ONLY in kinds and max(ways) > 0:
        return "The pin is above the present counts, which may only shrink"
    return ""


def _meet(new: Override, values: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether every service of the scope has counts within the bounds and the ratio."""
    bounds, ratio = values[OverrideKind.BOUNDS], values[OverrideKind.RATIO]
    ranges: dict[UUID, dict[str, range]] = {}
    rows = RoleSpec.objects.filter(service__in=_services(_scope_of(new)))
    for service, role, low, high in rows.values_list("service_id", "role", "minimum", "maximum"):
        least = max(low, bounds.get(f"{role}_min", low))
        most = min(high, bounds.get(f"{role}_max", high))
        ranges.setdefault(service, {})[role] = range(least, most + 1)
    return all(_has_counts(one, ratio) for one in ranges.values() if len(one) == len(PIN_FIELDS))


def _has_counts(within: Mapping[str, range], ratio: Mapping[str, float]) -> bool:
    """Return whether some counts keep the ratio: of each decode the least prefill is looked at."""
    prefill = within["prefill"]
    return any(
        count in prefill and ratio["min"] <= count / decode <= ratio["max"]
        for decode in within["decode"]
        for least in (floor(ratio["min"] * decode), floor(ratio["min"] * decode) + 1)
        if (count := max(prefill.start, least)) and decode
    )


def _against_pin(pin: Mapping[str, int], others: Mapping[str, Mapping[str, Any]]) -> str:
    bounds, ratio = others.get(OverrideKind.BOUNDS), others.get(OverrideKind.RATIO)
    if bounds is not None and not _is_within(pin, bounds):
        return "The pin is outside the bounds"
    if ratio is not None and not ratio["min"] <= pin["prefill"] / pin["decode"] <= ratio["max"]:
        return "The pin is outside the ratio"
    return ""


def _is_within(pin: Mapping[str, int], bounds: Mapping[str, int]) -> bool:
    return all(
        bounds.get(f"{role}_min", pin[role]) <= pin[role] <= bounds.get(f"{role}_max", pin[role])
        for role in PIN_FIELDS
    )


def _one_at_a_time() -> None:
    """Wait until no other transaction sets an override; held until this one ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _find(pk: int) -> Override:
    parts = ("region", "cluster__region", "service__cluster__region")
    found = Override.objects.select_related(*parts).filter(pk=pk).first()
    if found is None:
        raise MissingError(f"There is no override {pk}.")
    return found


def _scope_of(row: Override) -> Scope:
    return row.service or row.cluster or row.region


def _body(row: Override) -> dict[str, Any]:
    return {
        "kind": str(row.kind),
        "scope": row.scope,
        "scope_kind": row.scope_kind,
        "values": row.values,
        "starts_at": row.starts_at.isoformat(),
        "ends_at": row.ends_at.isoformat(),
        "ended_at": row.ended_at and row.ended_at.isoformat(),
    }


def _record(
    row: Override, user: Person, verb: str, *, before: dict[str, Any], reason: str
) -> None:
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=row,
        before=before,
        after=_body(row),
        reason=reason,
    )


def _lost(pk: int, version: int) -> ConflictError:
    """Return the answer in words to who was too late."""
    found, now = _find(pk), database_now()
    if found.ended_at is not None:
        since_s = (now - found.ended_at).total_seconds()
        return ConflictError(f"{found.ended_by_name} ended it {phrases.ago(since_s)}.")
    if found.ends_at <= now:
        since_s = (now - found.ends_at).total_seconds()
        return ConflictError(f"It ended by itself {phrases.ago(since_s)}.")
    until = clock(found.ends_at.timestamp(), now.timestamp())
    return ConflictError(
        f"It was changed since you looked (version {found.version}, not {version}): it lasts "
        f"until {until} now."
    )
