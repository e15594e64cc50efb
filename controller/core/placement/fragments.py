"""How broken up the free GPUs are: what fits against what they would allow (placement: metric)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.fleet import Level
from controller.core.placement.choose import Choosing
from controller.core.placement.layout import Fleet, needs_of
from controller.core.placement.moving import widened
from controller.core.placement.slots import ONE, Option, Slots
from controller.core.placement.values import Tenant

Shape = tuple[Option, ...]
"""The types an instance may run on, with its size on each."""

COMMON: Final = 8
"""So many shapes are told, those that most roles have."""


@dataclass(frozen=True, slots=True)
class ShapeRoom:
    """What is free for one shape of instance: ``gpus`` on each of ``nodes`` nodes of some types.

    ``largest`` is how many instances the S1 with most room takes, ``fits`` how many the fleet
    does, ``allowed`` how many its free GPUs would be enough for.
    """

    hardware: tuple[str, ...]
    gpus: int
    nodes: int
    largest: int
    fits: int
    allowed: int


@dataclass(frozen=True, slots=True)
class Fragmentation:
    """How broken up free GPUs are: by common shape, and in nodes that are wholly free."""

    shapes: tuple[ShapeRoom, ...]
    whole_nodes: int


def fragmentation(choosing: Choosing, fleet: Fleet, tenants: Sequence[Tenant]) -> Fragmentation:
    """Return for each of the commonest shapes what fits and what the free GPUs would allow.

    A shape is what an instance or a pod of a part takes of its possible types; the commonest come
    first. Nodes that may not be used have nothing free (placement: Defragmentation, metric).
    """
    return measured(choosing, fleet, common_shapes(fleet, tenants))


def common_shapes(fleet: Fleet, tenants: Sequence[Tenant]) -> tuple[Shape, ...]:
    """Return the commonest shapes of instances, those that most roles have first."""
    shapes: Counter[Shape] = Counter()
    for need, count in Counter(need for tenant in tenants for need in needs_of(tenant)).items():
        options = tuple(one._replace(throughput=1.0) for one in fleet.options(need))
        if options:
            shapes[options] += count
    return tuple(sorted(shapes, key=lambda options: (-shapes[options], options))[:COMMON])


def measured(choosing: Choosing, fleet: Fleet, shapes: Sequence[Shape]) -> Fragmentation:
    """Return what fits of some shapes and what the free GPUs would allow."""
    sizes = {option.size for options in shapes for option in options}
    slots = widened(fleet, choosing, sizes).slots
    whole = (slots.free == slots.gpus) & (slots.gpus > 0)
    return Fragmentation(
        tuple(_room(slots, fleet, options) for options in shapes), int(whole.sum())
    )


def _room(slots: Slots, fleet: Fleet, options: Shape) -> ShapeRoom:
    topology = fleet.view.topology
    first = options[0].size
    here = np.sum([slots.of(option, Level.S1) for option in options], axis=0)
    free = {option: int(slots.table(ONE, Level.S1)[option.type].sum()) for option in options}
    return ShapeRoom(
        hardware=tuple(dict.fromkeys(topology.hardware_name(one.type) for one in options)),
        gpus=first.gpus,
        nodes=first.nodes,
        largest=int(here.max(initial=0)),
        fits=int(here.sum()),
        allowed=sum(
            gpus // (option.size.gpus * option.size.nodes) for option, gpus in free.items()
        ),
    )
