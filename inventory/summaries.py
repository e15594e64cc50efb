"""Sentences about an import: what it holds, and whom its changes touch."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Final

from inventory.domains import Domain, Domains, Level
from inventory.importers.found import Found

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
MOST_IMPACTS: Final = 20
NAMED: Final = 5
Holders = Mapping[tuple[str, str], Sequence[str]]
"""The services with instances on a node, by cluster and node in small letters."""


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


def moves(
    before: Iterable[Domain],
    after: Iterable[Domain],
    called: Mapping[tuple[str, str], str],
    services: Holders,
) -> tuple[str, ...]:
    """Return who moves from one S1 domain to another, and which services have instances there.

    ``called`` has new names of nodes by cluster and old name in small letters. A domain whose
    nodes all stay together is only called otherwise.
    """
    old = _placed(before, called)
    groups: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    sizes: Counter[tuple[str, str]] = Counter((key[0], name) for key, name in old.items())
    held: Counter[tuple[str, str]] = Counter()
    for key, name in _placed(after, {}).items():
        held[key[0], name] += 1
        if key in old and old[key] != name:
            groups[key[0], old[key], name].append(key[1])
    said = []
    for (cluster, left, entered), nodes in sorted(groups.items()):
        whole = len(nodes) == sizes[cluster, left] == held[cluster, entered]
        there = holders(((cluster, node) for node in nodes), services)
        if whole:
            said.append(f"S1 {left} will be called {entered}{there}.")
        else:
            count = f"{len(nodes):,} {'node moves' if len(nodes) == 1 else 'nodes move'}"
            said.append(f"{count} from S1 {left} to {entered}{there}.")
    more = len(said) - MOST_IMPACTS
    rest = (f"And {more:,} more such moves.",) if more > 0 else ()
    return (*said[:MOST_IMPACTS], *rest)


def _placed(
    domains: Iterable[Domain], called: Mapping[tuple[str, str], str]
) -> dict[tuple[str, str], str]:
    placed = {}
    for domain in domains:
        if domain.level is Level.S1:
            cluster = domain.cluster.lower()
            for node in domain.nodes:
                name = called.get((cluster, node.lower()), node)
                placed[cluster, name.lower()] = domain.name
    return placed


def holders(nodes: Iterable[tuple[str, str]], services: Holders) -> str:
    """Return the end of a sentence that names the services on some nodes; empty without any."""
    held = sorted({one for node in nodes for one in services.get(node, ())})
    if not held:
        return ""
    first = ", ".join(held[:NAMED])
    more = f" and {len(held) - NAMED:,} more" if len(held) > NAMED else ""
    return f": {first}{more} {'has' if len(held) == 1 else 'have'} instances there"
