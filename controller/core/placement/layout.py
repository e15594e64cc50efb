"""Services and nodes as the array engine sees them: options, homes, asks (HeteroScale §7)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Final

from controller.core.fleet import FleetView, Level, NodeRow, Scarcity, view_of
from controller.core.placement.choose import Ask, Home
from controller.core.placement.slots import Option, Part, Size
from controller.core.placement.values import Held, RoleForm, RoleNeed, Tenant, Where
from controller.core.types import Instances, Role

Key = tuple[tuple[tuple[str, tuple[str, ...]], ...], frozenset[str]]
"""The labels asked for and the taints tolerated: what decides which nodes a need may use."""

ANY: Final[Key] = ((), frozenset())
EVERY_VARIANT: Final = ("",)
SUBGROUPS: Final = {Scarcity.LOW: "low", Scarcity.MEDIUM: "medium", Scarcity.HIGH: "high"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What nodes are beyond their arrays, by name: labels, taints, and why some may not be used.

    Nodes without any are left out. ``lost`` are those of which nothing is to be hoped for what
    runs there; what is only closed to new instances, as a cordoned one, is not lost. ``excluded``
    says of nodes that a person closed to some services by whom, as it follows a count.
    """

    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict, hash=False)
    taints: Mapping[str, frozenset[str]] = field(default_factory=dict, hash=False)
    barred: Mapping[str, str] = field(default_factory=dict, hash=False)
    lost: frozenset[str] = frozenset()
    excluded: Mapping[str, str] = field(default_factory=dict, hash=False)


NO_FACTS: Final = Facts()


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Every node as arrays; ``admits`` are the variants each need may use, ``at`` node by name."""

    view: FleetView
    admits: Mapping[Key, tuple[str, ...]]
    kinds: Mapping[tuple[str, str], int]
    at: Mapping[str, int]
    barred: Mapping[str, str]
    lost: frozenset[str]
    excluded: Mapping[str, str]

    def options(self, need: RoleNeed) -> tuple[Option, ...]:
        """Return the types a need may use, in its order of preference; none if no node has any."""
        variants = self.admits.get(key_of(need), ())
        return tuple(
            Option(kind, Size(-(-choice.gpus // need.nodes), need.nodes), choice.throughput)
            for choice in need.hardware
            for variant in variants
            if (kind := self.kinds.get((choice.type, variant))) is not None
        )

    def domain_of(self, nodes: Iterable[str], level: Level) -> int | None:
        """Return the one domain of a level that all nodes share; ``None`` if there is none."""
        of = self.view.topology.of[level]
        found = {int(of[at]) if (at := self.at.get(name)) is not None else -1 for name in nodes}
        return found.pop() if len(found) == 1 and -1 not in found else None

    def told(self, name: str) -> str:
        """Return what people call a node: its name without its cluster's in front."""
        at = self.at.get(name)
        if at is None:
            return name
        topology = self.view.topology
        cluster = topology.domains[Level.CLUSTER][int(topology.of[Level.CLUSTER][at])]
        return name.removeprefix(f"{cluster}/") if cluster else name

    def cluster_of(self, tenant: Tenant) -> tuple[Level, int] | None:
        """Return the cluster a service must stay in, ``None`` if it may run anywhere.

        One of which no node is known has a number no domain has.
        """
        if not tenant.cluster:
            return None
        clusters = self.view.topology.domains[Level.CLUSTER]
        known = tenant.cluster in clusters
        return Level.CLUSTER, clusters.index(tenant.cluster) if known else -1

    def where(self, level: Level, domain: int) -> Where:
        """Return a domain with its name."""
        return Where(level, domain, self.view.topology.label(level, domain))

    def nearest(self, nodes: Sequence[str]) -> Where | None:
        """Return the nearest domain all nodes share; ``None`` where one of them is unknown."""
        for level in Level:
            domain = self.domain_of(nodes, level)
            if domain is not None:
                return self.where(level, domain)
        return None


def key_of(need: RoleNeed) -> Key:
    """Return what of a need decides which nodes it may use."""
    if not need.select and not need.tolerate:
        return ANY
    return tuple(sorted(need.select.items())), need.tolerate


def fleet_of(rows: Sequence[NodeRow], tenants: Sequence[Tenant], facts: Facts = NO_FACTS) -> Fleet:
    """Return nodes as arrays in which every need of the tenants finds the nodes it may use.

    Nodes of one hardware type that not all needs may use count as types of their own, so that
    counting stays exact.
    """
    keys = sorted(
        {key_of(need) for tenant in tenants for need in needs_of(tenant)},
        key=lambda key: (key[0], sorted(key[1])),
    )
    if not facts.taints and all(not select for select, _ in keys):
        admits: Mapping[Key, tuple[str, ...]] = dict.fromkeys(keys, EVERY_VARIANT)
    else:
        rows, admits = _varied(rows, keys, facts)
    view = view_of(rows)
    topology = view.topology
    kinds = {}
    for kind, name in enumerate(topology.types):
        hardware = topology.hardware_name(kind)
        kinds[hardware, name[len(hardware) + 1 :]] = kind
    at = dict(zip(topology.names, range(len(topology.names)), strict=True))
    return Fleet(view, admits, kinds, at, facts.barred, facts.lost, facts.excluded)


def _varied(
    rows: Sequence[NodeRow], keys: Sequence[Key], facts: Facts
) -> tuple[list[NodeRow], dict[Key, tuple[str, ...]]]:
    """Return the rows with a variant that tells which of the keys admit them, and the reverse."""
    varied: list[NodeRow] = []
    seen: set[str] = set()
    for row in rows:
        labels, taints = facts.labels.get(row.name, {}), facts.taints.get(row.name, frozenset())
        bits = "".join("1" if _admits(key, labels, taints) else "0" for key in keys)
        variant = "" if "0" not in bits else bits
        seen.add(variant)
        varied.append(row if not variant else _variant(row, variant))
    ordered = sorted(seen)
    admits = {
        key: tuple(name for name in ordered if not name or name[at] == "1")
        for at, key in enumerate(keys)
    }
    return varied, admits


def _variant(row: NodeRow, variant: str) -> NodeRow:
    return NodeRow(
        row.name,
        row.cluster,
        row.s2,
        row.s1,
        row.rack,
        row.hardware,
        row.gpus,
        row.free,
        row.usable,
        variant,
    )


def _admits(key: Key, labels: Mapping[str, str], taints: frozenset[str]) -> bool:
    select, tolerate = key
    tolerated = all(taint in tolerate or taint.partition("=")[0] in tolerate for taint in taints)
    return tolerated and all(labels.get(name) in values for name, values in select)


def needs_of(tenant: Tenant) -> Iterable[RoleNeed]:
    """Yield every need of a service, those of parts included."""
    for form in tenant.roles.values():
        if form.need is not None:
            yield form.need
        for part in form.parts:
            yield part.need


def sizes_of(tenants: Iterable[Tenant]) -> set[Size]:
    """Return the sizes of all pods the services may ask for."""
    return {
        Size(-(-choice.gpus // need.nodes), need.nodes)
        for tenant in tenants
        for need in needs_of(tenant)
        for choice in need.hardware
    }


def groups_of(held: Iterable[Held]) -> dict[str, list[Held]]:
    """Return instances by their group, in the order of the groups' names."""
    found: dict[str, list[Held]] = defaultdict(list)
    for one in held:
        found[one.group].append(one)
    return dict(sorted(found.items()))


def homes_of(fleet: Fleet, tenant: Tenant) -> tuple[Home, ...]:
    """Return the groups of a service with their domain at each level where it has but one."""
    homes = []
    for group, held in groups_of(tenant.held).items():
        nodes = {name for one in held for name, _ in one.nodes}
        at = {
            level: domain
            for level in Level
            if (domain := fleet.domain_of(nodes, level)) is not None
        }
        homes.append(Home(group, at))
    return tuple(homes)


def unit_of(change: Instances) -> tuple[Instances, int]:
    """Return the smallest pair in the ratio of a growth, and how many of them it is."""
    count = gcd(*change)
    return (Instances(*(n // count for n in change)), count) if count else (change, 0)


def is_nested(tenant: Tenant) -> bool:
    """Return whether a role of the service consists of parts (HeteroScale §8)."""
    return any(form.parts for form in tenant.roles.values())


def parts_of(fleet: Fleet, tenant: Tenant, unit: Instances) -> tuple[Part, ...]:
    """Return one unit as parts; a role's own parts are counted as if they had no level.

    A role the service does not have is a part that may run nowhere.
    """
    parts: list[Part] = []
    for role in Role:
        form, count = tenant.roles.get(role), unit.of(role)
        if form is None and count:
            parts.append(Part(role.value, count, ()))
        elif form is not None and count:
            parts += _pods(fleet, role, form, count)
    return tuple(parts)


def _pods(fleet: Fleet, role: Role, form: RoleForm, count: int) -> Iterable[Part]:
    if form.need is not None:
        yield Part(role.value, count, fleet.options(form.need))
    for part in form.parts:
        options = fleet.options(part.need)
        yield Part(f"{role.value}/{part.name}", count * part.pods, options)


def ask_of(fleet: Fleet, tenant: Tenant, unit: Instances, units: int) -> Ask:
    """Return the ask for ``units`` times ``unit`` of a service.

    One role alone only joins groups that are there, for it serves nobody; a service without any
    begins one.
    """
    affinity = tenant.affinity
    homes = homes_of(fleet, tenant)
    alone = 0 in unit and len(tenant.roles) > 1
    return Ask(
        service=tenant.name,
        parts=parts_of(fleet, tenant, unit),
        units=units,
        require=affinity.level if affinity.required else Level.CLUSTER,
        prefer=None if affinity.required else affinity.level,
        within=fleet.cluster_of(tenant),
        homes=homes,
        joining=alone and bool(homes),
        caps=caps_of(fleet, tenant, unit, units),
    )


def caps_of(
    fleet: Fleet, tenant: Tenant, unit: Instances, units: int
) -> tuple[tuple[Level, tuple[int, ...]], ...]:
    """Return the most units each failure domain may take of a service that is spread.

    No domain gets more than its share of all instances of a role, rounded up.
    """
    spread = tenant.spread
    if spread is None:
        return ()
    domains = len(fleet.view.topology.domains[spread.level])
    caps = [units] * domains
    for role in Role:
        if unit.of(role):
            have = _by_domain(fleet, tenant, role, spread.level)
            most = -(-(tenant.counts.of(role) + units * unit.of(role)) // spread.domains)
            for domain in range(domains):
                left = max(0, most - have[domain]) // unit.of(role)
                caps[domain] = min(caps[domain], left)
    return ((spread.level, tuple(caps)),)


def _by_domain(fleet: Fleet, tenant: Tenant, role: Role, level: Level) -> Counter[int]:
    """Return how many instances of a role each domain of a level has."""
    counted: Counter[int] = Counter()
    units: set[str] = set()
    for one in tenant.held:
        domain = fleet.domain_of((name for name, _ in one.nodes), level)
        if one.role is role and domain is not None and (one.unit or one.name) not in units:
            units.add(one.unit or one.name)
            counted[domain] += 1
    return counted
