"""What recipes of several presets are put together of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from controller.core.readings.recipe import Kind, Leaf, Mean, Quantile, Recipe
from controller.core.types import Role

PREFILL: Final = Role.PREFILL
DECODE: Final = Role.DECODE
COUNTER: Final = Kind.COUNTER
GAUGE: Final = Kind.GAUGE

SHARES: Final[Mapping[str, float]] = {"p50_": 0.5, "": 0.95, "p99_": 0.99}
"""Which quantile a signal of latency is, by what stands in its name."""


def latency(
    signal: str, names: tuple[str, ...], role: Role | None, apart: tuple[str, ...]
) -> dict[str, Recipe]:
    """Return the quantiles of a signal and their mean, of a histogram in seconds.

    ``names`` are without their ending.
    """

    def leaf(ending: str, kind: Kind = COUNTER) -> Leaf:
        return Leaf(tuple(f"{name}_{ending}" for name in names), kind, role, apart=apart)

    buckets = leaf("bucket", Kind.BUCKETS)
    return {
        **{f"{signal}_{part}s": Quantile(share, buckets) for part, share in SHARES.items()},
        f"{signal}_avg_s": Mean(leaf("sum"), leaf("count")),
    }
