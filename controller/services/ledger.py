"""What a produced history leaves behind, gathered in memory and written an hour at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from django.db import connection, transaction

from controller.core.decision_plain import stage_plain
from controller.core.lifecycle import ActionState, ProposalState
from controller.core.memory import Memory, joins
from controller.core.outlook_plain import as_plain
from controller.core.ports import View
from controller.core.types import Gate, Instances, Role
from controller.models import (
    Action,
    Decision,
    PoolSample,
    Proposal,
    Sample,
    ServiceStatus,
    SimulatedFleet,
)
from controller.services import rows
from controller.services.rows import Entry
from inventory.models import Service
from inventory.services import bulk
from inventory.snapshot import Snapshot

OPERATOR: Final = "simulated operator"


def clear() -> None:
    """Remove what an interrupted run left of simulated services, and their engines."""
    services = Service.objects.filter(simulated__isnull=False)
    with transaction.atomic():
        _may_remove_decisions()
        for model in (Action, Proposal, ServiceStatus, Decision, Sample):
            model.objects.filter(service__in=services).delete()
        PoolSample.objects.filter(cluster__kind="simulated").delete()
        SimulatedFleet.objects.filter(pk=1).update(
            state=None, receipts={}, history=SimulatedFleet.History.RUNNING, history_frac=0.0
        )


def _may_remove_decisions() -> None:
    """Let decisions go while their service stays, which only the tables' owner may say.

    What goes is noted in the chain by the database itself.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('heteroscale.removing', 'on', true)")


def note_progress(done_frac: float) -> None:
    """Let the pages say how far the history is."""
    SimulatedFleet.objects.filter(pk=1).update(history_frac=done_frac)


@dataclass(slots=True)
class _Line:
    """A decision that equal ones still join: first and last of them."""

    entry: Entry
    seq: int
    first_at: datetime
    last_at: datetime
    count: int = 1
    row: Decision | None = None


@dataclass(slots=True)
class Ledger:
    """Rows of a history that are not written yet, and what is open of each service."""

    known: Snapshot
    samples: list[tuple[object, ...]] = field(default_factory=list)
    pools: list[tuple[object, ...]] = field(default_factory=list)
    closed: list[_Line] = field(default_factory=list)
    actions: list[tuple[Action, _Line]] = field(default_factory=list)
    lines: dict[str, _Line] = field(default_factory=dict)
    proposals: dict[str, Proposal] = field(default_factory=dict)
    decided: list[Proposal] = field(default_factory=list)
    starting: dict[str, Action] = field(default_factory=dict)

    def observe(self, view: View, now: datetime) -> None:
        """Keep the samples of one tick."""
        self.samples += [
            rows.sample_row(self.known.services[key], now, seen)
            for key, seen in view.observations.items()
        ]
        self.pools += [rows.pool_row(pool, self.known, now) for pool in view.pools]

    def decide(self, entry: Entry, now: datetime) -> None:
        """Keep the decision: one more of the newest line, or a new one."""
        line, head = self.lines.get(entry.key), entry.memory.head
        if line is not None and joins(entry.decision, head):
            line.entry, line.last_at, line.count = entry, now, line.count + 1
            return
        if line is not None:
            self.closed.append(line)
        self.lines[entry.key] = _Line(entry, (head.seq if head else 0) + 1, now, now)

    def propose(self, entry: Entry, now: datetime) -> Proposal | None:
        """Keep, confirm or supersede the open proposal of a service; returns the open one."""
        open_one, service = self.proposals.get(entry.key), self.known.services[entry.key]
        if entry.decision.gate is not Gate.PROPOSE:
            if open_one is not None:
                reason = f"No longer wanted. {entry.decision.sentence}"
                self._close(entry.key, ProposalState.SUPERSEDED, now, reason)
            return None
        wanted = rows.proposal_row(entry, service=service, decision=None, now=now)
        if open_one is not None:
            wanted.created_at, wanted.version = open_one.created_at, open_one.version
            if wanted.fingerprint != open_one.fingerprint:
                wanted.version += 1
        self.proposals[entry.key] = wanted
        return wanted

    def act(self, entry: Entry, now: datetime) -> Action:
        """Keep the action that carries a decision out, and the proposal it comes from."""
        service = self.known.services[entry.key]
        action = rows.action_row(entry, service=service, now=now, epoch=0)
        action.state, action.attempts = ActionState.APPLIED, 1
        action.sent_at = action.applied_at = now
        proposal = self.proposals.get(entry.key)
        if proposal is not None:
            action.proposal, action.actor = proposal, OPERATOR
            self._close(entry.key, ProposalState.APPLIED, now, "")
        before = self.starting.pop(entry.key, None)
        if before is not None:
            before.ended_at = now
            before.error = "Overtaken by a later action before all of it was ready."
        self.starting[entry.key] = action
        self.actions.append((action, self.lines[entry.key]))
        return action

    def _close(self, service: str, state: ProposalState, now: datetime, reason: str) -> None:
        proposal = self.proposals.pop(service)
        proposal.state, proposal.closed_at, proposal.closed_reason = state, now, reason
        if state is ProposalState.APPLIED:
            proposal.decided_at, proposal.decided_reason = now, f"Approved by the {OPERATOR}."
        self.decided.append(proposal)

    def ready(self, entry: Entry, now: datetime) -> None:
        """Note when an action's instances all serve."""
        action = self.starting.get(entry.key)
        if action is None or entry.state is None:
            return
        drained = not any(entry.state.of(role).draining for role in Role)
        if drained and entry.state.ready == Instances(action.to_prefill, action.to_decode):
            action.state, action.ready_at, action.ended_at = ActionState.READY, now, now
            del self.starting[entry.key]

    def flush(self, *, last: bool = False) -> None:
        """Write everything that no later tick can change; with ``last`` simply everything."""
        if last:
            self.closed += self.lines.values()
            # What waits is left to a person, who finds it on the page of approvals.
            self.decided += self.proposals.values()
        with transaction.atomic():
            bulk.copy(Sample, rows.SAMPLE_COLUMNS, self.samples)
            bulk.copy(PoolSample, rows.POOL_COLUMNS, self.pools)
            self._write_decisions()
            Proposal.objects.bulk_create(self.decided)
            self._write_actions(last=last)
        self.samples, self.pools, self.closed, self.decided = [], [], [], []

    def _write_decisions(self) -> None:
        for line in self.closed:
            row = rows.decision_row(
                line.entry,
                self.known,
                seq=line.seq,
                at=line.last_at,
                slot=int(line.first_at.timestamp()),
            )
            row.first_at, row.count = line.first_at, line.count
            line.row = row
        bulk.create(Decision, [line.row for line in self.closed if line.row])

    def _write_actions(self, *, last: bool) -> None:
        waiting = set(map(id, self.starting.values()))
        kept, done = [], []
        for action, line in self.actions:
            if line.row is None or (id(action) in waiting and not last):
                kept.append((action, line))
            else:
                action.decision = line.row
                done.append(action)
        Action.objects.bulk_create(done)
        self.actions = kept

    def write_statuses(
        self, entries: Sequence[Entry], memory: Mapping[str, Memory], now: datetime
    ) -> None:
        """Write the latest of everything, from which the live loop goes on."""
        ServiceStatus.objects.bulk_create(
            [self._status(entry, memory[entry.key], now) for entry in entries if entry.state]
        )

    def _status(self, entry: Entry, memory: Memory, now: datetime) -> ServiceStatus:
        line, state = self.lines[entry.key], entry.state
        if state is None:
            raise ValueError(f"{entry.key} was not observed")
        status = ServiceStatus(
            service_id=self.known.services[entry.key],
            observed_at=now,
            decision=line.row,
            decision_seq=line.seq,
            resource_version=state.resource_version,
            signals=rows.signals_of(entry.decision.signals),
            outlook=as_plain(memory.history.outlook),
            exchange=stage_plain(memory.history.stage) if memory.history.stage else {},
            last_scale_out_at=_moment(memory.history.last_scale_out_s),
            last_scale_in_at=_moment(memory.history.last_scale_in_s),
            ttft_breach_since=_moment(memory.ttft_breach_since_s),
            tbt_breach_since=_moment(memory.tbt_breach_since_s),
        )
        for role in Role:
            for part in (*rows.COUNTS, "failed"):
                setattr(status, f"{role}_{part}", getattr(state.of(role), part))
        return status


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
