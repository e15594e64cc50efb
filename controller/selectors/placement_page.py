"""The placement tab of a service: what is asked for, where it runs, what is promised, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from controller.core.phrases import counts, plural
from controller.core.types import Role
from controller.models import Action, Proposal
from controller.selectors import expressed
from controller.selectors.expressed import Expressed
from controller.selectors.placed import (
    Placed,
    counts_words,
    domain_address,
    placed_of,
)
from controller.selectors.placement_seen import (
    READY,
    Bound,
    Instance,
    Seen,
    Spot,
    places_words,
    read_seen,
)
from controller.selectors.racks import natural
from controller.selectors.topology_words import scarcity
from inventory.models import Binding, Nearness, RolePart, RoleSpec, Service

NO_GROUP: Final = "without a group"
FARTHER: Final = {True: "rather not placed than farther apart", False: "farther apart if need be"}


@dataclass(frozen=True, slots=True)
class Fact:
    """A word and what it is set to, in words."""

    word: str
    value: str


@dataclass(frozen=True, slots=True)
class On:
    """An instance's part of one node: GPUs in words; an empty address is a node nobody knows."""

    node: str
    address: str
    gpus: str
    why: Sequence[str]


@dataclass(frozen=True, slots=True)
class Line:
    """One instance of a group; ``promised`` are the nodes it should be on and is not."""

    name: str
    role: str
    state: str
    on: Sequence[On]
    promised: Sequence[str]

    @property
    def is_marked(self) -> bool:
        """Whether something about its place needs a look."""
        return bool(self.promised) or any(on.why or not on.address for on in self.on)


@dataclass(frozen=True, slots=True)
class Domain:
    """The nearest domain that all of a group shares; no level where that is not known."""

    level: str = ""
    name: str = ""
    address: str = ""
    subgroup: str = ""


@dataclass(frozen=True, slots=True)
class GroupLine:
    """A group: where it is, how many of each role it has, and its instances."""

    name: str
    domain: Domain
    prefill: int
    decode: int
    lines: Sequence[Line]

    @property
    def marked(self) -> int:
        """Instances whose place needs a look."""
        return sum(line.is_marked for line in self.lines)

    @property
    def ratio(self) -> float | None:
        """Prefill per decode instance; ``None`` without decode."""
        return self.prefill / self.decode if self.decode else None


@dataclass(frozen=True, slots=True)
class PromiseLine:
    """GPUs that are promised to an instance nobody has seen yet."""

    name: str
    role: str
    group: str
    state: str
    bound_at: datetime
    on: Sequence[On]
    gpus: int
    change: str
    address: str


@dataclass(frozen=True, slots=True)
class LastPlaced:
    """The newest plan of the service: of which change, when, and what it says."""

    at: datetime
    change: str
    address: str
    plan: Placed


@dataclass(frozen=True, slots=True)
class PlacementPage:
    """Everything the tab shows."""

    seen: Seen
    is_stale: bool
    facts: Sequence[Fact]
    groups: Sequence[GroupLine]
    promises: Sequence[PromiseLine]
    last: LastPlaced | None
    expressed: Expressed | None = None

    @property
    def sentence(self) -> str:
        """What there is, in one line."""
        found = self.seen.instances
        ready = sum(one.state == READY for one in found)
        roles = [sum(one.role == role for one in found) for role in Role]
        words = counts_words(*roles).replace(", ", " and ")
        many = "instance" if len(found) == 1 else "instances"
        up = "" if ready == len(found) else f", {ready:,} of them ready"
        return (
            f"{words} {many} in {plural(len(self.seen.groups), 'group')}{up}."
            f" {self.seen.near.words[0].upper()}{self.seen.near.words[1:]}."
        )


def read_page(service: Service, now: datetime) -> PlacementPage:
    """Return the tab of a service; the same few queries for any number of instances."""
    seen = read_seen(service)
    specs = list(
        RoleSpec.objects.filter(service=service)
        .select_related("hardware")
        .prefetch_related("alternatives__hardware", "parts__hardware")
    )
    sizes = {spec.role: _sizes(spec) for spec in specs}
    return PlacementPage(
        seen=seen,
        is_stale=seen.is_stale(now),
        facts=_facts(service, specs),
        groups=_groups(service, seen, sizes),
        promises=_promises(seen),
        last=last_placed(service),
        expressed=expressed.of_service(service, seen),
    )


Sizes = Mapping[str, Mapping[UUID | None, int]]
"""GPUs of one instance by role and hardware; ``None`` is hardware that is not named."""


def _sizes(spec: RoleSpec) -> dict[UUID | None, int]:
    found: dict[UUID | None, int] = {
        one.hardware_id: one.gpus_per_instance for one in spec.alternatives.all()
    }
    return found | dict.fromkeys((spec.hardware_id, None), spec.gpus_per_instance)


def _facts(service: Service, specs: Iterable[RoleSpec]) -> tuple[Fact, ...]:
    level = Nearness(service.affinity_level).label
    how = "required" if service.affinity_required else "preferred"
    spread = "not asked for"
    if service.spread_level:
        over = Nearness(service.spread_level).label
        spread = f"over at least {service.spread_domains} of level {over}"
    return (
        Fact(
            "Affinity",
            f"a group shares one {level}, {how}: {FARTHER[service.affinity_required]}",
        ),
        Fact("Spread", spread),
        *(fact for spec in specs for fact in _role_facts(spec)),
    )


def _role_facts(spec: RoleSpec) -> tuple[Fact, ...]:
    if parts := list(spec.parts.all()):
        return _parts_facts(spec, parts)
    first = f"{plural(spec.gpus_per_instance, 'GPU')} on {spec.hardware.gpu_model}"
    other = [
        f"or {plural(one.gpus_per_instance, 'GPU')} on {one.hardware.gpu_model} at "
        f"{one.throughput:g} × the throughput"
        for one in spec.alternatives.all()
    ]
    many = spec.nodes_per_instance
    nodes = f"{many} whole nodes under one S1" if many > 1 else "part of one node, or all of it"
    wanted = [
        f"{name}={'|'.join(value) if isinstance(value, list) else value}"
        for name, value in sorted(spec.select.items())
    ]
    role = str(spec.role).capitalize()
    told = [
        Fact(f"{role} runs on", ", ".join([first, *other])),
        Fact(f"{role} instance", nodes),
    ]
    if wanted:
        told.append(Fact(f"{role} needs labels", ", ".join(wanted)))
    if spec.tolerate:
        told.append(Fact(f"{role} tolerates", ", ".join(map(str, spec.tolerate))))
    return tuple(told)


def _parts_facts(spec: RoleSpec, parts: Iterable[RolePart]) -> tuple[Fact, ...]:
    role, level = str(spec.role).capitalize(), Nearness(spec.parts_level).label
    pods = [
        f"{part.pods} × {part.name} of {plural(part.gpus_per_pod, 'GPU')} on "
        f"{part.hardware.gpu_model}"
        for part in parts
    ]
    return (Fact(f"{role} instance", f"{', '.join(pods)}, which share one {level}"),)


def _groups(service: Service, seen: Seen, sizes: Sizes) -> tuple[GroupLine, ...]:
    found: dict[str, list[Instance]] = defaultdict(list)
    for one in seen.instances:
        found[one.group].append(one)
    return tuple(
        GroupLine(
            name=name or NO_GROUP,
            domain=_domain(service, seen, here),
            prefill=sum(one.role == Role.PREFILL for one in here),
            decode=sum(one.role == Role.DECODE for one in here),
            lines=[_line(seen, one, sizes.get(one.role, {})) for one in here],
        )
        for name, here in sorted(found.items(), key=lambda each: natural(each[0]))
    )


def _domain(service: Service, seen: Seen, here: Iterable[Instance]) -> Domain:
    """Return the nearest domain of a group; not known where a node of it is not."""
    names = {name for one in here for name in one.nodes}
    spots = [seen.spot(name) for name in names]
    known = [spot for spot in spots if spot is not None]
    if not known or len(known) < len(spots):
        return Domain()
    first, cluster = known[0], service.cluster.slug
    if first.s1 and all(spot.s1 == first.s1 for spot in known):
        return _named(cluster, "S1", first.s1, first.s1_subgroup)
    if first.s2 and all(spot.s2 == first.s2 for spot in known):
        return _named(cluster, "S2", first.s2, first.s2_subgroup)
    return Domain("cluster", cluster, domain_address(cluster, "cluster", cluster))


def _named(cluster: str, level: str, name: str, subgroup: str) -> Domain:
    told = scarcity(subgroup) if subgroup else "not known"
    return Domain(level, name, domain_address(cluster, level, name), told)


def _line(seen: Seen, one: Instance, sizes: Mapping[UUID | None, int]) -> Line:
    promised = one.bound if one.is_elsewhere else None
    return Line(
        name=one.name,
        role=one.role,
        state=one.state,
        on=[
            _on(seen.spot(name), name, _gpus_words(seen, one, at, sizes))
            for at, name in enumerate(one.nodes)
        ],
        promised=[name for name, _ in promised.nodes] if promised else (),
    )


def _gpus_words(seen: Seen, one: Instance, at: int, sizes: Mapping[UUID | None, int]) -> str:
    """Return the places an instance was promised on a node, or else how many GPUs it takes."""
    name = one.nodes[at]
    if one.bound is not None and (ranges := one.bound.places_on(name)):
        return _places(ranges)
    spot = seen.spot(name)
    total = sizes.get(spot.hardware if spot else None, sizes.get(None, 0))
    # Whole nodes take the same of each; what does not come out even is on the first.
    each, more = divmod(total, len(one.nodes))
    return plural(each + (at < more), "GPU")


def _places(ranges: Sequence[tuple[int, int]]) -> str:
    many = sum(end - begin for begin, end in ranges)
    return f"{'GPU' if many == 1 else 'GPUs'} {places_words(ranges)}"


def _on(spot: Spot | None, name: str, gpus: str) -> On:
    if spot is None:
        return On(name, "", gpus, ())
    return On(spot.name, spot.address, gpus, spot.why)


def _promises(seen: Seen) -> tuple[PromiseLine, ...]:
    if not seen.unseen:
        return ()
    rows = Action.objects.filter(pk__in={one.action for one in seen.unseen if one.action})
    actions = {row.pk: row for row in rows}
    return tuple(_promise(seen, one, actions) for one in seen.unseen)


def _promise(seen: Seen, one: Bound, actions: Mapping[UUID, Action]) -> PromiseLine:
    action = actions.get(one.action) if one.action else None
    return PromiseLine(
        name=one.instance or one.place,
        role=one.role,
        group=one.group,
        state=str(Binding.State(one.state).label),
        bound_at=one.bound_at,
        on=[_on(seen.spot(name), name, _places(ranges)) for name, ranges in one.nodes],
        gpus=one.gpus,
        change=_change(action) if action else "",
        address=_page_of(action) if action else "",
    )


def last_placed(service: Service) -> LastPlaced | None:
    """Return the newest change of a service that was placed; ``None`` if none ever was."""
    action = Action.objects.filter(service=service).exclude(placement__isnull=True).first()
    asked = (
        Proposal.objects.filter(service=service)
        .exclude(placement__isnull=True)
        .order_by("-evidence_at")
        .first()
    )
    if asked is not None and (action is None or asked.evidence_at > action.recorded_at):
        return _last(service, asked, asked.evidence_at, asked.get_absolute_url())
    if action is not None:
        return _last(service, action, action.recorded_at, _page_of(action))
    return None


def _last(
    service: Service, row: Action | Proposal, at: datetime, address: str
) -> LastPlaced | None:
    cluster = service.cluster
    plan = placed_of(cluster, action=row) if isinstance(row, Action) else placed_of(cluster, row)
    return None if plan is None else LastPlaced(at, _change(row), address, plan)


def _change(row: Action | Proposal) -> str:
    return counts((row.from_prefill, row.from_decode), (row.to_prefill, row.to_decode))


def _page_of(action: Action) -> str:
    if action.decision_id is not None:
        return f"/decisions/{action.decision_id}/"
    return "" if action.proposal_id is None else f"/approvals/{action.proposal_id}/"
