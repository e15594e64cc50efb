"""A request as a tree of parts and groups, and the nodes it may go to, as values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

NODE: Final = "node"
"""The innermost level of every fleet."""

READY: Final = "ok"
"""The state of a node that takes pods; every other state is a reason not to."""


class Kind(StrEnum):
    """What a request asks for."""

    PLACE = "place"
    REPLACE = "replace"
    RESIZE = "resize"
    REDUCE = "reduce"


@dataclass(frozen=True, slots=True)
class Node:
    """A node: ``at`` maps levels to domains, ``free`` resources to whole units."""

    name: str
    at: Mapping[str, str]
    free: Mapping[str, int]
    labels: Mapping[str, str] = field(default_factory=dict)
    state: str = READY
    taints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pack:
    """Pods that come ``size`` at a time, each lot inside one domain of ``level``."""

    level: str
    size: int | None


@dataclass(frozen=True, slots=True)
class LabelWish:
    """Labels that are worth ``weight`` for every pod on a node that has all of them."""

    weight: int
    match: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Part:
    """Equal pods: ``pods`` is how many there are after the step, ``each`` what one takes.

    All of them are in one domain of ``require``, and of ``prefer`` where that can be had;
    ``scatter`` says that no nearness is wanted.
    """

    name: str
    pods: int
    each: Mapping[str, int]
    select: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tolerate: frozenset[str] = frozenset()
    packs: tuple[Pack, ...] = ()
    wishes: tuple[LabelWish, ...] = ()
    require: str | None = None
    prefer: str | None = None
    scatter: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """Parts and groups that have levels in common."""

    name: str
    children: "tuple[Tree, ...]"
    require: str | None = None
    prefer: str | None = None
    scatter: bool = False


Tree = Part | Group

Placement = Mapping[str, Mapping[str, int]]
"""Pods of every part on every node that has any."""


@dataclass(frozen=True, slots=True)
class Question:
    """One request to a fleet.

    ``levels`` are named outermost first and end with ``node``. ``existing`` pods run already,
    stay where they are, and aren't in what is free. A request of kind ``reduce`` asks for
    ``times`` the ``ratio`` and is content with fewer times.
    """

    kind: Kind
    levels: tuple[str, ...]
    nodes: tuple[Node, ...]
    request: Tree
    existing: Placement = field(default_factory=dict)
    ratio: Mapping[str, int] = field(default_factory=dict)
    times: int = 1


def parts_of(tree: Tree) -> tuple[Part, ...]:
    """Return the parts under a group, or the part itself, in the order they are written."""
    return tuple(member for member in members_of(tree) if isinstance(member, Part))


def members_of(tree: Tree) -> Iterator[Tree]:
    """Yield a tree's groups and parts, itself first."""
    yield tree
    if isinstance(tree, Group):
        for child in tree.children:
            yield from members_of(child)


def counted_of(tree: Tree) -> tuple[Tree, ...]:
    """Return the members whose spread matters: those with a level, or a part that is alone."""
    return tuple(
        member
        for member in members_of(tree)
        if not member.scatter
        and (member.require or member.prefer or (member is tree and isinstance(member, Part)))
    )


def with_wishes_required(tree: Tree, members: Sequence[Tree], levels: tuple[str, ...]) -> Tree:
    """Return the tree with what some of its members prefer as their required level.

    A member that must be in something narrower already stays as it is.
    """
    require = tree.require
    if tree.prefer and any(member is tree for member in members):
        wanted = {level for level in (tree.require, tree.prefer) if level}
        require = max(wanted, key=levels.index)
    if isinstance(tree, Part):
        return replace(tree, require=require)
    children = tuple(with_wishes_required(child, members, levels) for child in tree.children)
    return replace(tree, children=children, require=require)


def with_pods(tree: Tree, pods: Mapping[str, int]) -> Tree:
    """Return the tree with other counts of pods, by the name of their part."""
    if isinstance(tree, Part):
        return replace(tree, pods=pods.get(tree.name, tree.pods))
    return replace(tree, children=tuple(with_pods(child, pods) for child in tree.children))
