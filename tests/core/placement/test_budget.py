"""Requests too large for tables: found step by step, and honest about it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from controller.core.placement.ask import Ask, ask_of, placement_of
from controller.core.placement.counts import narrowed
from controller.core.placement.explain import refusal_of
from controller.core.placement.ground import ground_of
from controller.core.placement.search import search
from controller.core.placement.steps import Steps
from controller.core.placement.tables import MOST_IN_ALL
from controller.core.placement.tree import (
    Group,
    Kind,
    Node,
    Pack,
    Part,
    Placement,
    Question,
    Tree,
)
from controller.core.placement.verdict import Placed, Reduced, Refused
from tests.core.placement.brute import broken, cheapest, price
from tests.core.placement.fleets import LEVELS, part, verdict
from tests.core.placement.requests import questions

ROOM = tuple(
    Node(f"n{n:03}", {"s2": f"b{n // 16}", "s1": f"r{n // 4}"}, {"gpu": 8}, labels={"hw": "H20"})
    for n in range(64)
)
"""Four S2s of four S1s of four nodes: 512 GPUs, 32 in each S1."""


def asked(request: Tree, existing: Placement | None = None) -> tuple[Question, Ask]:
    question = Question(Kind.PLACE, LEVELS, ROOM, request, existing or {})
    return question, ask_of(question, ground_of(LEVELS, ROOM))


def replicas(count: int) -> Group:
    """Return groups of two prefill and two decode pods, 24 GPUs, each in an S1 of its own."""
    made = [
        Group(f"g{n}", (part(f"p{n}", 2, 8), part(f"d{n}", 2, 4)), require="s1")
        for n in range(count)
    ]
    return Group("all", tuple(made), require="s2")


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(part("w", 128, 1, require="s2"), id="one part, all of an S2"),
        pytest.param(part("w", 512, 1), id="one part, all there is"),
        pytest.param(part("w", 96, 1, packs=(Pack("s1", 16), Pack("node", 4))), id="packs"),
        pytest.param(part("w", 30, 1, prefer="s1"), id="a preference that can be had"),
        pytest.param(part("w", 40, 1, prefer="s1"), id="a preference that can't"),
        pytest.param(replicas(4), id="a group in each S1 of one S2"),
        pytest.param(Group("all", (part("a", 9, 8), part("b", 7, 8)), require="s2"), id="two"),
    ],
)
def test_without_tables_there_is_a_place_but_no_proof_that_it_is_best(request_: Tree) -> None:
    question, ask = asked(request_)
    found = search(ask, pairs=0)
    assert not found.proved
    assert found.pods is not None
    assert broken(question, placement_of(ask, found.pods)) is None


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(part("w", 129, 1, require="s2"), id="129 GPUs, an S2 has 128"),
        pytest.param(replicas(6), id="144 GPUs, an S2 has 128"),
        pytest.param(part("w", 2, 9), id="pods larger than any node"),
        pytest.param(
            Group("all", (part("a", 10, 8), part("b", 7, 8)), require="s2"),
            id="each has its 16 nodes, both are 17",
        ),
    ],
)
def test_counts_refuse_with_proof_whatever_the_budget(request_: Tree) -> None:
    _, ask = asked(request_)
    found = search(ask, pairs=0)
    assert (found.pods, found.proved) == (None, True)


def test_pods_that_run_stay_without_tables_too() -> None:
    runs = {"w": {"n020": 3}}
    question, ask = asked(part("w", 30, 1, require="s1"), runs)
    found = search(ask, pairs=0)
    assert found.pods is not None
    placement = placement_of(ask, found.pods)
    assert broken(question, placement) is None
    assert {name[:3] for name in placement["w"]} == {"n02"}


def test_a_refusal_without_proof_says_so() -> None:
    """Five groups of 24 GPUs are 120 of an S2's 128, but each of its four S1s holds one."""
    _, ask = asked(replicas(5))
    why = refusal_of(ask, search(ask, pairs=0))
    assert not why.proved
    assert "before the search ended; there may be one" in why.sentence


def test_tables_prove_what_counts_don_t() -> None:
    assert isinstance(verdict(ROOM, replicas(4)), Placed)
    found = verdict(ROOM, replicas(5))
    assert isinstance(found, Refused)
    assert found.proved


def test_pods_that_run_apart_aren_t_together_without_tables_either() -> None:
    _, ask = asked(part("w", 2, 1, require="s1"), {"w": {"n000": 1, "n063": 1}})
    assert search(ask, pairs=0).pods is None


def test_a_million_pods_are_no_matter() -> None:
    """512 GPUs hold 512 of a million pods; pods that take nothing fit wherever there is a node."""
    why = verdict(ROOM, part("w", 1_000_000, 1))
    assert isinstance(why, Refused)
    assert why.shortfall is not None
    assert (why.shortfall.fit, why.shortfall.of) == (512, 1_000_000)
    assert isinstance(verdict(ROOM, Part("idle", 1_000_000, {})), Placed)


def test_a_million_times_a_ratio_is_reduced_to_what_fits() -> None:
    """Every pair takes three GPUs of a node: two of eight, so 128 of 64 nodes, and 170 by sums."""
    pair = Group("pair", (part("a", 1_000_000, 2), part("b", 1_000_000, 1)))
    found = verdict(ROOM, pair, kind=Kind.REDUCE, ratio={"a": 1, "b": 1}, times=1_000_000)
    assert isinstance(found, Reduced)
    assert found.times == 170


def test_step_by_step_nearly_always_finds_the_best() -> None:
    """Of a fixed lot of small requests of several parts, at least 19 in 20 that can be placed."""
    scores: list[str] = []

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(questions())
    def collect(question: Question) -> None:
        least = cheapest(question)
        if least is None or isinstance(question.request, Part):
            return
        ask = narrowed(ask_of(question, ground_of(question.levels, question.nodes)))
        pods = Steps(MOST_IN_ALL).placed(ask)
        if pods is None:
            scores.append("missed")
            return
        placement = placement_of(ask, pods)
        assert broken(question, placement) is None
        scores.append("best" if price(question, placement) == least else "placed")

    collect()
    assert len(scores) >= 40
    assert scores.count("best") >= 0.95 * len(scores)
