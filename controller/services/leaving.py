"""What is moved elsewhere doesn't escape by it: only ending a stop ends it (S16, A08)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from controller.models import Action, Breaker, Freeze, Override
from controller.models.scopes import PARTS, chain_of
from inventory.models import Cluster, Region, Service

_REGIONAL: Final = Q(region__isnull=False)
Standing = Freeze | Breaker | Override


def objection(moved: Service | Cluster, to: Cluster | Region) -> str:
    """Return what holds a service or cluster where its row lies and not elsewhere, or nothing."""
    kept = type(moved)._default_manager.get(pk=moved.pk)  # noqa: SLF001 - public by custom
    was, becomes = chain_of(kept), chain_of(to)
    left = Q(pk__in=())
    if was.region != becomes.region:
        left |= Q(region=was.region)
    out = ""
    if isinstance(kept, Service) and was.cluster != becomes.cluster:
        left |= Q(cluster=was.cluster)
        out = _left_out(kept)
    return next((_refusal(kept.slug, one) for one in _standing(left)), out)


def _left_out(service: Service) -> str:
    """Return that instances may have to return where they are, and could not from elsewhere."""
    if not Action.objects.filter(service=service, is_out=True).exists():
        return ""
    why = "Instances of it are out of service discovery for a change. Wait until that is over."
    return f"{service.slug} stays where it is. {why}"


@dataclass(frozen=True, slots=True)
class Regions:
    """Where clusters lay, and what their regions were under, before many were changed."""

    clusters: Sequence[tuple[UUID, str, UUID]]
    standing: Sequence[Standing]

    @classmethod
    def now(cls) -> "Regions":
        """Return what is to be compared with later."""
        rows = Cluster.objects.values_list("pk", "slug", "region")
        return cls(list(rows), list(_standing(_REGIONAL)))

    def lost(self) -> str:
        """Return what held a cluster where it lay and does so no longer, or nothing.

        A region that is gone took its stops with it, so those from before count as well.
        """
        now = dict(Cluster.objects.values_list("pk", "region"))
        moved = {pk: (slug, old) for pk, slug, old in self.clusters if now.get(pk, old) != old}
        if not moved:
            return ""
        by_region = {row.region_id: row for row in (*self.standing, *_standing(_REGIONAL))}
        left = (_refusal(slug, by_region[old]) for slug, old in moved.values() if old in by_region)
        return next(left, "")


def _standing(where: Q) -> Iterator[Standing]:
    """Yield stops and overrides, those that are yet to begin too."""
    yield from Freeze.objects.filter(where, ended_at=None).select_related(*PARTS)
    yield from Breaker.objects.filter(where, ended_at=None).select_related(*PARTS)
    yield from Override.objects.filter(where, ended_at=None, ends_at__gt=Now()).select_related(
        *PARTS
    )


def _refusal(slug: str, row: Standing) -> str:
    if isinstance(row, Freeze):
        text = f"{row.by_name} froze {row.scope}: {row.reason}. Resume that first."
    elif isinstance(row, Breaker):
        text = f"The circuit breaker of {row.scope} is open: {row.cause}. Reset it first."
    else:
        under = f"override {row.pk}, {row.kind} of {row.scope} by {row.by_name}"
        text = f"It is under {under}: {row.reason}. End that first."
    return f"{slug} stays where it is. {text}"
