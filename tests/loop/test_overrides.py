"""Overrides in the loop: what they hold, what they leave when they end, and what stays unsent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controller import loop
from controller.core.lifecycle import ActionState
from controller.core.overrides import OverrideKind
from controller.models import Action, Decision, Override, Proposal, ServiceStatus, Tick
from controller.models.clock import database_now
from controller.services import actions, freezes, leadership, overriding
from inventory.models import Node, RoleSpec, Service
from tests.clusters import Cluster
from tests.factories import make_cluster, make_hardware, make_nodes, make_service
from tests.services.people import person
from tests.sources import HEALTHY, ArraySource

SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)
BUSY = {**HEALTHY, "decode_tps": 6000.0}
"""2 prefill and 4 decode instances become 3 and 6."""

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def tick(*busy: str) -> loop.Report:
    """Run one tick, a period after the last, in which some services want more."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("test", seconds=60)
    assert lease is not None
    source = ArraySource(values=dict.fromkeys(busy, BUSY))
    return loop.run(lease, source_of=lambda _: source, settings=SETTINGS)


def place(kind: str, scope: overriding.Scope, **values: Any) -> Override:
    return overriding.place(
        OverrideKind(kind),
        scope,
        values,
        ends_at=database_now() + HOUR,
        reason="load test",
        user=person(f"{kind}-{Override.objects.count()}", "Operator"),
    )


def force(kind: str, service: Service, values: object) -> Override:
    """Write an override that no service would let through."""
    now = database_now()
    return Override.objects.create(
        service=service, kind=kind, values=values, reason="x", by_name="ana",
        made_at=now, starts_at=now - HOUR, ends_at=now + HOUR,
    )  # fmt: skip


def over() -> None:
    """Let the time of every override be over."""
    now = database_now()
    Override.objects.update(starts_at=now - HOUR, ends_at=now - timedelta(seconds=1))


def newest(service: Service) -> Decision:
    return Decision.objects.filter(service=service).latest("seq")


def final(service: Service) -> tuple[int, int]:
    row = newest(service)
    return row.final_prefill, row.final_decode


def test_bounds_hold_a_service_and_leave_its_limits_as_they_were_s1() -> None:
    """Product, expiry: the original bounds are intact, the policy's, and nothing jumps."""
    chat = make_service("chat", mode="automatic")
    before = list(RoleSpec.objects.order_by("pk").values("minimum", "maximum"))
    made = place("bounds", chat, decode_max=5)
    tick("chat")
    assert final(chat)[1] == 5
    (told,) = newest(chat).terms["overrides"]
    assert (told["id"], told["by"], told["binding"]) == (made.pk, made.by_name, True)
    assert (told["wanted"]["decode"], told["held"]["decode"]) == (6, 5)
    assert newest(chat).terms["limits"]["maximum"]["decode"] == 5
    assert f"set by {made.by_name} until" in newest(chat).sentence
    made.refresh_from_db()
    assert made.bound_at is not None

    over()
    Action.objects.all().delete()
    tick("chat")
    assert final(chat)[1] == 6
    assert "overrides" not in newest(chat).terms
    assert list(RoleSpec.objects.order_by("pk").values("minimum", "maximum")) == before


def test_after_a_pin_the_counts_come_back_in_steps_s3() -> None:
    chat = make_service("chat", mode="automatic", policy={"step_abs": 1, "step_out_frac": 0.25})
    place("pin", chat, prefill=2, decode=4)
    tick("chat")
    assert (final(chat), newest(chat).code) == ((2, 4), "PINNED")
    assert not Action.objects.exists()
    over()
    tick("chat")
    # 6 are wanted; a quarter of 4, and at least one, is one.
    assert final(chat)[1] == 5


def test_after_a_freeze_it_watches_first_and_then_acts_in_steps_a09_s3() -> None:
    chat = make_service("chat", mode="automatic", policy={"step_abs": 1, "step_out_frac": 0.25})
    freezes.freeze(about=None, user=person("ana"), reason="incident")
    tick("chat")
    assert newest(chat).code == "FROZEN"

    freezes.resume(about=None, user=person("ben"), reason="fixed")
    tick("chat")
    assert newest(chat).code == "ADVISORY_ONLY"
    assert "Advisory only, set by ben until" in newest(chat).sentence
    assert not Action.objects.exists()
    assert not Proposal.objects.exists()

    over()
    tick("chat")
    # 6 are wanted; a quarter of 4, and at least one, is one.
    assert Action.objects.get().to_decode == 5


def test_a_ratio_steers_and_says_so_s17() -> None:
    """6 decode of its own 0.5 would take 3 prefill; under a third they take 2."""
    chat = make_service("chat", mode="automatic")
    made = place("ratio", chat.cluster, min=0.3, max=0.36)
    tick("chat")
    row = newest(chat)
    (told,) = row.terms["overrides"]
    assert (told["id"], told["binding"]) == (made.pk, True)
    assert (told["wanted"]["prefill"], told["held"]["prefill"]) == (3, 2)
    assert f"kept in 0.3 to 0.36, set by {made.by_name} until" in row.sentence
    made.refresh_from_db()
    assert made.bound_at is not None


def test_an_override_that_binds_nothing_is_told_so() -> None:
    chat = make_service("chat", mode="automatic")
    made = place("bounds", chat, decode_max=30)
    tick("chat")
    (told,) = newest(chat).terms["overrides"]
    assert not told["binding"]
    made.refresh_from_db()
    assert made.bound_at is None


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        pytest.param("bounds", {"decode_min": 9, "decode_max": 3}, id="9 > 3"),
        pytest.param("ratio", {"min": 0, "max": 0}, id="ratio 0"),
        pytest.param("pin", {"prefill": "two"}, id="a word"),
        pytest.param("pin", [], id="a list"),
        pytest.param("hover", {}, id="no such kind"),
    ],
)
def test_a_row_forced_into_the_database_stops_no_tick_a10_s24(kind: str, values: object) -> None:
    chat, code = make_service("chat", mode="automatic"), make_service("code", mode="automatic")
    force(kind, chat, values)
    tick("chat", "code")
    assert final(chat) == final(code) == (3, 6)
    assert "ana" in newest(chat).sentence
    assert "ana" not in newest(code).sentence


def test_advisory_makes_no_action_and_sends_none_that_was_recorded_s17() -> None:
    chat, cluster = make_service("chat", mode="automatic"), Cluster()
    tick("chat")
    action = Action.objects.get()
    place("advisory", chat.cluster)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []
    tick("chat")
    assert (Action.objects.count(), newest(chat).mode, newest(chat).gate) == (
        1,
        "observe",
        "record",
    )


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda _: place("out_only", None), id="a new one over the fleet"),
        pytest.param(lambda chat: place("bounds", chat, decode_max=30), id="a new one over it"),
    ],
)
def test_a_recorded_action_is_cancelled_when_overrides_changed_a03(
    change: Callable[[Service], object],
) -> None:
    chat, cluster = make_service("chat", mode="automatic"), Cluster()
    tick("chat")
    action = Action.objects.get()
    change(chat)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    action.refresh_from_db()
    assert "overrides of the service have changed" in action.error
    assert cluster.writes == []


def test_an_approval_is_stale_once_an_override_rules_a03() -> None:
    chat = make_service("chat", mode="approve")
    tick("chat")
    proposal = Proposal.objects.get()
    approve(proposal)
    place("bounds", chat, decode_max=30)
    start = actions.start_approved(proposal.pk)
    proposal.refresh_from_db()
    assert (start.action, proposal.state) == (None, "stale")
    assert "an override" in start.refused
    assert not Action.objects.exists()


def test_an_approval_under_an_override_runs_while_it_rules_and_not_after() -> None:
    chat = make_service("chat", mode="approve")
    place("bounds", chat, decode_max=5)
    tick("chat")
    proposal = Proposal.objects.get()
    approve(proposal)
    start = actions.start_approved(proposal.pk)
    assert start.action is not None
    over()
    cluster = Cluster()
    assert actions.run(start.action, actuator_of=cluster.of) == ActionState.CANCELLED


def approve(proposal: Proposal) -> None:
    proposal.decided_by = person("ben")
    proposal.decided_at = database_now()
    proposal.state = "approved"
    proposal.save()


def test_overrides_add_one_query_to_a_tick_however_many_there_are() -> None:
    chat = make_service("chat")
    tick()
    with CaptureQueriesContext(connection) as without:
        tick()
    for kind in ("out_only", "advisory"):
        place(kind, chat.cluster)
    place("out_only", chat)
    tick()
    with CaptureQueriesContext(connection) as queries:
        tick()
    assert len(queries) - len(without) == 1, "the members of the cluster"


@pytest.fixture
def nodes() -> list[Node]:
    """Two nodes of eight GPUs under one S1."""
    return make_nodes(make_cluster(), make_hardware(), 2)


def places(service: Service) -> set[str]:
    action = Action.objects.get(service=service)
    return {node for one in action.placement["places"] for node in one["nodes"]}


def test_nothing_new_is_placed_on_an_excluded_node(nodes: list[Node]) -> None:
    chat, code = make_service("chat", mode="automatic"), make_service("code", mode="automatic")
    place("exclude", chat, what="node", name=nodes[0].name)
    tick("chat", "code")
    assert all(node.endswith(nodes[1].name) for node in places(chat))
    assert any(node.endswith(nodes[0].name) for node in places(code)), "others notice nothing"


def test_a_refusal_names_the_exclusion(nodes: list[Node]) -> None:
    chat, code = make_service("chat", mode="automatic"), make_service("code", mode="automatic")
    made = place("exclude", chat, what="hardware", name=nodes[0].hardware.slug)
    tick("chat", "code")
    assert final(chat) == (2, 4)
    assert f"2 are excluded by {made.by_name} until" in newest(chat).sentence
    assert newest(chat).terms["overrides"][0]["binding"]
    assert final(code) == (3, 6)
    assert ServiceStatus.objects.count() == 2
