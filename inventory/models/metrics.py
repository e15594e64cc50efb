"""Where signals are measured: endpoints, which services read from them, and by what queries."""

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from controller.core.readings.sources import EndpointKind
from controller.core.readings.written import LONGEST_QUERY
from inventory.models.base import Record
from inventory.models.services import Service


class MetricsEndpoint(Record):
    """A Prometheus, or exporters that are scraped directly.

    ``attach`` says how its series are known to be of a service and a role; ``targets`` are the
    exporters of a direct scrape. Secrets are encrypted: no page shows them again.
    """

    class Kind(models.TextChoices):
        PROMETHEUS = EndpointKind.PROMETHEUS.value, "Prometheus or what speaks its language"
        SCRAPE = EndpointKind.SCRAPE.value, "exporters, scraped directly"

    class Login(models.TextChoices):
        NONE = "none", "none"
        BEARER = "bearer", "bearer token"
        BASIC = "basic", "user and password"

    slug = models.SlugField(max_length=63, unique=True)
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.PROMETHEUS)
    url = models.CharField(
        max_length=500,
        blank=True,
        verbose_name="address",
        help_text="What stands before /api/v1, like http://prometheus:9090.",
    )
    enabled = models.BooleanField(default=True)
    attach = models.JSONField(default=dict, blank=True)
    targets = models.JSONField(default=list, blank=True)
    scrape_s = models.FloatField(
        default=15,
        verbose_name="scrape interval [s]",
        validators=[MinValueValidator(1), MaxValueValidator(120)],
        help_text="How often its samples come. The window of rates is at least four of them.",
    )
    login = models.CharField(max_length=8, choices=Login, default=Login.NONE)
    user = models.CharField(max_length=200, blank=True)
    secret = models.TextField(blank=True, editable=False)
    tenant = models.CharField(
        max_length=200,
        blank=True,
        help_text="Sent as X-Scope-OrgID, for Mimir, Cortex and Thanos with tenants.",
    )
    ca = models.TextField(blank=True, verbose_name="certificate authority (PEM)")
    certificate = models.TextField(blank=True, verbose_name="client certificate (PEM)")
    key = models.TextField(blank=True, editable=False)

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the page of the endpoint."""
        return f"/sources/{self.slug}/"


class ServiceMetrics(Record):
    """That a service reads from an endpoint, by which presets, and what it is called there."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="metrics")
    endpoint = models.ForeignKey(MetricsEndpoint, on_delete=models.PROTECT, related_name="uses")
    rank = models.PositiveSmallIntegerField(
        default=1, help_text="Where two endpoints have the same figure, the lower counts."
    )
    presets = models.JSONField(default=list, help_text='Like ["vllm", "dcgm"].')
    known_as = models.CharField(
        max_length=253, blank=True, help_text="Its name at the endpoint; empty: its own."
    )

    class Meta:
        ordering = ("service", "rank", "pk")
        verbose_name = "metrics of a service"
        verbose_name_plural = "metrics of services"
        constraints = (
            models.UniqueConstraint(
                fields=("service", "endpoint"), name="endpoint_once_a_service"
            ),
        )

    def __str__(self) -> str:
        return f"{self.service_id} at {self.endpoint_id}"


class WrittenQuery(Record):
    """A query (PromQL) that stands in the place of the presets' recipe for one signal."""

    use = models.ForeignKey(ServiceMetrics, on_delete=models.CASCADE, related_name="written")
    signal = models.CharField(max_length=40)
    query = models.TextField(max_length=LONGEST_QUERY)

    class Meta:
        ordering = ("use", "signal")
        verbose_name_plural = "written queries"
        constraints = (
            models.UniqueConstraint(fields=("use", "signal"), name="written_once_a_signal"),
        )

    def __str__(self) -> str:
        return self.signal
