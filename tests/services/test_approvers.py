"""Several people decide, nobody twice and nobody on their own; of many one decides (A01)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.test import Client
from django.utils import timezone

from controller.models import AuditEvent, Proposal, ProposalComment, Verdict
from controller.services import actions, approvals, approvers
from controller.services.approvals import Item
from controller.services.errors import ConflictError, ForbiddenError, InvalidError
from controller.services.people import CommandLine, Person
from tests.pages.reading import words
from tests.services.people import at_once, person, waiting

SEEN = "0" * 64
MANY = 50
GPUS = 6
"""What changes hands from 2 prefill, 4 decode to 3 and 6, two GPUs each."""


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The proposals a worker was asked to carry out."""
    asked: list[int] = []
    monkeypatch.setattr(actions, "enqueue_approved", asked.append)
    return asked


def approve(proposal: Proposal, user: Person, **other: object) -> Proposal:
    given = {"version": proposal.version, "fingerprint": SEEN} | other
    return approvals.approve(proposal.pk, user=user, **given)


@pytest.mark.django_db
def test_two_people_approve_what_needs_two() -> None:
    proposal, ana, ben = waiting(needs=2), person("ana"), person("ben")

    assert approve(proposal, ana).state == "pending"
    assert approve(proposal, ana).state == "pending", "the same person twice counts once"
    done = approve(proposal, ben)

    assert (done.state, approvers.names(done)) == ("approved", "ana and ben")
    verbs = AuditEvent.objects.order_by("pk").values_list("actor", "verb")
    assert list(verbs) == [("ana", "gave one approval"), ("ben", "approved")]


@pytest.mark.django_db
@pytest.mark.parametrize("typed", [None, 0, 7, 9])
def test_a_large_step_that_takes_away_is_typed_out(typed: int | None) -> None:
    """Two approvers, 2 → 1 prefill and 4 → 1 decode of 2 GPUs each: 8 change hands."""
    proposal, ana = waiting(needs=2, to_prefill=1, to_decode=1), person("ana")

    with pytest.raises(InvalidError, match="change hands: 8") as refused:
        approve(proposal, ana, reason="night", typed_gpus=typed)
    assert refused.value.field == "typed"
    with pytest.raises(InvalidError, match="reason"):
        approve(proposal, ana, typed_gpus=8)
    assert not Verdict.objects.exists()
    (told,) = approvals.bulk(
        [Item(proposal.pk, 1, SEEN)], user=ana, verb="approve", reason="night"
    )
    assert not told.is_done, "no way around it with others"
    approve(proposal, ana, reason="night", typed_gpus=8)
    assert Verdict.objects.get().by_name == "ana"


@pytest.mark.django_db
def test_the_command_line_is_one_person_whoever_types() -> None:
    proposal = waiting(needs=2)

    for name in ("root", "ubuntu"):
        assert approve(proposal, CommandLine(name)).state == "pending"
    assert approve(proposal, person("ana")).state == "approved"


@pytest.mark.django_db
def test_who_decided_is_told_the_command_line_too(client: Client) -> None:
    refused, broken = waiting("chat", needs=2), waiting("code", needs=2)
    approve(refused, person("ana"))
    approvals.reject(refused.pk, user=CommandLine("root"), version=1, reason="no")
    approve(broken, CommandLine("root"), reason="down", break_glass=True, typed_gpus=GPUS)

    with pytest.raises(ConflictError, match=r"^command line \(root\) rejected this"):
        approve(refused, person("ben"))
    client.force_login(person("cleo"))
    page = words(client.get(f"/approvals/{broken.pk}/").content.decode())
    assert "the glass was broken by command line (root): down" in page
    overview = words(client.get("/").content.decode())
    assert "let through by command line (root) without waiting" in overview


@pytest.mark.django_db
def test_an_approval_of_an_older_body_does_not_count() -> None:
    proposal, ana, ben = waiting(needs=2), person("ana"), person("ben")
    approve(proposal, ana)
    Proposal.objects.update(version=2, fingerprint="f" * 64)

    later = approve(proposal, ben, version=2, fingerprint="f" * 64)

    assert later.state == "pending"
    assert [one.name for one in approvers.of(later)] == ["ben"]


@pytest.mark.django_db
def test_an_approver_who_lost_the_right_does_not_count_a04() -> None:
    proposal, ana = waiting(needs=2), person("ana")
    approve(proposal, ana)
    ana.groups.clear()

    assert approve(proposal, person("ben")).state == "pending"
    assert approve(proposal, person("cy")).state == "approved"


@pytest.mark.django_db
def test_at_execution_every_right_is_read_again_a04() -> None:
    proposal, ana, ben = waiting(needs=2), person("ana"), person("ben")
    approve(proposal, ana)
    done = approve(proposal, ben)
    User.objects.filter(pk=ana.pk).update(is_active=False)

    found = list(approvers.objections(done, timezone.now()))

    assert found == ["ana no longer has the right to approve."]


@pytest.mark.django_db
def test_a_visitor_and_the_controller_decide_nothing() -> None:
    proposal = waiting()
    controller = User.objects.create_user("controller")

    for one in (AnonymousUser(), controller):
        with pytest.raises(ForbiddenError):
            approve(proposal, one)
    assert not Verdict.objects.exists()


@pytest.mark.django_db
def test_breaking_the_glass_waits_for_nobody_and_is_told_a11() -> None:
    ana = person("ana")
    proposal = waiting(needs=2, origin="person", requested_by=ana)

    with pytest.raises(InvalidError, match="reason"):
        approve(proposal, ana, break_glass=True, typed_gpus=GPUS)
    with pytest.raises(InvalidError, match=f"Type the number of GPUs that change hands: {GPUS}"):
        approve(proposal, ana, break_glass=True, reason="users wait")
    done = approve(proposal, ana, break_glass=True, reason="users wait", typed_gpus=GPUS)

    assert (done.state, done.is_break_glass) == ("approved", True)
    event = AuditEvent.objects.get(verb="broke the glass")
    assert (event.actor, event.reason) == ("ana", "users wait")
    assert list(approvers.objections(done, timezone.now())) == []
    ana.groups.clear()
    assert list(approvers.objections(Proposal.objects.get(), timezone.now())) == [
        "ana no longer has the right to approve."
    ]


@pytest.mark.django_db
def test_breaking_the_glass_needs_its_right_and_goes_around_nothing_else() -> None:
    proposal, olga, ana = waiting(left_s=-1), person("olga", "Operator"), person("ana")

    with pytest.raises(ForbiddenError, match="letting a change through alone"):
        approve(proposal, olga, break_glass=True, reason="now")
    with pytest.raises(ConflictError, match="expired"):
        approve(proposal, ana, break_glass=True, reason="now")


@pytest.mark.django_db
def test_where_nobody_is_waited_for_no_glass_is_broken() -> None:
    done = approve(waiting(), person("ana"), break_glass=True, reason="now", typed_gpus=GPUS)

    assert (done.state, done.is_break_glass) == ("approved", False)


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["pending", "approved"])
def test_a_requester_takes_back_their_own(state: str) -> None:
    olga = person("olga", "Operator")
    proposal = waiting(state=state, origin="person", requested_by=olga)

    done = approvals.withdraw(proposal.pk, user=olga, version=1, reason="not needed")

    assert (done.state, done.closed_reason) == ("withdrawn", "Withdrawn by olga: not needed")
    with pytest.raises(ConflictError, match="withdrawn"):
        approve(proposal, person("ana"))


@pytest.mark.django_db
def test_what_the_controller_proposed_is_rejected_and_not_withdrawn() -> None:
    proposal = waiting()

    with pytest.raises(ConflictError, match="reject it instead"):
        approvals.withdraw(proposal.pk, user=person("ana"), version=1, reason="x")
    with pytest.raises(ForbiddenError):
        approvals.withdraw(proposal.pk, user=person("olga", "Operator"), version=1, reason="x")


@pytest.mark.django_db
def test_a_comment_decides_nothing() -> None:
    proposal = waiting()

    approvals.comment(proposal.pk, user=person("olga", "Operator"), text="why so many?")

    assert ProposalComment.objects.get().text == "why so many?"
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
def test_of_several_each_is_decided_for_itself() -> None:
    ana = person("ana")
    one, two, three = waiting("a"), waiting("b", requested_by=ana), waiting("c", needs=2)
    items = [Item(p.pk, 1, SEEN) for p in (three, two, one)]

    found = approvals.bulk(items, user=ana, verb="approve", reason="")

    assert [(r.pk, r.is_done) for r in found] == [
        (one.pk, True),
        (two.pk, False),
        (three.pk, True),
    ]
    assert "another person approves it" in found[1].text
    assert found[2].text == "1 of 2 approvals are given."
    with pytest.raises(InvalidError):
        approvals.bulk(items, user=ana, verb="apply", reason="")


def crowd(count: int) -> list[User]:
    """Return so many approvers, each an account of its own."""
    person("u0")
    group = Group.objects.get(name="Approver")
    made = User.objects.bulk_create(User(username=f"u{i}") for i in range(1, count))
    for user in made:
        user.groups.add(group)
    return [User.objects.get(username="u0"), *made]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("needs", [1, 2])
def test_of_fifty_approvers_as_many_count_as_are_needed_a01(needs: int, sent: list[int]) -> None:
    proposal, people = waiting(needs=needs), crowd(MANY)

    given = at_once(*(lambda user=user: approve(proposal, user) for user in people))

    lost = [each for each in given if isinstance(each, ConflictError)]
    assert (len(lost), Verdict.objects.count()) == (MANY - needs, needs)
    assert sent == [proposal.pk]
    assert AuditEvent.objects.filter(verb="approved").count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_fifty_presses_of_one_person_one_counts_a02(sent: list[int]) -> None:
    proposal, ana = waiting(), person("ana")

    given = at_once(*(lambda: approve(proposal, ana) for _ in range(MANY)))

    assert all(isinstance(each, Proposal) for each in given)
    assert (sent, Verdict.objects.count()) == ([proposal.pk], 1)


@pytest.mark.django_db(transaction=True)
def test_of_fifty_that_approve_reject_and_withdraw_one_decides_a01(sent: list[int]) -> None:
    proposal, people = waiting(origin="person"), crowd(MANY)

    def act(i: int) -> Proposal:
        if i % 3 == 0:
            return approve(proposal, people[i])
        close = approvals.reject if i % 3 == 1 else approvals.withdraw
        return close(proposal.pk, user=people[i], version=1, reason=f"{i}")

    given = at_once(*(lambda i=i: act(i) for i in range(MANY)))

    proposal.refresh_from_db()
    won = [each for each in given if isinstance(each, Proposal)]
    # An approved one may still be withdrawn before it is carried out, and then never runs.
    assert proposal.state in {"approved", "rejected", "withdrawn"}
    assert len(won) == 1 + (proposal.state == "withdrawn" and len(sent))
    assert all(isinstance(each, (Proposal, ConflictError)) for each in given)


@pytest.mark.django_db(transaction=True)
def test_of_fifty_approvals_and_the_expiry_one_side_wins_a01(sent: list[int]) -> None:
    proposal, people = waiting(left_s=0.15), crowd(MANY)

    def expire() -> int:
        return approvals.expire_due(timezone.now() + timedelta(seconds=1))

    acts = [lambda user=user: approve(proposal, user) for user in people]
    at_once(*(expire if i % 2 else act for i, act in enumerate(acts)))

    proposal.refresh_from_db()
    assert proposal.state in {"pending", "approved", "expired"}
    assert len(sent) == Verdict.objects.count() <= 1
    assert (proposal.decided_at is not None) == bool(sent)
