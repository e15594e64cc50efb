"""What a stop, an override or a right holds for: the fleet, a region, a cluster or a service."""

from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import models
from django.db.models import OuterRef, Q

from inventory.models import Cluster, Region, Service

FLEET: Final = "the fleet"
PARTS: Final = ("region", "cluster", "service")
About = Region | Cluster | Service | None
"""What something is about; ``None`` is the whole fleet."""


class Scoped:
    """A row that holds for at most one region, cluster or service; for the fleet without one.

    Each model names the three keys itself: the type checker knows no keys of an abstract model.
    """

    region: Any
    cluster: Any
    service: Any

    @property
    def scope(self) -> str:
        """What it holds for: "chat", "cluster eu-1-a", "region eu-1" or "the fleet"."""
        return name_of(self.about)

    @property
    def about(self) -> About:
        """The region, cluster or service it holds for, ``None`` for the fleet."""
        one: About = self.service or self.cluster or self.region
        return one

    @property
    def scope_kind(self) -> str:
        """What it holds for: fleet, region, cluster or service."""
        held = [part for part in PARTS if getattr(self, f"{part}_id") is not None]
        return held[0] if held else "fleet"


def name_of(about: About) -> str:
    """Return how a scope is called in a sentence; a service by its slug alone."""
    if about is None:
        return FLEET
    return about.slug if isinstance(about, Service) else f"{kind_of(about)} {about.slug}"


def kind_of(about: About) -> str:
    """Return fleet, region, cluster or service."""
    kinds = {Region: "region", Cluster: "cluster", Service: "service"}
    return "fleet" if about is None else kinds[type(about)]


def key_of(about: About) -> str:
    """Return how an address or a program names a scope: "fleet", "cluster:eu-1-a"."""
    return "fleet" if about is None else f"{kind_of(about)}:{about.slug}"


def keys_of(about: About) -> dict[str, Any]:
    """Return the three keys of a row that holds for exactly this scope."""
    return {part: about if kind_of(about) == part else None for part in PARTS}


def within(about: About, service: str = "service__") -> Q:
    """Return the rows that belong to a service inside the scope; ``service`` leads to it."""
    if about is None:
        return Q()
    paths = {"region": "cluster__region", "cluster": "cluster", "service": "pk"}
    return Q(**{f"{service}{paths[kind_of(about)]}": about.pk})


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
