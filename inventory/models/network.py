"""The fabric: switches in tiers, adapters, cables, and the domains that come of them."""

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Lower

from inventory.models.base import NAME, AdminState, Health, Lifecycle, Record, Sourced
from inventory.models.places import Cluster, Rack


class Fabric(Record):
    """A network of a cluster; that of purpose compute makes the domains placement reads."""

    class Purpose(models.TextChoices):
        COMPUTE = "compute", "compute"
        STORAGE = "storage", "storage"
        NORTH_SOUTH = "north-south", "north-south"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="fabrics")
    name = models.CharField(max_length=253, validators=[NAME], default="compute")
    technology = models.CharField(max_length=40, blank=True, help_text="Such as IB or RoCE.")
    purpose = models.CharField(max_length=12, choices=Purpose, default=Purpose.COMPUTE)
    rail_count = models.PositiveSmallIntegerField(null=True, blank=True, verbose_name="rails")
    level_names = ArrayField(
        models.CharField(max_length=60),
        default=list,
        blank=True,
        help_text="What the levels are called, nearest the node first.",
    )

    class Meta:
        ordering = ("cluster", "name")
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="fabric_name_unique"),
        )

    def __str__(self) -> str:
        return self.name


class Switch(Sourced):
    """A switch; tier 0 is nearest the nodes, an unknown tier is empty."""

    Lifecycle, AdminState, Health = Lifecycle, AdminState, Health

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="switches")
    fabric = models.ForeignKey(Fabric, on_delete=models.CASCADE, related_name="switches")
    name = models.CharField(max_length=253, validators=[NAME])
    tier = models.PositiveSmallIntegerField(null=True, blank=True)
    rail = models.PositiveSmallIntegerField(null=True, blank=True)
    rack = models.ForeignKey(
        Rack, null=True, blank=True, on_delete=models.PROTECT, related_name="switches"
    )
    u_position = models.PositiveSmallIntegerField(null=True, blank=True, verbose_name="lowest U")
    guid = models.CharField(max_length=40, blank=True, verbose_name="GUID")
    model = models.CharField(max_length=100, blank=True)
    lifecycle = models.CharField(max_length=16, choices=Lifecycle, default=Lifecycle.ACTIVE)
    admin_state = models.CharField(
        max_length=16, choices=AdminState, default=AdminState.IN_SERVICE
    )
    health = models.CharField(max_length=16, choices=Health, default=Health.OK)

    class Meta:
        ordering = ("cluster", "name")
        verbose_name_plural = "switches"
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="switch_name_unique"),
            models.UniqueConstraint(
                Lower("guid"), condition=~Q(guid=""), name="switch_guid_unique"
            ),
            models.CheckConstraint(
                condition=Q(u_position__isnull=True) | Q(rack__isnull=False, u_position__gte=1),
                name="switch_position_needs_rack",
            ),
        )
        indexes = (models.Index(fields=("fabric", "tier")),)

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the page of the switch."""
        return f"/fleet/switches/{self.cluster.slug}/{self.name}/"

    def clean(self) -> None:
        """Refuse a fabric of another cluster, and a position without a rack."""
        fabric: Fabric | None = getattr(self, "fabric", None)
        if fabric is not None and fabric.cluster_id != self.cluster_id:
            raise ValidationError({"fabric": f"{fabric.name} belongs to another cluster."})
        if self.u_position is not None and self.rack is None:
            raise ValidationError({"u_position": "A position needs a rack."})


class NvlinkDomain(Record):
    """GPUs of several nodes that share NVLink; ``name`` is ClusterUUID.CliqueID or as told."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="nvlink_domains")
    name = models.CharField(max_length=253)
    parent = models.CharField(max_length=253, blank=True)

    class Meta:
        ordering = ("cluster", "name")
        verbose_name = "NVLink domain"
        constraints = (
            models.UniqueConstraint("cluster", Lower("name"), name="nvlink_domain_unique"),
        )

    def __str__(self) -> str:
        return self.name


class LocalityDomain(models.Model):
    """Nodes that are near each other, derived from cables or labels; placement reads these.

    ``subgroup`` is the RDMA subgroup of an S1 or S2 (HeteroScale, §6), ``rank`` its scarcity:
    0 low, 1 medium, 2 high.
    """

    class Level(models.TextChoices):
        S1 = "S1", "S1"
        S2 = "S2", "S2"
        NVLINK = "NVLINK", "NVLink"

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="domains")
    level = models.CharField(max_length=6, choices=Level)
    key = models.CharField(max_length=253)
    name = models.CharField(max_length=253)
    parent = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="children"
    )
    subgroup = models.CharField(max_length=20, blank=True, verbose_name="RDMA subgroup")
    rank = models.PositiveSmallIntegerField(default=0, verbose_name="scarcity")
    switches = ArrayField(models.CharField(max_length=253), default=list, blank=True)
    hardware = ArrayField(models.CharField(max_length=63), default=list, blank=True)
    inventory_version = models.BigIntegerField(default=0)

    class Meta:
        ordering = ("cluster", "level", "name")
        constraints = (
            models.UniqueConstraint(fields=("cluster", "level", "key"), name="domain_once"),
        )

    def __str__(self) -> str:
        return f"{self.level} {self.name}"


class Nic(Sourced):
    """One network adapter of a node."""

    node = models.ForeignKey("inventory.Node", on_delete=models.CASCADE, related_name="nics")
    name = models.CharField(max_length=63)
    guid = models.CharField(max_length=40, blank=True, verbose_name="GUID or MAC")
    speed_gbps = models.PositiveIntegerField(null=True, blank=True, verbose_name="speed [Gb/s]")
    rail = models.PositiveSmallIntegerField(null=True, blank=True)
    purpose = models.CharField(
        max_length=12, choices=Fabric.Purpose, default=Fabric.Purpose.COMPUTE
    )
    state = models.CharField(max_length=16, choices=Health, default=Health.OK)

    class Meta:
        ordering = ("node", "name")
        verbose_name = "NIC"
        constraints = (
            models.UniqueConstraint(
                "node", Lower("name"), condition=Q(missing_since=None), name="nic_name_unique"
            ),
            models.UniqueConstraint(Lower("guid"), condition=~Q(guid=""), name="nic_guid_unique"),
        )

    def __str__(self) -> str:
        return self.name


class Link(Sourced):
    """Cables from a switch to one node or one other switch; ``count`` where ports are unknown."""

    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="links")
    switch = models.ForeignKey(Switch, on_delete=models.CASCADE, related_name="links")
    port = models.CharField(max_length=63, blank=True)
    node = models.ForeignKey(
        "inventory.Node", null=True, blank=True, on_delete=models.CASCADE, related_name="links"
    )
    peer = models.ForeignKey(
        Switch, null=True, blank=True, on_delete=models.CASCADE, related_name="links_as_peer"
    )
    peer_port = models.CharField(max_length=63, blank=True)
    speed_gbps = models.PositiveIntegerField(null=True, blank=True, verbose_name="speed [Gb/s]")
    count = models.PositiveIntegerField(default=1, verbose_name="cables")
    state = models.CharField(max_length=16, choices=Health, default=Health.OK)

    class Meta:
        ordering = ("switch", "port")
        constraints = (
            models.CheckConstraint(
                condition=Q(node__isnull=False, peer__isnull=True)
                | Q(node__isnull=True, peer__isnull=False),
                name="link_has_one_far_end",
            ),
            models.CheckConstraint(
                condition=Q(peer__isnull=True) | ~Q(peer=F("switch")), name="link_not_to_itself"
            ),
            models.CheckConstraint(condition=Q(count__gte=1), name="link_has_cables"),
            models.UniqueConstraint(
                fields=("switch", "port"),
                condition=~Q(port="") & Q(missing_since=None),
                name="link_port_once",
            ),
            models.UniqueConstraint(
                fields=("node", "peer_port"),
                condition=~Q(peer_port="") & Q(node__isnull=False, missing_since=None),
                name="link_nic_once",
            ),
            models.UniqueConstraint(
                fields=("switch", "node"),
                condition=Q(port="", peer_port="", node__isnull=False, missing_since=None),
                name="link_bundle_to_node_once",
            ),
            models.UniqueConstraint(
                fields=("switch", "peer"),
                condition=Q(port="", peer_port="", peer__isnull=False, missing_since=None),
                name="link_bundle_to_switch_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.switch_id} {self.port}"
