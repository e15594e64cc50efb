"""What an import would do, and the summary a person checks before it is done."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields
from statistics import median
from typing import Final, TypeAlias

from inventory.domains import Domain, Domains, Level, Severity
from inventory.importers.found import Fault, Found, Key, Thing

OPERATIONS: Final = ("create", "change", "unchanged", "conflict", "missing")
Value: TypeAlias = str | int | list[str | None] | dict[str, str]
_WORDS: Final = {
    "region": ("region", "regions"),
    "cluster": ("cluster", "clusters"),
    "hardware": ("hardware type", "hardware types"),
    "rack": ("rack", "racks"),
    "switch": ("switch", "switches"),
    "node": ("node", "nodes"),
    "gpu": ("GPU described one by one", "GPUs described one by one"),
    "nic": ("network adapter", "network adapters"),
    "link": ("link", "links"),
}


@dataclass(frozen=True, slots=True)
class Planned:
    """One thing and what would become of it; ``at`` is where in the files it was read."""

    operation: str
    kind: str
    key: Key
    fields: Mapping[str, Value]
    at: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an import would do, how much of each, and what stands against it."""

    objects: tuple[Planned, ...]
    counts: Mapping[str, int]
    errors: tuple[Fault, ...]
    warnings: tuple[str, ...]
    summary: tuple[str, ...]


def plan_for_empty(found: Found, domains: Domains) -> Plan:
    """Return the plan for an inventory that holds nothing: all is new, or in conflict with itself.

    Findings that refuse are errors without a line.
    """
    objects = [
        Planned(
            operation="conflict" if (kind, thing.key) in found.disputed else "create",
            kind=kind,
            key=thing.key,
            fields=_fields(thing),
            at=thing.at,
        )
        for kind, thing in found.things()
    ]
    objects += [_domain(domain) for domain in domains.domains]
    counted = Counter(one.operation for one in objects)
    refusals = [one for one in domains.findings if one.severity is Severity.REFUSE]
    return Plan(
        objects=tuple(objects),
        counts={operation: counted[operation] for operation in OPERATIONS},
        errors=(*found.faults, *(Fault(None, one.code, one.sentence) for one in refusals)),
        warnings=tuple(one.sentence for one in domains.findings if one.severity is Severity.WARN),
        summary=summary_of(found, domains),
    )


def summary_of(found: Found, domains: Domains) -> tuple[str, ...]:
    """Return sentences that make a wrong file or a wrong order of levels obvious."""
    lines = [f"{found.format}: {_things(found)}."]
    gpus = sum(node.gpus or 0 for node in found.nodes)
    if gpus:
        usable = sum(1 for node in found.nodes if _is_usable(node.admin_state, node.health))
        lines.append(f"{gpus:,} GPUs; {usable:,} of {len(found.nodes):,} nodes are in service.")
    tiers = Counter(switch.tier for switch in found.switches)
    if tiers:
        known = sorted((tier, count) for tier, count in tiers.items() if tier is not None)
        told = [f"{count:,} of tier {tier}" for tier, count in known]
        told += [f"{tiers[None]:,} of unknown tier"] if None in tiers else []
        lines.append(f"Switches: {', '.join(told)}.")
    lines += [line for level in Level if (line := _level(found, domains, level))]
    groups = Counter(one.subgroup for one in domains.of(Level.S1) if one.subgroup)
    if groups:
        told = [f"{group.priority} ({group}): {groups[group]}" for group in sorted(groups)]
        lines.append(f"S1 domains by RDMA subgroup: {', '.join(told)}.")
    return tuple(lines)


def _things(found: Found) -> str:
    counted = Counter(kind for kind, _ in found.things())
    told = [
        f"{counted[kind]:,} {words[counted[kind] != 1]}"
        for kind, words in _WORDS.items()
        if counted[kind]
    ]
    return ", ".join(told) or "nothing"


def _is_usable(admin_state: str | None, health: str | None) -> bool:
    return admin_state in {None, "in_service"} and health in {None, "ok"}


def _level(found: Found, domains: Domains, level: Level) -> str | None:
    """Return a line like ``S1 = topology.k8s.aws/network-node-layer-3 (42 values, …)``."""
    held = domains.of(level)
    if not held:
        return None
    place = {Level.S1: 0, Level.S2: 1}.get(level)
    if place is not None and place < len(found.level_sources):
        source = found.level_sources[place]
    else:
        source = "switches in common" if held[0].switches else "as told by the file"
    middle = median(len(domain.nodes) for domain in held)
    values = f"{len(held):,} {'value' if len(held) == 1 else 'values'}"
    nodes = f"median {middle:g} {'node' if middle == 1 else 'nodes'}"
    return f"{level} = {source} ({values}, {nodes})"


def _fields(thing: Thing) -> dict[str, Value]:
    """Return the fields of a thing that say something."""
    told = ((one.name, getattr(thing, one.name)) for one in fields(thing) if one.name != "at")
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in told
        if value not in (None, "", (), {})
    }


def _domain(domain: Domain) -> Planned:
    fields: dict[str, Value] = {
        "cluster": domain.cluster,
        "level": str(domain.level),
        "name": domain.name,
        "nodes": list(domain.nodes),
        "switches": list(domain.switches),
        "hardware": list(domain.hardware),
    }
    if domain.parent:
        fields["parent"] = domain.parent
    if domain.subgroup:
        fields |= {"subgroup": str(domain.subgroup), "priority": domain.subgroup.priority}
    key = (domain.cluster.lower(), str(domain.level), domain.name.lower())
    return Planned("create", "domain", key, fields, "derived")
