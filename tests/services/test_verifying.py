"""As a super-user everything can be changed, and it is found out (S22, D09)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.core.chain import End, linked
from controller.models import AuditEvent, ChainCheck, Decision, Removal, Seal, ToSeal
from controller.services import anchoring, audit, sealing, verifying
from inventory.models import Service
from tests import factories
from tests.tampering import unguarded


@pytest.fixture
def anchor(tmp_path: Path, settings: LazySettings) -> Path:
    """Where the end of the chain is written down in these tests."""
    settings.AUDIT_ANCHOR = tmp_path / "anchor.jsonl"
    return settings.AUDIT_ANCHOR


@pytest.fixture
def service(db: None, anchor: Path) -> Service:
    """Six sealed records: three closed decisions of one service and three events; anchored."""
    del db
    service = factories.make_service("chat")
    for _ in range(4):
        factories.make_decision(service)
    for reason in ("one", "two", "three"):
        audit.record(actor="ana", verb="froze", obj=service, reason=reason)
    assert sealing.seal(100) == 6
    assert anchoring.keep(anchor, timezone.now(), every_s=600.0) is not None
    return service


def verified(anchor: Path) -> tuple[str, str, str] | None:
    fault = verifying.verify(anchor).fault
    return None if fault is None else (fault.what, fault.kind, fault.name)


def execute(statement: str) -> None:
    with unguarded(), connection.cursor() as cursor:
        cursor.execute(statement)


def seal_anew(after: int) -> None:
    """Forge the chain as one who knows how it is made: from the records as they are now."""
    rows = list(Seal.objects.filter(seq__gt=after).order_by("seq"))
    found = sealing.digests_of([(row.kind, row.object_id) for row in rows])
    before = Seal.objects.filter(seq=after).first()
    end = End(before.seq, before.hash) if before else End()
    kept = [row for row in rows if (row.kind, row.object_id) in found]
    named = [(row.kind, row.object_id) for row in kept]
    with unguarded():
        Seal.objects.filter(seq__gt=after).delete()
        Seal.objects.bulk_create(
            Seal(seq=x.seq, kind=x.kind, object_id=x.name, digest=x.digest, hash=x.hash, at=row.at)
            for x, row in zip(
                linked(end, [(*one, found[one]) for one in named]), kept, strict=True
            )
        )


@pytest.mark.django_db
def test_what_nobody_touched_is_verified(service: Service, anchor: Path) -> None:
    del service
    outcome = verifying.verify(anchor)
    assert (outcome.fault, outcome.seals, outcome.waiting, outcome.anchors) == (None, 6, 0, 1)


@pytest.mark.django_db
def test_a_changed_event_is_named_s22(service: Service, anchor: Path) -> None:
    del service
    changed = AuditEvent.objects.get(reason="two")
    with unguarded():
        AuditEvent.objects.filter(pk=changed.pk).update(actor="bo")
    assert verified(anchor) == ("changed", "audit", str(changed.pk))


@pytest.mark.django_db
def test_a_changed_decision_is_named_s22(service: Service, anchor: Path) -> None:
    changed = Decision.objects.get(seq=2)
    with unguarded():
        Decision.objects.filter(pk=changed.pk).update(final_decode=9)
    assert verified(anchor) == ("changed", "decision", f"{service.pk}/{changed.pk}")


@pytest.mark.django_db
def test_an_event_removed_from_the_middle_is_named(service: Service, anchor: Path) -> None:
    del service
    gone = AuditEvent.objects.get(reason="two").pk
    with unguarded():
        AuditEvent.objects.filter(pk=gone).delete()
    assert verified(anchor) == ("missing", "audit", str(gone))


@pytest.mark.django_db
def test_a_decision_removed_from_the_middle_is_named(service: Service, anchor: Path) -> None:
    gone = Decision.objects.get(seq=2).pk
    with unguarded():
        Decision.objects.filter(pk=gone).delete()
    assert verified(anchor) == ("missing", "decision", f"{service.pk}/{gone}")


@pytest.mark.django_db
def test_a_removed_seal_is_named(service: Service, anchor: Path) -> None:
    del service
    execute("DELETE FROM controller_seal WHERE seq = 3")
    assert verified(anchor) == ("missing", "seal", "3")


@pytest.mark.django_db
def test_a_tail_cut_off_with_its_seals_is_found_by_the_anchor(
    service: Service, anchor: Path
) -> None:
    del service
    with unguarded():
        AuditEvent.objects.filter(reason="three").delete()
        Seal.objects.filter(seq=6).delete()
    assert verified(anchor) == ("cut_off", "seal", "6")
    assert verified(anchor.with_name("none.jsonl")) is None, "without the anchor it is not seen"


@pytest.mark.django_db
def test_a_chain_made_anew_over_changed_records_is_found_by_the_anchor(
    service: Service, anchor: Path
) -> None:
    del service
    with unguarded():
        AuditEvent.objects.filter(reason="one").update(actor="bo")
    seal_anew(0)
    assert verified(anchor.with_name("none.jsonl")) is None
    assert verified(anchor) == ("changed", "seal", "6")


@pytest.mark.django_db
def test_an_event_put_there_around_the_guards_is_named(service: Service, anchor: Path) -> None:
    del service
    with unguarded():
        extra = AuditEvent.objects.create(
            at=factories.NOW, actor="bo", verb="approved", object_type="fleet", object_id=""
        )
    assert verified(anchor) == ("unsealed", "audit", str(extra.pk))


@pytest.mark.django_db
def test_a_decision_put_there_around_the_guards_is_named(service: Service, anchor: Path) -> None:
    with unguarded():
        extra = factories.make_decision(service, seq=0)
    assert verified(anchor) == ("unsealed", "decision", f"{service.pk}/{extra.pk}")


@pytest.mark.django_db
def test_the_newest_decision_removed_leaves_a_gap_in_the_numbers(
    service: Service, anchor: Path
) -> None:
    with unguarded():
        factories.make_decision(service, seq=7)
    assert verified(anchor) is not None


@pytest.mark.django_db
def test_decisions_that_went_with_their_service_are_no_fault(
    service: Service, anchor: Path
) -> None:
    service.delete()
    sealing.seal(100)
    outcome = verifying.verify(anchor)
    assert (outcome.fault, outcome.removed) == (None, 3)


@pytest.mark.django_db
def test_a_removal_excuses_no_more_than_it_says(service: Service, anchor: Path) -> None:
    pk = service.pk
    service.delete()
    with unguarded():
        Removal.objects.filter(service_id=pk).update(rows=1)
    sealing.seal(100)
    found = verified(anchor)
    assert found is not None
    assert found[:2] == ("missing", "decision")


def forge(service: Service, gone: list[Decision], rows: int) -> Removal:
    """Take decisions away as a super-user, and note a removal that never was."""
    with unguarded():
        Decision.objects.filter(pk__in=[one.pk for one in gone]).delete()
        return Removal.objects.create(
            service_id=service.pk,
            service="chat",
            rows=rows,
            last_id=max(one.pk for one in gone),
            at=timezone.now(),
            role="heteroscale",
            transaction="1",
        )


@pytest.mark.django_db
@pytest.mark.parametrize("seq", [1, 2], ids=["all four went", "the three newest went"])
def test_a_removal_without_a_seal_excuses_nothing_s22(
    service: Service, anchor: Path, seq: int
) -> None:
    gone = list(Decision.objects.filter(seq__gte=seq).order_by("pk"))
    forge(service, gone, rows=len(gone))
    assert verified(anchor) == ("missing", "decision", f"{service.pk}/{gone[0].pk}")


@pytest.mark.django_db
def test_a_removal_put_there_around_the_guards_is_named_by_the_command_and_the_sweep(
    service: Service, anchor: Path
) -> None:
    gone = factories.make_decision(factories.make_service("gone"))
    removal = forge(service, [gone], rows=1)
    assert verified(anchor) == ("unsealed", "removal", str(removal.pk))
    verifying.advance(timezone.now())
    assert "has no seal" in ChainCheck.objects.get().problem


@pytest.mark.django_db
def test_a_sealed_removal_that_was_changed_since_excuses_nothing_s22(
    service: Service, anchor: Path
) -> None:
    other = factories.make_service("other")
    for _ in range(2):
        factories.make_decision(other)
    other.delete()
    sealing.seal(100)
    gone = list(Decision.objects.filter(service=service).order_by("pk"))
    with unguarded():
        Decision.objects.filter(service=service).delete()
        Removal.objects.update(service_id=service.pk, rows=4, last_id=gone[-1].pk)
    assert verified(anchor) == ("missing", "decision", f"{service.pk}/{gone[0].pk}")


@pytest.mark.django_db
def test_a_sealed_removal_that_left_older_decisions_is_named_s22(
    service: Service, anchor: Path
) -> None:
    # Also one that was queued and sealed like a true one: a service's decisions go all at once.
    removal = forge(service, list(Decision.objects.filter(seq__gte=2)), rows=3)
    with unguarded():
        ToSeal.objects.create(kind="removal", object_id=str(removal.pk))
    for wait in (True, False):
        assert verified(anchor) == ("missing", "removal", str(removal.pk)), f"waiting: {wait}"
        sealing.seal(100)
    verifying.advance(timezone.now())
    assert "left older ones" in ChainCheck.objects.get().problem


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("rows", "fault"),
    [
        pytest.param(4, None, id="three sealed and the newest: 4"),
        pytest.param(5, "changed", id="one more than there were"),
    ],
)
def test_a_removal_says_how_many_there_were_s22(
    service: Service, anchor: Path, rows: int, fault: str | None
) -> None:
    removal = forge(service, list(Decision.objects.all()), rows=rows)
    with unguarded():
        ToSeal.objects.create(kind="removal", object_id=str(removal.pk))
    sealing.seal(100)
    found = verified(anchor)
    assert (found and found[0]) == fault


@pytest.mark.django_db
def test_what_waits_when_its_service_goes_is_no_fault(service: Service, anchor: Path) -> None:
    for _ in range(3):
        factories.make_decision(service)
    service.delete()
    for is_sealed in (False, True):
        assert verified(anchor) is None, f"sealed: {is_sealed}"
        sealing.seal(100)


@pytest.mark.django_db
def test_the_anchor_grows_with_the_chain_and_not_faster_than_told(
    service: Service, anchor: Path
) -> None:
    del service
    now = timezone.now()
    assert anchoring.keep(anchor, now + timedelta(hours=1), every_s=600.0) is None, "same end"
    audit.record(actor="ana", verb="froze", obj=None)
    sealing.seal(100)
    assert anchoring.keep(anchor, now + timedelta(minutes=9), every_s=600.0) is None
    assert anchoring.keep(anchor, now + timedelta(minutes=11), every_s=600.0) is not None
    lines = [json.loads(line) for line in anchor.read_text().splitlines()]
    assert [line["seq"] for line in lines] == [6, 7]
    assert anchor.stat().st_mode & 0o777 == 0o600


@pytest.mark.django_db
def test_nothing_is_anchored_over_what_contradicts_the_chain(
    service: Service, anchor: Path
) -> None:
    del service
    with unguarded():
        Seal.objects.filter(seq__gt=4).delete()
    for _ in range(5):
        audit.record(actor="bo", verb="froze", obj=None)
    sealing.seal(100)
    later = timezone.now() + timedelta(hours=1)
    assert anchoring.keep(anchor, later, every_s=600.0) is None
    assert len(anchor.read_text().splitlines()) == 1


@pytest.mark.django_db
def test_the_sweep_follows_the_chain_and_tells_what_is_wrong_for_as_long_as_it_is(
    service: Service, anchor: Path
) -> None:
    del service, anchor
    now = timezone.now()
    verifying.advance(now)
    check = ChainCheck.objects.get()
    assert (check.checked_to, check.problem) == (6, "")

    actor = AuditEvent.objects.get(reason="two").actor
    with unguarded():
        AuditEvent.objects.filter(reason="two").update(actor="bo")
    verifying.advance(now)
    check.refresh_from_db()
    assert "was changed after it was sealed" in check.problem
    verifying.advance(now + timedelta(minutes=1))
    check.refresh_from_db()
    assert check.problem_at == now

    with unguarded():
        AuditEvent.objects.filter(reason="two").update(actor=actor)
    verifying.advance(now)
    check.refresh_from_db()
    assert (check.problem, check.problem_at) == ("", None)


@pytest.mark.django_db
def test_the_sweep_sees_a_tail_that_is_gone(service: Service, anchor: Path) -> None:
    del service
    verifying.advance(timezone.now())
    with unguarded():
        AuditEvent.objects.filter(reason="three").delete()
        Seal.objects.filter(seq=6).delete()
    anchor.unlink()
    verifying.advance(timezone.now())
    assert "Seal 6, which was verified before, is missing" in ChainCheck.objects.get().problem


@pytest.mark.django_db
@pytest.mark.parametrize("records", [5, 50])
def test_the_sweep_asks_no_more_for_more_records(
    service: Service, anchor: Path, records: int
) -> None:
    del service, anchor
    for _ in range(records):
        audit.record(actor="ana", verb="froze", obj=None)
    with CaptureQueriesContext(connection) as sealed:
        sealing.seal(100)
    with CaptureQueriesContext(connection) as checked:
        verifying.advance(timezone.now())
    assert (len(sealed), len(checked)) == (10, 26)


@pytest.mark.django_db
def test_the_command_answers_people_and_programs(
    service: Service, anchor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del service
    call_command("verify_audit")
    assert "The chain is verified up to" in capsys.readouterr().out
    call_command("verify_audit", "--json", "--anchor", str(anchor))
    answer = json.loads(capsys.readouterr().out)
    assert (answer["verified"], answer["records"], answer["fault"]) == (True, 6, None)

    with unguarded():
        AuditEvent.objects.filter(reason="two").update(actor="bo")
    with pytest.raises(SystemExit) as stopped:
        call_command("verify_audit", "--json")
    assert stopped.value.code == 1
    assert json.loads(capsys.readouterr().out)["fault"]["what"] == "changed"


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["not json\n", '{"seq": 1}\n', '{"seq":1,"hash":"x","at":"?"}\n'])
def test_a_file_of_anchors_that_can_not_be_read_is_bad_input(
    service: Service, anchor: Path, text: str
) -> None:
    del service
    anchor.write_text(text)
    with pytest.raises(CommandError, match="is no anchor") as fault:
        call_command("verify_audit")
    assert fault.value.returncode == 2
    with pytest.raises(CommandError, match="is not a file"):
        call_command("verify_audit", "--anchor", str(anchor.with_name("none")))
    verifying.advance(timezone.now())
    assert "is no anchor" in ChainCheck.objects.get().problem


@pytest.mark.django_db
def test_the_sweep_comes_round_all_of_it_and_says_since_when_s22(
    service: Service, anchor: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six records, two at each look: three looks go round, and find what was changed meanwhile."""
    del service, anchor
    monkeypatch.setattr(verifying, "AGAIN_AT_ONCE", 2)
    first = timezone.now()
    looks = [first + timedelta(seconds=10 * i) for i in range(6)]
    for at, whole_at in zip(looks[:4], [None, None, first, first], strict=True):
        verifying.advance(at)
        assert ChainCheck.objects.get().whole_at == whole_at
    with unguarded():
        AuditEvent.objects.filter(reason="three").update(actor="bo")
        AuditEvent.objects.filter(reason="two").update(actor="bo")
    verifying.advance(looks[4])
    verifying.advance(looks[5])
    check = ChainCheck.objects.get()
    assert check.problem.count("was changed after it was sealed") >= 1
    assert check.whole_at == first


@pytest.mark.django_db
def test_every_changed_record_of_a_stretch_is_named_s22(
    service: Service, anchor: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del service, anchor
    with unguarded():
        AuditEvent.objects.filter(reason__in=["one", "three"]).update(actor="bo")
    verifying.advance(timezone.now())
    assert ChainCheck.objects.get().problem.count("was changed after it was sealed") == 2
    with pytest.raises(SystemExit):
        call_command("verify_audit")
    assert capsys.readouterr().out.count("was changed after it was sealed") == 2
