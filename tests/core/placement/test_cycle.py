"""A placement cycle: priority, ratio, groups, reasons; tables whose ids carry the arithmetic."""

from dataclasses import replace

import pytest

from controller.core.fleet import Level, NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import Facts, fleet_of
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    PartNeed,
    Request,
    RoleForm,
    RoleNeed,
    Spread,
)
from controller.core.reasons import Code
from controller.core.types import Instances, Role
from tests.core.placement.cycles import need, node, placed, plan, taken, tenant


@pytest.mark.parametrize(
    ("asked", "expect"),
    [
        pytest.param((2, 4), (2, 4), id="2x4 on one H800 of 8, 4x4 on two H20 of 8: whole"),
        pytest.param((3, 6), (2, 4), id="3x4=12 of 8 H800: 2 of 3 units of 1:2"),
        pytest.param((4, 4), (2, 2), id="8 H800 hold 2 of 4 units of 1:1"),
        pytest.param((3, 5), (2, 4), id="3:5 has no smaller multiple: 2 units of the ratio 0.5"),
        pytest.param((0, 5), (0, 4), id="decode alone: 16/4 = 4 of 5"),
    ],
)
def test_a_pair_is_placed_whole_or_as_its_largest_multiple(
    asked: tuple[int, int], expect: tuple[int, int]
) -> None:
    rows = [node("a", "h800"), node("b", "h20"), node("c", "h20")]
    _, found = plan(rows, [tenant(pd_ratio=0.5)], ("chat", *asked))
    assert placed(found) == Instances(*expect)
    told = [(one.asked, one.placed) for one in found.unplaced]
    whole = asked == expect
    assert told == ([] if whole else [(Instances(*asked), Instances(*expect))])


@pytest.mark.parametrize(
    ("rows", "prefill", "decode"),
    [
        pytest.param(
            [*(node(name, "h800") for name in "ab"), node("c", "h20", "s2-1/s1-2")],
            need("h20", 4, Choice("h800", 4)),
            need("h800", 8),
            id="a pair in s1-1 would take the h800 of the second decode instance",
        ),
        pytest.param(
            [
                node("a", "h20", free=4),
                node("b", "h20", free=5),
                node("c", "h20", "s2-1/s1-2", free=2),
                node("d", "h20", "s2-1/s1-2", free=2),
            ],
            need("h20", 2),
            need("h20", 4),
            id="a pair in s1-1 would break b: 5 - 2 < 4",
        ),
        pytest.param(
            [
                node("a", "h800", "s2-1/s1-1"),
                *(node(name, kind, "s2-1/s1-2") for name, kind in (("b", "l40s"), ("c", "h20"))),
            ],
            need("h800", 4),
            need("h800", 4, Choice("l40s", 4)),
            id="a pair that spares the mixed s1-2 would take the h800 of the second prefill",
        ),
    ],
)
def test_all_of_a_request_comes_before_how_near_and_how_scarce_it_is(
    rows: list[NodeRow], prefill: RoleForm, decode: RoleForm
) -> None:
    service = replace(tenant(prefill=prefill, decode=decode), affinity=Affinity(Level.S2))
    _, found = plan(rows, [service], ("chat", 2, 2))
    assert (placed(found), found.unplaced) == (Instances(2, 2), [])


def test_a_role_the_service_does_not_have_is_refused() -> None:
    service = replace(tenant(), roles={Role.PREFILL: need("h800", 4)})
    _, found = plan([node("a", "h800")], [service], ("chat", 1, 1))
    (refused,) = found.unplaced
    assert not found.placements
    assert refused.placed == Instances(0, 0)
    assert refused.sentence.startswith("The service has no role decode.")
    assert refused.would_fit_if == "it is given the role decode"


def test_no_group_is_split_over_what_is_required() -> None:
    rows = [node("a", "h800", "s2-1/s1-1"), node("b", "h20", "s2-2/s1-2")]
    _, found = plan(rows, [tenant()], ("chat", 1, 1))
    assert not found.placements
    (refused,) = found.unplaced
    assert refused.code is Code.NO_CAPACITY_DOMAIN
    assert "no S2 has room for 1 prefill and 1 decode together" in refused.sentence
    assert refused.would_fit_if == "1 more free h20 node under s2-1"


@pytest.mark.parametrize(
    ("rows", "code", "said", "would"),
    [
        pytest.param(
            [node("a", "h20")],
            Code.NO_CAPACITY_SKU,
            "No node that may be used has h800.",
            "nodes with h800 are added, or another hardware type is allowed",
            id="a type that is nowhere",
        ),
        pytest.param(
            [node("a", "h800"), node("b", "h20", free=2)],
            Code.NO_CAPACITY_SKU,
            "4 h20 GPUs are wanted and 2 are free.",
            "1 more free h20 node under s2-1",
            id="4 wanted, 2 free",
        ),
        pytest.param(
            [node("a", "h800"), node("b", "h20", free=2), node("c", "h20", free=2)],
            Code.FRAGMENTED,
            "4 h20 GPUs are free, but in pieces: 0 of 1 decode instances find 4 GPUs on one node.",
            "1 more free h20 node under s2-1",
            id="2 + 2 free, 4 wanted on one node",
        ),
    ],
)
def test_a_refusal_names_its_reason_and_what_would_make_it_fit(
    rows: list, code: Code, said: str, would: str
) -> None:
    _, found = plan(rows, [tenant()], ("chat", 1, 1))
    (refused,) = found.unplaced
    assert (refused.code, refused.would_fit_if) == (code, would)
    assert refused.sentence.startswith(said)


def test_the_nodes_of_a_refusal_add_up_to_all() -> None:
    rows = [
        node("a", "h800"),
        node("b", "h20", free=0),
        node("c", "h20", usable=False),
        node("d", "l40s"),
    ]
    tenants = [tenant()]
    fleet = fleet_of(rows, tenants, Facts(barred={"c": "draining"}))
    found = plan_cycle(fleet, tenants, [Request("chat", Instances(1, 1))])
    assert found.unplaced[0].sentence.endswith(
        "Of 4 nodes 1 may not be used (1 draining), 1 has other hardware, labels or taints, "
        "1 has too few free GPUs, 1 has room."
    )


def test_the_higher_priority_is_served_first_whatever_the_order() -> None:
    rows = [node("a", "h20")]
    low, high = (
        tenant(name, need("h20", 4), need("h20", 4), priority=priority)
        for name, priority in (("low", 1), ("high", 2))
    )
    _, found = plan(rows, [low, high], ("low", 1, 1), ("high", 1, 1))
    assert placed(found, "high") == Instances(1, 1)
    assert [one.service for one in found.unplaced] == ["low"]


def test_of_equal_services_one_that_was_refused_three_times_goes_first() -> None:
    rows = [node("a", "h20")]
    tenants = [tenant(name, need("h20", 4), need("h20", 4)) for name in ("a", "b")]
    asked = [Request("a", Instances(1, 1)), Request("b", Instances(1, 1), refused=3)]
    found = plan_cycle(fleet_of(rows, tenants), tenants, asked)
    assert placed(found, "b") == Instances(1, 1)


def test_the_order_that_places_more_is_taken() -> None:
    # As given the large one takes the node: 1 unit. The two small ones fit in its place: 2 units.
    rows = [node("a", "h20")]
    tenants = [
        tenant("large", need("h20", 4), need("h20", 4)),
        tenant("one", need("h20", 2), need("h20", 2)),
        tenant("two", need("h20", 2), need("h20", 2)),
    ]
    _, found = plan(rows, tenants, ("large", 1, 1), ("one", 1, 1), ("two", 1, 1))
    assert [one.service for one in found.unplaced] == ["large"]


def test_who_has_no_need_of_a_scarce_switch_leaves_it() -> None:
    rows = [
        node("mixed-1", "h20", "s2-1/s1-1"),
        node("mixed-2", "h800", "s2-1/s1-1"),
        node("plain", "h20", "s2-2/s1-2"),
    ]
    alone = tenant("batch", need("h20", 2), need("h20", 2))
    _, found = plan(rows, [alone], ("batch", 1, 1))
    assert set(taken(found)) == {"plain"}
    assert found.groups[0].subgroup == "low"


def test_a_new_group_begins_where_it_is_less_scarce_else_the_old_one_is_joined() -> None:
    held = Held("chat-prefill-1", Role.PREFILL, "chat-g1", (("mixed-1", 2),))
    form = need("h20", 2)
    mixed = [node("mixed-1", "h20", "s2-1/s1-1", free=6), node("mixed-2", "h800", "s2-1/s1-1")]
    chat = tenant("chat", form, form, held=[held])
    _, joined = plan(mixed, [chat], ("chat", 1, 1))
    assert {one.group for one in joined.placements} == {"chat-g1"}
    _, begun = plan([*mixed, node("plain", "h20", "s2-2/s1-2")], [chat], ("chat", 1, 1))
    assert {(one.group, one.is_new_group) for one in begun.placements} == {("chat-g2", True)}


def test_one_role_alone_joins_a_group_and_never_begins_one() -> None:
    held = Held("chat-prefill-1", Role.PREFILL, "chat-g1", (("a", 4),))
    rows = [node("a", "h800", free=4), node("b", "h20", "s2-2/s1-2")]
    _, found = plan(rows, [tenant(held=[held])], ("chat", 0, 1))
    assert not found.placements
    assert found.unplaced[0].would_fit_if == "1 more free h20 node under s2-1"


def test_the_preferred_hardware_first_and_the_next_scaled_by_its_throughput() -> None:
    # 3 wanted: 2 on the 8 H800 there are; 1 / 0.5 = 2 instances of H20 do the work of the third.
    rows = [node("a", "h800"), node("b", "h20")]
    form = need("h800", 4, Choice("h20", 4, throughput=0.5))
    alone = replace(tenant(), roles={Role.DECODE: form})
    _, found = plan(rows, [alone], ("chat", 0, 3))
    assert sorted(one.hardware for one in found.placements) == ["h20", "h20", "h800", "h800"]
    assert not found.unplaced


def test_the_preferred_hardware_comes_before_the_tighter_domain() -> None:
    # 4 of 8 are left over under s1-2 and 0 under s1-1, but there it would be the second choice.
    rows = [node("a", "h800", "s2-1/s1-1", free=4), node("b", "h20", "s2-2/s1-2")]
    alone = replace(tenant(), roles={Role.DECODE: need("h20", 4, Choice("h800", 4))})
    _, found = plan(rows, [alone], ("chat", 0, 1))
    assert [dict(one.nodes) for one in found.placements] == [{"b": 4}]


def test_an_instance_larger_than_a_node_takes_whole_nodes_under_one_s1() -> None:
    rows = [
        node("a", "h20", "s2-1/s1-1"),
        node("b", "h20", "s2-1/s1-2"),
        node("c", "h20", "s2-1/s1-3", free=7),
        node("d", "h20", "s2-1/s1-3"),
        node("e", "h20", "s2-1/s1-3"),
    ]
    alone = replace(tenant(), roles={Role.DECODE: need("h20", 16, nodes=2)})
    _, found = plan(rows, [alone], ("chat", 0, 1))
    assert dict(found.placements[0].nodes) == {"d": 8, "e": 8}


def test_labels_and_taints_decide_which_nodes_count() -> None:
    rows = [node("a", "h20"), node("b", "h20"), node("c", "h20")]
    form = RoleForm(
        RoleNeed((Choice("h20", 8),), select={"zone": ("x",)}, tolerate=frozenset({"llm"}))
    )
    chat = replace(tenant(), roles={Role.DECODE: form})
    other = replace(tenant("other"), roles={Role.DECODE: need("h20", 8)})
    facts = Facts(
        labels={"a": {"zone": "x"}, "b": {"zone": "x"}, "c": {"zone": "y"}},
        taints={"b": frozenset({"llm"}), "a": frozenset({"gone"})},
    )
    fleet = fleet_of(rows, [chat, other], facts)
    asked = [Request("chat", Instances(0, 2)), Request("other", Instances(0, 2))]
    found = plan_cycle(fleet, [chat, other], asked)
    assert {(p.service, *dict(p.nodes)) for p in found.placements} == {
        ("chat", "b"),
        ("other", "c"),
    }


def test_a_spread_service_leaves_no_domain_more_than_its_share() -> None:
    # 4 instances over at least 2 S2: ceil(4 / 2) = 2 in each, though the first holds all four.
    rows = [node("a", "h20", "s2-1/s1-1"), node("b", "h20", "s2-1/s1-1")]
    rows += [node("c", "h20", "s2-2/s1-2")]
    form = need("h20", 2)
    chat = replace(tenant("chat", form, form), spread=Spread(Level.S2, 2))
    _, found = plan(rows, [chat], ("chat", 4, 4))
    where = [p.where.label for p in found.placements if p.role is Role.DECODE]
    assert len(where) == 4
    assert sum(dict(p.nodes).get("c", 0) > 0 for p in found.placements) == 4


def test_attention_and_ffn_share_an_s1_and_the_pair_an_s2() -> None:
    # One prefill instance is 2 attention pods of 4 and 1 FFN pod of 8 under one S1.
    parts = (
        PartNeed("attention", 2, RoleNeed((Choice("h800", 4),))),
        PartNeed("ffn", 1, RoleNeed((Choice("h20", 8),))),
    )
    rows = [
        node("a1", "h800", "s2-1/s1-1"),
        node("a2", "h20", "s2-1/s1-1"),
        node("b1", "h800", "s2-1/s1-2"),
        node("b2", "l40s", "s2-1/s1-2"),
        node("c1", "l40s", "s2-1/s1-3"),
    ]
    moe = replace(
        tenant("moe"),
        roles={
            Role.PREFILL: RoleForm(parts=parts, level=Level.S1),
            Role.DECODE: need("l40s", 4),
        },
    )
    _, found = plan(rows, [moe], ("moe", 2, 4))
    assert placed(found, "moe") == Instances(1, 2)
    pods = {(p.part, *dict(p.nodes)) for p in found.placements if p.role is Role.PREFILL}
    assert pods == {("attention", "a1"), ("ffn", "a2")}
    assert {p.instance for p in found.placements if p.part} == {"moe-prefill-1"}
    assert found.unplaced[0].placed == Instances(1, 2)


def test_what_is_freed_is_not_given_away_in_the_same_cycle() -> None:
    held = [
        Held("old-prefill-1", Role.PREFILL, "old-g1", (("a", 4),)),
        Held("old-decode-1", Role.DECODE, "old-g1", (("a", 4),)),
    ]
    form = need("h20", 4)
    tenants = [tenant("old", form, form, held=held), tenant("new", form, form, priority=9)]
    _, found = plan([node("a", "h20", free=0)], tenants, ("old", -1, -1), ("new", 1, 1))
    assert {one.instance for one in found.removals} == {"old-prefill-1", "old-decode-1"}
    assert [one.service for one in found.unplaced] == ["new"]


def test_the_winner_is_told_beside_those_that_lost() -> None:
    rows = [
        node("a", "h800", "s2-1/s1-1"),
        node("b", "h20", "s2-1/s1-1"),
        node("c", "h800", "s2-2/s1-2"),
        node("d", "h20", "s2-2/s1-3", free=4),
    ]
    _, found = plan(rows, [tenant()], ("chat", 1, 2))
    winner, *others = found.looked_at["chat"]
    assert (winner.where.label, winner.lost) == ("s1-1", "")
    _, far = plan(rows[2:], [tenant()], ("chat", 1, 1))
    told = {one.where.label: one.lost for one in far.looked_at["chat"]}
    assert told["s2-2"] == ""
    assert [text for text in told.values() if "has room for 0 of 1, no S1 for more" in text]
    assert all(one.lost for one in others)
