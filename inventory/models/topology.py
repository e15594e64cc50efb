"""Where things are: region > cluster > S2 switch > S1 switch > rack > node (HeteroScale §6)."""

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from inventory.models.base import NAME, Record
from inventory.models.hardware import HardwareType


class Region(Record):
    """A place with a time zone of its own."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    time_zone = models.CharField(max_length=63, default="UTC")

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Cluster(Record):
    """A set of nodes under one control plane; ``kind`` chooses the actuator."""

    class Kind(models.TextChoices):
        SIMULATED = "simulated", "simulated"
        RECORD = "record", "record only"

    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="clusters")
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.RECORD)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    @property
    def is_simulated(self) -> bool:
        """Whether its engines are played by the simulator."""
        return self.kind == Cluster.Kind.SIMULATED


class Switch(Record):
    """An aggregation switch: tier 1 (S1) stands over racks, tier 2 (S2) over S1 switches."""

    class Tier(models.IntegerChoices):
        S1 = 1, "S1"
        S2 = 2, "S2"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="switches")
    name = models.CharField(max_length=253, validators=[NAME])
    tier = models.PositiveSmallIntegerField(choices=Tier)
    parent = models.ForeignKey(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="children",
        help_text="The S2 switch above an S1 switch; an S2 switch has none.",
    )

    class Meta:
        ordering = ("cluster", "name")
        verbose_name_plural = "switches"
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="switch_name_unique"),
            models.CheckConstraint(
                condition=models.Q(tier=1) | models.Q(parent__isnull=True),
                name="switch_s2_has_no_parent",
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.get_tier_display()})"

    def clean(self) -> None:
        """Refuse a parent of another cluster or of the same tier."""
        if self.parent is None:
            return
        if self.parent.cluster_id != self.cluster_id:
            raise ValidationError({"parent": f"{self.parent.name} belongs to another cluster."})
        if self.parent.tier != Switch.Tier.S2 or self.tier != Switch.Tier.S1:
            raise ValidationError({"parent": "Only an S2 switch may stand above an S1 switch."})


class Rack(Record):
    """A rack under one S1 switch."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="racks")
    name = models.CharField(max_length=253, validators=[NAME])
    s1 = models.ForeignKey(
        Switch,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="racks",
        limit_choices_to={"tier": Switch.Tier.S1},
        verbose_name="S1 switch",
    )
    u_height = models.PositiveSmallIntegerField(
        default=48, validators=[MinValueValidator(1), MaxValueValidator(60)]
    )

    class Meta:
        ordering = ("cluster", "name")
        constraints = (models.UniqueConstraint("cluster", Lower("name"), name="rack_name_unique"),)

    def __str__(self) -> str:
        return self.name


class Node(Record):
    """A machine with GPUs of one hardware type; three independent state axes."""

    class Lifecycle(models.TextChoices):
        PLANNED = "planned", "planned"
        ACTIVE = "active", "active"
        DECOMMISSIONING = "decommissioning", "decommissioning"
        RETIRED = "retired", "retired"

    class AdminState(models.TextChoices):
        IN_SERVICE = "in_service", "in service"
        CORDONED = "cordoned", "cordoned"
        DRAINING = "draining", "draining"
        MAINTENANCE = "maintenance", "maintenance"

    class Health(models.TextChoices):
        OK = "ok", "ok"
        DEGRADED = "degraded", "degraded"
        FAILED = "failed", "failed"
        UNKNOWN = "unknown", "unknown"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=253, validators=[NAME])
    hardware = models.ForeignKey(
        HardwareType,
        on_delete=models.PROTECT,
        related_name="nodes",
        verbose_name="hardware type",
    )
    rack = models.ForeignKey(
        Rack, null=True, blank=True, on_delete=models.PROTECT, related_name="nodes"
    )
    s1 = models.ForeignKey(
        Switch,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="nodes",
        limit_choices_to={"tier": Switch.Tier.S1},
        verbose_name="S1 switch",
    )
    u_position = models.PositiveSmallIntegerField(null=True, blank=True)
    gpus = models.PositiveSmallIntegerField(validators=[MaxValueValidator(72)])
    lifecycle = models.CharField(max_length=16, choices=Lifecycle, default=Lifecycle.ACTIVE)
    admin_state = models.CharField(
        max_length=16, choices=AdminState, default=AdminState.IN_SERVICE
    )
    health = models.CharField(max_length=16, choices=Health, default=Health.OK)
    health_reason = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("cluster", "name")
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="node_name_unique"),
            models.CheckConstraint(condition=models.Q(gpus__lte=72), name="node_gpus_at_most_72"),
            models.CheckConstraint(
                condition=models.Q(u_position__isnull=True) | models.Q(rack__isnull=False),
                name="node_position_needs_rack",
            ),
        )
        indexes = (models.Index(fields=("cluster", "hardware")),)

    def __str__(self) -> str:
        return self.name

    @property
    def is_schedulable(self) -> bool:
        """Whether new instances may be placed here."""
        return (
            self.lifecycle == Node.Lifecycle.ACTIVE
            and self.admin_state == Node.AdminState.IN_SERVICE
            and self.health == Node.Health.OK
        )

    def clean(self) -> None:
        """Refuse a rack or switch of another cluster, and a position without a rack."""
        for field in ("rack", "s1"):
            place = getattr(self, field)
            if place is not None and place.cluster_id != self.cluster_id:
                raise ValidationError({field: f"{place.name} belongs to another cluster."})
        if self.u_position is not None and self.rack is None:
            raise ValidationError({"u_position": "A position needs a rack."})
