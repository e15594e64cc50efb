"""Who gives way when there are not enough GPUs: lower priorities shrink, to their least (I10)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.placement.choose import Choosing, Share, less
from controller.core.placement.cycle import Placed, Wanted, wanted_of
from controller.core.placement.layout import Fleet, sizes_of
from controller.core.placement.moving import Domain, lacks, widened
from controller.core.placement.planned import Answers
from controller.core.placement.standing import Standing, Unit
from controller.core.placement.values import Placement, Removal, Request, Tenant, Unplaced
from controller.core.placement.why import refusal
from controller.core.types import Instances

LOOKED_AT: Final = 5
"""So many domains are looked at, those that lack least."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A service that gives way: its counts before and after, and which instances go."""

    service: str
    before: Instances
    after: Instances
    removals: tuple[Removal, ...]


@dataclass(frozen=True, slots=True)
class Shrinking:
    """What lower priorities give so that higher ones are placed.

    ``placements`` is what is placed then, also what had room without it; ``unplaced`` what still
    finds none, with what would be missing even after all that could go has gone.
    """

    shrunk: tuple[Shrunk, ...]
    placements: tuple[Placement, ...]
    unplaced: tuple[Unplaced, ...]


def shrink_for(
    choosing: Choosing, fleet: Fleet, tenants: Sequence[Tenant], requests: Sequence[Request]
) -> Shrinking | None:
    """Return which lower services shrink, how far and where, so that refused requests fit.

    Requests are served by priority, then by how often they were refused. Only services of a
    strictly lower priority give way: the lowest first, then those farthest above their least;
    whole units of their P/D ratio of one group each, never below their least, in a domain where
    the request fits then, and nothing that is not needed for it. Only instances that serve count
    as above the least, and only those go. ``None`` where nothing would be won by it;
    :func:`still_missing` says why.

    Raises :class:`KeyError` for a request of a service that is not among the tenants.
    """
    found = _degraded(choosing, fleet, tenants, requests)
    return found if found.shrunk else None


def still_missing(
    choosing: Choosing, fleet: Fleet, tenants: Sequence[Tenant], requests: Sequence[Request]
) -> tuple[Unplaced, ...]:
    """Return what finds no room even after all lower services have given what they may."""
    return _degraded(choosing, fleet, tenants, requests).unplaced


def _degraded(
    choosing: Choosing, fleet: Fleet, tenants: Sequence[Tenant], requests: Sequence[Request]
) -> Shrinking:
    of = {tenant.name: tenant for tenant in tenants}
    ground = widened(fleet, choosing, sizes_of(tenants))
    standing = Standing(fleet, tenants, ground.slots.free)
    work = _Degrading(fleet, ground, standing, Answers(fleet, ground))
    ordered = sorted(requests, key=lambda one: (-of[one.service].priority, -one.refused))
    for request in ordered:
        wanted = wanted_of(fleet, of[request.service], request)
        if wanted is not None:
            work.serve(wanted)
    return Shrinking(
        tuple(_shrunk(of[name], tuple(gone)) for name, gone in sorted(work.gone.items())),
        tuple(one for each in work.answers.placements.values() for one in each),
        tuple(work.answers.unplaced),
    )


def _shrunk(tenant: Tenant, removals: tuple[Removal, ...]) -> Shrunk:
    gone = {one.instance for one in removals}
    stays = tuple(one for one in tenant.held if one.name not in gone)
    return Shrunk(tenant.name, tenant.counts, replace(tenant, held=stays).counts, removals)


@dataclass(slots=True)
class _Degrading:
    """What is free, what stands and what has been given way so far."""

    fleet: Fleet
    choosing: Choosing
    standing: Standing
    answers: Answers
    gone: dict[str, list[Removal]] = field(default_factory=dict)

    def serve(self, wanted: Wanted) -> None:
        """Place a request, whole if it can be, else the most of its ratio."""
        whole = replace(wanted, other=None)
        units, shares = self._placed(whole)
        if not units and wanted.other is not None:
            whole = wanted.other
            units, shares = self._placed(whole)
        self.answers.add(whole.tenant, whole.ask, shares, ())
        placed = whole.placed(shares)
        if placed != wanted.change:
            left = max(1, whole.ask.units - units)
            short = self._exhausted(whole)
            self.answers.unplaced.append(
                refusal(
                    self.fleet,
                    short,
                    wanted.tenant,
                    replace(whole.ask, units=left),
                    (wanted.change, placed),
                )
            )

    def _placed(self, wanted: Wanted) -> tuple[int, list[Share]]:
        """Place as many units as find room, others giving way where none does."""
        shares: list[Share] = []
        left, ask = wanted.ask.units, wanted.ask
        while True:
            ask = replace(ask, units=left)
            _, more = Placed(self.choosing).add(self.fleet, replace(wanted, ask=ask))
            shares += more
            left -= sum(share.units for share in more)
            for share in more:
                ask = less(ask, share, self.choosing.slots.topology) if ask.caps else ask
            if not left or not self._give_way(replace(wanted, ask=replace(ask, units=1))):
                return wanted.ask.units - left, shares

    def _give_way(self, wanted: Wanted) -> bool:
        """Remove what makes room for one unit; whether something does."""
        if any(not part.options for part in wanted.ask.parts):
            return False
        for priority in self.standing.priorities(below=wanted.tenant.priority):
            found = [
                units
                for domain in self._looked_at(wanted, priority)
                if (units := _Yielding(self, wanted, domain, priority).run()) is not None
            ]
            if found:
                best = min(found, key=lambda units: sum(unit.gpus for unit in units))
                self._remove(wanted.tenant, best)
                return True
        return False

    def _looked_at(self, wanted: Wanted, priority: int) -> list[Domain]:
        """Return the domains that may have room once services up to a priority give way."""
        level = wanted.ask.require
        given = self.choosing.slots.free + self.standing.holds(priority)
        bound = widened(self.fleet, self.choosing, (), given)
        room = bound.room(wanted.ask, level)
        short = lacks(self.choosing, wanted.ask, level)
        order = np.argsort(np.where(room > 0, short, np.iinfo(np.int32).max), kind="stable")
        return [(level, at) for at in order[:LOOKED_AT].tolist() if room[at] > 0]

    def _exhausted(self, wanted: Wanted) -> Choosing:
        """Return what is free after all that could go in the domain that lacks least has gone."""
        level = wanted.ask.require
        priorities = self.standing.priorities(below=wanted.tenant.priority)
        if not priorities or any(not part.options for part in wanted.ask.parts):
            return self.choosing
        given = self.choosing.slots.free + self.standing.holds(priorities[-1])
        bound = widened(self.fleet, self.choosing, (), given)
        short = lacks(bound, wanted.ask, level)
        best = None
        for at in np.argsort(short, kind="stable")[:LOOKED_AT].tolist():
            trial = self.choosing.copy()
            _Yielding(self, wanted, (level, at), priorities[-1]).exhaust(trial)
            missing = int(lacks(trial, wanted.ask, level)[at])
            if best is None or missing < best[0]:
                best = (missing, trial)
        return self.choosing if best is None else best[1]

    def _remove(self, asker: Tenant, units: Sequence[Unit]) -> None:
        for unit in units:
            unit.give_back(self.choosing)
            self.standing.remove(unit)
            tenant = unit.tenant
            why = f"gives way to {asker.name}: priority {tenant.priority} to {asker.priority}"
            self.gone.setdefault(tenant.name, []).extend(
                Removal(tenant.name, pod.group, pod.role, pod.name, pod.nodes, why)
                for one in unit.ones
                for pod in one.pods
            )


@dataclass(slots=True)
class _Yielding:
    """One domain in which services up to a priority give way for one unit."""

    work: _Degrading
    wanted: Wanted
    domain: Domain
    priority: int

    def run(self) -> list[Unit] | None:
        """Return the units of others after which the request fits, none of them in vain."""
        trial = self.work.choosing.copy()
        given: list[Unit] = []
        for unit in self._in_turn(trial):
            unit.give_back(trial)
            given.append(unit)
            if self._fits(trial):
                return self._needed(trial, given)
        return None

    def exhaust(self, trial: Choosing) -> None:
        """Give back all that could go."""
        for unit in self._in_turn(trial):
            unit.give_back(trial)

    def _in_turn(self, trial: Choosing) -> Iterator[Unit]:
        types = {option.type for part in self.wanted.ask.parts for option in part.options}
        return self.work.standing.in_turn(trial, self.domain, types, self.priority)

    def _needed(self, trial: Choosing, given: list[Unit]) -> list[Unit]:
        """Return the units without which the request would not fit, the highest kept first."""
        needed = list(given)
        for unit in reversed(given):
            unit.take_back(trial)
            if self._fits(trial):
                needed.remove(unit)
            else:
                unit.give_back(trial)
        return needed

    def _fits(self, trial: Choosing) -> bool:
        level, domain = self.domain
        if not trial.counting(self.wanted.ask).units(trial.slots, level)[domain]:
            return False
        ask = replace(self.wanted.ask, within=self.domain)
        _, shares = Placed(trial).add(self.work.fleet, replace(self.wanted, ask=ask))
        trial.undo(shares)
        return bool(shares)
