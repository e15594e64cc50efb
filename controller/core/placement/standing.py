"""What may go: the instances above each service's least, in whole units of its ratio."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Final

import numpy as np

from controller.core.fleet import Ints
from controller.core.placement.choose import Choosing
from controller.core.placement.layout import Fleet
from controller.core.placement.moving import Domain
from controller.core.placement.values import Held, Tenant
from controller.core.types import Instances, Role

LARGEST_TERM: Final = 16
"""A ratio is taken as the nearest fraction of which no term below the line is larger."""


@dataclass(frozen=True, slots=True, eq=False)
class One:
    """An instance that serves, with all its pods and the GPUs these give back, by node."""

    name: str
    role: Role
    group: str
    pods: tuple[Held, ...]
    gives: tuple[tuple[int, int], ...]
    since_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Instances of one group of a service that go together."""

    tenant: Tenant
    ones: tuple[One, ...]

    @property
    def gpus(self) -> int:
        """The GPUs it holds."""
        return sum(pod.gpus for one in self.ones for pod in one.pods)

    def give_back(self, choosing: Choosing) -> None:
        """Add what it holds to what is free, on nodes that may be used."""
        for one in self.ones:
            for node, gpus in one.gives:
                choosing.slots.take(node, -gpus)

    def take_back(self, choosing: Choosing) -> None:
        """Take again what it held."""
        for one in self.ones:
            for node, gpus in one.gives:
                choosing.slots.take(node, gpus)


class Standing:
    """The instances that serve, of services that are above their least."""

    def __init__(self, fleet: Fleet, tenants: Sequence[Tenant], free: Ints) -> None:
        self._fleet = fleet
        # No node gives more back than it has, whatever is said to be held there.
        self._taken: list[int] = (fleet.view.topology.gpus - free).tolist()
        self._of = {tenant.name: tenant for tenant in tenants}
        self._known: dict[str, list[One]] = {}
        self._spent: set[str] = set()
        self._on: dict[int, set[str]] = defaultdict(set)
        self._holds: dict[int, list[int]] = {}
        for tenant in tenants:
            up = Counter(pod.role for pod in tenant.held if pod.is_up)
            if any(up[role] > tenant.least.of(role) for role in Role):
                self._count(tenant)

    def _count(self, tenant: Tenant) -> None:
        at, on = self._fleet.at, self._on
        holds = self._holds.setdefault(tenant.priority, [0] * len(self._taken))
        for pod in tenant.held:
            if pod.is_up:
                for name, gpus in pod.nodes:
                    if name in at:
                        holds[at[name]] += gpus
                        on[at[name]].add(tenant.name)

    def _ones(self, name: str) -> list[One]:
        """Return the instances of a service that serve; worked out when first asked for."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._serving(self._of[name])
        return known

    def _serving(self, tenant: Tenant) -> list[One]:
        pods: dict[tuple[Role, str], list[Held]] = {}
        for pod in tenant.held:
            pods.setdefault((pod.role, pod.unit or pod.name), []).append(pod)
        return [
            One(
                name,
                role,
                held[0].group,
                tuple(held),
                tuple(self._gives(held)),
                max(pod.since_s for pod in held),
            )
            for (role, name), held in pods.items()
            if all(pod.is_up for pod in held)
        ]

    def _gives(self, pods: Iterable[Held]) -> Iterator[tuple[int, int]]:
        for pod in pods:
            for node, held in pod.nodes:
                at = self._fleet.at.get(node)
                if at is not None and self._fleet.view.usable[at]:
                    gpus = min(held, self._taken[at])
                    self._taken[at] -= gpus
                    yield at, gpus

    def priorities(self, *, below: int) -> list[int]:
        """Return the priorities of which something may go, the lowest first."""
        return sorted(priority for priority in self._holds if priority < below)

    def holds(self, priority: int) -> Ints:
        """Return what services up to a priority hold of each node at most, shape ``(N,)``.

        Nothing of nodes that may not be used.
        """
        usable = self._fleet.view.usable
        total = np.zeros(len(usable), np.int32)
        for each, holds in self._holds.items():
            if each <= priority:
                total += np.array(holds, np.int32)
        return np.where(usable, total, 0)

    def in_turn(
        self, trial: Choosing, domain: Domain, types: Collection[int], priority: int
    ) -> Iterator[Unit]:
        """Yield units that give GPUs of some types back in a domain, in the order they go.

        The lowest priority first, then what is farthest above its least, then what gives most
        there. What was yielded is taken to have gone; ``trial`` is what is free by then.
        """
        level, at = domain
        topology = self._fleet.view.topology
        inside = range(*topology.members(level, at).indices(len(topology.names)))
        helps = frozenset(node for node in inside if topology.hardware[node] in types)
        left = {
            name: list(self._ones(name))
            for name in sorted(set().union(*(self._on.get(node, ()) for node in helps)))
            if name not in self._spent and self._of[name].priority <= priority
        }
        while left:
            name = min(left, key=lambda name: self._turn(name, left[name]))
            unit = self._unit(trial, name, left[name], helps)
            if unit is None:
                del left[name]
                continue
            left[name] = [one for one in left[name] if one not in unit.ones]
            yield unit

    def _turn(self, name: str, ones: Sequence[One]) -> tuple[int, int, str]:
        tenant = self._of[name]
        return tenant.priority, sum(tenant.least) - len(ones), name

    def _unit(
        self, trial: Choosing, name: str, ones: Sequence[One], helps: Collection[int]
    ) -> Unit | None:
        """Return the unit of a service that gives most where it helps; ``None`` without any."""
        tenant = self._of[name]
        offers = []
        for unit in _units(tenant):
            if _may_go(tenant, ones, unit):
                for group in sorted({one.group for one in ones}):
                    mine = [one for one in ones if one.group == group]
                    chosen = _chosen(trial, mine, unit, helps)
                    if chosen:
                        offers.append((_key(trial, chosen, mine, helps), chosen))
        if not offers:
            return None
        return Unit(tenant, min(offers, key=lambda offer: offer[0])[1])

    def remove(self, unit: Unit) -> None:
        """Take a unit away; what has reached its least is no longer among what may go."""
        name = unit.tenant.name
        left = self._known[name] = [one for one in self._ones(name) if one not in unit.ones]
        gone = list(unit.ones)
        if not any(_may_go(unit.tenant, left, each) for each in _units(unit.tenant)):
            self._spent.add(name)
            gone += left
        holds = self._holds[unit.tenant.priority]
        for one in gone:
            for node, gpus in one.gives:
                holds[node] -= gpus


def _units(tenant: Tenant) -> tuple[Instances, ...]:
    """Return what goes at once: a unit of the ratio, or one instance where there is none."""
    if not tenant.pd_ratio or len(tenant.roles) == 1:
        return Instances(1, 0), Instances(0, 1)
    return (_pair(tenant.pd_ratio),)


@cache
def _pair(pd_ratio: float) -> Instances:
    ratio = Fraction(pd_ratio).limit_denominator(LARGEST_TERM)
    return Instances(max(1, ratio.numerator), ratio.denominator)


def _may_go(tenant: Tenant, ones: Sequence[One], unit: Instances) -> bool:
    have = Counter(one.role for one in ones)
    return all(
        have[role] - unit.of(role) >= tenant.least.of(role) for role in Role if unit.of(role)
    )


def _chosen(
    trial: Choosing, mine: Sequence[One], unit: Instances, helps: Collection[int]
) -> tuple[One, ...]:
    """Return a unit of one group: of each role what gives most where it helps; empty if none."""
    chosen: list[One] = []
    for role in Role:
        ordered = sorted(
            (one for one in mine if one.role is role), key=lambda one: _rank(trial, one, helps)
        )
        if len(ordered) < unit.of(role):
            return ()
        chosen += ordered[: unit.of(role)]
    return tuple(chosen) if any(_given(one, helps) for one in chosen) else ()


def _given(one: One, helps: Collection[int]) -> int:
    return sum(gpus for node, gpus in one.gives if node in helps)


def _rank(trial: Choosing, one: One, helps: Collection[int]) -> tuple[bool, int, int, float, str]:
    """Return the order in which instances go: first those that complete what is free on a node."""
    free = [int(trial.slots.free[node]) for node, _ in one.gives if node in helps]
    given = _given(one, helps)
    return not given, -max(free, default=0) - given, -given, -one.since_s, one.name


def _key(
    trial: Choosing, chosen: Sequence[One], mine: Sequence[One], helps: Collection[int]
) -> tuple[bool, tuple[bool, int, int, float, str]]:
    roles = {one.role for one in mine}
    stays = {one.role for one in mine if one not in chosen}
    return (
        bool(stays) and stays != roles,
        min(_rank(trial, one, helps) for one in chosen),
    )
