"""The stress test of curation on a few instances: a ratio and a target while a person waits."""

from dataclasses import dataclass
from typing import Final

from controller.core.types import Instances, Slo
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.capacity import default_policy
from controller.simulator.curation import Split, basis_of, splits, stressed, within_goals
from controller.simulator.generated import Generator
from controller.simulator.profiles import Profile
from controller.simulator.stress import SPAN_S, Stress

MOST_PAIRS: Final = 16
"""More GPUs than so many pairs take tell nothing new: a split carries more, in proportion."""
ROUNDS: Final = 2
LEAST_FRAC: Final = 0.5
"""With less of the prompts, or of first principles, in time the goals are out of reach."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of prompts and answers."""

    prompt: float
    answer: float


USUAL: Final = Lengths(2000.0, 300.0)
"""Of a conversation with some context, where nothing was measured."""


@dataclass(frozen=True, slots=True)
class Sized:
    """What was played: the best split of the GPUs, the target per decode instance, the ratio."""

    gpus: int
    best: Split
    target: float
    pd_ratio: float


def size(engines: tuple[Profile, Profile], lengths: Lengths, slo: Slo, gpus: int) -> Sized:
    """Return target and ratio of the best split of ``gpus`` GPUs (HeteroScale §4.6, step 1).

    At least one pair is played and at most ``MOST_PAIRS``, as a fluid in at most ``ROUNDS`` goes,
    which takes about half a second. Raises :class:`QuestionError` where the engines can't keep
    the goals at these lengths.
    """
    prefill, decode = engines
    pair = prefill.tp + decode.tp
    played = min(max(gpus, pair), MOST_PAIRS * pair)
    steady = {"bursts_per_day": 0.0, "noise_frac": 0.0, "drift_frac": 0.0}
    load = Generator("steady", 0, 1.0, 1.0, lengths.prompt, lengths.answer, **steady)
    asked = Question(load, prefill, decode, slo, (), SPAN_S, fidelity="fluid")
    basis = basis_of(asked)
    every = splits(played, Instances(prefill.tp, decode.tp), basis.cautious)
    stress = Stress(asked, basis.demand, slo.goal_frac)
    if stress.attainable_frac < LEAST_FRAC:
        raise _out_of_reach(stress)
    every = stressed(every, stress, lambda _: None, most_rounds=ROUNDS)
    best = max(every, key=lambda split: (split.simulated, split.goodput_rps))
    if best.goodput_rps < LEAST_FRAC * best.computed_rps:
        raise _out_of_reach(stress)
    policy = default_policy(within_goals(basis.cautious, best))
    return Sized(played, best, policy.target, policy.pd_ratio)


def _out_of_reach(stress: Stress) -> QuestionError:
    name, goal_s = stress.asked.prefill.name, stress.asked.slo.ttft_s
    share = f"{stress.attainable_frac:.0%} of the prompts take no longer on an idle engine"
    return QuestionError(
        "out_of_reach",
        f"the TTFT goal of {goal_s:g} s is hardly in reach of {name}: {share}",
        "ttft_s",
    )
