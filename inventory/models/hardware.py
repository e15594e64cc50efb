"""What nodes are made of."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from inventory.models.base import Record
from inventory.models.places import TALLEST_U

MOST_GPUS = 72
MIB_PER_GIB = 1024


class HardwareType(Record):
    """A node model: its GPUs and the figures that matter for prefill and decode.

    A change of a type rewrites no node of it.
    """

    class Nvlink(models.TextChoices):
        NONE = "none", "none"
        NODE = "node", "within a node"
        RACK = "rack", "across a rack"

    slug = models.SlugField(max_length=63, unique=True)
    vendor = models.CharField(max_length=60, blank=True)
    model = models.CharField(max_length=100, blank=True)
    form = models.CharField(max_length=40, blank=True, help_text="Such as tray or 8U chassis.")
    u_height = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(TALLEST_U)],
        verbose_name="height [U]",
    )
    gpu_model = models.CharField(max_length=60, blank=True, verbose_name="GPU model")
    gpus_per_node = models.PositiveSmallIntegerField(
        null=True,
        blank=True,
        validators=[MaxValueValidator(MOST_GPUS)],
        verbose_name="GPUs per node",
    )
    gpu_memory_mib = models.PositiveIntegerField(
        null=True, blank=True, verbose_name="memory per GPU [MiB]"
    )
    gpu_arch = models.CharField(max_length=40, blank=True, verbose_name="GPU architecture")
    nvlink = models.CharField(max_length=4, choices=Nvlink, blank=True, verbose_name="NVLink")
    nic_count = models.PositiveSmallIntegerField(null=True, blank=True, verbose_name="NICs")
    nic_gbps = models.PositiveIntegerField(
        null=True, blank=True, verbose_name="speed per NIC [Gb/s]"
    )
    cpu = models.CharField(max_length=100, blank=True, verbose_name="CPU")
    ram_gib = models.PositiveIntegerField(null=True, blank=True, verbose_name="RAM [GiB]")
    mem_bw_gb_s = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        verbose_name="memory bandwidth [GB/s]",
    )
    bf16_tflops = models.FloatField(
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        verbose_name="dense BF16 [TFLOPS]",
    )
    cost_per_gpu_hour = models.DecimalField(
        max_digits=10,
        decimal_places=4,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        verbose_name="cost per GPU-hour",
    )
    source = models.CharField(max_length=300, blank=True, help_text="Where the figures come from.")

    class Meta:
        ordering = ("slug",)
        verbose_name = "hardware type"
        constraints = (
            models.CheckConstraint(
                condition=models.Q(gpus_per_node__isnull=True)
                | models.Q(gpus_per_node__lte=MOST_GPUS),
                name="hardware_gpus_at_most_72",
            ),
        )

    def __str__(self) -> str:
        return self.gpu_model or self.slug

    def get_absolute_url(self) -> str:
        """Return the page of the type."""
        return f"/fleet/skus/{self.slug}/"

    @property
    def gpu_memory_gib(self) -> float | None:
        """Memory of one GPU [GiB]."""
        return None if self.gpu_memory_mib is None else self.gpu_memory_mib / MIB_PER_GIB


class HardwareAlias(models.Model):
    """A word by which imports call a hardware type; no two types share one."""

    hardware = models.ForeignKey(HardwareType, on_delete=models.CASCADE, related_name="aliases")
    text = models.CharField(max_length=253)

    class Meta:
        ordering = ("text",)
        verbose_name_plural = "hardware aliases"
        constraints = (models.UniqueConstraint(Lower("text"), name="hardware_alias_unique"),)

    def __str__(self) -> str:
        return self.text
