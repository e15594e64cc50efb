"""Workload-centric curation: the ratio, the targets and the policy that fit a load."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from typing import Final

import numpy as np

from controller.core.types import Flags, Floats, Instances
from controller.simulator.attainable import attainable_frac
from controller.simulator.backtest.answer import Answer, Plain, Run, as_plain
from controller.simulator.backtest.contestants import OURS
from controller.simulator.backtest.plan import plan
from controller.simulator.backtest.question import Question, QuestionError, parse_candidate
from controller.simulator.backtest.run import run
from controller.simulator.capacity import (
    TARGET_FRAC,
    Capacity,
    Demand,
    TooSlowError,
    default_policy,
    demand_of,
    instances_needed,
    per_instance_capacity,
)
from controller.simulator.offered import Offered
from controller.simulator.stress import Stress, sustained

REFERENCES: Final = ("static-peak", "hpa-util")
MOST_SPLITS: Final = 48
"""Splits of the GPUs that are listed; of more, evenly spread ones and all around the top."""

AROUND: Final = 4
TOGETHER: Final = 4
"""Splits that are played in one go."""

MOST_ROUNDS: Final = 4
"""Goes until the best split must be found among those that were played."""

STRESS_FRAC: Final = 0.3
"""Of the progress that is told, what finding the split takes; the rest is playing policies."""

MARGIN_FRAC: Final = 0.002
"""Where none keeps the goal: shares this near to the most that is kept are as good as it."""

HOUR_S: Final = 3600.0
MOST_HOURS: Final = 31 * 24
QUIET_FRAC: Final = 0.1
"""An hour with less than this of the mean rate has no say in how the ratio drifts."""


@dataclass(frozen=True, slots=True)
class Split:
    """Instances of both roles, and the requests/s they carry within the goals.

    ``simulated`` where ``goodput_rps`` was found by playing it, else it is ``computed_rps``, that
    of first principles.
    """

    instances: Instances
    goodput_rps: float
    computed_rps: float
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Drift:
    """The lowest and the highest best ratio of the hours that count, and how many do."""

    lowest: float
    highest: float
    hours: int


@dataclass(frozen=True, slots=True)
class CurationQuestion:
    """What is asked: a load with its engines and goals, and how many GPUs there are.

    ``asked.candidates`` are played besides our own policies. ``goal_frac`` is the share of
    requests a policy must keep to be chosen for its cost. With ``stress`` every split that is
    listed is simulated.
    """

    asked: Question
    gpus: int
    goal_frac: float = 0.99
    stress: bool = False


@dataclass(frozen=True, slots=True)
class Basis:
    """What everything rests on: the mix of all requests, and what an instance sustains.

    ``capacity`` is by mean lengths, ``cautious`` what an instance sustains as answers vary: that
    is what splits, targets and policies are made of.
    """

    demand: Demand
    capacity: Capacity
    cautious: Capacity
    drift: Drift


@dataclass(frozen=True, slots=True)
class Curation:
    """What fits: the split with the highest goodput, targets, and how policies did on the load.

    ``attainable_frac`` is the share of the requests played whose own prompt leaves the TTFT goal
    in reach, at least what a policy kept. ``note`` says why the best split is no hour's, empty
    where it is.
    """

    question: CurationQuestion
    basis: Basis
    attainable_frac: float
    sweep: Sequence[Split]
    best: Split
    targets: Mapping[str, float]
    answer: Answer
    chosen: Run
    why: str
    note: str


def answered(
    question: Question | CurationQuestion,
    *,
    clock: Callable[[], float],
    progress: Callable[[float], None],
) -> Answer:
    """Return the answer of a backtest, with what was found where it was asked what fits.

    Raises :class:`QuestionError`.
    """
    if isinstance(question, Question):
        return run(question, clock=clock, progress=progress)
    found = curate(question, clock=clock, progress=progress)
    return replace(found.answer, curation=findings(found))


def check(question: Question | CurationQuestion) -> None:
    """Raise :class:`QuestionError` for what could not be played."""
    if isinstance(question, Question):
        plan(question)
        return
    cautious = basis_of(question.asked).cautious
    _splits_of(question, cautious)
    plan(_played(question, cautious))


def curate(
    question: CurationQuestion,
    *,
    clock: Callable[[], float],
    progress: Callable[[float], None],
) -> Curation:
    """Return what fits a load (HeteroScale §4.6).

    By first principles a split carries ``min(P · cap_P, D · cap_D)``: prefill busy ``BUSY_FRAC``
    of its time, decode at the largest batch within the TBT goal, the limit on sequences and the
    memory for what running sequences will hold. The splits that could be the best are then
    played at steady rates, and carry what keeps both goals there, never more than by first
    principles. Policies are simulated on the load itself. Raises :class:`QuestionError`.
    """
    basis = basis_of(question.asked)
    every = _splits_of(question, basis.cautious)
    stress = Stress(question.asked, basis.demand, question.goal_frac)
    every = stressed(
        every, stress, lambda frac: progress(STRESS_FRAC * frac), whole=question.stress
    )
    best = max(every, key=lambda split: (split.simulated, split.goodput_rps))
    kept = within_goals(basis.cautious, best)
    answer = run(
        _played(question, kept),
        clock=clock,
        progress=lambda frac: progress(STRESS_FRAC + (1 - STRESS_FRAC) * frac),
    )
    attainable = _attainable(question.asked, answer.runs)
    chosen, why = choose(answer.runs, question.goal_frac, attainable)
    return Curation(
        question=question,
        basis=basis,
        attainable_frac=attainable,
        sweep=listed(every, best),
        best=best,
        targets={
            "decode_tps_per_instance": TARGET_FRAC * kept.decode_tps,
            "prefill_tps_uncached_per_instance": TARGET_FRAC * kept.prefill_tps_uncached,
        },
        answer=answer,
        chosen=chosen,
        why=why,
        note=_note(best, basis.drift),
    )


def _attainable(asked: Question, runs: Sequence[Run]) -> float:
    """Return the share that can be kept; requests that are drawn may be kinder than their mean."""
    kept = [one.score.slo_attainment_ttft or 0.0 for one in runs]
    return max(attainable_frac(asked), *kept)


def _note(best: Split, drift: Drift) -> str:
    """Return why the best split's ratio is outside that of all hours, empty where it is not."""
    ratio = best.instances.prefill / best.instances.decode
    if not drift.hours or drift.lowest <= ratio <= drift.highest:
        return ""
    side = "below" if ratio < drift.lowest else "above"
    hours = " to ".join(dict.fromkeys(f"{each:.2f}" for each in (drift.lowest, drift.highest)))
    return (
        f"The best split has a ratio of {ratio:.2f}, {side} the {hours} of the hours: those are "
        "from first principles in fractions of instances, a split has whole ones and must keep "
        "both goals when it is played"
    )


def within_goals(cautious: Capacity, best: Split) -> Capacity:
    """Return what an instance sustains where the best split keeps both goals.

    Of the role that is full first it is the share of first principles which was left when the
    split was played: waiting for prefill, say, breaks the TTFT goal before its engines are full.
    """
    prefill_rps, decode_rps = (
        count * sustains
        for count, sustains in zip(
            best.instances, (cautious.prefill_rps, cautious.decode_rps), strict=True
        )
    )
    share = best.goodput_rps / min(prefill_rps, decode_rps)
    if share <= 0:
        return cautious
    if prefill_rps <= decode_rps:
        return replace(
            cautious,
            prefill_rps=share * cautious.prefill_rps,
            prefill_tps_uncached=share * cautious.prefill_tps_uncached,
        )
    return replace(
        cautious,
        decode_rps=share * cautious.decode_rps,
        decode_tps=share * cautious.decode_tps,
    )


def basis_of(asked: Question) -> Basis:
    """Return the mix and the capacities of a load, over one pass of it (a day without an end).

    Every request counts alike, so busy hours weigh most, and the first day no more than others.
    Raises :class:`QuestionError`.
    """
    span_s = asked.workload.about.span_s or 24 * HOUR_S
    hours = min(max(round(span_s / HOUR_S), 1), MOST_HOURS)
    step_s = min(span_s, MOST_HOURS * HOUR_S) / hours
    offered = asked.workload.rates(step_s * np.arange(hours, dtype=np.float64), step_s)
    spread = demand_of(asked.workload)
    engines = asked.prefill, asked.decode
    need = instances_needed(engines, offered, spread, tbt_goal_s=asked.slo.tbt_s)
    demand = _mix(offered, spread)
    try:
        capacity, cautious = (
            per_instance_capacity(*engines, lengths, tbt_goal_s=asked.slo.tbt_s)
            for lengths in (replace(demand, output_spread=1.0), demand)
        )
    except TooSlowError as error:
        raise QuestionError(
            "too_slow", f"{asked.decode.name} can't keep the TBT goal: {error}", "tbt_slo_s"
        ) from error
    return Basis(demand, capacity, cautious, _drift(offered.rps, need))


def _mix(offered: Offered, spread: Demand) -> Demand:
    """Return the mean lengths of all requests; ``spread`` as it is where none comes."""
    known: Flags = np.nan_to_num(offered.rps) > 0
    if not known.any():
        return spread
    rps, inputs = offered.rps[known], offered.input_tokens[known]
    requests, tokens = float(rps.sum()), float((rps * inputs).sum())
    return replace(
        spread,
        input_tokens=tokens / requests,
        output_tokens=float((rps * offered.output_tokens[known]).sum()) / requests,
        cached_frac=float((rps * inputs * offered.cached_frac[known]).sum()) / tokens,
    )


def _drift(rps: Floats, need: Floats) -> Drift:
    """Return between which ratios the hours move, the quiet ones left out."""
    known: Flags = np.nan_to_num(rps) > 0
    if not known.any():
        return Drift(np.nan, np.nan, 0)
    counted = known & (np.nan_to_num(rps) >= QUIET_FRAC * float(rps[known].mean()))
    ratios = need[0, counted] / need[1, counted]
    return Drift(float(ratios.min()), float(ratios.max()), len(ratios))


def _splits_of(question: CurationQuestion, cautious: Capacity) -> list[Split]:
    asked = question.asked
    return splits(question.gpus, Instances(asked.prefill.tp, asked.decode.tp), cautious)


def _played(question: CurationQuestion, sustains: Capacity) -> Question:
    """Return the backtest of our policies and of others; none holds more than the GPUs there."""
    asked = question.asked
    most = min(question.gpus, asked.max_gpus or question.gpus)
    names = dict.fromkeys((*ours(sustains), *REFERENCES))
    known = [parse_candidate(name) for name in names]
    further = [one for one in asked.candidates if one.label not in names]
    return replace(asked, candidates=[*known, *further], max_gpus=most)


def stressed(
    every: Sequence[Split],
    stress: Stress,
    progress: Callable[[float], None],
    *,
    whole: bool = False,
    most_rounds: int = MOST_ROUNDS,
) -> list[Split]:
    """Return the splits with those played that could be the best, or all that are listed.

    As playing never finds more than first principles, the best is found once the highest figure
    is a played one. After ``most_rounds`` goes the best of those played has to do.
    """
    found = list(every)
    top = max(found, key=lambda split: split.goodput_rps)
    wanted = {split.instances for split in (listed(found, top) if whole else found)}
    rounds = -(-len(wanted) // TOGETHER) if whole else most_rounds
    for at in range(rounds):
        order = sorted(range(len(found)), key=lambda row: -found[row].goodput_rps)
        if not whole and found[order[0]].simulated:
            break
        rows = [
            row for row in order if not found[row].simulated and found[row].instances in wanted
        ][:TOGETHER]
        carried = sustained(
            stress,
            {found[row].instances: found[row].goodput_rps for row in rows},
            lambda frac, at=at: progress((at + frac) / rounds),  # type: ignore[misc]
        )
        for row in rows:
            played_rps = carried[found[row].instances]
            found[row] = replace(found[row], goodput_rps=played_rps, simulated=True)
    return found


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
        found.append(Split(Instances(prefill, decode), carried, carried))
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


def choose(runs: Sequence[Run], goal_frac: float, attainable: float = 1.0) -> tuple[Run, str]:
    """Return the cheapest of our runs that keeps the goal, and why it is chosen.

    Where none does it is the cheapest of those within ``MARGIN_FRAC`` of the one that keeps most:
    beyond what is ``attainable``, GPUs buy nothing. References are there to be compared with: no
    service can adopt one.
    """
    runs = [one for one in runs if one.policy in OURS]
    goal = f"{goal_frac * 100:.6g}%"
    kept = {one.label: share for one in runs if (share := one.score.slo_attainment) is not None}
    if not kept:
        return runs[0], "no request came, so nothing tells the policies apart"
    most = max(kept.values())
    wanted = goal_frac if most >= goal_frac else most - MARGIN_FRAC
    good = [one for one in runs if kept.get(one.label, 0.0) >= wanted]
    found = min(good, key=lambda one: one.score.gpu_hours)
    cheapest = f"{found.label} takes the fewest GPU-hours, {found.score.gpu_hours:,.1f}, of the"
    if most >= goal_frac:
        return found, f"{cheapest} {len(good)} that keep {goal} of requests within both goals"
    short = f"none keeps {goal} of requests within both goals"
    if attainable < goal_frac:
        short = f"{goal} is out of reach with these engines, at most about {_cut(attainable)}"
    if len(good) == 1:
        return found, f"{short}; {found.label} keeps most, {_cut(most)}"
    return found, (
        f"{short}; {cheapest} {len(good)} within {100 * MARGIN_FRAC:g} percentage points of the "
        f"most that one keeps, {_cut(most)}"
    )


def _cut(frac: float) -> str:
    """Return a share cut, not rounded: what misses the goal must not read as if it kept it."""
    return f"{floor(frac * 1e4 + 1e-6) / 1e2:g}%"


def as_curation(found: Curation) -> dict[str, Plain]:
    """Return a curation as plain values for JSON."""
    return findings(found) | as_plain(found.answer, series=False)


def findings(found: Curation) -> dict[str, Plain]:
    """Return what was found beside the runs as plain values for JSON."""
    basis = found.basis
    drift = basis.drift
    return {
        "pd_ratio": basis.capacity.pd_ratio,
        "pd_ratio_cautious": basis.cautious.pd_ratio,
        "ratio_drift": {
            "lowest": drift.lowest if drift.hours else None,
            "highest": drift.highest if drift.hours else None,
            "hours": drift.hours,
        },
        "gpus": found.question.gpus,
        "goal_frac": found.question.goal_frac,
        "attainable_frac": found.attainable_frac,
        "sweep": [_split(split) for split in found.sweep],
        "best": _split(found.best),
        "targets": dict(found.targets),
        "demand": {
            "input_tokens": basis.demand.input_tokens,
            "output_tokens": basis.demand.output_tokens,
            "cached_frac": basis.demand.cached_frac,
        },
        "capacity": {
            "prefill_rps_per_instance": basis.cautious.prefill_rps,
            "decode_rps_per_instance": basis.cautious.decode_rps,
            "decode_batch": basis.cautious.batch,
            "decode_tbt_s": basis.cautious.tbt_s,
        },
        "chosen": {
            "policy": found.chosen.label,
            "params": dict(found.chosen.params),
            "gpu_hours": found.chosen.score.gpu_hours,
            "slo_attainment": found.chosen.score.slo_attainment,
            "why": found.why,
        },
        "note": found.note,
    }


def _split(split: Split) -> dict[str, Plain]:
    return {
        "prefill": split.instances.prefill,
        "decode": split.instances.decode,
        "goodput_rps": split.goodput_rps,
        "computed_rps": split.computed_rps,
        "simulated": split.simulated,
    }
