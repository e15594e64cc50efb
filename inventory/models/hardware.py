"""What nodes are made of."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from inventory.models.base import Record


class HardwareType(Record):
    """A node model: its GPUs and the figures that matter for prefill and decode."""

    slug = models.SlugField(max_length=63, unique=True)
    vendor = models.CharField(max_length=60)
    gpu_model = models.CharField(max_length=60, verbose_name="GPU model")
    gpus_per_node = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(0), MaxValueValidator(72)],
        verbose_name="GPUs per node",
    )
    gpu_memory_gib = models.FloatField(
        validators=[MinValueValidator(0)], verbose_name="memory per GPU [GiB]"
    )
    mem_bw_gb_s = models.FloatField(
        validators=[MinValueValidator(0)], verbose_name="memory bandwidth [GB/s]"
    )
    bf16_tflops = models.FloatField(
        validators=[MinValueValidator(0)], verbose_name="dense BF16 [TFLOPS]"
    )
    source = models.CharField(max_length=300, blank=True, help_text="Where the figures come from.")

    class Meta:
        ordering = ("slug",)
        verbose_name = "hardware type"

    def __str__(self) -> str:
        return self.gpu_model
