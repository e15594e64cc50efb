"""Old measurements go, decisions and what people did stay."""

from datetime import UTC, datetime, timedelta

from django.conf import settings
from django.db import connection

from controller.models import Backtest, PoolSample, Sample, Session, SignInTries, Tick, Trace
from inventory.models import Cluster, ImportFile, ImportRun, Service
from inventory.services.bindings import prune_bindings

KEEP_SAMPLES = timedelta(days=15)
DAYS_AHEAD = 2
"""Days whose table of samples is made before they begin; without one nothing is lost."""

AT_ONCE = timedelta(hours=6)
BACKTESTS_AT_ONCE = 20
KEEP_IMPORT_FILES = timedelta(days=30)
"""An import's changes stay, and with them its revert; its files are of no use any more."""

KEEP_BINDINGS = timedelta(days=7)
FILES_AT_ONCE = 20
KEEP_TRIES = timedelta(days=30)
DOORS_AT_ONCE = 1000


def turn_days(now: datetime) -> None:
    """Make the tables of samples of the days to come, and drop those of days gone by (UTC).

    A day is dropped once all of it is older than the retention. Both give up after 2 s of
    waiting for whoever reads, with an error of the database, and are tried at the next call.
    """
    today = now.astimezone(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT heteroscale_make_sample_days(%s, %s)",
            [today, today + timedelta(days=DAYS_AHEAD)],
        )
        cursor.execute("SELECT heteroscale_drop_sample_days(%s)", [now - KEEP_SAMPLES])


def prune(now: datetime) -> None:
    """Delete what is older than the retention, of one service and one cluster a call.

    Samples go a whole day at a time (:func:`turn_days`), but for those of a time that has no
    table of its own. Called every few seconds it gets round to all of them; each step follows
    the primary key and takes a bounded stretch, so that it costs the same however much is kept.
    """
    turn = int(now.timestamp() // 10)
    edge = now - KEEP_SAMPLES
    midnight = edge.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for model, owner, owners, before in (
        (Sample, "service", Service.objects.order_by("pk"), midnight),
        (PoolSample, "cluster", Cluster.objects.order_by("pk"), edge),
    ):
        keys = list(owners.values_list("pk", flat=True))
        if keys:
            mine = model.objects.filter(**{owner: keys[turn % len(keys)]})
            oldest = mine.order_by("at").values_list("at", flat=True).first()
            if oldest is not None and oldest < before:
                mine.filter(at__lt=min(before, oldest + AT_ONCE)).delete()
    oldest_tick = Tick.objects.order_by("slot").first()
    if oldest_tick is not None and oldest_tick.at < edge:
        Tick.objects.filter(at__lt=edge, slot__lt=oldest_tick.slot + 2000).delete()
    _prune_backtests(now - timedelta(days=settings.KEEP_BACKTESTS_D))
    _prune_import_files(now - KEEP_IMPORT_FILES)
    prune_bindings(now - KEEP_BINDINGS)
    _prune_doors(now)


def _prune_backtests(edge: datetime) -> None:
    """Delete the oldest that ended before ``edge``, and older traces that nothing plays."""
    ended = Backtest.objects.filter(finished_at__lt=edge).order_by("finished_at")
    old = list(ended.values_list("pk", flat=True)[:BACKTESTS_AT_ONCE])
    if old:
        Backtest.objects.filter(pk__in=old).delete()
    unused = Trace.objects.filter(created_at__lt=edge, backtests=None).order_by("pk")
    idle = list(unused.values_list("pk", flat=True)[:BACKTESTS_AT_ONCE])
    if idle:
        Trace.objects.filter(pk__in=idle, backtests=None).delete()


def _prune_doors(now: datetime) -> None:
    """Delete sessions that ended by themselves, and tries that say nothing any more."""
    for rows in (
        Session.objects.filter(expire_date__lt=now),
        SignInTries.objects.filter(last_at__lt=now - KEEP_TRIES),
    ):
        if keys := list(rows.values_list("pk", flat=True)[:DOORS_AT_ONCE]):
            rows.filter(pk__in=keys).delete()


def _prune_import_files(edge: datetime) -> None:
    """Delete the files of imports that ended, some at once: each may have megabytes."""
    old = ImportFile.objects.filter(run__created_at__lt=edge, run__state__in=ImportRun.ENDED)
    keys = list(old.order_by("pk").values_list("pk", flat=True)[:FILES_AT_ONCE])
    if keys:
        ImportFile.objects.filter(pk__in=keys).delete()
