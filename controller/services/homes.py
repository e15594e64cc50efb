"""Which label of nodes keeps the new instances of an action in their group's domain (§7)."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from controller.core.kube.affinity import Wanted, wanted_of
from inventory.models import Cluster, Node

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.core.placement.plan_plain import PlainPlacement
    from controller.models import Action


def homes_of(action: Action) -> Mapping[str, Wanted]:
    """Return the label of each deployment group that an action's placement names.

    Empty where the service only prefers to share a domain, where its cluster is not of Kubernetes,
    and where no label tells its domains: then the scheduler is free. One query, or none.
    """
    service, plain = action.service, action.placement
    placement: PlainPlacement | None = plain
    cluster = service.cluster
    if cluster.kind != Cluster.Kind.KUBERNETES or not cluster.level_keys or not placement:
        return {}
    if not service.affinity_required:
        return {}
    groups: dict[str, set[str]] = defaultdict(set)
    for place in placement["places"]:
        groups[place["group"]].update(place["nodes"])
    names = {name for own in groups.values() for name in own}
    rows = Node.objects.filter(cluster=cluster, name__in=names)
    labels: dict[str, Mapping[str, str]] = dict(rows.values_list("name", "labels"))
    level = service.affinity_level
    found = {
        group: wanted_of(level, level, cluster.level_keys, [labels.get(name, {}) for name in own])
        for group, own in groups.items()
    }
    return {group: wanted for group, wanted in found.items() if wanted is not None}
