"""What if: what a cycle would do is told and not done, and what a loss leads to adds up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.fleet import Level, NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.fitting import MOST_UNITS, fitting, fittings, unit_for
from controller.core.placement.layout import fleet_of
from controller.core.placement.losing import Loss
from controller.core.placement.preview import Situation
from controller.core.placement.supposing import Changes, after
from controller.core.placement.values import (
    Affinity,
    Held,
    PartNeed,
    Request,
    RoleForm,
    Spread,
    Tenant,
)
from controller.core.placement.what_if import Answer, WhatIf, consequences
from controller.core.reasons import Code
from controller.core.types import Instances, Role
from tests.core.placement.cycles import fleets, services, taken
from tests.core.placement.tenants import IN_S1, IN_S2, need, row, tenant

EXAMPLES: Final = 60 * int(os.environ.get("HETEROSCALE_EXAMPLES", "1"))
A_PAIR: Final = Instances(1, 1)


def situation(rows: Sequence[NodeRow], *tenants: Tenant) -> Situation:
    """Return nodes of which tenants hold what they hold: rows say what is there."""
    used: dict[str, int] = {}
    for one in (each for service in tenants for each in service.held):
        for name, gpus in one.nodes:
            used[name] = used.get(name, 0) + gpus
    left = tuple(replace(row, free=row.free - used.get(row.name, 0)) for row in rows)
    assert all(row.free >= 0 for row in left)
    return Situation(left, {one.name: one for one in tenants}, version=7)


def two_s2() -> tuple[NodeRow, ...]:
    """Two S2 of one S1 each, two nodes of eight in each S1."""
    return (
        row("n1", "s2-1", "a", "H20", 8),
        row("n2", "s2-1", "a", "H20", 8),
        row("n3", "s2-2", "b", "H20", 8),
        row("n4", "s2-2", "b", "H20", 8),
    )


def asked(here: Situation, service: str, prefill: int, decode: int) -> Answer:
    return consequences(here, WhatIf(changes=(Request(service, Instances(prefill, decode)),)))


def without(here: Situation, *nodes: str) -> Answer:
    return consequences(here, WhatIf(gone=frozenset(nodes)))


def test_a_new_service_is_placed_and_what_stays_free_is_told() -> None:
    """1 P of 8 and 1 D of 8 fill one S1 of two nodes: 4 whole nodes less 2."""
    new = tenant("new", (8, 8))
    found = consequences(
        situation(two_s2()), WhatIf(added=(new,), changes=(Request("new", A_PAIR),))
    )
    assert {one.nodes for one in found.plan.placements} == {(("n1", 8),), (("n2", 8),)}
    assert not found.plan.looked_at["new"][0].lost
    assert (found.before.whole_nodes, found.ended.whole_nodes) == (4, 2)
    (before,), (ended,) = found.before.shapes, found.ended.shapes
    assert (before.largest, before.fits) == (2, 4)
    assert (ended.largest, ended.fits) == (2, 2)


def test_what_has_no_room_is_refused_with_the_most_that_fits() -> None:
    """Each S1 holds one pair of 8 + 8: two of three pairs, and the third is why."""
    found = asked(situation(two_s2(), tenant("chat", (8, 8))), "chat", 3, 3)
    (short,) = found.plan.unplaced
    assert (short.asked, short.placed, short.code) == ((3, 3), (2, 2), Code.NO_CAPACITY_SKU)
    assert "more free H20 node" in short.would_fit_if
    (most,) = found.most
    assert (most.unit, most.units, most.is_more) == ((1, 1), 2, False)


def test_what_does_not_fit_as_a_whole_is_told_in_its_own_ratio_too() -> None:
    """3 + 2 of 8 is more than an S1 of 16; 1 + 1 fits once in each of two."""
    found = asked(situation(two_s2(), tenant("chat", (8, 8), pd_ratio=1.0)), "chat", 3, 2)
    assert [(one.unit, one.units) for one in found.most] == [((3, 2), 0), ((1, 1), 2)]


def test_a_refusal_tells_who_could_give_way() -> None:
    low = tenant(
        "low", (8, 8), "p1 g n1:8", "d1 g n2:8", "p2 h n3:8", "d2 h n4:8",
        pd_ratio=1.0, least=A_PAIR,
    )  # fmt: skip
    found = asked(situation(two_s2(), tenant("high", (8, 8), priority=5), low), "high", 1, 1)
    (help_,) = found.helps
    assert (help_.kind, help_.service) == ("shrink", "high")
    assert "low decode 2 → 1, prefill 2 → 1" in help_.sentence


def test_a_refusal_tells_what_could_move() -> None:
    """4 + 4 GPUs are free on two nodes, and 8 are wanted on one: one of 4 moves to the other."""
    rows = (row("n1", "s2", "a", "H20", 8), row("n2", "s2", "a", "H20", 8))
    other = tenant("other", (0, 4), "d1 g n1:4", "d2 h n2:4")
    found = asked(situation(rows, tenant("chat", (0, 8)), other), "chat", 0, 1)
    assert found.plan.unplaced[0].code is Code.FRAGMENTED
    assert [one.kind for one in found.helps] == ["room"]
    assert found.most[0].units == 0


def test_what_goes_is_chosen_and_its_gpus_are_free_after() -> None:
    chat = tenant("chat", (8, 8), "p1 g n1:8", "d1 g n2:8", "p2 h n3:8", "d2 h n4:8")
    found = asked(situation(two_s2(), chat), "chat", -1, -1)
    assert len(found.plan.removals) == 2
    assert (found.before.whole_nodes, found.ended.whole_nodes) == (0, 2)
    assert found.most == ()


def losses(found: Answer) -> dict[str, Loss]:
    assert found.lost is not None
    return {one.service: one for one in found.lost.losses}


def test_a_lost_node_is_replaced_within_the_domain() -> None:
    """2 D of 4 on n2 are lost; n1 beside it has 4 of its 8 left: one comes back there."""
    chat = tenant("chat", (4, 4), "p1 g n1:4", "d1 g n2:4", "d2 g n2:4", least=Instances(1, 2))
    rows = two_s2()[:2]
    found = without(situation(rows, chat), "n2")
    assert found.lost is not None
    (pool,) = found.lost.pools
    assert (pool.hardware, pool.nodes, pool.gpus, pool.held) == ("H20", 1, 8, 8)
    one = losses(found)["chat"]
    assert (one.had, one.lost, one.stays) == ((1, 2), (0, 2), (1, 0))
    assert (one.replaced, one.placed, one.ends) == ((0, 1), (0, 0), (1, 1))
    assert one.is_below_least
    assert not one.is_whole
    assert "has room for 1 of them" in one.refused[0].sentence


def test_what_is_on_no_node_that_goes_is_not_told() -> None:
    chat = tenant("chat", (4, 4), "p1 g n1:4", "d1 g n1:4")
    found = without(situation(two_s2(), chat), "n3")
    assert losses(found) == {}
    assert (found.before.whole_nodes, found.ended.whole_nodes) == (3, 2)


@pytest.mark.parametrize(
    ("least", "ends", "others"),
    [
        pytest.param((0, 0), (1, 1), (0, 0), id="least 0: low goes from (1, 1) to (0, 0)"),
        pytest.param((1, 1), (0, 0), (1, 1), id="least (1, 1): low keeps them, high is short"),
    ],
)
def test_a_lost_s2_is_served_by_lower_priorities(
    least: tuple[int, int], ends: tuple[int, int], others: tuple[int, int]
) -> None:
    """I10: high had all of S2 1, low all of S2 2; S2 1 is gone."""
    high = tenant("high", (8, 8), "p1 g n1:8", "d1 g n2:8", priority=5, affinity=IN_S2)
    low = tenant(
        "low", (8, 8), "p1 g n3:8", "d1 g n4:8",
        affinity=IN_S2, pd_ratio=1.0, least=Instances(*least),
    )  # fmt: skip
    found = losses(without(situation(two_s2(), high, low), "n1", "n2"))
    assert found["high"].ends == ends
    assert (found["low"].ends if "low" in found else low.counts) == others
    assert next(iter(found)) == "high"


def test_the_higher_priority_comes_back_first() -> None:
    """8 GPUs are left on n1 and each lost 8: priority 5 takes them, 0 finds no room."""
    rows = (*two_s2()[:2], row("n3", "s2-1", "a", "H20", 8))
    low = tenant("a-low", (0, 8), "d1 g n2:8")
    high = tenant("high", (0, 8), "d1 g n3:8", priority=5)
    found = losses(without(situation(rows, low, high), "n2", "n3"))
    assert list(found) == ["high", "a-low"]
    assert (found["high"].is_whole, found["a-low"].ends) == (True, (0, 0))


def test_a_unit_of_parts_is_lost_as_one_instance() -> None:
    """One decode is 1 attention and 1 expert pod of 8; its expert's node goes."""
    decode = RoleForm(
        parts=(PartNeed("attention", 1, need(8).need), PartNeed("expert", 1, need(8).need))  # type: ignore[arg-type]
    )
    ones = (
        Held("d1-a", Role.DECODE, "g", (("n1", 8),), part="attention", unit="d1"),
        Held("d1-e", Role.DECODE, "g", (("n2", 8),), part="expert", unit="d1"),
    )
    moe = Tenant("moe", {Role.DECODE: decode}, ones, affinity=IN_S1)
    found = losses(without(situation(two_s2(), moe), "n2"))["moe"]
    assert (found.had, found.lost, found.stays) == ((0, 1), (0, 1), (0, 0))
    assert found.ends == (0, 1)


def test_nothing_is_done_for_a_service_that_is_only_observed() -> None:
    chat = tenant("chat", (0, 8), "d1 g n1:8")
    here = replace(situation(two_s2(), chat), watched=frozenset({"chat"}))
    one = losses(without(here, "n1"))["chat"]
    assert (one.lost, one.replaced, one.placed, one.ends) == ((0, 1), (0, 0), (0, 0), (0, 0))
    assert one.is_watched


@pytest.mark.parametrize(
    ("ratio", "unit"),
    [
        pytest.param(0.5, (1, 2), id="1 / 2 = 0.5"),
        pytest.param(3.0, (3, 1), id="3 / 1 = 3"),
        pytest.param(0.62, (3, 5), id="3 / 5 = 0.6, 3 % off; 2 / 3 is 7.5 % off"),
        pytest.param(1.02, (1, 1), id="1 / 1 is 2 % off"),
        pytest.param(0.01, (1, 100), id="1 / 100 = 0.01"),
        pytest.param(None, (1, 1), id="no ratio and nothing held: one of each"),
    ],
)
def test_the_unit_of_a_service_keeps_its_ratio(ratio: float | None, unit: tuple[int, int]) -> None:
    assert unit_for(tenant("chat", (1, 1), pd_ratio=ratio)) == unit


def test_the_unit_without_a_ratio_is_that_of_the_counts() -> None:
    lines = ("p1 g n1:1", "p2 g n1:1", *(f"d{at} g n1:1" for at in range(1, 7)))
    assert unit_for(tenant("chat", (1, 1), *lines)) == (1, 3)


def test_a_service_of_one_role_grows_by_that() -> None:
    assert unit_for(tenant("chat", (0, 1), pd_ratio=0.5)) == (0, 1)


@pytest.mark.parametrize(
    ("one", "units"),
    [
        pytest.param(tenant("chat", (4, 4)), 4, id="4 nodes x 8 / (4 + 4) = 4"),
        pytest.param(tenant("chat", (8, 8)), 2, id="2 S1 x 16 / 16 = 2"),
        pytest.param(tenant("chat", (8, 8), pd_ratio=0.5), 0, id="an S1 of 16 holds no 8 + 2 x 8"),
        pytest.param(
            tenant("chat", (4, 4), spread=Spread(Level.S2, 2), affinity=IN_S2),
            4,
            id="2 + 2 over two S2",
        ),
        pytest.param(
            tenant("chat", (8, 8), spread=Spread(Level.S2, 3), affinity=IN_S2),
            2,
            id="of 2 units an S2 takes 2 / 3, rounded up: 1 + 1",
        ),
    ],
)
def test_how_many_units_fit(one: Tenant, units: int) -> None:
    here = situation(two_s2(), one)
    found = fitting(here.fleet, one, unit_for(one))
    assert found.units == units
    assert found.refused is not None
    assert found.refused.would_fit_if


def test_of_very_many_no_more_are_counted() -> None:
    rows = [row(f"n{at}", "s2", "a", "H20", 8) for at in range(130)]
    one = tenant("chat", (1, 1))
    (found,) = fittings(situation(rows, one).fleet, [one])
    assert (found.units, found.is_more) == (MOST_UNITS, True)


def test_services_that_ask_for_the_same_are_told_by_their_own_names() -> None:
    here = situation(two_s2(), tenant("b", (8, 8)), tenant("a", (8, 8)))
    found = fittings(here.fleet, here.tenants.values())
    assert [(one.service, one.units) for one in found] == [("b", 2), ("a", 2)]
    assert [one.refused.service for one in found if one.refused] == ["b", "a"]


def test_hardware_nobody_has_is_the_reason() -> None:
    one = replace(tenant("chat", (8, 8)), roles={Role.PREFILL: need(8, "H800")})
    (found,) = fittings(situation(two_s2(), one).fleet, [one])
    assert found.units == 0
    assert found.refused is not None
    assert found.refused.code is Code.NO_CAPACITY_SKU


@given(fleets(), services(), st.integers(0, 3), st.integers(0, 4))
@settings(max_examples=EXAMPLES, deadline=None)
def test_asking_changes_nothing_and_tells_what_the_next_cycle_does(
    rows: list[NodeRow], tenants: list[Tenant], prefill: int, decode: int
) -> None:
    here = Situation(tuple(rows), {one.name: one for one in tenants}, version=3)
    request = Request(tenants[0].name, Instances(prefill, decode))
    copy = deepcopy((here.rows, here.tenants))
    free = here.fleet.view.free.copy()
    gone = frozenset(row.name for row in rows[::3])
    found = consequences(here, WhatIf(changes=(request,)))
    consequences(here, WhatIf(changes=(request,), gone=gone))
    assert (here.rows, here.tenants) == copy
    assert (here.fleet.view.free == free).all()
    cycle = plan_cycle(fleet_of(rows, tenants), tenants, [request])
    assert found.plan == cycle


@given(fleets(), services(most=2))
@settings(max_examples=EXAMPLES, deadline=None)
def test_as_many_units_fit_as_are_told_and_not_one_more(
    rows: list[NodeRow], tenants: list[Tenant]
) -> None:
    fleet = fleet_of(rows, tenants)
    for found, tenant_ in zip(fittings(fleet, tenants), tenants, strict=True):
        for units, fits in ((found.units, True), (found.units + 1, False)):
            change = Instances(*(units * count for count in found.unit))
            plan = plan_cycle(fleet, tenants, [Request(tenant_.name, change)] * bool(units))
            assert (not plan.unplaced) is fits


@given(fleets(), services(), st.data())
@settings(max_examples=EXAMPLES, deadline=None)
def test_a_loss_adds_up(rows: list[NodeRow], tenants: list[Tenant], data: st.DataObject) -> None:
    """Whatever goes: ends = had − lost + replaced + placed − shrunk, on nodes that are there."""
    here = Situation(tuple(rows), {one.name: one for one in tenants})
    for one in tenants:
        plan = here.plan([Request(one.name, Instances(1, 2))])
        here = after(here, Changes(plan.placements))
        up = replace(
            here.tenants[one.name],
            held=tuple(replace(each, is_up=True) for each in here.tenants[one.name].held),
        )
        here = replace(here, tenants={**here.tenants, one.name: up}, fleets={})
    usable = [row.name for row in rows if row.usable]
    gone = frozenset(data.draw(st.lists(st.sampled_from(usable or ["none"]), max_size=6)))
    found = consequences(here, WhatIf(gone=gone)).lost
    if not gone:
        assert found is None
        return
    assert found is not None
    for loss in found.losses:
        there = found.ended.tenants[loss.service]
        assert there.counts == loss.ends
        assert all(loss.ends.of(role) <= loss.had.of(role) for role in Role)
        assert loss.ends.of(Role.DECODE) >= 0
        for one in there.held:
            assert not gone & {name for name, _ in one.nodes}
    held = sum(one.gpus for each in found.ended.tenants.values() for one in each.held)
    before = sum(one.gpus for each in here.tenants.values() for one in each.held)
    rows_left = list(zip(here.rows, found.ended.rows, strict=True))
    kept = sum(was.free - now.free for was, now in rows_left if now.name not in gone)
    lost = sum(now.free - was.free for was, now in rows_left if now.name in gone)
    assert held - before == kept - lost


def test_a_plan_carried_out_takes_its_gpus_once() -> None:
    chat = tenant("chat", (4, 4), affinity=Affinity(Level.S2, required=True))
    here = situation(two_s2(), chat)
    plan = here.plan([Request("chat", A_PAIR)])
    then = after(here, Changes(plan.placements))
    assert sum(row.free for row in then.rows) == 32 - sum(taken(plan).values()) == 24
    assert then.tenants["chat"].counts == (1, 1)
    assert after(here, Changes()) is here
