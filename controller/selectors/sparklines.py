"""Three hours of a signal in the space of a word, for many services with one query."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.db.models import Avg, DateTimeField, F, Func, Value

from controller.models import Sample

SPAN: Final = timedelta(hours=3)
BIN: Final = timedelta(minutes=6)
BINS: Final = SPAN // BIN
WIDTH: Final = 120
HEIGHT: Final = 24
MARGIN: Final = 2.0
_ORIGIN: Final = datetime(2001, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Sparkline:
    """Polyline points of each unbroken stretch, and the figures for those who do not see it."""

    stretches: tuple[str, ...]
    lowest: float
    highest: float


def bin_start(at: datetime) -> datetime:
    """Return the start of the bin a time falls into."""
    return at - (at - _ORIGIN) % BIN


def read_sparklines(service_ids: Iterable[UUID], now: datetime) -> Mapping[UUID, Sparkline]:
    """Return decode tok/s of the last three hours by service; one query for all of them.

    Bins are 6 min wide; a service without a single measured value is absent.
    """
    first = bin_start(now) - (BINS - 1) * BIN
    binned = Func(
        Value(BIN),
        F("at"),
        Value(_ORIGIN),
        function="date_bin",
        output_field=DateTimeField(),
    )
    rows = (
        Sample.objects.filter(service_id__in=list(service_ids), at__gte=first, at__lte=now)
        .values("service_id", start=binned)
        .annotate(mean=Avg("decode_tps"))
        .order_by("service_id", "start")
    )
    series: dict[UUID, list[float | None]] = {}
    for row in rows:
        place = (row["start"] - first) // BIN
        if 0 <= place < BINS:
            series.setdefault(row["service_id"], [None] * BINS)[place] = row["mean"]
    return {
        service: line for service, values in series.items() if (line := draw(values)) is not None
    }


def draw(values: Sequence[float | None]) -> Sparkline | None:
    """Return the line through ``values``, broken where one is absent; None when all are.

    The axis starts at 0, so that a flat line is flat and not noise blown up.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    top = max(known) or 1.0
    step = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    stretches: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            stretches.append([])
            continue
        y = HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * value / top
        stretches[-1].append(f"{MARGIN + i * step:.1f},{y:.1f}")
    drawn = tuple(" ".join(_visible(points)) for points in stretches if points)
    return Sparkline(drawn, min(known), max(known))


def _visible(points: list[str]) -> list[str]:
    # A polyline of one point draws nothing; a short dash does.
    if len(points) > 1:
        return points
    x, y = points[0].split(",")
    return [points[0], f"{float(x) + 1:.1f},{y}"]
