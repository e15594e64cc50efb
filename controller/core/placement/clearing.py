"""A domain cleared for one unit: which instances leave, and where they go (placement)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.choose import Choosing, Share
from controller.core.placement.cycle import Placed, Wanted
from controller.core.placement.moving import Domain, Moving, give_back, widened
from controller.core.placement.slots import Option
from controller.core.placement.values import Held
from controller.core.placement.why import deficit, gpus_of

NODES: Final = 64
"""So many nodes of a domain are looked at for one slot, those that need fewest GPUs."""

TRIES: Final = 8
"""So often others are tried where one of those that should leave finds no place elsewhere."""

Piece = tuple[str, Held]
"""An instance with its service."""


@dataclass(frozen=True, slots=True)
class Cover:
    """Instances that give enough GPUs back together, and what moving them costs [GPU-seconds]."""

    cost: float = 0.0
    pieces: tuple[Piece, ...] = ()

    def __add__(self, more: "Cover") -> "Cover":
        """Return both together."""
        return Cover(self.cost + more.cost, self.pieces + more.pieces)

    @property
    def rank(self) -> tuple[float, int]:
        """What is better is less: the cost, then how many move."""
        return self.cost, len(self.pieces)


NOTHING: Final = Cover()


@dataclass(slots=True)
class Clearing:
    """One domain that is to hold one unit of ``wanted``; ``on`` are instances by their node."""

    state: Moving
    wanted: Wanted
    domain: Domain
    on: Mapping[int, Sequence[Piece]]
    _banned: set[tuple[str, str]] = field(default_factory=set)
    _leave: dict[tuple[str, str], bool] = field(default_factory=dict)

    def run(self) -> tuple[Moving, Share] | None:
        """Return the fleet with instances moved and the unit placed; ``None`` if it can't be."""
        for _ in range(TRIES):
            evicted = self._evicted()
            if evicted is None:
                return None
            moved, share, stuck = self._moved(evicted)
            if stuck is None:
                return moved, share
            self._banned.add(stuck)
        return None

    def _fit(self, choosing: Choosing) -> list[Share]:
        """Place the unit in the domain; nothing is returned, or taken, where it does not fit."""
        ask = replace(self.wanted.ask, within=self.domain)
        return Placed(choosing).add(self.state.fleet, replace(self.wanted, ask=ask))[1]

    def _evicted(self) -> list[Piece] | None:
        """Return instances without which the unit fits, none of them in vain."""
        evicted: list[Piece] = []
        while not self._fit(trial := self._without(evicted)):
            more = self._next(trial, evicted)
            if more is None:
                return None
            evicted += more
        for piece in sorted(evicted, key=lambda one: -self.state.budget.price(*one)):
            others = [one for one in evicted if one is not piece]
            if self._fit(self._without(others)):
                evicted = others
        return evicted

    def _without(self, evicted: Iterable[Piece]) -> Choosing:
        trial = self.state.choosing.copy()
        give_back(self.state.fleet, trial, [held for _, held in evicted])
        return trial

    def _moved(self, evicted: Sequence[Piece]) -> tuple[Moving, Share, tuple[str, str] | None]:
        """Return the fleet with the unit placed and these moved, or the one that is stuck."""
        state = self.state.copy()
        after = self._without(evicted)
        (share,) = self._fit(after)
        # What is free now and stays free: so each can start there before it stops here.
        free = np.minimum(state.choosing.slots.free, after.slots.free)
        offered = widened(state.fleet, state.choosing, (), free)
        for service, held in sorted(evicted, key=lambda one: (-one[1].gpus, one[0], one[1].name)):
            if not state.move(service, held, offered):
                return state, share, (service, held.name)
        for pod in share.pods:
            for node, gpus in pod.nodes:
                state.choosing.slots.take(node, gpus)
        return state, share, None

    def _next(self, trial: Choosing, evicted: Sequence[Piece]) -> tuple[Piece, ...] | None:
        """Return the cheapest that give the part which lacks most one more slot."""
        level, domain = self.domain
        # Where each part has room, but not all together, the largest pod lacks it.
        part = max(
            self.wanted.ask.parts,
            key=lambda part: (
                deficit(trial, part, level, 1)[domain] * gpus_of(part),
                gpus_of(part),
            ),
        )
        offers = [
            offer for option in part.options for offer in self._offers(trial, option, evicted)
        ]
        best = min(offers, key=lambda offer: offer.rank, default=None)
        return None if best is None else best.pieces

    def _offers(
        self, trial: Choosing, option: Option, evicted: Sequence[Piece]
    ) -> Iterator[Cover]:
        """Yield for nodes of a type, or S1s where an instance takes several, what is to leave."""
        gpus, many = option.size
        slots, topology = trial.slots, trial.slots.topology
        inside = np.arange(len(topology.names))[topology.members(*self.domain)]
        nodes = inside[(topology.hardware[inside] == option.type) & (slots.gpus[inside] >= gpus)]
        free, own = slots.free[nodes], slots.gpus[nodes]
        wanted = (free // gpus + 1) * gpus if many == 1 else own
        need = np.where((wanted <= own) & (free < wanted), wanted - free, 0)
        order = [at for at in np.argsort(need, kind="stable").tolist() if need[at]][:NODES]
        if many == 1:
            yield from self._best([(int(nodes[at]), int(need[at])) for at in order], evicted)
            return
        covers = [
            (int(topology.of[Level.S1][nodes[at]]), cover)
            for at in order
            if (cover := self._cover(int(nodes[at]), int(need[at]), evicted)) is not None
        ]
        s1_of = topology.of[Level.S1][nodes[free == own]]
        whole = np.bincount(s1_of, minlength=len(topology.domains[Level.S1]))
        yield from self._together(covers, (many - whole % many).tolist(), evicted)

    def _best(self, needs: Sequence[tuple[int, int]], evicted: Sequence[Piece]) -> Iterator[Cover]:
        """Yield the cheapest cover of one of some nodes, which come by what they need."""
        best: Cover | None = None
        for node, need in needs:
            if best is not None and need * self.state.budget.least_start_s > best.cost:
                break
            cover = self._cover(node, need, evicted)
            if cover is not None and (best is None or cover.rank < best.rank):
                best = cover
        if best is not None:
            yield best

    def _together(
        self, covers: Sequence[tuple[int, Cover]], nodes: Sequence[int], evicted: Sequence[Piece]
    ) -> Iterator[Cover]:
        """Yield for each S1 the cheapest covers of as many nodes as it lacks."""
        for s1 in dict.fromkeys(s1 for s1, _ in covers):
            here = sorted((one for at, one in covers if at == s1), key=lambda one: one.rank)
            if len(here) < nodes[s1]:
                continue
            pieces = {
                (service, held.name): (service, held)
                for one in here[: nodes[s1]]
                for service, held in one.pieces
            }
            both = sum((self._alone(piece) for piece in pieces.values()), start=NOTHING)
            if self.state.allows([*evicted, *both.pieces]):
                yield both

    def _cover(self, node: int, need: int, evicted: Sequence[Piece]) -> Cover | None:
        """Return the cheapest instances on a node that give back as many GPUs as it needs."""
        name = self.state.fleet.view.topology.names[node]
        best = {0: NOTHING}
        for piece in self.on.get(node, ()):
            if piece in evicted or not self._may_leave(piece):
                continue
            gives = dict(piece[1].nodes)[name]
            for have, cover in list(best.items()):
                more, now = cover + self._alone(piece), min(need, have + gives)
                if (now not in best or more.rank < best[now].rank) and self.state.allows(
                    [*evicted, *more.pieces]
                ):
                    best[now] = more
        return best.get(need)

    def _alone(self, piece: Piece) -> Cover:
        return Cover(self.state.budget.price(*piece), (piece,))

    def _may_leave(self, piece: Piece) -> bool:
        service, held = piece
        key = service, held.name
        if key not in self._leave:
            self._leave[key] = self.state.is_movable(*piece) and self.state.has_place(*piece)
        return self._leave[key] and key not in self._banned
