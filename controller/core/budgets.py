"""What all services together may give up without a person (S4), and hold at most (S2)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from controller.core.memory import Memory
from controller.core.pairs import larger
from controller.core.reasons import Code
from controller.core.types import (
    Decision,
    Gate,
    Instances,
    Move,
    Role,
    ServiceSpec,
    ServiceState,
    Step,
)
from controller.core.words import percent, seconds

UNUSUAL_FRAC: Final = 0.5
UNUSUAL_LEAST: Final = 3
UNUSUAL_STEP: Final = 0.2
"""So many services that shrink by so much at once are worth a word (M19)."""


@dataclass(frozen=True, slots=True)
class FleetRules:
    """What may go by itself within ``window_s``, and the most GPUs all services may hold.

    ``removal_frac`` is a share of the GPUs that serve; ``max_gpus`` of ``None`` is no limit.
    """

    removal_frac: float = 0.10
    window_s: float = 600.0
    max_gpus: int | None = None


USUAL: Final = FleetRules()


@dataclass(frozen=True, slots=True)
class Allowance:
    """The rules of the fleet, and the GPUs automatic actions removed within their window."""

    rules: FleetRules
    removed_gpus: int


@dataclass(frozen=True, slots=True)
class Fleet:
    """The services of a tick by key, and what they may give up."""

    specs: Mapping[str, ServiceSpec]
    states: Mapping[str, ServiceState]
    allowance: Allowance

    @property
    def serving_gpus(self) -> int:
        """GPUs of all ready instances that were seen."""
        return sum(
            state.ready.gpus(self.specs[key].gpus_per_instance)
            for key, state in self.states.items()
            if key in self.specs
        )


def within_removal_budget(decisions: Sequence[Decision], fleet: Fleet) -> list[Decision]:
    """Return the decisions with those that remove too much made proposals, in their order (S4).

    Within the window automatic actions may remove ``max(one instance, removal_frac of the GPUs
    that serve)`` in the whole fleet. Services of lower priority give first, then by key. Growth is
    never touched: of a change that also grows a role only the growth stays.
    """
    serving, rules = fleet.serving_gpus, fleet.allowance.rules
    shrinking = sorted(
        (one for one in decisions if one.gate is Gate.ACT and _removes(one, fleet)),
        key=lambda one: (fleet.specs[one.service].priority, one.service),
    )
    word, removed, found = _agreement(shrinking, decisions), fleet.allowance.removed_gpus, {}
    for one in shrinking:
        gpus = _removes(one, fleet)
        allowed = max(rules.removal_frac * serving, _one_instance(one, fleet))
        if removed + gpus <= allowed:
            removed += gpus
            continue
        said = (
            f"it would remove {gpus} GPUs, {removed} went in the last "
            f"{seconds(rules.window_s)}, and {allowed:.0f} may go by themselves, "
            f"{percent(rules.removal_frac)} of {serving}{word}"
        )
        found[one.service] = _held(one, said)
    return [found.get(one.service, one) for one in decisions]


def held_gpus(
    specs: Sequence[ServiceSpec],
    states: Mapping[str, ServiceState],
    recall: Callable[[str], Memory],
) -> int:
    """Return the GPUs all services hold or were promised (S2).

    Those are the wished instances, or what an action under way asks for where that is more, and
    those that drain. A service that can't be seen counts with the counts last known.
    """
    total = 0
    for spec in specs:
        memory, state = recall(spec.key), states.get(spec.key)
        known = memory.current or Instances(0, 0)
        wished = known if state is None else state.desired
        total += larger(wished, memory.asked or wished).gpus(spec.gpus_per_instance)
        if state is not None:
            draining = Instances(state.prefill.draining, state.decode.draining)
            total += draining.gpus(spec.gpus_per_instance)
    return total


def _removes(one: Decision, fleet: Fleet) -> int:
    """Return the GPUs a decision takes away."""
    spec = fleet.specs.get(one.service)
    if spec is None:
        return 0
    return sum(
        max(one.current.of(role) - one.final.of(role), 0) * spec.gpus_per_instance.of(role)
        for role in Role
    )


def removed_between(before: Instances, after: Instances, per_instance: Instances) -> int:
    """Return the GPUs that a change of counts took away."""
    kept = Instances(min(before.prefill, after.prefill), min(before.decode, after.decode))
    return before.gpus(per_instance) - kept.gpus(per_instance)


def _one_instance(one: Decision, fleet: Fleet) -> int:
    per = fleet.specs[one.service].gpus_per_instance
    return max(per.of(role) for role in Role if one.final.of(role) < one.current.of(role))


def _agreement(shrinking: Sequence[Decision], decisions: Sequence[Decision]) -> str:
    many = [
        one
        for one in shrinking
        if any(one.final.of(role) <= (1.0 - UNUSUAL_STEP) * one.current.of(role) for role in Role)
    ]
    if len(many) < max(UNUSUAL_LEAST, UNUSUAL_FRAC * len(decisions)):
        return ""
    return f"; unusual agreement: {len(many)} of {len(decisions)} services want to shrink"


def _held(one: Decision, said: str) -> Decision:
    """Return the decision as a proposal, or with its growth alone."""
    grown = larger(one.final, one.current)
    *steps, gate = one.steps
    if grown != one.current:
        held = Step("fleet", one.final, grown, Code.REMOVAL_BUDGET, said)
        passed = replace(gate, before=grown, after=grown)
        return replace(
            one,
            steps=(*steps, held, passed),
            final=grown,
            move=Move.SCALE_OUT,
            then=None,
            sentence=f"{one.sentence} Nothing is removed: {said}.",
        )
    waits = Step("fleet", one.final, one.final, Code.REMOVAL_BUDGET, said)
    asks = replace(gate, code=Code.AWAITING_APPROVAL, detail="beyond the budget a person decides")
    return replace(
        one,
        steps=(*steps, waits, asks),
        move=Move.PROPOSE,
        gate=Gate.PROPOSE,
        code=Code.REMOVAL_BUDGET,
        sentence=f"{one.sentence.removesuffix(' Carried out automatically.')} "
        f"Needs approval: {said}.",
    )
