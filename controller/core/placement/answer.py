"""From a placement question to its verdict."""

from controller.core.placement.ask import Ask, ask_of, placement_of
from controller.core.placement.counts import ceilings
from controller.core.placement.explain import bad_request, no_nodes, refusal_of
from controller.core.placement.faults import fault_of
from controller.core.placement.ground import Ground, ground_of
from controller.core.placement.search import Found, last_that, search
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
    sound = [n for n in range(_least(question), most + 1) if _packs_whole(question, n)]
    tried: dict[int, tuple[Ask, Found]] = {}

    def fits(index: int) -> bool:
        fewer = ask_of(question, ground, _tree_of(question, sound[index]))
        tried[index] = (fewer, search(fewer))
        return tried[index][1].pods is not None

    last = last_that(fits, len(sound))
    if last is None:
        return None
    fewer, found = tried[last]
    best = all(each.proved for index, (_, each) in tried.items() if index >= last)
    pods = fewer.running if found.pods is None else found.pods
    return Reduced(sound[last], placement_of(fewer, pods), best=best)


def _packs_whole(question: Question, times: int) -> bool:
    """Return whether so many times the ratio are whole packs of every part."""
    return all(
        question.ratio[part.name] * times % (pack.size or 1) == 0
        for part in parts_of(question.request)
        for pack in part.packs
    )


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
