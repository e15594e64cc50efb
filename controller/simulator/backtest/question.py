"""What a backtest asks: a load, engines, goals, and the policies to compare."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from controller.core.types import Slo
from controller.simulator.profiles import Profile
from controller.simulator.workload import Workload

Fidelity = Literal["auto", "exact", "fluid"]
FIDELITIES: Final[tuple[Fidelity, ...]] = ("auto", "exact", "fluid")

MONDAY_S: Final = 4 * 86_400.0
"""Midnight of a Monday, UTC, which a load without a date of its own begins at."""

_NAME: Final = re.compile(r"[a-z][a-z0-9-]*")
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")


class QuestionError(ValueError):
    """A question that can't be answered: ``code`` is stable, ``where`` names the field."""

    def __init__(self, code: str, message: str, where: str) -> None:
        self.code = code
        self.message = message
        self.where = where
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy by name with what was set differently from its defaults.

    One that is a ``document``, fields of a policy as ``decide`` takes them, has a ``title``.
    """

    name: str
    params: Mapping[str, str] = field(default_factory=dict)
    title: str = ""
    document: Mapping[str, object] | None = None

    @property
    def label(self) -> str:
        """The candidate as it is written on a command line."""
        if self.title:
            return self.title
        if not self.params:
            return self.name
        return f"{self.name}:{','.join(f'{key}={value}' for key, value in self.params.items())}"


@dataclass(frozen=True, slots=True)
class Question:
    """One backtest. Times [s]; ``start_s`` is the load time at which it begins.

    ``max_gpus`` is what each candidate may hold at most; ``None`` leaves room for several times
    what the load needs. ``begins_s`` is the wall time of load time 0 [s since the epoch], by
    which windows of a schedule come. Equal questions have equal answers, but for ``wall_s``.
    """

    workload: Workload
    prefill: Profile
    decode: Profile
    slo: Slo
    candidates: Sequence[Candidate]
    span_s: float
    start_s: float = 0.0
    start_up_s: float = 60.0
    max_gpus: int | None = None
    seed: int = 0
    fidelity: Fidelity = "auto"
    tick_s: float = 15.0
    begins_s: float = MONDAY_S


def parse_candidate(text: str) -> Candidate:
    """Return the candidate written as ``name[:key=value,…]``.

    Raises :class:`QuestionError` when it isn't written so; whether the policy and its parameters
    exist is checked where they are used.
    """
    name, colon, rest = text.strip().partition(":")
    if not _NAME.fullmatch(name):
        raise QuestionError(
            "bad_policy", f"'{text}' is no policy: write NAME or NAME:key=value,…", "policy"
        )
    params: dict[str, str] = {}
    for part in rest.split(",") if colon else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not _KEY.fullmatch(key) or not value:
            raise QuestionError(
                "bad_policy", f"'{part}' in '{text}' is not written as key=value", "policy"
            )
        if key in params:
            raise QuestionError("bad_policy", f"'{key}' is there twice in '{text}'", "policy")
        params[key] = value
    return Candidate(name, params)
