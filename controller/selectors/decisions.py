"""Decisions as the operator reads them: the list, and one explained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet

from controller.core import phrases
from controller.core.memory import UNWATCHED_S
from controller.core.policy_fields import FIELDS, told
from controller.core.reasons import Code
from controller.core.types import Gate
from controller.models import Action, Decision, Proposal
from controller.selectors.decision_filters import Filters
from controller.selectors.inputs import Input, inputs_of
from controller.selectors.placed import Placed, placed_of
from controller.selectors.progress import Milestone, Waits, outcome, waits_of
from controller.selectors.provision import Part, Provision, parts_of, provision_of
from inventory.models import Cluster, PolicyRevision, Service

PAGE: Final = 50


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the list."""

    decision: Decision

    @property
    def change(self) -> str:
        """The counts before and after."""
        return change_of(self.decision)


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of the list; ``after`` is the last row of it, if there are older ones."""

    rows: Sequence[Row]
    after: int | None
    services: Sequence[str]
    clusters: Sequence[str]
    has_any: bool


@dataclass(frozen=True, slots=True)
class StepRow:
    """One row of the constraint table."""

    word: str
    before: str
    after: str
    is_moved: bool
    code: str
    title: str
    detail: str


@dataclass(frozen=True, slots=True)
class Explained:
    """One decision with everything that explains it and what became of it.

    ``proposal`` is the newest that its ticks made or confirmed, ``earlier`` are others of them.
    ``goes_on`` says that the next tick may still join the row.
    """

    decision: Decision
    steps: Sequence[StepRow]
    inputs: Sequence[Input]
    outcome: Sequence[Milestone]
    proposal: Proposal | None
    earlier: Sequence[Proposal]
    action: Action | None
    waits: Waits | None
    policy: Sequence[tuple[str, str]]
    provision: Provision | None
    parts: Sequence[Part]
    previous: int | None
    next: int | None
    goes_on: bool

    @property
    def change(self) -> str:
        """The counts before and after."""
        return change_of(self.decision)

    @property
    def placed(self) -> Placed | None:
        """Where its instances go; ``None`` where nothing is placed."""
        return placed_of(self.decision.service.cluster, self.proposal, self.action)

    @property
    def is_older(self) -> bool:
        """Whether the proposal was there before the decision."""
        return bool(self.proposal and self.proposal.created_at < self.decision.first_at)

    @property
    def is_confirmed(self) -> bool:
        """Whether the decision asks for what the proposal says now."""
        return bool(self.proposal and self.proposed == self.change)

    @property
    def proposed(self) -> str:
        """What the proposal asks for now."""
        row = self.proposal
        if row is None:
            return ""
        return phrases.halves(
            (row.from_prefill, row.from_decode), (row.to_prefill, row.to_decode), row.then
        )

    @property
    def title(self) -> str:
        """What the reason code means."""
        return _title(self.decision.code)

    @property
    def record(self) -> str:
        """The row as JSON, for a report."""
        fields = {
            field.attname: getattr(self.decision, field.attname)
            for field in Decision._meta.concrete_fields  # noqa: SLF001 - public by custom
        }
        return json.dumps(fields, indent=2, ensure_ascii=False, default=str)


def change_of(decision: Decision) -> str:
    """Return the counts before and after in words, both halves of an exchange."""
    return phrases.halves(
        (decision.current_prefill, decision.current_decode),
        (decision.final_prefill, decision.final_decode),
        decision.then,
    )


def listing(filters: Filters, after: int | None, now: datetime) -> Listing:
    """Return one page, what was decided last first; four queries however many rows there are.

    Rows stand in the order in which they were made: the time of a hold that goes on moves with
    each tick, and a row that moved between two pages would be on neither.
    """
    found = Decision.objects.filter(filters.where(now)).order_by("-pk").defer("steps", "inputs")
    if after is not None:
        found = found.filter(pk__lt=after)
    rows = list(found.select_related("service")[: PAGE + 1])
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return Listing(
        rows=[Row(row) for row in rows],
        after=rows[-1].pk if more else None,
        services=list(Service.objects.values_list("slug", flat=True)),
        clusters=list(Cluster.objects.order_by("slug").values_list("slug", flat=True)),
        has_any=bool(rows) or Decision.objects.exists(),
    )


def explained(pk: int, now: datetime) -> Explained | None:
    """Return one decision explained at ``now``, ``None`` when there is none of that number."""
    decision = Decision.objects.select_related("service__cluster__region").filter(pk=pk).first()
    if decision is None:
        return None
    proposals = list(_proposals(decision))
    proposal = proposals[0] if proposals else None
    action = getattr(proposal, "action", None) or decision.actions.first()
    revision = PolicyRevision.objects.filter(
        service_id=decision.service_id, revision=decision.policy_revision
    ).first()
    beside = dict(
        Decision.objects.filter(
            service_id=decision.service_id, seq__in=(decision.seq - 1, decision.seq + 1)
        ).values_list("seq", "pk")
    )
    return Explained(
        decision=decision,
        steps=step_rows(decision),
        inputs=inputs_of(decision),
        outcome=outcome(decision, proposal, action),
        proposal=proposal,
        earlier=proposals[1:],
        action=action,
        waits=waits_of(action, now, decision.service),
        policy=policy_text(revision.body if revision else {}),
        provision=provision_of(decision),
        parts=parts_of(decision),
        previous=beside.get(decision.seq - 1),
        next=beside.get(decision.seq + 1),
        goes_on=decision.seq + 1 not in beside and may_be_joined(decision, now),
    )


def may_be_joined(decision: Decision, now: datetime) -> bool:
    """Return whether a tick of ``now`` could join the row, were it the newest of its service."""
    recent = now - decision.last_at <= timedelta(seconds=UNWATCHED_S)
    return recent and decision.gate != Gate.ACT


def _proposals(decision: Decision) -> QuerySet[Proposal]:
    """Return the proposals that the ticks of a row made, changed or confirmed, newest first.

    A proposal itself knows only the newest of its decisions; the others find it by its time.
    """
    mine = Q(decision=decision)
    if decision.gate == Gate.PROPOSE:
        mine |= Q(
            service_id=decision.service_id,
            created_at__lte=decision.last_at,
            evidence_at__gte=decision.first_at,
        )
    return (
        Proposal.objects.select_related("decided_by", "action")
        .filter(mine)
        .order_by("-created_at", "-pk")
    )


def _title(code: str) -> str:
    return phrases.CODE_TITLES.get(code, "")


def _pair(counts: Mapping[str, Any] | None) -> str:
    if not counts:
        return "—"
    return f"decode {counts.get('decode', '—')}, prefill {counts.get('prefill', '—')}"


def step_rows(decision: Decision) -> list[StepRow]:
    """Return the rows of the constraint table in order, an exchange's second half last."""
    return [
        *(_step(step) for step in decision.steps if isinstance(step, dict)),
        *_second_half(decision),
    ]


def _step(step: Mapping[str, Any]) -> StepRow:
    name, code = str(step.get("name", "")), str(step.get("code", ""))
    return StepRow(
        word=phrases.STEP_WORDS.get(name, name),
        before=_pair(step.get("before")),
        after=_pair(step.get("after")),
        is_moved=step.get("before") != step.get("after"),
        code=code,
        title=_title(code),
        detail=str(step.get("detail", "")),
    )


def _second_half(decision: Decision) -> list[StepRow]:
    """Return the row of what an exchange does later; no row for any other decision."""
    then = decision.then
    if then is None:
        return []
    first = {"prefill": decision.final_prefill, "decode": decision.final_decode}
    return [
        StepRow(
            word="second half",
            before=_pair(first),
            after=_pair(then._asdict()),
            is_moved=True,
            code=Code.EXCHANGE,
            title=_title(Code.EXCHANGE),
            detail="later, on the GPUs that the first half gives back and if it is still wanted",
        )
    ]


def policy_text(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a revision with the names, words and order of the policy's form."""
    known = [
        (FIELDS[name].label, told(FIELDS[name], body[name])) for name in FIELDS if name in body
    ]
    return known + [(name, f"{value}") for name, value in body.items() if name not in FIELDS]
