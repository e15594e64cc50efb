"""What is frozen, by whom, and what would move when it is resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import Q

from controller.core import phrases
from controller.core.lifecycle import ActionState
from controller.core.reasons import Code
from controller.core.types import Hold, Role
from controller.models import Action, Freeze, ServiceStatus, holds
from controller.models.scopes import About, chain_of, key_of, keys_of, within
from controller.selectors.stops import Stop, StopKind, read_stops
from inventory.models import Service

OUTSTANDING: Final = Q(
    state__in=(
        ActionState.WITHDRAWN,
        ActionState.SENT,
        ActionState.UNKNOWN,
        ActionState.PARTLY,
    )
) | Q(is_out=True, state__in=(ActionState.CANCELLED, ActionState.FAILED))
"""Sent and not answered, half done, or with instances that are to return to service discovery.

A freeze is complete once none is left (S16).
"""

FREEZE: Final = StopKind.FREEZE
STOPPED: Final = (Code.FROZEN, Code.BREAKER_OPEN)
Counts = tuple[int, int]
"""Prefill and decode [instances]."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A frozen service whose last decision wanted other counts than it has."""

    service: Service
    now: Counts
    wanted: Counts

    @property
    def change(self) -> str:
        """What would change in words: "decode 4 → 6"."""
        return phrases.counts(self.now, self.wanted)

    @property
    def deltas(self) -> dict[Role, int]:
        """How many instances each role would gain."""
        changes = (after - before for before, after in zip(self.now, self.wanted, strict=True))
        return dict(zip(Role, changes, strict=True))


@dataclass(frozen=True, slots=True)
class Preview:
    """What the next look at the fleet would start, from the last decisions.

    Of the services ``held`` stay frozen by another stop and ``observed`` are never acted on.
    """

    services: int
    pending: Sequence[Pending]
    held: int = 0
    observed: int = 0

    @property
    def sentence(self) -> str:
        """The preview in one sentence."""
        if not self.services:
            return "No service is configured."
        said = f"By the last decisions it would change none of {self._scope}."
        if self.pending:
            said = (
                f"By the last decisions it would change {len(self.pending)} of {self._scope}:"
                f" it would {' and '.join(self._sums())}."
            )
        left = [
            f"{count} {words}"
            for count, words in (
                (self.held, "frozen by another stop"),
                (self.observed, "only observed"),
            )
            if count
        ]
        return f"{said} Left out: {', '.join(left)}." if left else said

    def _sums(self) -> Iterator[str]:
        for verb, sign in (("scale out", 1), ("scale in", -1)):
            sums = {
                role: sum(max(0, sign * one.deltas[role]) for one in self.pending) for role in Role
            }
            words = [f"{count:,} {role}" for role, count in sums.items() if count]
            if words:
                yield f"{verb} {' and '.join(words)}"

    @property
    def _scope(self) -> str:
        return phrases.plural(self.services, "service")


Holds = holds.Holds
"""All that is frozen, as a tick reads it."""


def in_force() -> Holds:
    """Return what is frozen by people, by the environment and by the flag file."""
    return holds.read()


def host_hold() -> Hold | None:
    """Return the stop that was set on the host and can only be lifted there."""
    return holds.by_environment() or holds.by_file()


def active(about: About) -> Freeze | None:
    """Return the freeze of exactly this scope, ``None`` when there is none."""
    return Freeze.objects.filter(**keys_of(about), ended_at__isnull=True).first()


@dataclass(frozen=True, slots=True)
class Others:
    """Further stops that touch a scope: those that hold for all of it, and those of its parts."""

    around: tuple[Stop, ...] = ()
    inside: tuple[Stop, ...] = ()


def others(about: About) -> Others:
    """Return what stays stopped whatever becomes of the freeze of exactly this scope."""
    rest, chain, parts = _rest(about), chain_of(about), _parts(about)
    around = tuple(one for one in rest if one.only is None or one.only in chain)
    return Others(around, tuple(one for one in rest if one.only in parts))


def _rest(about: About) -> list[Stop]:
    return [one for one in read_stops() if (one.kind, one.key) != (FREEZE, key_of(about))]


def still_frozen(about: About) -> str:
    """Return in a sentence what keeps a scope frozen though its own freeze ended, or nothing."""
    hold = host_hold()
    told = [f"{hold.scope}, by {hold.by}: {hold.reason}"] if hold else []
    rows = [one for one in others(about).around if not one.is_breaker]
    told += [f"{one.scope}, by {one.by}: {one.reason}" for one in rows]
    return f"It stays frozen with {'; and with '.join(told)}." if told else ""


def _parts(about: About) -> set[UUID]:
    """Return the clusters and services that lie in a scope, and for the fleet the regions too."""
    rows = Service.objects.filter(within(about, "")).values_list(
        "pk", "cluster_id", "cluster__region_id"
    )
    return {key for row in rows for key in row}.difference(chain_of(about))


def requests_outstanding(about: About) -> int:
    """Return how many requests of the scope wait for an answer: no freeze calls them back."""
    return Action.objects.filter(within(about), OUTSTANDING).count()


def unsent(about: About) -> list[Action]:
    """Return what is recorded in the scope and not sent: a freeze cancels it."""
    rows = Action.objects.filter(within(about), state=ActionState.RECORDED)
    return list(rows.select_related("service").order_by("service__slug"))


def called_off(freeze: Freeze) -> list[Action]:
    """Return what the freeze cancelled."""
    rows = Action.objects.filter(
        within(freeze.about),
        state=ActionState.CANCELLED,
        ended_at__gte=freeze.since,
        error__startswith="Frozen (",
    )
    return list(rows.select_related("service").order_by("service__slug", "ended_at"))


def preview(about: About) -> Preview:
    """Return what resuming the scope would let through, from each service's last decision."""
    rows = ServiceStatus.objects.select_related("service", "decision").order_by("service__slug")
    found = list(rows.filter(within(about)).select_related("service__cluster"))
    rest = [one for one in _rest(about) if not one.is_breaker]
    everywhere = host_hold() is not None
    free = [
        row for row in found if not everywhere and not any(one.covers(row.service) for one in rest)
    ]
    acting = [row for row in free if row.service.mode != Service.Mode.OBSERVE]
    pending = [
        Pending(row.service, (row.prefill_desired, row.decode_desired), wanted)
        for row in acting
        if (wanted := _held_back(row)) is not None
    ]
    return Preview(len(found), pending, len(found) - len(free), len(free) - len(acting))


def _held_back(row: ServiceStatus) -> Counts | None:
    """Return the (prefill, decode) the freeze held back, ``None`` when it held nothing back."""
    steps = row.decision.steps if row.decision is not None else []
    held = next((step for step in steps if step.get("code") in STOPPED), None)
    if held is None:
        return None
    wanted = (int(held["before"]["prefill"]), int(held["before"]["decode"]))
    return None if wanted == (row.prefill_desired, row.decode_desired) else wanted
