"""The engine's door, as it will be: what is asked, how it becomes a question, who answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.core.types import Slo
from controller.simulator.backtest.answer import Answer
from controller.simulator.backtest.question import (
    FIDELITIES,
    Question,
    QuestionError,
    parse_candidate,
)
from controller.simulator.profiles import Profile
from controller.simulator.workload import Workload

POLICY_NAMES: Final[tuple[str, ...]] = (
    "default",
    "proportional",
    "static-peak",
    "static-mean",
    "hpa-util",
    "hpa-queue",
    "latency-only",
    "periodic",
    "dynamo-style",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as a person puts it. Times [s] and hours [h]."""

    policies: Sequence[str]
    profile: str
    decode_profile: str | None
    hours: float | None
    start_up_s: float
    ttft_slo_s: float
    tbt_slo_s: float
    max_gpus: int | None
    seed: int
    fidelity: str


def describe(name: str) -> str:
    """Return one sentence about a policy."""
    return f"The policy {name}."


def question_from(asked: Asked, workload: Workload, profiles: Mapping[str, Profile]) -> Question:
    """Return the question. Raises :class:`QuestionError` naming the field."""
    candidates = [parse_candidate(text) for text in asked.policies]
    for candidate in candidates:
        if candidate.name not in POLICY_NAMES:
            raise QuestionError("bad_policy", f"there is no policy '{candidate.name}'", "policies")
    if asked.fidelity not in FIDELITIES:
        raise QuestionError("bad_fidelity", "use auto, exact or fluid", "fidelity")
    prefill = profiles[asked.profile]
    return Question(
        workload=workload,
        prefill=prefill,
        decode=profiles[asked.decode_profile] if asked.decode_profile else prefill,
        slo=Slo(asked.ttft_slo_s, asked.tbt_slo_s, 0.99),
        candidates=candidates,
        span_s=(asked.hours or 1.0) * 3600,
        start_up_s=asked.start_up_s,
        max_gpus=asked.max_gpus,
        seed=asked.seed,
    )


def run(
    question: Question, *, clock: Callable[[], float], progress: Callable[[float], None]
) -> Answer:
    """Answer the question."""
    del question, clock
    progress(0.0)
    raise QuestionError("no_engine", "This version can't run backtests yet.", "")
