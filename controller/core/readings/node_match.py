"""Which nodes of a cluster report their GPUs: hosts as exporters call them, held against nodes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from controller.core.phrases import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

HOSTS: Final = ("Hostname", "hostname", "node", "nodename", "exported_node", "instance")
"""Labels that may name the host of an exporter, the surest first."""

NAMED: Final = 10
"""So many nodes are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class NodeMatch:
    """How many nodes report and by which label, which don't, and what reports that is no node."""

    nodes: int
    unmatched: tuple[str, ...]
    label: str
    strange: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        """How many nodes report."""
        return self.nodes - len(self.unmatched)

    @property
    def sentence(self) -> str:
        """What was found: ``498 of 500 nodes report DCGM by hostname; 2 unmatched: …``."""
        by = f" by {self.label.lower()}" if self.label else ""
        said = f"{self.matched:,} of {plural(self.nodes, 'node')} report DCGM{by}"
        if not self.unmatched:
            return f"{said}."
        return f"{said}; {len(self.unmatched):,} unmatched: {_some(self.unmatched)}."


def matched(nodes: Collection[str], told: Iterable[Mapping[str, str]]) -> NodeMatch:
    """Return which of ``nodes`` the labels of exporters name.

    Case does not count, nor a port, nor a domain that one of both leaves out; a short name that
    several nodes have names none of them.
    """
    known = _by_every_name(nodes)
    found: set[str] = set()
    by: Counter[str] = Counter()
    strange: dict[str, None] = {}
    for labels in told:
        named = {name: _host(labels[name]) for name in HOSTS if labels.get(name)}
        label = next((name for name, host in named.items() if _node(known, host)), "")
        if label:
            found.add(_node(known, named[label]))
            by[label] += 1
        elif named:
            strange[next(iter(named.values()))] = None
    return NodeMatch(
        len(nodes),
        tuple(sorted(set(nodes) - found)),
        by.most_common(1)[0][0] if by else "",
        tuple(sorted(strange)),
    )


def strangers(strange: Sequence[str]) -> str:
    """Return a sentence of hosts that report and are nodes of no cluster here."""
    verb = "reports and is" if len(strange) == 1 else "report and are"
    return f"{plural(len(strange), 'host')} {verb} no node known here: {_some(strange)}."


def _by_every_name(nodes: Iterable[str]) -> Mapping[str, str]:
    """Return each node by its name and by the name without a domain, where that is one node's."""
    short: dict[str, list[str]] = defaultdict(list)
    whole: dict[str, str] = {}
    for node in nodes:
        whole[node.lower()] = node
        short[_short(node.lower())].append(node)
    return {host: several[0] for host, several in short.items() if len(several) == 1} | whole


def _node(known: Mapping[str, str], host: str) -> str:
    """Return the node that a host is, empty for none: of two domains neither may differ."""
    short = _short(host)
    node = known.get(host) or known.get(short, "")
    whole = node.lower()
    return node if whole in {host, short} or _short(whole) == host else ""


def _host(text: str) -> str:
    """Return the host of a label, without a port."""
    host, _, port = text.strip().rpartition(":")
    return (host if host and port.isdigit() else text.strip()).strip("[]").rstrip(".").lower()


def _short(host: str) -> str:
    """Return a host without its domain; an address has none."""
    try:
        ip_address(host)
    except ValueError:
        return host.partition(".")[0]
    return host


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more:,} more" if more > 0 else "")
