"""One question that tests share, and its answer by a clock that stands still."""

from dataclasses import replace

import numpy as np

from controller.core.types import Slo
from controller.simulator.backtest.answer import Answer, Run
from controller.simulator.backtest.question import Question, parse_candidate
from controller.simulator.backtest.run import run
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Generator, Offered, WindowTrace

H100 = PROFILES["qwen3-32b-fp8/h100"]

STEADY = Generator(
    "steady",
    seed=1,
    low_rps=20.0,
    peak_rps=20.0,
    input_tokens=1000,
    output_tokens=300,
    bursts_per_day=0,
    noise_frac=0.0,
    drift_frac=0.0,
)
VALLEY = replace(STEADY, name="valley", peak_rps=100.0, day_s=14_400.0, phase=0.5)
"""100 requests/s at both ends, 20 in the middle of four hours."""


def question(*policies: str, **changed: object) -> Question:
    """Return an hour of the steady load for the policies, with what is changed."""
    asked = Question(
        workload=STEADY,
        prefill=H100,
        decode=H100,
        slo=Slo(1.0, 0.05),
        candidates=[parse_candidate(text) for text in policies],
        span_s=3600.0,
    )
    return replace(asked, **changed)  # type: ignore[arg-type]


def answered(asked: Question) -> Answer:
    """Return the answer of a run nobody watches; its ``wall_s`` are 0."""
    return run(asked, clock=lambda: 0.0, progress=lambda _: None)


def by_label(answer: Answer) -> dict[str, Run]:
    """Return the runs by what was asked for."""
    return {one.label: one for one in answer.runs}


def minutes(*rps: float, tokens: tuple[float, float] = (1000.0, 300.0)) -> WindowTrace:
    """Return a load of one window a minute with these rates; NaN is a minute nobody knows of."""
    rates = np.array(rps)
    known = np.where(np.isnan(rates), np.nan, 1.0)
    offered = Offered(rates, tokens[0] * known, tokens[1] * known, 0.0 * known)
    return WindowTrace("minutes", 60.0 * np.arange(len(rps)), offered, 60.0)
