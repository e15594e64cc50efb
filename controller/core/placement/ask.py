"""A request laid on a fleet: what its parts take, what runs, and what is free, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from controller.core.placement.eligible import eligible
from controller.core.placement.ground import BoolArray, Ground, IntArray
from controller.core.placement.tree import Placement, Question, Tree, parts_of


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """P parts on N nodes with R resources.

    ``each`` has shape (P, R) and ``free`` (N, R), in whole units; ``running`` (P, N) are pods
    that stay, and aren't in ``free``; ``allowed`` (P, N) says where new pods may go.
    """

    ground: Ground
    tree: Tree
    resources: tuple[str, ...]
    each: IntArray
    free: IntArray
    running: IntArray
    allowed: BoolArray

    @property
    def pods(self) -> IntArray:
        """How many pods of each part there are after the step, of shape (P,)."""
        return np.array([part.pods for part in parts_of(self.tree)], dtype=np.int64)

    @property
    def shrinks(self) -> BoolArray:
        """Whether each part gives pods up, of shape (P,)."""
        fewer: BoolArray = self.running.sum(axis=1) > self.pods
        return fewer

    def for_member(self, member: Tree) -> "Ask":
        """Return the request of one member alone."""
        names = [part.name for part in parts_of(self.tree)]
        rows = [names.index(part.name) for part in parts_of(member)]
        return replace(
            self,
            tree=member,
            each=self.each[rows],
            running=self.running[rows],
            allowed=self.allowed[rows],
        )

    def within(self, inside: BoolArray) -> "Ask":
        """Return the request with new pods on some nodes only, or with fewer per part."""
        return replace(self, allowed=self.allowed & inside)

    def after(self, member: "Ask", pods: IntArray) -> "Ask":
        """Return the request when a member's pods, of shape (P, N), have taken their share."""
        added = np.maximum(pods - member.running, 0)
        return replace(self, free=self.free - added.T @ member.each)


def ask_of(question: Question, ground: Ground, tree: Tree | None = None) -> Ask:
    """Return a question's request, or another tree of the same parts, on its fleet."""
    wanted = question.request if tree is None else tree
    parts = parts_of(wanted)
    resources = tuple(sorted({name for part in parts for name in part.each}))
    return Ask(
        ground=ground,
        tree=wanted,
        resources=resources,
        each=_table([part.each for part in parts], resources),
        free=np.maximum(_table([node.free for node in ground.nodes], resources), 0),
        running=_table(
            [question.existing.get(part.name, {}) for part in parts],
            tuple(node.name for node in ground.nodes),
        ),
        allowed=np.array([eligible(ground, part) for part in parts], dtype=np.bool_),
    )


def _table(rows: list[Mapping[str, int]], columns: tuple[str, ...]) -> IntArray:
    values = [[row.get(column, 0) for column in columns] for row in rows]
    return np.array(values, dtype=np.int64).reshape(len(rows), len(columns))


def placement_of(ask: Ask, pods: IntArray) -> Placement:
    """Return counts of shape (P, N) by the names of parts and nodes."""
    names = [node.name for node in ask.ground.nodes]
    return {
        part.name: {names[index]: int(row[index]) for index in np.flatnonzero(row)}
        for part, row in zip(parts_of(ask.tree), pods, strict=True)
    }
