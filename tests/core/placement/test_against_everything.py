"""The engine against trying everything, on fleets small enough for that."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from controller.core.placement.answer import answer_to
from controller.core.placement.ask import ask_of, placement_of
from controller.core.placement.counts import domains_that_may_hold
from controller.core.placement.ground import ground_of
from controller.core.placement.search import search
from controller.core.placement.tree import (
    Group,
    Kind,
    Node,
    Part,
    Question,
    parts_of,
    with_pods,
)
from controller.core.placement.verdict import Placed, Reduced, Refused
from tests.core.placement.brute import broken, cheapest, price
from tests.core.placement.requests import questions

EXAMPLES = 150


@settings(max_examples=EXAMPLES, deadline=None)
@given(questions())
def test_what_can_be_placed_is_placed_at_the_least_price(question: Question) -> None:
    verdict, least = answer_to(question), cheapest(question)
    if least is None:
        assert isinstance(verdict, Refused)
        assert verdict.proved
    else:
        assert isinstance(verdict, Placed)
        assert broken(question, verdict.placement) is None
        assert price(question, verdict.placement) == least


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(questions())
def test_without_a_budget_placements_are_sound_and_refusals_say_they_are_no_proof(
    question: Question,
) -> None:
    ask = ask_of(question, ground_of(question.levels, question.nodes))
    found = search(ask, pairs=0)
    if found.pods is not None:
        assert broken(question, placement_of(ask, found.pods)) is None
    elif found.proved:
        assert cheapest(question) is None


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(questions(), st.randoms(use_true_random=False))
def test_the_order_of_nodes_changes_nothing(question: Question, rng: object) -> None:
    shuffled = list(question.nodes)
    rng.shuffle(shuffled)  # type: ignore[attr-defined] - hypothesis' own Random
    assert answer_to(replace(question, nodes=tuple(shuffled))) == answer_to(question)


@settings(max_examples=EXAMPLES // 3, deadline=None)
@given(questions())
def test_names_don_t_change_how_good_a_placement_is(question: Question) -> None:
    names = {node.name: f"z{9 - n}" for n, node in enumerate(question.nodes)}
    renamed = replace(
        question,
        nodes=tuple(replace(node, name=names[node.name]) for node in question.nodes),
        existing={
            part: {names[node]: pods for node, pods in where.items()}
            for part, where in question.existing.items()
        },
    )
    before, after = answer_to(question), answer_to(renamed)
    assert type(before) is type(after)
    if isinstance(before, Placed) and isinstance(after, Placed):
        assert price(question, before.placement) == price(renamed, after.placement)


def test_the_examples_are_of_both_kinds() -> None:
    """Trying everything is no test when all of it is refused, or nothing."""
    kinds: list[bool] = []

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(questions())
    def collect(question: Question) -> None:
        kinds.append(isinstance(answer_to(question), Placed))

    collect()
    assert min(kinds.count(True), kinds.count(False)) >= 10


@settings(max_examples=EXAMPLES, deadline=None)
@example(
    # 4 + 5 free; 1 of 1 on A and 2 of 4: of the 5 only 4 are of use, 8 for 1 + 2 x 4 = 9.
    nodes=[("A", 4), ("B", 5)],
    pods=(1, 2),
    sizes=(1, 4),
    types=({"A"}, {"A", "B"}),
)
@given(
    st.lists(
        st.tuples(st.sampled_from(("A", "B", "C")), st.integers(0, 8)), min_size=1, max_size=5
    ),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.tuples(st.sampled_from((1, 2, 4, 8)), st.sampled_from((1, 2, 4, 8))),
    st.tuples(*[st.sets(st.sampled_from("ABC"), min_size=1)] * 2),
)
def test_counts_alone_tell_whether_a_pair_fits_a_domain(
    nodes: list[tuple[str, int]],
    pods: tuple[int, int],
    sizes: tuple[int, int],
    types: tuple[set[str], set[str]],
) -> None:
    """Two roles whose sizes divide each other need no search, whatever types they share."""
    fleet = tuple(
        Node(f"n{n}", {"s1": "r"}, {"gpu": gpus}, labels={"hw": kind})
        for n, (kind, gpus) in enumerate(nodes)
    )
    roles = tuple(
        Part(f"role{n}", count, {"gpu": size}, select={"hw": tuple(sorted(allowed))})
        for n, (count, size, allowed) in enumerate(zip(pods, sizes, types, strict=True))
    )
    question = Question(Kind.PLACE, ("s1", "node"), fleet, Group("pair", roles, require="s1"))
    ask = ask_of(question, ground_of(question.levels, question.nodes))
    holds = bool(domains_that_may_hold(ask, 0)[0])
    assert holds == isinstance(answer_to(question), Placed)


@settings(max_examples=EXAMPLES // 2, deadline=None)
@given(questions(), st.integers(2, 4), st.data())
def test_a_ratio_is_reduced_to_the_most_times_there_are(
    question: Question, times: int, data: st.DataObject
) -> None:
    parts = parts_of(question.request)
    ratio = {part.name: data.draw(st.integers(0, 2 if len(parts) < 3 else 1)) for part in parts}
    assume(any(ratio.values()))

    def asked(count: int) -> Question:
        pods = {name: unit * count for name, unit in ratio.items()}
        return replace(question, kind=Kind.REDUCE, request=with_pods(question.request, pods))

    runs = {name: sum(where.values()) for name, where in question.existing.items()}
    counts = [
        count
        for count in range(1, times + 1)
        if all(unit * count >= runs.get(name, 0) for name, unit in ratio.items() if unit)
        and cheapest(asked(count)) is not None
    ]
    verdict = answer_to(replace(asked(times), ratio=ratio, times=times))
    match verdict:
        case Placed():
            assert max(counts) == times or not counts
        case Reduced():
            assert verdict.best
            assert verdict.times == max(counts) < times
            assert broken(asked(verdict.times), verdict.placement) is None
        case Refused():
            assert not counts
