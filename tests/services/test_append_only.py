"""Who connects as the application adds to the record and changes nothing of it (S22)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, LiteralString

import pytest
from django.db import connection, transaction
from django.db.utils import InternalError, ProgrammingError

from controller.models import (
    AuditEvent,
    Decision,
    Proposal,
    Removal,
    Seal,
    SimulatedService,
    ToSeal,
    Verdict,
)
from controller.services import audit, ledger, sealing
from inventory.models import Service
from tests import factories
from tests.loop.test_tick import run
from tests.sources import ArraySource
from tests.tampering import as_application, unguarded

REFUSED = (ProgrammingError, InternalError)


def execute(statement: LiteralString) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(statement)
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def a_record() -> Service:
    """Two decisions of one service, of which the first is closed, and two sealed records."""
    service = factories.make_service("chat")
    for seq in (1, 2):
        factories.make_decision(service, seq=seq)
    proposal = factories.make_proposal(service, decision=Decision.objects.get(seq=1))
    Proposal.objects.update(decision=None)  # it holds no decision fast: triggers do
    Verdict.objects.create(
        proposal=proposal, version=1, fingerprint="0" * 64, by_name="ana", at=factories.NOW
    )
    audit.record(actor="ana", verb="froze", obj=service, reason="incident")
    assert sealing.seal(10) == 2
    return service


CHANGES = [
    pytest.param("UPDATE controller_auditevent SET actor = 'bo'", id="an event's actor"),
    pytest.param("DELETE FROM controller_auditevent", id="an event gone"),
    pytest.param("TRUNCATE controller_auditevent", id="all events gone"),
    pytest.param(
        "UPDATE controller_decision SET sentence = 'x' WHERE seq = 1", id="a closed decision"
    ),
    pytest.param("UPDATE controller_decision SET code = 'AT_MAX'", id="a code, also the newest's"),
    pytest.param("DELETE FROM controller_decision WHERE seq = 1", id="a closed decision gone"),
    pytest.param(
        "UPDATE controller_servicestatus SET decision_id = NULL;"
        " DELETE FROM controller_decision WHERE seq = 2",
        id="the newest decision gone",
    ),
    pytest.param("TRUNCATE controller_decision CASCADE", id="all decisions gone"),
    pytest.param("UPDATE controller_seal SET digest = 'x'", id="a seal"),
    pytest.param("DELETE FROM controller_seal", id="a seal gone"),
    pytest.param("TRUNCATE controller_seal", id="all seals gone"),
    pytest.param("UPDATE controller_verdict SET by_name = 'bo'", id="who approved"),
    pytest.param("UPDATE controller_verdict SET fingerprint = 'x'", id="what was approved"),
    pytest.param("DELETE FROM controller_verdict", id="an approval gone"),
    pytest.param("TRUNCATE controller_verdict", id="all approvals gone"),
    pytest.param("UPDATE controller_removal SET rows = 0", id="a removal"),
    pytest.param("TRUNCATE controller_removal", id="all removals gone"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("statement", CHANGES)
def test_the_application_changes_nothing_of_the_record_s22(statement: LiteralString) -> None:
    a_record()
    Removal.objects.create(
        service_id="0" * 32, service="x", rows=1, last_id=1, at=factories.NOW, role="x"
    )
    kept = (Decision, AuditEvent, Verdict)
    before = [list(model.objects.values()) for model in kept]
    with pytest.raises(REFUSED), as_application():
        execute(statement)
    assert [list(model.objects.values()) for model in kept] == before
    assert Seal.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.parametrize("statement", CHANGES)
def test_neither_does_the_owner_of_the_tables_by_mistake(statement: LiteralString) -> None:
    a_record()
    Removal.objects.create(
        service_id="0" * 32, service="x", rows=1, last_id=1, at=factories.NOW, role="x"
    )
    with pytest.raises(REFUSED), transaction.atomic():
        execute(statement)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE controller_auditevent DISABLE TRIGGER ALL",
        "DROP TRIGGER audit_append_only ON controller_auditevent",
        "ALTER TABLE controller_decision DISABLE TRIGGER decision_closed",
        "ALTER TABLE controller_verdict DISABLE TRIGGER ALL",
        "DROP FUNCTION heteroscale_append_only() CASCADE",
        "SET session_replication_role = replica",
        pytest.param(
            "INSERT INTO controller_removal (service_id, service, rows, last_id, at, role,"
            " transaction) VALUES (gen_random_uuid(), 'chat', 9, 9, now(), 'x', '1')",
            id="a removal that never was",
        ),
        pytest.param(
            "SELECT set_config('heteroscale.removing', 'on', true);"
            " DELETE FROM controller_decision WHERE seq = 1",
            id="the owner's word",
        ),
    ],
)
def test_the_application_lifts_no_guard(statement: LiteralString) -> None:
    a_record()
    with pytest.raises(REFUSED), as_application():
        execute(statement)


@pytest.mark.django_db
def test_the_application_does_all_of_its_work_without_those_rights() -> None:
    service = factories.make_service("chat")
    with as_application():
        run(ArraySource())
        run(ArraySource())
        audit.record(actor="ana", verb="froze", obj=service, reason="incident")
        sealing.seal(10)
    assert Decision.objects.exists()
    assert [seal.kind for seal in Seal.objects.all()] == ["audit"]


@pytest.mark.django_db
def test_the_newest_decision_still_takes_equal_ones() -> None:
    service = factories.make_service("chat")
    newest = factories.make_decision(service, seq=1)
    with as_application():
        later = newest.last_at + timedelta(seconds=15)
        Decision.objects.filter(pk=newest.pk).update(count=2, last_at=later, sentence="Again.")
    newest.refresh_from_db()
    assert (newest.count, newest.sentence) == (2, "Again.")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="alone"),
        pytest.param({"count": 2}, id="counted, and not later"),
        pytest.param({"last_at": factories.NOW + timedelta(days=999)}, id="later, not counted"),
        pytest.param(
            {"count": 3, "last_at": factories.NOW + timedelta(days=999)}, id="two at once"
        ),
    ],
)
def test_the_newest_decision_is_rewritten_no_other_way_than_a_tick_lengthens_it_s22(
    given: dict[str, Any],
) -> None:
    newest = factories.make_decision(factories.make_service("chat"), seq=1)
    for forged in ({"sentence": "Forged."}, {"steps": []}, {"inputs": []}, {"load": 9.0}):
        with pytest.raises(REFUSED, match="only lengthened"), as_application():
            Decision.objects.filter(pk=newest.pk).update(**given, **forged)


@pytest.mark.django_db
def test_decisions_go_with_their_service_and_leave_a_sealed_note() -> None:
    service = a_record()
    newest = Decision.objects.get(seq=2)
    with as_application():
        service.delete()
        execute("SELECT 1")
    removal = Removal.objects.get()
    assert (removal.service, removal.rows, removal.last_id) == ("chat", 2, newest.pk)
    assert sealing.seal(10) == 1
    assert Seal.objects.order_by("seq").values_list("kind", "object_id").last() == (
        "removal",
        str(removal.pk),
    )


@pytest.mark.django_db
def test_a_history_that_is_made_anew_leaves_a_note_too() -> None:
    service = a_record()
    SimulatedService.objects.create(service=service, load={}, initial_prefill=1, initial_decode=1)
    ledger.clear()
    execute("SELECT 1")
    assert not Decision.objects.exists()
    assert Removal.objects.get().rows == 2


@pytest.mark.django_db
def test_every_record_is_queued_once_it_is_final() -> None:
    service = factories.make_service("chat")
    audit.record(actor="ana", verb="froze", obj=service)
    first = factories.make_decision(service, seq=1)
    assert [row.kind for row in ToSeal.objects.all()] == ["audit"]
    factories.make_decision(service, seq=2)
    assert list(ToSeal.objects.values_list("kind", "object_id"))[1:] == [
        ("decision", f"{service.pk}/{first.pk}")
    ]


@pytest.mark.django_db
def test_what_was_removed_before_it_was_sealed_is_not_forgotten() -> None:
    audit.record(actor="ana", verb="froze", obj=None)
    with unguarded():
        AuditEvent.objects.all().delete()
    assert sealing.seal(10) == 1
    assert Seal.objects.get().digest == "-" * 64
