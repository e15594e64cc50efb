"""Where things are: region > site > rack, and the clusters of a region."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from inventory.models.base import NAME, Record, Sourced

TALLEST_U = 60


class Region(Record):
    """A place with a time zone of its own."""

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    time_zone = models.CharField(max_length=63, default="UTC")

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug


class Site(Record):
    """A building or a room of a region; racks stand in it."""

    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="sites")
    slug = models.SlugField(max_length=63)
    name = models.CharField(max_length=100)
    facility = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ("slug",)
        constraints = (
            models.UniqueConstraint(fields=("region", "slug"), name="site_once_per_region"),
        )

    def __str__(self) -> str:
        return self.slug


class Cluster(Record):
    """A set of nodes under one control plane; ``kind`` chooses the actuator."""

    class Kind(models.TextChoices):
        SIMULATED = "simulated", "simulated"
        RECORD = "record", "record only"
        KUBERNETES = "kubernetes", "Kubernetes"

    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="clusters")
    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    kind = models.CharField(max_length=16, choices=Kind, default=Kind.RECORD)
    level_keys = ArrayField(
        models.CharField(max_length=317),
        default=list,
        blank=True,
        verbose_name="topology label keys",
        help_text="Node labels that name S1, S2 and further levels, nearest the node first.",
    )

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    @property
    def is_simulated(self) -> bool:
        """Whether its engines are played by the simulator."""
        return self.kind == Cluster.Kind.SIMULATED

    @property
    def chooses_places(self) -> bool:
        """Whether it decides itself where new instances go, whatever is planned."""
        return self.kind == Cluster.Kind.KUBERNETES


class Rack(Sourced):
    """A rack of a site; what stands in it may belong to several clusters."""

    class Numbering(models.TextChoices):
        UP = "up", "U1 at the bottom"
        DOWN = "down", "U1 at the top"

    site = models.ForeignKey(Site, on_delete=models.PROTECT, related_name="racks")
    name = models.CharField(max_length=253, validators=[NAME])
    facility_id = models.CharField(max_length=60, blank=True)
    row = models.CharField(max_length=30, blank=True)
    column = models.CharField(max_length=30, blank=True)
    u_height = models.PositiveSmallIntegerField(
        default=48,
        validators=[MinValueValidator(1), MaxValueValidator(TALLEST_U)],
        verbose_name="height [U]",
    )
    numbering = models.CharField(max_length=4, choices=Numbering, default=Numbering.UP)
    power_kw = models.FloatField(
        null=True, blank=True, validators=[MinValueValidator(0)], verbose_name="power [kW]"
    )
    cooling = models.CharField(max_length=60, blank=True)

    class Meta:
        ordering = ("site", "name")
        constraints = (
            models.UniqueConstraint("site", Lower("name"), name="rack_name_unique"),
            models.CheckConstraint(
                condition=models.Q(u_height__gte=1, u_height__lte=TALLEST_U),
                name="rack_height_possible",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        """Return the page of the rack."""
        return f"/fleet/racks/{self.pk}/"
