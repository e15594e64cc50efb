"""The shares of a cycle as a plan: instances and groups with names (HeteroScale §7)."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.fleet import Level, Scarcity
from controller.core.placement.choose import Ask, Choosing, Pod, Share
from controller.core.placement.layout import SUBGROUPS, Fleet, groups_of
from controller.core.placement.values import (
    Candidate,
    GroupLine,
    Held,
    Placement,
    Plan,
    Removal,
    Request,
    Tenant,
    Unplaced,
)
from controller.core.types import Instances, Role

_NUMBER: Final = re.compile(r"(\d+)$")


@dataclass(slots=True)
class Answers:
    """What a cycle has found so far."""

    fleet: Fleet
    choosing: Choosing
    placements: dict[str, list[Placement]] = field(default_factory=dict)
    unplaced: list[Unplaced] = field(default_factory=list)
    looked_at: dict[str, Sequence[Candidate]] = field(default_factory=dict)

    def add(
        self, tenant: Tenant, ask: Ask, shares: Sequence[Share], looked: Sequence[Candidate]
    ) -> None:
        """Name what was placed for a service."""
        self.looked_at[tenant.name] = looked
        self.placements[tenant.name] = _placements(self.fleet, tenant, ask, shares)


def planned(
    answers: Answers,
    tenants: Sequence[Tenant],
    requests: Sequence[Request],
    removals: Sequence[Removal],
) -> Plan:
    """Return the plan of a cycle, everything in the order of the requests."""
    order = {request.service: at for at, request in enumerate(requests)}
    placements = [
        placement
        for service in sorted(answers.placements, key=lambda name: order[name])
        for placement in answers.placements[service]
    ]
    return Plan(
        placements=placements,
        removals=removals,
        unplaced=sorted(answers.unplaced, key=lambda one: order[one.service]),
        groups=_groups(answers.fleet, tenants, placements, removals),
        looked_at={name: answers.looked_at[name] for name in order if name in answers.looked_at},
    )


def _placements(
    fleet: Fleet, tenant: Tenant, ask: Ask, shares: Sequence[Share]
) -> list[Placement]:
    names = _Names(tenant)
    scope = ask.require if ask.prefer is None else ask.prefer
    new: dict[tuple[Level, int], str] = {}
    found: list[Placement] = []
    for share in shares:
        place = _outward(fleet, share, max(scope, share.level))
        group = share.group or new.get(place)
        if group is None:
            group = new[place] = names.group()
        for pod, instance, part in _instances(share, names):
            found.append(
                Placement(
                    service=tenant.name,
                    group=group,
                    is_new_group=share.group is None,
                    role=Role(pod.role.partition("/")[0]),
                    instance=instance,
                    nodes=_named(fleet, pod),
                    hardware=_hardware(fleet, pod),
                    where=fleet.where(share.level, share.domain),
                    part=part,
                )
            )
    return found


def _instances(share: Share, names: "_Names") -> list[tuple[Pod, str, str]]:
    """Return each pod with the instance it is, or is of, and the part it plays there."""
    found = []
    units: dict[tuple[str, str], str] = {}
    for pod in share.pods:
        role, _, rest = pod.role.partition("/")
        if not rest:
            found.append((pod, names.instance(role), ""))
            continue
        part, _, number = rest.partition("/")
        unit = units.get((role, number))
        if unit is None:
            unit = units[role, number] = names.instance(role)
        found.append((pod, unit, part))
    return found


def _outward(fleet: Fleet, share: Share, scope: Level) -> tuple[Level, int]:
    at = share.domain
    for inner in range(share.level, scope):
        at = int(fleet.view.topology.up[Level(inner)][at])
    return scope, at


def _named(fleet: Fleet, pod: Pod) -> tuple[tuple[str, int], ...]:
    names = fleet.view.topology.names
    return tuple((names[node], gpus) for node, gpus in pod.nodes)


def _hardware(fleet: Fleet, pod: Pod) -> str:
    topology = fleet.view.topology
    return topology.hardware_name(int(topology.hardware[pod.nodes[0][0]]))


class _Names:
    """Gives new instances and groups of a service names that none had."""

    def __init__(self, tenant: Tenant) -> None:
        self._service = tenant.name
        self._groups = {one.group for one in tenant.held}
        self._next: Counter[str] = Counter()
        for one in tenant.held:
            found = _NUMBER.search(one.unit or one.name)
            if found:
                role = one.role.value
                self._next[role] = max(self._next[role], int(found[1]))

    def instance(self, role: str) -> str:
        self._next[role] += 1
        return f"{self._service}-{role}-{self._next[role]}"

    def group(self) -> str:
        number = 1
        while (name := f"{self._service}-g{number}") in self._groups:
            number += 1
        self._groups.add(name)
        return name


def _groups(
    fleet: Fleet,
    tenants: Sequence[Tenant],
    placements: Sequence[Placement],
    removals: Sequence[Removal],
) -> list[GroupLine]:
    """Return the groups of all services as they are after the plan."""
    gone = {(one.service, one.instance) for one in removals}
    came: dict[str, list[Placement]] = defaultdict(list)
    for placement in placements:
        came[placement.service].append(placement)
    lines: list[GroupLine] = []
    for tenant in sorted(tenants, key=lambda tenant: tenant.name):
        stays = [one for one in tenant.held if (tenant.name, one.unit or one.name) not in gone]
        new = [
            Held(one.instance, one.role, one.group, one.nodes, unit=one.instance)
            for one in came[tenant.name]
        ]
        for group, held in groups_of([*stays, *new]).items():
            lines.append(_line(fleet, tenant.name, group, held))
    return lines


def _line(fleet: Fleet, service: str, group: str, held: Sequence[Held]) -> GroupLine:
    where = fleet.nearest(sorted({name for one in held for name, _ in one.nodes}))
    units = {(one.role, one.unit or one.name) for one in held}
    counts = Instances(*(sum(role is kind for kind, _ in units) for role in Role))
    topology = fleet.view.topology
    ranks = {
        int(topology.scarcity[topology.of[Level.S1][at]])
        for one in held
        for name, _ in one.nodes
        if (at := fleet.at.get(name)) is not None
    }
    subgroup = SUBGROUPS[Scarcity(max(ranks))] if ranks else ""
    return GroupLine(service, group, where, counts, subgroup)


def instances(plan: Plan) -> Mapping[tuple[str, Role], int]:
    """Return by service and role how many instances a plan adds, less those it removes."""
    added = {(one.service, one.role, one.instance) for one in plan.placements}
    gone = {(one.service, one.role, one.instance) for one in plan.removals}
    counted = Counter((service, role) for service, role, _ in added)
    counted.subtract((service, role) for service, role, _ in gone)
    return counted
