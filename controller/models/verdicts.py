"""Who said what about a proposal: approvals one by one, comments, and the rules that approve."""

from django.conf import settings
from django.db import models
from django.db.models import Q

from controller.core.approval_rules import Direction, Rule, Within
from controller.models.scopes import Scoped, one_scope
from controller.models.steering import Proposal
from inventory.models import Cluster, Region, Service


class ApprovalRule(Scoped, models.Model):
    """One revision of a rule that lets proposals through by itself.

    A proposal passes if each limit that is given holds: its ``direction``, at most ``most_gpus``
    changed, at most ``most_frac`` of the service's instances of a role, and the time of day
    within ``from_time`` to ``until_time`` of ``days`` (Monday is 0) in ``time_zone``.
    """

    region = models.ForeignKey(
        Region, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    cluster = models.ForeignKey(
        Cluster, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )
    service = models.ForeignKey(
        Service, null=True, blank=True, on_delete=models.CASCADE, related_name="+"
    )

    class Direction(models.TextChoices):
        OUT = "out", "scale-out"
        IN = "in", "scale-in"
        ANY = "any", "both directions"

    class Within(models.TextChoices):
        ANYWHERE = "", "any domain"
        S1 = "s1", "one S1 domain"
        S2 = "s2", "one S2 domain"

    name = models.SlugField(max_length=63)
    revision = models.PositiveIntegerField(default=1)
    is_enabled = models.BooleanField(default=True)
    direction = models.CharField(max_length=3, choices=Direction, default=Direction.OUT)
    most_gpus = models.PositiveIntegerField(null=True, blank=True)
    most_frac = models.FloatField(null=True, blank=True)
    days = models.JSONField(default=list, blank=True)
    from_time = models.TimeField(null=True, blank=True)
    until_time = models.TimeField(null=True, blank=True)
    time_zone = models.CharField(max_length=63, default="UTC")
    within = models.CharField(max_length=2, choices=Within, default=Within.ANYWHERE, blank=True)
    reason = models.TextField()
    by_name = models.CharField(max_length=150)
    made_at = models.DateTimeField()
    superseded_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("name", "-revision")
        constraints = (
            one_scope("approvalrule"),
            models.UniqueConstraint(fields=("name", "revision"), name="rule_revision_once"),
            models.UniqueConstraint(
                fields=("name",), condition=Q(superseded_at=None), name="one_rule_in_force"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name}, revision {self.revision}"

    @property
    def limits(self) -> Rule:
        """What proposals are held against."""
        return Rule(
            direction=Direction(self.direction),
            most_gpus=self.most_gpus,
            most_frac=self.most_frac,
            days=tuple(self.days),
            begin=self.from_time,
            end=self.until_time,
            time_zone=self.time_zone,
            within=Within(self.within),
        )


class Verdict(models.Model):
    """One person's approval of exactly one body of a proposal; of another body it says nothing."""

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="verdicts")
    version = models.PositiveIntegerField()
    fingerprint = models.CharField(max_length=64)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Null: the command line of the host, which is one person whoever types.",
    )
    by_name = models.CharField(max_length=150)
    at = models.DateTimeField()
    reason = models.TextField(blank=True)

    class Meta:
        ordering = ("at", "id")
        constraints = (
            models.UniqueConstraint(
                fields=("proposal", "version", "user"),
                nulls_distinct=False,
                name="one_verdict_per_person_and_body",
            ),
        )

    def __str__(self) -> str:
        return f"{self.by_name} approved {self.proposal_id}, version {self.version}"


class ProposalComment(models.Model):
    """What a person said about a proposal without deciding."""

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="comments")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    by_name = models.CharField(max_length=150)
    at = models.DateTimeField()
    text = models.TextField()

    class Meta:
        ordering = ("at", "id")

    def __str__(self) -> str:
        return f"{self.by_name}: {self.text}"
