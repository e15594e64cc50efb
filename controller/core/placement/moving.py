"""Moves of instances tried on a copy: who may move, and where to (placement: Defragmentation)."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.fleet import FleetView, Ints, Level
from controller.core.placement.choose import Ask, Choosing
from controller.core.placement.layout import Fleet, caps_of
from controller.core.placement.slots import Option, Part, Size, Slots
from controller.core.placement.values import Held, Move, Tenant, Where
from controller.core.placement.why import deficit, gpus_of
from controller.core.types import Instances, Role

USUAL_START_S: Final = 60.0

Domain = tuple[Level, int]


@dataclass(frozen=True, slots=True)
class Disruption:
    """What a proposal may disturb: so many instances in all, each of which takes a start.

    ``start_up_s`` is by service how long an instance takes to start, 60 s where it is not known.
    """

    instances: int
    start_up_s: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def least_start_s(self) -> float:
        """The shortest start there is."""
        return min([USUAL_START_S, *self.start_up_s.values()])

    def price(self, service: str, held: Held) -> float:
        """Return what moving an instance costs [GPU-seconds]."""
        return held.gpus * self.start_up_s.get(service, USUAL_START_S)


@dataclass(slots=True)
class Moving:
    """The fleet after the moves so far: what is free, and what each service holds then."""

    fleet: Fleet
    choosing: Choosing
    tenants: dict[str, Tenant]
    budget: Disruption
    moves: tuple[Move, ...] = ()
    cost: float = 0.0

    def copy(self) -> "Moving":
        """Return a copy to try something on."""
        return replace(self, choosing=self.choosing.copy(), tenants=dict(self.tenants))

    def allows(self, ones: Iterable[tuple[str, Held]]) -> bool:
        """Return whether so many more may move: in all, and of each role of a service.

        At once one instance of a role moves, or a tenth of those there are.
        """
        moving = Counter([(move.service, move.role) for move in self.moves])
        moving.update([(service, held.role) for service, held in ones])
        return moving.total() <= self.budget.instances and all(
            count == 1 or count <= self.tenants[service].counts.of(role) // 10
            for (service, role), count in moving.items()
        )

    def is_movable(self, service: str, held: Held) -> bool:
        """Return whether an instance could move at all: it serves, is one pod, and has not moved.

        An instance of several parts stays where it is, and so does one of a group that shares no
        domain or is on nodes that are not known or not to be used: nothing would be free there.
        """
        form = self.tenants[service].roles.get(held.role)
        if form is None or form.need is None or not held.is_up or not held.nodes:
            return False
        if any((move.service, move.instance) == (service, held.name) for move in self.moves):
            return False
        at, usable = self.fleet.at, self.fleet.view.usable
        return all(name in at and usable[at[name]] for name, _ in held.nodes)

    def has_place(self, service: str, held: Held) -> bool:
        """Return whether there is a slot for an instance where its group would stay as near."""
        tenant = self.tenants[service]
        level, domain = self.bounds(tenant, held) or (Level.CLUSTER, slice(None))
        slots = self.choosing.slots
        options = self.options(tenant, held)
        return any(slots.of(option, level)[domain].any() for option in options)

    def move(self, service: str, held: Held, free: Choosing, within: Domain | None = None) -> bool:
        """Move an instance to the best of ``free``; ``False``, and nothing done, if none will do.

        Its group is then no farther apart than it was, its service as spread, the hardware the
        same. ``free`` are the GPUs it may take; what it leaves is not among them.
        """
        tenant = self.tenants[service]
        ask = self._ask(tenant, held, within)
        shares = free.place(ask) if ask is not None else []
        if not shares:
            return False
        (share,) = shares
        (pod,) = share.pods
        topology = self.fleet.view.topology
        nodes = tuple((topology.names[node], gpus) for node, gpus in pod.nodes)
        moved = _with(tenant, replace(held, nodes=nodes))
        if not self._keeps_pairs(tenant, moved, held.group):
            free.undo(shares)
            return False
        give_back(self.fleet, self.choosing, [held])
        for node, gpus in pod.nodes:
            self.choosing.slots.take(node, gpus)
        self.tenants[service] = moved
        hardware = topology.hardware_name(int(topology.hardware[pod.nodes[0][0]]))
        where = self.fleet.where(share.level, share.domain)
        self.moves += (
            Move(
                service,
                held.role,
                held.name,
                held.group,
                held.nodes,
                nodes,
                hardware,
                where,
            ),
        )
        self.cost += self.budget.price(service, held)
        return True

    def _ask(self, tenant: Tenant, held: Held, within: Domain | None) -> Ask | None:
        others = [one for one in tenant.held if one.name != held.name]
        options = self.options(tenant, held)
        if within is None:
            near = self.bounds(tenant, held)
            if near is None and any(one.group == held.group for one in others):
                return None
            within = near
        unit = Instances(*(int(role is held.role) for role in Role))
        return Ask(
            service=tenant.name,
            parts=(Part(held.role.value, 1, options),),
            units=1,
            within=within,
            caps=caps_of(self.fleet, replace(tenant, held=tuple(others)), unit, 1),
        )

    def bounds(self, tenant: Tenant, held: Held) -> Domain | None:
        """Return the domain an instance must stay in for its group to be as near as it is.

        ``None`` for one alone in its group, and for a group that shares no domain.
        """
        mine = [one for one in tenant.held if one.group == held.group]
        if len(mine) == 1:
            return None
        where = self._nearest(mine)
        return None if where is None else (where.level, where.domain)

    def _nearest(self, held: Iterable[Held]) -> Where | None:
        return self.fleet.nearest(sorted({name for one in held for name, _ in one.nodes}))

    def options(self, tenant: Tenant, held: Held) -> tuple[Option, ...]:
        """Return where an instance may run without becoming slower or faster than it is."""
        topology = self.fleet.view.topology
        form = tenant.roles[held.role]
        runs_on = topology.hardware_name(int(topology.hardware[self.fleet.at[held.nodes[0][0]]]))
        return tuple(
            option._replace(throughput=1.0)
            for option in (self.fleet.options(form.need) if form.need else ())
            if topology.hardware_name(option.type) == runs_on
        )

    def _keeps_pairs(self, before: Tenant, after: Tenant, group: str) -> bool:
        # Whoever asks for one S1 wants its pairs there even while the whole group is not.
        if before.affinity.level is not Level.S1:
            return True
        return pairs_of(self.fleet, before, group)[0] <= pairs_of(self.fleet, after, group)[0]


def _with(tenant: Tenant, moved: Held) -> Tenant:
    held = tuple(moved if one.name == moved.name else one for one in tenant.held)
    return replace(tenant, held=held)


def widened(
    fleet: Fleet, choosing: Choosing, sizes: Collection[Size], free: Ints | None = None
) -> Choosing:
    """Return a copy of what is free, or of ``free``, in which some more sizes count."""
    slots = choosing.slots
    view = FleetView(slots.topology, slots.free if free is None else free, fleet.view.usable)
    return Choosing(Slots(view, {*sizes, *slots.sizes}), choosing.pressure)


def give_back(fleet: Fleet, choosing: Choosing, held: Iterable[Held]) -> None:
    """Add what instances hold to what is free, on nodes that may be used and up to their size."""
    slots = choosing.slots
    for one in held:
        for name, gpus in one.nodes:
            at = fleet.at.get(name)
            if at is not None and fleet.view.usable[at]:
                slots.take(at, -min(gpus, int(slots.gpus[at] - slots.free[at])))


def pairs_of(fleet: Fleet, tenant: Tenant, group: str) -> tuple[int, int]:
    """Return how many (P, D) pairs of a group share an S1, and how many there are."""
    here = by_s1(fleet, (one for one in tenant.held if one.group == group))
    prefill, decode = here[Role.PREFILL], here[Role.DECODE]
    near = sum(count * decode[s1] for s1, count in prefill.items() if s1 >= 0)
    return near, prefill.total() * decode.total()


def by_s1(fleet: Fleet, held: Iterable[Held]) -> dict[Role, Counter[int]]:
    """Return how many instances of each role are under each S1; -1 for those under none."""
    places, at = fleet.view.topology.places, fleet.at
    found: dict[Role, Counter[int]] = {role: Counter() for role in Role}
    for one in held:
        s1 = {places[at[name]][Level.S1 + 1] if name in at else -1 for name, _ in one.nodes}
        found[one.role][s1.pop() if len(s1) == 1 else -1] += 1
    return found


def lacks(choosing: Choosing, ask: Ask, level: Level) -> Ints:
    """Return the GPUs each domain of a level lacks for one unit, in slots of the right size.

    A domain in which every part has room, but not all together, lacks the largest pod.
    """
    short = sum(
        (deficit(choosing, part, level, 1) * gpus_of(part) for part in ask.parts),
        start=np.zeros(len(choosing.slots.topology.domains[level])),
    )
    largest = max(map(gpus_of, ask.parts))
    fits = choosing.counting(ask).units(choosing.slots, level) > 0
    return np.where(fits, 0, np.where(short > 0, short, largest)).astype(np.int32)
