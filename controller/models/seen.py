"""What the watcher saw last of clusters and of the services in them."""

from django.db import models

from inventory.models import Cluster, Service


class ClusterSight(models.Model):
    """How one cluster answers, since when it does so, and when all of it was last known."""

    class State(models.TextChoices):
        OK = "ok", "answers"
        PARTIAL = "partial", "answers in part"
        FAILED = "failed", "does not answer"

    cluster = models.OneToOneField(
        Cluster, on_delete=models.CASCADE, primary_key=True, related_name="sight"
    )
    state = models.CharField(max_length=8, choices=State)
    since = models.DateTimeField(help_text="Since when it is in this state.")
    told = models.JSONField(default=list, help_text="Sentences for the operator.")
    begun_at = models.DateTimeField(
        null=True,
        help_text="When the watcher of now had first seen all of it.",
    )
    heard_at = models.DateTimeField(
        null=True, help_text="When the picture of it was last known to be whole and current."
    )
    rounds = models.PositiveIntegerField(
        default=0, help_text="Whole pictures since then, at most one a tick."
    )
    nodes = models.PositiveIntegerField(default=0)
    pods = models.PositiveIntegerField(default=0, help_text="Of known services.")
    skew_s = models.FloatField(null=True, help_text="Its clock less the database's.")
    fingerprint = models.CharField(
        max_length=64, blank=True, help_text="Of its nodes as they were put into the inventory."
    )
    wait_until = models.DateTimeField(
        null=True, help_text="It asked for no request before this time (429)."
    )

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.state}"


class ServiceSight(models.Model):
    """What a cluster holds for one service: its workloads and its pods, as plain values."""

    service = models.OneToOneField(
        Service, on_delete=models.CASCADE, primary_key=True, related_name="sight"
    )
    changed_at = models.DateTimeField(help_text="When it was last seen to differ.")
    body = models.JSONField(help_text="As controller.core.kube.plain writes it.")

    def __str__(self) -> str:
        return f"{self.service_id} at {self.changed_at}"
