"""Nodes and their GPUs, with three independent state axes."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import ArrayField, RangeOperators
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Case, F, Func, Q, Value, When
from django.db.models.functions import Lower

from inventory.models.base import NAME, AdminState, Health, Lifecycle, Sourced
from inventory.models.hardware import MOST_GPUS, HardwareType
from inventory.models.network import LocalityDomain, NvlinkDomain
from inventory.models.places import TALLEST_U, Cluster, Rack

USABLE = Q(
    lifecycle=Lifecycle.ACTIVE,
    admin_state=AdminState.IN_SERVICE,
    health=Health.OK,
    reserved_for="",
    missing_since__isnull=True,
)


class Units(Func):
    """The rack units a node fills, as a range."""

    function = "int4range"


class Node(Sourced):
    """A machine with GPUs of one hardware type; three independent state axes.

    An empty ``gpus`` means that nobody said how many there are. ``tiers`` is what labels or files
    assert, S1 first; ``s1_domain`` and ``s2_domain`` are derived from it and from the cables.
    """

    Lifecycle, AdminState, Health = Lifecycle, AdminState, Health

    class Face(models.TextChoices):
        FRONT = "front", "front"
        REAR = "rear", "rear"
        BOTH = "both", "front and rear"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nodes")
    name = models.CharField(max_length=253, validators=[NAME])
    hardware = models.ForeignKey(
        HardwareType,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="nodes",
        verbose_name="hardware type",
    )
    gpus = models.PositiveSmallIntegerField(
        null=True, blank=True, validators=[MaxValueValidator(MOST_GPUS)], verbose_name="GPUs"
    )
    gpus_allocatable = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MOST_GPUS)],
        verbose_name="allocatable GPUs",
        help_text="What the cluster hands out, where it is less than the node has.",
    )
    rack = models.ForeignKey(
        Rack, null=True, blank=True, on_delete=models.PROTECT, related_name="nodes"
    )
    u_position = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(TALLEST_U)],
        verbose_name="lowest U",
    )
    u_height = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(TALLEST_U)],
        verbose_name="height [U]",
    )
    face = models.CharField(max_length=5, choices=Face, default=Face.BOTH)
    tiers = ArrayField(
        models.CharField(max_length=253, null=True),
        default=list,
        blank=True,
        verbose_name="asserted S1, S2, …",
    )
    taints = ArrayField(
        models.CharField(max_length=400),
        default=list,
        blank=True,
        help_text="What keeps away instances of roles that don't tolerate it: key=value or key.",
    )
    nvlink_domain = models.ForeignKey(
        NvlinkDomain, null=True, blank=True, on_delete=models.SET_NULL, related_name="nodes"
    )
    s1_domain = models.ForeignKey(
        LocalityDomain,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="s1_nodes",
        verbose_name="S1 domain",
    )
    s2_domain = models.ForeignKey(
        LocalityDomain,
        null=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="s2_nodes",
        verbose_name="S2 domain",
    )
    serial = models.CharField(max_length=100, blank=True)
    asset_tag = models.CharField(max_length=100, blank=True)
    provider_id = models.CharField(max_length=300, blank=True)
    k8s_uid = models.CharField(max_length=64, blank=True, verbose_name="Kubernetes uid")
    instance_type = models.CharField(max_length=100, blank=True)
    lifecycle = models.CharField(max_length=16, choices=Lifecycle, default=Lifecycle.ACTIVE)
    admin_state = models.CharField(
        max_length=16, choices=AdminState, default=AdminState.IN_SERVICE
    )
    admin_by = models.CharField(max_length=160, blank=True, editable=False)
    admin_reason = models.CharField(max_length=1000, blank=True, editable=False)
    admin_at = models.DateTimeField(null=True, editable=False)
    health = models.CharField(max_length=16, choices=Health, default=Health.OK)
    health_reason = models.CharField(max_length=200, blank=True)
    reserved_for = models.CharField(
        max_length=160, blank=True, help_text="Whose reservation holds it now."
    )
    driver = models.CharField(max_length=60, blank=True)
    cuda = models.CharField(max_length=60, blank=True, verbose_name="CUDA")
    last_seen = models.DateTimeField(null=True, editable=False)
    schedulable = models.GeneratedField(
        expression=Case(When(USABLE, then=Value(value=True)), default=Value(value=False)),
        output_field=models.BooleanField(),
        db_persist=True,
    )

    class Meta:
        ordering = ("cluster", "name")
        permissions = (("cordon_node", "Can cordon, drain and return nodes"),)
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="node_name_unique"),
            *(
                models.UniqueConstraint(
                    Lower(field),
                    condition=~Q(**{field: ""}),
                    name=f"node_{field}_unique",
                )
                for field in ("serial", "provider_id", "k8s_uid")
            ),
            models.CheckConstraint(
                condition=Q(gpus__isnull=True) | Q(gpus__lte=MOST_GPUS),
                name="node_gpus_at_most_72",
            ),
            models.CheckConstraint(
                condition=Q(u_position__isnull=True)
                | Q(rack__isnull=False, u_position__gte=1, u_height__gte=1),
                name="node_position_needs_rack",
            ),
            *(
                # Front and rear are apart; what fills both is in the way of either.
                ExclusionConstraint(
                    name=f"node_units_free_{face}",
                    expressions=[
                        ("rack", RangeOperators.EQUAL),
                        (
                            Units(F("u_position"), F("u_position") + F("u_height")),
                            RangeOperators.OVERLAPS,
                        ),
                    ],
                    condition=Q(
                        rack__isnull=False, u_position__isnull=False, missing_since__isnull=True
                    )
                    & Q(face__in=(face, "both")),
                )
                for face in ("front", "rear")
            ),
        )
        indexes = (
            models.Index(fields=("cluster", "schedulable", "hardware")),
            models.Index(fields=("cluster", "hardware")),
        )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the page of the node."""
        return f"/fleet/nodes/{self.cluster.slug}/{self.name}/"

    @property
    def why_not_schedulable(self) -> tuple[str, ...]:
        """Which terms keep new instances away, in words; empty where none does."""
        said = {
            f"it is {self.get_lifecycle_display()}": self.lifecycle != Lifecycle.ACTIVE,
            f"it is {self.get_admin_state_display()}": self.admin_state != AdminState.IN_SERVICE,
            f"its health is {self.get_health_display()}": self.health != Health.OK,
            f"it is reserved for {self.reserved_for}": bool(self.reserved_for),
            "its source no longer lists it": self.missing_since is not None,
        }
        return tuple(text for text, holds in said.items() if holds)

    def clean(self) -> None:
        """Refuse a position without a rack, or one that reaches beyond it."""
        if self.u_position is None:
            return
        if self.rack is None:
            raise ValidationError({"u_position": "A position needs a rack."})
        top = self.u_position + self.u_height - 1
        if top > self.rack.u_height:
            said = f"It would reach U{top}; {self.rack} ends at U{self.rack.u_height}."
            raise ValidationError({"u_position": said})


class Gpu(Sourced):
    """One GPU of a node."""

    class Mig(models.TextChoices):
        OFF = "off", "off"
        SINGLE = "single", "single"
        MIXED = "mixed", "mixed"

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="gpu_rows")
    index = models.PositiveSmallIntegerField()
    uuid = models.CharField(max_length=64, blank=True, verbose_name="UUID")
    serial = models.CharField(max_length=64, blank=True)
    model = models.CharField(max_length=100, blank=True)
    memory_mib = models.PositiveIntegerField(null=True, blank=True, verbose_name="memory [MiB]")
    pci_bus_id = models.CharField(max_length=40, blank=True, verbose_name="PCI bus id")
    numa = models.SmallIntegerField(null=True, blank=True, verbose_name="NUMA node")
    mig = models.CharField(max_length=6, choices=Mig, blank=True, verbose_name="MIG")
    mig_profile = models.CharField(max_length=60, blank=True, verbose_name="MIG profile")
    health = models.CharField(max_length=16, choices=Health, default=Health.OK)
    health_reason = models.CharField(max_length=200, blank=True)
    ecc_uncorrected = models.PositiveIntegerField(
        null=True, blank=True, verbose_name="uncorrected ECC errors"
    )
    row_remap_pending = models.BooleanField(null=True, blank=True)
    xid_last = models.PositiveIntegerField(null=True, blank=True, verbose_name="last XID")

    class Meta:
        ordering = ("node", "index")
        verbose_name = "GPU"
        constraints = (
            # One that was taken out leaves its place to another.
            models.UniqueConstraint(
                fields=("node", "index"), condition=Q(missing_since=None), name="gpu_index_once"
            ),
            models.UniqueConstraint(Lower("uuid"), condition=~Q(uuid=""), name="gpu_uuid_unique"),
        )

    def __str__(self) -> str:
        return f"GPU {self.index}"
