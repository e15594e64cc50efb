"""Proposals as the approver reads them: one card each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db.models import Q, QuerySet, prefetch_related_objects
from django.utils import timezone

from controller.core import phrases, wording
from controller.core.approval import must_type
from controller.core.lifecycle import OPEN_PROPOSALS, TERMINAL_PROPOSALS, ProposalState
from controller.core.types import Role
from controller.models import Action, AuditEvent, Proposal, ProposalComment, orders
from controller.models.drift import LOOKED_AT, drift
from controller.selectors.inputs import Input, inputs_of, that_mattered
from controller.selectors.placed import Placed, placed_of
from controller.selectors.progress import Milestone, milestones
from controller.selectors.standing import Reader, Standing, standing, waiting_for
from inventory.models import Policy, Service

SHOWN_DECIDED: Final = 50
SHOWN_COMMENTS: Final = 200
TABS: Final = ("mine", "requests", "open", "decided")
SPARES: Final = ("alternatives", "parts")
LATENCIES: Final = {"ttft_s": "TTFT", "tbt_s": "TBT"}

WORDS: Final = {
    ProposalState.PENDING: "waits for approval",
    ProposalState.APPROVED: "approved, not yet sent",
    ProposalState.APPLYING: "approved, being carried out",
    ProposalState.APPLIED: "applied",
    ProposalState.FAILED: "approved, but it failed",
    ProposalState.REJECTED: "rejected",
    ProposalState.EXPIRED: "expired",
    ProposalState.SUPERSEDED: "no longer wanted",
    ProposalState.WITHDRAWN: "withdrawn",
    ProposalState.STALE: "void: something changed before it was carried out",
}
TONES: Final = {
    ProposalState.PENDING: "busy",
    ProposalState.APPROVED: "busy",
    ProposalState.APPLYING: "busy",
    ProposalState.APPLIED: "ok",
    ProposalState.FAILED: "crit",
}


ICONS: Final = {
    ProposalState.PENDING: "proposal",
    ProposalState.REJECTED: "frozen",
    ProposalState.EXPIRED: "clock",
}


@dataclass(frozen=True, slots=True)
class RoleChange:
    """One role of a proposal; ``gpus`` is the difference in GPUs of its hardware type."""

    role: str
    before: int
    after: int
    hardware: str
    gpus_before: int
    gpus_after: int
    then: int | None = None
    """The count after the second half of an exchange, where that moves this role."""
    gpus_then: int | None = None

    @property
    def is_moved(self) -> bool:
        """Whether the count changes at once."""
        return self.before != self.after

    @property
    def gpus(self) -> int:
        """GPUs more, or fewer when negative."""
        return self.gpus_after - self.gpus_before

    @property
    def gpus_signed(self) -> str:
        """The difference with its sign."""
        return phrases.signed(self.gpus)

    @property
    def gpus_later_signed(self) -> str:
        """What the second half of an exchange adds, with its sign; empty without one."""
        return "" if self.gpus_then is None else phrases.signed(self.gpus_then - self.gpus_after)


@dataclass(frozen=True, slots=True)
class Band:
    """Prefill per decode before and after, and the band the policy allows."""

    before: float | None
    after: float | None
    low: float
    high: float

    @property
    def is_inside(self) -> bool:
        """Whether the ratio after the change is in the band."""
        return self.after is not None and self.low <= self.after <= self.high


@dataclass(frozen=True, slots=True)
class Card:
    """Everything the approver needs to decide, and what became of it."""

    proposal: Proposal
    service: Service
    policy: Policy | None
    now: datetime
    roles: Sequence[RoleChange]
    band: Band | None
    inputs: Sequence[Input]
    action: Action | None
    progress: Sequence[Milestone]
    drift: Sequence[str]
    standing: Standing | None = None
    """What the reader may do about it; ``None`` where nobody in particular reads."""

    @property
    def may_decide(self) -> bool:
        """Whether the reader may press anything but a comment."""
        return self.is_pending and self.standing is not None

    @property
    def affected_gpus(self) -> int:
        """The GPUs that change hands, either way, in both halves of an exchange."""
        return self.proposal.change().gpus

    @property
    def must_type(self) -> bool:
        """Whether approving takes a reason and the GPUs typed: a large step that takes away."""
        return must_type(self.proposal.change(), self.proposal.needs)

    @property
    def asked_by(self) -> str:
        """Who asked for it, in words; empty for the controller."""
        body = self.proposal
        if body.origin == Proposal.Origin.CONTROLLER and body.requested_by is None:
            return ""
        return body.requested_by.get_username() if body.requested_by else "the command line"

    @property
    def predicted(self) -> str:
        """The latencies expected now and after it: "TTFT 1.2 s → 0.9 s"; empty: not told."""
        return latencies(self.proposal.predicted)

    @property
    def placed(self) -> Placed | None:
        """Where it goes; ``None`` where nothing is placed."""
        return placed_of(self.service.cluster, self.proposal, self.action)

    @property
    def state(self) -> ProposalState:
        """Where it stands; one that is overdue counts as expired before anybody closed it."""
        state = ProposalState(self.proposal.state)
        overdue = self.proposal.expires_at <= self.now
        return ProposalState.EXPIRED if state == ProposalState.PENDING and overdue else state

    @property
    def is_pending(self) -> bool:
        """Whether a person may still decide."""
        return self.state == ProposalState.PENDING

    @property
    def word(self) -> str:
        """The state in words."""
        return WORDS[self.state]

    @property
    def tone(self) -> str:
        """The colour of the state."""
        return TONES.get(self.state, "muted")

    @property
    def icon(self) -> str:
        """The icon of the state."""
        return ICONS.get(self.state, self.tone)

    @property
    def change(self) -> str:
        """The counts before and after, in words, both halves of an exchange."""
        body = self.proposal
        return phrases.halves(
            (body.from_prefill, body.from_decode),
            (body.to_prefill, body.to_decode),
            body.then,
        )

    @property
    def second_half(self) -> str:
        """What an exchange does after this, in words; empty without one."""
        body, then = self.proposal, self.proposal.then
        return "" if then is None else phrases.counts((body.to_prefill, body.to_decode), then)

    @property
    def goes_out(self) -> bool:
        """Whether it adds GPUs."""
        return self.gpus_after >= self.gpus_before

    @property
    def gpus_before(self) -> int:
        """GPUs the service holds before."""
        return sum(role.gpus_before for role in self.roles)

    @property
    def gpus_after(self) -> int:
        """GPUs the service holds after."""
        return sum(role.gpus_after for role in self.roles)

    @property
    def gpus_then(self) -> int | None:
        """GPUs the service holds after the second half of an exchange; ``None`` without one."""
        if self.proposal.then is None:
            return None
        return sum(
            role.gpus_after if role.gpus_then is None else role.gpus_then for role in self.roles
        )

    @property
    def gpus_signed(self) -> str:
        """The difference in GPUs with its sign."""
        return phrases.signed(self.gpus_after - self.gpus_before)

    @property
    def gpus_words(self) -> str:
        """The difference in words: "64 GPUs more"."""
        more = self.gpus_after - self.gpus_before
        if more == 0:
            return "no change in GPUs"
        return f"{phrases.plural(abs(more), 'GPU')} {'more' if more > 0 else 'fewer'}"

    @property
    def stays(self) -> str:
        """The counts that remain when nobody decides."""
        body = self.proposal
        return phrases.counts(
            (body.from_prefill, body.from_decode), (body.from_prefill, body.from_decode)
        )

    @property
    def is_refreshed(self) -> bool:
        """Whether the controller changed the body since it first proposed."""
        return self.proposal.version > 1

    @property
    def rollback(self) -> str:
        """How the service gets back to where it was."""
        if self.policy is None:
            return ""
        if self.goes_out:
            return (
                f"Going back to {self.stays} is a new change. The controller makes it when demand "
                f"falls, {phrases.duration(self.policy.cooldown_in_s)} after this at the earliest."
            )
        return (
            f"Going back to {self.stays} is a new change. The controller makes it as soon as "
            "demand rises."
        )


@dataclass(frozen=True, slots=True)
class Queue:
    """One tab of the queue, with the count of every tab."""

    cards: Sequence[Card]
    waiting: int
    open: int
    may_decide: bool
    requests: int = 0

    @property
    def state(self) -> tuple[object, ...]:
        """What the list is made of: it is sent again only when this differs."""
        return (
            self.waiting,
            self.open,
            self.requests,
            self.may_decide,
            *(
                (
                    card.proposal.pk,
                    card.state,
                    card.proposal.version,
                    card.proposal.evidence_at,
                    card.drift,
                    card.action.state if card.action else "",
                    card.standing and card.standing.words,
                )
                for card in self.cards
            ),
        )


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the queue is shown; empty is everything."""

    service: str = ""
    cluster: str = ""


def queue(tab: str, *, reader: Reader, now: datetime, only: Filters | None = None) -> Queue:
    """Return the cards of a tab of :data:`TABS`, soonest expiry first; constant queries."""
    only = only or Filters()
    everything = _narrowed(Proposal.objects.all(), only)
    counts = everything.filter(state__in=OPEN_PROPOSALS).values_list("requested_by", flat=True)
    mine = set(waiting_for(reader.user, reader.decides, now).values_list("pk", flat=True))
    rows = _narrowed(_rows(), only).filter(_of_tab(tab, reader, mine))
    newest = ("-created_at", "-pk") if tab == "decided" else ("expires_at", "pk")
    found = _cards(rows.order_by(*newest)[:SHOWN_DECIDED], now, reader)
    return Queue(
        cards=found,
        waiting=len(mine),
        open=len(counts),
        may_decide=reader.somewhere,
        requests=sum(1 for key in counts if key == reader.user.pk),
    )


def _of_tab(tab: str, reader: Reader, mine: set[int]) -> Q:
    if tab == "decided":
        return Q(state__in=TERMINAL_PROPOSALS)
    if tab == "requests":
        return Q(requested_by=reader.user.pk)
    return Q(state__in=OPEN_PROPOSALS) if tab == "open" else Q(pk__in=mine)


def _narrowed(rows: QuerySet[Proposal], only: Filters) -> QuerySet[Proposal]:
    if only.service:
        rows = rows.filter(service__slug=only.service)
    return rows.filter(service__cluster__slug=only.cluster) if only.cluster else rows


def find(pk: int, *, now: datetime, reader: Reader | None = None) -> Card | None:
    """Return the card of one proposal, ``None`` when there is no such proposal."""
    row = _rows().filter(pk=pk).first()
    return card(row, now=now, reader=reader) if row else None


def found_of(pks: Sequence[int], *, now: datetime, reader: Reader) -> Sequence[Card]:
    """Return the cards of several proposals, soonest expiry first; constant queries."""
    rows = _rows().filter(pk__in=pks[:SHOWN_DECIDED]).order_by("expires_at", "pk")
    return _cards(rows, now, reader)


def comments_of(pk: int) -> Sequence[ProposalComment]:
    """Return what people said about a proposal, in their order; one query."""
    return list(ProposalComment.objects.filter(proposal=pk)[:SHOWN_COMMENTS])


def history_of(pk: int) -> Sequence[AuditEvent]:
    """Return what people did about a proposal, the newest first; one query."""
    rows = AuditEvent.objects.filter(object_type="proposal", object_id=str(pk))
    return list(rows.order_by("-at", "-pk")[:SHOWN_DECIDED])


def latencies(told: Mapping[str, Sequence[float | None]] | None) -> str:
    """Return latencies [s] before and after in words: "TTFT 1.2 s → 0.9 s"; empty without."""
    return ", ".join(
        f"{name} {_latency(told[key][0])} → {_latency(told[key][1])}"
        for key, name in LATENCIES.items()
        if told and key in told
    )


def _latency(seconds: float | None) -> str:
    return "no end of waiting" if seconds is None else wording.precise(seconds)


def open_of(service: Service, *, now: datetime) -> Card | None:
    """Return the card of the open proposal of a service, ``None`` without one."""
    row = _rows().filter(service=service, state__in=OPEN_PROPOSALS).first()
    return card(row, now=now) if row else None


def card(proposal: Proposal, now: datetime | None = None, *, reader: Reader | None = None) -> Card:
    """Return the card of a proposal at ``now``; rows not fetched before are fetched here."""
    return _cards([proposal], now or timezone.now(), reader)[0]


def _cards(rows: Iterable[Proposal], now: datetime, reader: Reader | None) -> list[Card]:
    """Return cards; one query more where any of them waits or is approved."""
    found = list(rows)
    in_force = orders.Orders()
    if any(row.state in LOOKED_AT for row in found):
        in_force = orders.read()
    under = [row.service for row in found if in_force.over(row.service.slug)]
    if under:
        prefetch_related_objects(under, *(f"roles__{part}__hardware" for part in SPARES))
    return [_card(row, now, reader, in_force) for row in found]


def _card(
    proposal: Proposal, now: datetime, reader: Reader | None, in_force: orders.Orders
) -> Card:
    service = proposal.service
    policy = getattr(service, "policy", None)
    action = getattr(proposal, "action", None)
    decision = proposal.decision
    return Card(
        proposal=proposal,
        service=service,
        policy=policy,
        now=now,
        roles=_roles(proposal),
        band=_band(proposal, policy) if policy else None,
        inputs=that_mattered(inputs_of(decision), decision.driver, getattr(service, "slo", None))
        if decision
        else (),
        action=action,
        progress=milestones(proposal, action),
        drift=drift(proposal, in_force, now.timestamp()),
        standing=standing(proposal, reader) if reader else None,
    )


def _rows() -> QuerySet[Proposal]:
    return Proposal.objects.select_related(
        "service__cluster__region",
        "service__policy",
        "service__slo",
        "service__status",
        "decision",
        "decided_by",
        "requested_by",
        "rule",
        "action",
    ).prefetch_related("service__roles__hardware", "verdicts")


def _roles(proposal: Proposal) -> tuple[RoleChange, ...]:
    specs = {spec.role: spec for spec in proposal.service.roles.all()}
    body = {
        "decode": (proposal.from_decode, proposal.to_decode),
        "prefill": (proposal.from_prefill, proposal.to_prefill),
    }
    found = []
    for role, (before, after) in body.items():
        if role in specs:
            per, then = specs[role].gpus_per_instance, _later(proposal, role, after)
            found.append(
                RoleChange(
                    role=role,
                    before=before,
                    after=after,
                    hardware=specs[role].hardware.gpu_model,
                    gpus_before=before * per,
                    gpus_after=after * per,
                    then=then,
                    gpus_then=None if then is None else then * per,
                )
            )
    return tuple(found)


def _later(proposal: Proposal, role: str, after: int) -> int | None:
    then = None if proposal.then is None else proposal.then.of(Role(role))
    return None if then == after else then


def _band(proposal: Proposal, policy: Policy) -> Band:
    def ratio(prefill: int, decode: int) -> float | None:
        return prefill / decode if decode else None

    return Band(
        before=ratio(proposal.from_prefill, proposal.from_decode),
        after=ratio(*(proposal.then or (proposal.to_prefill, proposal.to_decode))),
        low=policy.pd_ratio * (1 - policy.ratio_tolerance),
        high=policy.pd_ratio * (1 + policy.ratio_tolerance),
    )
