"""Workload-centric curation: the ratio, the targets and the policy that fit a load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Final

from controller.core.types import Instances
from controller.simulator.backtest.answer import Answer, Run, as_plain
from controller.simulator.backtest.question import Question, QuestionError, parse_candidate
from controller.simulator.backtest.run import run
from controller.simulator.capacity import (
    TARGET_FRAC,
    Capacity,
    TooSlowError,
    default_policy,
    demand_of,
    per_instance_capacity,
)

REFERENCES: Final = ("static-peak", "hpa-util")
MOST_SPLITS: Final = 48
"""Splits of the GPUs that are listed; of more, evenly spread ones and all around the top."""

AROUND: Final = 4


@dataclass(frozen=True, slots=True)
class Split:
    """Instances of both roles, and the requests/s they carry within the goals."""

    instances: Instances
    goodput_rps: float


@dataclass(frozen=True, slots=True)
class CurationQuestion:
    """What is asked: a load with its engines and goals, and how many GPUs there are.

    ``asked.candidates`` are played besides our own policies. ``goal_frac`` is the share of
    requests a policy must keep to be chosen for its cost.
    """

    asked: Question
    gpus: int
    goal_frac: float = 0.99


@dataclass(frozen=True, slots=True)
class Curation:
    """What fits: the split with the highest goodput, targets, and how policies did on the load.

    ``capacity`` is by mean lengths; ``cautious`` sets memory aside for the spread of answers.
    """

    question: CurationQuestion
    capacity: Capacity
    cautious: Capacity
    sweep: Sequence[Split]
    best: Split
    targets: Mapping[str, float]
    answer: Answer
    chosen: Run
    why: str


def curate(
    question: CurationQuestion,
    *,
    clock: Callable[[], float],
    progress: Callable[[float], None],
) -> Curation:
    """Return what fits a load (HeteroScale §4.6).

    The sweep is by first principles: prefill busy ``BUSY_FRAC`` of its time, decode at the
    largest batch within the TBT goal, memory and sequences, ``min(P · cap_P, D · cap_D)`` for each
    split. Policies are simulated on the load itself. Raises :class:`QuestionError`.
    """
    asked = question.asked
    demand = demand_of(asked.workload)
    try:
        capacity, cautious = (
            per_instance_capacity(asked.prefill, asked.decode, lengths, tbt_goal_s=asked.slo.tbt_s)
            for lengths in (replace(demand, output_spread=1.0), demand)
        )
    except TooSlowError as error:
        raise QuestionError(
            "too_slow", f"{asked.decode.name} can't keep the TBT goal: {error}", "tbt_slo_s"
        ) from error
    every = splits(question.gpus, Instances(asked.prefill.tp, asked.decode.tp), capacity)
    best = max(every, key=lambda split: split.goodput_rps)
    targets = {
        "decode_tps_per_instance": TARGET_FRAC * capacity.decode_tps,
        "prefill_tps_uncached_per_instance": TARGET_FRAC * capacity.prefill_tps_uncached,
    }
    names = dict.fromkeys((*ours(capacity), *REFERENCES, *(c.label for c in asked.candidates)))
    played = replace(asked, candidates=[parse_candidate(name) for name in names])
    answer = run(played, clock=clock, progress=progress)
    chosen, why = choose(answer.runs, question.goal_frac)
    return Curation(
        question, capacity, cautious, listed(every, best), best, targets, answer, chosen, why
    )


def splits(gpus: int, per_instance: Instances, capacity: Capacity) -> list[Split]:
    """Return every split of the GPUs with at least one instance of each role.

    Raises :class:`QuestionError` if the GPUs hold no pair.
    """
    most = (gpus - per_instance.decode) // per_instance.prefill
    if most < 1:
        needed = Instances(1, 1).gpus(per_instance)
        raise QuestionError(
            "too_few_gpus", f"{gpus} GPUs hold no pair: one of each role needs {needed}", "gpus"
        )
    found = []
    for prefill in range(1, most + 1):
        decode = (gpus - prefill * per_instance.prefill) // per_instance.decode
        carried = min(prefill * capacity.prefill_rps, decode * capacity.decode_rps)
        found.append(Split(Instances(prefill, decode), carried))
    return found


def listed(every: Sequence[Split], best: Split) -> list[Split]:
    """Return what is shown of many splits: evenly spread ones, and all around the best."""
    top = every.index(best)
    step = -(-len(every) // MOST_SPLITS)
    return [
        split
        for at, split in enumerate(every)
        if at % step == 0 or at == len(every) - 1 or abs(at - top) <= AROUND
    ]


def ours(capacity: Capacity) -> tuple[str, ...]:
    """Return our own candidates at the ratio and the targets that were found."""
    decode, prefill = (
        default_policy(capacity, driver) for driver in ("decode_tps", "prefill_tps_uncached")
    )
    ratio = f"pd_ratio={decode.pd_ratio:g}"
    return (
        "default",
        f"default:adapt=off,target={decode.target:g},{ratio}",
        f"proportional:target={decode.target:g},{ratio}",
        f"proportional:driver=prefill_tps_uncached,target={prefill.target:g},{ratio}",
    )


def choose(runs: Sequence[Run], goal_frac: float) -> tuple[Run, str]:
    """Return the cheapest run that keeps the goal, or the one that keeps most, and why."""
    goal = f"{goal_frac * 100:.6g}%"
    keeping = [
        one
        for one in runs
        if one.score.slo_attainment is not None and one.score.slo_attainment >= goal_frac
    ]
    if keeping:
        found = min(keeping, key=lambda one: one.score.gpu_hours)
        return found, (
            f"{found.label} takes the fewest GPU-hours, {found.score.gpu_hours:,.1f}, of the "
            f"{len(keeping)} that keep {goal} of requests within both goals"
        )
    known = [one for one in runs if one.score.slo_attainment is not None]
    if not known:
        return runs[0], "no request came, so nothing tells the policies apart"
    found = max(known, key=lambda one: one.score.slo_attainment or 0.0)
    kept = found.score.slo_attainment or 0.0
    # Cut, not rounded: what misses the goal by little must not read as if it kept it.
    cut = floor(kept * 1e4 + 1e-6) / 1e2
    return found, (
        f"none keeps {goal} of requests within both goals; {found.label} keeps most, {cut:g}%"
    )


def as_curation(found: Curation) -> dict[str, object]:
    """Return a curation as plain values for JSON."""
    answer = as_plain(found.answer, series=False)
    runs = answer.pop("runs")
    return {
        "pd_ratio": found.capacity.pd_ratio,
        "pd_ratio_cautious": found.cautious.pd_ratio,
        "sweep": [_split(split) for split in found.sweep],
        "best": _split(found.best),
        "targets": dict(found.targets),
        "capacity": {
            "prefill_rps_per_instance": found.capacity.prefill_rps,
            "decode_rps_per_instance": found.capacity.decode_rps,
            "decode_batch": found.capacity.batch,
            "decode_tbt_s": found.capacity.tbt_s,
        },
        "chosen": {
            "policy": found.chosen.label,
            "params": dict(found.chosen.params),
            "gpu_hours": found.chosen.score.gpu_hours,
            "slo_attainment": found.chosen.score.slo_attainment,
            "why": found.why,
        },
        "runs": runs,
        **answer,
    }


def _split(split: Split) -> dict[str, object]:
    return {
        "prefill": split.instances.prefill,
        "decode": split.instances.decode,
        "goodput_rps": split.goodput_rps,
    }
