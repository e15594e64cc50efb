"""What the loss of nodes leads to: who comes back where, who gives way, who is short (§7; I10)."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.placement.advice import steered
from controller.core.placement.cycle import choosing_of
from controller.core.placement.degrade import Shrinking, Shrunk, shrink_for
from controller.core.placement.layout import sizes_of
from controller.core.placement.moving import widened
from controller.core.placement.preview import Situation
from controller.core.placement.replace import Replacing, lost_of, replacements
from controller.core.placement.supposing import Changes, after, names_of
from controller.core.placement.values import (
    Held,
    Move,
    Placement,
    Removal,
    Request,
    Tenant,
    Unplaced,
)
from controller.core.types import Instances, Role

NOTHING: Final = Replacing()


@dataclass(frozen=True, slots=True)
class Loss:
    """A service that loses instances, or that gives way to one that does.

    ``had`` are its counts before, without what it had lost already; ``least`` those it may not go
    below. ``replaced`` come back beside their group, ``placed`` as growth does, ``shrunk`` go for
    others.
    ``is_watched`` is whether it is only observed, so that nothing is done for it.
    """

    service: str
    priority: int
    least: Instances
    had: Instances
    lost: Instances
    replaced: Instances
    placed: Instances
    shrunk: Instances
    is_watched: bool = False
    refused: tuple[Unplaced, ...] = ()
    whole_group: tuple[Move, ...] = ()
    moves: tuple[Move, ...] = ()

    @property
    def stays(self) -> Instances:
        """What is left before anything is done."""
        return _each(lambda role: self.had.of(role) - self.lost.of(role))

    @property
    def ends(self) -> Instances:
        """What it has once all that can be done is done."""
        return _each(
            lambda role: (
                self.stays.of(role)
                + self.replaced.of(role)
                + self.placed.of(role)
                - self.shrunk.of(role)
            )
        )

    @property
    def is_whole(self) -> bool:
        """Whether it has as many as before in the end."""
        return self.ends == self.had

    @property
    def is_below_least(self) -> bool:
        """Whether a role ends with fewer instances than it may."""
        return any(self.ends.of(role) < self.least.of(role) for role in Role)


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one hardware type that are gone: all, and how many of them instances held."""

    hardware: str
    nodes: int
    gpus: int
    held: int


@dataclass(frozen=True, slots=True, eq=False)
class Losing:
    """Everything that follows; ``ended`` is the situation once all of it is carried out."""

    pools: tuple[Pool, ...]
    losses: tuple[Loss, ...]
    shrunk: tuple[Shrunk, ...]
    unplaced: tuple[Unplaced, ...]
    ended: Situation


def losing(situation: Situation, gone: Collection[str]) -> Losing:
    """Return what follows when nodes that may not be used any more are gone.

    What is lost comes back beside its group where its affinity lets it, by priority. What does
    not is asked for like any growth, and where there is no room lower priorities shrink to their
    least. Of services that are only observed nothing comes back and none gives way. Of what was
    lost before nothing is told, but it takes its room.
    """
    work = _Losing(situation, frozenset(gone))
    work.replace_lost()
    work.place_missing()
    return Losing(
        pools=_pools(situation, work.gone),
        losses=tuple(work.loss(tenant) for tenant in work.concerned()),
        shrunk=work.shrunk,
        unplaced=work.unplaced,
        ended=work.now,
    )


def _pools(situation: Situation, gone: Collection[str]) -> tuple[Pool, ...]:
    rows = [row for row in situation.rows if row.name in gone]
    return tuple(
        Pool(
            hardware,
            len(mine),
            sum(row.gpus for row in mine),
            sum(row.gpus - row.free for row in mine),
        )
        for hardware in sorted({row.hardware for row in rows})
        for mine in [[row for row in rows if row.hardware == hardware]]
    )


@dataclass(slots=True)
class _Losing:
    """The situation as it changes, and what has become of each service so far."""

    now: Situation
    gone: frozenset[str]
    before: dict[str, Tenant] = field(default_factory=dict)
    lost: dict[str, set[str]] = field(default_factory=dict)
    earlier: dict[str, set[str]] = field(default_factory=dict)
    answers: dict[str, Replacing] = field(default_factory=dict)
    missing: dict[str, Instances] = field(default_factory=dict)
    placements: tuple[Placement, ...] = ()
    shrunk: tuple[Shrunk, ...] = ()
    unplaced: tuple[Unplaced, ...] = ()

    def replace_lost(self) -> None:
        """Bring back what can be beside its group, the highest priority first."""
        fleet, self.before = self.now.fleet, dict(self.now.tenants)
        lost = lost_of(fleet, self.before.values())
        choosing = widened(
            fleet, choosing_of(fleet, []), sizes_of(self.before[name] for name in lost)
        )
        moves: list[Move] = []
        left: list[Removal] = []
        for name, held in lost.items():
            tenant = self.before[name]
            is_watched = name in self.now.watched
            answer = NOTHING if is_watched else replacements(choosing, fleet, tenant, held)
            moves += answer.moves
            came = {move.instance for move in answer.moves}
            stuck = names_of(one for one in held if one.name not in came)
            left += _removals(tenant, stuck)
            mine = names_of(one for one in held if any(node in self.gone for node, _ in one.nodes))
            self.earlier[name] = names_of(held) - mine
            if mine:
                self.answers[name], self.lost[name] = answer, mine
                self.missing[name] = _counts(tenant.held, mine & stuck)
        self.now = after(self.now, Changes(removals=left, moves=moves))

    def place_missing(self) -> None:
        """Ask for what did not come back, and let lower priorities give way where need be."""
        requests = [
            Request(name, count)
            for name, count in self.missing.items()
            if any(count) and name not in self.now.watched
        ]
        if not requests:
            return
        plan = self.now.plan(requests)
        self.placements, self.unplaced = tuple(plan.placements), tuple(plan.unplaced)
        found = self._shrinking(requests) if plan.unplaced else None
        if found is not None:
            self.placements, self.unplaced = found.placements, found.unplaced
            self.shrunk = found.shrunk
        removals = [removal for one in self.shrunk for removal in one.removals]
        self.now = after(self.now, Changes(self.placements, removals))

    def _shrinking(self, requests: Sequence[Request]) -> Shrinking | None:
        fleet = self.now.fleet
        return shrink_for(choosing_of(fleet, []), fleet, steered(self.now), requests)

    def concerned(self) -> list[Tenant]:
        """Return who loses something or gives way, by priority."""
        names = {*self.lost, *(one.service for one in self.shrunk)}
        return sorted(
            (self.before[name] for name in names),
            key=lambda tenant: (-tenant.priority, tenant.name),
        )

    def loss(self, tenant: Tenant) -> Loss:
        """Return what becomes of one service."""
        name = tenant.name
        answer = self.answers.get(name, NOTHING)
        lost = _counts(tenant.held, self.lost.get(name, set()))
        missing = self.missing.get(name, Instances(0, 0))
        came = {(one.role, one.instance) for one in self.placements if one.service == name}
        gives = next((one for one in self.shrunk if one.service == name), None)
        gone = _counts(tenant.held, self.earlier.get(name, set()))
        return Loss(
            service=name,
            priority=tenant.priority,
            least=tenant.least,
            had=_each(lambda role: tenant.counts.of(role) - gone.of(role)),
            lost=lost,
            replaced=_each(lambda role: lost.of(role) - missing.of(role)),
            placed=_each(lambda role: sum(one is role for one, _ in came)),
            shrunk=_each(
                lambda role: gives.before.of(role) - gives.after.of(role) if gives else 0
            ),
            is_watched=name in self.now.watched,
            refused=answer.refused,
            whole_group=answer.whole_group,
            moves=tuple(
                move
                for move in answer.moves
                if any(node in self.gone for node, _ in move.from_nodes)
            ),
        )


def _removals(tenant: Tenant, names: Collection[str]) -> list[Removal]:
    """Return the instances that are no more."""
    return [
        Removal(tenant.name, one.group, one.role, one.unit or one.name, one.nodes, "lost")
        for one in tenant.held
        if (one.unit or one.name) in names
    ]


def _counts(held: Iterable[Held], names: Collection[str]) -> Instances:
    """Return how many of some instances there are of each role."""
    mine = {(one.role, one.unit or one.name) for one in held}
    return _each(lambda kind: sum(role is kind and name in names for role, name in mine))


def _each(count: Callable[[Role], int]) -> Instances:
    return Instances(*(count(role) for role in Role))
