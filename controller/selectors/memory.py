"""What the rows remember, as the values the loop decides on; a restart changes nothing (S23)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from controller.core.decision_plain import stage_from
from controller.core.lifecycle import IN_FLIGHT, ProposalState
from controller.core.memory import Head, Memory
from controller.core.outlook_plain import from_plain
from controller.core.types import History, Instances, Refusal, Wish
from controller.models import Action, Decision, Proposal, ServiceStatus

REFUSED_FOR_S = 600.0
NOTHING: Final = (None, None)

STATUS: Final = (
    "service__slug",
    "decision_seq",
    "prefill_desired",
    "decode_desired",
    "resource_version",
    "last_scale_out_at",
    "last_scale_in_at",
    "outlook",
    "exchange",
    "ttft_breach_since",
    "tbt_breach_since",
)
DECISION: Final = tuple(
    f"decision__{name}"
    for name in (
        "last_at",
        "move",
        "gate",
        "code",
        "current_prefill",
        "current_decode",
        "raw_prefill",
        "raw_decode",
        "final_prefill",
        "final_decode",
        "then_prefill",
        "then_decode",
        "mode",
        "policy_revision",
    )
)


@dataclass(frozen=True, slots=True)
class Memories:
    """A memory per service slug."""

    by_service: Mapping[str, Memory]

    def of(self, service: str) -> Memory:
        """Return the memory of a service; empty when nothing is known yet."""
        return self.by_service.get(service, Memory())


def read(now: datetime, *, keep_s: float) -> Memories:
    """Read the memory of all services; four queries however many there are.

    ``keep_s`` is the longest stabilisation window in use [s].
    """
    wishes = _wishes(now - timedelta(seconds=keep_s))
    refusals = _refusals(now)
    in_flight = {
        slug: (str(pk), Instances(prefill, decode))
        for slug, pk, prefill, decode in Action.objects.filter(state__in=IN_FLIGHT).values_list(
            "service__slug", "id", "to_prefill", "to_decode"
        )
    }
    rows = ServiceStatus.objects.select_related("service", "decision").only(*STATUS, *DECISION)
    return Memories(
        {
            row.service.slug: Memory(
                history=History(
                    last_scale_out_s=_seconds(row.last_scale_out_at),
                    last_scale_in_s=_seconds(row.last_scale_in_at),
                    wishes=wishes.get(row.service.slug, ()),
                    in_flight=in_flight.get(row.service.slug, NOTHING)[0],
                    refusals=refusals.get(row.service.slug, ()),
                    outlook=from_plain(row.outlook),
                    stage=stage_from(row.exchange),
                ),
                head=_head(row.decision, row.decision_seq),
                current=Instances(row.prefill_desired, row.decode_desired),
                asked=in_flight.get(row.service.slug, NOTHING)[1],
                resource_version=row.resource_version,
                ttft_breach_since_s=_seconds(row.ttft_breach_since),
                tbt_breach_since_s=_seconds(row.tbt_breach_since),
            )
            for row in rows
        }
    )


def _wishes(since: datetime) -> dict[str, tuple[Wish, ...]]:
    found: dict[str, list[Wish]] = {}
    rows: Sequence[tuple[str, datetime, datetime, int, int]] = list(
        Decision.objects.filter(last_at__gte=since)
        .exclude(code="CONFIG_INVALID")
        .order_by("last_at")
        .values_list("service__slug", "first_at", "last_at", "raw_prefill", "raw_decode")
    )
    for slug, first, at, prefill, decode in rows:
        wish = Wish(at.timestamp(), Instances(prefill, decode), first.timestamp())
        found.setdefault(slug, []).append(wish)
    return {slug: tuple(wishes) for slug, wishes in found.items()}


def _refusals(now: datetime) -> dict[str, tuple[Refusal, ...]]:
    rows = (
        Proposal.objects.filter(
            state=ProposalState.REJECTED, decided_at__gt=now - timedelta(seconds=REFUSED_FOR_S)
        )
        .select_related("service", "decided_by")
        .order_by("decided_at")
    )
    found: dict[str, list[Refusal]] = {}
    for row in rows:
        if row.decided_at is not None:
            refusal = Refusal(
                want=Instances(row.to_prefill, row.to_decode),
                until_s=row.decided_at.timestamp() + REFUSED_FOR_S,
                by=row.decided_by.get_username() if row.decided_by else "somebody",
                reason=row.decided_reason,
            )
            found.setdefault(row.service.slug, []).append(refusal)
    return {slug: tuple(refusals) for slug, refusals in found.items()}


def _head(row: Decision | None, seq: int) -> Head | None:
    if row is None:
        return Head(None, seq, ()) if seq else None
    return Head(
        row.pk,
        seq,
        tuple(
            str(part)
            for part in (
                row.move,
                row.gate,
                row.code,
                Instances(row.current_prefill, row.current_decode),
                Instances(row.raw_prefill, row.raw_decode),
                Instances(row.final_prefill, row.final_decode),
                row.then,
                row.mode,
                row.policy_revision,
            )
        ),
        row.last_at.timestamp(),
    )


def _seconds(at: datetime | None) -> float | None:
    return at.timestamp() if at else None
