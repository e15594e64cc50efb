"""What a tick makes of people's proposals, and of rules that approve by themselves."""

from datetime import timedelta

import pytest
from django.test import Client

from controller.core.approval_rules import Direction, Rule
from controller.core.budgets import USUAL
from controller.core.lifecycle import ActionState
from controller.core.overrides import OverrideKind
from controller.core.types import Instances
from controller.models import (
    Action,
    ApprovalRule,
    AuditEvent,
    Breaker,
    Freeze,
    Override,
    Proposal,
    ServiceStatus,
)
from controller.models.clock import database_now
from controller.selectors import by_hand
from controller.selectors.removals import removed_gpus
from controller.services import (
    actions,
    approval_rules,
    approvals,
    approvers,
    manual,
    overriding,
)
from controller.services.approval_rules import Named
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from controller.services.manual import Asked
from controller.services.people import CommandLine, Person
from inventory.models import Service
from inventory.snapshot import service_spec
from tests.clusters import Cluster
from tests.factories import make_action, make_service
from tests.loop.test_tick import run
from tests.pages.reading import reading
from tests.services.people import person
from tests.sources import ArraySource


def busy() -> ArraySource:
    """Return a source in which chat wants decode 4 → 6, prefill 2 → 3."""
    return ArraySource().now_reports("chat", decode_tps=6000.0)


def by_olga(service: Service, want: tuple[int, int] = (2, 5)) -> Proposal:
    return manual.propose(
        service,
        Asked(Instances(*want), "launch"),
        user=person("olga", "Operator"),
        look=by_hand.ground,
    )


def approve(proposal: Proposal, user: Person | None = None) -> Proposal:
    return approvals.approve(
        proposal.pk,
        user=user or person("ana"),
        version=proposal.version,
        fingerprint=proposal.fingerprint,
    )


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["approve", "automatic"])
def test_a_persons_proposal_is_carried_out_in_both_modes(mode: str) -> None:
    service = make_service("chat", mode=mode)
    run(ArraySource())
    made, cluster = by_olga(service), Cluster()
    approve(made)

    started = actions.start_approved(made.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED
    assert cluster.desired == Instances(2, 5)
    assert Action.objects.get().actor == "ana"
    assert actions.start_approved(made.pk).action is None, "used once (A02)"


@pytest.mark.django_db
def test_a_refreshed_body_drops_the_approvals_of_the_one_before_s18() -> None:
    make_service("chat", mode="approve")
    run(busy())
    Proposal.objects.update(needs=2)
    approve(Proposal.objects.get())

    run(busy())
    same = Proposal.objects.get()
    assert (same.version, [one.name for one in approvers.valid(same)]) == (1, ["ana"])

    run(ArraySource().now_reports("chat", decode_tps=8000.0))
    grown = Proposal.objects.get()
    assert (grown.version, grown.state, approvers.valid(grown)) == (2, "pending", [])
    with pytest.raises(ConflictError, match="look again"):
        approvals.approve(
            same.pk, user=person("ben"), version=same.version, fingerprint=same.fingerprint
        )


@pytest.mark.django_db
def test_a_tick_leaves_a_persons_proposal_to_people() -> None:
    service = make_service("chat", mode="approve")
    run(ArraySource())
    made = by_olga(service)

    for source in (busy(), ArraySource(), busy()):
        run(source)

    made.refresh_from_db()
    assert (made.state, made.version, Proposal.objects.count()) == ("pending", 1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize("what", ["counts", "policy", "mode"])
def test_a_tick_closes_a_persons_proposal_that_rests_on_nothing_any_more_a03(what: str) -> None:
    service, source = make_service("chat", mode="approve"), ArraySource()
    run(source)
    made = by_olga(service)
    if what == "counts":
        source.counts, source.versions = {"chat": Instances(2, 6)}, {"chat": "2"}
    elif what == "policy":
        service.policy.revision += 1
        service.policy.save()
    else:
        Service.objects.update(mode="automatic")

    run(source)

    made.refresh_from_db()
    assert (made.state, made.decided_at) == ("superseded", None)
    assert "changed since it was proposed" in made.closed_reason


@pytest.mark.django_db
def test_a_policy_that_changed_after_recording_stops_it_a03() -> None:
    service = make_service("chat", mode="approve")
    run(ArraySource())
    made, cluster = by_olga(service), Cluster()
    approve(made)
    started = actions.start_approved(made.pk).action
    assert started is not None
    service.policy.revision += 1
    service.policy.save()

    assert actions.run(started, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


BY_OVERRIDE = [
    pytest.param(OverrideKind.PIN, {"prefill": 2, "decode": 6}, id="a pin of 2 and 6"),
    pytest.param(OverrideKind.BOUNDS, {"decode_min": 6}, id="at least 6 decode"),
    pytest.param(OverrideKind.RATIO, {"min": 0.9, "max": 1.1}, id="as much prefill as decode"),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("kind", "values"), BY_OVERRIDE)
@pytest.mark.parametrize("who", ["ana", "command line"])
def test_nobody_approves_what_their_override_shaped_a04(
    who: str, kind: OverrideKind, values: dict[str, float], client: Client
) -> None:
    """At 2 prefill and 4 decode within tolerance: the override alone asks for more."""
    service, ana, ben = make_service("chat", mode="approve"), person("ana"), person("ben")
    setter = ana if who == "ana" else CommandLine("root")
    until = database_now() + timedelta(hours=1)
    overriding.place(kind, service, values, ends_at=until, reason="hold", user=setter)
    rule(rule=Rule(Direction.ANY))
    run(ArraySource().now_reports("chat", decode_tps=3900.0))
    proposal = Proposal.objects.get()
    assert "),." not in proposal.sentence
    assert proposal.state == "pending", "no rule approves what a person asked for"

    with pytest.raises(ForbiddenError, match=r"another person approves it"):
        approve(proposal, user=setter)
    if who == "ana":
        client.force_login(ana)
        assert "another person approves it" in reading(client, f"/approvals/{proposal.pk}/")
        assert f"/approvals/{proposal.pk}/" not in client.get("/approvals/").content.decode()
    client.force_login(ben)
    assert "(you may)" in reading(client, f"/approvals/{proposal.pk}/")
    assert approve(proposal, user=ben).state == "approved"


@pytest.mark.django_db
def test_a_changed_basis_is_told_on_the_card_and_refused_a03(client: Client) -> None:
    service, ana = make_service("chat", mode="approve"), person("ana")
    run(busy())
    proposal = Proposal.objects.get()
    client.force_login(ana)
    assert "unchanged since proposed" in reading(client, f"/approvals/{proposal.pk}/")
    until = database_now() + timedelta(hours=1)
    pin = {"prefill": 2, "decode": 4}
    overriding.place(OverrideKind.PIN, service, pin, ends_at=until, reason="hold", user=ana)
    assert "an override was set" in reading(client, f"/approvals/{proposal.pk}/")
    with pytest.raises(ConflictError, match="An override was set, changed or ended since"):
        approve(proposal, user=ana)
    Service.objects.update(mode="observe")
    with pytest.raises(ConflictError, match="in mode observe now; an override"):
        approve(proposal, user=ana)
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
def test_a_roll_back_of_a_doubling_goes_as_far_as_a_step_s3() -> None:
    """From 16 decode a quarter is 4, so to 12; from 8 prefill the least step of 4 is to 4."""
    service = make_service("chat", mode="approve")
    ServiceStatus.objects.update(
        prefill_desired=8, decode_desired=16, prefill_ready=8, decode_ready=16
    )
    ends = {"from_prefill": 4, "from_decode": 8, "to_prefill": 8, "to_decode": 16}
    action = make_action(service, state="ready", applied_at=database_now(), **ends)

    made = manual.roll_back(action.pk, user=person("olga"), reason="undo", look=by_hand.ground)

    assert (made.to_prefill, made.to_decode) == (4, 12)
    assert "roll back again for" in made.sentence


@pytest.mark.django_db
def test_the_command_line_does_not_approve_what_it_proposed_a04() -> None:
    service = make_service("chat", mode="approve")
    run(ArraySource())
    asked = Asked(Instances(2, 5), "launch")
    made = manual.propose(service, asked, user=CommandLine("root"), look=by_hand.ground)

    with pytest.raises(ForbiddenError, match=r"^command line \(root\) asked for this change"):
        approve(made, user=CommandLine("root"))


def rule(**fields: object) -> ApprovalRule:
    """Return a rule of night-out, saved by an admin."""
    named = Named(**{"name": "night-out", "rule": Rule(most_gpus=8)} | fields)  # type: ignore[arg-type]
    return approval_rules.save(named, user=person("root", "Admin"), reason="small ones")


@pytest.mark.django_db
def test_a_rule_approves_what_passes_it_and_is_named() -> None:
    make_service("chat", mode="approve")
    made = rule()
    run(busy())

    found, cluster = Proposal.objects.get(), Cluster()
    assert (found.state, found.rule, found.decided_by) == ("approved", made, None)
    assert found.decided_reason == "rule night-out, revision 1"
    started = actions.start_approved(found.pk).action
    assert started is not None
    assert actions.run(started, actuator_of=cluster.of) == ActionState.APPLIED
    assert Action.objects.get().actor == "rule night-out, revision 1"
    event = AuditEvent.objects.get(verb="approved")
    assert (event.actor, event.reason) == ("rule night-out, revision 1", "small ones")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"rule": Rule(most_gpus=5)}, "6 GPUs of 5", id="6 GPUs of 5"),
        pytest.param({"rule": Rule(Direction.IN)}, "out", id="scale-out under a rule of scale-in"),
        pytest.param({"is_enabled": False}, "off", id="switched off"),
    ],
)
def test_what_does_not_pass_waits_for_a_person(fields: dict[str, object], why: str) -> None:
    make_service("chat", mode="approve")
    rule(**fields)
    run(busy())
    assert Proposal.objects.get().state == "pending", why


@pytest.mark.django_db
@pytest.mark.parametrize("stop", ["needs", "breaker", "freeze", "scope"])
def test_no_rule_approves_what_is_for_people(stop: str, settings: object) -> None:
    service = make_service("chat", mode="approve")
    other = make_service("code", mode="approve")
    if stop == "needs":
        settings.SECOND_APPROVER_GPUS = 5  # type: ignore[attr-defined]
    elif stop == "breaker":
        Breaker.objects.create(cluster=service.cluster, opened_at=database_now(), cause="x")
    rule(about=other if stop == "scope" else None)
    run(busy())
    if stop == "freeze":
        Proposal.objects.update(state="pending", rule=None)
        Freeze.objects.create(by_name="ana", reason="x", since=database_now())
        run(busy())
    assert not Proposal.objects.filter(service=service, state="approved").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("how", ["revised", "off", "breaker"])
def test_at_execution_the_rule_must_be_in_force_still(how: str) -> None:
    make_service("chat", mode="approve")
    rule()
    run(busy())
    root = person("adam", "Admin")
    if how == "revised":
        approval_rules.save(
            Named("night-out", Rule(most_gpus=7), opened=1), user=root, reason="less"
        )
    elif how == "off":
        approval_rules.set_enabled(
            "night-out", is_enabled=False, opened=1, user=root, reason="off"
        )
    else:
        Breaker.objects.create(opened_at=database_now(), cause="x")

    start = actions.start_approved(Proposal.objects.get().pk)

    assert start.action is None
    assert Proposal.objects.get().state == "stale"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("old_s", "day", "why"),
    [
        pytest.param(0, "today", "", id="fresh and in its hours"),
        pytest.param(119, "today", "", id="119 s old of 120 s"),
        pytest.param(121, "today", "metrics 121 s old", id="121 s old of 120 s"),
        pytest.param(0, "another", "at this time of the week", id="its hours have passed"),
    ],
)
def test_by_rule_nothing_runs_on_old_metrics_or_outside_its_hours_s6(
    old_s: int, day: str, why: str
) -> None:
    make_service("chat", mode="approve")
    rule()
    run(busy())
    proposal = Proposal.objects.get()
    weekday = database_now().weekday()
    ApprovalRule.objects.update(days=[weekday if day == "today" else (weekday + 3) % 7])
    Proposal.objects.update(evidence_at=database_now() - timedelta(seconds=old_s))

    start = actions.start_approved(proposal.pk)

    proposal.refresh_from_db()
    assert (start.action is None, proposal.state) == (
        (True, "stale") if why else (False, "applying")
    )
    assert why in start.refused


@pytest.mark.django_db
def test_what_a_rule_approved_grows_too_old_before_it_is_sent_s6() -> None:
    make_service("chat", mode="approve")
    rule()
    run(busy())
    start, cluster = actions.start_approved(Proposal.objects.get().pk), Cluster()
    assert start.action is not None
    Proposal.objects.update(evidence_at=database_now() - timedelta(seconds=121))

    assert actions.run(start.action, actuator_of=cluster.of) == ActionState.CANCELLED
    assert cluster.writes == []


@pytest.mark.django_db
def test_editing_a_rule_keeps_every_revision_and_needs_what_was_seen() -> None:
    first, root = rule(), person("adam", "Admin")
    second = approval_rules.save(
        Named("night-out", Rule(most_gpus=4), opened=1), user=root, reason="less"
    )

    first.refresh_from_db()
    assert (second.revision, first.superseded_at is None) == (2, False)
    with pytest.raises(ConflictError, match="adam saved revision 2"):
        approval_rules.save(Named("night-out", Rule(), opened=1), user=root, reason="more")
    with pytest.raises(ForbiddenError, match="role Admin"):
        approval_rules.save(
            Named("night-out", Rule(), opened=2), user=person("ana"), reason="more"
        )
    with pytest.raises(InvalidError, match="time zone"):
        approval_rules.save(Named("b", Rule(time_zone="Mars/Olympus")), user=root, reason="x")


@pytest.mark.django_db
def test_what_a_rule_let_go_counts_as_removed_without_a_person_s4() -> None:
    make_service("chat", mode="approve")
    rule()
    run(busy())
    found = Proposal.objects.get()
    actions.start_approved(found.pk)
    now = database_now()
    Action.objects.update(from_decode=6, to_decode=4, recorded_at=now - timedelta(seconds=5))

    specs = [service_spec(Service.objects.get())]
    assert removed_gpus(specs, now, USUAL) == 4


@pytest.mark.django_db
def test_whoever_pinned_the_counts_does_not_approve_what_follows() -> None:
    service, ana, now = make_service("chat", mode="approve"), person("ana"), database_now()
    Override.objects.create(
        service=service, kind="pin", values={"prefill": 2, "decode": 5}, reason="launch", by=ana,
        by_name="ana", made_at=now, starts_at=now, ends_at=now + timedelta(hours=1),
    )  # fmt: skip
    run(ArraySource())
    found = Proposal.objects.get()

    assert (found.to_decode, found.requested_by) == (5, ana)
    with pytest.raises(ForbiddenError, match="another person approves it"):
        approvals.approve(found.pk, user=ana, version=found.version, fingerprint=found.fingerprint)
