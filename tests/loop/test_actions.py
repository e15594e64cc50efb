"""Actions from recorded to ready: sent once, read back, and never lost whatever fails."""

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connections

from controller import tasks, wiring
from controller.core.approval import fingerprint
from controller.core.lifecycle import ActionState
from controller.core.registration import InStep
from controller.core.types import Instances, Mode
from controller.models import Action, AuditEvent, Decision, Freeze, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.selectors.freezes import requests_outstanding
from controller.services import actions, objections
from controller.services.freezes import freeze
from controller.services.rows import basis_of
from inventory.models import Service
from inventory.snapshot import service_spec
from tests.clusters import Cluster
from tests.factories import make_proposal, make_service
from tests.services.people import person
from tests.tampering import unguarded


def make_action(service: Service, **fields: object) -> Action:
    given = {
        "id": uuid.uuid4(), "actor": "policy proportional, revision 1", "epoch": 1,
        "reason": "Decode 4 → 6.", "from_prefill": 2, "from_decode": 4, "to_prefill": 3,
        "to_decode": 6, "resource_version": "1", "recorded_at": database_now(),
    } | fields  # fmt: skip
    return Action.objects.create(service=service, **given)


def approver(name: str = "ana") -> User:
    user = User.objects.create_user(name)
    user.user_permissions.add(Permission.objects.get(codename="approve_proposal"))
    return user


def make_approved(service: Service, **fields: object) -> Proposal:
    """Return a proposal of 2/4 → 3/6 that ana approved on the basis that holds now."""
    basis = basis_of(service_spec(service), Instances(2, 4), "1")
    return make_proposal(
        service,
        **{
            "state": "approved",
            "decided_by": approver(),
            "fingerprint": fingerprint(basis, Instances(3, 6)),
            "expires_at": database_now() + timedelta(minutes=5),
        }
        | fields,
    )


@pytest.mark.django_db
def test_an_action_is_sent_read_back_and_applied_s15() -> None:
    service, cluster = make_service(), Cluster()
    action = make_action(service)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.APPLIED
    action.refresh_from_db()
    assert cluster.desired == Instances(3, 6)
    assert action.sent_at <= action.applied_at
    status = ServiceStatus.objects.get()
    assert (status.decode_desired, status.resource_version) == (6, "2")


@pytest.mark.django_db
def test_running_an_action_again_sends_nothing_r05() -> None:
    cluster = Cluster()
    action = make_action(make_service())
    for _ in range(3):
        actions.run(action.pk, actuator_of=cluster.of)
    assert len(cluster.writes) == 1


@pytest.mark.django_db(transaction=True)
def test_of_many_workers_one_sends() -> None:
    cluster = Cluster()
    action = make_action(make_service())

    def work() -> None:
        try:
            actions.run(action.pk, actuator_of=cluster.of)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cluster.writes == [str(action.pk)]
    assert Action.objects.get().attempts == 1


@pytest.mark.django_db
def test_a_conflict_fails_the_action_and_leaves_the_next_tick_to_decide_k01() -> None:
    cluster = Cluster(version=9)
    action = make_action(make_service())
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.FAILED
    assert cluster.desired == Instances(2, 4)
    assert "Changed outside" in Action.objects.get().error


@pytest.mark.django_db
def test_a_refusal_fails_the_action_with_its_words() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["refused"])
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.FAILED
    assert "quota exceeded" in Action.objects.get().error


@pytest.mark.django_db
def test_an_older_epoch_is_refused_by_the_cluster_s12() -> None:
    action = make_action(make_service(), epoch=3)
    cluster = Cluster(last_epoch=7)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.FAILED
    assert cluster.writes == []


def age_sending(action: Action) -> None:
    """Let the time pass within which a request may arrive."""
    long_ago = database_now() - timedelta(seconds=actions.ANSWER_WITHIN_S + 1)
    Action.objects.filter(pk=action.pk).update(sent_at=long_ago)


@pytest.mark.django_db
def test_a_lost_answer_is_read_back_and_counts_once_k04_s14() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["answer lost"])
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.APPLIED
    assert len(cluster.writes) == 1


@pytest.mark.django_db
def test_a_request_that_never_arrived_is_sent_again_under_the_same_id_k05() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["dropped"])
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    assert cluster.writes == []
    age_sending(action)
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.APPLIED
    assert cluster.writes == [str(action.pk)]
    assert Action.objects.get().attempts == 2


@pytest.mark.django_db
def test_a_freeze_is_not_complete_while_a_slow_request_may_arrive_s16() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["dropped"])
    actions.run(action.pk, actuator_of=cluster.of)
    freeze(about=None, user=person("ana", "Operator"), reason="incident")
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    assert requests_outstanding(None) == 1
    age_sending(action)
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert (requests_outstanding(None), cluster.writes) == (0, [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("stood_s", "meanwhile", "writes", "state"),
    [
        pytest.param(91, "freeze, given up", 0, "cancelled", id="91 s, frozen and given up"),
        pytest.param(91, "given up", 1, "applied", id="91 s, sent again by another meanwhile"),
        pytest.param(1, "freeze", 0, "cancelled", id="1 s, frozen meanwhile"),
        pytest.param(1, "file", 0, "cancelled", id="1 s, frozen by the file meanwhile"),
        pytest.param(61, "", 1, "applied", id="61 s: 30 s more might be 91, claimed anew"),
        pytest.param(59, "", 1, "applied", id="59 s: at most 89 s when it takes effect"),
    ],
)
def test_a_worker_that_stood_still_after_its_claim_writes_nothing_late_s16_p02(  # noqa: PLR0913, PLR0917
    settings: Any, tmp_path: Path, stood_s: int, meanwhile: str, writes: int, state: str
) -> None:
    settings.HOME = tmp_path
    action, cluster, stood = make_action(make_service()), Cluster(), []

    def thawed(service: Service) -> Cluster:
        """Stand still between the claim and the request, the first time."""
        if stood:
            return cluster.of(service)
        stood.append(stood_s)
        Action.objects.update(sent_at=database_now() - timedelta(seconds=stood_s))
        if "freeze" in meanwhile:
            freeze(about=None, user=person("ana", "Operator"), reason="incident")
        if meanwhile == "file":
            (tmp_path / "FREEZE").write_text("incident")
        if "given up" in meanwhile:
            actions.resolve(action.pk, actuator_of=cluster.of)
            assert requests_outstanding(None) == 0
        return cluster

    assert actions.run(action.pk, actuator_of=thawed) == state
    assert len(cluster.writes) == writes
    assert Action.objects.get().state == state


@pytest.mark.django_db
def test_what_an_earlier_attempt_hears_late_changes_nothing_of_a_later_one_p02() -> None:
    action, cluster = make_action(make_service()), Cluster(trouble=["dropped"])
    actions.run(action.pk, actuator_of=cluster.of)
    slow = Action.objects.get()
    age_sending(action)
    Action.objects.update(state="sent", attempts=2)

    slow.state = ActionState.SENT
    actions.end(slow, ActionState.FAILED, "The cluster refused: too old")

    assert Action.objects.get().state == "sent"


@pytest.mark.django_db
def test_an_unknown_outcome_stays_unknown_while_nothing_can_be_read() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["answer lost"], blind=True)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    cluster.blind = False
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.APPLIED


@pytest.mark.django_db
def test_a_cluster_that_rewrites_the_wish_is_told_so_k18() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["rewritten"])
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.FAILED
    assert "holds prefill 3, decode 3 instead of prefill 3, decode 6" in Action.objects.get().error


@pytest.mark.django_db
def test_someone_else_wrote_while_the_answer_was_missing() -> None:
    action = make_action(make_service())
    cluster = Cluster(trouble=["dropped"])
    actions.run(action.pk, actuator_of=cluster.of)
    cluster.version, cluster.desired = 5, Instances(1, 1)
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.UNKNOWN
    age_sending(action)
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.FAILED
    assert cluster.writes == []


@pytest.mark.django_db
@pytest.mark.parametrize("scope", ["fleet", "service", "file", "unreadable file"])
def test_a_freeze_cancels_what_is_not_sent_yet_s16(
    scope: str, settings: object, tmp_path: object
) -> None:
    service = make_service()
    settings.HOME = tmp_path  # type: ignore[attr-defined]
    if scope == "file":
        (tmp_path / "FREEZE").write_text("incident 7")  # type: ignore[operator]
    elif scope == "unreadable file":
        (tmp_path / "FREEZE").mkdir()  # type: ignore[operator]
    else:
        Freeze.objects.create(
            service=service if scope == "service" else None,
            by_name="ana", reason="incident 7", since=database_now(),
        )  # fmt: skip
    cluster = Cluster()
    action = make_action(service)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []
    assert "Frozen" in Action.objects.get().error


@pytest.mark.django_db
def test_a_freeze_also_stops_the_second_try() -> None:
    service = make_service()
    action = make_action(service)
    cluster = Cluster(trouble=["dropped"])
    actions.run(action.pk, actuator_of=cluster.of)
    Freeze.objects.create(service=None, by_name="ana", reason="stop", since=database_now())
    age_sending(action)
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


@pytest.mark.django_db
def test_an_action_nobody_sent_in_time_is_cancelled() -> None:
    late = database_now() - timedelta(seconds=objections.SEND_WITHIN_S + 1)
    action = make_action(make_service(), recorded_at=late)
    cluster = Cluster()
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


@pytest.mark.django_db
@pytest.mark.parametrize("after", ["claim", "send", "read back"])
def test_a_worker_killed_in_the_middle_ends_the_same_p01(
    after: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    action = make_action(make_service())
    cluster = Cluster()

    class KilledError(BaseException):
        pass

    def die(*_args: object, **_kwargs: object) -> None:
        raise KilledError

    name = {"claim": "_send", "send": "_read_back", "read back": "_applied"}[after]
    monkeypatch.setattr(actions, name, die)
    with pytest.raises(KilledError):
        actions.run(action.pk, actuator_of=cluster.of)
    monkeypatch.undo()
    assert Action.objects.get().state == ActionState.SENT
    long_ago = database_now() - timedelta(seconds=actions.ANSWER_WITHIN_S + 1)
    Action.objects.update(sent_at=long_ago)
    found = actions.due(database_now())
    assert found.unanswered == [action.pk], "the sweep finds it"
    assert actions.resolve(action.pk, actuator_of=cluster.of) == ActionState.APPLIED
    assert cluster.writes == [str(action.pk)]
    assert cluster.desired == Instances(3, 6)


@pytest.mark.django_db
def test_the_sweep_finds_everything_accepted() -> None:
    approved = make_approved(make_service("a"))
    early = database_now() - timedelta(seconds=10)
    recorded = make_action(make_service("b"), recorded_at=early)
    unknown = make_action(make_service("c"), state="unknown", sent_at=early)
    make_action(make_service("d"), state="sent", sent_at=early)
    found = actions.due(database_now())
    assert (found.approved, found.recorded, found.unanswered) == (
        [approved.pk], [recorded.pk], [unknown.pk],
    )  # fmt: skip


@pytest.mark.django_db
def test_an_applied_action_becomes_ready_or_says_what_is_lacking() -> None:
    service = make_service()
    action = make_action(service, state="applied", applied_at=database_now())
    actions.follow(database_now())
    assert Action.objects.get().state == "applied"
    later = database_now() + timedelta(seconds=1)
    ServiceStatus.objects.update(prefill_ready=3, decode_ready=6, observed_at=later)
    actions.follow(later)
    action.refresh_from_db()
    assert (action.state, action.ready_at) == ("ready", later)


@pytest.mark.django_db
def test_an_action_that_never_gets_ready_ends_l2() -> None:
    long_ago = database_now() - timedelta(seconds=actions.READY_WITHIN_S + 1)
    make_action(make_service(), state="applied", applied_at=long_ago)
    actions.follow(database_now())
    action = Action.objects.get()
    assert action.state == "failed"
    assert "2 of 3 prefill" in action.error
    assert "4 of 6 decode" in action.error


@pytest.mark.django_db
def test_an_action_is_not_late_while_somebody_may_wait_to_be_registered() -> None:
    now = database_now()
    long_ago = now - timedelta(seconds=actions.READY_WITHIN_S + 1)
    rule = InStep(0.45, 0.5, 0.55, Instances(1, 1), now.timestamp() - 1)
    action = make_action(
        make_service(), state="applied", applied_at=long_ago, in_step=rule.plain()
    )
    actions.follow(now)
    action.refresh_from_db()
    assert action.state == "applied"
    actions.follow(now + timedelta(seconds=actions.REGISTERED_WITHIN_S))
    action.refresh_from_db()
    assert action.state == "failed"


@pytest.mark.django_db
def test_the_order_carries_the_rule_that_was_recorded_s10() -> None:
    rule = InStep(0.45, 0.5, 0.55, Instances(1, 1), 1e9)
    cluster = Cluster()
    actions.run(make_action(make_service(), in_step=rule.plain()).pk, actuator_of=cluster.of)
    assert cluster.in_step == rule


@pytest.mark.django_db
def test_what_a_person_approved_waits_from_then_on() -> None:
    proposal = make_approved(make_service(mode="approve"))
    Decision.objects.filter(pk=proposal.decision_id).update(forecast={"lead_s": 50.0})
    before_s = database_now().timestamp()
    actions.start_approved(proposal.pk)
    kept = Action.objects.get().in_step
    # 2 x 50 s from the start of the action on; 3 / 6 = 0.5, a quarter of it to either side.
    assert kept["until_s"] == pytest.approx(before_s + 100, abs=5)
    assert (kept["least_ratio"], kept["most_ratio"]) == (0.375, 0.625)


@pytest.mark.django_db
def test_an_approved_proposal_becomes_an_action_and_ends_applied() -> None:
    service = make_service(mode="approve")
    proposal = make_approved(service)
    start = actions.start_approved(proposal.pk)
    assert start.action is not None
    assert Proposal.objects.get().state == "applying"
    assert Action.objects.get().actor == "ana"
    assert actions.start_approved(proposal.pk).action is None, "each approval is spent once (S18)"
    cluster = Cluster()
    actions.run(start.action, actuator_of=cluster.of)
    assert Proposal.objects.get().state == "applied"
    assert cluster.desired == Instances(3, 6)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "state",
    ["pending", "applying", "applied", "failed", "rejected", "expired", "superseded", "withdrawn",
     "stale"],
)  # fmt: skip
def test_no_other_state_runs_s18(state: str) -> None:
    proposal = make_approved(make_service(mode="approve"), state=state)
    start = actions.start_approved(proposal.pk)
    assert start.action is None
    assert start.refused
    assert Proposal.objects.get().state == state
    assert not Action.objects.exists()


def _counts_moved(service: Service) -> None:
    ServiceStatus.objects.filter(service=service).update(decode_desired=5, resource_version="2")


def _policy_changed(service: Service) -> None:
    service.policy.revision = 2
    service.policy.save()


def _mode_changed(service: Service) -> None:
    service.mode = Mode.OBSERVE
    service.save()


def _approval_asked(service: Service) -> None:
    service.mode = Mode.APPROVE
    service.save()


def _frozen(service: Service) -> None:
    Freeze.objects.create(service=service, by_name="bo", reason="wait", since=database_now())


def _right_taken(_service: Service) -> None:
    User.objects.get(username="ana").user_permissions.clear()


def _account_disabled(_service: Service) -> None:
    User.objects.filter(username="ana").update(is_active=False)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_counts_moved, "stands at", id="counts moved outside"),
        pytest.param(_policy_changed, "policy", id="policy changed"),
        pytest.param(_mode_changed, "mode", id="mode changed"),
        pytest.param(_frozen, "Frozen", id="frozen meanwhile"),
        pytest.param(_right_taken, "no longer has the right", id="approver lost the right"),
        pytest.param(_account_disabled, "no longer has the right", id="approver disabled"),
    ],
)
def test_a_changed_basis_makes_an_approval_stale_a03_a04(change: object, words: str) -> None:
    service = make_service(mode="approve")
    proposal = make_approved(service)
    change(service)  # type: ignore[operator]
    start = actions.start_approved(proposal.pk)
    assert start.action is None
    proposal.refresh_from_db()
    assert proposal.state == "stale"
    assert words in proposal.closed_reason
    assert AuditEvent.objects.filter(verb="proposal stale").exists()


@pytest.mark.django_db
def test_an_approval_that_expired_before_it_ran_does_not_run() -> None:
    expired = database_now() - timedelta(seconds=1)
    proposal = make_approved(make_service(mode="approve"), expires_at=expired)
    assert actions.start_approved(proposal.pk).action is None
    assert Proposal.objects.get().state == "expired"


@pytest.mark.django_db
def test_a_failed_action_fails_its_proposal() -> None:
    proposal = make_approved(make_service(mode="approve"))
    start = actions.start_approved(proposal.pk)
    assert start.action is not None
    actions.run(start.action, actuator_of=Cluster(version=9).of)
    proposal.refresh_from_db()
    assert proposal.state == "failed"
    assert "Changed outside" in proposal.closed_reason


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(_policy_changed, "policy", id="policy changed"),
        pytest.param(_mode_changed, "mode", id="mode changed"),
        pytest.param(_frozen, "Frozen", id="frozen meanwhile"),
        pytest.param(_right_taken, "no longer has the right", id="approver lost the right"),
        pytest.param(_account_disabled, "no longer has the right", id="approver disabled"),
        pytest.param(
            lambda _service: Proposal.objects.update(expires_at=database_now()),
            "expired", id="approval expired",
        ),
    ],
)  # fmt: skip
def test_what_changes_between_recording_and_sending_stops_it_s17_s18(
    change: object, words: str
) -> None:
    service, cluster = make_service(mode="approve"), Cluster()
    start = actions.start_approved(make_approved(service).pk)
    assert start.action is not None
    change(service)  # type: ignore[operator]
    assert actions.run(start.action, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []
    assert words in Action.objects.get().error
    assert Proposal.objects.get().state == "failed"


@pytest.mark.django_db
@pytest.mark.parametrize("change", [_mode_changed, _approval_asked])
def test_an_approval_of_an_automatic_service_is_bound_to_its_mode_s17(
    change: Callable[[Service], None],
) -> None:
    """As of a removal beyond the fleet's budget: proposed although the service is automatic."""
    service = make_service()
    proposal = make_approved(service)
    change(service)
    assert actions.start_approved(proposal.pk).action is None
    proposal.refresh_from_db()
    assert proposal.state == "stale"
    assert "mode" in proposal.closed_reason


@pytest.mark.django_db
@pytest.mark.parametrize("change", [_mode_changed, _approval_asked])
def test_so_is_the_action_made_of_it_s17(change: Callable[[Service], None]) -> None:
    service, cluster = make_service(), Cluster()
    start = actions.start_approved(make_approved(service).pk)
    assert start.action is not None
    change(service)
    assert actions.run(start.action, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []
    assert f"in mode {service.mode} now" in Action.objects.get().error


@pytest.mark.django_db
def test_nothing_is_sent_of_an_observed_service_whatever_its_decision_says_s17() -> None:
    service, cluster = make_service(mode="approve"), Cluster()
    start = actions.start_approved(make_approved(service).pk)
    assert start.action is not None
    with unguarded():
        Decision.objects.update(mode=Mode.OBSERVE)
    _mode_changed(service)
    assert actions.run(start.action, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


@pytest.mark.django_db
def test_a_mode_that_changes_between_the_look_and_the_send_stops_it_s17(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service, cluster = make_service(), Cluster()
    action = make_action(service)

    def look(_action: Action) -> str:
        Service.objects.update(mode=Mode.OBSERVE)
        return ""

    monkeypatch.setattr(objections, "may_not_send", look)
    actions.run(action.pk, actuator_of=cluster.of)
    assert cluster.writes == []


@pytest.mark.django_db
def test_an_automatic_action_is_not_sent_once_the_service_is_only_observed_s17() -> None:
    service, cluster = make_service(mode="automatic"), Cluster()
    action = make_action(service)
    _mode_changed(service)
    assert actions.run(action.pk, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


@pytest.mark.django_db
def test_one_item_that_fails_stops_no_other_of_the_sweep_s24(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    early = database_now() - timedelta(seconds=10)
    broken = make_approved(make_service("a", mode="approve"))
    broken.service.slo.delete()
    make_action(make_service("b"), recorded_at=early)
    make_action(make_service("c"), recorded_at=early)
    cluster, sent = Cluster(), []

    def of(service: Service) -> Cluster:
        if service.slug == "b":
            raise KeyError("no cluster of that kind")
        sent.append(service.slug)
        return cluster

    monkeypatch.setattr(wiring, "actuator_of", of)
    tasks.sweep()
    broken.refresh_from_db()
    assert broken.state == "stale"
    assert sent == ["c"]
    assert cluster.desired == Instances(3, 6)


@pytest.mark.django_db
def test_an_approval_waits_while_another_change_is_under_way_s11() -> None:
    service = make_service(mode="approve")
    proposal = make_approved(service)
    other = make_action(service)
    start = actions.start_approved(proposal.pk)
    assert start.action is None
    assert "under way" in start.refused
    assert Proposal.objects.get().state == "approved", "it is kept for the next sweep"
    Action.objects.filter(pk=other.pk).update(state="ready")
    assert actions.start_approved(proposal.pk).action is not None


@pytest.mark.django_db
def test_only_a_change_that_a_cluster_took_starts_a_cooldown() -> None:
    refused = make_action(make_service("a"))
    actions.run(refused.pk, actuator_of=Cluster(trouble=["refused"]).of)
    taken = make_action(make_service("b"))
    actions.run(taken.pk, actuator_of=Cluster().of)
    assert ServiceStatus.objects.get(service__slug="a").last_scale_out_at is None
    assert ServiceStatus.objects.get(service__slug="b").last_scale_out_at is not None


@pytest.mark.django_db
def test_an_applied_action_gone_wrong_ends_and_stops_no_other_s24() -> None:
    hour_ago = database_now() - timedelta(hours=1)
    for slug, in_step in (("chat", {"bad": 1}), ("code", None)):
        fields = {"state": "applied", "applied_at": hour_ago, "in_step": in_step}
        make_action(make_service(slug), **fields)
    actions.follow(database_now())
    assert set(Action.objects.values_list("state", flat=True)) == {"failed"}
