"""Stopping is easy, resuming is careful, and both are recorded (S16, A08)."""

from __future__ import annotations

from datetime import timedelta
from unittest.mock import ANY

import pytest
from django.contrib.auth.models import Permission
from django.utils import timezone

from controller.core.overrides import OverrideKind
from controller.core.types import Hold
from controller.models import Action, AuditEvent, Freeze, Grant, Override, holds
from controller.models.clock import database_now
from controller.selectors.freezes import called_off, others, preview, requests_outstanding
from controller.services import freezes, overriding, people
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from inventory.models import Cluster, Region, Service
from tests import factories
from tests.services.people import at_once, person


def active_freezes() -> list[Freeze]:
    return list(Freeze.objects.filter(ended_at=None).order_by("service__slug"))


@pytest.mark.django_db
@pytest.mark.parametrize("slug", [None, "chat"])
def test_a_freeze_and_its_end_are_audited(slug: str | None) -> None:
    service = factories.make_service(slug) if slug else None
    ana, ben = person("ana", "Operator"), person("ben")

    made = freezes.freeze(about=service, user=ana, reason="incident 8812")
    assert [row.scope for row in active_freezes()] == [slug or "the fleet"]
    ended = freezes.resume(about=service, user=ben, reason="fixed")

    assert (made.pk, made.by_name, ended.ended_by_name) == (ended.pk, "ana", "ben")
    assert active_freezes() == []
    assert list(AuditEvent.objects.order_by("pk").values_list("actor", "verb", "reason")) == [
        ("ana", "froze", "incident 8812"),
        ("ben", "resumed", "fixed"),
        ("ben", "override set", "fixed"),
    ]


@pytest.mark.django_db
def test_a_second_freeze_says_whose_the_first_is() -> None:
    freezes.freeze(about=None, user=person("ana"), reason="incident 8812")

    with pytest.raises(
        ConflictError, match=r"ana already froze the fleet [0-9]+ s ago: incident 8812"
    ):
        freezes.freeze(about=None, user=person("ben"), reason="me too")


@pytest.mark.django_db
def test_a_second_resume_says_who_was_faster() -> None:
    ana = person("ana")
    with pytest.raises(ConflictError, match="the fleet is not frozen"):
        freezes.resume(about=None, user=ana, reason="fixed")
    freezes.freeze(about=None, user=ana, reason="incident")
    freezes.resume(about=None, user=ana, reason="fixed")

    with pytest.raises(ConflictError, match="ana resumed the fleet"):
        freezes.resume(about=None, user=ana, reason="fixed")


@pytest.mark.django_db
def test_an_operator_may_stop_but_not_let_go_on() -> None:
    otto, vera = person("otto", "Operator"), person("vera", "Viewer")
    with pytest.raises(ForbiddenError, match="freezing needs the role Operator"):
        freezes.freeze(about=None, user=vera, reason="x")
    freezes.freeze(about=None, user=otto, reason="incident")

    with pytest.raises(ForbiddenError, match="resuming needs the role Approver"):
        freezes.resume(about=None, user=otto, reason="fixed")
    assert len(active_freezes()) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", " ", "x" * 1001])
def test_both_need_a_reason(reason: str) -> None:
    ana = person("ana")
    for act in (freezes.freeze, freezes.resume):
        with pytest.raises(InvalidError, match="reason"):
            act(about=None, user=ana, reason=reason)


@pytest.mark.django_db(transaction=True)
def test_of_four_freezes_at_once_one_counts() -> None:
    people = [person(name) for name in ("ana", "ben", "cy", "dee")]

    given = at_once(
        *(
            lambda user=user: freezes.freeze(about=None, user=user, reason="incident")
            for user in people
        )
    )

    assert sum(isinstance(each, Freeze) for each in given) == 1
    assert sum(isinstance(each, ConflictError) for each in given) == 3
    assert AuditEvent.objects.filter(verb="froze").count() == 1


def place(kind: str) -> Region | Cluster | Service | None:
    """What is frozen: the service chat, its cluster eu-1-a, its region eu-1, or the fleet."""
    chat = Service.objects.get(slug="chat")
    found = {"service": chat, "cluster": chat.cluster, "region": chat.cluster.region}
    return found.get(kind)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "scope", "held"),
    [
        pytest.param("fleet", "the fleet", {"chat", "near", "far"}, id="all three"),
        pytest.param("region", "region eu-1", {"chat", "near", "far"}, id="both clusters of it"),
        pytest.param("cluster", "cluster eu-1-a", {"chat", "near"}, id="not the other cluster"),
        pytest.param("service", "chat", {"chat"}, id="no neighbour"),
    ],
)
def test_a_freeze_holds_what_lies_in_its_scope_and_nothing_else(
    kind: str, scope: str, held: set[str]
) -> None:
    for slug, cluster in (("chat", "eu-1-a"), ("near", "eu-1-a"), ("far", "eu-1-b")):
        factories.make_action(
            factories.make_service(slug, cluster=factories.make_cluster(cluster))
        )

    freezes.freeze(about=place(kind), user=person("ana"), reason="incident")

    found = holds.read()
    assert {slug for slug in ("chat", "near", "far") if found.over(slug)} == held
    assert found.over("chat") == Hold(scope, "ana", "incident", ANY)
    cancelled = Action.objects.filter(state="cancelled")
    assert set(cancelled.values_list("service__slug", flat=True)) == held
    assert set(cancelled.values_list("error", flat=True)) == {f"Frozen ({scope}) by ana: incident"}


@pytest.mark.django_db
@pytest.mark.parametrize("kind", ["region", "cluster"])
def test_each_scope_is_frozen_once_and_resumed_alone(kind: str) -> None:
    factories.make_service("chat")
    ana = person("ana")
    about = place(kind)
    for one in (None, about):
        freezes.freeze(about=one, user=ana, reason="incident 8812")

    with pytest.raises(ConflictError, match=f"ana already froze {kind} eu-1.* ago: incident 8812"):
        freezes.freeze(about=about, user=ana, reason="again")
    freezes.resume(about=about, user=ana, reason="fixed")

    assert [row.scope for row in active_freezes()] == ["the fleet"]


@pytest.mark.django_db
def test_what_was_sent_is_not_called_back_a06_s16() -> None:
    services = {state: factories.make_service(state) for state in ("recorded", "sent", "unknown")}
    for state, service in services.items():
        factories.make_action(service, state=state)

    made = freezes.freeze(about=None, user=person("ana"), reason="incident")

    assert dict(Action.objects.values_list("service__slug", "state")) == {
        "recorded": "cancelled",
        "sent": "sent",
        "unknown": "unknown",
    }
    assert requests_outstanding(None) == 2
    assert [action.service.slug for action in called_off(made)] == ["recorded"]


@pytest.mark.django_db
def test_a_grant_within_a_cluster_freezes_there_and_not_elsewhere() -> None:
    factories.make_service("chat")
    otto = person("otto", "Viewer")
    Grant.objects.create(
        user=otto,
        role="Operator",
        cluster=place("cluster"),
        reason="on call",
        by_name="ana",
        granted_at=timezone.now(),
    )

    for kind in ("cluster", "service"):
        freezes.freeze(about=place(kind), user=otto, reason="incident")
    for kind in ("region", "fleet"):
        with pytest.raises(ForbiddenError):
            freezes.freeze(about=place(kind), user=otto, reason="incident")

    assert {row.scope for row in active_freezes()} == {"cluster eu-1-a", "chat"}


@pytest.mark.django_db
def test_other_stops_of_a_scope_are_told_apart() -> None:
    factories.make_service("chat")
    factories.make_service("far", cluster=factories.make_cluster("eu-1-b"))
    ana = person("ana")
    for kind in ("fleet", "region", "cluster", "service"):
        freezes.freeze(about=place(kind), user=ana, reason="incident")

    found = others(place("cluster"))

    assert [stop.scope for stop in found.around] == ["the fleet", "region eu-1"]
    assert [stop.scope for stop in found.inside] == ["chat"]


@pytest.mark.django_db
def test_the_preview_tells_what_the_freeze_holds_back() -> None:
    held = factories.make_service("chat")
    factories.make_decision(factories.make_service("calm"))
    factories.make_decision(
        held,
        move="blocked",
        code="FROZEN",
        steps=[
            {
                "name": "freeze",
                "before": {"prefill": 2, "decode": 6},
                "after": {"prefill": 2, "decode": 4},
                "code": "FROZEN",
                "detail": "ana froze chat",
            }
        ],
    )

    found = preview(None)

    assert found.sentence == (
        "By the last decisions it would change 1 of 2 services: it would scale out 2 decode."
    )
    assert [(row.service.slug, row.change) for row in found.pending] == [("chat", "decode 4 → 6")]


def left_min() -> list[tuple[str, str, int]]:
    """What is only observed now: its scope, by whom, and for how long yet [min]."""
    rows = Override.objects.filter(kind="advisory", ended_at=None).order_by("pk")
    now = database_now()
    return [
        (row.scope, row.by_name, round((row.ends_at - now).total_seconds() / 60)) for row in rows
    ]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        ("fleet", "the fleet"),
        ("region", "region eu-1"),
        ("cluster", "cluster eu-1-a"),
        ("service", "chat"),
    ],
)
def test_what_is_resumed_is_only_watched_for_ten_minutes_a09(kind: str, scope: str) -> None:
    factories.make_service("chat")
    freezes.freeze(about=place(kind), user=person("ana"), reason="incident")

    # Ben may resume there and set no override: what resuming brings along asks for no more.
    ben = person("ben", "Viewer")
    ben.user_permissions.add(Permission.objects.get(codename="resume"))
    assert not people.may(ben, people.OVERRIDE, place(kind))
    freezes.resume(about=place(kind), user=ben, reason="fixed")

    assert left_min() == [(scope, "ben", 10)]
    assert Override.objects.get().reason == "Resumed: fixed"


@pytest.mark.django_db
def test_who_wants_it_to_act_at_once_says_so_a09() -> None:
    freezes.freeze(about=None, user=person("ana"), reason="incident")
    freezes.resume(about=None, user=person("ben"), reason="fixed", watch_first=False)

    assert left_min() == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("lasts_min", "left"),
    [
        pytest.param(60, ("cy", 60, 1), id="60 min are longer than 10: left as it is"),
        pytest.param(4, ("cy", 10, 2), id="4 min are lengthened to 10: version 2"),
    ],
)
def test_what_is_watched_already_is_no_conflict_a09(
    lasts_min: int, left: tuple[str, int, int]
) -> None:
    factories.make_service("chat")
    ana = person("ana")
    freezes.freeze(about=None, user=ana, reason="incident")
    overriding.place(
        OverrideKind.ADVISORY,
        None,
        {},
        ends_at=database_now() + timedelta(minutes=lasts_min),
        reason="a new release",
        user=person("cy"),
    )

    freezes.resume(about=None, user=ana, reason="fixed")

    ((scope, by, minutes),) = left_min()
    assert (scope, (by, minutes, Override.objects.get().version)) == ("the fleet", left)
    assert Override.objects.get().reason == "a new release"


@pytest.mark.django_db
def test_a_resume_that_comes_too_late_watches_nothing_a09() -> None:
    with pytest.raises(ConflictError):
        freezes.resume(about=None, user=person("ana"), reason="fixed")
    assert left_min() == []
