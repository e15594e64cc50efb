"""Who holds which GPUs: the live bindings, and how they follow what clusters report (S19)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import F, Func, IntegerField

from inventory.models import Binding

RECENT: Final = timedelta(minutes=10)
"""What a cluster reported before that says nothing about now."""

STATES: Final[Mapping[str, str]] = {
    "ready": Binding.State.RUNNING,
    "draining": Binding.State.DRAINING,
}
"""What a binding is when its instance is in a state; in any other it is not up yet."""


class Piece(NamedTuple):
    """One row: the places from ``first`` up to ``end`` of one node."""

    row: int
    node: str
    first: int
    end: int


class Holding(NamedTuple):
    """All rows of one instance, or of one promised place while ``instance`` is empty."""

    service: str
    cluster: str
    group: str
    role: str
    instance: str
    place: str
    action: UUID | None
    state: str
    bound_at: datetime
    pieces: tuple[Piece, ...]

    @property
    def name(self) -> str:
        """What it is called: as the cluster does, or as the plan did."""
        return self.instance or self.place

    @property
    def nodes(self) -> dict[str, int]:
        """The GPUs it holds of each node."""
        held: dict[str, int] = {}
        for piece in self.pieces:
            held[piece.node] = held.get(piece.node, 0) + piece.end - piece.first
        return held

    @property
    def spots(self) -> frozenset[str]:
        """Its nodes in small letters, as two spellings of a name are one node."""
        return frozenset(piece.node.lower() for piece in self.pieces)


class Instance(NamedTuple):
    """One instance as its cluster reported it; without nodes it holds nothing."""

    name: str
    role: str
    group: str
    state: str
    nodes: tuple[str, ...]

    @property
    def bound_state(self) -> str:
        """The state of the binding it has."""
        return STATES.get(self.state, Binding.State.STARTING)

    @property
    def spots(self) -> frozenset[str]:
        """Its nodes in small letters."""
        return frozenset(node.lower() for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Report:
    """The instances of one service when its cluster was heard last, ``None`` if never."""

    service: str
    cluster: str
    at: datetime | None
    instances: tuple[Instance, ...]

    def is_recent(self, now: datetime) -> bool:
        """Return whether it says something about now."""
        return self.at is not None and now - self.at <= RECENT


@dataclass(slots=True)
class Steps:
    """What brings the bindings of one service in line with a report.

    ``named`` get the name, state and group of an instance, ``gone`` hold nothing any more, ``new``
    have no binding.
    """

    named: list[tuple[Holding, Instance]] = field(default_factory=list)
    gone: list[Holding] = field(default_factory=list)
    new: list[Instance] = field(default_factory=list)


def live() -> list[Holding]:
    """Read all live bindings, the rows of one instance together; one query."""
    rows = (
        Binding.objects.filter(released_at=None)
        .order_by("pk")
        .annotate(first=end_of("lower"), end=end_of("upper"))
        .values_list(
            *("group_id", "role", "instance", "place", "action"),
            *("pk", "node__name", "first", "end"),
            *("group__service__slug", "node__cluster__slug", "group__name", "state", "bound_at"),
        )
    )
    pieces: dict[tuple[Any, ...], list[Piece]] = {}
    rest: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for row in rows:
        key = row[:5]
        if key not in pieces:
            pieces[key], rest[key] = [], row[9:]
        pieces[key].append(Piece._make(row[5:9]))
    return [_holding(key, rest[key], own) for key, own in pieces.items()]


def _holding(key: tuple[Any, ...], rest: tuple[Any, ...], pieces: Iterable[Piece]) -> Holding:
    _, role, instance, place, action = key
    service, cluster, group, state, bound_at = rest
    return Holding(
        service, cluster, group, role, instance, place, action, state, bound_at, tuple(pieces)
    )


def end_of(function: str) -> Func:
    """Return the ``lower`` or the ``upper`` end of a range; this is one after its last."""
    return Func(F("gpus"), function=function, output_field=IntegerField())


def follow(holdings: Iterable[Holding], report: Report, now: datetime) -> Steps:
    """Return what brings the bindings of the report's service in line with it.

    Nothing where the report is old. A promise is claimed by an instance of its role on its nodes
    that was reported since, one of its group before others; what is bound and no longer reported
    where it is was let go by its cluster.
    """
    steps = Steps()
    if report.at is None or not report.is_recent(now):
        return steps
    there = {one.name: one for one in report.instances if one.nodes}
    promised: list[Holding] = []
    kept: set[str] = set()
    for holding in holdings:
        one = there.get(holding.instance)
        if not holding.instance:
            promised += [holding] if holding.bound_at <= report.at else []
        elif one is not None and one.role == holding.role and one.spots == holding.spots:
            kept.add(one.name)
            if _differs(holding, one):
                steps.named.append((holding, one))
        elif holding.bound_at < report.at:
            steps.gone.append(holding)
        else:
            # Bound since the report: it can't say anything about it.
            kept.add(holding.instance)
    fresh = [one for name, one in sorted(there.items()) if name not in kept]
    claimed, steps.new = _claims(promised, fresh)
    steps.named += claimed
    return steps


def _differs(holding: Holding, one: Instance) -> bool:
    return holding.state != one.bound_state or bool(one.group and holding.group != one.group)


def _claims(
    promised: Sequence[Holding], fresh: Sequence[Instance]
) -> tuple[list[tuple[Holding, Instance]], list[Instance]]:
    """Return which promise each instance takes up, and the instances that find none."""
    free: dict[tuple[str, frozenset[str]], list[Holding]] = defaultdict(list)
    for holding in sorted(promised, key=lambda one: (one.bound_at, one.place)):
        free[holding.role, holding.spots].append(holding)
    claimed: list[tuple[Holding, Instance]] = []
    left = list(fresh)
    for is_exact in (True, False):
        waiting, left = left, []
        for one in waiting:
            offers = free[one.role, one.spots]
            taken = next((own for own in offers if not is_exact or own.group == one.group), None)
            if taken is None:
                left.append(one)
            else:
                offers.remove(taken)
                claimed.append((taken, one))
    return claimed, left


def lapsed(
    holdings: Iterable[Holding], steps: Iterable[Steps], ended: Collection[UUID]
) -> list[Holding]:
    """Return the promises of actions that ended, but for those an instance takes up."""
    claimed = {id(holding) for each in steps for holding, _ in each.named}
    return [
        one
        for one in holdings
        if not one.instance and one.action in ended and id(one) not in claimed
    ]
