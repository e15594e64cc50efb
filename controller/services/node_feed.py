"""Nodes of watched clusters into the inventory, once a person has applied the first import."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from controller.models import ClusterSight
from inventory.models import Cluster
from inventory.services import discovering

if TYPE_CHECKING:
    from inventory.summaries import Holders

log = structlog.get_logger(__name__)


def feed(cluster: UUID, nodes: bytes, services: Holders) -> tuple[str, ...]:
    """Take over the nodes of a cluster as it lists them; returns what a person must do.

    ``nodes`` is as ``kubectl get nodes -o json`` prints it. The same list twice is read once.
    """
    slug = Cluster.objects.filter(pk=cluster).values_list("slug", flat=True).first()
    wanted = discovering.agreed(slug) if slug else None
    mark = sha256(nodes).hexdigest()
    sight = ClusterSight.objects.filter(pk=cluster)
    if slug is None or wanted is None or sight.filter(fingerprint=mark).exists():
        return ()
    done = discovering.discover(nodes, wanted, services)
    if not done.told:
        sight.update(fingerprint=mark)
    if done.version is not None:
        log.info("nodes taken over", cluster=slug, version=done.version)
    return done.told
