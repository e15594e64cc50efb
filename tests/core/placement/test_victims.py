"""Who goes on scale-in: exact counts, whole units, groups that keep both roles, scarce first."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Final

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controller.core.fleet import NodeRow, Scarcity
from controller.core.placement.layout import Facts, Fleet, fleet_of
from controller.core.placement.values import Held, Removal, RoleForm, RoleNeed, Tenant
from controller.core.placement.victims import removals_of
from controller.core.types import Instances, Role
from tests.core.placement.cycles import node, tenant

EXAMPLES: Final = 100 * int(os.environ.get("HETEROSCALE_EXAMPLES", "1"))

ROWS: Final = [
    node("m1", "h20", "s2-1/mixed", free=0),
    node("m2", "h800", "s2-1/mixed", free=0),
    node("d1", "h20", "s2-1/beside", free=0),
    node("p1", "h20", "s2-2/plain", free=0),
    node("p2", "h20", "s2-2/plain", free=0),
    node("q1", "h20", "s2-2/other", free=0),
    node("x1", "h20", "s2-2/other", free=0, usable=False),
]


def one(name: str, at: str, *, since_s: float = 0.0, is_up: bool = True, gpus: int = 4) -> Held:
    """Return an instance; its name is its group, its role's first letter and a number."""
    group, _, rest = name.partition("-")
    role = Role.PREFILL if rest.startswith("p") else Role.DECODE
    return Held(name, role, group, ((at, gpus),), since_s, is_up)


def gone(
    held: Sequence[Held], change: tuple[int, int], rows: Sequence[NodeRow] = ROWS
) -> set[str]:
    return {removal.instance for removal in told(held, change, rows)}


def told(
    held: Sequence[Held], change: tuple[int, int], rows: Sequence[NodeRow] = ROWS
) -> list[Removal]:
    service = tenant(held=held)
    fleet = fleet_of(rows, [service], Facts(barred={"x1": "draining"}))
    return removals_of(fleet, service, Instances(*change))


@pytest.mark.parametrize(
    ("held", "expect", "why"),
    [
        pytest.param(
            [one("a-d1", "m1"), one("a-d2", "x1"), one("a-d3", "d1")],
            "a-d2",
            "on x1, which is draining",
            id="a draining node before a mixed S1",
        ),
        pytest.param(
            [one("a-d1", "m1"), one("a-d2", "p1", is_up=False)],
            "a-d2",
            "not serving",
            id="what does not serve before a mixed S1",
        ),
        pytest.param(
            [one("a-d1", "p1"), one("a-d2", "gone")],
            "a-d2",
            "on gone, which is not known",
            id="a node nobody knows",
        ),
        pytest.param(
            [one("a-d1", "p1", since_s=9), one("a-d2", "d1"), one("a-d3", "m1")],
            "a-d3",
            "frees mixed S1 mixed",
            id="an S1 of two types before an S2 of two types",
        ),
        pytest.param(
            [one("a-d1", "p1", since_s=9), one("a-d2", "d1"), one("a-d3", "d1")],
            "a-d2",
            "frees S1 beside of a mixed S2",
            id="an S2 of two types before one alone in an S1",
        ),
        pytest.param(
            [one("a-d1", "p1", since_s=9), one("a-d2", "p2"), one("a-d3", "q1")],
            "a-d3",
            "empties S1 other",
            id="the only one in its S1 before the youngest",
        ),
        pytest.param(
            [one("a-d1", "p1", since_s=9), one("a-d2", "p1", gpus=4), one("a-d3", "p2", gpus=8)],
            "a-d1",
            "youngest",
            id="4 of 8 leave no node free, and 8 of 8 do not come first in the order of a node "
            "used as much: the youngest",
        ),
        pytest.param(
            [one("a-d1", "p1", since_s=3), one("a-d2", "p1", since_s=7), one("a-d3", "p2")],
            "a-d2",
            "youngest",
            id="since 7 s before since 3 s",
        ),
        pytest.param(
            [one("a-d2", "p1"), one("a-d1", "p1")],
            "a-d1",
            "youngest",
            id="of equal ones the first by name",
        ),
    ],
)
def test_the_first_to_go_is_the_one_that_is_missed_least(
    held: list[Held], expect: str, why: str
) -> None:
    (removal,) = told([*held], (0, -1))
    assert (removal.instance, removal.why) == (expect, why)


def test_a_node_that_becomes_wholly_free_counts_what_others_hold_there_too() -> None:
    """On p1 another service holds 4 of 8: only p2 becomes free."""
    rows = [replace(row, free=4) if row.name == "p2" else row for row in ROWS]
    (removal,) = told([one("a-d1", "p1", since_s=9), one("a-d2", "p2")], (0, -1), rows)
    assert (removal.instance, removal.why) == ("a-d2", "leaves p2 wholly free")


@pytest.mark.parametrize(
    ("groups", "change", "expect"),
    [
        pytest.param("2:4 2:4", (-1, -2), "1:2 2:4", id="one unit of 1:2 of one group"),
        pytest.param("2:4 2:4", (-2, -4), "0:0 2:4", id="two units, of the group begun with"),
        pytest.param("1:3 2:6", (-1, -3), "0:0 2:6", id="the younger is emptied, not halved"),
        pytest.param("1:3 1:3 1:3", (-1, -3), "0:0 1:3 1:3", id="2 prefill stay: 2 groups"),
        pytest.param("2:4 2:4", (-1, -3), "1:1 2:4", id="1:3 of one: 1:1 is 3:5 but for rounding"),
        pytest.param("4:8 4:8", (-2, -7), "3:5 3:4", id="2:7 of one would leave 2:1: in halves"),
        pytest.param("2:3 2:3", (0, -4), "2:1 2:1", id="decode alone: no group is left without"),
        pytest.param("2:3 2:3", (0, -2), "2:2 2:2", id="decode alone: both as near to 4:4"),
        pytest.param("4:6 6:9 2:3", (-7, -10), "0:0 3:5 2:3", id="no group has 7:10: in halves"),
        pytest.param(
            "1:2 1:2", (-2, -2), "0:2 0:0", id="no prefill stays: one group is left without"
        ),
        pytest.param("1:1 2:2", (-9, -9), "0:0 0:0", id="more than there is: all of it"),
        pytest.param("1:2 2:1", (0, 0), "1:2 2:1", id="nothing"),
        pytest.param("0:2 1:2", (0, -2), "0:0 1:2", id="a group of one role gives first"),
    ],
)
def test_groups_keep_their_ratio_and_both_roles(
    groups: str, change: tuple[int, int], expect: str
) -> None:
    """All on one node, so that nothing but counts and age decides; the first is the youngest."""
    held = held_of([tuple(map(int, group.split(":"))) for group in groups.split()])
    assert " ".join(f"{p}:{d}" for p, d in left_of(held, change)) == expect


def held_of(groups: Sequence[tuple[int, ...]], at: str = "p1") -> list[Held]:
    return [
        one(f"{name}-{role}{number}", at, since_s=-float(index))
        for index, (name, counts) in enumerate(zip("abcdefgh", groups, strict=False))
        for role, count in zip("pd", counts, strict=True)
        for number in range(count)
    ]


def left_of(held: Sequence[Held], change: tuple[int, int]) -> list[Instances]:
    names = gone(held, change)
    counted = Counter((each.group, each.role) for each in held if each.name not in names)
    groups = sorted({each.group for each in held})
    return [Instances(*(counted[group, role] for role in Role)) for group in groups]


def test_an_instance_in_parts_goes_whole() -> None:
    """Of two prefills of 2 attention pods and 1 FFN pod, the one with a pod on a drained node."""
    held = [
        Held(f"u{unit}-{part}", Role.PREFILL, "a", ((at, 4),), part=part[:3], unit=f"u{unit}")
        for unit, ats in enumerate((("p1", "p2", "q1"), ("p1", "x1", "q1")))
        for part, at in zip(("att0", "att1", "ffn0"), ats, strict=True)
    ]
    (removal,) = told(held, (-1, 0))
    assert (removal.instance, dict(removal.nodes)) == ("u1", {"p1": 4, "x1": 4, "q1": 4})
    assert removal.why == "on x1, which is draining"


def test_a_service_of_one_role_shrinks_too() -> None:
    service = Tenant("solo", {Role.DECODE: RoleForm(RoleNeed(()))}, tuple(held_of([(0, 3)])))
    assert len(removals_of(fleet_of(ROWS, []), service, Instances(0, -2))) == 2


counts = st.tuples(st.integers(0, 3), st.integers(0, 4)).filter(any)


@st.composite
def services(draw: st.DrawFn) -> tuple[list[Held], Instances]:
    """Up to four groups over all nodes, and how many of each role go."""
    held = []
    for each in held_of(draw(st.lists(counts, min_size=1, max_size=4))):
        at = draw(st.sampled_from([row.name for row in ROWS]))
        since_s, is_up = float(draw(st.integers(0, 3))), draw(st.integers(0, 5)) > 0
        held.append(replace(each, nodes=((at, 4),), since_s=since_s, is_up=is_up))
    return held, Instances(-draw(st.integers(0, 8)), -draw(st.integers(0, 10)))


@settings(deadline=None, max_examples=EXAMPLES)
@given(services())
def test_exactly_as_many_go_as_are_asked_for_or_there(drawn: tuple[list[Held], Instances]) -> None:
    held, change = drawn
    removed = told(held, change)
    there = {each.name: each for each in held}
    assert len({removal.instance for removal in removed}) == len(removed)
    for role in Role:
        mine = [removal for removal in removed if removal.role is role]
        assert len(mine) == min(-change.of(role), sum(each.role is role for each in held))
    for removal in removed:
        each = there[removal.instance]
        assert (each.group, each.role, each.nodes) == (removal.group, removal.role, removal.nodes)
        assert removal.why


@settings(deadline=None, max_examples=EXAMPLES)
@given(services())
def test_no_group_is_left_with_one_role_where_another_choice_keeps_both(
    drawn: tuple[list[Held], Instances],
) -> None:
    """Against every way to spread the change over the groups."""
    held, change = drawn
    begun = left_of(held, (0, 0))
    after = left_of(held, change)
    rest = Instances(*(sum(group.of(role) for group in after) for role in Role))
    assert breaks(begun, after) == 0 or not any(
        breaks(begun, kept) == 0 for kept in ways(begun, rest)
    )


def breaks(begun: Sequence[Instances], after: Sequence[Instances]) -> int:
    return sum(
        0 not in had and 0 in stays and any(stays) for had, stays in zip(begun, after, strict=True)
    )


def ways(begun: Sequence[Instances], rest: Instances) -> list[list[Instances]]:
    by_role = [
        [
            kept
            for kept in product(*(range(group.of(role) + 1) for group in begun))
            if sum(kept) == rest.of(role)
        ]
        for role in Role
    ]
    return [
        [Instances(*pair) for pair in zip(prefill, decode, strict=True)]
        for prefill, decode in product(*by_role)
    ]


@settings(deadline=None, max_examples=EXAMPLES)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.integers(0, 8),
)
def test_whole_units_leave_every_group_its_ratio(
    unit: tuple[int, int], groups: list[int], units: int
) -> None:
    prefill, decode = unit
    held = held_of([(prefill * many, decode * many) for many in groups])
    for stays in left_of(held, (-prefill * units, -decode * units)):
        assert stays.prefill * decode == stays.decode * prefill


@settings(deadline=None, max_examples=EXAMPLES)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 4)),
    st.lists(st.integers(1, 4), min_size=1, max_size=5),
    st.integers(0, 16),
    st.sampled_from(list(Role)),
)
def test_one_role_leaves_every_group_its_share_but_for_rounding(
    unit: tuple[int, int], groups: list[int], count: int, role: Role
) -> None:
    """Where each share is an instance at least: none is left without one before that."""
    held = held_of([(unit[0] * many, unit[1] * many) for many in groups])
    after = left_of(held, (-count, 0) if role is Role.PREFILL else (0, -count))
    rest = sum(stays.of(role) for stays in after)
    assume(rest * min(groups) >= sum(groups))
    for many, stays in zip(groups, after, strict=True):
        assert abs(stays.of(role) - rest * many / sum(groups)) < 1


@settings(deadline=None, max_examples=EXAMPLES)
@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(("m1", "d1", "p1"))), max_size=6),
    st.integers(0, 12),
)
def test_units_of_scarce_s1s_go_first(groups: list[tuple[int, str]], units: int) -> None:
    """Groups of 1:2 units, each in one S1: of S1s that are as scarce all go before the next."""
    held = [
        replace(each, nodes=((at, 4),))
        for index, (many, at) in enumerate(groups)
        for each in held_of([(0, 0)] * index + [(many, 2 * many)])
    ]
    freed = Counter(at for removal in told(held, (-units, -2 * units)) for at, _ in removal.nodes)
    there = Counter(at for each in held for at, _ in each.nodes)
    left = 3 * units
    for at in ("m1", "d1", "p1"):
        assert freed[at] == min(left, there[at])
        left -= freed[at]


@settings(deadline=None, max_examples=EXAMPLES)
@given(services(), st.randoms(use_true_random=False))
def test_neither_order_nor_names_change_what_a_choice_is_worth(
    drawn: tuple[list[Held], Instances], luck: object
) -> None:
    held, change = drawn
    shuffled = list(held)
    luck.shuffle(shuffled)  # type: ignore[attr-defined]
    assert told(shuffled, change) == told(held, change)
    new = dict(zip("abcdefgh", "hgfedcba", strict=True))
    renamed = [
        replace(each, name=f"{new[each.group]}-{each.role}{99 - at}", group=new[each.group])
        for at, each in enumerate(held)
    ]
    assert worth(renamed, change) == worth(held, change)


def worth(held: Sequence[Held], change: Instances) -> tuple[int, int, int]:
    """Return how many went that were no use, and from S1s of high and medium scarcity."""
    fleet: Fleet = fleet_of(ROWS, [])
    bad = {each.name for each in held if not each.is_up or each.nodes[0][0] == "x1"}
    ranks: Counter[int] = Counter()
    removed = told(held, change)
    for removal in removed:
        at = fleet.at[removal.nodes[0][0]]
        ranks[int(fleet.view.topology.scarcity[fleet.view.topology.places[at][1]])] += 1
    return (
        sum(removal.instance in bad for removal in removed),
        ranks[Scarcity.HIGH],
        ranks[Scarcity.MEDIUM],
    )


@pytest.mark.parametrize(
    ("many", "goes"),
    [
        pytest.param(1, {"g-d-10"}, id="10 is higher than 9, though it is the oldest"),
        pytest.param(2, {"g-d-10", "g-d-9"}, id="then 9, though another is in trouble"),
    ],
)
def test_where_ordinals_rule_the_highest_go_whatever_would_be_missed_least(
    many: int, goes: set[str]
) -> None:
    held = [
        one("g-p-1", "p1"),
        one("g-d-1", "m1", is_up=False),
        one("g-d-9", "p1", since_s=5.0),
        one("g-d-10", "p2", since_s=9.0),
        one("g-d-2", "q1"),
    ]
    service = replace(tenant(held=held), ordinal=frozenset({Role.DECODE}))
    removals = removals_of(fleet_of(ROWS, [service], Facts()), service, Instances(0, -many))
    assert {removal.instance for removal in removals} == goes
    assert {removal.why for removal in removals} == {"has the highest ordinal"}
