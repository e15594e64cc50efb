"""Who let a proposal through, and whether that still counts: asked again before anything runs."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib.auth.models import User

from controller.core import phrases
from controller.core.approval_rules import is_its_time
from controller.core.words import seconds
from controller.models import ApprovalRule, Breaker, Proposal, Verdict
from controller.models.scopes import chain_of
from controller.services import people
from controller.services.people import Person

EVIDENCE_S: Final = 120.0
"""What no person looked at is sent on no older metrics."""


@dataclass(frozen=True, slots=True)
class Approver:
    """A person who approved; ``user`` is ``None`` for the command line of the host."""

    user: User | None
    name: str


def of(proposal: Proposal) -> list[Approver]:
    """Return who approved exactly the present body, in their order.

    Of a body that was approved before approvals were kept one by one, who decided.
    """
    rows = Verdict.objects.filter(
        proposal=proposal, version=proposal.version, fingerprint=proposal.fingerprint
    ).select_related("user")
    found = [Approver(row.user, row.by_name) for row in rows]
    decider = proposal.decided_by
    if found or decider is None:
        return found
    return [Approver(decider, decider.get_username())]


def pass_on(first: Proposal, second: Proposal) -> None:
    """Let those who approved both halves of an exchange stand for its second half too."""
    given = Verdict.objects.filter(
        proposal=first, version=first.version, fingerprint=first.fingerprint
    )
    Verdict.objects.bulk_create(
        Verdict(
            proposal=second,
            version=second.version,
            fingerprint=second.fingerprint,
            user_id=one.user_id,
            by_name=one.by_name,
            at=one.at,
            reason=one.reason,
        )
        for one in given
    )


def valid(proposal: Proposal) -> list[Approver]:
    """Return those of them who hold the right now, and did not ask for the change themselves.

    Of a proposal for which somebody broke the glass only that person counts.
    """
    return [one for one in of(proposal) if _counts(one, proposal)]


def _counts(one: Approver, proposal: Proposal) -> bool:
    if proposal.is_break_glass:
        counts, right = one.user == proposal.decided_by, people.BREAK_GLASS
    else:
        counts, right = not is_own(proposal, one.user), people.APPROVE
    if not counts:
        return False
    return one.user is None or people.may(one.user, right, proposal)


def is_own(proposal: Proposal, person: Person | None) -> bool:
    """Return whether the person asked for this change, or set an override that shaped it.

    ``None`` is the command line, which is one person whoever types.
    """
    account = people.account_of(person) if person is not None else None
    return (account.pk if account else None) in proposal.asked_by


def names(proposal: Proposal) -> str:
    """Return who let it through, for a sentence: people, or a rule in its revision."""
    if proposal.rule is not None:
        return f"rule {proposal.rule}"
    return phrases.listed([one.name for one in of(proposal)])


def objections(
    proposal: Proposal, now: datetime, looked_at: datetime | None = None
) -> Iterator[str]:
    """Give why an approval must not be used at ``now``: expired, too few rights, a rule changed.

    The rights are read again (A04): of those who approved at least as many as it needs must still
    hold theirs. ``looked_at`` is when the signals were looked at since it was approved.
    """
    if proposal.expires_at <= now:
        yield "The approval expired before it was sent."
    if proposal.rule is not None:
        evidence_at = max(filter(None, (proposal.evidence_at, looked_at)))
        yield from _of_rule(proposal, proposal.rule, now, evidence_at)
        return
    counted = valid(proposal)
    needed = 1 if proposal.is_break_glass else proposal.needs
    if len(counted) >= needed:
        return
    lost = [one.name for one in of(proposal) if one not in counted] or ["The approver"]
    verb = "has" if len(lost) == 1 else "have"
    yield f"{phrases.listed(lost)} no longer {verb} the right to approve."


def _of_rule(
    proposal: Proposal, rule: ApprovalRule, now: datetime, evidence_at: datetime
) -> Iterator[str]:
    """Give why what nobody looked at must not run: it is as old as no automatic change (S6)."""
    if rule.superseded_at is not None or not rule.is_enabled:
        yield f"Rule {rule} is no longer in force."
    elif not is_its_time(rule.limits, now):
        yield f"Rule {rule} approves nothing at this time of the week."
    old_s = (now - evidence_at).total_seconds()
    if old_s > EVIDENCE_S:
        yield (
            f"What rule {rule} approved rests on metrics {seconds(old_s)} old, more than "
            f"{seconds(EVIDENCE_S)}: decided anew instead."
        )
    if Breaker.objects.filter(chain_of(proposal).covering, ended_at=None).exists():
        yield "A circuit breaker is open: no rule approves until somebody resets it."
