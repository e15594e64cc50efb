"""What holds of every placement cycle, whatever the fleet (S19; I05, I07)."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from controller.core.fleet import NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import fleet_of
from controller.core.placement.values import Plan, Request, Tenant
from controller.core.types import Instances, Role
from tests.core.placement.cycles import fleets, free_of, placed, services, taken


def ask(rows: Sequence[NodeRow], tenants: Sequence[Tenant], each: Instances) -> Plan:
    return plan_cycle(
        fleet_of(rows, tenants), tenants, [Request(one.name, each) for one in tenants]
    )


def quality(plan: Plan) -> tuple[int, list[str], list[str]]:
    """What a plan is worth: GPUs, domains by level and service, what was refused."""
    return (
        sum(taken(plan).values()),
        sorted(f"{p.service} {p.role} {p.where.level}" for p in plan.placements),
        sorted(f"{one.service} {one.placed}" for one in plan.unplaced),
    )


@given(fleets(), services(), st.sampled_from((Instances(1, 1), Instances(2, 4), Instances(3, 1))))
def test_no_gpu_is_given_twice_and_only_where_it_may_be(
    rows: list[NodeRow], tenants: list[Tenant], each: Instances
) -> None:
    """S19: what a plan takes of a node is no more than what is free there."""
    found = ask(rows, tenants, each)
    free = free_of(rows)
    assert all(gpus <= free[name] for name, gpus in taken(found).items())
    hardware = {row.name: row.hardware for row in rows}
    of = {one.name: one for one in tenants}
    for one in found.placements:
        need = of[one.service].roles[one.role].need
        assert need is not None
        gpus = {choice.type: choice.gpus for choice in need.hardware}
        assert {hardware[name] for name, _ in one.nodes} == {one.hardware}
        assert sum(taken for _, taken in one.nodes) == gpus[one.hardware]


@given(fleets(), services())
def test_no_group_leaves_its_required_domain(rows: list[NodeRow], tenants: list[Tenant]) -> None:
    found = ask(rows, tenants, Instances(2, 2))
    fleet = fleet_of(rows, tenants)
    of = {one.name: one for one in tenants}
    groups: dict[tuple[str, str], set[str]] = {}
    for one in found.placements:
        groups.setdefault((one.service, one.group), set()).update(dict(one.nodes))
    for (service, _), nodes in groups.items():
        affinity = of[service].affinity
        if affinity.required:
            assert fleet.domain_of(nodes, affinity.level) is not None


@given(fleets(), services(), st.randoms(use_true_random=False))
def test_order_and_names_of_nodes_do_not_change_what_a_plan_is_worth(
    rows: list[NodeRow], tenants: list[Tenant], luck: object
) -> None:
    found = ask(rows, tenants, Instances(1, 2))
    shuffled = list(rows)
    luck.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ask(shuffled, tenants, Instances(1, 2)) == found


@given(fleets(), services())
def test_the_ratio_of_what_is_placed_is_that_of_what_was_asked(
    rows: list[NodeRow], tenants: list[Tenant]
) -> None:
    found = ask(rows, tenants, Instances(2, 4))
    for one in tenants:
        prefill, decode = placed(found, one.name)
        assert decode == 2 * prefill


@given(fleets(most_nodes=12), services(most=1))
def test_a_free_node_more_never_places_fewer(rows: list[NodeRow], tenants: list[Tenant]) -> None:
    """With one service, which no choice made for another can stand in the way of."""
    before = placed(ask(rows, tenants, Instances(3, 3)), tenants[0].name)
    more = [*rows, replace(rows[0], name="extra", free=rows[0].gpus, usable=True)]
    after = placed(ask(more, tenants, Instances(3, 3)), tenants[0].name)
    assert after >= before


@given(fleets(), services())
def test_what_was_placed_given_back_leaves_the_state_as_it_was(
    rows: list[NodeRow], tenants: list[Tenant]
) -> None:
    found = ask(rows, tenants, Instances(1, 1))
    used = taken(found)
    after = [replace(row, free=row.free - used[row.name]) for row in rows]
    again = [replace(row, free=row.free + used[row.name]) for row in after]
    assert ask(again, tenants, Instances(1, 1)) == found


@given(services(most=1), st.integers(0, 2))
def test_what_fits_alone_is_never_refused_by_an_empty_fleet(
    tenants: list[Tenant], extra: int
) -> None:
    """Every type under one S1, four nodes each: room for one unit of anything."""
    rows = [
        NodeRow(f"{kind}-{at}", "c", "s2", "s1", "", kind, gpus=8, free=8)
        for kind in ("h20", "h800", "l40s")
        for at in range(4 + extra)
    ]
    assert not ask(rows, tenants, Instances(1, 1)).unplaced


@given(fleets(), services())
def test_each_refusal_says_what_would_help(rows: list[NodeRow], tenants: list[Tenant]) -> None:
    for one in ask(rows, tenants, Instances(4, 4)).unplaced:
        assert one.would_fit_if
        assert all(one.placed.of(role) <= one.asked.of(role) for role in Role)
        assert f"Of {len(rows)} node" in one.sentence


@given(fleets(), services())
def test_the_same_input_gives_the_same_plan(rows: list[NodeRow], tenants: list[Tenant]) -> None:
    assert ask(rows, tenants, Instances(2, 1)) == ask(rows, tenants, Instances(2, 1))
