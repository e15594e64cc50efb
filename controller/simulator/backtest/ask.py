"""From what a person typed to a question, every mistake named by its field."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite
from typing import Final

from controller.core.types import Slo
from controller.core.words import number
from controller.simulator.backtest.contestants import POLICY_NAMES, describe
from controller.simulator.backtest.question import (
    FIDELITIES,
    MONDAY_S,
    Candidate,
    Fidelity,
    Question,
    QuestionError,
    parse_candidate,
)
from controller.simulator.profiles import Profile
from controller.simulator.workload import Workload

__all__ = ["DEFAULT_PROFILE", "POLICY_NAMES", "Asked", "describe", "question_from"]

DEFAULT_PROFILE: Final = "qwen3-32b-fp8/h100"
DAY_H: Final = 24.0
LONGEST_H: Final = 31 * DAY_H
SHORTEST_H: Final = 1 / 60
LONGEST_START_S: Final = 3600.0
MOST_GPUS: Final = 100_000
MOST_SEED: Final = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Asked:
    """A backtest as typed: names, not objects; ``None`` where the usual is wanted."""

    policies: Sequence[str]
    profile: str = DEFAULT_PROFILE
    decode_profile: str | None = None
    hours: float | None = None
    from_hours: float = 0.0
    start_up_s: float = 60.0
    ttft_slo_s: float = 1.0
    tbt_slo_s: float = 0.05
    max_gpus: int | None = None
    seed: int = 0
    fidelity: str = "auto"
    documents: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    begins_s: float = MONDAY_S


def question_from(asked: Asked, workload: Workload, profiles: Mapping[str, Profile]) -> Question:
    """Return the question.

    Without ``hours`` it is one pass of the workload, a day of one without an end; it begins
    ``from_hours`` into it. Raises
    :class:`QuestionError` whose ``where`` is the field's name.
    """
    for name, low, high, unit in (
        ("ttft_slo_s", 0.001, 600.0, "s"),
        ("tbt_slo_s", 0.001, 10.0, "s"),
        ("start_up_s", 0.0, LONGEST_START_S, "s"),
        ("hours", SHORTEST_H, LONGEST_H, "hours"),
        ("from_hours", 0.0, LONGEST_H, "hours"),
        ("max_gpus", 1, MOST_GPUS, "GPUs"),
        ("seed", 0, MOST_SEED, ""),
    ):
        _check(name, getattr(asked, name), low, high, unit)
    prefill = _profile(asked.profile, profiles, "profile")
    decode = prefill
    if asked.decode_profile:
        decode = _profile(asked.decode_profile, profiles, "decode_profile")
    hours = asked.hours
    if hours is None:
        span_s = workload.about.span_s
        hours = DAY_H if span_s is None else min(max(span_s / 3600, SHORTEST_H), LONGEST_H)
    return Question(
        workload=workload,
        prefill=prefill,
        decode=decode,
        slo=Slo(asked.ttft_slo_s, asked.tbt_slo_s),
        candidates=[_candidate(text, asked) for text in asked.policies],
        span_s=hours * 3600,
        start_s=asked.from_hours * 3600,
        start_up_s=asked.start_up_s,
        max_gpus=asked.max_gpus,
        seed=asked.seed,
        fidelity=_fidelity(asked.fidelity),
        begins_s=asked.begins_s,
    )


def _candidate(text: str, asked: Asked) -> Candidate:
    if text in asked.documents:
        return Candidate("proportional", title=text, document=asked.documents[text])
    return parse_candidate(text)


def _check(field: str, value: float | None, low: float, high: float, unit: str) -> None:
    if value is None or (isfinite(value) and low <= value <= high):
        return
    span = f"between {number(low)} and {number(high)} {unit}".rstrip()
    shown = number(value) if isfinite(value) else f"{value:g}"
    raise QuestionError("out_of_range", f"{shown} is not {span}", field)


def _profile(name: str, profiles: Mapping[str, Profile], field: str) -> Profile:
    found = profiles.get(name)
    if found is not None:
        return found
    close = get_close_matches(name, profiles, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(close)}?" if close else f"there are {len(profiles)}"
    raise QuestionError("unknown_profile", f"there is no profile '{name}': {hint}", field)


def _fidelity(name: str) -> Fidelity:
    for fidelity in FIDELITIES:
        if name == fidelity:
            return fidelity
    raise QuestionError("bad_fidelity", f"'{name}' is none of {', '.join(FIDELITIES)}", "fidelity")
