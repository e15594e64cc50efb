"""What a change of nodes would do: to whom, with which effect, and what speaks against it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from controller.core.phrases import listed, plural
from controller.selectors.fleet_filters import Filters
from controller.selectors.fleet_lines import Line, read_lines
from controller.selectors.node_use import Running, node_uses, running
from inventory.models import AdminState, Cluster
from inventory.transitions import LABEL, NodeChange

MANY_GPUS: Final = 64
"""From so many GPUs on, taking them needs their number typed (product 1.6)."""

GRAVE: Final = frozenset({"drain", "maintain", "retire"})


@dataclass(frozen=True, slots=True)
class Target:
    """One chosen node, and why nothing will be done to it; empty where something will."""

    line: Line
    refusal: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The consequences of a change, before anybody agreed to it."""

    asked: NodeChange
    targets: tuple[Target, ...]
    gone: int
    services: tuple[str, ...]
    rooms: tuple[str, ...]
    emptied: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def changing(self) -> tuple[Line, ...]:
        """The nodes something will be done to."""
        return tuple(one.line for one in self.targets if not one.refusal)

    @property
    def refused(self) -> tuple[Target, ...]:
        """The chosen nodes nothing will be done to."""
        return tuple(one for one in self.targets if one.refusal)

    @property
    def barred(self) -> dict[UUID, str]:
        """The same by key, for the service that does it."""
        return {one.line.pk: one.refusal for one in self.refused}

    @property
    def gpus(self) -> int:
        """GPUs of the nodes something will be done to."""
        return sum(line.parts.total for line in self.changing)

    @property
    def must_type(self) -> bool:
        """Whether so much is at stake that the number of GPUs has to be typed."""
        much = self.gpus >= MANY_GPUS or bool(self.emptied)
        return bool(self.changing) and self.asked.action in GRAVE and much

    @property
    def emptied_words(self) -> str:
        """The domains that are emptied, the first of them if there are many."""
        return listed(self.emptied)

    @property
    def effect(self) -> str:
        """What holds afterwards, in one sentence."""
        return _EFFECTS[self.asked.action]


_EFFECTS: Final = {
    "cordon": "No new instance is placed there. What runs there stays.",
    "drain": "No new instance is placed there. What runs there is started elsewhere, then leaves:"
    " by rule for services in mode automatic, as a proposal of moves for others.",
    "maintain": "No new instance is placed there. What runs there stays: stop it before you pull"
    " the plug.",
    "return": "New instances may be placed there again, where health and reservations allow it.",
    "retire": "They leave every count and every list of nodes to place on. Their pages and their"
    " history stay, and Return brings them back.",
    "label": "Labels that are not named stay as they are.",
    "reserve": "No new instance is placed there while they are kept. What runs there stays.",
    "unreserve": "New instances may be placed there again, where health and state allow it.",
}


def matching(filters: Filters, now: datetime) -> list[UUID]:
    """Return the nodes that filters keep."""
    return [line.pk for line in read_lines(node_uses(now)) if not filters.misses(line)]


def preview(asked: NodeChange, chosen: Collection[UUID], now: datetime) -> Preview:
    """Return what a change would do; as many queries for one node as for all."""
    uses = node_uses(now)
    lines = read_lines(uses)
    wanted = set(chosen)
    targets = tuple(Target(line, _refusal(asked, line)) for line in lines if line.pk in wanted)
    changing = [one.line for one in targets if not one.refusal]
    return Preview(
        asked=asked,
        targets=targets,
        gone=len(wanted) - len(targets),
        services=_services(running(now), changing) if asked.takes else (),
        rooms=_rooms(lines, changing) if asked.takes else (),
        emptied=_emptied(lines, changing) if asked.takes else (),
        notes=_notes(asked, changing),
    )


def _refusal(asked: NodeChange, line: Line) -> str:
    said = asked.refusal(line.facts.admin_state, line.facts.lifecycle, line.reserved_for)
    if said or asked.action != "retire":
        return said
    if line.used:
        verb = "held, as last heard of," if line.is_least else "hold"
        return f"instances of {', '.join(line.services)} {verb} {plural(line.used, 'GPU')} of it"
    out = {AdminState.DRAINING, AdminState.MAINTENANCE}
    if line.used is None and line.facts.admin_state not in out and not line.is_missing:
        return "nobody reports what runs there: drain it first"
    return ""


def _services(known: Sequence[Running], changing: Sequence[Line]) -> tuple[str, ...]:
    """Return for each service what it has on the nodes, and what it has elsewhere."""
    places = {(line.cluster, line.name.lower()) for line in changing}
    here: dict[str, Counter[str]] = defaultdict(Counter)
    everywhere: dict[str, Counter[str]] = defaultdict(Counter)
    silent = {one.service for one in known if one.is_stale}
    for one in known:
        everywhere[one.service][one.role] += 1
        here[one.service][one.role] += one.is_on(places)
    return tuple(
        f"{service}: {_held(here[service], roles)}"
        f"{'; not heard of lately, this is where they were last' if service in silent else ''}"
        for service, roles in sorted(everywhere.items())
        if here[service].total()
    )


def _held(here: Mapping[str, int], everywhere: Mapping[str, int]) -> str:
    told = (
        f"{count} of {plural(everywhere[role], f'{role} instance')} there, "
        f"{everywhere[role] - count or 'none'} elsewhere"
        for role, count in here.items()
        if count
    )
    return "; ".join(told)


def _rooms(lines: Sequence[Line], changing: Sequence[Line]) -> tuple[str, ...]:
    """Return how many free GPUs are left of each type and cluster that loses some."""
    free: Counter[tuple[str, str]] = Counter()
    lost: Counter[tuple[str, str]] = Counter()
    for line in lines:
        free[line.gpu_model, line.cluster] += line.parts.free
    for line in changing:
        lost[line.gpu_model, line.cluster] += line.parts.free
    return tuple(
        f"{model} in {cluster}: {free[model, cluster]} → {free[model, cluster] - count} free GPUs"
        for (model, cluster), count in sorted(lost.items())
        if count
    )


def _emptied(lines: Sequence[Line], changing: Sequence[Line]) -> tuple[str, ...]:
    """Return the S1 domains in use that lose their last node that takes instances."""
    leaving = {line.pk for line in changing}
    left: Counter[tuple[str, str]] = Counter()
    used: set[tuple[str, str]] = set()
    for line in lines:
        where = (line.cluster, line.s1)
        left[where] += line.schedulable and line.pk not in leaving
        if line.used:
            used.add(where)
    losing = {(line.cluster, line.s1) for line in changing if line.schedulable and line.s1}
    return tuple(
        f"{s1} in {cluster}" for cluster, s1 in sorted(losing & used) if not left[cluster, s1]
    )


def _notes(asked: NodeChange, changing: Sequence[Line]) -> tuple[str, ...]:
    if asked.action == LABEL:
        return ()
    slugs = {line.cluster for line in changing}
    told = Cluster.objects.filter(slug__in=slugs, kind=Cluster.Kind.RECORD).order_by("slug")
    return tuple(
        f"{cluster.slug} is watched only: HeteroScale keeps this for itself and tells the cluster"
        " nothing."
        for cluster in told
    )
