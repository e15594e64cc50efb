"""One look at all services and a decision for each: the part live and simulated time share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from controller.core import starts
from controller.core.budgets import Allowance, Fleet, held_gpus, within_removal_budget
from controller.core.config_check import validate_spec
from controller.core.decide import decide
from controller.core.exchange import kept_gpus
from controller.core.memory import Memory
from controller.core.pairs import whole_down, whole_up
from controller.core.ports import MetricsSource, Pool, View
from controller.core.reasons import Code
from controller.core.signals import summarise, summarise_all
from controller.core.types import (
    NO_INSTANCES,
    Context,
    Decision,
    Gate,
    Hold,
    Instances,
    Mode,
    Move,
    Role,
    ServiceSpec,
    ServiceState,
    Signals,
    Stage,
    Step,
)
from controller.core.words import clean


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one tick saw and decided. ``failures`` names services it could not judge, and why."""

    now_s: float
    view: View
    decisions: Sequence[Decision]
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look at the fleet brought back; ``signals`` are by service, of those readable.

    ``handicaps`` are of services on hardware of several speeds (see ``Context.handicap``).
    """

    now_s: float
    max_age_s: float
    view: View
    signals: Mapping[str, Signals]
    handicaps: Mapping[str, Instances] = field(default_factory=dict)


def look(
    specs: Sequence[ServiceSpec], source: MetricsSource, *, now_s: float, max_age_s: float
) -> Look:
    """Observe all services in one go and reduce their windows (architecture: stages 1 and 2)."""
    view = source.observe(specs, now_s=now_s)
    return Look(now_s, max_age_s, view, _signals_of(specs, view, now_s, max_age_s))


def decide_all(
    specs: Sequence[ServiceSpec],
    seen: Look,
    *,
    recall: Callable[[str], Memory],
    hold_of: Callable[[str], Hold | None],
    allowance: Allowance | None = None,
) -> Outcome:
    """Decide for each service (architecture: stages 3 to 5).

    ``recall`` gives the memory of a service and ``hold_of`` the freeze over it. One service that
    fails takes no other along (S24): it is named in ``Outcome.failures`` and its decision says so.
    ``allowance`` is what they may give up and hold together; ``None`` for services that are no
    fleet, such as the contestants of a backtest.
    """
    now_s, view = seen.now_s, seen.view
    states = {key: each.state for key, each in view.observations.items() if each.state is not None}
    supply = _Supply(view.pools, _left(specs, states, recall, allowance))
    _keep_stages(supply, specs, states, recall, now_s)
    # Contestants of a backtest must not learn from each other.
    usual_start_s = {} if allowance is None else _usual_start_s(specs, recall)
    failures = {key: clean(text) for key, text in view.failures.items()}
    decisions: list[Decision] = []
    # Higher priority first: it is offered the free GPUs before the others.
    for spec in sorted(specs, key=lambda spec: (-spec.priority, spec.key)):
        memory = recall(spec.key)
        if spec.key not in states:
            text = failures.setdefault(spec.key, "The cluster gave no answer for this service.")
            decisions.append(
                blind(spec.key, memory, Code.METRIC_MISSING, text, now_s=now_s, spec=spec)
            )
            continue
        try:
            context = context_of(
                spec, seen, memory=memory, hold=hold_of(spec.key), gpus_free=supply.of(spec)
            )
            context = replace(
                context, gpus_left=supply.left_for(spec), usual_start_s=usual_start_s
            )
            decisions.append(decide(context))
            supply.take(decisions[-1], spec)
        except Exception as fault:  # noqa: BLE001 - one bad row must not stop the loop (S24)
            text = clean(f"The decision failed: {type(fault).__name__}: {fault}")
            failures[spec.key] = text
            decisions.append(
                blind(spec.key, memory, Code.EXECUTOR_ERROR, text, now_s=now_s, spec=spec)
            )
    if allowance is not None:
        fleet = Fleet({spec.key: spec for spec in specs}, states, allowance)
        decisions = within_removal_budget(decisions, fleet)
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


def context_of(
    spec: ServiceSpec,
    seen: Look,
    *,
    memory: Memory,
    hold: Hold | None,
    gpus_free: Mapping[str, int],
) -> Context:
    """Return everything one decision may know. The service's state must have been seen."""
    observed = seen.view.observations[spec.key]
    if observed.state is None:
        raise ValueError(f"{spec.key} has no state to decide on")
    signals = seen.signals.get(spec.key)
    if signals is None:
        signals = summarise(
            observed.window,
            now_s=seen.now_s,
            max_age_s=seen.max_age_s,
            coverage_ok_frac=spec.policy.coverage_in_frac,
        )
    changed_from = _changed_from(memory, observed.state)
    history = memory.history
    if changed_from != history.changed_from:
        history = replace(history, changed_from=changed_from)
    return Context(
        now_s=seen.now_s,
        spec=spec,
        state=observed.state,
        signals=signals,
        history=history,
        hold=hold,
        gpus_free=gpus_free,
        handicap=seen.handicaps.get(spec.key, NO_INSTANCES),
        bar=observed.bar,
    )


def _signals_of(
    specs: Sequence[ServiceSpec], view: View, now_s: float, max_age_s: float
) -> Mapping[str, Signals]:
    """Return the signals of all services in one pass; of none if one of them can't be read.

    Then each is summarised alone, and only the bad one fails (S24).
    """
    seen = [spec for spec in specs if spec.key in view.observations]
    windows = [(view.observations[spec.key].window, spec.policy.coverage_in_frac) for spec in seen]
    try:
        found = summarise_all(windows, now_s=now_s, max_age_s=max_age_s)
    except Exception:  # noqa: BLE001 - a window of any wrong shape must not stop the others (S24)
        return {}
    return {spec.key: signals for spec, signals in zip(seen, found, strict=True)}


def moved_from(memory: Memory, state: ServiceState) -> Instances | None:
    """Return the counts remembered, if somebody else wrote others in their place.

    Under an action of ours each role may stand where it stood or where that wants it.
    """
    before, asked = memory.current, memory.asked or memory.current
    if memory.resource_version in ("", state.resource_version) or not before or not asked:
        return None
    ours = all(state.desired.of(role) in (before.of(role), asked.of(role)) for role in Role)
    return None if ours else before


def _changed_from(memory: Memory, state: ServiceState) -> Instances | None:
    """Return the counts remembered, if the cluster's object moved without an action of ours."""
    same = memory.resource_version in ("", state.resource_version)
    return None if same or memory.history.in_flight else memory.current


def _keep_stages(
    supply: "_Supply",
    specs: Sequence[ServiceSpec],
    states: Mapping[str, ServiceState],
    recall: Callable[[str], Memory],
    now_s: float,
) -> None:
    """Keep the GPUs that second halves of exchanges wait for."""
    for spec in specs:
        stage = recall(spec.key).history.stage
        # A configuration that has become unusable since keeps nothing, and is told of later (S24).
        if stage is not None and spec.key in states and not validate_spec(spec):
            supply.keep(spec, kept_gpus(stage, spec, states[spec.key], now_s), stage)


def _usual_start_s(
    specs: Sequence[ServiceSpec], recall: Callable[[str], Memory]
) -> Mapping[str, float]:
    """Return how long starts take on each hardware [s], by what all services have seen."""
    learnt = [(spec.hardware, recall(spec.key).history.outlook) for spec in specs]
    return starts.usual(
        (hardware[role], each)
        for hardware, outlook in learnt
        for role, each in ((Role.PREFILL, outlook.prefill), (Role.DECODE, outlook.decode))
        if role in hardware
    )


def _left(
    specs: Sequence[ServiceSpec],
    states: Mapping[str, ServiceState],
    recall: Callable[[str], Memory],
    allowance: Allowance | None,
) -> int | None:
    """Return the GPUs the fleet may still take, ``None`` without a budget."""
    if allowance is None or allowance.rules.max_gpus is None:
        return None
    return allowance.rules.max_gpus - held_gpus(specs, states, recall)


@dataclass(slots=True)
class _Kept:
    """Free GPUs kept for the second half of a service's exchange; ``pool`` where they are."""

    spec: ServiceSpec
    role: Role
    gpus: int
    pool: tuple[str, str] | None


class _Supply:
    """What is still to be had: free GPUs by pool, and what the fleet may still take (S2).

    What an exchange freed is kept for it against services of the same or a lower priority.
    """

    def __init__(self, pools: Sequence[Pool], left: int | None) -> None:
        self._free: dict[str, dict[str, int]] = {}
        for pool in pools:
            self._free.setdefault(pool.cluster, {})[pool.hardware] = pool.free
        self._left = left
        self._kept: dict[str, _Kept] = {}

    def keep(self, spec: ServiceSpec, gpus: int, stage: Stage) -> None:
        """Keep GPUs that an exchange freed; their pool only where both its roles use it."""
        if gpus > 0:
            kind = spec.hardware[stage.grower]
            pool = (spec.cluster, kind) if kind == spec.hardware[stage.giver] else None
            self._kept[spec.key] = _Kept(spec, stage.grower, gpus, pool)

    def of(self, spec: ServiceSpec) -> dict[str, int]:
        """Return the free GPUs of a service's cluster by hardware, less what others are kept."""
        free = dict(self._free.get(spec.cluster, {}))
        for kept in self._before(spec):
            if kept.pool is not None and kept.pool[0] == spec.cluster and kept.pool[1] in free:
                free[kept.pool[1]] = max(free[kept.pool[1]] - kept.gpus, 0)
        return free

    def left_for(self, spec: ServiceSpec) -> int | None:
        """Return what the fleet may still take, less what others are kept."""
        if self._left is None:
            return None
        return self._left - sum(kept.gpus for kept in self._before(spec))

    def _before(self, spec: ServiceSpec) -> list[_Kept]:
        """Return what is kept against a service."""
        return [
            kept
            for key, kept in self._kept.items()
            if key != spec.key and kept.spec.priority >= spec.priority
        ]

    def take(self, decision: Decision, spec: ServiceSpec) -> None:
        """Take what a change will hold, so that nobody is promised it again.

        The fleet's budget counts what is proposed as well: it may be approved at any moment.
        """
        if decision.gate not in (Gate.ACT, Gate.PROPOSE):
            return
        free, kept = self._free.setdefault(spec.cluster, {}), self._kept.get(spec.key)
        for role in Role:
            more = max(decision.final.of(role) - decision.current.of(role), 0)
            gpus = more * spec.gpus_per_instance.of(role)
            if decision.gate is Gate.ACT:
                _take_of(free, spec.kinds(role), gpus)
            if self._left is not None:
                self._left -= gpus
            if kept is not None and kept.role is role and decision.gate is Gate.ACT:
                kept.gpus = max(kept.gpus - gpus, 0)


def _take_of(free: dict[str, int], kinds: Mapping[str, float], gpus: int) -> None:
    """Take GPUs of a role's types, of each further one what those before it have not."""
    for kind, worth in kinds.items():
        had = max(free.get(kind, 0), 0)
        taken = min(had, whole_up(gpus / worth))
        free[kind] = had - taken
        gpus = max(gpus - whole_down(taken * worth), 0)
