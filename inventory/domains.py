"""Network domains from cables and labels: S1, S2, NVLink, how scarce each is, what looks wrong.

An S1 domain is the nodes that share their *set* of tier-0 switches: one top-of-rack switch, or the
eight leaves of a rail-optimised scalable unit. An S2 domain is the S1 domains that tier-1 switches
join. Where no cable is known, what the file asserts counts. (HeteroScale, §6)
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from statistics import median
from typing import Final

from controller.core.phrases import listed
from inventory.importers.found import Found, FoundNode

OUTLIER: Final = 2.0
"""So many times more or fewer nodes than the median make an S1 domain worth a word."""
FEWEST_FOR_OUTLIERS: Final = 4

MOST_SETS: Final = 2_000
"""Above so many different sets of leaves, which no fabric has, none is compared with another."""

Set = frozenset[str]


class Level(StrEnum):
    """How near the nodes of a domain are."""

    S1 = "S1"
    S2 = "S2"
    NVLINK = "NVLINK"


class Subgroup(StrEnum):
    """RDMA subgroup of a switch, the more scarce the higher its priority (HeteroScale, §6)."""

    LOW = "S2 homogeneous"
    MEDIUM = "S2 heterogeneous"
    HIGH = "S1 heterogeneous"

    @property
    def priority(self) -> str:
        """Return low, medium or high."""
        return self.name.lower()


class Severity(StrEnum):
    """Whether a finding stops an import."""

    REFUSE = "refuse"
    WARN = "warn"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that looks wrong: a stable code, a sentence, and the names it is about."""

    code: str
    severity: Severity
    sentence: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Domain:
    """Nodes that are near each other; ``hardware`` are the GPU types among them."""

    cluster: str
    level: Level
    name: str
    parent: str | None
    nodes: tuple[str, ...]
    switches: tuple[str, ...] = ()
    hardware: tuple[str, ...] = ()
    subgroup: Subgroup | None = None


@dataclass(frozen=True, slots=True)
class Domains:
    """All domains, those further out first, and what looks wrong."""

    domains: tuple[Domain, ...]
    findings: tuple[Finding, ...]

    def of(self, level: Level) -> tuple[Domain, ...]:
        """Return the domains of a level."""
        return tuple(domain for domain in self.domains if domain.level is level)


def derive(found: Found) -> Domains:
    """Return the domains that cables and assertions make, and the findings about everything."""
    domains: list[Domain] = []
    findings: list[Finding] = []
    by_cluster: dict[str, list[FoundNode]] = defaultdict(list)
    for node in found.nodes:
        by_cluster[node.cluster].append(node)
    types = {one.slug: one.gpu_model or one.slug for one in found.hardware}
    for cluster, nodes in by_cluster.items():
        fabric = _fabric(found, cluster, nodes)
        placed = _Placing(fabric)
        domains += placed.domains(types)
        findings += placed.findings
    findings += _doubles(found)
    findings += _counts(found)
    return Domains(tuple(domains), tuple(findings))


@dataclass(frozen=True, slots=True)
class _Fabric:
    """One cluster: its nodes, their tier-0 switches, the tier-1 switches above each of those."""

    cluster: str
    nodes: Mapping[str, FoundNode]
    leaves: Mapping[str, Set]
    above: Mapping[str, Set]
    peers: tuple[str, ...]
    cabled: bool


def _fabric(found: Found, cluster: str, nodes: Sequence[FoundNode]) -> _Fabric:
    tiers = {one.name: one.tier for one in found.switches if one.cluster == cluster}
    leaves: dict[str, set[str]] = defaultdict(set)
    above: dict[str, set[str]] = defaultdict(set)
    peers: dict[str, None] = {}
    links = [link for link in found.links if link.cluster == cluster]
    for link in links:
        if link.peer_is_node:
            if not tiers.get(link.switch):
                leaves[link.peer.lower()].add(link.switch)
            continue
        low, high = sorted((link.switch, link.peer), key=lambda name: tiers.get(name) or 0)
        if tiers.get(low) == tiers.get(high):
            peers[f"{low} and {high}"] = None
        elif (tiers.get(low) or 0) == 0 and tiers.get(high) == 1:
            above[low].add(high)
    return _Fabric(
        cluster=cluster,
        nodes={node.name.lower(): node for node in nodes},
        leaves={name: frozenset(switches) for name, switches in leaves.items()},
        above={name: frozenset(switches) for name, switches in above.items()},
        peers=tuple(peers),
        cabled=any(link.peer_is_node for link in links),
    )


@dataclass(frozen=True, slots=True)
class _S1:
    """An S1 domain on the way: its nodes by key, its switches, its S2."""

    name: str
    nodes: tuple[str, ...]
    switches: Set = frozenset()
    s2: str | None = None


class _Placing:
    """Places the nodes of one cluster, and keeps what is odd about them."""

    def __init__(self, fabric: _Fabric) -> None:
        self._fabric = fabric
        self.findings: list[Finding] = []

    def domains(self, types: Mapping[str, str]) -> list[Domain]:
        """Return the domains of the cluster: S2, then S1, then NVLink."""
        self._odd_cables()
        lower = self._by_cables()
        lower = self._joined(lower, self._by_assertion(lower))
        s2_of = self._uppers(lower)
        lower = [replace(one, s2=s2_of.get(one.name)) for one in lower]
        self._outliers(lower)
        return self._answer(lower, types)

    def _say(self, code: str, sentence: str, names: Iterable[str] = (), *, stop: bool) -> None:
        severity = Severity.REFUSE if stop else Severity.WARN
        self.findings.append(Finding(code, severity, sentence, tuple(names)))

    def _name(self, key: str) -> str:
        node = self._fabric.nodes.get(key)
        return node.name if node else key

    def _odd_cables(self) -> None:
        fabric = self._fabric
        if fabric.peers:
            self._say(
                "peer_cable",
                f"{_some(fabric.peers, 'cable joins', 'cables join')} switches of the same tier.",
                fabric.peers,
                stop=False,
            )
        bare = [node.name for key, node in fabric.nodes.items() if key not in fabric.leaves]
        if fabric.cabled and bare:
            count, total = len(bare), len(fabric.nodes)
            self._say(
                "no_links",
                f"{count} of {total} nodes have no cable to a tier-0 switch: {listed(bare)}.",
                bare,
                stop=False,
            )

    def _by_cables(self) -> list[_S1]:
        """Return the groups of nodes with the same leaves.

        Nodes that lack a cable or two, whose leaves are among those of exactly one larger group,
        belong to that group.
        """
        groups: dict[Set, list[str]] = defaultdict(list)
        for key in self._fabric.nodes:
            if key in self._fabric.leaves:
                groups[self._fabric.leaves[key]].append(key)
        whole = self._take_in(groups)
        names = _names(whole, self._asserted)
        return [_S1(names[switches], tuple(nodes), switches) for switches, nodes in whole.items()]

    def _take_in(self, groups: Mapping[Set, list[str]]) -> dict[Set, list[str]]:
        whole = {switches: list(nodes) for switches, nodes in groups.items()}
        if len(groups) <= MOST_SETS:
            for switches, top in _only_tops(groups).items():
                if len(groups[top]) >= len(groups[switches]):
                    self._incomplete(whole[switches], switches, top)
                    whole[top] += whole.pop(switches)
        self._under_two(whole)
        return whole

    def _incomplete(self, nodes: Sequence[str], own: Set, full: Set) -> None:
        missing = sorted(full - own)
        names = [self._name(key) for key in nodes]
        self._say(
            "missing_cables",
            f"{_some(names, 'node reaches', 'nodes reach')} {len(own)} of the {len(full)} leaves "
            f"of the nodes beside them, not {listed(missing)}: {listed(names)}.",
            names,
            stop=False,
        )

    def _under_two(self, groups: Mapping[Set, list[str]]) -> None:
        """Find nodes that hang under switches which are S1 domains of their own for others."""
        alone: dict[str, Set] = {}
        for switches in sorted(groups, key=lambda one: -len(groups[one])):
            for switch in switches:
                alone.setdefault(switch, switches)
        for switches, nodes in groups.items():
            parts = {alone[switch] for switch in switches} - {switches}
            if len(parts) > 1 and all(part < switches for part in parts):
                names = [self._name(key) for key in nodes]
                under = listed(sorted(_label(part) for part in parts))
                self._say(
                    "two_s1",
                    f"{listed(names)} {'is' if len(names) == 1 else 'are'} cabled to {under}, "
                    "which are S1 domains of their own.",
                    names,
                    stop=True,
                )

    def _asserted(self, nodes: Sequence[str]) -> str | None:
        """Return the S1 name that all nodes of a group assert, and say so where they differ."""
        told = Counter(
            node.tiers[0]
            for key in nodes
            if (node := self._fabric.nodes[key]).tiers and node.tiers[0]
        )
        if len(told) > 1:
            self._say(
                "label_against_cables",
                f"{len(nodes)} nodes hang on the same switches and are labelled "
                f"{listed(sorted(told))}.",
                told,
                stop=False,
            )
        return next(iter(told)) if len(told) == 1 else None

    def _by_assertion(self, cabled: Sequence[_S1]) -> list[_S1]:
        """Return the groups that labels make of the nodes without cables."""
        placed = {key for one in cabled for key in one.nodes}
        groups: dict[str, list[str]] = defaultdict(list)
        unplaced, bare = [], 0
        for key, node in self._fabric.nodes.items():
            if key in placed:
                continue
            if node.tiers and node.tiers[0]:
                groups[node.tiers[0]].append(key)
            else:
                unplaced.append(node.name)
                bare += not node.tiers
        self._unplaced(unplaced, bare)
        return [_S1(name, tuple(nodes)) for name, nodes in groups.items()]

    def _unplaced(self, names: Sequence[str], bare: int) -> None:
        if not names or self._fabric.cabled:
            # Said already where cables are known.
            return
        if bare == len(self._fabric.nodes):
            said = "Nothing says where the nodes are: only the cluster is known of them."
        else:
            said = f"{_some(names, 'node is', 'nodes are')} under no S1 domain: {listed(names)}."
        self._say("no_s1", said, names, stop=False)

    @staticmethod
    def _joined(cabled: Sequence[_S1], asserted: Sequence[_S1]) -> list[_S1]:
        """Join a group of labels with that of cables of the same name."""
        found = {one.name: one for one in cabled}
        for one in asserted:
            there = found.get(one.name)
            found[one.name] = replace(there, nodes=there.nodes + one.nodes) if there else one
        return list(found.values())

    def _uppers(self, lower: Sequence[_S1]) -> dict[str, str]:
        """Return the S2 of each S1: by tier-1 switches in common, else as asserted."""
        above = {
            one.name: frozenset().union(
                *(self._fabric.above.get(leaf, frozenset()) for leaf in one.switches)
            )
            for one in lower
        }
        groups = _components({name: uppers for name, uppers in above.items() if uppers})
        told = {one.name: self._told_s2(one) for one in lower}
        found: dict[str, str] = {}
        taken: set[str] = set()
        for names in groups:
            uppers = frozenset().union(*(above[name] for name in names))
            said = {told[name] for name in names}
            name = said.pop() if len(said) == 1 and None not in said else None
            name = _unique(name or _label(uppers), taken)
            found |= dict.fromkeys(names, name)
            self._uneven(names, above, uppers)
        for one in lower:
            if one.name not in found and (asserted := told[one.name]):
                found[one.name] = asserted
        return found

    def _told_s2(self, one: _S1) -> str | None:
        """Return the S2 that the nodes of an S1 assert; several are refused."""
        counted = Counter(
            tiers[1]
            for key in one.nodes
            if len(tiers := self._fabric.nodes[key].tiers) > 1 and tiers[1]
        )
        if len(counted) > 1:
            self._say(
                "s1_spans_s2",
                f"S1 {one.name} would be under {len(counted)} S2 at once, "
                f"{listed(sorted(counted))}: is the order of the levels right?",
                (one.name, *sorted(counted)),
                stop=True,
            )
        return counted.most_common(1)[0][0] if counted else None

    def _uneven(self, names: Sequence[str], above: Mapping[str, Set], uppers: Set) -> None:
        short = [f"{name} ({len(above[name])})" for name in names if above[name] != uppers]
        if short:
            self._say(
                "uneven_uplinks",
                f"{_some(short, 'S1 domain reaches', 'S1 domains reach')} not all of the "
                f"{len(uppers)} switches above: {listed(short)}.",
                short,
                stop=False,
            )

    def _outliers(self, lower: Sequence[_S1]) -> None:
        if len(lower) < FEWEST_FOR_OUTLIERS:
            return
        usual = median(len(one.nodes) for one in lower)
        odd = [one for one in lower if not usual / OUTLIER <= len(one.nodes) <= usual * OUTLIER]
        if odd:
            told = [f"{one.name} ({len(one.nodes)})" for one in odd]
            self._say(
                "s1_size",
                f"S1 domains have {usual:g} nodes in the median; far from it: {listed(told)}.",
                [one.name for one in odd],
                stop=False,
            )

    def _answer(self, lower: Sequence[_S1], types: Mapping[str, str]) -> list[Domain]:
        fabric = self._fabric
        kinds = {
            key: types.get(node.hardware, node.hardware)
            for key, node in fabric.nodes.items()
            if node.hardware
        }
        within: dict[str, list[str]] = defaultdict(list)
        inner: dict[str, list[_S1]] = defaultdict(list)
        placed: dict[str, str | None] = {}
        for one in lower:
            placed |= dict.fromkeys(one.nodes, one.s2)
            if one.s2:
                inner[one.s2].append(one)
        for key, node in fabric.nodes.items():
            s2 = placed[key] if key in placed else (*node.tiers, None, None)[1]
            if s2:
                within[s2].append(key)
        upper = [self._s2(name, keys, inner[name], kinds) for name, keys in sorted(within.items())]
        groups = {one.name: one.subgroup for one in upper}
        below = [
            self._s1(one, groups.get(one.s2 or ""), kinds)
            for one in sorted(lower, key=lambda one: one.name)
        ]
        return [*upper, *below, *self._nvlink(kinds)]

    def _s2(
        self, name: str, keys: Sequence[str], inner: Sequence[_S1], kinds: Mapping[str, str]
    ) -> Domain:
        leaves = frozenset().union(*(one.switches for one in inner)) if inner else frozenset()
        spines = frozenset().union(*(self._fabric.above.get(leaf, Set()) for leaf in leaves))
        own = _kinds(keys, kinds)
        mixed = any(len(_kinds(one.nodes, kinds)) > 1 for one in inner)
        return Domain(
            cluster=self._fabric.cluster,
            level=Level.S2,
            name=name,
            parent=None,
            nodes=tuple(sorted(map(self._name, keys))),
            switches=tuple(sorted(spines)),
            hardware=own,
            subgroup=_subgroup(own, mixed=mixed),
        )

    def _s1(self, one: _S1, above: Subgroup | None, kinds: Mapping[str, str]) -> Domain:
        own = _kinds(one.nodes, kinds)
        if len(own) > 1:
            subgroup: Subgroup | None = Subgroup.HIGH
        elif above is Subgroup.HIGH:
            # Its own nodes are alike, whatever hangs beside it.
            subgroup = Subgroup.MEDIUM
        else:
            subgroup = above or (Subgroup.LOW if own else None)
        return Domain(
            cluster=self._fabric.cluster,
            level=Level.S1,
            name=one.name,
            parent=one.s2,
            nodes=tuple(sorted(map(self._name, one.nodes))),
            switches=tuple(sorted(one.switches)),
            hardware=own,
            subgroup=subgroup,
        )

    def _nvlink(self, kinds: Mapping[str, str]) -> list[Domain]:
        groups: dict[str, list[str]] = defaultdict(list)
        for key, node in self._fabric.nodes.items():
            if node.nvlink_domain:
                groups[node.nvlink_domain].append(key)
        return [
            Domain(
                cluster=self._fabric.cluster,
                level=Level.NVLINK,
                name=name,
                parent=None,
                nodes=tuple(sorted(map(self._name, keys))),
                hardware=_kinds(keys, kinds),
            )
            for name, keys in sorted(groups.items())
        ]


def _only_tops(sets: Iterable[Set]) -> dict[Set, Set]:
    """Return for each set that is part of others the largest of these, where there is but one."""
    holding: dict[str, list[Set]] = defaultdict(list)
    for one in sets:
        for switch in one:
            holding[switch].append(one)
    beside = {one: min((holding[switch] for switch in one), key=len) for one in sets if one}
    tops = {one for one, others in beside.items() if not any(one < other for other in others)}
    found = {}
    for one in sorted(beside.keys() - tops, key=sorted):
        above = [other for other in beside[one] if other in tops and one < other]
        if len(above) == 1:
            found[one] = above[0]
    return found


def _subgroup(kinds: Sequence[str], *, mixed: bool) -> Subgroup | None:
    """Return the subgroup of an S2; ``mixed`` is whether one of its S1 has several GPU types."""
    if not kinds:
        return None
    if mixed:
        return Subgroup.HIGH
    return Subgroup.LOW if len(kinds) == 1 else Subgroup.MEDIUM


def _kinds(keys: Iterable[str], kinds: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted({kinds[key] for key in keys if key in kinds}))


def _names(
    groups: Mapping[Set, Sequence[str]], asserted: Callable[[Sequence[str]], str | None]
) -> dict[Set, str]:
    """Return a name for each group: what its nodes assert, else what its switches share."""
    taken: set[str] = set()
    return {
        switches: _unique(asserted(nodes) or _label(switches), taken)
        for switches, nodes in groups.items()
    }


def _label(switches: Set) -> str:
    """Return what the names of switches have in common, part by part.

    ``LEAF-01-04``, ``LEAF-02-04`` to ``LEAF-08-04`` are ``LEAF-04``.
    """
    ordered = sorted(switches)
    if len(ordered) == 1:
        return ordered[0]
    rows = [re.split(r"[-_.]", name) for name in ordered]
    if len({len(row) for row in rows}) == 1:
        shared = [column[0] for column in zip(*rows, strict=True) if len(set(column)) == 1]
        if shared and any(shared):
            return "-".join(shared)
    return f"{ordered[0]}-and-{len(ordered) - 1}-more"


def _unique(name: str, taken: set[str]) -> str:
    tried, number = name, 1
    while tried.lower() in taken:
        number += 1
        tried = f"{name}-{number}"
    taken.add(tried.lower())
    return tried


def _components(uppers: Mapping[str, Set]) -> list[list[str]]:
    """Return the names that switches above them join, directly or by way of others."""
    above: dict[str, str] = {}

    def top(switch: str) -> str:
        while above.setdefault(switch, switch) != switch:
            above[switch] = switch = above[above[switch]]
        return switch

    for switches in uppers.values():
        first, *others = sorted(switches)
        for other in others:
            above[top(other)] = top(first)
    groups: dict[str, list[str]] = defaultdict(list)
    for name, switches in uppers.items():
        groups[top(min(switches))].append(name)
    return list(groups.values())


def _doubles(found: Found) -> list[Finding]:
    """Return what should be there once and is there twice."""
    claims: list[tuple[str, str | None, str, str]] = []
    for node in found.nodes:
        claims += [
            ("serial", node.serial, node.name, node.at),
            ("provider id", node.provider_id, node.name, node.at),
            ("Kubernetes uid", node.k8s_uid, node.name, node.at),
        ]
    claims += [("GPU UUID", gpu.uuid, f"{gpu.node} GPU {gpu.index}", gpu.at) for gpu in found.gpus]
    claims += [("GUID", nic.guid, f"{nic.node} {nic.name}", nic.at) for nic in found.nics]
    claims += [("GUID", switch.guid, switch.name, switch.at) for switch in found.switches]
    claims += [
        ("switch port", f"{link.switch} {link.port}" if link.port else None, link.peer, link.at)
        for link in found.links
    ]
    claims += [
        ("adapter", f"{link.peer} {link.peer_port}", link.switch, link.at)
        for link in found.links
        if link.peer_is_node and link.peer_port
    ]
    holders: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for kind, value, holder, at in claims:
        if value:
            holders[kind, value.lower()].append((value, holder, at))
    return [_double(kind, held) for (kind, _), held in holders.items() if len(held) > 1]


def _double(kind: str, held: Sequence[tuple[str, str, str]]) -> Finding:
    names = tuple(holder for _, holder, _ in held)
    places = listed([at for _, _, at in held if at])
    said = f"{kind} {held[0][0]} belongs to {len(names)} at once: {listed(names)}"
    sentence = f"{said} ({places})." if places else f"{said}."
    return Finding("duplicate", Severity.REFUSE, sentence, names)


def _counts(found: Found) -> list[Finding]:
    """Return the nodes whose number of GPUs is not that of their type, type by type."""
    per_type = {one.slug: one.gpus_per_node for one in found.hardware}
    odd: dict[str, list[str]] = defaultdict(list)
    for node in found.nodes:
        wanted = per_type.get(node.hardware or "")
        if wanted is not None and node.gpus is not None and node.gpus != wanted:
            odd[node.hardware or ""].append(f"{node.name} ({node.gpus})")
    return [
        Finding(
            "gpu_count",
            Severity.WARN,
            f"{_some(names, 'node has', 'nodes have')} not the {per_type[slug]} GPUs of {slug}: "
            f"{listed(names)}.",
            tuple(names),
        )
        for slug, names in odd.items()
    ]


def _some(names: Sequence[object], one: str, many: str) -> str:
    return f"{len(names)} {one if len(names) == 1 else many}"
