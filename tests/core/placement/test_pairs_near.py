"""Which share of pairs of prefill and decode instances is under one S1, under one S2."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from controller.core.placement.pairs_near import Near, Standing, pairs_near, share
from controller.core.types import Role

P, D = Role.PREFILL, Role.DECODE


def some(count: int, role: Role, s1: str, s2: str = "b1", group: str = "g1") -> list[Standing]:
    return [Standing(group, role, s1, s2, f"{s1}-{role}-{at}") for at in range(count)]


@pytest.mark.parametrize(
    ("instances", "expect"),
    [
        pytest.param([], Near(), id="nothing runs: no pair"),
        pytest.param(some(3, P, "a"), Near(), id="one role alone: 3 × 0 = 0 pairs"),
        pytest.param(some(2, P, "a") + some(3, D, "a"), Near(6, 6, 6), id="2 × 3 under one S1"),
        pytest.param(
            some(2, P, "a") + some(3, D, "a") + some(1, D, "b"),
            Near(8, 6, 8),
            id="2 × 4 pairs, 2 × 3 of them under S1 a, all under S2 b1",
        ),
        pytest.param(
            some(1, P, "a") + some(1, D, "b", "b2"), Near(1, 0, 0), id="S1 and S2 differ: 0 of 1"
        ),
        pytest.param(
            some(1, P, "a") + some(1, D, "a", group="g2"), Near(), id="two groups never pair"
        ),
        pytest.param(
            some(2, P, "a")
            + some(2, D, "a")
            + some(1, P, "b", group="g2")
            + some(2, D, "c", group="g2"),
            Near(6, 4, 6),
            id="groups add up: 4 of 4 and 0 of 2",
        ),
    ],
)
def test_a_pair_is_a_prefill_and_a_decode_instance_of_one_group(
    instances: list[Standing], expect: Near
) -> None:
    assert pairs_near(instances) == expect


@pytest.mark.parametrize(
    ("prefill", "decode", "expect"),
    [
        pytest.param(
            Standing("g", P), Standing("g", D), Near(1, 0, 0, 1), id="neither domain is known"
        ),
        pytest.param(
            Standing("g", P, "a", "b1"), Standing("g", D), Near(1, 0, 0, 1), id="one is known"
        ),
        pytest.param(
            Standing("g", P, node="n1"), Standing("g", D, node="n1"), Near(1, 1, 1), id="one node"
        ),
        pytest.param(
            Standing("g", P, node="n1"),
            Standing("g", D, node="n2"),
            Near(1, 0, 0, 1),
            id="two nodes whose S1 nobody named",
        ),
        pytest.param(
            Standing("g", P, "", "b1", "n1"),
            Standing("g", D, "", "b1", "n2"),
            Near(1, 0, 1, 1),
            id="S2 is named where S1 is not",
        ),
        pytest.param(
            Standing("g", P, "a"), Standing("g", D, "a"), Near(1, 1, 1), id="no S2 above one S1"
        ),
    ],
)
def test_what_nobody_named_is_not_known_to_be_near(
    prefill: Standing, decode: Standing, expect: Near
) -> None:
    assert pairs_near([prefill, decode]) == expect


@pytest.mark.parametrize("seed", range(20))
def test_counting_by_domain_is_counting_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    instances = [
        Standing(
            f"g{rng.integers(3)}",
            (P, D)[rng.integers(2)],
            s1 := rng.choice(["", "0a", "0b", "1c"]),
            s1[:1] if s1 else rng.choice(["", "0", "1"]),
            f"n{rng.integers(4)}" if not s1 else "",
        )
        for _ in range(30)
    ]
    pairs = [
        (one, other)
        for one, other in product(instances, instances)
        if (one.role, other.role) == (P, D) and one.group == other.group
    ]
    near = [(a, b) for a, b in pairs if _share_s1(a, b)]
    told = pairs_near(instances)
    assert (told.pairs, told.s1) == (len(pairs), len(near))
    assert told.unknown == sum(not _share_s1(a, b) and not (a.s1 and b.s1) for a, b in pairs)
    assert told.s1 <= told.pairs - told.unknown


def _share_s1(one: Standing, other: Standing) -> bool:
    if one.s1 or other.s1:
        return one.s1 == other.s1
    return bool(one.node) and one.node == other.node


@pytest.mark.parametrize(
    ("part", "whole", "expect"),
    [
        pytest.param(0, 0, "no pair yet", id="nothing over nothing"),
        pytest.param(0, 8, "0 %", id="none"),
        pytest.param(1, 1000, "under 1 %", id="0.1 %"),
        pytest.param(11, 12, "92 %", id="91.7 %"),
        pytest.param(999, 1000, "99 %", id="99.9 % is not all"),
        pytest.param(8, 8, "100 %", id="all"),
    ],
)
def test_a_share_is_told_without_rounding_to_none_or_all(
    part: int, whole: int, expect: str
) -> None:
    assert share(part, whole) == expect


def test_the_words_name_both_levels() -> None:
    assert Near(12, 11, 12).words == "P and D share S1: 92 % of pairs, S2: 100 %"
    assert Near(12, 11, 12).short == "P and D share S1: 92 % of pairs"
    assert Near().words == Near().short == "no pair yet"
