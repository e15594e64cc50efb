"""Placement by trying everything: slow, short, and written from the rules, not from the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations_with_replacement, product

from controller.core.placement.tree import (
    Group,
    Node,
    Part,
    Placement,
    Question,
    Tree,
    members_of,
    parts_of,
)

Price = tuple[int, ...]


def every_placement(question: Question) -> Iterator[Placement]:
    """Yield all ways to put the pods of each part on nodes, good and bad."""
    names = [node.name for node in question.nodes]
    parts = parts_of(question.request)
    ways = [
        [
            dict(Counter(some))
            for some in combinations_with_replacement(names, part.pods)
            if all(_alone(question, part, node, n) for node, n in Counter(some).items())
        ]
        for part in parts
    ]
    for chosen in product(*ways):
        yield {part.name: way for part, way in zip(parts, chosen, strict=True)}


def _alone(question: Question, part: Part, name: str, pods: int) -> bool:
    """Return whether so many pods on a node aren't out of the question for the part alone."""
    node = next(each for each in question.nodes if each.name == name)
    runs = question.existing.get(part.name, {})
    new = pods - runs.get(name, 0)
    if new <= 0:
        return True
    fits = all(node.free.get(unit, 0) >= new * size for unit, size in part.each.items() if size)
    return fits and open_to(node, part, question.levels) and sum(runs.values()) <= part.pods


def domain(node: Node, level: str, levels: tuple[str, ...]) -> tuple[str, ...]:
    """Return a node's domain as its path down to a level."""
    outer = levels[:-1] if level == "node" else levels[: levels.index(level) + 1]
    path = tuple(node.at.get(each, "") for each in outer)
    return (*path, node.name) if level == "node" else path


def open_to(node: Node, part: Part, levels: tuple[str, ...]) -> bool:
    """Return whether a node takes new pods of a part, if there is room."""
    return (
        node.state == "ok"
        and all(level in node.at for level in levels[:-1])
        and all(node.labels.get(key) in wanted for key, wanted in part.select.items())
        and all(t in part.tolerate or t.split("=")[0] in part.tolerate for t in node.taints)
    )


def broken(question: Question, placement: Placement) -> str | None:
    """Return the first rule a placement breaks, or None."""
    rules = (_counts_broken, _packs_broken, _room_broken, _levels_broken)
    return next((fault for rule in rules for fault in rule(question, placement)), None)


def _counts_broken(question: Question, placement: Placement) -> Iterator[str]:
    nodes = {node.name: node for node in question.nodes}
    for part in parts_of(question.request):
        has, runs = placement[part.name], question.existing.get(part.name, {})
        if sum(has.values()) != part.pods:
            yield f"{part.name} has {sum(has.values())} pods"
        shrinks = sum(runs.values()) > part.pods
        for name in {*has, *runs}:
            new = has.get(name, 0) - runs.get(name, 0)
            if (new > 0) if shrinks else (new < 0):
                yield f"a pod of {part.name} moved"
            if new > 0 and not open_to(nodes[name], part, question.levels):
                yield f"{name} isn't open to {part.name}"


def _packs_broken(question: Question, placement: Placement) -> Iterator[str]:
    nodes = {node.name: node for node in question.nodes}
    for part in parts_of(question.request):
        for pack in part.packs:
            lots = Counter[tuple[str, ...]]()
            for name, pods in placement[part.name].items():
                lots[domain(nodes[name], pack.level, question.levels)] += pods
            if any(pods % (pack.size or 1) for pods in lots.values()):
                yield f"a broken pack of {part.name}"


def _room_broken(question: Question, placement: Placement) -> Iterator[str]:
    nodes = {node.name: node for node in question.nodes}
    used: Counter[tuple[str, str]] = Counter()
    for part in parts_of(question.request):
        runs = question.existing.get(part.name, {})
        for name, pods in placement[part.name].items():
            for resource, size in part.each.items():
                used[name, resource] += max(pods - runs.get(name, 0), 0) * size
    if any(n > max(nodes[name].free.get(unit, 0), 0) for (name, unit), n in used.items() if n):
        yield "too little free"


def _levels_broken(question: Question, placement: Placement) -> Iterator[str]:
    for member in members_of(question.request):
        if member.require and len(touched(question, placement, member, member.require)) > 1:
            yield f"{member.name} spans {member.require}"


def touched(
    question: Question, placement: Placement, member: Tree, level: str
) -> set[tuple[str, ...]]:
    """Return the domains of a level that hold a pod of a member."""
    nodes = {node.name: node for node in question.nodes}
    return {
        domain(nodes[name], level, question.levels)
        for part in parts_of(member)
        for name, pods in placement[part.name].items()
        if pods
    }


def counted(tree: Tree) -> list[Tree]:
    return [
        member
        for member in members_of(tree)
        if not member.scatter
        and (member.require or member.prefer or (member is tree and not isinstance(tree, Group)))
    ]


def price(question: Question, placement: Placement) -> Price:
    """Return what is compared first to last, down to what was free in the domains touched."""
    members, levels = counted(question.request), question.levels
    shrinks = {
        part.name
        for part in parts_of(question.request)
        if sum(question.existing.get(part.name, {}).values()) > part.pods
    }
    ranks = ranked(question)
    label = labelled(question, placement)
    scarce = [
        sum(n for has in placement.values() for name, n in has.items() if ranks[name] == rank)
        for rank in (2, 1)
    ]
    sick = sum(
        n
        for part in shrinks
        for name, n in placement[part].items()
        if next(node for node in question.nodes if node.name == name).state != "ok"
    )
    wished = sorted(
        (member for member in members_of(question.request) if member.prefer),
        key=lambda member: levels.index(member.prefer or "node"),
    )
    wishes = [len(touched(question, placement, m, m.prefer or "node")) > 1 for m in wished]
    traded = not shrinks and (any(ranks.values()) or _labels_matter(question))
    near = [sum(len(touched(question, placement, m, level)) for m in members) for level in levels]
    tight = [sum(_free_in(question, placement, m, level) for m in members) for level in levels]
    return (sick, *(wishes if traded else ()), -label, *scarce, *near, *tight)


def _labels_matter(question: Question) -> bool:
    return any(
        len({_label(node, part) for node in question.nodes}) > 1
        for part in parts_of(question.request)
    )


def labelled(question: Question, placement: Placement) -> int:
    """Return the summed weight of the wished labels that pods found."""
    nodes = {node.name: node for node in question.nodes}
    return sum(
        pods * _label(nodes[name], part)
        for part in parts_of(question.request)
        for name, pods in placement[part.name].items()
    )


def _label(node: Node, part: Part) -> int:
    return sum(
        wish.weight
        for wish in part.wishes
        if all(node.labels.get(key) in wanted for key, wanted in wish.match.items())
    )


def _free_in(question: Question, placement: Placement, member: Tree, level: str) -> int:
    used = {unit for part in parts_of(question.request) for unit in part.each}
    main = "gpu" if "gpu" in used else min(used)
    inside = touched(question, placement, member, level)
    return sum(
        max(node.free.get(main, 0), 0)
        for node in question.nodes
        if domain(node, level, question.levels) in inside
    )


def ranked(question: Question) -> dict[str, int]:
    """Return each node's rank of scarcity."""
    nodes, levels = question.nodes, question.levels
    known = all("hw" in node.labels and {"s1", "s2"} <= set(node.at) for node in nodes)
    if not known or not {"s1", "s2"} <= set(levels):
        return {node.name: 0 for node in nodes}

    def types(node: Node, level: str) -> int:
        here = domain(node, level, levels)
        return len({n.labels["hw"] for n in nodes if domain(n, level, levels) == here})

    return {n.name: 2 if types(n, "s1") > 1 else 1 if types(n, "s2") > 1 else 0 for n in nodes}


def cheapest(question: Question) -> Price | None:
    """Return the least price of a placement that breaks no rule, or None if all do."""
    sound = (p for p in every_placement(question) if broken(question, p) is None)
    return min((price(question, placement) for placement in sound), default=None)
