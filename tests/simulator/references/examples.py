"""What a reference is told and sees in tests."""

from dataclasses import replace

import numpy as np

from controller.core.types import (
    SIGNALS,
    Instances,
    Limits,
    Quality,
    RoleState,
    ServiceState,
    Signal,
    Signals,
    Slo,
)
from controller.simulator.capacity import demand_of
from controller.simulator.profiles import PROFILES
from controller.simulator.references import REFERENCES
from controller.simulator.references.port import Briefing, Controller, Seen
from controller.simulator.workload import Generator, Offered, WindowTrace, Workload

STEADY = Generator(
    "steady",
    seed=1,
    low_rps=20.0,
    peak_rps=20.0,
    input_tokens=1000,
    output_tokens=200,
    bursts_per_day=0,
    noise_frac=0.0,
    drift_frac=0.0,
)
DAILY = replace(STEADY, name="daily", low_rps=4.0, peak_rps=60.0, day_s=86_400.0)
FOUR = Instances(4, 4)
LIMITS = Limits(Instances(1, 1), Instances(64, 64), max_gpus=128)

# A plausible value of each signal; tests replace those they are about.
USUAL = {
    "decode_tps": 4000.0,
    "prefill_tps": 20_000.0,
    "prefill_tps_uncached": 20_000.0,
    "ttft_s": 0.4,
    "tbt_s": 0.03,
    "prefill_util": 0.7,
    "decode_util": 0.7,
    "prefill_sm": 0.6,
    "decode_sm": 0.4,
    "request_rps": 20.0,
    "prefill_waiting": 0.0,
    "decode_waiting": 0.0,
    "ttft_p50_s": 0.2,
    "ttft_p99_s": 0.6,
    "tbt_p50_s": 0.02,
    "tbt_p99_s": 0.04,
}


def windows(rps: list[float], width_s: float, name: str = "windows") -> WindowTrace:
    """Return a load of 1000 tokens in and 200 out with these rates, one after the other."""
    count = len(rps)
    offered = Offered(
        np.array(rps), np.full(count, 1000.0), np.full(count, 200.0), np.zeros(count)
    )
    return WindowTrace(name, np.arange(count) * width_s, offered, width_s)


def briefing(workload: Workload = STEADY, span_s: tuple[float, float] = (0.0, 7200.0)) -> Briefing:
    """Return a briefing for Qwen3-32B FP8 on H800, TTFT 1 s and TBT 50 ms."""
    profile = PROFILES["qwen3-32b-fp8/h800"]
    return Briefing(
        slo=Slo(1.0, 0.05),
        limits=LIMITS,
        prefill=profile,
        decode=profile,
        # Answers of one length: memory is set aside for the mean, which keeps the sums short.
        demand=replace(demand_of(workload), output_spread=1.0),
        workload=workload,
        span_s=span_s,
        tick_s=15.0,
    )


def defaults(name: str) -> dict[str, float]:
    """Return the parameters a reference has when none is set."""
    return {key: param.default for key, param in REFERENCES[name].params.items()}


def built(name: str, told: Briefing | None = None, **params: float) -> Controller:
    """Return a reference ready to run, with its defaults but for ``params``."""
    return REFERENCES[name].build(told or briefing(), defaults(name) | params)


def signals(
    count: Instances = FOUR, quality: Quality = Quality.OK, **values: float | None
) -> Signals:
    """Return all signals as ``count`` instances report them; ``None`` for one that is missing."""
    found = {}
    for kind in SIGNALS:
        value = (USUAL | values)[kind.name]
        if value is None or quality in {Quality.MISSING, Quality.INVALID}:
            lost = Quality.MISSING if quality is not Quality.INVALID else quality
            found[kind.name] = Signal(kind.name, None, kind.unit, None, 0, 0, lost)
            continue
        reporting = count.of(kind.role)
        expected = reporting + (quality is Quality.PARTIAL)
        found[kind.name] = Signal(kind.name, value, kind.unit, 0.0, reporting, expected, quality)
    return found


def state(prefill: RoleState | int, decode: RoleState | int) -> ServiceState:
    """Return a state; a plain count is that many wished and ready."""

    def role(given: RoleState | int) -> RoleState:
        return given if isinstance(given, RoleState) else RoleState(given, given)

    return ServiceState(role(prefill), role(decode), "1")


def seen(now_s: float, of: Instances = FOUR, **values: float | None) -> Seen:
    """Return a look at a service whose instances are all ready and report."""
    return Seen(now_s, signals(of, **values), state(of.prefill, of.decode))
