"""One look at all services and a decision for each: the part live and simulated time share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.core.decide import decide
from controller.core.memory import Memory
from controller.core.ports import MetricsSource, Pool, View
from controller.core.reasons import Code
from controller.core.signals import summarise, summarise_all
from controller.core.types import (
    Context,
    Decision,
    Gate,
    Hold,
    Instances,
    Mode,
    Move,
    Observation,
    Role,
    ServiceSpec,
    ServiceState,
    Signals,
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
    signals = _signals_of(specs, view, now_s=now_s, max_age_s=max_age_s)
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
                signals=signals.get(spec.key)
                or summarise(
                    seen.window,
                    now_s=now_s,
                    max_age_s=max_age_s,
                    coverage_ok_frac=spec.policy.coverage_in_frac,
                ),
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
    signals: Signals,
) -> Context:
    """Return everything one decision may know. ``seen.state`` must be there."""
    if seen.state is None:
        raise ValueError(f"{spec.key} has no state to decide on")
    return Context(
        now_s=now_s,
        spec=spec,
        state=seen.state,
        signals=signals,
        history=replace(memory.history, changed_from=_changed_from(memory, seen.state)),
        hold=hold,
        gpus_free=gpus_free,
    )


def _signals_of(
    specs: Sequence[ServiceSpec], view: View, *, now_s: float, max_age_s: float
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


def _changed_from(memory: Memory, state: ServiceState) -> Instances | None:
    """Return the counts remembered, if the cluster's object moved without an action of ours."""
    same = memory.resource_version in ("", state.resource_version)
    return None if same or memory.history.in_flight else memory.current


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
