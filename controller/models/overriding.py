"""Overrides, circuit breakers, changes seen from outside, and rights within a scope."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from controller.core.overrides import OverrideKind
from controller.core.types import Instances
from controller.models.scopes import Scoped, one_scope
from inventory.models import Cluster, Region, Service


class Override(Scoped, models.Model):
    """A person's order over the policy for a time; it edits no policy and ends by itself."""

    region = models.ForeignKey(
        Region, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    cluster = models.ForeignKey(
        Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    service = models.ForeignKey(
        Service, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    kind = models.CharField(max_length=10, choices=[(k, k) for k in OverrideKind])
    values = models.JSONField(default=dict, blank=True)
    reason = models.TextField()
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    by_name = models.CharField(max_length=150)
    made_at = models.DateTimeField()
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    version = models.PositiveIntegerField(default=1, help_text="Grows with each change of it.")
    ended_at = models.DateTimeField(null=True, help_text="When a person ended it early.")
    ended_by_name = models.CharField(max_length=150, blank=True)
    end_reason = models.TextField(blank=True)
    bound_at = models.DateTimeField(null=True, help_text="When a tick last felt it.")

    class Meta:
        ordering = ("ends_at", "id")
        constraints = (
            one_scope("override"),
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="override_times_ordered"
            ),
        )
        indexes = (models.Index(fields=("ended_at", "ends_at")),)
        permissions = (("override", "Can set, extend and end overrides"),)

    def __str__(self) -> str:
        return f"{self.kind} of {self.scope} by {self.by_name}"

    def get_absolute_url(self) -> str:
        """Return the page of the override."""
        return f"/overrides/{self.pk}/"


class Breaker(Scoped, models.Model):
    """Automatic change stopped by the controller itself, until a person resets it."""

    region = models.ForeignKey(
        Region, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    cluster = models.ForeignKey(
        Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    service = models.ForeignKey(
        Service, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    opened_at = models.DateTimeField()
    cause = models.TextField()
    evidence = models.JSONField(default=dict)
    ended_at = models.DateTimeField(null=True)
    ended_by_name = models.CharField(max_length=150, blank=True)
    end_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-opened_at", "-id")
        constraints = (
            one_scope("breaker"),
            models.UniqueConstraint(
                fields=("region", "cluster", "service"),
                condition=Q(ended_at=None),
                nulls_distinct=False,
                name="one_open_breaker_per_scope",
            ),
        )

    def __str__(self) -> str:
        return f"{self.scope}: {self.cause}"


class OutsideChange(models.Model):
    """Counts that somebody else changed in the cluster, and what a person made of it."""

    class Answer(models.TextChoices):
        ADOPTED = "adopted", "adopted"
        RESTORED = "restored", "restore proposed"
        FROZEN = "frozen", "frozen"
        OVERTAKEN = "overtaken", "overtaken"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="outside_changes")
    seen_at = models.DateTimeField()
    from_prefill = models.IntegerField()
    from_decode = models.IntegerField()
    to_prefill = models.IntegerField()
    to_decode = models.IntegerField()
    resource_version = models.CharField(max_length=64)
    answer = models.CharField(max_length=10, choices=Answer, blank=True)
    answered_at = models.DateTimeField(null=True)
    answered_by_name = models.CharField(max_length=150, blank=True)
    answer_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-seen_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("service",), condition=Q(answer=""), name="one_open_outside_change"
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.service_id}: prefill {self.from_prefill} → {self.to_prefill}, "
            f"decode {self.from_decode} → {self.to_decode} from outside"
        )

    def get_absolute_url(self) -> str:
        """Return the page of the change; read it with its service."""
        return f"/services/{self.service.slug}/outside/{self.pk}/"

    @property
    def ends(self) -> tuple[Instances, Instances]:
        """The counts before and after."""
        return (
            Instances(self.from_prefill, self.from_decode),
            Instances(self.to_prefill, self.to_decode),
        )


class Grant(Scoped, models.Model):
    """A role of one person within a scope; groups are the roles held everywhere."""

    region = models.ForeignKey(
        Region, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    cluster = models.ForeignKey(
        Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    service = models.ForeignKey(
        Service, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="grants"
    )
    role = models.CharField(max_length=40)
    reason = models.TextField()
    by_name = models.CharField(max_length=150)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    ended_by_name = models.CharField(max_length=150, blank=True)

    class Meta:
        ordering = ("user", "role", "id")
        constraints = (
            one_scope("grant"),
            models.UniqueConstraint(
                fields=("user", "role", "region", "cluster", "service"),
                condition=Q(ended_at=None),
                nulls_distinct=False,
                name="one_grant_per_role_and_scope",
            ),
        )

    def __str__(self) -> str:
        return f"{self.user_id}: {self.role} of {self.scope}"
