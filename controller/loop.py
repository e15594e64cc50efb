"""One tick: gather, decide, record. ``decide_all`` is the part that also produces history."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from controller.core import memory as memories
from controller.core.decide import decide
from controller.core.memory import Memory
from controller.core.ports import MetricsSource, Pool, View
from controller.core.reasons import Code
from controller.core.signals import summarise
from controller.core.types import (
    Context,
    Decision,
    Gate,
    Hold,
    Instances,
    Mode,
    Move,
    Observation,
    Quality,
    Role,
    ServiceSpec,
    ServiceState,
    Step,
)
from controller.core.words import clean
from controller.selectors import freezes
from controller.selectors import memory as rows
from controller.services import recording
from controller.services.leadership import Lease
from controller.services.recording import Page
from controller.services.rows import Entry
from inventory import snapshot

LONGEST_WINDOW_S: Final = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Period and oldest usable sample [s]."""

    tick_s: float
    max_age_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a tick did: its number (``None``: one ran just now), decisions, actions to send."""

    slot: int | None
    decisions: int
    actions: tuple[UUID, ...]


class Stopwatch:
    """Milliseconds spent in each stage of a tick."""

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}
        self._last_s = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Count the time since the last mark as this stage's."""
        now_s = time.perf_counter()
        spent_ms = 1000 * (now_s - self._last_s)
        self.stages_ms[stage] = round(self.stages_ms.get(stage, 0.0) + spent_ms, 2)
        self._last_s = now_s


class _Timed:
    """A source whose answer is timed as a stage of its own."""

    def __init__(self, source: MetricsSource, watch: Stopwatch) -> None:
        self._source = source
        self._watch = watch

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        view = self._source.observe(services, now_s=now_s)
        self._watch.mark("observe")
        return view


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tick saw and decided. ``failures`` names services it could not judge, and why."""

    now_s: float
    view: View
    decisions: Sequence[Decision]
    failures: Mapping[str, str]


def run(
    lease: Lease,
    *,
    source_of: Callable[[Mapping[str, str]], MetricsSource],
    settings: LoopSettings,
) -> Report:
    """Run one tick under the lease: read what is known, decide for all, record in one go.

    ``source_of`` builds the source from the kind of each cluster. Raises
    :class:`NotLeadingError` when the lease ran out on the way: then nothing was written.
    """
    watch = Stopwatch()
    slot = recording.claim_slot(lease, tick_s=settings.tick_s)
    if slot is None:
        return Report(None, 0, ())
    now_s = lease.now.timestamp()
    known, frozen = snapshot.read(), freezes.in_force()
    recall = rows.read(lease.now, keep_s=_longest_window_s(known.specs)).of
    source = _Timed(source_of(known.cluster_kinds), watch)
    watch.mark("gather")
    outcome = decide_all(
        now_s,
        known.specs,
        source=source,
        recall=recall,
        hold_of=frozen.over,
        max_age_s=settings.max_age_s,
    )
    unreadable = [
        blind(key, recall(key), Code.CONFIG_INVALID, text, now_s=now_s)
        for key, text in known.broken.items()
    ]
    outcome = replace(
        outcome,
        decisions=[*outcome.decisions, *unreadable],
        failures={**outcome.failures, **known.broken},
    )
    watch.mark("decide")
    page = Page(
        now=lease.now,
        snapshot=known,
        view=outcome.view,
        entries=entries_of(outcome, {spec.key: spec for spec in known.specs}, recall),
        failures=outcome.failures,
        fresh=sum(map(is_fresh, outcome.decisions)),
    )
    due = recording.record(page, lease=lease, slot=slot)
    watch.mark("record")
    recording.note_stages(slot, watch.stages_ms)
    return Report(slot, len(page.entries), tuple(due))


def decide_all(  # noqa: PLR0913 - the ports of one tick
    now_s: float,
    specs: Sequence[ServiceSpec],
    *,
    source: MetricsSource,
    recall: Callable[[str], Memory],
    hold_of: Callable[[str], Hold | None],
    max_age_s: float,
) -> Outcome:
    """Observe all services in one go and decide for each (architecture: stages 1 to 5).

    ``recall`` gives the memory of a service and ``hold_of`` the freeze over it. One service that
    fails takes no other along (S24): it is named in ``Outcome.failures`` and its decision says so.
    """
    view = source.observe(specs, now_s=now_s)
    free = _free_by_cluster(view.pools)
    failures = {key: clean(text) for key, text in view.failures.items()}
    decisions: list[Decision] = []
    # Higher priority first: it is offered the free GPUs before the others.
    for spec in sorted(specs, key=lambda spec: -spec.priority):
        memory, pools = recall(spec.key), free.setdefault(spec.cluster, {})
        seen = view.observations.get(spec.key)
        if seen is None or seen.state is None:
            text = failures.setdefault(spec.key, "The cluster gave no answer for this service.")
            decisions.append(
                blind(spec.key, memory, Code.METRIC_MISSING, text, now_s=now_s, spec=spec)
            )
            continue
        try:
            context = context_of(
                spec,
                seen,
                now_s=now_s,
                memory=memory,
                hold=hold_of(spec.key),
                gpus_free=dict(pools),
                max_age_s=max_age_s,
            )
            decisions.append(decide(context))
            _deduct(pools, decisions[-1], spec)
        except Exception as fault:  # noqa: BLE001 - one bad row must not stop the loop (S24)
            text = clean(f"The decision failed: {type(fault).__name__}: {fault}")
            failures[spec.key] = text
            decisions.append(
                blind(spec.key, memory, Code.EXECUTOR_ERROR, text, now_s=now_s, spec=spec)
            )
    return Outcome(now_s, view, decisions, failures)


def blind(  # noqa: PLR0913 - the parts of a decision without an observation
    service: str,
    memory: Memory,
    code: Code,
    text: str,
    *,
    now_s: float,
    spec: ServiceSpec | None = None,
) -> Decision:
    """Return the decision to leave a service as it is because it can't be judged."""
    current = memory.current or Instances(0, 0)
    return Decision(
        service=service,
        now_s=now_s,
        mode=spec.mode if spec else Mode.OBSERVE,
        policy_version=spec.policy.version if spec else 0,
        signals={},
        current=current,
        raw=current,
        steps=(Step("policy", current, current, code, text),),
        final=current,
        move=Move.BLOCKED,
        gate=Gate.NONE,
        code=code,
        sentence=f"No change. {text}",
        driver=spec.policy.driver if spec else "",
    )


def context_of(  # noqa: PLR0913 - the parts of a context, each from another place
    spec: ServiceSpec,
    seen: Observation,
    *,
    now_s: float,
    memory: Memory,
    hold: Hold | None,
    gpus_free: Mapping[str, int],
    max_age_s: float,
) -> Context:
    """Return everything one decision may know. ``seen.state`` must be there."""
    if seen.state is None:
        raise ValueError(f"{spec.key} has no state to decide on")
    return Context(
        now_s=now_s,
        spec=spec,
        state=seen.state,
        signals=summarise(
            seen.window,
            now_s=now_s,
            max_age_s=max_age_s,
            coverage_ok_frac=spec.policy.coverage_in_frac,
        ),
        history=replace(memory.history, changed_from=_changed_from(memory, seen.state)),
        hold=hold,
        gpus_free=gpus_free,
    )


def _changed_from(memory: Memory, state: ServiceState) -> Instances | None:
    """Return the counts remembered, if the cluster's object moved without an action of ours."""
    same = memory.resource_version in ("", state.resource_version)
    return None if same or memory.history.in_flight else memory.current


def entries_of(
    outcome: Outcome, specs: Mapping[str, ServiceSpec], recall: Callable[[str], Memory]
) -> list[Entry]:
    """Return what is to be written about each service of a tick."""
    entries = []
    for decision in outcome.decisions:
        memory, spec = recall(decision.service), specs.get(decision.service)
        seen = outcome.view.observations.get(decision.service)
        entries.append(
            Entry(
                decision=decision,
                memory=memory,
                spec=spec,
                state=seen.state if seen else None,
                breach=memories.breaches(memory, decision, spec.slo) if spec else (None, None),
            )
        )
    return entries


def is_fresh(decision: Decision) -> bool:
    """Return whether the signal that sizes the service can be trusted."""
    driver = decision.signals.get(decision.driver)
    return driver is not None and driver.quality is Quality.OK


def _longest_window_s(specs: Sequence[ServiceSpec]) -> float:
    """Return how far back wishes matter to anybody [s], a policy row gone wrong left aside."""
    windows = [spec.policy.stabilisation_s for spec in specs]
    return max((s for s in windows if 0 <= s <= LONGEST_WINDOW_S), default=0.0) + 60.0


def _deduct(free: dict[str, int], decision: Decision, spec: ServiceSpec) -> None:
    """Take what a change will hold off its pools, so that nobody is promised it again (S2)."""
    if decision.gate is not Gate.ACT:
        return
    for role in Role:
        more = max(decision.final.of(role) - decision.current.of(role), 0)
        pool = spec.hardware[role]
        free[pool] = max(free.get(pool, 0) - more * spec.gpus_per_instance.of(role), 0)


def _free_by_cluster(pools: Sequence[Pool]) -> dict[str, dict[str, int]]:
    free: dict[str, dict[str, int]] = {}
    for pool in pools:
        free.setdefault(pool.cluster, {})[pool.hardware] = pool.free
    return free
