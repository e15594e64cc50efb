"""Moves and shrunk services: asked for once, decided by a person, carried out in steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import django_rq
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from django.test import Client
from redis.exceptions import ConnectionError as BrokerError

from controller import tasks
from controller.core.placement.advice import Advice
from controller.core.placement.values import Request
from controller.core.types import Instances
from controller.models import (
    Action,
    AuditEvent,
    Freeze,
    Override,
    Rearrangement,
    ServiceStatus,
)
from controller.models.clock import database_now
from controller.selectors.situation import situation
from controller.services import actions, freezes, overriding, placing, rearranging
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from inventory.models import Binding, LocalityDomain, Node, Service
from inventory.touched import touched
from tests.clusters import Cluster
from tests.factories import (
    make_action,
    make_binding,
    make_cluster,
    make_hardware,
    make_nodes,
    make_service,
    observe,
)
from tests.loop.test_freezing import away
from tests.pages.reading import reading
from tests.services.people import at_once, person

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def queue_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test go on by itself: nobody answers at the queue."""

    def refuse(_name: str) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr(django_rq, "get_queue", refuse)


@pytest.fixture
def nodes() -> list[Node]:
    return make_nodes(make_cluster(), make_hardware(), 3)


def instance(name: str, at: int, service: str = "chat") -> dict[str, str]:
    role = "prefill" if "-p-" in name else "decode"
    node = f"h800-{at:03}"
    return {"name": name, "role": role, "group": f"{service}-g1", "node": node, "state": "ready"}


def make_placed(slug: str, at: int, *, mode: str = "approve", **fields: Any) -> Service:
    """Return a service whose one prefill and one decode instance run on one node."""
    service = make_service(slug, mode=mode, **fields)
    observe(service, instance(f"{slug}-p-1", at, slug), instance(f"{slug}-d-1", at, slug))
    ServiceStatus.objects.filter(service=service).update(
        prefill_desired=1, prefill_ready=1, decode_desired=1, decode_ready=1
    )
    return service


def move(service: str = "chat", to: int = 1, *, name: str = "d-1") -> dict[str, Any]:
    return {
        "service": service,
        "instance": f"{service}-{name}",
        "role": "decode",
        "group": f"{service}-g1",
        "from_nodes": {"h800-000": 2},
        "to_nodes": {f"h800-{to:03}": 2},
        "cluster": "eu-1-a",
    }


def shrink(service: str = "low", before: int = 4, after: int = 1) -> dict[str, Any]:
    gone = [
        {
            "instance": f"{service}-d-{at}", "role": "decode", "group": f"{service}-g1",
            "nodes": {"h800-000": 2}, "why": "the youngest",
        }
        for at in range(before - after)
    ]  # fmt: skip
    return {
        "service": service,
        "before": {"prefill": 2, "decode": before},
        "after": {"prefill": 2, "decode": after},
        "removals": gone,
    }


def advice(*moves: Mapping[str, Any], kind: str = "room", **fields: Any) -> Advice:
    given = {
        "service": "chat",
        "sentence": "Move 1 decode instance of chat.",
        "gain": {"instances": 1},
        "cost": {"instances": len(moves), "gpus": 2},
    } | fields
    return Advice(kind, moves=tuple(moves), **given)  # type: ignore[arg-type]


def asked(*moves: Mapping[str, Any], **fields: Any) -> Rearrangement:
    """Return moves that wait for a person."""
    rearranging.keep_up([advice(*moves or [move()], **fields)], version=1)
    return Rearrangement.objects.get(state="pending")


def approved(*moves: Mapping[str, Any], by: str = "ana", **fields: Any) -> Rearrangement:
    row = asked(*moves, **fields)
    user = User.objects.filter(username=by).first() or person(by)
    return rearranging.approve(row.pk, user=user, version=row.version)


def older(row: Rearrangement, by: timedelta) -> None:
    """Let time pass for moves."""
    for field in ("evidence_at", "expires_at", "decided_at", "closed_at"):
        was: datetime | None = getattr(row, field)
        if was is not None:
            setattr(row, field, was - by)
    row.save()


def now_of(row: Rearrangement) -> tuple[str, str]:
    row.refresh_from_db()
    return row.state, row.closed_reason


def test_moves_are_proposed_and_told_to_the_audit(nodes: list[Node]) -> None:
    service = make_placed("chat", 0)
    row = asked()
    assert (row.kind, row.key, row.service) == ("room", "room:chat", service)
    assert row.body == {"moves": [move()], "shrinks": []}
    assert row.touched == touched(["eu-1-a/h800-001"])
    assert row.expires_at - row.created_at == rearranging.OPEN_FOR
    assert AuditEvent.objects.get().verb == "proposed moves"
    assert nodes


@pytest.mark.usefixtures("nodes")
def test_the_same_is_confirmed_and_other_moves_are_another_version() -> None:
    make_placed("chat", 0)
    row = asked()
    older(row, timedelta(seconds=30))
    again = asked()
    assert (again.pk, again.version) == (row.pk, 1)
    assert again.evidence_at > row.evidence_at
    assert again.expires_at > row.expires_at
    changed = asked(move(to=2), sentence="Elsewhere.")
    assert (changed.pk, changed.version, changed.sentence) == (row.pk, 2, "Elsewhere.")


def test_other_nodes_under_the_moves_are_another_version_s20(nodes: list[Node]) -> None:
    make_placed("chat", 0)
    asked()
    Node.objects.filter(pk=nodes[2].pk).update(gpus=4)
    assert asked().version == 2


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("late", "state"),
    [
        pytest.param(timedelta(seconds=80), "pending", id="80 s: somebody may be reading"),
        pytest.param(timedelta(seconds=100), "superseded", id="100 s: over 90"),
        pytest.param(timedelta(minutes=31), "expired", id="31 min: over 30"),
    ],
)
def test_what_nobody_asks_for_ends_after_a_while_l7(late: timedelta, state: str) -> None:
    make_placed("chat", 0)
    row = asked()
    older(row, late)
    rearranging.keep_up([], version=1)
    assert now_of(row)[0] == state
    assert bool(row.closed_at) is (state != "pending")


@pytest.mark.usefixtures("nodes")
def test_what_was_rejected_is_not_asked_for_an_hour() -> None:
    make_placed("chat", 0)
    row = asked()
    rearranging.reject(row.pk, user=person("ana"), version=1, reason="not now")
    rearranging.keep_up([advice(move()), advice(move(), kind="together")], version=1)
    assert set(Rearrangement.objects.values_list("kind", "state")) == {
        ("room", "rejected"),
        ("together", "pending"),
    }
    row.refresh_from_db()
    older(row, timedelta(minutes=61))
    rearranging.keep_up([advice(move())], version=1)
    assert Rearrangement.objects.filter(kind="room", state="pending").count() == 1


@pytest.mark.usefixtures("nodes")
def test_what_is_decided_is_left() -> None:
    make_placed("chat", 0)
    row = approved()
    rearranging.keep_up([advice(move(to=2))], version=2)
    row.refresh_from_db()
    assert (row.state, row.version, row.body["moves"]) == ("approved", 1, [move()])
    assert Rearrangement.objects.count() == 1


@pytest.mark.usefixtures("nodes")
def test_what_can_no_longer_be_moved_is_not_left_to_be_approved() -> None:
    make_placed("chat", 0)
    row = asked(kind="replace")
    rearranging.keep_up([advice(kind="replace", sentence="No room.")], version=1)
    assert now_of(row) == ("superseded", "Nothing can be moved any more. No room.")


@pytest.mark.usefixtures("nodes")
def test_a_service_deleted_meanwhile_stops_no_other_s24() -> None:
    make_placed("chat", 0)
    rearranging.keep_up([advice(move(), service="gone"), advice(move())], version=1)
    assert Rearrangement.objects.get().service.slug == "chat"


REPAIR = replace(advice(move(), kind="replace"), is_repair=True)


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("mode", "change", "state"),
    [
        pytest.param("automatic", {}, "approved", id="lost-and-automatic"),
        pytest.param("approve", {}, "pending", id="a-person-decides"),
        pytest.param("observe", {}, "pending", id="only-observed"),
        pytest.param("automatic", {"is_repair": False}, "pending", id="the-whole-group"),
        pytest.param("automatic", {"kind": "room", "is_repair": False}, "pending", id="room"),
    ],
)
def test_who_is_asked_s17_s18(mode: str, change: dict[str, Any], state: str) -> None:
    make_placed("chat", 0, mode=mode)
    rearranging.keep_up([replace(REPAIR, **change)], version=1)
    row = Rearrangement.objects.get()
    assert (row.state, row.decided_by) == (state, None)
    if state == "approved":
        assert row.decided_reason == rearranging.BY_RULE
        assert list(AuditEvent.objects.order_by("pk").values_list("verb", flat=True)) == [
            "proposed moves",
            "approved",
        ]


@pytest.mark.usefixtures("nodes")
def test_frozen_nothing_goes_by_rule_until_it_is_lifted_s16() -> None:
    make_placed("chat", 0, mode="automatic")
    freeze = Freeze.objects.create(
        service=None, by_name="ana", reason="stop", since=database_now()
    )
    for _ in range(3):
        rearranging.keep_up([REPAIR], version=1)
        rearranging.advance()
    row = Rearrangement.objects.get()
    assert row.state == "pending", "one row, however long it lasts"
    freeze.ended_at = database_now()
    freeze.save()
    rearranging.keep_up([REPAIR], version=1)
    assert now_of(row)[0] == "approved"


@pytest.mark.usefixtures("nodes")
def test_what_failed_by_rule_is_a_persons_to_decide_for_a_while() -> None:
    make_placed("chat", 0, mode="automatic")
    rearranging.keep_up([REPAIR], version=1)
    rearranging.advance()
    _send(Cluster(trouble=["refused"]))
    rearranging.advance()
    failed = Rearrangement.objects.get()
    assert failed.state == "failed"
    rearranging.keep_up([REPAIR], version=1)
    row = Rearrangement.objects.get(state="pending")
    older(failed, timedelta(minutes=11))
    rearranging.keep_up([REPAIR], version=1)
    assert now_of(row)[0] == "approved"


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_another_mode_since_stops_it(mode: str) -> None:
    make_placed("chat", 0, mode="automatic")
    rearranging.keep_up([REPAIR], version=1)
    Service.objects.update(mode=mode)
    rearranging.advance()
    row = Rearrangement.objects.get()
    assert now_of(row) == ("stale", "The service is no longer in mode automatic.")
    assert not Action.objects.exists()


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("mode", ["observe", "approve"])
def test_another_mode_before_it_is_sent_stops_it_s17(mode: str) -> None:
    make_placed("chat", 0, mode="automatic")
    rearranging.keep_up([REPAIR], version=1)
    rearranging.advance()
    Service.objects.update(mode=mode)
    cluster = Cluster(desired=Instances(1, 1))
    assert _send(cluster) == ["cancelled"]
    assert cluster.writes == []
    assert not Binding.objects.filter(action__isnull=False, released_at=None).exists()


@pytest.mark.usefixtures("nodes")
def test_an_approval_counts_once_and_is_told() -> None:
    make_placed("chat", 0)
    row, ana = asked(), person("ana")
    done = rearranging.approve(row.pk, user=ana, version=1, reason="go")
    again = rearranging.approve(row.pk, user=ana, version=1)
    assert (done.state, again.decided_at, again.decided_reason) == (
        "approved",
        done.decided_at,
        "go",
    )
    event = AuditEvent.objects.get(verb="approved")
    assert (event.actor, event.after["body"]) == ("ana", row.body)


@pytest.mark.usefixtures("nodes")
def test_a_rejection_needs_a_reason_and_ends_it() -> None:
    make_placed("chat", 0)
    row, ana = asked(), person("ana")
    with pytest.raises(InvalidError):
        rearranging.reject(row.pk, user=ana, version=1, reason=" ")
    done = rearranging.reject(row.pk, user=ana, version=1, reason="not now")
    assert (done.state, done.closed_reason) == ("rejected", "Rejected by ana: not now")
    with pytest.raises(ConflictError, match="ana rejected this"):
        rearranging.approve(row.pk, user=person("ben"), version=1)


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("act", [rearranging.approve, rearranging.reject])
def test_without_the_right_nothing_is_decided(act: Any) -> None:
    make_placed("chat", 0)
    row = asked()
    with pytest.raises(ForbiddenError):
        act(row.pk, user=person("vic", "Viewer"), version=1, reason="because")
    assert now_of(row)[0] == "pending"


def test_what_is_not_there_is_said_so() -> None:
    with pytest.raises(MissingError, match="no proposal of moves 7"):
        rearranging.approve(7, user=person("ana"), version=1)


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("change", "version", "words"),
    [
        pytest.param({"version": 2}, 1, "The controller changed the moves", id="changed"),
        pytest.param({"state": "superseded"}, 1, "These moves are superseded", id="ended"),
        pytest.param({"expires_at": "2000-01-01T00:00Z"}, 1, "Expired at 01 Jan", id="expired"),
        pytest.param({}, 2, "The controller changed the moves", id="a-version-nobody-saw"),
    ],
)
def test_who_comes_too_late_reads_why_a01(
    change: dict[str, Any], version: int, words: str
) -> None:
    make_placed("chat", 0)
    row = asked()
    Rearrangement.objects.update(**change)
    with pytest.raises(ConflictError, match=words):
        rearranging.approve(row.pk, user=person("ana"), version=version)
    assert not Rearrangement.objects.filter(state="approved").exists()


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("fleet", [True, False])
def test_frozen_nothing_is_approved_and_may_be_rejected_s16(fleet: bool) -> None:  # noqa: FBT001
    service = make_placed("chat", 0)
    row, ana = asked(), person("ana")
    Freeze.objects.create(
        service=None if fleet else service, by_name="ben", reason="x", since=database_now()
    )
    with pytest.raises(ConflictError, match=r"Frozen .* by ben: x"):
        rearranging.approve(row.pk, user=ana, version=1)
    assert rearranging.reject(row.pk, user=ana, version=1, reason="x").state == "rejected"


@pytest.mark.django_db(transaction=True)
def test_of_two_answers_at_once_one_counts_a01() -> None:
    make_nodes(make_cluster(), make_hardware(), 3)
    make_placed("chat", 0)
    row, ana, ben = asked(), person("ana"), person("ben")
    given = at_once(
        lambda: rearranging.approve(row.pk, user=ana, version=1),
        lambda: rearranging.reject(row.pk, user=ben, version=1, reason="no"),
    )
    assert sorted(isinstance(one, ConflictError) for one in given) == [False, True]
    assert AuditEvent.objects.filter(verb__in=("approved", "rejected")).count() == 1


def _send(cluster: Cluster) -> list[str]:
    """Bind and send what is recorded; returns what became of it."""
    placing.place_due(situation)
    waiting = Action.objects.filter(state="recorded").order_by("recorded_at")
    return [str(actions.run(each.pk, actuator_of=cluster.of)) for each in waiting]


def _settled(*services: str) -> None:
    """Let clusters report that everything serves where it should, a while later."""
    later = database_now() + timedelta(seconds=2)
    ServiceStatus.objects.filter(service__slug__in=services).update(observed_at=later)
    actions.follow(later)


def test_the_new_place_is_bound_before_the_order_s19(nodes: list[Node]) -> None:
    make_placed("chat", 0)
    row = approved()
    rearranging.advance()
    action = Action.objects.get()
    assert now_of(row)[0] == "applying"
    assert (action.actor, action.rearrangement, action.is_bound) == ("ana", row, False)
    assert (action.from_decode, action.to_decode) == (1, 1)

    assert placing.place_due(situation) == [action.pk]
    new = Binding.objects.get(action=action.pk)
    assert (new.node, new.place, new.state) == (nodes[1], "chat-d-1 moved", "held")
    cluster = Cluster(desired=Instances(1, 1))
    assert actions.run(action.pk, actuator_of=cluster.of) == "applied"
    (sent,) = cluster.orders[0].moves
    assert (sent.instance, sent.spot.nodes) == ("chat-d-1", (("h800-001", 2),))


def test_the_old_place_is_let_go_after_the_new_instance_serves_s19(nodes: list[Node]) -> None:
    service = make_placed("chat", 0)
    old = make_binding(service, nodes[0], 4, 6, instance="chat-d-1")
    row = approved()
    rearranging.advance()
    assert _send(Cluster(desired=Instances(1, 1))) == ["applied"]
    _settled("chat")
    rearranging.advance()
    assert now_of(row)[0] == "applying", "it is still where it was"
    old.refresh_from_db()
    assert old.released_at is None, "both are held while both run"

    later = database_now() + timedelta(seconds=5)
    observe(service, instance("chat-p-1", 0), instance("chat-d-2", 1), at=later)
    tasks.place()
    new = Binding.objects.get(instance="chat-d-2")
    old.refresh_from_db()
    assert old.released_at is not None
    assert (new.node, new.state, new.released_at) == (nodes[1], "running", None)
    actions.follow(later)
    rearranging.advance()
    assert now_of(row) == ("applied", "")


@pytest.mark.usefixtures("nodes")
def test_one_change_a_service_at_a_time_s11() -> None:
    chat, code = make_placed("chat", 0), make_placed("code", 0)
    other = make_action(chat, state="sent", sent_at=database_now())
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    assert [one.service for one in row.actions.all()] == [code]
    rearranging.advance()
    assert row.actions.count() == 1, "each step once"
    Action.objects.filter(pk=other.pk).update(state="failed", ended_at=database_now())
    rearranging.advance()
    assert {one.service for one in row.actions.all()} == {chat, code}


@pytest.mark.usefixtures("nodes")
def test_it_is_applied_when_all_are_ready() -> None:
    make_placed("chat", 0), make_placed("code", 0)
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    first, second = row.actions.all()
    Action.objects.filter(pk=first.pk).update(state="ready", ended_at=database_now())
    rearranging.advance()
    assert now_of(row)[0] == "applying"
    Action.objects.filter(pk=second.pk).update(state="ready", ended_at=database_now())
    rearranging.advance()
    assert now_of(row) == ("applied", "")


@pytest.mark.usefixtures("nodes")
def test_a_step_that_fails_ends_it_in_words_and_the_rest_is_not_begun() -> None:
    make_placed("chat", 0)
    busy = make_action(make_placed("code", 0), state="sent", sent_at=database_now())
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    assert _send(Cluster(trouble=["refused"])) == ["failed"]
    Action.objects.filter(pk=busy.pk).update(state="failed", ended_at=database_now())
    rearranging.advance()
    assert now_of(row) == (
        "failed",
        "chat: The cluster refused: quota exceeded What was moved before stays so.",
    )
    assert row.actions.count() == 1
    assert not Binding.objects.filter(released_at=None, instance="").exists()


@pytest.mark.usefixtures("nodes")
def test_a_step_recorded_before_another_failed_is_not_sent_after() -> None:
    chat, code = make_placed("chat", 0), make_placed("code", 0)
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    placing.place_due(situation)
    Action.objects.filter(service=chat).update(state="failed", ended_at=database_now())
    rearranging.advance()
    assert now_of(row)[0] == "failed"
    cluster, left = Cluster(desired=Instances(1, 1)), Action.objects.get(service=code)
    assert actions.run(left.pk, actuator_of=cluster.of) == "cancelled"
    assert cluster.writes == []


def test_nodes_that_changed_before_it_began_make_it_stale_s20_a03(nodes: list[Node]) -> None:
    make_placed("chat", 0)
    row = approved()
    Node.objects.filter(pk=nodes[1].pk).update(admin_state="cordoned")
    rearranging.advance()
    assert now_of(row) == ("stale", rearranging.CHANGED)
    assert not Action.objects.exists()


def test_nodes_that_changed_before_a_later_step_end_it_s20_i01(nodes: list[Node]) -> None:
    make_placed("chat", 0)
    busy = make_action(make_placed("code", 0), state="sent", sent_at=database_now())
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    Action.objects.filter(pk=busy.pk).update(state="failed", ended_at=database_now())
    Node.objects.filter(pk=nodes[2].pk).update(admin_state="cordoned")
    rearranging.advance()
    assert now_of(row)[0] == "stale"
    assert row.closed_reason.endswith("What was moved before stays so.")
    assert row.actions.count() == 1


@pytest.mark.parametrize("when", ["before it is bound", "before it is sent"])
def test_nodes_that_changed_after_a_step_was_recorded_stop_it_s20_k16(
    nodes: list[Node], when: str
) -> None:
    make_placed("chat", 0)
    row = approved()
    rearranging.advance()
    if when == "before it is sent":
        placing.place_due(situation)
    Node.objects.filter(pk=nodes[1].pk).update(admin_state="cordoned")
    cluster = Cluster(desired=Instances(1, 1))
    _send(cluster)
    assert cluster.writes == []
    assert Action.objects.get().state == "cancelled"
    assert not Binding.objects.filter(released_at=None, instance="").exists()
    rearranging.advance()
    assert now_of(row)[0] == "failed"


def test_a_place_taken_meanwhile_is_told(nodes: list[Node]) -> None:
    make_placed("chat", 0)
    row = approved()
    rearranging.advance()
    make_binding(make_service("other"), nodes[1], 0, 8)
    assert placing.place_due(situation) == []
    rearranging.advance()
    state, said = now_of(row)
    assert state == "failed"
    assert "What it was placed on is taken: h800-001 has 0 free GPUs, not 2." in said


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("disabled", [True, False])
def test_an_approver_who_lost_the_right_makes_it_stale_a04_s18(disabled: bool) -> None:  # noqa: FBT001
    make_placed("chat", 0)
    row = approved()
    _demote("ana", disabled=disabled)
    rearranging.advance()
    assert now_of(row) == ("stale", "ana no longer has the right to approve for chat.")
    assert not Action.objects.exists()


@pytest.mark.usefixtures("nodes")
def test_an_approver_who_lost_the_right_before_it_is_sent_stops_it_a04_s18() -> None:
    make_placed("chat", 0)
    approved()
    rearranging.advance()
    _demote("ana", disabled=False)
    cluster = Cluster(desired=Instances(1, 1))
    assert _send(cluster) == ["cancelled"]
    assert cluster.writes == []


@pytest.mark.usefixtures("nodes")
def test_an_approval_not_begun_in_time_expires() -> None:
    make_placed("chat", 0)
    row = approved()
    older(row, timedelta(minutes=31))
    rearranging.advance()
    assert now_of(row)[0] == "expired"


@pytest.mark.usefixtures("nodes")
def test_a_freeze_after_approval_makes_it_stale_s16_a03() -> None:
    make_placed("chat", 0)
    row = approved()
    Freeze.objects.create(service=None, by_name="ben", reason="x", since=database_now())
    rearranging.advance()
    assert now_of(row) == ("stale", "Frozen (the fleet) by ben: x")


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        ("fleet", "the fleet"),
        ("region", "region eu-1"),
        ("cluster", "cluster eu-1-a"),
        ("service", "code"),
    ],
)
def test_a_freeze_while_moves_are_under_way_lets_no_further_one_begin_a06_s16(
    kind: str, scope: str
) -> None:
    make_placed("chat", 0)
    code = make_placed("code", 0)
    busy = make_action(code, state="sent", sent_at=database_now())
    row = approved(move("chat"), move("code", 2))
    rearranging.advance()
    cluster = Cluster(desired=Instances(1, 1))
    assert _send(cluster) == ["applied"]
    Action.objects.filter(pk=busy.pk).update(state="ready", ended_at=database_now())

    about = {"region": code.cluster.region, "cluster": code.cluster, "service": code}.get(kind)
    freezes.freeze(about=about, user=person("ben"), reason="smoke")
    rearranging.advance()

    told = f"Frozen ({scope}) by ben: smoke What was moved before stays so."
    assert now_of(row) == ("stale", told)
    assert (_send(cluster), len(cluster.writes), row.actions.count()) == ([], 1, 1)


@pytest.mark.usefixtures("nodes")
def test_a_move_recorded_and_not_sent_is_called_off_by_a_freeze_a06_s16() -> None:
    chat = make_placed("chat", 0)
    row = approved()
    rearranging.advance()
    placing.place_due(situation)
    action = Action.objects.get()
    assert (action.state, action.is_bound) == ("recorded", True)

    freezes.freeze(about=chat.cluster, user=person("ben"), reason="smoke")

    cluster = Cluster(desired=Instances(1, 1))
    assert actions.run(action.pk, actuator_of=cluster.of) == "cancelled"
    rearranging.advance()
    assert now_of(row)[0] == "failed"
    assert cluster.writes == []
    assert not Binding.objects.filter(released_at=None, instance="").exists()


@pytest.mark.usefixtures("nodes")
def test_no_move_begins_while_the_freeze_can_not_be_read_a07_s16() -> None:
    make_placed("chat", 0)
    row = approved()
    with away("controller_freeze"), pytest.raises(OperationalError):
        rearranging.advance()
    assert now_of(row)[0] == "approved"
    assert not Action.objects.exists()


@pytest.mark.usefixtures("nodes")
def test_what_is_only_observed_for_a_while_is_replaced_after_it_s17_a09() -> None:
    chat = make_placed("chat", 0, mode="automatic")
    overriding.watch(chat.cluster, after="Resumed", user=person("ben"), reason="fixed")
    rearranging.keep_up([REPAIR], version=1)
    assert Rearrangement.objects.get().state == "pending"
    Override.objects.update(ended_at=database_now())
    rearranging.keep_up([REPAIR], version=1)
    assert Rearrangement.objects.get().state == "approved"


@pytest.mark.usefixtures("nodes")
def test_what_never_gets_its_turn_ends_l2() -> None:
    chat = make_placed("chat", 0)
    make_action(chat, state="sent", sent_at=database_now())
    row = approved()
    rearranging.advance()
    row.refresh_from_db()
    older(row, timedelta(minutes=61))
    rearranging.advance()
    assert now_of(row) == ("failed", "Not done within 60 min: chat had no turn.")


@pytest.mark.usefixtures("nodes")
def test_an_instance_that_is_gone_is_not_moved() -> None:
    service = make_placed("chat", 0)
    row = approved()
    observe(service, instance("chat-p-1", 0))
    rearranging.advance()
    assert now_of(row) == ("failed", "chat-d-1 of chat is no longer there.")


@pytest.mark.usefixtures("nodes")
def test_an_observed_service_is_sent_nothing_though_approved_s17() -> None:
    make_placed("chat", 0)
    approved()
    rearranging.advance()
    Service.objects.update(mode="observe")
    cluster = Cluster(desired=Instances(1, 1))
    assert _send(cluster) == ["cancelled"]
    assert cluster.writes == []


@pytest.mark.usefixtures("nodes")
def test_a_body_gone_wrong_ends_and_the_others_go_on_s24() -> None:
    make_placed("chat", 0), make_placed("code", 0)
    bad = approved()
    good = approved(move("code"), service="code")
    wrong = {"moves": [move() | {"service": "gone"}], "shrinks": []}
    Rearrangement.objects.filter(pk=bad.pk).update(body=wrong)
    rearranging.advance()
    assert now_of(bad)[0] == "failed"
    assert bad.closed_reason.startswith("It can't be carried on: DoesNotExist")
    assert now_of(good)[0] == "applying"
    assert good.actions.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_change_recorded_at_the_same_moment_has_its_turn_first_s11() -> None:
    make_nodes(make_cluster(), make_hardware(), 3)
    chat = make_placed("chat", 0)
    row = approved()
    rearranging._begin(row)
    seen = rearranging.action_of

    def overtaken(*args: Any, **kwargs: Any) -> Action:
        make_action(chat, recorded_at=database_now())
        return seen(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rearranging, "action_of", overtaken)
        rearranging.advance()
    assert now_of(row)[0] == "applying"
    assert row.actions.count() == 0


def _demote(name: str, *, disabled: bool) -> None:
    user = User.objects.get(username=name)
    user.is_active = not disabled
    user.save()
    if not disabled:
        user.groups.clear()


def test_it_is_carried_out_as_approved(nodes: list[Node]) -> None:
    low = make_service("low", mode="approve", limits={"minimum": 1})
    make_service("high", mode="approve", priority=5)
    row = _give_way()
    rearranging.advance()
    action = Action.objects.get()
    assert (action.service, action.from_decode, action.to_decode) == (low, 4, 2)
    assert placing.place_due(situation) == [action.pk], "what goes needs no GPU"
    cluster = Cluster()
    assert actions.run(action.pk, actuator_of=cluster.of) == "applied"
    (order,) = cluster.orders
    assert (order.want, order.leave) == (Instances(2, 2), ("low-d-0", "low-d-1"))
    ServiceStatus.objects.filter(service=low).update(decode_ready=2)
    _settled("low")
    rearranging.advance()
    assert now_of(row) == ("applied", "")
    assert nodes


@pytest.mark.usefixtures("nodes")
def test_counts_that_moved_on_refuse_it() -> None:
    low = make_service("low", mode="approve")
    make_service("high", mode="approve", priority=5)
    row = _give_way()
    ServiceStatus.objects.filter(service=low).update(decode_desired=5)
    rearranging.advance()
    assert now_of(row) == ("failed", "low stands at prefill 2, decode 5 now.")
    assert not Action.objects.exists()


@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("mode", ["approve", "automatic"])
def test_it_never_goes_without_a_person(mode: str) -> None:
    make_service("low", mode=mode)
    make_service("high", mode=mode, priority=5)
    rearranging.keep_up([_gives_way()], version=1)
    rearranging.advance()
    assert Rearrangement.objects.get().state == "pending"
    assert not Action.objects.exists()


def _gives_way() -> Advice:
    return Advice(
        "shrink",
        "high",
        "Shrink low decode 4 → 2, so that high of higher priority fits.",
        shrinks=(shrink(after=2),),
        gain={"services": ["high"], "instances": 2},
        cost={"instances": 2, "gpus": 4},
    )


def _give_way() -> Rearrangement:
    rearranging.keep_up([_gives_way()], version=1)
    row = Rearrangement.objects.get()
    return rearranging.approve(row.pk, user=person("ana"), version=1)


def _advised() -> Sequence[tuple[str, str]]:
    tasks.advise()
    return sorted(Rearrangement.objects.values_list("key", "state"))


def test_an_instance_on_a_failed_node_is_replaced_within_its_domain_i08(
    nodes: list[Node],
) -> None:
    """GPUs of the decode instance's node fail; its partner stays where it is."""
    chat = make_service("chat", affinity_level="s1", affinity_required=True)
    at = database_now() - timedelta(seconds=1)
    observe(chat, instance("chat-p-1", 0), instance("chat-d-1", 1), at=at)
    ServiceStatus.objects.update(
        prefill_desired=1, prefill_ready=1, decode_desired=1, decode_ready=1
    )
    tasks.place()
    Node.objects.filter(pk=nodes[1].pk).update(health="failed")
    assert _advised() == [("replace:chat", "approved")]
    tasks.place()
    action = Action.objects.get()
    (taken,) = action.placement["moves"]
    assert (taken["instance"], action.actor) == ("chat-d-1", "controller")
    assert taken["to_nodes"].keys() <= {"h800-000", "h800-002"}, "under the same S1"
    assert action.is_bound


def test_an_instance_without_room_in_its_domain_stays_lost_i08(nodes: list[Node]) -> None:
    chat = make_service("chat", affinity_level="s1", affinity_required=True)
    at = database_now() - timedelta(seconds=1)
    observe(chat, instance("chat-p-1", 0), instance("chat-d-1", 1), at=at)
    other = make_service("other")
    make_binding(other, nodes[0], 2, 8)
    make_binding(other, nodes[2], 0, 8)
    Node.objects.filter(pk=nodes[1].pk).update(health="failed")
    assert _advised() == [("replace:chat", "withdrawn")]
    told = Rearrangement.objects.get()
    assert told.closed_reason.startswith("Nothing replaces what chat lost: ")
    assert told.body == {"moves": [], "shrinks": []}
    _advised()
    assert Rearrangement.objects.count() == 1, "told once, however often it is found"
    tasks.place()
    assert not Action.objects.exists()
    Binding.objects.filter(node=nodes[2]).update(released_at=database_now())
    assert ("replace:chat", "approved") in _advised(), "room came, and nobody was asked to wait"


def _reported(service: Service, nodes: Sequence[int], counts: Instances) -> None:
    """Let a cluster report as many instances as it wants, on nodes by number, a moment ago."""
    slug = service.slug
    names = [f"{slug}-{'p' if at < counts.prefill else 'd'}-{at}" for at in range(len(nodes))]
    seen = (instance(name, at, slug) for name, at in zip(names, nodes, strict=True))
    observe(service, *seen, at=database_now() - timedelta(seconds=2))
    ServiceStatus.objects.filter(service=service).update(
        prefill_desired=counts.prefill,
        prefill_ready=counts.prefill,
        decode_desired=counts.decode,
        decode_ready=counts.decode,
    )


def _other_s2(node: Node) -> None:
    """Put a node under an S2 and an S1 of its own."""
    given = {"cluster": node.cluster, "key": "b"}
    s2 = LocalityDomain.objects.create(level="S2", name="s2-b", **given)
    s1 = LocalityDomain.objects.create(level="S1", name="s1-b", parent=s2, **given)
    Node.objects.filter(pk=node.pk).update(s1_domain=s1, s2_domain=s2)


EARLY = Instances(2, 6)


@pytest.fixture
def low(nodes: list[Node]) -> Service:
    """A service whose 2 + 6 instances of 2 GPUs fill nodes 0 and 1.

    Node 2, an S2 of its own, failed with the 1 + 1 instances of a service of higher priority.
    """
    high = make_service("high", mode="automatic", priority=5)
    low = make_service("low", mode="automatic", limits={"minimum": 1})
    _other_s2(nodes[2])
    _reported(low, [0] * 4 + [1] * 4, EARLY)
    _reported(high, [2, 2], Instances(1, 1))
    tasks.place()
    Node.objects.filter(pk=nodes[2].pk).update(health="failed")
    return low


def _give_room(low: Service, cluster: Cluster) -> None:
    """Let the cluster of the lower service carry out what it was sent."""
    (order,) = cluster.orders
    gone = {int(name.rpartition("-")[2]) for name in order.leave}
    stay = [at for at in range(sum(EARLY)) if at not in gone]
    names = [instance(f"low-{'p' if at < 2 else 'd'}-{at}", at // 4, "low") for at in stay]
    later = database_now() + timedelta(seconds=2)
    observe(low, *names, at=later)
    ServiceStatus.objects.filter(service=low).update(
        prefill_ready=order.want.prefill, decode_ready=order.want.decode
    )
    actions.follow(later)


@pytest.mark.usefixtures("low")
def test_a_lost_s2_asks_the_lower_priority_to_give_way_i10(client: Client) -> None:
    assert _advised() == [("replace:high", "withdrawn"), ("shrink:high", "pending")]
    (shrunk,) = Rearrangement.objects.get(state="pending").body["shrinks"]
    after = Instances(**shrunk["after"])
    assert (shrunk["service"], Instances(**shrunk["before"])) == ("low", EARLY)
    assert sum(EARLY) - sum(after) >= 2, "2 of its instances make room for 2"
    assert min(after) >= 1, "never below its minimum"
    rearranging.advance()
    assert not Action.objects.exists(), "not without a person (S18)"
    client.force_login(person("ana"))
    assert "Shrink lower priorities for high" in reading(client, "/approvals/")


def test_what_gave_way_serves_the_higher_priority_and_can_grow_again_i10(
    low: Service, nodes: list[Node]
) -> None:
    _advised()
    row = Rearrangement.objects.get(state="pending")
    rearranging.approve(row.pk, user=person("ana"), version=1)
    tasks.place()
    cluster = Cluster(desired=EARLY)
    assert _send(cluster) == ["applied"]
    _give_room(low, cluster)
    tasks.place()
    assert now_of(row) == ("applied", "")

    assert ("replace:high", "approved") in _advised(), "what it lost comes back, by rule"
    tasks.place()
    action = Action.objects.get(service__slug="high")
    assert action.is_bound
    used = {node for one in action.placement["moves"] for node in one["to_nodes"]}
    assert used <= {"h800-000", "h800-001"}
    Node.objects.filter(pk=nodes[2].pk).update(health="ok")
    again = situation().plan([Request("low", Instances(0, 1))])
    assert (len(again.placements), again.unplaced) == (1, []), "it may grow again"
