"""The S1 domains a service uses, node by node: how full they are, and what of it is there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Q

from controller.core.types import Role
from controller.selectors.node_seen import NodeSeen, seen_nodes
from controller.selectors.node_use import node_uses
from controller.selectors.placement_seen import Seen, read_seen
from controller.selectors.racks import natural
from controller.selectors.series import Ask, UnknownServiceError
from inventory.models import LocalityDomain, Node, Service

MOST_DOMAINS: Final = 40


@dataclass(frozen=True, slots=True)
class Cell:
    """One node: GPUs that anyone holds of all it has, and instances of the service on it.

    ``used`` is ``None`` where nobody can tell; ``gpus`` where nobody counted them.
    """

    node: str
    address: str
    gpus: int | None
    used: int | None
    prefill: int
    decode: int
    word: str

    @property
    def share(self) -> float | None:
        """The share of its GPUs in use; ``None`` where that is not known."""
        return self.used / self.gpus if self.gpus and self.used is not None else None


@dataclass(frozen=True, slots=True)
class Row:
    """One S1 with its nodes in the order in which they stand; no name where nobody named it."""

    name: str
    cells: Sequence[Cell]


@dataclass(frozen=True, slots=True)
class PlacementMap:
    """The rows of a service, at most 40 of ``domains``; ``unknown`` are nodes nobody knows."""

    service: str
    rows: Sequence[Row]
    domains: int
    unknown: int
    observed_s: float | None


def placement_map(ask: Ask) -> PlacementMap:
    """Read the map of a service; the same few queries for any number of instances."""
    service = Service.objects.filter(slug=ask.service).first()
    if service is None:
        raise UnknownServiceError(ask.service)
    seen = read_seen(service)
    here = _counted(seen)
    uses = node_uses(ask.now)
    names = {name for name in here if name in seen.spots}
    domains = {seen.spots[name].s1 for name in names} - {""}
    shown = sorted(domains, key=natural)[:MOST_DOMAINS]
    mine = LocalityDomain.objects.filter(cluster=service.cluster_id, level="S1", name__in=shown)
    alone = [seen.spots[name].name for name in names if not seen.spots[name].s1]
    nodes = seen_nodes(
        Node.objects.filter(
            Q(s1_domain__in=mine) | Q(name__in=alone, s1_domain=None), cluster=service.cluster_id
        ),
        uses,
    )
    called = dict(mine.values_list("pk", "name"))
    rows: dict[str, list[NodeSeen]] = defaultdict(list)
    for node in nodes:
        rows[called[node.s1] if node.s1 else ""].append(node)
    return PlacementMap(
        service=service.slug,
        rows=[Row(name, _cells(found, here)) for name, found in sorted(rows.items(), key=_last)],
        domains=len(domains),
        unknown=len(here.keys() - names),
        observed_s=seen.observed_at.timestamp() if seen.observed_at else None,
    )


def _last(row: tuple[str, object]) -> tuple[bool, object]:
    """Return the order of the rows: by name, that of the nodes without one at the end."""
    return not row[0], natural(row[0])


def _counted(seen: Seen) -> dict[str, Counter[str]]:
    """Return how many instances of each role are on each node, named in lower case."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for one in seen.instances:
        for name in one.nodes:
            found[name.lower()][one.role] += 1
    return found


def _cells(nodes: Sequence[NodeSeen], here: dict[str, Counter[str]]) -> list[Cell]:
    ordered = sorted(nodes, key=_place)
    return [_cell(node, here.get(node.name.lower(), Counter())) for node in ordered]


def _place(node: NodeSeen) -> tuple[object, ...]:
    return natural(node.rack_name), node.u_position or 0, natural(node.name)


def _cell(node: NodeSeen, counted: Counter[str]) -> Cell:
    is_known = node.gpus is not None and not node.parts.unknown
    return Cell(
        node=node.name,
        address=node.address,
        gpus=node.gpus,
        used=node.parts.in_use if is_known else None,
        prefill=counted[Role.PREFILL],
        decode=counted[Role.DECODE],
        word="" if node.word == "ok" else node.word,
    )
