"""What a stop, an override or a right holds for: the fleet, a region, a cluster or a service."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Q

from inventory.models import Cluster, Region, Service

FLEET: Final = "the fleet"
PARTS: Final = ("region", "cluster", "service")


class Scoped:
    """A row that holds for at most one region, cluster or service; for the fleet without one.

    Each model names the three keys itself: the type checker knows no keys of an abstract model.
    """

    region: Any
    cluster: Any
    service: Any

    @property
    def scope(self) -> str:
        """The slug of the service, cluster or region it holds for, or "the fleet"."""
        one = self.service or self.cluster or self.region
        return str(one.slug) if one else FLEET

    @property
    def scope_kind(self) -> str:
        """What it holds for: fleet, region, cluster or service."""
        held = [part for part in PARTS if getattr(self, f"{part}_id") is not None]
        return held[0] if held else "fleet"


def one_scope(model: str) -> models.CheckConstraint:
    """Return the constraint that a row names at most one region, cluster or service."""
    return models.CheckConstraint(
        name=f"{model}_one_scope",
        condition=Q(region=None, cluster=None)
        | Q(region=None, service=None)
        | Q(cluster=None, service=None),
    )


def covering(service: str = "service") -> Q:
    """Return the rows whose scope covers the service an outer query names.

    All joins start from the scope, so that a conditional UPDATE around it stays of one table and
    looks at its row again after waiting for another's.
    """
    key = OuterRef(service)
    return (
        Q(region=None, cluster=None, service=None)
        | Q(service=key)
        | Q(cluster__services=key)
        | Q(region__clusters__services=key)
    )


class Chain(NamedTuple):
    """A thing and what it lies in, each where it has one: none is the fleet itself."""

    region: UUID | None = None
    cluster: UUID | None = None
    service: UUID | None = None

    @property
    def covering(self) -> Q:
        """The rows whose scope covers the thing."""
        found = Q(region=None, cluster=None, service=None)
        for part, key in zip(PARTS, self, strict=True):
            if key is not None:
                found |= Q(**{part: key})
        return found


def chain_of(about: models.Model | None) -> Chain:
    """Return where a region, cluster, service, or a row that belongs to one of them, lies."""
    if isinstance(about, Region):
        return Chain(about.pk)
    if isinstance(about, Cluster):
        return Chain(about.region_id, about.pk)
    if isinstance(about, Service):
        return Chain(about.cluster.region_id, about.cluster_id, about.pk)
    owners = (getattr(about, part, None) for part in ("service", "cluster", "site", "region"))
    owner = next(filter(None, owners), None)
    return chain_of(owner) if owner is not None else Chain()


def in_time(now: object) -> Q:
    """Return the rows with a beginning and an end that hold at ``now`` and nobody ended."""
    return Q(ended_at=None, starts_at__lte=now, ends_at__gt=now)
