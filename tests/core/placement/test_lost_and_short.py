"""A whole S2 is lost: higher priorities are served, lower ones shrink to their least (I10)."""

from dataclasses import replace

from controller.core.fleet import NodeRow
from controller.core.placement.advice import advise
from controller.core.placement.layout import Facts
from controller.core.placement.preview import Situation
from controller.core.placement.values import Held, Tenant
from controller.core.types import Instances, Role
from tests.core.placement.cycles import need, node, tenant

FORM = need("h20", 4)


def holding(name: str, priority: int, where: str, pairs: int) -> Tenant:
    """Return a service with pairs of four GPUs each on nodes of eight."""
    held = [
        Held(f"{name}-{role.value}-{at}", role, f"{name}-g1", ((f"{where}{at}", 4),))
        for at in range(pairs)
        for role in Role
    ]
    made = tenant(name, FORM, FORM, held=held, priority=priority)
    return replace(made, affinity=replace(made.affinity, required=False), least=Instances(1, 1))


def fleet(*, lost: bool) -> tuple[list[NodeRow], Facts]:
    """Return two S2 of three full nodes, the first of which may have failed."""
    rows = [node(f"a{at}", "h20", "s2-1/s1-1", free=0, usable=not lost) for at in range(3)]
    rows += [node(f"b{at}", "h20", "s2-2/s1-2", free=0) for at in range(3)]
    barred = {row.name: "of failed health" for row in rows if not row.usable}
    return rows, Facts(barred=barred, lost=frozenset(barred))


def situation(*, lost: bool, watched: frozenset[str] = frozenset()) -> Situation:
    rows, facts = fleet(lost=lost)
    tenants = {one.name: one for one in (holding("gold", 9, "a", 3), holding("lead", 1, "b", 3))}
    wished = {name: one.counts for name, one in tenants.items()}
    return Situation(rows, tenants, facts, watched=watched, wished=wished)


def test_lower_priorities_give_what_a_lost_domain_took() -> None:
    # lead holds 3 pairs, its least is 1: 2 pairs of 8 GPUs go back, for 2 of the 3 gold lost.
    (shrink,) = [one for one in advise(situation(lost=True), []) if one.kind == "shrink"]
    (given,) = shrink.shrinks
    assert (given["service"], given["before"], given["after"]) == (
        "lead",
        {"prefill": 3, "decode": 3},
        {"prefill": 1, "decode": 1},
    )
    assert shrink.service == "gold"
    assert "Even then there is no room for gold (prefill 1, decode 1)." in shrink.sentence


def test_what_is_lost_is_told_with_its_node_and_reason() -> None:
    (told,) = [one for one in advise(situation(lost=True), []) if one.kind == "replace"]
    assert not told.asks
    assert "3 prefill instances and 3 decode instances of gold-g1 are lost" in told.sentence


def test_nothing_is_asked_while_nothing_is_lost() -> None:
    assert advise(situation(lost=False), []) == []


def test_a_service_that_is_only_observed_gives_nothing_and_gets_nothing() -> None:
    assert not [
        one for one in advise(situation(lost=True, watched=frozenset({"lead"})), []) if one.asks
    ]


def test_a_service_gives_no_more_than_people_let_it() -> None:
    # lead holds 3 pairs: with a floor of 2 it gives 1, with one of 3 nothing.
    held = {}
    for floor in (2, 3):
        now = replace(situation(lost=True), floors={"lead": Instances(floor, floor)})
        held[floor] = [one for one in advise(now, []) if one.asks]
    assert [one["after"] for one in held[2][0].shrinks] == [{"prefill": 2, "decode": 2}]
    assert held[3] == []
