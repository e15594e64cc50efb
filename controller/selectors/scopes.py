"""What a stop can be of: the fleet, a region, a cluster or a service, as addresses name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.urls import reverse

from controller.models.scopes import About, kind_of, name_of
from controller.models.scopes import key_of as key
from inventory.models import Cluster, Region, Service

FLEET: Final = "fleet"


class UnknownScopeError(LookupError):
    """No region, cluster or service has that name."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A scope as a page shows it."""

    about: About

    @property
    def name(self) -> str:
        """How a sentence calls it."""
        return name_of(self.about)

    @property
    def key(self) -> str:
        """How an address names it."""
        return key(self.about)

    @property
    def kind(self) -> str:
        """Fleet, region, cluster or service."""
        return kind_of(self.about)

    @property
    def home(self) -> str:
        """The address of the page that shows it."""
        if isinstance(self.about, Service):
            return self.about.get_absolute_url()
        if isinstance(self.about, Cluster):
            return f"{reverse('services')}?cluster={self.about.slug}"
        return reverse("overview")

    @property
    def where(self) -> str:
        """Where a right over it is needed: " on cluster eu-1-a", nothing for the fleet."""
        return "" if self.about is None else f" on {self.name}"


def find(named: str) -> About:
    """Return what "fleet", "region:R", "cluster:C" or "service:S" names.

    Raises :class:`UnknownScopeError`: an empty or unknown name never means everything (S21).
    """
    if named == FLEET:
        return None
    kind, _, slug = named.partition(":")
    readers = {"region": _region, "cluster": _cluster, "service": _service}
    found = readers[kind](slug) if kind in readers else None
    if found is None:
        raise UnknownScopeError(f"There is no {kind or 'scope'} {slug!r}.")
    return found


def _region(slug: str) -> Region | None:
    return Region.objects.filter(slug=slug).first()


def _cluster(slug: str) -> Cluster | None:
    return Cluster.objects.select_related("region").filter(slug=slug).first()


def _service(slug: str) -> Service | None:
    return Service.objects.select_related("cluster__region").filter(slug=slug).first()


def choices(
    permitted: Callable[[About], bool] = lambda _about: True,
) -> list[tuple[str, str]]:
    """Return every scope that is permitted by key and name, widest first; three queries."""
    found: list[About] = [
        None,
        *Region.objects.order_by("slug"),
        *Cluster.objects.order_by("slug"),
        *Service.objects.select_related("cluster").order_by("slug"),
    ]
    return [(key(one), name_of(one)) for one in found if permitted(one)]
