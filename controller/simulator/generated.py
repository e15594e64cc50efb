"""Generated load: day and night, bursts and drifting lengths."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Final

import numpy as np

from controller.core.types import Counts, Floats
from controller.simulator.offered import About, Lengths, Offered, Requests, drawn, lognormal


def _uniform(seed: int, stream: int, index: Counts) -> Floats:
    """Return numbers in [0, 1) that depend on the arguments only (SplitMix64), shape as given."""
    key = np.uint64((seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03) % 2**64)
    z = index.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (z ^ (z >> np.uint64(31))).astype(np.float64) / 2.0**64


def _wander(seed: int, stream: int, load_s: Floats, knot_s: float) -> Floats:
    """Return smooth noise in [-1, 1] with a new random knot every ``knot_s``."""
    at = load_s / knot_s
    knot = np.floor(at)
    part = at - knot
    index = knot.astype(np.int64)
    left, right = _uniform(seed, stream, index), _uniform(seed, stream, index + 1)
    ease = part * part * (3 - 2 * part)
    return 2 * (left + (right - left) * ease) - 1


_RATE, _INPUT, _OUTPUT, _CACHED, _BURST_AT, _BURST_GAIN = range(6)


_RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "low_rps": (0.0, 1e6),
    "peak_rps": (0.0, 1e6),
    "input_tokens": (1.0, 1e7),
    "output_tokens": (1.0, 1e7),
    "cached_frac": (0.0, 0.95),
    "day_s": (1.0, 1e9),
    "phase": (-1e6, 1e6),
    "sharpness": (0.0, 100.0),
    "bursts_per_day": (0.0, 1e5),
    "burst_frac": (0.0, 1e3),
    "burst_s": (1e-3, 1e9),
    "noise_frac": (0.0, 1.0),
    "drift_frac": (0.0, 0.9),
    "input_sigma": (0.0, 4.0),
    "output_sigma": (0.0, 4.0),
    "scale": (0.0, 1e6),
}
"""What each figure may be; NaN is in no range."""


@dataclass(frozen=True, slots=True)
class Generator:
    """Day and night, bursts and drifting lengths, all functions of (seed, load time).

    The rate swings between ``low_rps`` and ``peak_rps`` once in ``day_s``, lowest at ``-phase``
    days; ``sharpness`` above 1 makes the peak narrow. Bursts come suddenly, one in each slot of
    ``day_s / bursts_per_day``, and last ``burst_s`` [load s].
    """

    name: str
    seed: int
    low_rps: float
    peak_rps: float
    input_tokens: float
    output_tokens: float
    cached_frac: float = 0.0
    day_s: float = 7200.0
    phase: float = 0.0
    sharpness: float = 1.0
    bursts_per_day: float = 3.0
    burst_frac: float = 0.3
    burst_s: float = 240.0
    noise_frac: float = 0.04
    drift_frac: float = 0.12
    input_sigma: float = 0.8
    output_sigma: float = 0.8
    scale: float = 1.0
    lengths: Lengths = field(init=False, compare=False, repr=False)
    recorded: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        """Refuse figures that make no load: ``ValueError`` names the field."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} is {value:g}: enter a figure from {low:g} to {high:g}")
        shape = Lengths(lognormal(self.input_sigma), lognormal(self.output_sigma))
        object.__setattr__(self, "lengths", shape)

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the load at the middle of each step (see :class:`Workload`)."""
        t = load_s + step_s / 2
        day = 0.5 - 0.5 * np.cos(2 * np.pi * (t / self.day_s + self.phase))
        base = self.low_rps + (self.peak_rps - self.low_rps) * day**self.sharpness
        noise = 1 + self.noise_frac * _wander(self.seed, _RATE, t, 90.0)
        rps = self.scale * base * noise * (1 + self._burst(t))
        drift_s = self.day_s / 4
        share = self.cached_frac * (1 + 0.5 * self.drift_frac * self._drift(_CACHED, t, drift_s))
        return Offered(
            rps,
            self.input_tokens * (1 + self.drift_frac * self._drift(_INPUT, t, drift_s)),
            self.output_tokens * (1 + self.drift_frac * self._drift(_OUTPUT, t, drift_s)),
            np.clip(share, 0.0, 0.95),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Draw the requests of the interval (see :class:`Workload`)."""
        return drawn(self, (start_s, end_s), keep_frac, rng)

    @property
    def about(self) -> About:
        """What the generator knows of itself; one pass is one day."""
        return About(
            "generated", "generated", "log-normal", self.day_s, self.scale, cache_known=True
        )

    def shape(self, load_s: float) -> Lengths:
        """Return :attr:`lengths`: only the means change with time."""
        del load_s
        return self.lengths

    def cache_scaled(self, frac: float, name: str) -> "Generator":
        """Return the same load with ``frac`` of its cached share (see :class:`Workload`)."""
        return replace(self, cached_frac=self.cached_frac * frac, name=name)

    def parameters(self) -> dict[str, str | float]:
        """Return what makes this load again: ``Generator(**parameters)``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    def _drift(self, stream: int, t: Floats, knot_s: float) -> Floats:
        return _wander(self.seed, stream, t, knot_s)

    def _burst(self, t: Floats) -> Floats:
        """Return the extra share of load: up within a tenth of ``burst_s``, down in a third."""
        if not self.bursts_per_day:
            return np.zeros_like(t)
        slot_s = self.day_s / self.bursts_per_day
        index = np.floor(t / slot_s).astype(np.int64)
        begin_s = slot_s * index + _uniform(self.seed, _BURST_AT, index) * max(
            slot_s - self.burst_s, 0.0
        )
        part = (t - begin_s) / self.burst_s
        pulse = np.clip(part / 0.1, 0, 1) * np.clip((1 - part) / 0.3, 0, 1)
        gain = self.burst_frac * (0.5 + _uniform(self.seed, _BURST_GAIN, index))
        return gain * pulse
