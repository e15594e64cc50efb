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
