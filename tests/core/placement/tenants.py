"""Fleets and the services on them written as lines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from controller.core.fleet import Level, NodeRow
from controller.core.placement.choose import Choosing
from controller.core.placement.cycle import choosing_of
from controller.core.placement.layout import Fleet, fleet_of
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    RoleForm,
    RoleNeed,
    Tenant,
)
from controller.core.types import Instances, Role

ROLES = {"p": Role.PREFILL, "d": Role.DECODE}
IN_S1 = Affinity(Level.S1, required=True)
IN_S2 = Affinity(Level.S2, required=True)
RATHER_S1 = Affinity(Level.S1)


def need(gpus: int, *hardware: str, nodes: int = 1) -> RoleForm:
    """Return a role whose instances take so many GPUs of any of some types, else H20."""
    return RoleForm(RoleNeed(tuple(Choice(name, gpus) for name in hardware or ("H20",)), nodes))


def held(line: str) -> Held:
    """Return an instance of a line such as ``p1 g1 n1:4 n2:4``: name, group, nodes with GPUs.

    The first letter is the role; one that ends in ``!`` does not serve.
    """
    name, group, *nodes = line.split()
    taken = tuple((node, int(gpus)) for node, gpus in (one.split(":") for one in nodes))
    return Held(name.rstrip("!"), ROLES[name[0]], group, taken, is_up=not name.endswith("!"))


def tenant(name: str, gpus: tuple[int, int], *lines: str, **terms: object) -> Tenant:
    """Return a service whose instances take so many GPUs, prefill and decode, and hold these."""
    roles = {role: need(each) for role, each in zip(Role, gpus, strict=True) if each}
    ones = tuple(held(line) for line in lines)
    ones = tuple(
        Held(f"{name}-{one.name}", one.role, one.group, one.nodes, is_up=one.is_up) for one in ones
    )
    fields = {"roles": roles, "held": ones, "affinity": IN_S1} | terms
    return Tenant(name, **fields)  # type: ignore[arg-type] - any field


def row(  # noqa: PLR0913, PLR0917 - what a node is, in the order of its line
    name: str, s2: str, s1: str, hardware: str, free: int, gpus: int = 8, *, usable: bool = True
) -> NodeRow:
    """Return a node of the one cluster there is."""
    return NodeRow(name, "c", s2, s1, "", hardware, gpus, free, usable)


@dataclass(frozen=True)
class World:
    """A fleet with what its services leave free."""

    fleet: Fleet
    choosing: Choosing
    tenants: tuple[Tenant, ...]


def world(lines: str, *tenants: Tenant) -> World:
    """Return nodes of lines such as ``s2/s1/n1 H20 8 down``, and what the services leave free."""
    taken = Counter[str]()
    for one in tenants:
        for each in one.held:
            taken.update(dict(each.nodes))
    rows = []
    for line in lines.strip().splitlines():
        place, hardware, gpus, *state = line.split()
        s2, s1, name = place.split("/")
        free = int(gpus) - taken[name]
        assert free >= 0, f"{name} is over capacity"
        rows.append(row(name, s2, s1, hardware, free, int(gpus), usable=not state))
    fleet = fleet_of(rows, tenants)
    return World(fleet, choosing_of(fleet, []), tenants)


PAIR = Instances(1, 1)
