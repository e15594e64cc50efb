"""What a request says that no fleet could meet."""

from collections import Counter
from collections.abc import Iterator

from controller.core.placement.tree import Kind, Part, Question, Tree, members_of, parts_of


def fault_of(question: Question) -> str | None:
    """Return the first thing wrong with a request itself, as a sentence, or None."""
    return next(_faults(question), None)


def _faults(question: Question) -> Iterator[str]:
    parts = parts_of(question.request)
    for name, count in Counter(part.name for part in parts).items():
        if count > 1:
            yield f"{count} parts are called {name}."
    for member in members_of(question.request):
        yield from _level_faults(member, question.levels)
    for part in parts:
        yield from _pack_faults(part, question.levels)
        # A ratio may still be whole packs fewer times.
        if question.kind is not Kind.REDUCE:
            yield from _size_faults(part)
    yield from _existing_faults(question)
    if question.kind is Kind.REDUCE:
        yield from _ratio_faults(question)


def _level_faults(member: Tree, levels: tuple[str, ...]) -> Iterator[str]:
    for level in (member.require, member.prefer):
        if level is not None and level not in levels:
            yield f"{member.name} names the level {level}, which the fleet doesn't have."


def _pack_faults(part: Part, levels: tuple[str, ...]) -> Iterator[str]:
    for pack in part.packs:
        if pack.level not in levels:
            yield f"{part.name} is packed by {pack.level}, a level the fleet doesn't have."
        elif not pack.size:
            yield f"{part.name} is packed by {pack.level} without a size."
        elif part.require and levels.index(pack.level) < levels.index(part.require):
            yield (
                f"{part.name} is packed by {pack.level}, which is wider than the"
                f" {part.require} it must be in."
            )


def _size_faults(part: Part) -> Iterator[str]:
    for pack in part.packs:
        if pack.size and part.pods % pack.size:
            most = part.pods // pack.size * pack.size
            yield (
                f"{part.name} has {part.pods} pods, which is not a whole number of packs of"
                f" {pack.size}: {most} or {most + pack.size} would be."
            )


def _existing_faults(question: Question) -> Iterator[str]:
    parts = {part.name for part in parts_of(question.request)}
    nodes = {node.name for node in question.nodes}
    for part, where in question.existing.items():
        if part not in parts:
            yield f"Pods of {part} run, which the request has no part for."
        for node in where:
            if node not in nodes:
                yield f"A pod of {part} runs on {node}, which isn't among the nodes."


def _ratio_faults(question: Question) -> Iterator[str]:
    for part in parts_of(question.request):
        unit = question.ratio.get(part.name)
        if unit is None:
            yield f"The ratio says nothing of {part.name}."
        elif unit * question.times != part.pods:
            yield (
                f"{part.name} has {part.pods} pods, but {question.times} times the ratio are"
                f" {unit * question.times}."
            )
    if not any(question.ratio.values()):
        yield "The ratio has no pods."
