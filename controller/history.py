"""The last day of a simulated fleet, produced by the loop that runs live, on a virtual clock."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from controller import loop, wiring
from controller.core import cycle
from controller.core.budgets import Allowance, FleetRules, removed_between
from controller.core.memory import Memory, remember
from controller.core.ports import Actuator
from controller.core.types import Gate, Hold
from controller.models import SimulatedFleet
from controller.models.clock import database_now
from controller.selectors import profiles
from controller.services import ledger, simulated
from controller.services.ledger import Ledger
from controller.services.rows import Entry, order_of
from controller.simulator.engines import Engines
from inventory import snapshot

LENGTH: Final = timedelta(hours=24)
CHUNK: Final = 240
"""Ticks written at once: an hour at the usual period."""

OPERATOR_WAITS_S: Final = 150.0
"""How long the simulated operator lets a proposal wait before approving it."""

OPERATOR_LEAVES: Final = timedelta(minutes=15)
"""The last stretch, in which proposals are left for a real person."""


def is_wanted() -> bool:
    """Return whether a simulated fleet waits for its history."""
    fleets = SimulatedFleet.objects.exclude(history=SimulatedFleet.History.DONE)
    return fleets.exists()


def produce(report: Callable[[float], None], *, length: timedelta = LENGTH) -> int:
    """Produce the history up to now and leave the engines there; returns its ticks.

    ``report`` is told the share that is done. An interrupted run is begun anew.
    """
    ledger.clear()
    begin = database_now() - length
    run = _Run.at(begin)
    step = timedelta(seconds=settings.TICK_S)
    ticks, now, until = 0, begin + step, begin + length
    while now <= until:
        run.tick(now, attended=until - now > OPERATOR_LEAVES)
        ticks += 1
        if ticks % CHUNK == 0:
            run.ledger.flush()
            done_frac = min((now - begin) / length, 0.99)
            ledger.note_progress(done_frac)
            report(done_frac)
        now += step
        if now > until:
            until = database_now()  # what passed meanwhile belongs to the history too
    run.finish(now - step)
    report(1.0)
    return ticks


@dataclass(slots=True)
class _Run:
    """One pass over the day: the engines, what is remembered, what is to be written."""

    engines: Engines
    ledger: Ledger
    memory: dict[str, Memory] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    removals: list[tuple[float, int]] = field(default_factory=list)
    rules: FleetRules = field(default_factory=wiring.fleet_rules)

    @classmethod
    def at(cls, begin: datetime) -> "_Run":
        fleet = SimulatedFleet.objects.get(pk=1)
        known = snapshot.read(profiles.readable)
        return cls(simulated.restore(fleet, begin.timestamp()), Ledger(known))

    def recall(self, service: str) -> Memory:
        return self.memory.get(service, Memory())

    @contextmanager
    def lend(self, now_s: float) -> Iterator[Engines]:
        self.engines.world.advance(now_s)
        yield self.engines

    def allowance(self, now_s: float) -> Allowance:
        """Return what the fleet may give up and hold now, as the rows will say."""
        since_s = now_s - self.rules.window_s
        self.removals = [(at, gpus) for at, gpus in self.removals if at > since_s]
        return Allowance(self.rules, sum(gpus for _, gpus in self.removals))

    def tick(self, now: datetime, *, attended: bool) -> None:
        known = self.ledger.known
        specs = {spec.key: spec for spec in known.specs if spec.key in self.engines.world.keys}
        watched = list(specs.values())
        source = wiring.cluster_source(known.cluster_kinds, self.lend)
        seen = cycle.look(watched, source, now_s=now.timestamp(), max_age_s=settings.MAX_AGE_S)
        outcome = cycle.decide_all(
            watched,
            seen,
            recall=self.recall,
            hold_of=_nothing_held,
            allowance=self.allowance(now.timestamp()),
        )
        self.ledger.observe(outcome.view, now)
        self.entries = loop.entries_of(outcome, specs, self.recall)
        cluster = wiring.simulated_cluster(self.lend)
        for entry in self.entries:
            self.ledger.ready(entry, now)
            self.ledger.decide(entry, now)
            acted = self._carry_out(entry, now, cluster, attended=attended)
            spec = specs[entry.key]
            self.memory[entry.key] = remember(
                entry.memory,
                entry.decision,
                slo=spec.slo,
                keep_s=spec.policy.stabilisation_s,
                acted=acted,
            )

    def _carry_out(
        self, entry: Entry, now: datetime, cluster: Actuator, *, attended: bool
    ) -> bool:
        if entry.state is None:
            return False
        proposal = self.ledger.propose(entry, now)
        waited_s = (now - proposal.created_at).total_seconds() if proposal and attended else 0.0
        if entry.decision.gate is not Gate.ACT and waited_s < OPERATOR_WAITS_S:
            return False
        action = self.ledger.act(entry, now)
        if entry.decision.gate is Gate.ACT and entry.spec is not None:
            self.removals.append(
                (
                    now.timestamp(),
                    removed_between(
                        entry.decision.current,
                        entry.decision.final,
                        entry.spec.gpus_per_instance,
                    ),
                )
            )
        cluster.apply(order_of(action, entry.key), now_s=now.timestamp())
        return True

    def finish(self, now: datetime) -> None:
        """Write what is left and hand the engines over to the live loop."""
        with transaction.atomic():
            self.ledger.flush(last=True)
            self.ledger.write_statuses(self.entries, self.memory, now)
            fleet = SimulatedFleet.objects.select_for_update().get(pk=1)
            fleet.history, fleet.history_frac = SimulatedFleet.History.DONE, 1.0
            fleet.save(update_fields=["history", "history_frac"])
            simulated.keep(fleet, self.engines)


def _nothing_held(_service: str) -> Hold | None:
    return None
