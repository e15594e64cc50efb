"""What would help, as proposals: replacements, room, shrunk services, pairs brought together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.core.fleet import Level, NodeRow
from controller.core.placement.advice import Advice, advise, services_of
from controller.core.placement.layout import Facts
from controller.core.placement.preview import Situation
from controller.core.placement.values import Affinity, Held, Request, Tenant
from controller.core.types import Instances, Role
from tests.core.placement.tenants import IN_S1, need


def row(name: str, s1: str, *, free: int = 8, usable: bool = True) -> NodeRow:
    return NodeRow(f"eu/{name}", "eu", s1[:4], s1, "", "h20", gpus=8, free=free, usable=usable)


def one(name: str, node: str, gpus: int = 4, group: str = "g1") -> Held:
    role = Role.PREFILL if "-p" in name else Role.DECODE
    return Held(name, role, group, ((f"eu/{node}", gpus),))


def service(name: str, *held: Held, gpus: int = 4, **terms: object) -> Tenant:
    fields = {"roles": {role: need(gpus, "h20") for role in Role}, "held": held} | terms
    return Tenant(name, **{"affinity": IN_S1, "cluster": "eu"} | fields)  # type: ignore[arg-type]


def seen(rows: list[NodeRow], *tenants: Tenant, watched: tuple[str, ...] = ()) -> Situation:
    lost = frozenset(row.name for row in rows if not row.usable)
    facts = Facts(barred=dict.fromkeys(lost, "of failed health"), lost=lost)
    return Situation(rows, {one.name: one for one in tenants}, facts, watched=frozenset(watched))


def only(found: list[Advice]) -> Advice:
    (advice,) = found
    return advice


LOST = service("chat", one("chat-p-1", "a0"), one("chat-d-1", "a1"))
"""A pair under one S1, of which a test takes a node away."""


def test_what_is_lost_comes_back_within_its_domain_i08() -> None:
    rows = [row("a0", "s2-1/s1-a", free=4, usable=False), row("a1", "s2-1/s1-a", free=4)]
    rows += [row("a2", "s2-1/s1-a"), row("b0", "s2-1/s1-b")]
    advice = only(advise(seen(rows, LOST), []))
    assert (advice.kind, advice.service, advice.key) == ("replace", "chat", "replace:chat")
    assert (advice.is_repair, advice.asks) == (True, True)
    (move,) = advice.moves
    assert move["instance"] == "chat-p-1"
    assert (move["from_nodes"], move["cluster"]) == ({"a0": 4}, "eu")
    assert move["to_nodes"].keys() <= {"a1", "a2"}, "under the same S1"
    assert advice.sentence == ("Replace 1 prefill instance of chat on a0 within their domain.")
    assert advice.cost["gpus"] == 4


def test_a_domain_without_room_refuses_and_offers_the_whole_group_i08() -> None:
    rows = [row("a0", "s2-1/s1-a", free=4, usable=False), row("a1", "s2-1/s1-a", free=0)]
    rows += [row("b0", "s2-1/s1-b")]
    advice = only(advise(seen(rows, LOST), []))
    assert {move["instance"] for move in advice.moves} == {"chat-p-1", "chat-d-1"}
    assert all(move["to_nodes"] == {"b0": 4} for move in advice.moves)
    assert not advice.is_repair, "what serves is moved only if a person says so"
    assert "Move the whole group of chat instead" in advice.sentence


def test_where_nothing_has_room_the_reason_is_told_and_nothing_asked_i08() -> None:
    rows = [row("a0", "s2-1/s1-a", free=4, usable=False), row("a1", "s2-1/s1-a", free=0)]
    advice = only(advise(seen(rows, LOST), []))
    assert (advice.asks, advice.is_repair) == (False, False)
    assert advice.sentence.startswith("Nothing replaces what chat lost: ")


FULL = [
    row("a0", "s2-1/s1-a", free=4),
    row("a1", "s2-1/s1-a", free=4),
    row("b0", "s2-1/s1-b", free=0),
]
ASKS = Request("big", Instances(0, 1))
BIG = service("big", gpus=8)
IN_THE_WAY = service("code", one("code-d-1", "a0"), one("code-d-2", "a1", group="g2"))


def test_moves_make_room_for_what_was_refused() -> None:
    advice = only(advise(seen(FULL, BIG, IN_THE_WAY), [ASKS]))
    assert (advice.kind, advice.service) == ("room", "big")
    assert services_of(advice.body) == ["code"]
    assert advice.gain["instances"] == 1
    assert advice.gain["whole_nodes"] == {"before": 0, "after": 1}
    assert not advice.is_repair
    assert advice.sentence.startswith(
        "Move 1 decode instance of code, so that 1 more instances of big fit."
    )


def test_nothing_of_an_observed_service_is_moved_s17() -> None:
    assert advise(seen(FULL, BIG, IN_THE_WAY, watched=("code",)), [ASKS]) == []


def test_nothing_is_moved_where_the_cluster_moves_nobody_by_name() -> None:
    fixed = replace(seen(FULL, BIG, IN_THE_WAY), fixed=frozenset({"code"}))
    assert advise(fixed, [ASKS]) == []


LOW = service(
    "low", one("low-d-1", "a0"), one("low-d-2", "a0"), one("low-d-3", "a1"), least=Instances(0, 1)
)
HIGH = service("high", priority=5)
TAKEN = [row("a0", "s2-1/s1-a", free=0), row("a1", "s2-1/s1-a", free=0)]


def test_a_lower_priority_gives_way_down_to_its_minimum_i10() -> None:
    advice = only(advise(seen(TAKEN, HIGH, LOW), [Request("high", Instances(1, 1))]))
    assert (advice.kind, advice.service, advice.moves) == ("shrink", "high", ())
    (shrunk,) = advice.shrinks
    assert (shrunk["service"], shrunk["before"]) == ("low", {"prefill": 0, "decode": 3})
    assert shrunk["after"] == {"prefill": 0, "decode": 1}, "not below its minimum of 1"
    assert advice.cost == {"instances": 2, "gpus": 8}
    assert advice.gain == {"services": ["high"], "instances": 2}
    assert advice.sentence.startswith("Shrink low decode 3 → 1")


def test_nothing_of_an_observed_service_is_shrunk_s17() -> None:
    found = advise(seen(TAKEN, HIGH, LOW, watched=("low",)), [Request("high", Instances(1, 1))])
    assert found == []


@pytest.mark.parametrize("priority", [0, 5])
def test_a_priority_no_lower_does_not_give_way(priority: int) -> None:
    same = replace(LOW, priority=priority)
    asks = replace(HIGH, priority=min(priority, 5))
    assert advise(seen(TAKEN, asks, same), [Request("high", Instances(1, 1))]) == []


APART = service("chat", one("chat-p-1", "a0"), one("chat-d-1", "b0"), affinity=Affinity(Level.S2))


def test_pairs_are_brought_together_only_while_nothing_is_missing() -> None:
    rows = [row("a0", "s2-1/s1-a", free=4), row("b0", "s2-1/s1-b", free=4)]
    advice = only(advise(seen(rows, APART), []))
    assert (advice.kind, advice.gain["pairs"], advice.is_repair) == ("together", 1, False)
    lost = [*rows, row("z0", "s2-1/s1-z", free=4, usable=False)]
    other = service("other", one("other-p-1", "z0"))
    kinds = {one.kind for one in advise(seen(lost, APART, other), [])}
    assert kinds == {"replace"}


def test_a_request_of_a_service_that_is_not_placed_is_left_out() -> None:
    assert advise(seen(FULL, BIG), [Request("gone", Instances(1, 1))]) == []
