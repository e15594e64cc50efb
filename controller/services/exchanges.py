"""The half of an exchange that waits in a service's row, and the approval it stands under."""

from uuid import UUID

from django.db.models.functions import Now

from controller.core.decision_plain import stage_from
from controller.core.lifecycle import ProposalState
from controller.models import Proposal, ServiceStatus
from controller.models.scopes import About, within


def end_within(about: About, why: str) -> None:
    """End what waits in a scope at once: a stop that is over before the next tick counts too."""
    waiting = ServiceStatus.objects.exclude(exchange={}).filter(within(about))
    for one in waiting.order_by("service").values_list("service", flat=True):
        end(one, why)


def end(service: UUID, why: str, *, second: int | None = None) -> None:
    """Let what still grows be decided anew, and withdraw the approval that waits to be used (S18).

    With ``second`` only where that is the proposal of its second half.
    """
    rows = ServiceStatus.objects.filter(service=service)
    while plain := rows.values_list("exchange", flat=True).first():
        stage = stage_from(plain)
        if second is not None and (stage is None or stage.second != second):
            return
        if stage is not None and stage.second is not None:
            # Proposals before statuses, as a tick locks them.
            Proposal.objects.filter(pk=stage.second, state=ProposalState.APPROVED).update(
                state=ProposalState.SUPERSEDED, closed_at=Now(), closed_reason=why
            )
        if rows.filter(exchange=plain).update(exchange={}):
            return
