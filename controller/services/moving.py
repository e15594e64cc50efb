"""What speaks against moves: asked when they are approved, before each step and each send."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db.models import Q

from controller.core.approval import Change
from controller.core.overrides import OverrideKind, digest, told
from controller.core.phrases import listed
from controller.core.placement import ruled
from controller.core.placement.advice import services_of
from controller.core.types import Instances, ServiceSpec
from controller.core.words import counts
from controller.models import Rearrangement, ServiceStatus
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import ForbiddenError
from controller.services.people import Person
from controller.services.rows import needs_of, steered
from inventory.models import Node, Service

UNREADABLE: Final = "The configuration of {} can't be read any more."
PATHS: Final = {
    "s2": "s2_domain__name",
    "s1": "s1_domain__name",
    "rack": "rack__name",
    "node": "name",
    "hardware": "hardware__slug",
}
"""Where a node has what an exclusion may name."""

INSTEAD: Final = "Moves are approved by one person; propose by hand instead a scale-in of"
BASIS: Final = ("policy", "mode", "overrides")


@dataclass(frozen=True, slots=True)
class _Seen:
    """A service that moves change, or gain for, as it is now."""

    service: Service
    spec: ServiceSpec
    moves: list[dict[str, Any]]
    shrink: dict[str, Any] | None

    @property
    def basis(self) -> list[object]:
        """What an approval rests on, in the order of ``BASIS``."""
        spec = self.spec
        return [spec.policy.version, str(self.service.mode), digest(spec.overrides)]

    @property
    def ends(self) -> tuple[Instances, Instances]:
        """Its counts before and after; equal without a shrink."""
        if self.shrink is None:
            return Instances(0, 0), Instances(0, 0)
        return Instances(**self.shrink["before"]), Instances(**self.shrink["after"])


def require(user: Person, row: Rearrangement) -> None:
    """Raise :class:`ForbiddenError`, after recording it, unless the person may let them through.

    That takes the right to approve for each service they change, and the one that gains.
    """
    people.require(user, people.APPROVE, row)
    lacking = _lacking(user, row)
    if lacking:
        text = (
            f"{user.get_username()} may not approve this: it changes {listed(lacking)} too, "
            f"and {people.NEEDS[people.APPROVE]} there ({people.APPROVE})."
        )
        verb = f"was refused {people.APPROVE.rpartition('.')[2]}"
        audit.record(actor=user.get_username(), verb=verb, obj=row, reason=text)
        raise ForbiddenError(text)


def _lacking(user: Person, row: Rearrangement) -> list[str]:
    """Return the services they change that the person has no right to approve changes of."""
    return [one.slug for one in _services(row) if not people.may(user, people.APPROVE, one)]


def basis(row: Rearrangement) -> dict[str, list[object]]:
    """Return what an approval of moves rests on now, by service (A03)."""
    return {one.service.slug: one.basis for one in _read(row, database_now())}


def obstacles(row: Rearrangement) -> Iterator[str]:
    """Give why nobody may let moves through: overrides, limits, or more than one must approve."""
    now = database_now()
    try:
        yield from _obstacles(_read(row, now), set(services_of(row.body)), now)
    except (ObjectDoesNotExist, KeyError, ValueError):
        yield UNREADABLE.format("a service")


def objections(row: Rearrangement) -> Iterator[str]:
    """Give why approved moves must not go on: a right lost, the basis changed, or an obstacle."""
    if row.decided_by is not None:
        for slug in _lacking(row.decided_by, row):
            yield f"{row.decided_by.get_username()} no longer has the right to approve for {slug}."
    try:
        yield from _changes(row.basis, basis(row))
    except (ObjectDoesNotExist, KeyError, ValueError):
        yield UNREADABLE.format("a service")
    yield from obstacles(row)


def _changes(then: dict[str, list[object]], now: dict[str, list[object]]) -> Iterator[str]:
    if then.keys() != now.keys():
        yield "The services it was approved for are not the same any more."
        return
    for slug, parts in sorted(now.items()):
        both = zip(BASIS, then[slug], parts, strict=True)
        changed = [what for what, was, is_now in both if was != is_now]
        if changed:
            yield f"Changed since it was approved: {listed(changed)} of {slug}."


def _services(row: Rearrangement) -> list[Service]:
    found = Service.objects.filter(Q(slug__in=services_of(row.body)) | Q(pk=row.service_id))
    return list(found.select_related("cluster", "policy", "slo").order_by("slug"))


def _read(row: Rearrangement, now: datetime) -> list[_Seen]:
    return [
        _Seen(
            service,
            steered(service, now),
            [one for one in row.body["moves"] if one["service"] == service.slug],
            next((one for one in row.body["shrinks"] if one["service"] == service.slug), None),
        )
        for service in _services(row)
    ]


def _obstacles(seen: list[_Seen], changed: set[str], now: datetime) -> Iterator[str]:
    for one in seen:
        if one.service.slug in changed:
            yield from ruled.objections(one.spec, *one.ends, now.timestamp())
            yield from _excluded(one, now)
    yield from _too_much([one for one in seen if one.shrink is not None])


def _excluded(one: _Seen, now: datetime) -> Iterator[str]:
    """Give which exclusion closes a node that something would move to."""
    names = {name for move in one.moves for name in move["to_nodes"]}
    there = Node.objects.filter(cluster=one.service.cluster_id, name__in=names)
    for override in one.spec.overrides:
        if not names or override.kind is not OverrideKind.EXCLUDE:
            continue
        what, name = override.values["what"], override.values["name"]
        own = name.removeprefix(f"{one.service.cluster.slug}/") if what == "node" else name
        closed = there.filter(**{PATHS[what]: own}).order_by("name").first()
        if closed is not None:
            yield f"{closed.name} is excluded by {told(override, now.timestamp())}."


def _too_much(shrinking: list[_Seen]) -> Iterator[str]:
    """Give what is more than one person may approve: of moves there is but one approver (S18)."""
    changes = [(one, _change(one)) for one in shrinking]
    for one, change in changes:
        why = needs_of(change)["needs_why"]
        if why:
            slug, after = one.service.slug, counts(one.ends[1])
            yield f"It takes two people: {slug}: {why}. {INSTEAD} {slug} with {after}."
    gpus, most = sum(change.gpus for _, change in changes), settings.SECOND_APPROVER_GPUS
    if most and gpus > most:
        yield (
            f"It takes two people: {gpus:,} GPUs change hands, more than {most:,}. "
            f"{INSTEAD} {listed([one.service.slug for one in shrinking])}."
        )


def _change(one: _Seen) -> Change:
    status = ServiceStatus.objects.filter(service=one.service).first() or ServiceStatus()
    return Change(
        *one.ends,
        gpus_per_instance=one.spec.gpus_per_instance,
        is_breaching=bool(status.ttft_breach_since or status.tbt_breach_since),
    )
