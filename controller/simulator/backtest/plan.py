"""From a question to a world: limits, nodes, first counts, and the load all contestants share."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np

from controller.core.types import Floats, Instances, Limits
from controller.simulator.backtest.contestants import Contestant, Stage, enter
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.capacity import (
    Capacity,
    TooSlowError,
    demand_of,
    instances_needed,
    per_instance_capacity,
)
from controller.simulator.model import NodeSpec, ServiceModel
from controller.simulator.profiles import Profile
from controller.simulator.references.port import Briefing
from controller.simulator.world import EXACT_ABOVE_S, Wanted

MOST_CONTESTANTS: Final = 12
MOST_REQUESTS: Final = 10_000_000
"""Most requests played one by one, all contestants together: about ten minutes of computing."""

MOST_HELD: Final = 200_000
"""Most GPUs of all contestants together: their nodes alone fill 200 MB."""

FEW_SEQUENCES: Final = 32
"""With memory for fewer sequences decode is played exactly (compared in the documentation)."""

ROOM: Final = 3
"""GPUs there are, in multiples of what the peak needs, when nobody says how many."""

FIRST_LOOK_S: Final = 600.0
"""How much of the load decides with how many instances everybody begins."""

STEP_S: Final = 60.0
NODES_PER_S1: Final = 16
S1_PER_S2: Final = 4


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything fixed before the clock runs."""

    question: Question
    stage: Stage
    initial: Instances
    contestants: Sequence[Contestant]
    fidelity: "Fidelity"

    def services(self) -> list[ServiceModel]:
        """Return a service per contestant; all get the very same requests and luck."""
        asked = self.question
        return [
            ServiceModel(
                key=contestant.key,
                cluster=contestant.key,
                prefill=asked.prefill,
                decode=asked.decode,
                workload=asked.workload,
                initial=self.initial,
                start_median_s=asked.start_up_s,
                stream="load",
            )
            for contestant in self.contestants
        ]

    def nodes(self) -> list[NodeSpec]:
        """Return the nodes of every contestant's own cluster: its GPUs for each type it uses."""
        profiles = {p.hardware: p for p in (self.question.prefill, self.question.decode)}
        return [
            node
            for contestant in self.contestants
            for profile in profiles.values()
            for node in _nodes(contestant.key, profile, self.stage.limits.max_gpus)
        ]


def plan(question: Question) -> Plan:
    """Return how a question will be played. Raises :class:`QuestionError`."""
    if not question.candidates:
        raise QuestionError("bad_policy", "no policy to compare: name at least one", "policy")
    if len(question.candidates) > MOST_CONTESTANTS:
        said = f"{len(question.candidates)} policies at once: at most {MOST_CONTESTANTS}"
        raise QuestionError("too_many", said, "policy")
    need = _needs(question)
    stage = _stage(question, need)
    _check_size(question, stage.limits.max_gpus)
    entered = enter(question.candidates, stage)
    return Plan(question, stage, _initial(need, stage), entered, _fidelity(question))


def _capacity(question: Question) -> Capacity:
    demand = demand_of(question.workload)
    try:
        return per_instance_capacity(
            question.prefill, question.decode, demand, tbt_goal_s=question.slo.tbt_s
        )
    except TooSlowError as error:
        raise QuestionError(
            "too_slow", f"{question.decode.name} can't keep the TBT goal: {error}", "tbt_slo_s"
        ) from error


def _needs(question: Question) -> Floats:
    """Return the instances (prefill, decode) each minute needs, unrounded, shape ``(2, n)``.

    NaN where the load is unknown. Lengths are those of the minute.
    """
    begin_s = question.start_s + np.arange(0.0, question.span_s, STEP_S)
    offered = question.workload.rates(begin_s, STEP_S)
    if np.isnan(offered.rps).all():
        raise QuestionError(
            "unknown_load", "the load is unknown in the whole span: choose another one", "hours"
        )
    engines = question.prefill, question.decode
    demand = demand_of(question.workload)
    return instances_needed(engines, offered, demand, tbt_goal_s=question.slo.tbt_s)


def _stage(question: Question, need: Floats) -> Stage:
    per_instance = Instances(question.prefill.tp, question.decode.tp)
    least = Instances(1, 1).gpus(per_instance)
    peak = [ceil(count) for count in np.nanmax(need, axis=1)]
    most_gpus = question.max_gpus
    if most_gpus is None:
        most_gpus = ROOM * Instances(*peak).gpus(per_instance) + 2 * least
    if most_gpus < least:
        raise QuestionError(
            "too_few_gpus",
            f"{most_gpus} GPUs hold no pair: one of each role needs {least}",
            "max_gpus",
        )
    limits = Limits(
        Instances(1, 1),
        Instances(
            (most_gpus - per_instance.decode) // per_instance.prefill,
            (most_gpus - per_instance.prefill) // per_instance.decode,
        ),
        most_gpus,
    )
    capacity = _capacity(question)
    briefing = Briefing(
        slo=question.slo,
        limits=replace(limits, maximum=_shares(most_gpus, Instances(*peak), per_instance)),
        prefill=question.prefill,
        decode=question.decode,
        demand=demand_of(question.workload),
        workload=question.workload,
        span_s=(question.start_s, question.start_s + question.span_s),
        tick_s=question.tick_s,
    )
    return Stage(question.prefill, question.decode, capacity, limits, briefing)


def _shares(most_gpus: int, peak: Instances, per_instance: Instances) -> Instances:
    """Return the most instances of each role for references, which size their roles apart.

    The GPUs are split as the peaks need them: what one role holds can't be missing in the other.
    One instance of each role must fit.
    """
    decode = most_gpus * peak.decode * per_instance.decode / max(peak.gpus(per_instance), 1)
    most = (most_gpus - per_instance.prefill) // per_instance.decode
    counts = min(max(int(decode // per_instance.decode), 1), most)
    left = most_gpus - counts * per_instance.decode
    return Instances(left // per_instance.prefill, counts)


def _initial(need: Floats, stage: Stage) -> Instances:
    """Return what the first minutes need with a quarter to spare, as far as the GPUs go."""
    first = need[:, : max(int(FIRST_LOOK_S / STEP_S), 1)]
    known = first[:, ~np.isnan(first[0])]
    wanted = [1.25 * float(role.mean()) if known.size else 1.0 for role in known]
    counts = Instances(*(max(ceil(count), 1) for count in wanted))
    per_instance = Instances(stage.prefill.tp, stage.decode.tp)
    if counts.gpus(per_instance) <= stage.limits.max_gpus:
        return counts
    return _shares(stage.limits.max_gpus, counts, per_instance)


@dataclass(frozen=True, slots=True)
class Fidelity:
    """How a question is played, and the rule that says so."""

    wanted: Wanted
    rule: str


def _fidelity(question: Question) -> Fidelity:
    """Return how a question is played. Raises :class:`QuestionError` for too many requests."""
    if question.fidelity == "fluid":
        return Fidelity("fluid", "a fluid in 1 s bins, as asked")
    played, requests = len(question.candidates), _requests(question)
    many = requests * played > MOST_REQUESTS
    if question.fidelity == "auto":
        found = by_itself(question, many=many)
    else:
        found = Fidelity("exact", "every request and every decode step, as asked")
    if many and found.wanted == "exact":
        raise QuestionError(
            "too_large",
            f"{played} policies with {requests:,.0f} requests, played one by one: at most"
            f" {MOST_REQUESTS:,} in all. Take fewer hours or policies, or the fluid",
            "fidelity",
        )
    return found


def by_itself(question: Question, *, many: bool) -> Fidelity:
    """Return the fidelity of ``auto``: exact where the fluid misjudges decode.

    Where memory holds only few sequences, who waits for whom decides, and a fluid has no queue
    of single requests. Requests that are too many for that are played as a fluid all the same.
    """
    seqs = question.decode.kv_capacity_tokens / demand_of(question.workload).held_tokens
    few = f"memory holds only {seqs:.0f} sequences of this load"
    if seqs < FEW_SEQUENCES and not many:
        return Fidelity("exact", f"every request and every decode step, because {few}")
    doubt = f"; {few}, so decode waits longer than shown" if seqs < FEW_SEQUENCES else ""
    if not _is_slow(question):
        return Fidelity("auto", f"a fluid in 1 s bins{doubt}")
    slow = f"the 99th percentile of a prompt takes over {EXACT_ABOVE_S:g} s"
    if many:
        how = f"a fluid in 1 s bins, for there are too many requests to play one by one; {slow}"
        return Fidelity("fluid", f"{how}, so waits for prefill are shown too long{doubt}")
    how = f"prefill request by request, because {slow}; decode as a fluid in 1 s bins"
    return Fidelity("auto", f"{how}{doubt}")


def _requests(question: Question) -> float:
    begin_s = question.start_s + np.arange(0.0, question.span_s, STEP_S)
    return float(np.nansum(question.workload.rates(begin_s, STEP_S).rps) * STEP_S)


def _check_size(question: Question, most_gpus: int) -> None:
    """Refuse what would take more memory than there is."""
    played = len(question.candidates)
    if most_gpus * played > MOST_HELD:
        raise QuestionError(
            "too_large",
            f"{played} policies with up to {most_gpus:,} GPUs each: at most {MOST_HELD:,} in all."
            " Scale the rate down, compare fewer, or say how many GPUs there are",
            "max_gpus",
        )


def _is_slow(question: Question) -> bool:
    """Return whether prefill will be exact by itself."""
    demand = demand_of(question.workload)
    prompts = demand.uncached_tokens * question.workload.lengths.input
    return float(np.quantile(question.prefill.prefill_s(prompts), 0.99)) > EXACT_ABOVE_S


def _nodes(cluster: str, profile: Profile, gpus: int) -> list[NodeSpec]:
    size = profile.spec.gpus_per_node
    made = []
    for at in range(-(-gpus // size)):
        s1 = at // NODES_PER_S1
        made.append(
            NodeSpec(
                name=f"{cluster}/{profile.hardware}-{at:04}",
                cluster=cluster,
                hardware=profile.hardware,
                s1=f"s1-{s1:03}",
                s2=f"s2-{s1 // S1_PER_S2:02}",
                gpus=min(size, gpus - at * size),
            )
        )
    return made
