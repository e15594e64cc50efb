"""Uploaded traces: read whole before they are kept, and each content kept once."""

import gzip
import hashlib
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from controller.core.words import clean
from controller.models import Trace
from controller.models.backtests import LARGEST_TRACE
from controller.services import audit, caps, people
from controller.services.errors import InvalidError, TooManyError
from controller.services.people import Person
from controller.simulator.workload import (
    LengthTrace,
    RequestTrace,
    WindowTrace,
    Workload,
    read_trace,
)

LONGEST_NAME: Final = 120
MOST_EACH: Final = 50
"""Most traces one person keeps: 800 MiB at the worst."""

_GZIP_MAGIC: Final = b"\x1f\x8b"


def keep(name: str, data: bytes, *, user: Person) -> Trace:
    """Keep an uploaded trace; content that is known already is the row it was.

    ``data`` is CSV, plain or gzipped. Raises :class:`TraceError` with line and column,
    :class:`InvalidError` when it is too large, :class:`TooManyError` when the person has kept as
    many as may be, :class:`ForbiddenError`.
    """
    people.require(user, people.BACKTEST)
    label = clean(name).strip()[-LONGEST_NAME:] or "trace.csv"
    if len(data) > LARGEST_TRACE:
        raise _too_large(len(data))
    load = read_trace(data, label)
    is_packed = data.startswith(_GZIP_MAGIC)
    plain = gzip.decompress(data) if is_packed else data
    packed = data if is_packed else gzip.compress(data, 6, mtime=0)
    if len(packed) > LARGEST_TRACE:
        raise _too_large(len(packed))
    row = Trace(
        name=label.removesuffix(".gz"),
        content=packed,
        packed_bytes=len(packed),
        sha256=hashlib.sha256(plain).hexdigest(),
        kind=load.about.kind,
        rows=_rows(load),
        span_s=load.about.span_s,
        uploaded_by=people.account_of(user),
        created_at=Now(),
    )
    with transaction.atomic():
        caps.one_at_a_time()
        known = Trace.objects.filter(sha256=row.sha256).first()
        return known or _added(row, user)


def _added(row: Trace, user: Person) -> Trace:
    kept = Trace.objects.filter(uploaded_by=row.uploaded_by).count()
    if kept >= MOST_EACH:
        raise TooManyError(
            f"{kept} traces of yours are kept, and {MOST_EACH} may be: choose one of them, or "
            f"wait; those no backtest plays are deleted {settings.KEEP_BACKTESTS_D} days after "
            "their upload."
        )
    row.save(force_insert=True)
    audit.record(
        actor=user.get_username(),
        verb="uploaded a trace",
        obj=row,
        after={"name": row.name, "sha256": row.sha256, "rows": row.rows},
    )
    return row


def load_of(trace: Trace, scale: float) -> Workload:
    """Return the load in a kept trace, its rate times ``scale``. Raises :class:`TraceError`."""
    return read_trace(bytes(trace.content), trace.name, scale)


def _rows(load: Workload) -> int:
    if isinstance(load, RequestTrace):
        return len(load.arrivals.t_s)
    if isinstance(load, LengthTrace):
        return len(load.rows.t_s)
    if isinstance(load, WindowTrace):
        return len(load.t_s)
    raise TypeError(f"{type(load).__name__} is none of the layouts of a file")


def _too_large(found: int) -> InvalidError:
    most = LARGEST_TRACE // 2**20
    return InvalidError(
        "upload", f"The file has {found / 2**20:.1f} MiB packed; at most {most} MiB fit: cut it."
    )
