"""What happens to machines: health events, and reservations that hold nodes for somebody."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import DateTimeRangeField, RangeBoundary, RangeOperators
from django.db import models
from django.db.models import F, Func, Q

from inventory.models.base import Record
from inventory.models.machines import Gpu, Node
from inventory.models.network import Nic, Switch
from inventory.models.places import Cluster


class HealthEvent(models.Model):
    """Something that went wrong with one part: an XID, an ECC error, a link that is down."""

    class Severity(models.TextChoices):
        INFO = "info", "info"
        WARNING = "warning", "warning"
        CRITICAL = "critical", "critical"

    TARGETS = ("node", "gpu", "switch", "nic")

    node = models.ForeignKey(
        Node, null=True, blank=True, on_delete=models.CASCADE, related_name="events"
    )
    gpu = models.ForeignKey(
        Gpu,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="events",
        verbose_name="GPU",
    )
    switch = models.ForeignKey(
        Switch, null=True, blank=True, on_delete=models.CASCADE, related_name="events"
    )
    nic = models.ForeignKey(
        Nic,
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="events",
        verbose_name="NIC",
    )
    code = models.CharField(max_length=60, help_text="Such as XID 79, ECC or link-down.")
    severity = models.CharField(max_length=8, choices=Severity, default=Severity.WARNING)
    detail = models.CharField(max_length=300, blank=True)
    started = models.DateTimeField()
    ended = models.DateTimeField(null=True, blank=True)
    source = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering = ("-started",)
        constraints = (
            models.CheckConstraint(
                condition=(
                    Q(node__isnull=False, gpu=None, switch=None, nic=None)
                    | Q(node=None, gpu__isnull=False, switch=None, nic=None)
                    | Q(node=None, gpu=None, switch__isnull=False, nic=None)
                    | Q(node=None, gpu=None, switch=None, nic__isnull=False)
                ),
                name="event_has_one_target",
            ),
            models.CheckConstraint(
                condition=Q(ended__isnull=True) | Q(ended__gte=F("started")),
                name="event_ends_after_it_starts",
            ),
        )
        indexes = tuple(
            models.Index(
                fields=(target, "-started"), condition=Q(ended=None), name=f"open_event_{target}"
            )
            for target in ("node", "gpu", "switch", "nic")
        )

    def __str__(self) -> str:
        return self.code


class Reservation(Record):
    """Nodes held for somebody for a time; an open end is empty."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="reservations")
    owner = models.CharField(max_length=160)
    reason = models.CharField(max_length=1000)
    begins = models.DateTimeField()
    ends = models.DateTimeField(null=True, blank=True)
    nodes = models.ManyToManyField(Node, through="ReservedNode", related_name="reservations")

    class Meta:
        ordering = ("-begins",)
        constraints = (
            models.CheckConstraint(
                condition=Q(ends__isnull=True) | Q(ends__gt=F("begins")),
                name="reservation_ends_after_it_begins",
            ),
        )

    def __str__(self) -> str:
        return f"for {self.owner}"


class Period(Func):
    """The time a reservation lasts, as a range."""

    function = "tstzrange"
    output_field = DateTimeRangeField()


class ReservedNode(models.Model):
    """One node of a reservation; no node is held twice at the same time."""

    reservation = models.ForeignKey(Reservation, on_delete=models.CASCADE, related_name="held")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="held")
    begins = models.DateTimeField(editable=False)
    ends = models.DateTimeField(null=True, editable=False)

    class Meta:
        constraints = (
            ExclusionConstraint(
                name="node_reserved_once",
                expressions=[
                    ("node", RangeOperators.EQUAL),
                    (
                        Period("begins", "ends", RangeBoundary()),
                        RangeOperators.OVERLAPS,
                    ),
                ],
            ),
        )

    def __str__(self) -> str:
        return f"{self.node_id} in {self.reservation_id}"
