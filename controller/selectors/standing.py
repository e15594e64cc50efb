"""What one reader may do about a proposal, and why not: for the buttons beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Exists, Model, OuterRef, Q, QuerySet

from controller.core import phrases
from controller.core.lifecycle import ProposalState
from controller.models import Proposal, Verdict

APPROVE: Final = "controller.approve_proposal"
PROPOSE: Final = "controller.propose_change"
BREAK_GLASS: Final = "controller.break_glass"
APPROVING: Final = ("Approver", "Admin")
"""The roles that decide on proposals."""
May = Callable[[str, Model | None], bool]
"""Whether the reader holds a right over something."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads, and what they may do where."""

    user: User
    may: May
    somewhere: bool
    """Whether they decide on proposals of anything at all."""
    decides: Q
    """The rows over which they decide."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the reader may do about one proposal; ``why_not`` is empty where they may approve."""

    given: Sequence[Verdict]
    needs: int
    why_not: str
    may_reject: bool
    may_counter: bool
    may_withdraw: bool
    may_break: bool

    @property
    def may_approve(self) -> bool:
        """Whether the reader's approval would count."""
        return not self.why_not

    @property
    def names(self) -> str:
        """Who approved the present body so far."""
        return phrases.listed([one.by_name for one in self.given])

    @property
    def words(self) -> str:
        """How many approvals are lacking: "needs 1 of 2 (you may)"."""
        lacking = max(self.needs - len(self.given), 0)
        you = " (you may)" if self.may_approve else ""
        return f"needs {lacking} of {self.needs}{you}"


def standing(proposal: Proposal, reader: Reader) -> Standing:
    """Return what the reader may do about a proposal fetched with its service and verdicts."""
    may = {right: reader.may(right, proposal) for right in (APPROVE, PROPOSE, BREAK_GLASS)}
    given = [
        one
        for one in proposal.verdicts.all()
        if (one.version, one.fingerprint) == (proposal.version, proposal.fingerprint)
    ]
    mine = proposal.requested_by_id == reader.user.pk
    is_person = proposal.origin != Proposal.Origin.CONTROLLER
    return Standing(
        given=given,
        needs=proposal.needs,
        why_not=_why_not(proposal, may=may[APPROVE], mine=mine, given=given, reader=reader),
        may_reject=may[APPROVE],
        may_counter=may[PROPOSE],
        may_withdraw=is_person and (mine or may[APPROVE]),
        may_break=may[BREAK_GLASS],
    )


def _why_not(
    proposal: Proposal,
    *,
    may: bool,
    mine: bool,
    given: Sequence[Verdict],
    reader: Reader,
) -> str:
    if not may:
        return f"needs Approver on {proposal.service.slug}"
    if reader.user.pk in proposal.asked_by:
        did = "asked for this" if mine else "set an override that shaped this"
        return f"you {did}: another person approves it"
    if any(one.user_id == reader.user.pk for one in given):
        return "you approved this: another person does too"
    return ""


def approvers() -> str:
    """Return who decides everywhere, for a reader who may not; one query."""
    names = User.objects.filter(is_active=True, groups__name__in=APPROVING).distinct()
    return phrases.listed(list(names.order_by("username").values_list("username", flat=True)[:50]))


def waiting_for(user: User | AnonymousUser, decides: Q, now: datetime) -> QuerySet[Proposal]:
    """Return the proposals that wait for this person: unexpired, not their own.

    ``decides`` are the rows they hold the right over. What they approved already waits for
    somebody else.
    """
    waits = Proposal.objects.filter(decides, state=ProposalState.PENDING, expires_at__gt=now)
    said = Verdict.objects.filter(
        proposal=OuterRef("pk"),
        user=user.pk,
        version=OuterRef("version"),
        fingerprint=OuterRef("fingerprint"),
    )
    own = Q(requested_by=user.pk) & Q(requested_by__isnull=False)
    return waits.exclude(own | Q(requesters__contains=[user.pk])).filter(~Exists(said))
