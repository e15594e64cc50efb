"""Stopping is easy, resuming is careful, and both are recorded (S16, A08)."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from controller.models import AuditEvent, Freeze
from controller.selectors.freezes import preview
from controller.services import freezes
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from tests import factories
from tests.services.people import at_once, person


def active_freezes() -> list[Freeze]:
    return list(Freeze.objects.filter(ended_at=None).order_by("service__slug"))


@pytest.mark.django_db
@pytest.mark.parametrize("slug", [None, "chat"])
def test_a_freeze_and_its_end_are_audited(slug: str | None) -> None:
    service = factories.make_service(slug) if slug else None
    ana, ben = person("ana", "Operator"), person("ben")

    made = freezes.freeze(service=service, user=ana, reason="incident 8812")
    assert [row.scope for row in active_freezes()] == [slug or "the fleet"]
    ended = freezes.resume(service=service, user=ben, reason="fixed")

    assert (made.pk, made.by_name, ended.ended_by_name) == (ended.pk, "ana", "ben")
    assert active_freezes() == []
    assert list(AuditEvent.objects.order_by("pk").values_list("actor", "verb", "reason")) == [
        ("ana", "froze", "incident 8812"),
        ("ben", "resumed", "fixed"),
    ]


@pytest.mark.django_db
def test_a_second_freeze_says_whose_the_first_is() -> None:
    freezes.freeze(service=None, user=person("ana"), reason="incident 8812")

    with pytest.raises(
        ConflictError, match=r"ana already froze the fleet [0-9]+ s ago: incident 8812"
    ):
        freezes.freeze(service=None, user=person("ben"), reason="me too")


@pytest.mark.django_db
def test_a_second_resume_says_who_was_faster() -> None:
    ana = person("ana")
    with pytest.raises(ConflictError, match="the fleet is not frozen"):
        freezes.resume(service=None, user=ana, reason="fixed")
    freezes.freeze(service=None, user=ana, reason="incident")
    freezes.resume(service=None, user=ana, reason="fixed")

    with pytest.raises(ConflictError, match="ana resumed the fleet"):
        freezes.resume(service=None, user=ana, reason="fixed")


@pytest.mark.django_db
def test_an_operator_may_stop_but_not_let_go_on() -> None:
    otto, vera = person("otto", "Operator"), person("vera", "Viewer")
    with pytest.raises(ForbiddenError, match="freezing needs the role Operator"):
        freezes.freeze(service=None, user=vera, reason="x")
    freezes.freeze(service=None, user=otto, reason="incident")

    with pytest.raises(ForbiddenError, match="resuming needs the role Approver"):
        freezes.resume(service=None, user=otto, reason="fixed")
    assert len(active_freezes()) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", " ", "x" * 1001])
def test_both_need_a_reason(reason: str) -> None:
    ana = person("ana")
    for act in (freezes.freeze, freezes.resume):
        with pytest.raises(InvalidError, match="reason"):
            act(service=None, user=ana, reason=reason)


@pytest.mark.django_db(transaction=True)
def test_of_four_freezes_at_once_one_counts() -> None:
    people = [person(name) for name in ("ana", "ben", "cy", "dee")]

    given = at_once(
        *(
            lambda user=user: freezes.freeze(service=None, user=user, reason="incident")
            for user in people
        )
    )

    assert sum(isinstance(each, Freeze) for each in given) == 1
    assert sum(isinstance(each, ConflictError) for each in given) == 3
    assert AuditEvent.objects.filter(verb="froze").count() == 1


@pytest.mark.django_db
def test_the_commands_use_the_same_door(capsys: pytest.CaptureFixture[str]) -> None:
    factories.make_service("chat")

    call_command("freeze", service="chat", reason="from the host")
    assert "Frozen: chat." in capsys.readouterr().out
    assert active_freezes()[0].by_name.startswith("command line (")
    with pytest.raises(CommandError, match="already froze chat"):
        call_command("freeze", service="chat", reason="again")
    call_command("resume", service="chat", reason="done")

    assert active_freezes() == []
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["", "nobody"])
def test_a_command_for_no_service_freezes_nothing(slug: str) -> None:
    with pytest.raises(CommandError, match="There is no service"):
        call_command("freeze", service=slug, reason="incident")

    assert active_freezes() == []


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

    assert found.sentence == "By the last decisions it would change 1 of 2 services."
    assert [(row.service.slug, row.change) for row in found.pending] == [("chat", "decode 4 → 6")]
