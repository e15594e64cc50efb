"""What moves may not do: go beyond rights, overrides, limits and what one may approve."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from controller.core.overrides import OverrideKind
from controller.core.types import Instances
from controller.models import Action, AuditEvent, Rearrangement, ServiceStatus
from controller.models.clock import database_now
from controller.selectors.situation import situation
from controller.services import granting, overriding, rearranging
from controller.services.errors import ConflictError, ForbiddenError
from inventory.models import Policy, Service
from tests.clusters import Cluster
from tests.factories import make_action, make_service
from tests.services.people import person
from tests.services.test_rearranging import (
    _advised,
    _send,
    advice,
    approved,
    asked,
    low,
    make_placed,
    move,
    nodes,
    now_of,
    queue_away,
    shrink,
)

__all__ = ("low", "nodes", "queue_away")

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("nodes")]
BUSY = "What was moved before stays so."


def within(name: str, *services: Service) -> User:
    """Return a person who may approve changes of these services alone."""
    user, root = User.objects.create_user(name), User.objects.filter(username="root").first()
    for service in services:
        granting.grant(
            user, "Approver", service, reason="r", expires_at=None,
            by=root or person("root", "Admin"),
        )  # fmt: skip
        root = root or User.objects.get(username="root")
    return user


def ruled(kind: OverrideKind, about: Any, **values: Any) -> None:
    """Let an override rule for an hour."""
    over = database_now() + timedelta(hours=1)
    olga = User.objects.filter(username="olga").first() or person("olga", "Operator")
    overriding.place(kind, about, values, ends_at=over, reason="load test", user=olga)


def shrinks(*given: dict[str, Any]) -> Rearrangement:
    """Return shrunk services that wait for a person."""
    rearranging.keep_up([advice(kind="shrink", shrinks=given)], version=1)
    return Rearrangement.objects.get(state="pending")


def test_who_may_approve_for_one_service_moves_no_other_a04_s18() -> None:
    chat, other = make_placed("chat", 0), make_placed("other", 0)
    row, ana = asked(move("other")), within("ana", chat)
    with pytest.raises(ForbiddenError, match="it changes other too"):
        rearranging.approve(row.pk, user=ana, version=1)
    assert now_of(row)[0] == "pending"
    assert AuditEvent.objects.filter(actor="ana", verb="was refused approve_proposal").exists()

    ben = within("ben", chat, other)
    assert rearranging.approve(row.pk, user=ben, version=1).state == "approved"


@pytest.mark.parametrize("when", ["before it begins", "before a later step", "before it is sent"])
def test_an_approver_left_with_a_part_of_the_services_stops_all_a04_s18(when: str) -> None:
    chat, other = make_placed("chat", 0), make_placed("other", 0)
    if when == "before a later step":
        busy = make_action(other, state="sent", sent_at=database_now())
    row = approved(move("chat"), move("other", 2))
    if when != "before it begins":
        rearranging.advance()
    ana = User.objects.get(username="ana")
    ana.groups.clear()
    granting.grant(ana, "Approver", chat, reason="r", expires_at=None, by=person("root", "Admin"))
    cluster = Cluster(desired=Instances(1, 1))
    if when == "before a later step":
        Action.objects.filter(pk=busy.pk).update(state="failed", ended_at=database_now())
    if when == "before it is sent":
        assert _send(cluster) == ["cancelled", "cancelled"]
        assert cluster.writes == []
        return
    rearranging.advance()
    state, said = now_of(row)
    assert state == "stale"
    assert said.startswith("ana no longer has the right to approve for other.")
    assert row.actions.count() == (when == "before a later step")


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("pin", {"prefill": 2, "decode": 4}, "low is pinned by olga until"),
        ("out_only", {}, "low may only grow, set by olga until"),
        ("bounds", {"decode_min": 4}, "low would have 3 decode, below its minimum of 4"),
        ("advisory", {}, "low is only observed, set by olga until"),
        ("pin", {"prefill": 2, "decode": 3}, None),
        ("bounds", {"decode_min": 3}, None),
        ("in_only", {}, None),
    ],
    ids=[
        "pin-4", "out-only", "at-least-4-and-3-left", "advisory",
        "pin-3", "at-least-3-and-3-left", "in-only",
    ],
)  # fmt: skip
def test_nobody_shrinks_what_an_override_holds_s1_s17_a03(
    kind: str, values: dict[str, Any], words: str | None
) -> None:
    make_placed("chat", 0)
    about = make_service("low", mode="approve")
    row, ana = shrinks(shrink("low", 4, 3)), person("ana")
    ruled(OverrideKind(kind), about, **values)
    if words is None:
        assert rearranging.approve(row.pk, user=ana, version=1).state == "approved"
        rearranging.advance()
        assert _send(Cluster()) == ["applied"]
        return
    with pytest.raises(ConflictError, match=words):
        rearranging.approve(row.pk, user=ana, version=1)
    rearranging.advance()
    assert now_of(row)[0] == "pending"
    assert not Action.objects.exists()


def test_a_policy_minimum_holds_too_s1() -> None:
    make_placed("chat", 0)
    make_service("low", mode="approve", limits={"minimum": 4})
    row = shrinks(shrink("low", 4, 3) | {"before": {"prefill": 2, "decode": 4}})
    with pytest.raises(ConflictError, match="low would have 3 decode, below its minimum of 4"):
        rearranging.approve(row.pk, user=person("ana"), version=1)


@pytest.mark.parametrize(
    ("what", "name"),
    [("node", "h800-001"), ("node", "eu-1-a/h800-001"), ("hardware", "h800")],
)
def test_nothing_moves_to_what_is_excluded(what: str, name: str) -> None:
    chat = make_placed("chat", 0)
    row = asked()
    ruled(OverrideKind.EXCLUDE, chat, what=what, name=name)
    with pytest.raises(ConflictError, match="h800-001 is excluded by olga until"):
        rearranging.approve(row.pk, user=person("ana"), version=1)


def test_a_move_keeps_its_counts_so_a_pin_lets_it_through() -> None:
    chat = make_placed("chat", 0)
    ruled(OverrideKind.PIN, chat, prefill=1, decode=1)
    ruled(OverrideKind.OUT_ONLY, chat.cluster)
    ruled(OverrideKind.EXCLUDE, chat, what="node", name="h800-002")
    row = approved()
    rearranging.advance()
    assert _send(Cluster(desired=Instances(1, 1))) == ["applied"]
    assert now_of(row)[0] == "applying"


def _new_policy(service: Service) -> None:
    Policy.objects.filter(service=service).update(revision=7)


def _new_mode(service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(mode="automatic")


def _new_bounds(service: Service) -> None:
    ruled(OverrideKind.BOUNDS, service, decode_max=9)


@pytest.mark.parametrize("when", ["before it begins", "before a later step", "before it is sent"])
@pytest.mark.parametrize(
    ("change", "what"),
    [(_new_policy, "policy"), (_new_mode, "mode"), (_new_bounds, "overrides")],
    ids=["policy", "mode", "overrides"],
)
def test_an_approval_is_bound_to_policy_mode_and_overrides_a03_s18(
    change: Any, what: str, when: str
) -> None:
    """Of the service that changes, though it is not the one that gains."""
    make_placed("chat", 0)
    other = make_placed("other", 0)
    if when == "before a later step":
        busy = make_action(other, state="sent", sent_at=database_now())
    row = approved(move("chat"), move("other", 2))
    if when != "before it begins":
        rearranging.advance()
    change(other)
    cluster = Cluster(desired=Instances(1, 1))
    told = f"Changed since it was approved: {what} of other."
    if when == "before it is sent":
        assert _send(cluster) == ["cancelled", "cancelled"]
        assert cluster.writes == []
        assert Action.objects.get(service__slug="chat").error == told
        return
    if when == "before a later step":
        Action.objects.filter(pk=busy.pk).update(state="failed", ended_at=database_now())
        told = f"{told} {BUSY}"
    rearranging.advance()
    assert now_of(row) == ("stale", told)
    assert row.actions.count() == (when == "before a later step")


@pytest.mark.parametrize(
    ("after", "words"),
    [
        pytest.param({"decode": 2}, None, id="2-of-4-is-half"),
        pytest.param({"decode": 1}, "decode by 3 of 4, more than half", id="3-of-4"),
        pytest.param({"decode": 2, "over": True}, "while the service is over its SLO", id="over"),
        pytest.param({"decode": 2, "gpus": 3}, "it changes 4 GPUs, more than 3", id="4-GPUs"),
        pytest.param({"decode": 3, "gpus": 3}, "4 GPUs change hands, more than 3", id="2+2-GPUs"),
    ],
)
def test_what_takes_two_people_is_no_move_that_one_approves_s18(
    settings: Settings, after: dict[str, Any], words: str | None
) -> None:
    settings.SECOND_APPROVER_GPUS = after.get("gpus", 64)
    make_placed("chat", 0)
    for slug in ("low", "least"):
        make_service(slug, mode="approve")
    if after.get("over"):
        ServiceStatus.objects.update(ttft_breach_since=database_now())
    row = shrinks(shrink("low", 4, after["decode"]), shrink("least", 4, 3))
    if words is None:
        assert rearranging.approve(row.pk, user=person("ana"), version=1).state == "approved"
        return
    with pytest.raises(ConflictError) as refused:
        rearranging.approve(row.pk, user=person("ana"), version=1)
    assert words in str(refused.value)
    assert "It takes two people" in str(refused.value)
    assert "propose by hand instead a scale-in of" in str(refused.value)
    rearranging.advance()
    assert (now_of(row)[0], Action.objects.count()) == ("pending", 0)


def test_a_service_over_its_slo_since_is_not_shrunk_by_one_person_s18() -> None:
    make_placed("chat", 0)
    make_service("low", mode="approve")
    row = shrinks(shrink("low", 4, 3))
    rearranging.approve(row.pk, user=person("ana"), version=1)
    rearranging.advance()
    ServiceStatus.objects.update(tbt_breach_since=database_now())
    cluster = Cluster()
    assert _send(cluster) == ["cancelled"]
    assert cluster.writes == []
    rearranging.advance()
    assert now_of(row)[0] == "failed"


@pytest.mark.parametrize(
    ("kind", "values", "given"),
    [
        pytest.param("in_only", {}, True, id="in-only"),
        pytest.param("bounds", {"decode_min": 1}, True, id="at-least-1"),
        pytest.param("bounds", {"decode_min": 6, "prefill_min": 2}, False, id="at-least-all"),
        pytest.param("pin", {"prefill": 2, "decode": 6}, False, id="pin"),
        pytest.param("out_only", {}, False, id="out-only"),
        pytest.param("advisory", {}, False, id="advisory"),
    ],
)
def test_nobody_is_asked_to_shrink_what_an_override_holds_i10_s17(
    low: Service,
    kind: str,
    values: dict[str, Any],
    given: bool,  # noqa: FBT001
) -> None:
    about = low.cluster if kind == "out_only" else low
    ruled(OverrideKind(kind), about, **values)
    assert any(key.startswith("shrink:") for key, _ in _advised()) is given
    assert ("low" in situation().watched) is (kind == "advisory")
