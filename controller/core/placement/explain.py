"""Why a request isn't placed: what fits of it, which nodes are out by what, what would help."""

from dataclasses import replace
from typing import Final

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.eligible import barrier
from controller.core.placement.excluded import bound_by_running, counted, excluded_by, plural
from controller.core.placement.nearest import held_by, nearest_miss
from controller.core.placement.search import Found, last_that, search
from controller.core.placement.tables import MOST_IN_ALL
from controller.core.placement.tree import NODE, Part, Tree, members_of, parts_of, with_pods
from controller.core.placement.verdict import RefusalCode, Refused, Shortfall

PAIRS: Final = MOST_IN_ALL // 8
"""Budget of each search made only to explain."""


def refusal_of(ask: Ask, found: Found) -> Refused:
    """Return why a search found nothing, with the smallest member that can't be placed."""
    bound = ask.within(bound_by_running(ask))
    member = _at_fault(bound)
    part = parts_of(member)[0]
    row = [each.name for each in parts_of(ask.tree)].index(part.name)
    excluded = excluded_by(ask.for_member(part), part, bound_by_running(ask)[row])
    seen = len(ask.ground.nodes)
    if not _any_ready(ask):
        return Refused(
            RefusalCode.NO_ELIGIBLE_DOMAIN,
            f"{_nowhere(part.require or ask.tree.require)}: {counted(excluded)}.",
            nodes_seen=seen,
            excluded=excluded,
        )
    mine = bound.for_member(member)
    sure = found.proved or member is not ask.tree
    short, said = _short_of(mine, member) if sure else (None, _unsure_sentence(member))
    if excluded and isinstance(member, Part):
        said += f" Of {seen} {plural('node', seen)}, {counted(excluded)}."
    return Refused(
        RefusalCode.NO_FIT,
        said,
        shortfall=short,
        nodes_seen=seen,
        excluded=excluded if isinstance(member, Part) else None,
        would_fit_if=nearest_miss(mine, member),
        proved=sure,
    )


def bad_request(sentence: str) -> Refused:
    """Return the refusal of a request that no fleet could meet."""
    return Refused(RefusalCode.BAD_REQUEST, sentence)


def no_nodes() -> Refused:
    """Return the refusal of any request to a fleet without nodes."""
    return Refused(RefusalCode.NO_ELIGIBLE_DOMAIN, "There are no nodes.", excluded={})


def _any_ready(ask: Ask) -> bool:
    anyone = Part("", 0, {})
    ready = [barrier(node, anyone) in {None, "taint"} for node in ask.ground.nodes]
    return bool((np.array(ready, dtype=np.bool_) & ask.ground.placed).any())


def _at_fault(ask: Ask) -> Tree:
    """Return the first member, innermost first, that has no place even alone."""
    inner = reversed(tuple(members_of(ask.tree))[1:])
    smallest = sorted(inner, key=lambda member: len(parts_of(member)))
    for member in smallest:
        found = search(ask.for_member(member), pairs=PAIRS)
        if found.pods is None and found.proved:
            return member
    return ask.tree


def _short_of(ask: Ask, member: Tree) -> tuple[Shortfall | None, str]:
    """Return how much of a member fits where that can be told, and a sentence in any case."""
    if not isinstance(member, Part):
        return None, _together_sentence(member)
    runs = int(ask.running.sum())
    if runs >= member.pods:
        return None, (
            f"{member.name}: no {member.pods} of the {runs} pods that run keep to its levels and"
            " packs."
        )
    short = _shortfall(ask, member, runs)
    return short, _short_sentence(short, member)


def _shortfall(ask: Ask, part: Part, runs: int) -> Shortfall:
    """Return how many units fit of those that are new: the most that a search places."""
    new = part.pods - runs
    size = part.packs[0].size or 1 if part.packs else 1
    unit = "pack" if part.packs and new % size == 0 else "pod"
    step = size if unit == "pack" else 1
    most = min((int(held_by(ask, part).max()) - runs) // step, new // step)
    last = last_that(lambda index: _fits(ask, part, runs + (index + 1) * step), max(most, 0))
    return Shortfall(part.name, 0 if last is None else last + 1, new // step, unit)


def _fits(ask: Ask, part: Part, pods: int) -> bool:
    fewer = replace(ask, tree=with_pods(part, {part.name: pods}))
    return search(fewer, pairs=PAIRS).pods is not None


def _short_sentence(short: Shortfall, part: Part) -> str:
    where = _where(part)
    units = plural(short.unit, short.of)
    if short.fit == 0:
        return f"{part.name}: none of {short.of} {units} fits{where}."
    return f"{part.name}: {short.fit} of {short.of} {units} fit{where}."


def _together_sentence(member: Tree) -> str:
    return f"Each of {_listed(member)} would fit alone, but not all together{_where(member)}."


def _unsure_sentence(member: Tree) -> str:
    return (
        f"No place was found for {_listed(member)}{_where(member)} before the search ended; there"
        " may be one."
    )


def _listed(member: Tree) -> str:
    names = [part.name for part in parts_of(member)]
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def _where(member: Tree) -> str:
    return f" in one {member.require}" if member.require else ""


def _nowhere(level: str | None) -> str:
    return (
        f"No {level} has a node that is ready" if level not in {None, NODE} else "No node is ready"
    )
