"""What each pool held at most in each hour, and what the next hours are expected to hold."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection

from controller.core.peaks import AHEAD, DAY, LEVEL, Forecast, forecast
from controller.models import PoolSample
from controller.selectors.capacity import Scope, Stock, read_stocks
from controller.selectors.series import Ask
from inventory.models import Cluster, HardwareType

LOOK_BACK: Final = timedelta(hours=2 * DAY + AHEAD + LEVEL)
"""Hours a forecast and the judgement of the day before rest on."""


@dataclass(frozen=True, slots=True)
class PoolPeaks:
    """Held GPUs of one pool: the peak of each hour by its begin [s], and the next hours.

    ``usable`` are those held or free now, ``None`` where the inventory has no such pool.
    """

    cluster: str
    hardware: str
    peaks: tuple[tuple[int, float], ...]
    forecast: Forecast
    usable: int | None

    @property
    def now(self) -> float | None:
        """The peak of the newest hour."""
        return self.peaks[-1][1] if self.peaks else None


@dataclass(frozen=True, slots=True)
class Peaks:
    """Every pool that was ever sampled lately, the fullest first, as of ``now_s`` [s]."""

    now_s: float
    pools: tuple[PoolPeaks, ...]


_HOURS: Final = """
SELECT sample.cluster_id, sample.hardware_id,
       (floor(extract(epoch FROM sample.at) / 3600) * 3600)::bigint AS hour,
       max(sample.busy + sample.held_idle)::float8
FROM {table} sample
WHERE sample.at > %s AND sample.at <= %s
GROUP BY 1, 2, 3 ORDER BY 3
"""


def read_peaks(ask: Ask) -> Peaks:
    """Read hourly peaks of held GPUs of the last days and foresee the next hours."""
    scope = Scope(ask.cluster, ask.hardware)
    return Peaks(ask.now.timestamp(), pool_peaks(scope, ask.now, read_stocks(ask.now)))


def pool_peaks(scope: Scope, now: datetime, stocks: Iterable[Stock]) -> tuple[PoolPeaks, ...]:
    """Return the pools of a scope, the one whose forecast comes nearest to full first."""
    clusters = dict(Cluster.objects.values_list("pk", "slug"))
    types = {
        one.pk: (one.slug, str(one)) for one in HardwareType.objects.only("slug", "gpu_model")
    }
    held: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    with connection.cursor() as cursor:
        table = PoolSample._meta.db_table  # noqa: SLF001 - public by custom
        cursor.execute(_HOURS.format(table=table), [now - LOOK_BACK, now])
        for cluster, hardware, hour, peak in cursor.fetchall():
            slug, word = types[hardware]
            held[clusters[cluster], slug, word][int(hour)] = float(peak)
    usable = {(one.cluster, one.hardware): one.usable for one in stocks}
    found = [
        PoolPeaks(
            cluster=cluster,
            hardware=word,
            peaks=tuple(sorted(peaks.items())),
            forecast=forecast(peaks, now.timestamp()),
            usable=usable.get((cluster, slug)),
        )
        for (cluster, slug, word), peaks in held.items()
        if scope.has((cluster, slug))
    ]
    return tuple(sorted(found, key=_fullness))


def _fullness(pool: PoolPeaks) -> tuple[float, str, str]:
    highest = pool.forecast.highest
    peak = highest.peak if highest else pool.now or 0.0
    return -peak / max(pool.usable or 0, 1), pool.cluster, pool.hardware
