"""Moves that would make room or bring pairs together: proposed, approved, carried out in steps."""

from django.conf import settings
from django.db import models

from controller.core import lifecycle
from controller.core.lifecycle import ProposalState
from controller.models.steering import OPEN_PROPOSAL
from inventory.models import Service


class Rearrangement(models.Model):
    """A set of moves or of shrunk services that a person is asked for.

    ``body`` holds ``moves`` (service, role, instance, nodes from and to, GPUs) and ``shrinks``
    (service, counts from and to); ``gain`` and ``cost`` what is won by it and what it takes.
    ``key`` is equal for two that ask for the same thing.
    """

    class Kind(models.TextChoices):
        ROOM = "room", "make room"
        TOGETHER = "together", "bring pairs together"
        REPLACE = "replace", "replace what is lost"
        SHRINK = "shrink", "shrink lower priorities"

    kind = models.CharField(max_length=8, choices=Kind)
    service = models.ForeignKey(
        Service,
        null=True,
        on_delete=models.CASCADE,
        related_name="rearrangements",
        help_text="Who gains by it.",
    )
    state = models.CharField(
        max_length=12,
        default=ProposalState.PENDING,
        choices=[(s, s) for s in ProposalState],
    )
    version = models.PositiveIntegerField(default=1)
    key = models.CharField(max_length=64)
    body = models.JSONField()
    gain = models.JSONField(default=dict)
    cost = models.JSONField(default=dict)
    sentence = models.TextField()
    basis = models.JSONField(
        default=dict,
        help_text="Policy revision, mode and overrides by service, as they were approved (A03).",
    )
    inventory_version = models.BigIntegerField()
    touched = models.CharField(max_length=64, help_text="Digest of the domains it touches (S20).")
    created_at = models.DateTimeField()
    evidence_at = models.DateTimeField(help_text="When a cycle last confirmed it.")
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_reason = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True)
    closed_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("key",),
                condition=models.Q(state__in=OPEN_PROPOSAL),
                name="one_open_rearrangement_per_key",
            ),
        )
        indexes = (models.Index(fields=("state", "expires_at")),)

    def __str__(self) -> str:
        return self.sentence

    def get_absolute_url(self) -> str:
        """Return the page of the rearrangement."""
        return f"/approvals/moves/{self.pk}/"

    @property
    def is_open(self) -> bool:
        """Whether something may still become of it."""
        return self.state in lifecycle.OPEN_PROPOSALS
