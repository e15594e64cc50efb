"""What a live service was asked for, as a load that can be played again."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import numpy as np

from controller.models import Sample
from controller.simulator.recorded import (
    COVERAGE,
    RATES,
    WAITING,
    TooLittleRecordedError,
    workload_of,
)
from controller.simulator.workload import Workload

_COLUMNS: Final = (*RATES, *WAITING, *COVERAGE)
_MINUTE: Final = "%Y-%m-%d %H:%M"


def recorded_load(service_pk: UUID, since: datetime, until: datetime) -> Workload:
    """Return the load of a service from ``since`` to ``until`` out of its samples; one query.

    See :func:`workload_of` for what is derived and what stays unknown. Raises
    :class:`TooLittleRecordedError` with the numbers when it can't be played.
    """
    rows = (
        Sample.objects.filter(service=service_pk, at__gte=since, at__lte=until)
        .order_by("at")
        .values_list("service__slug", "at", *_COLUMNS)
    )
    slug, table = "", []
    for slug, at, *values in rows.iterator(chunk_size=5_000):  # noqa: B007 - the last is as good
        table.append((at.timestamp(), *values))
    if not table:
        span = _span(since.timestamp(), until.timestamp())
        raise TooLittleRecordedError(f"{span}: no sample of the service is kept of that time.")
    columns = np.array(table, dtype=np.float64).T
    signals = dict(zip(_COLUMNS, columns[1:], strict=True))
    return workload_of(columns[0], signals, name=f"{slug}, {_span(*columns[0, [0, -1]])}")


def _span(since_s: float, until_s: float) -> str:
    first, last = (f"{datetime.fromtimestamp(s, UTC):{_MINUTE}}" for s in (since_s, until_s))
    return f"{first} to {last} UTC"
