"""The overrides in force, read for all services at once or for one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from django.db.models import Exists, Q
from django.db.models.functions import Now

from controller.core.overrides import Override, OverrideKind, ScopeKind
from controller.core.raw_values import shown
from controller.core.steering import steered
from controller.core.types import ServiceSpec
from controller.models.overriding import Override as Row
from controller.models.scopes import PARTS, chain_of, covering, in_time
from inventory.models import Service


@dataclass(frozen=True, slots=True)
class Orders:
    """Overrides in force by service; ``unreadable`` are sentences about those of no known kind."""

    of_all: tuple[Override, ...] = ()
    of_one: Mapping[str, tuple[Override, ...]] = field(default_factory=dict)
    unreadable: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unreadable_of_all: tuple[str, ...] = ()

    def over(self, service: str) -> tuple[Override, ...]:
        """Return the overrides whose scope covers a service, in no order."""
        return (*self.of_all, *self.of_one.get(service, ()))

    def steer(self, spec: ServiceSpec, now_s: float) -> ServiceSpec:
        """Return the service under what is in force over it."""
        wrong = (*self.unreadable_of_all, *self.unreadable.get(spec.key, ()))
        found = self.over(spec.key)
        return steered(spec, found, now_s, wrong) if found or wrong else spec


def read() -> Orders:
    """Read what is in force.

    One query, and one more while a region or a cluster is covered.
    """
    rows = list(Row.objects.filter(in_time(Now())).select_related(*PARTS))
    wide = any(row.region_id or row.cluster_id for row in rows)
    members = _members() if wide else ()
    of_all, unreadable_of_all = [], []
    of_one: dict[str, list[Override]] = defaultdict(list)
    unreadable: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        one = value_of(row)
        if row.scope_kind == ScopeKind.FLEET:
            of_all += [one] if isinstance(one, Override) else []
            unreadable_of_all += [one] if isinstance(one, str) else []
            continue
        for slug in _covered(row, members):
            if isinstance(one, Override):
                of_one[slug].append(one)
            else:
                unreadable[slug].append(one)
    return Orders(
        tuple(of_all),
        {slug: tuple(found) for slug, found in of_one.items()},
        {slug: tuple(found) for slug, found in unreadable.items()},
        tuple(unreadable_of_all),
    )


def read_for(service: Service) -> Orders:
    """Read what is in force over one service; one query."""
    rows = Row.objects.filter(chain_of(service).covering, in_time(Now()))
    found = [value_of(row) for row in rows.select_related(*PARTS)]
    return Orders(
        tuple(one for one in found if isinstance(one, Override)),
        unreadable_of_all=tuple(one for one in found if isinstance(one, str)),
    )


def advisory(service: str = "service") -> Q:
    """Return whether nothing may be sent of the service that an outer query names (S17)."""
    rows = Row.objects.filter(covering(service), in_time(Now()), kind=OverrideKind.ADVISORY)
    return Q(Exists(rows))


def value_of(row: Row) -> Override | str:
    """Return an override as decisions read it, or what is to be said of a row that is none."""
    if row.kind not in set(OverrideKind):
        return f"Override {row.pk} of {row.by_name} has the kind {shown(row.kind)}: there is none"
    return Override(
        key=row.pk,
        kind=OverrideKind(row.kind),
        scope=ScopeKind(row.scope_kind),
        scope_name=row.scope,
        by=row.by_name,
        reason=row.reason,
        since_s=row.starts_at.timestamp(),
        until_s=row.ends_at.timestamp(),
        version=row.version,
        values=row.values,
    )


def _covered(row: Row, members: Iterable[tuple[str, UUID, UUID]]) -> Iterator[str]:
    if row.service is not None:
        yield row.service.slug
    for slug, cluster, region in members:
        if row.cluster_id == cluster or row.region_id == region:
            yield slug


def _members() -> list[tuple[str, UUID, UUID]]:
    return list(Service.objects.values_list("slug", "cluster_id", "cluster__region_id"))
