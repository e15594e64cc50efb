"""What is frozen, by whom, and what would move when it is resumed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from controller.core import phrases
from controller.core.reasons import Code
from controller.core.types import Hold
from controller.models import Action, Freeze, ServiceStatus, holds
from controller.models.holds import Holds
from controller.models.steering import IN_FLIGHT
from inventory.models import Service


@dataclass(frozen=True, slots=True)
class Pending:
    """A frozen service whose last decision wanted other counts than it has."""

    service: Service
    change: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What the next look at the fleet would start, from the last decisions."""

    services: int
    pending: Sequence[Pending]

    @property
    def sentence(self) -> str:
        """The preview in one sentence."""
        if not self.services:
            return "No service is configured."
        if not self.pending:
            return f"By the last decisions it would change none of {self._scope}."
        return f"By the last decisions it would change {len(self.pending)} of {self._scope}."

    @property
    def _scope(self) -> str:
        return phrases.plural(self.services, "service")


def in_force() -> Holds:
    """Return what is frozen by people, by the environment and by the flag file."""
    return holds.read()


def host_hold() -> Hold | None:
    """Return the stop that was set on the host and can only be lifted there."""
    return holds.by_environment() or holds.by_file()


def active(service: Service | None) -> Freeze | None:
    """Return the freeze of exactly this scope, ``None`` when there is none."""
    found = Freeze.objects.select_related("service", "by")
    return found.filter(service=service, ended_at__isnull=True).first()


def fleet_freeze_over(service: Service | None) -> Freeze | None:
    """Return the fleet's freeze, which goes on when only a service is resumed."""
    return active(None) if service is not None else None


def requests_outstanding(service: Service | None) -> int:
    """Return how many actions are under way in the scope: a freeze does not call them back."""
    under_way = Action.objects.filter(state__in=IN_FLIGHT)
    return under_way.filter(Q(service=service) if service else Q()).count()


def preview(service: Service | None) -> Preview:
    """Return what resuming the scope would let through, from each service's last decision."""
    rows = ServiceStatus.objects.select_related("service", "decision").order_by("service__slug")
    if service is not None:
        rows = rows.filter(service=service)
    found = list(rows)
    pending = [
        Pending(row.service, phrases.counts((row.prefill_desired, row.decode_desired), wanted))
        for row in found
        if (wanted := _held_back(row)) is not None
    ]
    return Preview(len(found), pending)


def _held_back(row: ServiceStatus) -> tuple[int, int] | None:
    """Return the (prefill, decode) the freeze held back, ``None`` when it held nothing back."""
    steps = row.decision.steps if row.decision is not None else []
    held = next((step for step in steps if step.get("code") == Code.FROZEN), None)
    if held is None:
        return None
    wanted = (int(held["before"]["prefill"]), int(held["before"]["decode"]))
    return None if wanted == (row.prefill_desired, row.decode_desired) else wanted


def service_of(slug: str) -> Service | None:
    """Return the service, ``None`` when there is none of that name."""
    return Service.objects.select_related("cluster__region").filter(slug=slug).first()
