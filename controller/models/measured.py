"""How endpoints of metrics have answered, and what direct scrapes remember between two ticks."""

from django.db import models

from inventory.models import MetricsEndpoint


class EndpointStatus(models.Model):
    """How one endpoint answered last, since when it does so, and when it is asked again."""

    class State(models.TextChoices):
        OK = "ok", "answers"
        PARTIAL = "partial", "answers in part"
        FAILED = "failed", "does not answer"

    endpoint = models.OneToOneField(
        MetricsEndpoint, on_delete=models.CASCADE, primary_key=True, related_name="status"
    )
    state = models.CharField(max_length=8, choices=State)
    since = models.DateTimeField(help_text="Since when it is in this state.")
    asked_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True, help_text="When it last answered.")
    back_since = models.DateTimeField(
        null=True, help_text="When it answered again after an outage: older samples don't count."
    )
    failures = models.PositiveIntegerField(default=0, help_text="In a row.")
    again_at = models.DateTimeField(null=True, help_text="Not asked before this time.")
    took_ms = models.FloatField(null=True)
    newest_at = models.DateTimeField(null=True, help_text="Of its samples.")
    services = models.PositiveIntegerField(default=0, help_text="That read from it.")
    answered = models.PositiveIntegerField(default=0, help_text="Of which it had any figure.")
    told = models.JSONField(default=list, help_text="Sentences for the operator.")

    def __str__(self) -> str:
        return f"{self.endpoint_id} {self.state}"


class ScrapeMark(models.Model):
    """The last scrape of each target of an endpoint and its last windows, as bytes."""

    endpoint = models.OneToOneField(
        MetricsEndpoint, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    at = models.DateTimeField()
    body = models.BinaryField()

    def __str__(self) -> str:
        return f"{self.endpoint_id} at {self.at}"


class Detected(models.Model):
    """What an endpoint proposed when somebody last looked; replaced by the next look."""

    endpoint = models.OneToOneField(
        MetricsEndpoint, on_delete=models.CASCADE, primary_key=True, related_name="detected"
    )
    at = models.DateTimeField()
    by_name = models.CharField(max_length=160)
    took_ms = models.FloatField()
    found = models.JSONField(help_text="As the command detect answers (docs/detection.md).")

    def __str__(self) -> str:
        return f"{self.endpoint_id} at {self.at}"
