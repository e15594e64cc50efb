"""What would make room for a request: the nearest miss, in words that follow "would fit if"."""

from collections import Counter

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.counts import any_of, ceilings
from controller.core.placement.eligible import barrier
from controller.core.placement.excluded import plural
from controller.core.placement.ground import IntArray
from controller.core.placement.tree import Part, Tree, parts_of


def held_by(ask: Ask, member: Tree) -> IntArray:
    """Return the most pods of each part in each place the member could be in, (P, places).

    Places are the domains of the level it must be in; without one, the whole fleet is one.
    """
    if member.require:
        return ceilings(ask)[ask.ground.rank(member.require)]
    everywhere: IntArray = ceilings(ask)[0].sum(axis=1, keepdims=True)
    return everywhere


def nearest_miss(ask: Ask, member: Tree) -> str:
    """Return what is missing in the place that lacks least, or nothing where that isn't plain.

    Pods are counted part by part, then what all of them take together. Parts that only don't
    fit beside each other on the nodes have no such place.
    """
    for row, part in enumerate(parts_of(member)):
        if not ask.allowed[row].any() and (missing := _no_node(ask, part)):
            return missing
    lacks = np.maximum(ask.pods[:, None] - held_by(ask, member), 0)
    place = int(lacks.sum(axis=0).argmin())
    wanted = [
        _room(part, count)
        for part, count in zip(parts_of(member), lacks[:, place].tolist(), strict=True)
        if count
    ]
    if wanted:
        missing = f"there is room for {' and '.join(wanted)}{_where(ask, member, place)}"
        return missing + _or_wider(ask, member)
    return _short_together(ask, member)


def _no_node(ask: Ask, part: Part) -> str:
    """Return what a node would need to be allowed at all, by the commonest reason it isn't."""
    reasons = Counter(barrier(node, part) for node in ask.ground.nodes)
    reason = max(sorted(reasons, key=str), key=lambda each: reasons[each])
    if reason == "selector":
        wanted = [f"{key} {' or '.join(values)}" for key, values in part.select.items()]
        return f"a node has the labels of {part.name}: {', '.join(wanted)}"
    if reason == "taint":
        taints = sorted({taint for node in ask.ground.nodes for taint in node.taints})
        return f"{part.name} tolerates {' or '.join(taints)}"
    return "" if reason is None else "a node is ready"


def _room(part: Part, count: int) -> str:
    size = part.packs[0].size or 1 if part.packs else 1
    each = " and ".join(f"{units} {name}" for name, units in part.each.items() if units)
    if size > 1 and count % size == 0:
        packs = count // size
        return f"{packs} more {plural('pack', packs)} of {size} pods of {part.name} ({each} each)"
    return f"{count} more {plural('pod', count)} of {part.name} ({each or 'nothing'} each)"


def _short_together(ask: Ask, member: Tree) -> str:
    """Return which resource is short for all parts together, in the place that lacks least."""
    new = np.maximum(ask.pods - ask.running.sum(axis=1), 0)
    need = new @ ask.each
    free = np.where(any_of(ask.allowed)[:, None], ask.free, 0)
    places = free.sum(axis=0)[:, None]
    if member.require:
        places = ask.ground.total(ask.ground.rank(member.require), free.T)
    lacks = np.maximum(need[:, None] - places, 0)
    place = int(lacks.sum(axis=0).argmin())
    wanted = [
        f"{count} more {name}"
        for name, count in zip(ask.resources, lacks[:, place].tolist(), strict=True)
        if count
    ]
    if not wanted:
        return ""
    verb = "is" if int(lacks[:, place].sum()) == 1 else "are"
    return f"{' and '.join(wanted)} {verb} free{_where(ask, member, place)}" + _or_wider(
        ask, member
    )


def _where(ask: Ask, member: Tree, place: int) -> str:
    if not member.require:
        return ""
    return f" in {ask.ground.name(ask.ground.rank(member.require), place)}"


def _or_wider(ask: Ask, member: Tree) -> str:
    """Return a hint where the fleet has enough in all, and only the level is too narrow."""
    new = np.maximum(ask.pods - ask.running.sum(axis=1), 0) @ ask.each
    free = np.where(any_of(ask.allowed)[:, None], ask.free, 0).sum(axis=0)
    enough = (ceilings(ask)[0].sum(axis=1) >= ask.pods).all() and (free >= new).all()
    level = member.require
    return f", or it need not be in one {level}" if level and enough else ""
