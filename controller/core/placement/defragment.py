"""Moves of others that make room for what was refused though enough is free (placement)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.choose import Choosing, Share, less
from controller.core.placement.clearing import Clearing, Piece
from controller.core.placement.cycle import Placed, Wanted, wanted_of
from controller.core.placement.fragments import Fragmentation, common_shapes, measured
from controller.core.placement.layout import Fleet, sizes_of
from controller.core.placement.moving import Disruption, Moving, give_back, lacks, widened
from controller.core.placement.slots import ONE
from controller.core.placement.values import Held, Move, Request, Tenant

LOOKED_AT: Final = 5
"""So many domains are looked at, those that lack least."""


@dataclass(frozen=True, slots=True)
class Rearranging:
    """Moves worth making, for a person to approve.

    ``kind`` is "room" or "together"; ``gain`` the instances of ``service`` that are placed then,
    or its (P, D) pairs that share an S1 more; ``cost`` the GPU-seconds the starts take. ``after``
    is after the moves and before anything is placed.
    """

    kind: str
    service: str
    moves: tuple[Move, ...]
    gain: int
    cost: float
    before: Fragmentation
    after: Fragmentation


def make_room(
    choosing: Choosing,
    fleet: Fleet,
    tenants: Sequence[Tenant],
    request: Request,
    *,
    budget: Disruption,
) -> Rearranging | None:
    """Return the cheapest moves of other services after which all of a request fits.

    Only for one that does not fit although the free GPUs of its types would be enough. Unit by
    unit the five domains that lack least are tried. What moves goes to GPUs that are free before
    anything has moved, so that it can start there before it stops where it was. ``None`` where
    nothing is to be done, or the budget does not do.

    Raises :class:`KeyError` for a request of a service that is not among the tenants.
    """
    of = {tenant.name: tenant for tenant in tenants}
    wanted = wanted_of(fleet, of[request.service], request)
    if wanted is None or not _would_do(choosing, wanted):
        return None
    ground = widened(fleet, choosing, sizes_of(tenants))
    state = Moving(fleet, ground.copy(), of, budget)
    # In one piece or not at all: what is less is the cycle's to place.
    wanted, shares = Placed(state.choosing).add(fleet, replace(wanted, other=None))
    left = wanted.ask.units - sum(share.units for share in shares)
    if not left:
        return None
    wanted = _after(wanted, shares, ground)
    for _ in range(left):
        cleared = _cheapest(state, wanted, _by_node(state, request.service))
        if cleared is None:
            return None
        state, share = cleared
        wanted = _after(wanted, (share,), ground)
    rooms = Rooms(fleet, ground, tenants)
    return rooms.rearranging("room", request.service, sum(wanted.unit) * left, state)


class Rooms:
    """What the common shapes find before moves and after them."""

    def __init__(self, fleet: Fleet, ground: Choosing, tenants: Sequence[Tenant]) -> None:
        self._fleet, self._ground = fleet, ground
        self._shapes = common_shapes(fleet, tenants)
        self._before = measured(ground, fleet, self._shapes)

    def rearranging(self, kind: str, service: str, gain: int, state: Moving) -> Rearranging:
        """Return the moves made as a proposal."""
        after = self._ground.copy()
        for move in state.moves:
            held = Held(move.instance, move.role, move.group, move.from_nodes)
            give_back(self._fleet, after, [held])
            for name, gpus in move.to_nodes:
                after.slots.take(self._fleet.at[name], gpus)
        return Rearranging(
            kind=kind,
            service=service,
            moves=state.moves,
            gain=gain,
            cost=state.cost,
            before=self._before,
            after=measured(after, self._fleet, self._shapes),
        )


def _after(wanted: Wanted, shares: Sequence[Share], ground: Choosing) -> Wanted:
    """Return what is wanted unit by unit once some are placed: domains may take fewer then."""
    ask = replace(wanted.ask, units=1)
    for share in shares:
        ask = less(ask, share, ground.slots.topology) if ask.caps else ask
    return replace(wanted, ask=ask)


def _would_do(choosing: Choosing, wanted: Wanted) -> bool:
    """Return whether the free GPUs are enough for each part, wherever and in whatever pieces."""
    free = choosing.slots.table(ONE, Level.S1).sum(axis=1)
    return all(
        wanted.ask.units * part.pods
        <= sum(
            int(free[option.type]) // (option.size.gpus * option.size.nodes) * option.throughput
            for option in part.options
        )
        for part in wanted.ask.parts
    )


def _by_node(state: Moving, asker: str) -> dict[int, list[Piece]]:
    """Return the instances of other services by the nodes they are on."""
    found: dict[int, list[Piece]] = {}
    for name in sorted(state.tenants):
        if name != asker:
            for held in state.tenants[name].held:
                for node, _ in held.nodes:
                    at = state.fleet.at.get(node)
                    if at is not None:
                        found.setdefault(at, []).append((name, held))
    return found


def _cheapest(
    state: Moving, wanted: Wanted, on: dict[int, list[Piece]]
) -> tuple[Moving, Share] | None:
    """Return the fleet with room made for one unit, and the unit placed, in the best domain."""
    level = wanted.ask.require
    short = lacks(state.choosing, wanted.ask, level)
    open_to = state.choosing.allowed(wanted.ask, level, np.ones(len(short), np.int32)) > 0
    order = np.argsort(np.where(open_to, short, np.iinfo(np.int32).max), kind="stable")
    looked = [at for at in order[:LOOKED_AT].tolist() if open_to[at]]
    found = [
        cleared
        for at in looked
        if (cleared := Clearing(state, wanted, (level, at), on).run()) is not None
    ]
    return min(found, key=lambda one: one[0].cost, default=None)
