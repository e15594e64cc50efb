"""Backtests for tests: a row in any state, and an answer written by hand."""

from __future__ import annotations

import gzip
import hashlib
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
from django.contrib.auth.models import User

from controller.models import Backtest, Trace
from controller.models.clock import database_now
from controller.services import backtest_jobs, backtest_load
from controller.services.backtest_jobs import Tools
from controller.services.backtest_load import Sources, load_of_row
from controller.simulator.backtest.answer import Answer, Run, Score, Series, as_plain
from controller.simulator.backtest.question import Question
from controller.simulator.curation import CurationQuestion
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Generator

GENERATOR = {
    "name": "generated 2–8 requests/s",
    "seed": 0,
    "low_rps": 2.0,
    "peak_rps": 8.0,
    "input_tokens": 1000.0,
    "output_tokens": 200.0,
    "day_s": 7200.0,
}
ASKED: dict[str, Any] = {
    "source": "generated",
    "trace": None,
    "service": None,
    "recorded_hours": None,
    "recorded_until": None,
    "low_rps": 2.0,
    "peak_rps": 8.0,
    "input_tokens": 1000.0,
    "output_tokens": 200.0,
    "day_hours": 2.0,
    "rate_scale": 1.0,
    "profile": "qwen3-32b-fp8/h100-tp2",
    "decode_profile": None,
    "ttft_slo_s": 1.0,
    "tbt_slo_s": 0.05,
    "policies": ["default", "hpa-util"],
    "hours": 0.5,
    "start_up_s": 60.0,
    "max_gpus": None,
    "seed": 0,
    "fidelity": "auto",
}
CSV = b"t_s,input_tokens,output_tokens\n0,1000,200\n1,900,100\n2.5,1100,150\n"


def score(gpu_hours: float, attained: float | None, **fields: Any) -> Score:
    """Return a score; the bound is 300 GPU-hours."""
    given = {
        "gpu_hours": gpu_hours,
        "gpu_hours_over_clairvoyant": gpu_hours / 300,
        "slo_attainment_ttft": attained,
        "slo_attainment_tbt": attained,
        "slo_attainment": attained,
        "slo_attainment_tokens": attained,
        "prefill_util": 0.5,
        "decode_util": 0.75,
        "actions": 12,
        "reversals_10min": 1,
        "ratio_out_of_tolerance_s": 90.0,
        "overshoot_gpus": 4,
        "peak_gpus": 40,
        "wall_s": 1.5,
    }
    return Score(**given | fields)


def series(level: float) -> Series:
    """Return four quarter hours; the second TTFT is unknown."""
    flat = np.full(4, level)
    ttft = np.array([0.4, np.nan, 0.8, 1.2])
    return Series(flat, flat, 2 * flat, 2 * flat, 6 * flat, ttft, 0.03 + 0 * flat, 0.99 + 0 * flat)


def run(name: str, made: Score, level: float = 2.0) -> Run:
    """Return one policy's outcome."""
    policy, _, rest = name.partition(":")
    params = dict(part.split("=") for part in rest.split(",")) if rest else {}
    return Run(policy, name, params, made, series(level))


def split_row(
    prefill: int, decode: int, goodput_rps: float, computed_rps: float, *, simulated: bool
) -> dict[str, Any]:
    """Return a split as a curation keeps it."""
    return {
        "prefill": prefill,
        "decode": decode,
        "goodput_rps": goodput_rps,
        "computed_rps": computed_rps,
        "simulated": simulated,
    }


FOUND: dict[str, Any] = {
    "pd_ratio": 2.3,
    "pd_ratio_cautious": 2.18,
    "ratio_drift": {"lowest": 0.64, "highest": 13.65, "hours": 336},
    "gpus": 24,
    "goal_frac": 0.99,
    "attainable_frac": 0.97,
    "sweep": [
        split_row(15, 9, 137.5, 140.0, simulated=True),
        split_row(16, 8, 146.6, 150.0, simulated=True),
        split_row(23, 1, 20.0, 20.0, simulated=False),
    ],
    "best": split_row(16, 8, 146.6, 150.0, simulated=True),
    "targets": {
        "decode_tps_per_instance": 3170.0,
        "prefill_tps_uncached_per_instance": 7937.0,
    },
    "chosen": {
        "policy": "default",
        "params": {"name": "proportional", "driver": "decode_tps", "target": 3200.0}
        | {"pd_ratio": 2.18, "adapt": "off", "lead_s": None},
        "why": "default takes the fewest GPU-hours, 414.0, of the 1 that keep 99%",
    },
    "note": "",
}
"""What a curation found, as an answer keeps it."""


def answer(*runs: Run, curation: dict[str, Any] | None = None) -> Answer:
    """Return an answer of the runs; by default of ``default`` and ``hpa-util``."""
    return Answer(
        workload={"kind": "generated", "span_s": 3600.0, "mean_rps": 4.7, "cached_frac": None},
        profile={"prefill": {"name": "qwen3-32b-fp8/h100-tp2"}, "pd_ratio": 0.5},
        slo={"ttft_s": 1.0, "tbt_s": 0.05, "goal": 0.99},
        fidelity={"asked": "auto", "used": "fluid", "rule": "a fluid in 1 s bins"},
        clairvoyant_gpu_hours=300.0,
        t_s=np.array([0.0, 900.0, 1800.0, 2700.0]),
        request_rps=np.array([2.0, 4.0, np.nan, 8.0]),
        clairvoyant_gpus=np.array([8.0, 10.0, np.nan, 16.0]),
        runs=runs
        or (
            run("default", score(414.0, 0.992)),
            run("hpa-util", score(510.0, 0.97), 3.0),
        ),
        curation=curation,
    )


def make_trace(name: str = "short.csv", csv: bytes = CSV) -> Trace:
    """Return a kept trace of three requests."""
    return Trace.objects.create(
        name=name,
        content=gzip.compress(csv, mtime=0),
        packed_bytes=100,
        sha256=hashlib.sha256(csv).hexdigest(),
        kind="requests",
        rows=3,
        span_s=3.75,
        created_at=database_now(),
    )


def make_backtest(user: User | None, state: str = "queued", **fields: Any) -> Backtest:
    """Return a backtest in that state, asked for 10 min ago."""
    now = database_now()
    made: dict[str, Any] = {
        "id": uuid.uuid4(),
        "created_at": now - timedelta(minutes=10),
        "created_by": user,
        "asked": dict(ASKED),
        "source": "generated",
        "load_name": "generated 2–8 requests/s",
        "state": state,
    }
    if state != "queued":
        made |= {"attempts": 1, "started_at": now - timedelta(minutes=5), "heartbeat_at": now}
    if state in {"done", "failed", "cancelled"}:
        made["finished_at"] = now - timedelta(minutes=1)
        made["heartbeat_at"] = now - timedelta(minutes=1)
    if state == "done":
        found = fields.pop("found", None) or answer()
        made["answer"] = as_plain(found, series=False)
        made["series"] = backtest_jobs.series_of(found)
        made["progress_frac"] = 1.0
    if fields.get("source", "generated") == "generated":
        made["generator"] = GENERATOR
    return Backtest.objects.create(**made | fields)


def tools(*steps: Callable[[], object], found: Answer | None = None, tick_s: float = 2.0) -> Tools:
    """Return a runner that goes through the steps, telling progress before and after each.

    Its clock gains ``tick_s`` [s] with every look.
    """
    now = [0.0]

    def clock() -> float:
        now[0] += tick_s
        return now[0]

    def ran(
        question: Question | CurationQuestion,
        *,
        clock: Callable[[], float],
        progress: Callable[[float], None],
    ) -> Answer:
        del question, clock
        progress(0.0)
        for i, step in enumerate(steps, 1):
            step()
            progress(i / (len(steps) + 1))
        return found or answer()

    return Tools(question_of=question_of, run=ran, clock=clock)


def question_of(row: Backtest) -> Question | CurationQuestion:
    """Return a question nobody looks at."""
    sources = Sources(PROFILES, lambda *_: Generator(**GENERATOR))  # type: ignore[arg-type]
    return backtest_load.question_of(row.asked, load_of_row(row), sources)
