"""Decisions as the operator reads them: the list, and one explained."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db.models import F, Q, QuerySet

from controller.core import phrases
from controller.core.policy_fields import FIELDS, told
from controller.core.reasons import Code
from controller.core.types import Move
from controller.models import Action, Decision, Proposal
from controller.selectors.inputs import Input, inputs_of
from controller.selectors.progress import Milestone, Waits, outcome, waits_of
from controller.selectors.provision import Part, Provision, parts_of, provision_of
from inventory.models import PolicyRevision, Service

PAGE: Final = 50
LARGEST_ID: Final = 2**63 - 1
STEP_WORDS: Final = {
    "policy": "policy",
    "ratio": "P/D ratio",
    "freshness": "trust in the metrics",
    "starting": "instances starting",
    "slo": "latency predicted",
    "limits": "minimum and maximum",
    "damping": "damping",
    "step": "largest step",
    "stabilisation": "stabilisation",
    "cooldown": "cooldown",
    "exchange": "exchange between roles",
    "gpu_budget": "GPU budget",
    "capacity": "free capacity",
    "refusal": "a rejection",
    "outside": "change from outside",
    "in_flight": "change under way",
    "freeze": "freeze",
    "fleet": "budget of the fleet",
    "gate": "approval",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the list shows; empty means all."""

    service: str = ""
    move: str = ""
    code: str = ""
    changes: bool = False

    @property
    def is_narrow(self) -> bool:
        """Whether anything is left out."""
        return bool(self.service or self.move or self.code or self.changes)

    @property
    def words(self) -> str:
        """The filters in words, for the page that found nothing."""
        named = (
            ("service", self.service),
            ("move", self.move.replace("_", "-")),
            ("reason", self.code),
        )
        parts = [f"{name} {value}" for name, value in named if value]
        return ", ".join([*parts, "changes only"] if self.changes else parts)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place after which a page of the list begins: the last row of the page before."""

    last_at: datetime
    pk: int

    def __str__(self) -> str:
        return f"{self.last_at.isoformat()}_{self.pk}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Return the cursor a link carries, ``None`` when it is none of ours."""
        at, _, pk = text.rpartition("_")
        try:
            found = datetime.fromisoformat(at)
            number = int(pk)
        except ValueError:
            return None
        if found.tzinfo is None or not 0 < number <= LARGEST_ID:
            return None
        return cls(found, number)


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
    """One page of the list; ``after`` is the cursor of the next, if there is one."""

    rows: Sequence[Row]
    after: Cursor | None
    services: Sequence[tuple[str, str]]
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
    """One decision with everything that explains it and what became of it."""

    decision: Decision
    steps: Sequence[StepRow]
    inputs: Sequence[Input]
    outcome: Sequence[Milestone]
    proposal: Proposal | None
    action: Action | None
    waits: Waits | None
    policy: Sequence[tuple[str, str]]
    provision: Provision | None
    parts: Sequence[Part]
    previous: int | None
    next: int | None

    @property
    def change(self) -> str:
        """The counts before and after."""
        return change_of(self.decision)

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


def listing(filters: Filters, after: Cursor | None) -> Listing:
    """Return one page, newest first; three queries however many rows there are."""
    found = _matching(filters)
    if after is not None:
        earlier = Q(last_at__lt=after.last_at) | Q(last_at=after.last_at, pk__lt=after.pk)
        found = found.filter(earlier)
    rows = list(found.select_related("service")[: PAGE + 1])
    more = len(rows) > PAGE
    rows = rows[:PAGE]
    return Listing(
        rows=[Row(row) for row in rows],
        after=Cursor(rows[-1].last_at, rows[-1].pk) if more else None,
        services=list(Service.objects.values_list("slug", "name")),
        has_any=bool(rows) or Decision.objects.exists(),
    )


def _matching(filters: Filters) -> QuerySet[Decision]:
    found = Decision.objects.order_by("-last_at", "-pk").defer("steps", "inputs")
    if filters.service:
        found = found.filter(service__slug=filters.service)
    if filters.move:
        found = found.filter(move=filters.move)
    if filters.code:
        found = found.filter(code=filters.code)
    if filters.changes:
        found = found.exclude(current_prefill=F("final_prefill"), current_decode=F("final_decode"))
    return found


def explained(pk: int, now: datetime) -> Explained | None:
    """Return one decision explained at ``now``, ``None`` when there is none of that number."""
    decision = Decision.objects.select_related("service__cluster__region").filter(pk=pk).first()
    if decision is None:
        return None
    proposal = (
        Proposal.objects.select_related("decided_by", "action").filter(decision=decision).first()
    )
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
        steps=[
            *(_step(step) for step in decision.steps if isinstance(step, dict)),
            *_second_half(decision),
        ],
        inputs=inputs_of(decision),
        outcome=outcome(decision, proposal, action),
        proposal=proposal,
        action=action,
        waits=waits_of(action, now),
        policy=_policy_text(revision.body if revision else {}),
        provision=provision_of(decision),
        parts=parts_of(decision),
        previous=beside.get(decision.seq - 1),
        next=beside.get(decision.seq + 1),
    )


def moves() -> Sequence[str]:
    """Return every move a decision can be."""
    return [move.value for move in Move]


def codes() -> Sequence[str]:
    """Return every reason code."""
    return [code.value for code in Code]


def _title(code: str) -> str:
    return phrases.CODE_TITLES.get(code, "")


def _pair(counts: Mapping[str, Any] | None) -> str:
    if not counts:
        return "—"
    return f"decode {counts.get('decode', '—')}, prefill {counts.get('prefill', '—')}"


def _step(step: Mapping[str, Any]) -> StepRow:
    name, code = str(step.get("name", "")), str(step.get("code", ""))
    return StepRow(
        word=STEP_WORDS.get(name, name),
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


def _policy_text(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the fields of a revision with the names and words of the policy's form."""
    return [
        (FIELDS[name].label, told(FIELDS[name], value)) if name in FIELDS else (name, f"{value}")
        for name, value in body.items()
    ]
