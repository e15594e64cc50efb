"""Deployment groups, and which instance holds which GPUs: no GPU has two owners (S19)."""

from django.contrib.postgres.constraints import ExclusionConstraint
from django.contrib.postgres.fields import IntegerRangeField, RangeOperators
from django.db import models
from django.db.models import Q

from inventory.models.machines import Node
from inventory.models.services import Nearness, RoleSpec, Service


class DeploymentGroup(models.Model):
    """Instances of a service that share a network domain (HeteroScale §7).

    ``level`` and ``domain`` are the nearest domain all of it shares; empty while nothing is known.
    """

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="groups")
    name = models.CharField(max_length=100)
    level = models.CharField(max_length=7, choices=Nearness, blank=True)
    domain = models.CharField(max_length=253, blank=True)
    made_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("service", "name")
        constraints = (
            models.UniqueConstraint(fields=("service", "name"), name="group_name_once"),
        )

    def __str__(self) -> str:
        return self.name


class Binding(models.Model):
    """GPUs of one node that one instance holds, from the promise to the release.

    ``gpus`` is a range of places on the node; an instance whose places don't lie together has
    several rows. ``instance`` is empty while the instance has not been seen.
    """

    class State(models.TextChoices):
        HELD = "held", "promised"
        STARTING = "starting", "starting"
        RUNNING = "running", "running"
        DRAINING = "draining", "draining"

    group = models.ForeignKey(DeploymentGroup, on_delete=models.CASCADE, related_name="bindings")
    role = models.CharField(max_length=8, choices=RoleSpec.RoleName)
    instance = models.CharField(max_length=253, blank=True)
    place = models.CharField(
        max_length=100, help_text="What the plan calls it: the same for all rows of one instance."
    )
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="bindings")
    gpus = IntegerRangeField()
    state = models.CharField(max_length=8, choices=State, default=State.HELD)
    action = models.UUIDField(null=True, help_text="The change that promised it.")
    bound_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("node", "gpus")
        constraints = (
            ExclusionConstraint(
                name="gpu_has_one_owner",
                expressions=[
                    ("node", RangeOperators.EQUAL),
                    ("gpus", RangeOperators.OVERLAPS),
                ],
                condition=Q(released_at=None),
            ),
            models.CheckConstraint(
                condition=Q(gpus__startswith__gte=0) & Q(gpus__isempty=False),
                name="binding_holds_gpus",
            ),
        )
        indexes = (
            models.Index(fields=("group", "role")),
            models.Index(fields=("action",)),
            models.Index(fields=("released_at",)),
        )

    def __str__(self) -> str:
        return f"{self.instance or self.place}: {self.gpus} of {self.node_id}"
