"""A metrics source made of arrays: every service reports what the test says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from controller.core.ports import Pool, View
from controller.core.types import (
    SIGNAL_INDEX,
    SIGNALS,
    InstanceRef,
    Instances,
    Observation,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Window,
)

HEALTHY: Mapping[str, float] = {
    "decode_tps": 4000.0, "prefill_tps": 20_000.0, "prefill_tps_uncached": 15_000.0,
    "ttft_s": 0.4, "tbt_s": 0.03, "prefill_util": 0.6, "decode_util": 0.98,
    "prefill_sm": 0.5, "decode_sm": 0.4, "request_rps": 18.0, "prefill_waiting": 0.0,
    "decode_waiting": 0.0, "ttft_p50_s": 0.3, "ttft_p99_s": 0.9, "tbt_p50_s": 0.025,
    "tbt_p99_s": 0.04,
}  # fmt: skip


def window(
    now_s: float, values: Mapping[str, float], counts: Instances, *, samples: int = 4
) -> Window:
    """Return ``samples`` equal samples 15 s apart; names left out are absent."""
    times_s = now_s - 2.0 - 15.0 * np.arange(samples - 1, -1, -1)
    table = np.zeros((len(SIGNALS), samples))
    present = np.zeros((len(SIGNALS), samples), dtype=bool)
    for name, value in values.items():
        table[SIGNAL_INDEX[name]] = value
        present[SIGNAL_INDEX[name]] = True
    pair = np.array([[counts.prefill], [counts.decode]], dtype=np.int64).repeat(samples, axis=1)
    return Window(times_s, table, present, pair, pair.copy())


def state(
    counts: Instances, version: str = "1", *, ready: Instances | None = None
) -> ServiceState:
    """Return counts that are ready unless told otherwise."""
    serving = ready or counts
    return ServiceState(
        RoleState(counts.prefill, serving.prefill, max(counts.prefill - serving.prefill, 0)),
        RoleState(counts.decode, serving.decode, max(counts.decode - serving.decode, 0)),
        version,
    )


@dataclass
class ArraySource:
    """Answers at once; ``values`` and ``counts`` per service override the healthy ones."""

    values: dict[str, Mapping[str, float]] = field(default_factory=dict)
    counts: dict[str, Instances] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ready: dict[str, Instances] = field(default_factory=dict)
    silent: frozenset[str] = frozenset()
    pools: tuple[Pool, ...] = (Pool("eu-1-a", "h800", 4000, 1000, 0, 3000, 0, 0, 0, 0, 64),)

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return one window a service."""
        seen = {
            spec.key: self._one(spec.key, now_s)
            for spec in services
            if spec.key not in self.silent
        }
        failures = dict.fromkeys(self.silent, "It did not answer.")
        return View(seen, self.pools, failures)

    def _one(self, key: str, now_s: float) -> Observation:
        counts = self.counts.get(key, Instances(2, 4))
        values = self.values.get(key, HEALTHY)
        instance = InstanceRef(f"{key}-decode-1", Role.DECODE, f"{key}-g1", "node-1", "ready")
        return Observation(
            window(now_s, values, counts),
            state(counts, self.versions.get(key, "1"), ready=self.ready.get(key)),
            (instance,),
        )

    def now_reports(self, key: str, **values: float) -> "ArraySource":
        """Return this source with some signals of one service changed."""
        return replace(self, values={**self.values, key: {**HEALTHY, **values}})
