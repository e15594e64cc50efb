"""What the fleet's figures show: who met the SLO when, who holds the GPUs, how much was busy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import numpy as np
from django.db import connection
from django.db.models import Q

from controller.core.types import Counts, Floats
from controller.models import PoolSample, Sample
from controller.selectors.capacity import Scope, Stock, read_stocks
from controller.selectors.series import Ask, DecisionMark, marks
from inventory.gpus import PARTS
from inventory.models import Node, Service, Slo

PAGE_SIZE: Final = 40
# A map has at most so many columns; longer ranges get wider ones.
MAX_COLUMNS: Final = 72
COLUMN_S: Final = 300
MAX_TREND_POINTS: Final = 1_000
# A pool not seen for this long is not part of "now".
POOL_MEMORY: Final = timedelta(hours=1)

OK, SOME, BREACH, UNKNOWN = range(4)
# From this share of breaching samples on a bin counts as a breach.
BREACH_FROM: Final = 0.5


@dataclass(frozen=True, slots=True)
class ServiceBins:
    """One service's row: state per column and share of breaching samples, both shape ``(N,)``.

    States are 0 within SLO, 1 some samples breach, 2 at least half breach, 3 unknown. The share
    is NaN where unknown.
    """

    slug: str
    name: str
    states: Counts
    breach_frac: Floats


@dataclass(frozen=True, slots=True)
class SloBins:
    """The map: ``columns`` bins of ``bin_s`` [s] from ``since_s`` on, one page of services."""

    since_s: float
    bin_s: float
    columns: int
    rows: tuple[ServiceBins, ...]
    page: int
    pages: int
    services: int


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one hardware type in one cluster, by what they do; ``parts`` add up to ``total``.

    One that is sampled has busy and held idle GPUs, one that is only listed those in use and
    those of unknown use.
    """

    cluster: str
    hardware: str
    at_s: float
    total: int
    parts: Mapping[str, int]
    largest_free: int


@dataclass(frozen=True, slots=True)
class Pools:
    """Every pool as last seen; ``stale_after_s`` [s] is when a figure is no longer "now"."""

    now_s: float
    stale_after_s: float
    pools: tuple[Pool, ...]


@dataclass(frozen=True, slots=True)
class FleetTrend:
    """Shares of the fleet's schedulable GPUs over time, shape ``(T,)``, NaN without any.

    Schedulable are those not in maintenance, unhealthy or unknown; allocated are busy and held
    idle ones.
    """

    since_s: float
    until_s: float
    step_s: float
    times_s: Floats
    allocated_frac: Floats
    busy_frac: Floats
    schedulable: Floats
    decisions: tuple[DecisionMark, ...]
    left_out: int


_BINS = """
SELECT sample.service_id,
       date_bin(make_interval(secs => %s), sample.at, %s) AS bin,
       count(*) FILTER (WHERE sample.ttft_s IS NOT NULL OR sample.tbt_s IS NOT NULL) AS known,
       count(*) FILTER (WHERE sample.ttft_s > slo.ttft_s OR sample.tbt_s > slo.tbt_s) AS breaching
FROM {sample} sample
JOIN {slo} slo ON slo.service_id = sample.service_id
WHERE sample.at >= %s AND sample.at < %s AND sample.service_id = ANY(%s)
GROUP BY 1, 2
"""

_TREND = """
SELECT extract(epoch FROM date_bin(make_interval(secs => %s), at, %s))::float8 AS bin,
       sum(busy)::float8, sum(held_idle)::float8,
       sum(total - maintenance - unhealthy - unknown)::float8, count(DISTINCT at)::float8
FROM {pool}
WHERE at >= %s AND at <= %s
GROUP BY 1 ORDER BY 1
"""


def slo_bins(ask: Ask) -> SloBins:
    """Read one page of the SLO map; three queries. Pages beyond the last show the last."""
    span_s = (ask.until - ask.since).total_seconds()
    bin_s = COLUMN_S * max(1, -(-int(span_s) // (COLUMN_S * MAX_COLUMNS)))
    end_s = -(-ask.until.timestamp() // bin_s) * bin_s
    columns = max(1, round(span_s / bin_s))
    since_s = end_s - columns * bin_s
    count = Service.objects.count()
    pages = max(1, -(-count // PAGE_SIZE))
    page = min(max(1, ask.page), pages)
    start = (page - 1) * PAGE_SIZE
    services = list(
        Service.objects.order_by("slug").values_list("pk", "slug", "name")[
            start : start + PAGE_SIZE
        ]
    )
    since = datetime.fromtimestamp(since_s, UTC)
    until = datetime.fromtimestamp(end_s, UTC)
    found = _query(
        _BINS.format(sample=Sample._meta.db_table, slo=Slo._meta.db_table),  # noqa: SLF001
        [bin_s, since, since, until, [pk for pk, _, _ in services]],
    )
    known, breaching = _counted(found, [pk for pk, _, _ in services], columns, since_s, bin_s)
    return SloBins(
        since_s=since_s,
        bin_s=bin_s,
        columns=columns,
        rows=tuple(
            _row(slug, name, known[i], breaching[i]) for i, (_, slug, name) in enumerate(services)
        ),
        page=page,
        pages=pages,
        services=count,
    )


def _counted(
    found: Iterable[tuple[Any, ...]], pks: list[UUID], columns: int, since_s: float, bin_s: float
) -> tuple[Floats, Floats]:
    """Return samples with a latency, and breaching ones, both of shape (services, columns)."""
    place = {pk: i for i, pk in enumerate(pks)}
    known = np.zeros((len(pks), columns))
    breaching = np.zeros((len(pks), columns))
    for pk, start, with_latency, over in found:
        column = round((start.timestamp() - since_s) / bin_s)
        known[place[pk], column] = with_latency
        breaching[place[pk], column] = over
    return known, breaching


def _row(slug: str, name: str, known: Floats, breaching: Floats) -> ServiceBins:
    share = np.full(known.shape, np.nan)
    np.divide(breaching, known, out=share, where=known > 0)
    states = np.select(
        [known == 0, breaching == 0, share < BREACH_FROM], [UNKNOWN, OK, SOME], default=BREACH
    )
    return ServiceBins(slug=slug, name=name, states=states, breach_frac=share)


def pools_now(ask: Ask) -> Pools:
    """Read the newest sample of every pool seen within the last hour, and the pools without one.

    The others come from the inventory, where what is held can't be told busy from idle. Two
    queries, and four more if there are such pools.
    """
    scope = Scope(ask.cluster, ask.hardware)
    rows = (
        PoolSample.objects.filter(at__gt=ask.now - POOL_MEMORY, at__lte=ask.now)
        .select_related("cluster", "hardware")
        .order_by("cluster__slug", "hardware__slug", "-at")
        .distinct("cluster__slug", "hardware__slug")
    )
    sampled = {(row.cluster.slug, row.hardware.slug): row for row in rows}
    found = [
        Pool(
            cluster=row.cluster.slug,
            hardware=row.hardware.gpu_model or row.hardware.slug,
            at_s=row.at.timestamp(),
            total=row.total,
            parts={part: getattr(row, part) for part in PoolSample.PARTS},
            largest_free=row.largest_free,
        )
        for place, row in sampled.items()
        if scope.has(place)
    ]
    found += [_listed(stock, ask.now) for stock in _unsampled(scope, set(sampled), ask.now)]
    return Pools(
        now_s=ask.now.timestamp(),
        stale_after_s=2 * ask.tick_s,
        pools=tuple(sorted(found, key=lambda pool: (pool.cluster, pool.hardware))),
    )


def _unsampled(scope: Scope, sampled: set[tuple[str, str]], now: datetime) -> list[Stock]:
    """Return the pools of the inventory that nobody samples."""
    there = Node.objects.order_by().values_list("cluster__slug", "hardware__slug").distinct()
    places = {(cluster, hardware or "") for cluster, hardware in there}
    left = {place for place in places - sampled if scope.has(place)}
    if not left:
        return []
    clusters = Q(cluster__slug__in={cluster for cluster, _ in left})
    stocks = read_stocks(now, clusters)
    return [stock for stock in stocks if (stock.cluster, stock.hardware) in left]


def _listed(stock: Stock, now: datetime) -> Pool:
    """Return a pool as the inventory has it."""
    parts = {part: getattr(stock.parts, part) for part in PARTS}
    parts["unknown"] -= stock.use_unknown
    return Pool(
        cluster=stock.cluster,
        hardware=stock.word,
        at_s=now.timestamp(),
        total=stock.parts.total,
        parts=parts | {"use_unknown": stock.use_unknown},
        largest_free=stock.most_free,
    )


def fleet_trend(ask: Ask) -> FleetTrend:
    """Read allocated and busy shares over a range in at most 1,000 bins, and the changes."""
    span_s = (ask.until - ask.since).total_seconds()
    step_s = ask.tick_s * max(1.0, np.ceil(span_s / MAX_TREND_POINTS / ask.tick_s))
    rows = _query(
        _TREND.format(pool=PoolSample._meta.db_table),  # noqa: SLF001
        [float(step_s), ask.since, ask.since, ask.until],
    )
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    times_s, busy, held, schedulable, samples = table.T
    steps = np.diff(times_s)
    # Only what was carried out moved these lines; waits and proposals would bury it.
    found, more = marks(Q(gate="act"), ask, holds=False)
    return FleetTrend(
        since_s=ask.since.timestamp(),
        until_s=ask.until.timestamp(),
        step_s=max(float(step_s), float(np.median(steps)) if len(steps) else 0.0),
        times_s=times_s,
        allocated_frac=_share(busy + held, schedulable),
        busy_frac=_share(busy, schedulable),
        schedulable=schedulable / np.maximum(samples, 1.0),
        decisions=found,
        left_out=more,
    )


def _share(part: Floats, whole: Floats) -> Floats:
    share = np.full(part.shape, np.nan)
    np.divide(part, whole, out=share, where=whole > 0)
    return share


def _query(statement: str, parameters: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
