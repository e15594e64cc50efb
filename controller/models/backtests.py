"""Backtests people asked for, and the traces they uploaded to play."""

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from controller.core.backtest_states import ENDED, Source, State
from inventory.models import Service

MOST_ATTEMPTS: Final = 3
"""A run that lost its worker begins again; one that always loses it is given up."""

KINDS: Final = ("requests", "lengths", "windows")
LARGEST_TRACE: Final = 16 * 2**20
"""Most bytes of a stored trace, packed."""


class Trace(models.Model):
    """An uploaded trace, packed; the same content is one row, whoever uploads it."""

    name = models.CharField(max_length=120)
    content = models.BinaryField(help_text="The CSV, gzipped.")
    packed_bytes = models.PositiveIntegerField()
    sha256 = models.CharField(max_length=64, unique=True, help_text="Of the CSV, unpacked.")
    kind = models.CharField(max_length=8, choices=[(kind,) * 2 for kind in KINDS])
    rows = models.PositiveIntegerField()
    span_s = models.FloatField(null=True, help_text="None of lengths, which have no times.")
    uploaded_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=Q(packed_bytes__lte=LARGEST_TRACE), name="trace_is_not_too_large"
            ),
            models.CheckConstraint(
                # NULL > 0 is no refusal to PostgreSQL, so that it is known is asked apart.
                condition=Q(rows__gt=0)
                & (Q(span_s__isnull=False, span_s__gt=0) | Q(span_s=None, kind="lengths")),
                name="trace_is_not_empty",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Backtest(models.Model):
    """One question about policies, and its answer once a worker found it.

    ``attempts`` grows with every claim and is the claim's token: a worker that was thought dead
    finds another number and writes nothing. ``asked`` is the form as it was sent, ``answer`` the
    scores and ``series`` the time series they rest on.
    """

    id = models.UUIDField(primary_key=True)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    asked = models.JSONField()
    source = models.CharField(max_length=9, choices=[(s.value,) * 2 for s in Source])
    load_name = models.CharField(max_length=200)
    trace = models.ForeignKey(Trace, null=True, on_delete=models.PROTECT, related_name="backtests")
    service = models.ForeignKey(
        Service, null=True, on_delete=models.SET_NULL, related_name="backtests"
    )
    recorded_since = models.DateTimeField(null=True)
    recorded_until = models.DateTimeField(null=True)
    generator = models.JSONField(null=True)
    state = models.CharField(
        max_length=9, default=State.QUEUED.value, choices=[(s.value,) * 2 for s in State]
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    progress_frac = models.FloatField(default=0.0)
    started_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    cancel_requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    error = models.TextField(blank=True)
    error_field = models.CharField(max_length=40, blank=True)
    answer = models.JSONField(null=True)
    series = models.JSONField(null=True)

    class Meta:
        ordering = ("-created_at", "-id")
        permissions = (("run_backtest", "Can start and cancel backtests"),)
        indexes = (
            models.Index(fields=("state", "created_at")),
            models.Index(fields=("-created_at", "-id")),
        )
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in State]), name="backtest_state"
            ),
            models.CheckConstraint(
                condition=Q(progress_frac__gte=0, progress_frac__lte=1), name="backtest_progress"
            ),
            models.CheckConstraint(
                condition=(Q(started_at=None) | Q(started_at__gte=F("created_at")))
                & (Q(heartbeat_at=None) | Q(heartbeat_at__gte=F("started_at")))
                & (Q(finished_at=None) | Q(finished_at__gte=F("created_at")))
                & (Q(finished_at=None) | Q(started_at=None) | Q(finished_at__gte=F("started_at"))),
                name="backtest_times_in_order",
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in ENDED], finished_at__isnull=False)
                | Q(
                    state=State.RUNNING.value, started_at__isnull=False, heartbeat_at__isnull=False
                )
                | Q(state=State.QUEUED.value, started_at=None, finished_at=None),
                name="backtest_state_has_its_times",
            ),
            models.CheckConstraint(
                condition=Q(answer__isnull=False, series__isnull=False)
                | ~Q(state=State.DONE.value),
                name="backtest_done_has_an_answer",
            ),
            models.CheckConstraint(
                condition=Q(source=Source.TRACE.value, trace__isnull=False)
                | Q(
                    source=Source.RECORDED.value,
                    recorded_since__isnull=False,
                    recorded_until__gt=F("recorded_since"),
                )
                | Q(source=Source.GENERATED.value, generator__isnull=False),
                name="backtest_has_its_load",
            ),
            # A heavy job at a time in the whole installation, however many workers there are.
            models.UniqueConstraint(
                fields=("state",),
                condition=Q(state=State.RUNNING.value),
                name="one_backtest_runs_at_a_time",
            ),
        )

    def __str__(self) -> str:
        return f"{self.load_name} ({self.state})"

    def get_absolute_url(self) -> str:
        """Return the page of the backtest."""
        return f"/backtests/{self.pk}/"
