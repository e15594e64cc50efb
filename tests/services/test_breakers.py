"""A breaker opens once, stops what nobody approved, and only a person resets it."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from controller.core.approval import fingerprint
from controller.core.approval_rules import Rule
from controller.core.breaker import Trip
from controller.core.types import Hold, Instances
from controller.models import (
    Action,
    ApprovalRule,
    AuditEvent,
    Breaker,
    Override,
    Proposal,
    ServiceStatus,
    holds,
)
from controller.models.clock import database_now
from controller.selectors.breakers import attempts
from controller.services import actions, approval_rules, approvals, breakers
from controller.services.approval_rules import Named
from controller.services.errors import ConflictError, ForbiddenError
from controller.services.people import CommandLine
from controller.services.rows import basis_of
from inventory.models import Service
from inventory.snapshot import service_spec
from tests import factories
from tests.pages.reading import words
from tests.services.people import person, waiting

CAUSE = "3 of its last 5 automatic changes failed within 30 min."


def opened(service: str | None = None) -> Breaker:
    """Open the breaker of a service or of the fleet."""
    (row,) = breakers.open_all([Trip(service, CAUSE, {"failed": 3})], database_now())
    return row


@pytest.mark.django_db
def test_it_opens_once_a_scope_and_is_audited() -> None:
    factories.make_service("chat")
    row = opened("chat")

    assert breakers.open_all([Trip("chat", "another")], database_now()) == []
    assert (row.scope, row.cause, row.evidence) == ("chat", CAUSE, {"failed": 3})
    assert AuditEvent.objects.get().verb == "opened a breaker"


@pytest.mark.django_db
def test_it_stops_what_is_automatic_and_no_freeze_is_told() -> None:
    for slug in ("chat", "far"):
        factories.make_service(slug)
    row = opened("chat")

    found = holds.read()
    since_s = row.opened_at.timestamp()
    assert found.automatic_over("chat") == Hold(
        "chat", "the controller", CAUSE, since_s, is_breaker=True
    )
    assert found.over("chat") is None
    assert found.automatic_over("far") is None


@pytest.mark.django_db
def test_what_a_person_approved_is_neither_called_off_nor_counted() -> None:
    factories.make_action(factories.make_service("own"), recorded_at=database_now())
    deciders = {
        "page": {"decided_by": person("ana")},
        "command": {"decided_by": None, "decided_by_name": "command line (root)"},
        "rule": {"rule": rule("small"), "decided_by": None},
    }
    for slug, decided in deciders.items():
        service = factories.make_service(slug)
        proposal = factories.make_proposal(service, state="applying", **decided)
        factories.make_action(service, proposal=proposal, recorded_at=database_now())

    breakers.call_off([opened()])

    assert dict(Action.objects.values_list("service__slug", "state")) == {
        "own": "cancelled",
        "page": "recorded",
        "command": "recorded",
        "rule": "cancelled",
    }
    Action.objects.update(state="failed")
    assert {one.service for one in attempts(database_now())} == {"own", "rule"}


@pytest.mark.django_db
def test_the_command_line_approves_past_an_open_breaker() -> None:
    proposal = real(waiting())
    opened("chat")

    approvals.approve(
        proposal.pk, user=CommandLine("root"), version=1, fingerprint=proposal.fingerprint
    )
    start = actions.start_approved(proposal.pk)

    assert start.action is not None, start.refused


def rule(name: str) -> ApprovalRule:
    return approval_rules.save(
        Named(name, Rule()), user=person("root", "Admin"), reason="small ones"
    )


def real(proposal: Proposal) -> Proposal:
    """Let a proposal rest on what its service is now."""
    status = ServiceStatus.objects.get(service=proposal.service)
    status.prefill_desired, status.decode_desired, status.resource_version = 2, 4, "1"
    status.save()
    basis = basis_of(service_spec(proposal.service), Instances(2, 4), "1")
    proposal.fingerprint = fingerprint(basis, Instances(3, 6))
    proposal.save()
    return proposal


@pytest.mark.django_db
def test_a_person_with_the_right_resets_it_once() -> None:
    row = opened()
    with pytest.raises(ForbiddenError):
        breakers.reset(row.pk, user=person("otto", "Operator"), reason="fixed")
    ended = breakers.reset(row.pk, user=person("ana"), reason="fixed", watch_first=False)
    assert not Override.objects.exists()

    assert (ended.ended_by_name, ended.end_reason) == ("ana", "fixed")
    with pytest.raises(ConflictError, match="ana reset the breaker of the fleet"):
        breakers.reset(row.pk, user=person("ben"), reason="me too")
    assert holds.read().automatic_over("chat") is None


@pytest.mark.django_db
def test_what_failed_before_a_reset_is_not_counted_again() -> None:
    service = factories.make_service("chat")
    now = database_now()
    for state in ("failed", "ready", "cancelled"):
        factories.make_action(service, state=state, recorded_at=now)

    assert sorted(one.failed for one in attempts(database_now())) == [False, True]
    breakers.reset(opened("chat").pk, user=person("ana"), reason="fixed")
    assert attempts(database_now()) == []


@pytest.mark.django_db
def test_the_page_says_why_and_the_post_resets(client: Client) -> None:
    factories.make_service("chat")
    row = opened("chat")
    client.force_login(person("ana"))

    assert CAUSE in words(client.get(f"/breakers/{row.pk}/reset/").content.decode())
    assert client.post(f"/breakers/{row.pk}/reset/", {"reason": " "}).status_code == 400
    answer = client.post(f"/breakers/{row.pk}/reset/", {"reason": "fixed"}, follow=True)
    assert "Reset the breaker of chat: it is only watched" in words(answer.content.decode())
    watched = Override.objects.get()
    assert (watched.kind, watched.scope) == ("advisory", "chat")
    assert client.post(f"/breakers/{row.pk}/reset/", {"reason": "again"}).status_code == 409
    assert client.get("/breakers/0/reset/").status_code == 404


@pytest.mark.django_db
def test_what_a_breaker_rests_on_is_told_in_words(client: Client) -> None:
    factories.make_service("chat")
    trip = Trip("chat", CAUSE, {"fresh_before": 3, "rivals": ["the HPA a", "the HPA b"]})
    (row,) = breakers.open_all([trip], database_now())
    client.force_login(person("ana"))

    page = words(client.get(f"/breakers/{row.pk}/reset/").content.decode())

    assert "rivals the HPA a; the HPA b" in page
    assert "fresh before 3" in page


@pytest.mark.django_db
def test_the_command_resets_the_breaker_of_a_scope() -> None:
    factories.make_service("chat")
    opened("chat")

    with pytest.raises(CommandError, match="No breaker of the fleet is open"):
        call_command("resume", breaker=True, reason="fixed")
    call_command("resume", breaker=True, service="chat", reason="fixed")

    assert not Breaker.objects.filter(ended_at=None, service=Service.objects.get()).exists()
