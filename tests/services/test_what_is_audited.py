"""What ends, changes or fails by itself leaves one event each; what only goes on leaves none."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.core import one_time
from controller.models import AuditEvent, Grant, Proposal, SecondFactor
from controller.models.clock import database_now
from controller.services import approvals, granting, second_factor
from tests.factories import make_proposal, make_service
from tests.loop.test_tick import run
from tests.services.people import person
from tests.sources import ArraySource

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


def events() -> list[tuple[str, str, str]]:
    return list(AuditEvent.objects.order_by("pk").values_list("actor", "verb", "object_type"))


@pytest.mark.parametrize("many", [1, 3])
def test_a_proposal_that_expires_is_audited_once_and_many_cost_no_more_a08(many: int) -> None:
    past = timezone.now() - timedelta(seconds=5)
    made = [
        make_proposal(make_service(f"chat-{at}", mode="approve"), expires_at=past)
        for at in range(many)
    ]
    with CaptureQueriesContext(connection) as asked:
        assert approvals.expire_due(timezone.now()) == many
    assert approvals.expire_due(timezone.now()) == 0
    assert events() == [("controller", "expired", "proposal")] * many
    found = AuditEvent.objects.get(service="chat-0")
    assert (found.service, found.before["state"], found.after["state"]) == (
        "chat-0",
        "pending",
        "expired",
    )
    assert {row.object_id for row in AuditEvent.objects.all()} == {str(row.pk) for row in made}
    assert len([one for one in asked if "SAVEPOINT" not in one["sql"]]) == 3


def test_the_controller_says_what_it_took_away_and_whose_approvals_s18() -> None:
    make_service("chat", mode="approve")
    source = ArraySource().now_reports("chat", decode_tps=6000.0)
    run(source)
    run(source)
    assert events() == [], "making and confirming are told by the proposal itself"
    proposal = Proposal.objects.get()
    Proposal.objects.update(needs=2)
    approvals.approve(proposal.pk, user=person("ana"), version=1, fingerprint=proposal.fingerprint)
    known = AuditEvent.objects.count()
    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    assert events()[known:] == [("controller", "changed what was approved", "proposal")]
    changed = AuditEvent.objects.order_by("pk").last()
    assert changed is not None
    assert (changed.service, changed.before["approvals"]) == ("chat", ["ana"])
    assert (changed.before["version"], changed.after["version"]) == (1, 2)
    run(ArraySource().now_reports("chat", decode_tps=9900.0))
    assert len(events()) == known + 1, "a body that nobody approved is replaced without a word"
    run(ArraySource().now_reports("chat", decode_tps=1000.0))
    proposal.refresh_from_db()
    assert proposal.state == "superseded"
    last = AuditEvent.objects.order_by("pk").last()
    assert last is not None
    assert (last.verb, last.after["why"]) == ("superseded", proposal.closed_reason)


def test_a_wrong_code_at_sign_in_is_audited_and_never_which() -> None:
    ana = person("ana")
    second_factor.start(ana)
    secret = base64.b32decode(
        second_factor.secret_of(SecondFactor.objects.get(account=ana).encrypted)
    )
    step = int(database_now().timestamp() // 30)
    second_factor.confirm(ana, one_time.code_at(secret, step))
    known, client = len(events()), Client()
    client.post("/sign-in/", {"username": "ana", "password": PASSWORD})
    client.post("/sign-in/code/", {"code": "000000"})
    assert events()[known:] == [("ana", "gave a wrong code", "user")]
    assert not AuditEvent.objects.filter(reason__contains="000000").exists()


def test_a_wrong_password_within_a_session_is_audited(settings: LazySettings) -> None:
    settings.SECOND_FACTOR = "off"
    client = Client()
    client.force_login(person("ana"))
    client.post("/sign-in/confirm/", {"password": "wrong"})
    assert events() == [("ana", "gave a wrong password", "user")]


def test_a_role_that_runs_out_is_audited_once_also_when_it_is_given_again() -> None:
    admin, ana = person("root", "Admin"), User.objects.create_user("ana")
    now = timezone.now()
    for service in (make_service("chat"), make_service("code")):
        Grant.objects.create(
            user=ana,
            role="Approver",
            service=service,
            reason="on call",
            by_name="root",
            granted_at=now - timedelta(hours=2),
            expires_at=now - timedelta(hours=1),
        )
    chat = Grant.objects.earliest("pk").service
    granting.grant(ana, "Approver", chat, reason="again", expires_at=None, by=admin)
    assert [verb for _, verb, _ in events()] == ["role ran out", "granted a role"]
    assert (granting.note_over(), granting.note_over()) == (1, 0)
    found = AuditEvent.objects.filter(verb="role ran out").order_by("pk")
    assert [row.before["scope"] for row in found] == ["service:chat", "service:code"]
    assert {row.actor for row in found} == {"controller"}


def test_a_name_that_is_the_number_of_an_account_is_not_taken_for_it() -> None:
    ana = person("ana")
    client = Client()
    client.post("/sign-in/", {"username": str(ana.pk), "password": "x"})
    client.force_login(ana)
    page = client.get("/audit/").text
    assert f"the name {ana.pk}" in page
    assert "account ana" not in page
