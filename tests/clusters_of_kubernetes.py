"""Services whose workloads are in a cluster of Kubernetes, as rows."""

from __future__ import annotations

from typing import Any

from controller.models import ServiceStatus
from inventory.models import Cluster, ClusterAccess, Service, Workload
from tests.factories import make_cluster, make_service

NAMESPACE = "prod"


def make_watched(slug: str = "k-1") -> Cluster:
    """Return a cluster of Kubernetes that is to be watched."""
    cluster = make_cluster(slug, kind=Cluster.Kind.KUBERNETES)
    ClusterAccess.objects.get_or_create(cluster=cluster, defaults={"server": "https://10.0.0.1"})
    return cluster


def make_workloads(service: Service) -> None:
    """Choose a Deployment for each role, named after service and role."""
    for role in ("prefill", "decode"):
        Workload.objects.create(
            service=service, role=role, namespace=NAMESPACE, name=f"{service.slug}-{role}"
        )


def make_kube_service(slug: str = "chat", cluster: str = "k-1", **fields: Any) -> Service:
    """Return a service in a watched cluster, with a Deployment for each role."""
    service = make_service(slug, cluster=make_watched(cluster), **fields)
    make_workloads(service)
    # Nobody has looked at it so far.
    ServiceStatus.objects.filter(service=service).update(resource_version="", observed_at=None)
    return service
