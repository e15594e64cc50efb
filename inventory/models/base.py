"""What every inventory table carries."""

import uuid

from django.core.validators import RegexValidator
from django.db import models

NAME = RegexValidator(
    r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?\Z",
    "Use at most 253 letters, digits, '.', '_' and '-', with a letter or digit at both ends.",
)


class Record(models.Model):
    """A row with a stable identity, its times, and a version for optimistic locking."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    version = models.PositiveIntegerField(default=1, editable=False)
    labels = models.JSONField(default=dict, blank=True)

    class Meta:
        abstract = True


class Sourced(Record):
    """A row that people or imports may bring; what a person set, no import changes."""

    source = models.CharField(
        max_length=20,
        default="manual",
        editable=False,
        help_text="The format it was read from last, or manual.",
    )
    source_ref = models.CharField(
        max_length=300, blank=True, editable=False, help_text="Where the source has it."
    )
    observed_at = models.DateTimeField(null=True, editable=False)
    missing_since = models.DateTimeField(
        null=True, editable=False, help_text="When its source no longer listed it."
    )
    managed_fields = models.JSONField(
        default=dict,
        blank=True,
        editable=False,
        help_text="Fields that a person set, which imports leave until they are released.",
    )

    class Meta:
        abstract = True


class Lifecycle(models.TextChoices):
    """What people plan with a machine."""

    PLANNED = "planned", "planned"
    ACTIVE = "active", "active"
    DECOMMISSIONING = "decommissioning", "decommissioning"
    RETIRED = "retired", "retired"


class AdminState(models.TextChoices):
    """Whether people or the controller let it be used."""

    IN_SERVICE = "in_service", "in service"
    CORDONED = "cordoned", "cordoned"
    DRAINING = "draining", "draining"
    MAINTENANCE = "maintenance", "maintenance"


class Health(models.TextChoices):
    """What is observed of it."""

    OK = "ok", "ok"
    DEGRADED = "degraded", "degraded"
    FAILED = "failed", "failed"
    UNKNOWN = "unknown", "unknown"
