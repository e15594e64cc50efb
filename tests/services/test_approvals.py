"""A proposal is decided once, by one person, as it was shown (A01, A02, P05, S18)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from controller.core.lifecycle import PROPOSAL_MOVES, TERMINAL_PROPOSALS, ProposalState
from controller.models import AuditEvent, Freeze, Proposal
from controller.models.clock import database_now
from controller.services import actions, approvals, freezes
from controller.services.errors import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    MissingError,
)
from tests.services.people import at_once, person, waiting

SEEN = "0" * 64


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The proposals a worker was asked to carry out."""
    asked: list[int] = []
    monkeypatch.setattr(actions, "enqueue_approved", asked.append)
    return asked


def approve(proposal: Proposal, user: User, **other: object) -> Proposal:
    given = {"version": proposal.version, "fingerprint": SEEN} | other
    return approvals.approve(proposal.pk, user=user, **given)


def reject(proposal: Proposal, user: User, reason: str = "not now") -> Proposal:
    return approvals.reject(proposal.pk, user=user, version=proposal.version, reason=reason)


@pytest.mark.django_db
def test_an_approval_is_recorded_and_then_handed_over(
    sent: list[int], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    proposal, ana = waiting(), person("ana")

    with django_capture_on_commit_callbacks(execute=True):
        done = approve(proposal, ana, reason="looks right")

    assert (done.state, done.decided_by, done.decided_reason) == ("approved", ana, "looks right")
    assert sent == [proposal.pk]
    event = AuditEvent.objects.get()
    assert (event.actor, event.verb, event.object_id) == ("ana", "approved", str(proposal.pk))
    assert (event.service, event.reason) == ("chat", "looks right")
    assert event.after["to"] == {"prefill": 3, "decode": 6}


@pytest.mark.django_db
def test_the_same_person_approving_twice_counts_once(
    sent: list[int], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    proposal, ana = waiting(), person("ana")

    with django_capture_on_commit_callbacks(execute=True):
        first, second = approve(proposal, ana), approve(proposal, ana)

    assert first.decided_at == second.decided_at
    assert sent == [proposal.pk]
    assert AuditEvent.objects.filter(verb="approved").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "other", "words"),
    [
        pytest.param({"left_s": -60}, {}, "This proposal expired at", id="its time is over"),
        pytest.param(
            {}, {"version": 7}, "The controller changed it to decode 4 → 6", id="version"
        ),
        pytest.param({}, {"fingerprint": "f" * 64}, "look again", id="fingerprint"),
        pytest.param({"state": "superseded"}, {}, "A newer proposal", id="superseded"),
        pytest.param({"state": "stale"}, {}, "is stale", id="stale"),
        pytest.param({"state": "withdrawn"}, {}, "is withdrawn", id="withdrawn"),
    ],
)
def test_what_no_longer_stands_as_seen_is_refused_in_words(
    fields: dict[str, object], other: dict[str, object], words: str, sent: list[int]
) -> None:
    proposal = waiting(**fields)  # type: ignore[arg-type]

    with pytest.raises(ConflictError, match=words):
        approve(proposal, person("ana"), **other)

    proposal.refresh_from_db()
    assert proposal.state == fields.get("state", "pending")
    assert sent == []


@pytest.mark.django_db
def test_nothing_is_approved_while_frozen() -> None:
    proposal, ana = waiting(), person("ana")
    freezes.freeze(about=None, user=ana, reason="incident 8812")

    with pytest.raises(ConflictError, match=r"ana froze the fleet.*incident 8812"):
        approve(proposal, ana)

    Freeze.objects.update(ended_at=timezone.now())
    assert approve(proposal, ana).state == "approved"


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Operator", "Policy editor"])
def test_deciding_needs_the_right_and_the_attempt_is_kept(role: str) -> None:
    proposal, eve = waiting(), person("eve", role)

    for act in (approve, reject):
        with pytest.raises(ForbiddenError, match="needs the role Approver"):
            act(proposal, eve)

    assert AuditEvent.objects.filter(actor="eve", verb__startswith="was refused").count() == 2


@pytest.mark.django_db
def test_a_disabled_approver_may_not_decide() -> None:
    ana = person("ana")
    ana.is_active = False

    with pytest.raises(ForbiddenError):
        approve(waiting(), ana)


@pytest.mark.django_db
@pytest.mark.parametrize("reason", ["", "  ", "\x00", "x" * 1001])
def test_a_rejection_needs_a_reason_of_a_readable_length(reason: str) -> None:
    with pytest.raises(InvalidError, match="reason"):
        reject(waiting(), person("ana"), reason)


@pytest.mark.django_db
def test_a_rejection_closes_with_its_reason() -> None:
    done = reject(waiting(), person("ana"), "the load is a test")

    assert (done.state, done.closed_reason) == (
        "rejected",
        "Rejected by ana: the load is a test",
    )


@pytest.mark.django_db
def test_an_unknown_proposal_is_missing() -> None:
    with pytest.raises(MissingError):
        approvals.approve(999, user=person("ana"), version=1, fingerprint=SEEN)


@pytest.mark.django_db
@pytest.mark.parametrize("state", sorted(TERMINAL_PROPOSALS))
def test_a_terminal_state_has_no_successor(state: ProposalState) -> None:
    proposal, ana = waiting(state=state), person("ana")

    for act in (approve, reject):
        with pytest.raises(ConflictError):
            act(proposal, ana)
    assert approvals.expire_due(timezone.now() + timedelta(days=1)) == 0

    proposal.refresh_from_db()
    assert proposal.state == state
    assert PROPOSAL_MOVES[state] == frozenset()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("state", "why"),
    [
        pytest.param("pending", "Nobody decided before it expired.", id="pending"),
        pytest.param("approved", "It was approved, but not carried out", id="approved"),
    ],
)
def test_what_is_overdue_expires_with_the_reason(state: str, why: str) -> None:
    proposal, now = waiting(left_s=-1, state=state), timezone.now()

    assert approvals.expire_due(now) == 1
    assert approvals.expire_due(now) == 0

    proposal.refresh_from_db()
    assert (proposal.state, proposal.closed_at) == ("expired", now)
    assert proposal.closed_reason.startswith(why)


@pytest.mark.django_db
def test_a_clock_that_runs_ahead_expires_nothing_early() -> None:
    waiting(left_s=600)

    assert approvals.expire_due(timezone.now() + timedelta(hours=1)) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("ahead_s", [-3600, 3600])
def test_expiry_goes_by_the_databases_clock_t01(
    ahead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_one, late, ana = waiting("open", left_s=60), waiting("late", left_s=-60), person("ana")
    real = timezone.now
    monkeypatch.setattr(timezone, "now", lambda: real() + timedelta(seconds=ahead_s))

    with pytest.raises(ConflictError, match="expired at"):
        approve(late, ana)
    assert approve(open_one, ana).state == "approved"
    assert approvals.expire_due(database_now()) == 1
    assert actions.start_approved(late.pk).action is None
    Proposal.objects.filter(pk=open_one.pk).update(expires_at=real() - timedelta(seconds=1))
    assert actions.start_approved(open_one.pk).action is None
    assert set(Proposal.objects.values_list("state", flat=True)) == {"expired"}


def _race(
    proposal: Proposal, *acts: Callable[[], object]
) -> tuple[Proposal, list[object], list[ConflictError]]:
    given = at_once(*acts)
    lost = [each for each in given if isinstance(each, ConflictError)]
    proposal.refresh_from_db()
    return proposal, given, lost


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_run", range(5))
def test_of_two_approvers_one_wins_and_the_other_reads_who(_run: int, sent: list[int]) -> None:
    proposal, ana, ben = waiting(), person("ana"), person("ben")

    now, _, lost = _race(proposal, lambda: approve(proposal, ana), lambda: approve(proposal, ben))

    assert now.state == "approved"
    assert now.decided_by in {ana, ben}
    assert len(lost) == 1
    assert str(lost[0]).startswith(f"{now.decided_by.username} approved this")
    assert sent == [proposal.pk]
    assert AuditEvent.objects.filter(verb="approved").count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_run", range(5))
def test_of_an_approval_and_a_rejection_one_wins(_run: int, sent: list[int]) -> None:
    proposal, ana, ben = waiting(), person("ana"), person("ben")

    now, _, lost = _race(proposal, lambda: approve(proposal, ana), lambda: reject(proposal, ben))

    assert len(lost) == 1
    if now.state == "approved":
        assert str(lost[0]).startswith("ana approved this")
        assert sent == [proposal.pk]
    else:
        assert now.state == "rejected"
        assert str(lost[0]).startswith("ben rejected this")
        assert sent == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_run", range(5))
def test_of_an_approval_and_the_expiry_one_wins(_run: int, sent: list[int]) -> None:
    proposal, ana = waiting(left_s=0.05), person("ana")

    def expire() -> int:
        while approvals.expire_due(timezone.now() + timedelta(seconds=1)) == 0:
            proposal_now = Proposal.objects.get(pk=proposal.pk)
            if proposal_now.state != "pending":
                break
        return 1

    now, given, lost = _race(proposal, lambda: approve(proposal, ana), expire)

    if lost:
        assert now.state == "expired"
        assert sent == []
        assert "expired at" in str(lost[0])
    else:
        assert sent == [proposal.pk]
        assert isinstance(given[0], Proposal)
