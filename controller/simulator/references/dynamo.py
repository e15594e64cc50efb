"""The SLA planner of NVIDIA Dynamo 0.7.1: replicas from tokens and profiled engine speed."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, exp, isnan, log, nan
from typing import Final

from controller.core.types import Instances, Limits, Quality, Signals, Slo
from controller.simulator.profiles import Profile
from controller.simulator.references.checks import figure, whole, within
from controller.simulator.references.port import Briefing, Param, Reference, Seen

RESOLUTION: Final = 100
"""Points of the planner's grid over the share of KV cache in use."""

SHORTEST: Final = 100.0
"""Shortest prompt and context taken as profiled [tokens]: shorter ones count as this long."""

P95: Final = 1.6449
"""Standard deviations from the median to the 95th percentile."""

SIGNALS: Final = (
    "request_rps",
    "prefill_tps",
    "decode_tps",
    "ttft_p50_s",
    "ttft_s",
    "tbt_p50_s",
    "tbt_s",
)


@dataclass(frozen=True, slots=True)
class Load:
    """Means over one interval: requests/s, tokens per request, latencies [s].

    NaN where requests are needed to know and none came; 0 where a series is absent, as the
    planner has it.
    """

    rps: float
    input_tokens: float
    output_tokens: float
    ttft_s: float = 0.0
    itl_s: float = 0.0

    @property
    def usable(self) -> bool:
        """Whether the planner acts on it at all."""
        figures = self.ttft_s, self.itl_s, self.input_tokens, self.output_tokens
        return not any(isnan(value) for value in figures)

    @property
    def context(self) -> float:
        """Mean context of a sequence half way through its output [tokens]."""
        return max(self.input_tokens + self.output_tokens / 2, SHORTEST)

    @property
    def in_flight(self) -> float:
        """Requests inside at a time: their rate by how long they stay."""
        return self.rps * (self.ttft_s + self.output_tokens * self.itl_s)


@dataclass(frozen=True, slots=True)
class Engines:
    """Speed of both engines as the planner reads it off a profile."""

    prefill: Profile
    decode: Profile

    def ttft_s(self, tokens: float) -> float:
        """Return the time to prefill one prompt on its own [s]."""
        return float(self.prefill.prefill_s(max(tokens, SHORTEST)))

    def prefill_tps(self, tokens: float) -> float:
        """Return prompt tokens/s of one instance that prefills one prompt after another."""
        return max(tokens, SHORTEST) / self.ttft_s(tokens)

    def itl_s(self, in_flight: float, context: float) -> float:
        """Return the step time [s] at the grid point nearest to so many sequences."""
        share = in_flight * context / self.decode.kv_capacity_tokens
        point = round(min(max(share, 0.0), 1.0) * (RESOLUTION - 1))
        return self._step(point, context)[1]

    def decode_tps(self, itl_s: float, context: float) -> float:
        """Return output tokens/s of one instance at the fullest cache that keeps ``itl_s``.

        If none does, those of the emptiest.
        """
        for point in range(RESOLUTION - 1, -1, -1):
            batch, step_s = self._step(point, context)
            if step_s <= itl_s:
                return batch / step_s
        batch, step_s = self._step(0, context)
        return batch / step_s

    def _step(self, point: int, context: float) -> tuple[float, float]:
        tokens = point / (RESOLUTION - 1) * self.decode.kv_capacity_tokens
        batch = min(max(tokens / context, 1.0), float(self.decode.max_seqs))
        return batch, float(self.decode.step_s(batch, batch * context))


@dataclass(frozen=True, slots=True)
class Corrections:
    """Observed over expected latency of prefill and decode; 1 before anything was observed."""

    prefill: float = 1.0
    decode: float = 1.0


def corrections(load: Load, engines: Engines, decoders: int) -> Corrections:
    """Return how far off the profile is at this load, spread over ``decoders`` instances."""
    expected_s = engines.itl_s(load.in_flight / decoders, load.context)
    return Corrections(load.ttft_s / engines.ttft_s(load.input_tokens), load.itl_s / expected_s)


def replicas(load: Load, engines: Engines, corrected: Corrections, itl_goal_s: float) -> Instances:
    """Return the counts that carry a load.

    A TTFT below the expected one (a prefix cache) lowers the need for prefill; one above it
    doesn't raise it. An ITL above the expected one tightens the goal.
    """
    prompt_tps = load.rps * load.input_tokens * min(1.0, corrected.prefill)
    goal_s = itl_goal_s / corrected.decode if corrected.decode > 0 else itl_goal_s
    return Instances(
        ceil(prompt_tps / engines.prefill_tps(load.input_tokens)),
        ceil(load.rps * load.output_tokens / engines.decode_tps(goal_s, load.context)),
    )


def budgeted(want: Instances, per_instance: Instances, max_gpus: int, least: int) -> Instances:
    """Return the counts within a GPU budget: prefill scaled down, decode what is then left."""
    want = Instances(max(want.prefill, least), max(want.decode, least))
    needed = want.gpus(per_instance)
    if needed <= max_gpus:
        return want
    prefill = max(least, round(want.prefill * max_gpus / needed))
    left = max_gpus - prefill * per_instance.prefill
    return Instances(prefill, max(least, round(left / per_instance.decode)))


@dataclass(slots=True)
class _Sums:
    """What was seen in the running interval, by signal."""

    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, signals: Signals) -> None:
        for name in SIGNALS:
            signal = signals[name]
            if signal.quality is Quality.INVALID:
                self.values[name].append(nan)
            elif signal.value is not None:
                self.values[name].append(signal.value)

    def load(self) -> Load:
        """Return the means of the interval, and begin a new one."""
        means = {name: sum(found) / len(found) for name, found in self.values.items()}
        self.values.clear()
        rps = means.get("request_rps")
        if rps == 0:
            return Load(0.0, nan, nan, nan, nan)
        return Load(
            rps or 0.0,
            means.get("prefill_tps", 0.0) / rps if rps else 0.0,
            means.get("decode_tps", 0.0) / rps if rps else 0.0,
            mean_latency_s(means.get("ttft_p50_s", 0.0), means.get("ttft_s", 0.0)),
            mean_latency_s(means.get("tbt_p50_s", 0.0), means.get("tbt_s", 0.0)),
        )


def mean_latency_s(median_s: float, p95_s: float) -> float:
    """Return the mean of the log-normal with these percentiles [s], at most the 95th."""
    if not (median_s > 0 and p95_s > median_s):
        return median_s
    sigma = log(p95_s / median_s) / P95
    return min(median_s * exp(sigma**2 / 2), p95_s)


@dataclass(frozen=True, slots=True)
class _Settings:
    slo: Slo
    limits: Limits
    engines: Engines
    interval_s: float
    least: int
    corrects: bool


@dataclass(slots=True)
class _Planner:
    settings: _Settings
    _sums: _Sums = field(default_factory=_Sums)
    _corrected: Corrections = field(default_factory=Corrections)
    _adjusted_s: float = 0.0

    def want(self, seen: Seen) -> Instances:
        self._sums.add(seen.signals)
        if seen.now_s - self._adjusted_s < self.settings.interval_s:
            return within(self.settings.limits, seen.state.desired)
        self._adjusted_s = seen.now_s
        return within(self.settings.limits, self._adjusted(seen))

    def _adjusted(self, seen: Seen) -> Instances:
        load, settings = self._sums.load(), self.settings
        decoders = seen.state.decode.ready
        if not load.usable or (settings.corrects and not decoders):
            return seen.state.desired
        if settings.corrects:
            self._corrected = corrections(load, settings.engines, decoders)
        want = replicas(load, settings.engines, self._corrected, settings.slo.tbt_s)
        gpus = Instances(settings.engines.prefill.tp, settings.engines.decode.tp)
        return budgeted(want, gpus, settings.limits.max_gpus, settings.least)


def _build(briefing: Briefing, params: Mapping[str, float]) -> _Planner:
    settings = _Settings(
        briefing.slo,
        briefing.limits,
        Engines(briefing.prefill, briefing.decode),
        figure(params, "interval_s", 1),
        whole(params, "min_endpoint", 1),
        bool(figure(params, "correction", 0, 1)),
    )
    return _Planner(settings)


REFERENCE: Final = Reference(
    name="dynamo-style",
    summary="Counts from predicted tokens and profiled engine speed, like NVIDIA Dynamo's.",
    source=(
        "ai-dynamo 0.7.1 (PyPI), dynamo/planner/utils/planner_core.py, perf_interpolation.py,"
        " load_predictor.py, prometheus.py and dynamo/planner/defaults.py"
    ),
    build=_build,
    params={
        "interval_s": Param(180, "time between two adjustments [s]"),
        "min_endpoint": Param(1, "fewest instances of each role"),
        "correction": Param(1, "whether observed latencies correct the profile: 1 yes, 0 no"),
    },
)
