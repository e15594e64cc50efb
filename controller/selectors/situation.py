"""All nodes and services as a placement cycle starts from them, and who was refused before."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from controller.core.kube.kinds import KINDS, Victims
from controller.core.overrides import Override, OverrideKind, fault_of, ruling
from controller.core.placement.excluding import excluding
from controller.core.placement.layout import Facts
from controller.core.placement.limiting import NO_ROOM
from controller.core.placement.preview import Situation
from controller.core.placement.ruled import floor_of
from controller.core.placement.values import Request, Tenant
from controller.core.types import Instances, Role
from controller.models import ServiceStatus, orders
from controller.models.clock import database_now
from controller.models.orders import Orders
from controller.selectors.placing import Nodes, rows_of, tenants_of
from inventory.models import Cluster, Service, Workload
from inventory.snapshot import newest_version

NEWEST: Final = timedelta(minutes=2)
"""A decision that was not confirmed since says nothing about what is wanted now."""


def situation() -> Situation:
    """Read nodes, services and who holds which GPUs; the same number of queries for any fleet."""
    nodes = rows_of()
    known = {row.cluster for row in nodes.rows}
    services = list(
        Service.objects.values_list(
            *("slug", "cluster__slug", "mode", "cluster__kind"),
            *("status__prefill_desired", "status__decode_desired"),
        )
    )
    home = {slug: cluster for slug, cluster, *_ in services}
    watched = frozenset(slug for slug, _, mode, *_ in services if mode == Service.Mode.OBSERVE)
    fixed = frozenset(slug for slug, *_, kind, _, _ in services if kind == Cluster.Kind.KUBERNETES)
    wished = {
        slug: Instances(prefill, decode)
        for slug, _, _, _, prefill, decode in services
        if prefill is not None
    }
    found, ordinal = tenants_of(nodes), _ordinal() if fixed else {}
    tenants = {
        tenant.name: replace(
            tenant, cluster=home[tenant.name], ordinal=ordinal.get(tenant.name, frozenset())
        )
        for tenant in found.readable
        if home.get(tenant.name) in known
    }
    unreadable = {slug: why for slug, why in found.unreadable.items() if home.get(slug) in known}
    in_force = orders.read()
    now_s = database_now().timestamp() if in_force.of_all or in_force.of_one else 0.0
    ruled = _ruled(tenants, in_force, now_s)
    floors = {slug: floor_of(tenants[slug].counts, found) for slug, found in ruled.items()}
    watched |= {slug for slug, found in ruled.items() if _of(OverrideKind.ADVISORY, found)}
    tenants, facts = _excluded(nodes, tenants, ruled, now_s)
    version = newest_version()
    return Situation(
        nodes.rows, tenants, facts, version, watched, unreadable, wished, floors, fixed
    )


def _ordinal() -> dict[str, frozenset[Role]]:
    """Return by service the roles whose workloads give up the highest ordinals; one query."""
    kinds = [kind.value for kind, about in KINDS.items() if about.victims is Victims.ORDINAL]
    rows = Workload.objects.filter(kind__in=kinds).values_list("service__slug", "role")
    found: dict[str, set[Role]] = defaultdict(set)
    for slug, role in rows:
        found[slug].add(Role(role))
    return {slug: frozenset(roles) for slug, roles in found.items()}


Ruled = Mapping[str, Sequence[Override]]
"""The overrides that rule by service, for those under any."""


def _ruled(services: Iterable[str], in_force: Orders, now_s: float) -> Ruled:
    """Return what rules over services, without what can't be used."""
    found = {
        slug: ruling(
            [one for one in in_force.over(slug) if fault_of(one.kind, one.values) is None], now_s
        )
        for slug in services
    }
    return {slug: ones for slug, ones in found.items() if ones}


def _of(kind: OverrideKind, found: Iterable[Override]) -> list[Override]:
    return [one for one in found if one.kind is kind]


def _excluded(
    nodes: Nodes, tenants: dict[str, Tenant], ruled: Ruled, now_s: float
) -> tuple[dict[str, Tenant], Facts]:
    """Return services and facts under the exclusions in force."""
    exclusions = {
        slug: closed
        for slug, found in ruled.items()
        if (closed := _of(OverrideKind.EXCLUDE, found))
    }
    if not exclusions:
        return tenants, nodes.facts
    return excluding(nodes.rows, tenants, nodes.facts, exclusions, now_s)


def start_up_s() -> dict[str, float]:
    """Return by service how long an instance takes to start, by what it has learnt; one query."""
    known = ServiceStatus.objects.exclude(decision__forecast=None).values_list(
        "service__slug", "decision__forecast"
    )
    return {
        slug: forecast["lead_s"] for slug, forecast in known if forecast and "lead_s" in forecast
    }


def refused_in_a_row() -> dict[str, int]:
    """Return by service how many decisions in a row found no room, as of the last; one query."""
    last = ServiceStatus.objects.filter(decision__code__in=NO_ROOM)
    return dict(last.values_list("service__slug", "decision__count"))


def refused_requests(now: datetime) -> list[Request]:
    """Return the growth that the newest decisions wanted and found no room for; one query."""
    found = []
    statuses = ServiceStatus.objects.filter(
        decision__last_at__gte=now - NEWEST, decision__steps__contains=[{"name": "placement"}]
    ).select_related("service", "decision")
    for status in statuses.order_by("service__slug"):
        decision = status.decision
        if decision is None:
            continue
        step = next(one for one in decision.steps if one["name"] == "placement")
        if step["code"] not in NO_ROOM:
            continue
        missing = (max(step["before"][role] - step["after"][role], 0) for role in Role)
        repeats = decision.count if decision.code in NO_ROOM else 0
        found.append(Request(status.service.slug, Instances(*missing), repeats))
    return found
