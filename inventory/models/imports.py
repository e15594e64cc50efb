"""Imports from their files to what they changed, and the versions of the inventory."""

import uuid

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q


class InventoryVersion(models.Model):
    """One change of what exists; decisions name the newest they saw."""

    class Cause(models.TextChoices):
        IMPORT = "import", "import"
        REVERT = "revert", "revert"
        EDIT = "edit", "edit"
        DISCOVERY = "discovery", "discovery"

    seq = models.BigAutoField(primary_key=True)
    at = models.DateTimeField()
    cause = models.CharField(max_length=10, choices=Cause)
    by = models.CharField(max_length=160)
    run = models.ForeignKey(
        "ImportRun", null=True, on_delete=models.SET_NULL, related_name="versions"
    )
    counts = models.JSONField(default=dict)

    class Meta:
        ordering = ("-seq",)

    def __str__(self) -> str:
        return f"inventory version {self.seq}"


class ImportRun(models.Model):
    """One import; its id is the key that makes the same request one import only."""

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        PLANNING = "planning", "reading"
        PLANNED = "planned", "to be reviewed"
        ASKED = "asked", "about to be applied"
        APPLYING = "applying", "being applied"
        APPLIED = "applied", "applied"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"
        REVERTED = "reverted", "reverted"

    RUNNING = (State.PLANNING, State.APPLYING)
    ENDED = (State.APPLIED, State.FAILED, State.CANCELLED, State.REVERTED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField()
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_name = models.CharField(max_length=160)
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED)
    format = models.CharField(max_length=100, default="auto")
    options = models.JSONField(default=dict)
    counts = models.JSONField(default=dict, help_text="Objects by operation.")
    summary = models.JSONField(default=list)
    warnings = models.JSONField(default=list)
    notes = models.JSONField(default=list)
    impact = models.JSONField(default=list, help_text="Sentences about services it touches.")
    errors = models.JSONField(default=list)
    further_errors = models.PositiveIntegerField(default=0)
    shrink = models.JSONField(default=dict, help_text="Clusters that would lose many nodes.")
    digest = models.CharField(max_length=64, blank=True)
    base_version = models.BigIntegerField(default=0)
    clusters = ArrayField(
        models.CharField(max_length=63), default=list, help_text="Those that its files name."
    )
    done = models.PositiveIntegerField(default=0)
    total = models.PositiveIntegerField(default=0)
    step = models.CharField(max_length=60, blank=True)
    attempts = models.PositiveIntegerField(
        default=0, help_text="Grows with every claim: the token of whoever has it."
    )
    lost = models.PositiveSmallIntegerField(default=0, help_text="How often its worker died.")
    heartbeat_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    planned_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)
    applied_name = models.CharField(max_length=160, blank=True)
    reason = models.CharField(max_length=1000, blank=True)
    inventory_version = models.BigIntegerField(null=True)
    reverts = models.ForeignKey(
        "self", null=True, on_delete=models.SET_NULL, related_name="reverted_by"
    )
    error = models.CharField(max_length=1000, blank=True)

    class Meta:
        ordering = ("-created_at",)
        constraints = (
            # Of all that change the inventory one is at work at a time.
            models.UniqueConstraint(
                fields=("state",), condition=Q(state="applying"), name="one_import_applies"
            ),
        )

    def __str__(self) -> str:
        return f"import {self.pk}"

    def get_absolute_url(self) -> str:
        """Return the page of the import."""
        return f"/imports/{self.pk}/"


class ImportFile(models.Model):
    """One file of an import, kept so that its plan can be made again."""

    run = models.ForeignKey(ImportRun, on_delete=models.CASCADE, related_name="files")
    name = models.CharField(max_length=200)
    size = models.PositiveBigIntegerField()
    sha256 = models.CharField(max_length=64)
    body = models.BinaryField(help_text="Packed with zlib.")

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.name


class ImportChange(models.Model):
    """What an import does to one thing: its fields before and after."""

    class Operation(models.TextChoices):
        CREATE = "create", "create"
        CHANGE = "change", "change"
        UNCHANGED = "unchanged", "unchanged"
        CONFLICT = "conflict", "conflict"
        MISSING = "missing", "missing"
        REMOVE = "remove", "remove"

    run = models.ForeignKey(ImportRun, on_delete=models.CASCADE, related_name="changes")
    seq = models.PositiveIntegerField()
    operation = models.CharField(max_length=10, choices=Operation)
    kind = models.CharField(max_length=20)
    name = models.CharField(max_length=600, help_text="The key as people read it.")
    cluster = models.CharField(max_length=63, blank=True)
    row = models.UUIDField(null=True, help_text="The row it became or was.")
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    held = models.JSONField(default=dict, help_text="What a person set, and what the file says.")
    owners = models.JSONField(default=dict, help_text="Which source set a field before.")
    at = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("run", "seq")
        constraints = (models.UniqueConstraint(fields=("run", "seq"), name="import_change_once"),)
        indexes = (models.Index(fields=("run", "operation", "kind", "seq")),)

    def __str__(self) -> str:
        return f"{self.operation} {self.kind} {self.name}"
