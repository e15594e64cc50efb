"""Engines as they are lent out: a world, and receipts of the orders it took."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from controller.simulator.world import World


@dataclass(slots=True)
class Receipt:
    """The newest order a simulated cluster took for a service."""

    action: str
    epoch: int


@dataclass(slots=True)
class Engines:
    """Engines at one time; whoever borrows them is alone with them until they are handed back."""

    world: World
    receipts: dict[str, Receipt] = field(default_factory=dict)


OpenEngines = Callable[[float], AbstractContextManager[Engines]]
"""Given a time [s], lend the engines as they are then; what is done to them is kept."""
