"""From a placement question to its verdict."""

from controller.core.placement.ask import Ask, ask_of, placement_of
from controller.core.placement.counts import ceilings
from controller.core.placement.explain import bad_request, no_nodes, refusal_of
from controller.core.placement.faults import fault_of
from controller.core.placement.ground import Ground, ground_of
from controller.core.placement.search import Found, search
from controller.core.placement.tree import Kind, Question, Tree, parts_of, with_pods
from controller.core.placement.verdict import Placed, Reduced, Verdict


def answer_to(question: Question) -> Verdict:
    """Return where a request goes, or how much of it, or why it goes nowhere.

    The same question has the same answer, whatever the order of its nodes.
    """
    if fault := fault_of(question):
        return bad_request(fault)
    return _searched(question) if question.nodes else no_nodes()


def _searched(question: Question) -> Verdict:
    ground = ground_of(question.levels, question.nodes)
    ask = ask_of(question, ground)
    found = search(ask)
    if found.pods is not None:
        return Placed(placement_of(ask, found.pods), best=found.proved)
    if question.kind is Kind.REDUCE and (fewer := _reduced(question, ground, ask)):
        return fewer
    return refusal_of(ask, found)


def _reduced(question: Question, ground: Ground, ask: Ask) -> Reduced | None:
    """Return the most times the ratio that fits, never fewer than run."""
    most = min(question.times - 1, _ceiling(question, ask))
    best = True
    for times in range(most, _least(question) - 1, -1):
        fewer = ask_of(question, ground, _tree_of(question, times))
        found: Found = search(fewer)
        if found.pods is not None:
            return Reduced(times, placement_of(fewer, found.pods), best=best and found.proved)
        best = best and found.proved
    return None


def _tree_of(question: Question, times: int) -> Tree:
    return with_pods(
        question.request, {name: unit * times for name, unit in question.ratio.items()}
    )


def _ceiling(question: Question, ask: Ask) -> int:
    """Return how many times the ratio fits by the counts of each part alone."""
    held: list[int] = ceilings(ask)[0].sum(axis=1).tolist()
    units = [question.ratio[part.name] for part in parts_of(question.request)]
    return min(have // unit for have, unit in zip(held, units, strict=True) if unit)


def _least(question: Question) -> int:
    """Return the fewest times that leave every pod that runs in place, and one at least."""
    return max(
        1,
        *(
            -(-sum(question.existing.get(name, {}).values()) // unit)
            for name, unit in question.ratio.items()
            if unit
        ),
    )
