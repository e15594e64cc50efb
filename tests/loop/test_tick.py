"""One tick on real rows: what it leaves behind, once, and for whom."""

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection, connections
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings

from controller import loop
from controller.core import cycle
from controller.core.approval import fingerprint
from controller.core.memory import Memory, remember
from controller.core.ports import Pool
from controller.core.types import Instances, Mode
from controller.core.words import clean
from controller.models import (
    Action,
    AuditEvent,
    ControllerLease,
    Decision,
    DecisionTally,
    Freeze,
    OutsideChange,
    PoolSample,
    Proposal,
    Sample,
    ServiceStatus,
    Tick,
)
from controller.models.clock import database_now
from controller.selectors import memory
from controller.services import actions, leadership
from controller.services.errors import NotLeadingError
from controller.services.leadership import Lease
from controller.services.rows import basis_of
from inventory.models import InventoryVersion, Service
from inventory.services.versions import stamp
from inventory.snapshot import service_spec
from tests import factories
from tests.clusters import Cluster
from tests.factories import NOW, make_service
from tests.sources import HEALTHY, ArraySource
from tests.tampering import unguarded

SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)


def lead(holder: str = "test") -> Lease:
    lease = leadership.take(holder, seconds=60)
    assert lease is not None
    return lease


def run(source: ArraySource, lease: Lease | None = None) -> loop.Report:
    """Run one tick as if a period had passed since the last."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    return loop.run(lease or lead(), source_of=lambda _: source, settings=SETTINGS)


@pytest.mark.django_db
def test_a_tick_leaves_a_decision_a_sample_and_a_status_for_each_service() -> None:
    chat, code = make_service("chat"), make_service("code")
    report = run(ArraySource())
    assert report.decisions == 2
    for service in (chat, code):
        decision = Decision.objects.get(service=service)
        assert (decision.seq, decision.count, decision.move) == (1, 1, "hold")
        assert decision.steps[0]["name"] == "policy"
        assert {"name", "value", "unit", "age_s", "quality"} <= decision.inputs[0].keys()
        assert Sample.objects.get(service=service).decode_tps == 4000.0
        assert ServiceStatus.objects.get(service=service).decision == decision
    pool = PoolSample.objects.get()
    assert (pool.total, pool.free) == (4000, 3000)
    tick = Tick.objects.get()
    assert (tick.services, tick.fresh, tick.failures) == (2, 2, {})
    assert set(tick.stages_ms) >= {"gather", "observe", "decide", "record"}


@pytest.mark.django_db
def test_what_a_service_does_not_report_is_null_and_never_zero() -> None:
    service = make_service("chat")
    run(ArraySource(values={"chat": {"decode_tps": 4000.0}}))
    sample = Sample.objects.get(service=service)
    assert (sample.decode_tps, sample.ttft_s, sample.request_rps) == (4000.0, None, None)


@pytest.mark.django_db
def test_equal_holds_share_one_row_with_first_last_and_count() -> None:
    make_service("chat")
    for _ in range(3):
        run(ArraySource())
    decision = Decision.objects.get()
    assert (decision.count, decision.seq) == (3, 1)
    assert decision.first_at < decision.last_at
    assert DecisionTally.objects.get(move="hold").total == 3
    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    assert list(Decision.objects.order_by("seq").values_list("seq", flat=True)) == [1, 2]


@pytest.mark.django_db
def test_a_decision_names_the_newest_inventory_it_saw_s20() -> None:
    make_service("chat")
    run(ArraySource())
    assert Decision.objects.get().inventory_version == 0
    newest = stamp(InventoryVersion.Cause.EDIT, "ana")
    run(ArraySource())
    assert Decision.objects.get().inventory_version == newest, "an equal hold joins, and saw it"
    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    assert set(Decision.objects.values_list("inventory_version", flat=True)) == {newest}


@pytest.mark.django_db
def test_an_automatic_service_gets_an_action_that_is_recorded_and_not_sent() -> None:
    service = make_service("chat", mode="automatic")
    report = run(ArraySource().now_reports("chat", decode_tps=6000.0))
    action = Action.objects.get()
    assert report.actions == (action.pk,)
    assert (action.state, action.sent_at, action.from_decode) == ("recorded", None, 4)
    assert Instances(action.to_prefill, action.to_decode) == Instances(3, 6)
    assert action.decision == Decision.objects.get(service=service)
    assert ServiceStatus.objects.get().last_scale_out_at is None, "no cooldown before it happened"
    run(ArraySource().now_reports("chat", decode_tps=6000.0))
    assert Action.objects.count() == 1, "one in flight per service (S11)"
    assert ServiceStatus.objects.get().decision.code in {"IN_PROGRESS", "COOLDOWN"}


@pytest.mark.django_db
def test_an_observed_service_only_leaves_a_record() -> None:
    make_service("chat", mode="observe")
    run(ArraySource().now_reports("chat", decode_tps=6000.0))
    decision = Decision.objects.get()
    assert (decision.code, decision.gate, decision.final_decode) == ("ADVISORY_ONLY", "record", 6)
    assert not Action.objects.exists(), "advisory writes nothing (S17)"
    assert not Proposal.objects.exists()


@pytest.mark.django_db
def test_a_proposal_is_made_confirmed_changed_and_superseded() -> None:
    make_service("chat", mode="approve")
    busy = ArraySource().now_reports("chat", decode_tps=6000.0)
    run(busy)
    proposal = Proposal.objects.get()
    assert (proposal.state, proposal.to_prefill, proposal.to_decode) == ("pending", 3, 6)
    run(busy)
    again = Proposal.objects.get()
    assert again.evidence_at > proposal.evidence_at
    assert (again.version, again.fingerprint) == (1, proposal.fingerprint)
    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    grown = Proposal.objects.get()
    assert (grown.version, grown.to_decode) == (2, 8)
    assert grown.fingerprint != proposal.fingerprint
    run(ArraySource())
    assert Proposal.objects.get().state == "pending", "a pause takes it from nobody who reads it"
    Proposal.objects.update(evidence_at="2000-01-01T00:00:00Z")
    ServiceStatus.objects.update(outlook={})  # else the peak of these five minutes is kept up
    run(ArraySource())
    done = Proposal.objects.get()
    assert done.state == "superseded"
    assert "No longer wanted" in done.closed_reason


@pytest.mark.django_db
def test_a_service_that_does_not_answer_is_blocked_alone_s24() -> None:
    make_service("chat")
    make_service("code")
    report = run(ArraySource(silent=frozenset({"code"})))
    assert report.decisions == 2
    blocked = Decision.objects.get(service__slug="code")
    assert (blocked.move, blocked.code) == ("blocked", "METRIC_MISSING")
    assert ServiceStatus.objects.get(service__slug="code").failure == "It did not answer."
    assert Decision.objects.get(service__slug="chat").move == "hold"


@pytest.mark.django_db
def test_a_service_without_a_policy_is_blocked_with_words_c01() -> None:
    broken = make_service("broken")
    broken.policy.delete()
    make_service("chat")
    run(ArraySource())
    decision = Decision.objects.get(service=broken)
    assert (decision.move, decision.code) == ("blocked", "CONFIG_INVALID")
    assert "no policy" in decision.sentence
    assert Decision.objects.get(service__slug="chat").move == "hold"


@pytest.mark.django_db
def test_a_policy_row_that_makes_no_sense_blocks_only_its_service_c01() -> None:
    make_service("odd", policy={"target": -5.0})
    make_service("chat")
    run(ArraySource())
    assert Decision.objects.get(service__slug="odd").code == "CONFIG_INVALID"
    assert Decision.objects.get(service__slug="chat").move == "hold"


@pytest.mark.django_db
def test_a_decision_that_raises_is_blocked_alone_s24(monkeypatch: pytest.MonkeyPatch) -> None:
    make_service("chat")
    make_service("code")
    decide = cycle.decide

    def breaks(ctx: object) -> object:
        if ctx.spec.key == "code":  # type: ignore[attr-defined]
            raise ZeroDivisionError("a defect")
        return decide(ctx)  # type: ignore[arg-type]

    monkeypatch.setattr(cycle, "decide", breaks)
    run(ArraySource())
    assert Decision.objects.get(service__slug="code").code == "EXECUTOR_ERROR"
    assert Decision.objects.get(service__slug="chat").move == "hold"


@pytest.mark.django_db
def test_missing_metrics_hold_and_say_so_s6() -> None:
    make_service("chat")
    run(ArraySource(values={"chat": {}}))
    decision = Decision.objects.get()
    assert decision.code == "METRIC_MISSING"
    assert (decision.final_prefill, decision.final_decode) == (2, 4)
    assert Tick.objects.get().fresh == 0


@pytest.mark.django_db
def test_a_freeze_holds_what_was_wanted() -> None:
    service = make_service("chat")
    Freeze.objects.create(service=service, by_name="ana", reason="incident 7", since=NOW)
    run(ArraySource().now_reports("chat", decode_tps=6000.0))
    decision = Decision.objects.get()
    assert (decision.move, decision.code) == ("blocked", "FROZEN")
    assert "ana" in decision.sentence
    assert not Action.objects.exists()


@pytest.mark.django_db
def test_breach_times_start_stay_and_end() -> None:
    make_service("chat")
    run(ArraySource().now_reports("chat", ttft_s=1.4))
    since = ServiceStatus.objects.get().ttft_breach_since
    assert since is not None
    run(ArraySource().now_reports("chat", ttft_s=1.5))
    assert ServiceStatus.objects.get().ttft_breach_since == since
    run(ArraySource(values={"chat": {k: v for k, v in HEALTHY.items() if k != "ttft_s"}}))
    assert ServiceStatus.objects.get().ttft_breach_since == since, "unreadable changes nothing"
    run(ArraySource())
    assert ServiceStatus.objects.get().ttft_breach_since is None


@pytest.mark.django_db
def test_a_second_tick_within_the_period_is_no_tick() -> None:
    make_service("chat")
    assert run(ArraySource()).slot is not None
    report = loop.run(lead(), source_of=lambda _: ArraySource(), settings=SETTINGS)
    assert report.slot is None
    assert Decision.objects.get().count == 1


@pytest.mark.django_db(transaction=True)
def test_fifty_queued_ticks_are_one_decision_p04() -> None:
    make_service("chat")
    done: list[object] = []

    def one(number: int) -> None:
        try:
            lease = leadership.take(f"worker {number}", seconds=60)
            if lease is None:
                done.append(None)
                return
            try:
                report = loop.run(lease, source_of=lambda _: ArraySource(), settings=SETTINGS)
                done.append(report.slot)
            finally:
                leadership.give_back(lease)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == 50
    assert len([slot for slot in done if slot is not None]) == 1
    assert Decision.objects.get().count == 1


@pytest.mark.django_db(transaction=True)
def test_an_old_epoch_writes_nothing_p02_s12() -> None:
    make_service("chat")
    old = lead("frozen worker")
    ControllerLease.objects.update(expires_at="2000-01-01T00:00:00Z")
    new = lead("replacement")
    assert new.epoch == old.epoch + 1
    with pytest.raises(NotLeadingError):
        run(ArraySource(), old)
    assert not Decision.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_lease_lost_while_deciding_writes_nothing_p06() -> None:
    make_service("chat")
    lease = lead("slow worker")

    class TakenMeanwhile(ArraySource):
        def observe(self, services: object, *, now_s: float) -> object:  # type: ignore[override]
            ControllerLease.objects.update(expires_at="2000-01-01T00:00:00Z")
            lead("replacement")
            return super().observe(services, now_s=now_s)  # type: ignore[arg-type]

    with pytest.raises(NotLeadingError):
        run(TakenMeanwhile(), lease)
    assert not Decision.objects.exists()
    assert not Sample.objects.exists()


@pytest.mark.django_db
def test_an_action_started_meanwhile_costs_nobody_the_tick_s11_s24() -> None:
    chat, code = make_service("chat"), make_service("code")

    class ApprovedMeanwhile(ArraySource):
        def observe(self, services: object, *, now_s: float) -> object:  # type: ignore[override]
            Action.objects.create(
                id=uuid.uuid4(), service=chat, actor="ana", epoch=1, reason="approved",
                from_prefill=2, from_decode=4, to_prefill=3, to_decode=6, resource_version="1",
                recorded_at=NOW,
            )  # fmt: skip
            return super().observe(services, now_s=now_s)  # type: ignore[arg-type]

    busy = {**HEALTHY, "decode_tps": 6000.0}
    report = run(ApprovedMeanwhile(values={"chat": busy, "code": busy}))
    assert Action.objects.get(service=chat).actor == "ana"
    assert report.actions == (Action.objects.get(service=code).pk,)
    assert ServiceStatus.objects.get(service=chat).last_scale_out_at is None


@pytest.mark.django_db
def test_only_one_holder_leads_and_it_may_renew() -> None:
    first = lead("a")
    assert leadership.take("b", seconds=60) is None
    assert lead("a").epoch == first.epoch
    leadership.give_back(first)
    assert lead("b").epoch == first.epoch + 1


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_services() -> None:
    counts = []
    for fleet in (3, 9):
        Service.objects.all().delete()
        for number in range(fleet):
            make_service(f"s{number}", mode=("automatic", "approve", "observe")[number % 3])
        with CaptureQueriesContext(connection) as first:
            run(ArraySource())
        with CaptureQueriesContext(connection) as later:
            run(ArraySource())
        counts.append((len(first), len(later)))
    assert counts[0] == counts[1]


@pytest.mark.django_db
def test_the_memory_is_the_same_after_a_restart_s23() -> None:
    make_service("chat", policy={"stabilisation_s": 300.0})
    source = ArraySource().now_reports("chat", decode_tps=6000.0)
    seen: list[object] = []
    real: Callable[..., object] = cycle.decide

    def spy(ctx: object) -> object:
        seen.append(ctx)
        return real(ctx)

    cycle.decide, before = spy, cycle.decide  # type: ignore[assignment]
    try:
        run(source)
    finally:
        cycle.decide = before
    ctx = seen[0]
    decision = before(ctx)  # type: ignore[arg-type]
    kept = remember(
        Memory(history=ctx.history),  # type: ignore[attr-defined]
        decision,
        slo=ctx.spec.slo,  # type: ignore[attr-defined]
        keep_s=300.0,
        acted=True,
    )
    actions.run(Action.objects.get().pk, actuator_of=Cluster().of)
    lease = lead()
    read = memory.read(lease.now, keep_s=3600.0).of("chat")
    assert read.history.last_scale_out_s == pytest.approx(kept.history.last_scale_out_s, abs=10)
    assert [wish.want for wish in read.history.wishes] == [
        wish.want for wish in kept.history.wishes
    ]
    assert read.head is not None
    assert kept.head is not None
    assert (read.head.seq, read.head.identity) == (kept.head.seq, kept.head.identity)


@pytest.mark.django_db
def test_a_stretch_nobody_watched_starts_a_new_row_s23_m18() -> None:
    make_service("chat")
    run(ArraySource())
    with unguarded():
        Decision.objects.update(first_at="2000-01-01T00:00:00Z", last_at="2000-01-01T00:00:00Z")
    run(ArraySource())
    assert [row.count for row in Decision.objects.order_by("seq")] == [1, 1]


@pytest.mark.django_db
def test_after_an_outage_nothing_shrinks_on_a_window_nobody_watched_m18() -> None:
    make_service("chat")
    quiet = ArraySource().now_reports("chat", decode_tps=800.0, tbt_s=0.01, prefill_util=0.2)
    run(quiet)
    ago = database_now() - timedelta(minutes=10)
    with unguarded():
        Decision.objects.update(first_at=ago - timedelta(minutes=10), last_at=ago)
    for _ in range(3):
        run(quiet)
    newest = Decision.objects.order_by("-seq").first()
    assert newest is not None
    assert (newest.code, newest.final_decode) == ("FLAP_PREVENTED", 4)


@pytest.mark.django_db
def test_free_gpus_are_given_once_and_to_the_higher_priority_s2() -> None:
    for slug, priority in (("low", 1), ("high", 9)):
        make_service(slug, priority=priority)
    busy = {**HEALTHY, "decode_tps": 6000.0}
    six_free = (Pool("eu-1-a", "h800", 40, 34, 0, 6, 0, 0, 0, 0, 6),)
    run(ArraySource(values={"low": busy, "high": busy}, pools=six_free))
    grown = {
        d.service.slug: 2 * (d.final_prefill + d.final_decode - 6)
        for d in Decision.objects.select_related("service")
    }
    assert grown["high"] == 6
    assert grown["low"] == 0


@pytest.mark.django_db
def test_counts_changed_outside_are_not_overwritten_in_the_tick_they_are_seen_s25() -> None:
    make_service("chat")
    run(ArraySource())
    changed = ArraySource(versions={"chat": "7"}, counts={"chat": Instances(2, 3)})
    run(changed.now_reports("chat", decode_tps=6000.0))
    first = Decision.objects.order_by("-seq").first()
    assert first is not None
    assert first.code == "CHANGED_OUTSIDE"
    assert "decode 4" in first.sentence
    run(changed.now_reports("chat", decode_tps=6000.0))
    assert Action.objects.exists(), "the next tick acts"


def outside_changes() -> list[tuple[int, int, str]]:
    """Return decode before and after each change from outside, and its answer."""
    rows = OutsideChange.objects.order_by("id")
    return list(rows.values_list("from_decode", "to_decode", "answer"))


@pytest.mark.django_db
def test_a_change_from_outside_is_told_once_until_the_next_s25() -> None:
    make_service("chat", policy={"theta_in": 0.9})
    run(ArraySource())
    seen = ArraySource(versions={"chat": "7"}, counts={"chat": Instances(2, 5)})
    run(seen)
    assert Decision.objects.order_by("-seq")[0].move == "hold", "also where nothing is wanted"
    run(seen)
    assert outside_changes() == [(4, 5, "")]
    event = AuditEvent.objects.get(verb="changed from outside")
    assert (event.service, event.before, event.after) == (
        "chat",
        {"prefill": 2, "decode": 4},
        {"prefill": 2, "decode": 5},
    )
    run(ArraySource(versions={"chat": "8"}, counts={"chat": Instances(2, 5)}))
    assert outside_changes() == [(4, 5, "")], "another version of the object, the same counts"
    run(ArraySource(versions={"chat": "9"}, counts={"chat": Instances(2, 4)}))
    assert outside_changes() == [(4, 5, "overtaken"), (5, 4, "")]
    Service.objects.update(mode="observe")
    run(ArraySource(versions={"chat": "10"}, counts={"chat": Instances(2, 6)}))
    assert outside_changes() == [(4, 5, "overtaken"), (5, 4, "overtaken")], "only observed"


@pytest.mark.django_db
def test_what_an_action_of_ours_wrote_while_a_tick_looked_is_not_from_outside_s25() -> None:
    service = make_service("chat")
    run(ArraySource())

    class Meanwhile(ArraySource):
        def observe(self, services: object, *, now_s: float) -> object:  # type: ignore[override]
            given = {"decision": None, "to_prefill": 2, "to_decode": 5, "recorded_at": NOW}
            factories.make_action(service, state="sent", sent_at=NOW, **given)
            return super().observe(services, now_s=now_s)  # type: ignore[arg-type]

    run(Meanwhile(versions={"chat": "7"}, counts={"chat": Instances(2, 5)}))
    assert outside_changes() == []
    run(ArraySource(versions={"chat": "8"}, counts={"chat": Instances(2, 7)}))
    assert outside_changes() == [(5, 7, "")], "5 was ours, under way; 7 is nobody's wish"


@pytest.mark.django_db
def test_a_target_far_too_small_asks_for_no_impossible_counts_s24() -> None:
    make_service("odd", policy={"target": 1e-6, "pd_ratio": 1000.0})
    make_service("chat")
    run(ArraySource())
    odd = Decision.objects.get(service__slug="odd")
    assert 0 < odd.raw_decode <= 100_000
    assert 0 < odd.raw_prefill <= 100_000
    assert odd.final_decode <= 40
    assert Decision.objects.get(service__slug="chat").move == "hold"


@pytest.mark.django_db
def test_text_from_outside_can_hold_anything(settings: Settings, tmp_path: Path) -> None:
    settings.HOME = tmp_path
    (tmp_path / "FREEZE").write_bytes(b"stop\x00now \xff")
    make_service("chat")
    make_service("code")

    class Rude(ArraySource):
        def observe(self, services: object, *, now_s: float) -> object:  # type: ignore[override]
            view = super().observe(services, now_s=now_s)  # type: ignore[arg-type]
            return replace(view, failures={"code": "half \ud800 and \x00"})

    run(Rude(silent=frozenset({"code"})).now_reports("chat", decode_tps=6000.0))
    assert "stopnow" in Decision.objects.get(service__slug="chat").sentence
    assert "half ? and" in Decision.objects.get(service__slug="code").sentence


@pytest.mark.django_db
def test_a_blind_tick_leaves_an_open_proposal_alone() -> None:
    make_service("chat", mode="approve")
    run(ArraySource().now_reports("chat", decode_tps=6000.0))
    run(ArraySource(values={"chat": {}}))
    run(ArraySource(silent=frozenset({"chat"})))
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["observe", "automatic"])
def test_a_blind_tick_in_another_mode_ends_what_could_only_become_stale(mode: str) -> None:
    make_service("chat", mode="approve")
    run(ArraySource().now_reports("chat", decode_tps=6000.0))
    Service.objects.update(mode=mode)
    run(ArraySource(values={"chat": {}}))
    assert Proposal.objects.get().state == "superseded"


@pytest.mark.django_db
def test_a_proposal_that_rests_on_another_mode_is_made_anew_s18() -> None:
    service = make_service("chat", mode="approve")
    busy = ArraySource().now_reports("chat", decode_tps=6000.0)
    run(busy)
    first = Proposal.objects.get()
    other = replace(service_spec(service), mode=Mode.AUTOMATIC)
    basis = basis_of(other, Instances(2, 4), first.resource_version)
    Proposal.objects.update(fingerprint=fingerprint(basis, Instances(3, 6)))
    run(busy)
    again = Proposal.objects.get()
    assert (again.version, again.fingerprint) == (2, first.fingerprint)


@pytest.mark.django_db
def test_a_proposal_is_not_rewritten_for_a_trifle() -> None:
    make_service("chat", mode="approve", limits={"maximum": 90})
    counts = {"chat": Instances(20, 40)}

    def asks(tps: float) -> ArraySource:
        return ArraySource(values={"chat": {**HEALTHY, "decode_tps": tps}}, counts=counts)

    run(asks(44_500.0))
    first = Proposal.objects.get()
    run(asks(45_500.0))
    same = Proposal.objects.get()
    assert (same.version, same.fingerprint, same.to_decode) == (1, first.fingerprint, 45)
    assert same.evidence_at > first.evidence_at
    run(asks(60_000.0))
    assert Proposal.objects.get().version == 2


@pytest.mark.django_db
def test_a_reason_cannot_turn_the_numbers_of_a_sentence_around() -> None:
    assert clean("no \u202e154\u2066 now\r\nplease\x00") == "no 154 now  please"
