"""All nodes and services as a placement cycle starts from them, and who was refused before."""

from dataclasses import replace

from controller.core.placement.limiting import NO_ROOM
from controller.core.placement.preview import Situation
from controller.models import ServiceStatus
from controller.selectors.placing import rows_of, tenants_of
from inventory.models import Service
from inventory.snapshot import newest_version


def situation() -> Situation:
    """Read nodes, services and who holds which GPUs; the same number of queries for any fleet."""
    nodes = rows_of()
    known = {row.cluster for row in nodes.rows}
    home = dict(Service.objects.values_list("slug", "cluster__slug"))
    tenants = {
        tenant.name: replace(tenant, cluster=home[tenant.name])
        for tenant in tenants_of(nodes)
        if home.get(tenant.name) in known
    }
    return Situation(nodes.rows, tenants, nodes.facts, newest_version())


def refused_in_a_row() -> dict[str, int]:
    """Return by service how many decisions in a row found no room, as of the last; one query."""
    last = ServiceStatus.objects.filter(decision__code__in=NO_ROOM)
    return dict(last.values_list("service__slug", "decision__count"))
