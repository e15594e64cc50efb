"""The engines of a simulated fleet: their state between two ticks, and what plays their load."""

from django.db import models

from inventory.models import Service


class SimulatedFleet(models.Model):
    """One row: the engines' state as bytes, the load's clock, and how far the history is."""

    class History(models.TextChoices):
        WANTED = "wanted", "wanted"
        RUNNING = "running", "running"
        DONE = "done", "done"

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    state = models.BinaryField(null=True)
    receipts = models.JSONField(default=dict, help_text="Newest order taken, by service.")
    at = models.DateTimeField(null=True, help_text="The state's time.")
    seed = models.BigIntegerField(default=20_250_828)
    speed = models.FloatField(default=1.0)
    trace_name = models.CharField(max_length=200, blank=True)
    trace_body = models.BinaryField(null=True)
    trace_scale = models.FloatField(default=1.0, help_text="How often each request counts.")
    history = models.CharField(max_length=8, choices=History, default=History.WANTED)
    history_frac = models.FloatField(default=0.0)

    class Meta:
        constraints = (
            models.CheckConstraint(condition=models.Q(id=1), name="one_simulated_fleet"),
        )

    def __str__(self) -> str:
        return "simulated fleet"

    @property
    def trace_label(self) -> str:
        """The trace as pages name it, with the share of its requests that is played."""
        times = f" × {self.trace_scale:g}" if self.trace_scale != 1 else ""
        return f"{self.trace_name}{times}" if self.trace_name else ""


class SimulatedService(models.Model):
    """Which profiles play a service and from which load; the names are those of the simulator."""

    service = models.OneToOneField(
        Service, on_delete=models.CASCADE, primary_key=True, related_name="simulated"
    )
    prefill_profile = models.CharField(max_length=80)
    decode_profile = models.CharField(max_length=80)
    load = models.JSONField(help_text="Parameters of the load generator.")
    initial_prefill = models.PositiveIntegerField()
    initial_decode = models.PositiveIntegerField()
    start_median_s = models.FloatField(default=60.0)
    plays_trace = models.BooleanField(
        default=False, help_text="Whether a recorded trace, when there is one, is its load."
    )
    fault = models.CharField(max_length=16, blank=True)

    def __str__(self) -> str:
        return f"{self.service_id}"
