"""What people and the controller agree on: proposals, actions, freezes, and their audit."""

from django.conf import settings
from django.db import models
from django.db.models.functions import Lower

from controller.core import lifecycle
from controller.core.approval import Change
from controller.core.lifecycle import ActionState, ProposalState, SuggestionState
from controller.core.types import Instances
from controller.models.loop import Decision, pair_of
from controller.models.scopes import Scoped, one_scope
from inventory.models import Cluster, Region, Service

OPEN_PROPOSAL = sorted(lifecycle.OPEN_PROPOSALS)
IN_FLIGHT = sorted(lifecycle.IN_FLIGHT)
LIVE_SUGGESTION = sorted(lifecycle.LIVE_SUGGESTIONS)


class Proposal(models.Model):
    """A change that waits for a person. ``fingerprint`` binds an approval to what was seen."""

    class Origin(models.TextChoices):
        CONTROLLER = "controller", "the controller"
        PERSON = "person", "a person"
        COUNTER = "counter", "a counter-proposal"
        ROLL_BACK = "roll_back", "a roll back"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="proposals")
    decision = models.ForeignKey(Decision, null=True, on_delete=models.SET_NULL, related_name="+")
    state = models.CharField(
        max_length=12,
        default=ProposalState.PENDING,
        choices=[(s, s) for s in ProposalState],
    )
    version = models.PositiveIntegerField(
        default=1, help_text="Grows when the controller changes the body."
    )
    from_prefill = models.IntegerField()
    from_decode = models.IntegerField()
    to_prefill = models.IntegerField()
    to_decode = models.IntegerField()
    then_prefill = models.IntegerField(
        null=True, help_text="The second half of an exchange, approved with the first."
    )
    then_decode = models.IntegerField(null=True)
    sentence = models.TextField()
    placement = models.JSONField(
        null=True, help_text="Where it would go as of the evidence; null where nothing is placed."
    )
    resource_version = models.CharField(max_length=64)
    policy_revision = models.PositiveIntegerField()
    mode = models.CharField(
        max_length=9, blank=True, help_text="The mode it rests on; empty: not kept."
    )
    overrides = models.CharField(
        max_length=16, blank=True, help_text="Digest of the overrides it rests on."
    )
    fingerprint = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    evidence_at = models.DateTimeField(help_text="When a tick last confirmed it.")
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_by_name = models.CharField(
        max_length=150, blank=True, help_text="Who decided, the command line too."
    )
    decided_reason = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True)
    closed_reason = models.TextField(blank=True)
    origin = models.CharField(max_length=10, choices=Origin, default=Origin.CONTROLLER)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="Who asked for it, and so may not approve it; null: the controller.",
    )
    requested_reason = models.TextField(blank=True)
    requesters = models.JSONField(
        default=list,
        blank=True,
        help_text="Accounts whose overrides shaped it; null among them: the command line.",
    )
    answers = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The proposal this was made instead of.",
    )
    undoes = models.ForeignKey(
        "controller.Action",
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        help_text="The action this would roll back.",
    )
    needs = models.PositiveSmallIntegerField(default=1, help_text="How many people approve it.")
    needs_why = models.CharField(max_length=300, blank=True)
    rule = models.ForeignKey(
        "controller.ApprovalRule",
        null=True,
        on_delete=models.PROTECT,
        related_name="proposals",
        help_text="The rule that let it through; null: people did.",
    )
    is_break_glass = models.BooleanField(
        default=False, help_text="Whether somebody let it through without waiting for others."
    )
    predicted = models.JSONField(
        null=True, help_text="What the simulator expects of it; null: not predicted."
    )

    class Meta:
        ordering = ("-created_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("service",),
                condition=models.Q(state__in=OPEN_PROPOSAL),
                name="one_open_proposal_per_service",
            ),
        )
        indexes = (models.Index(fields=("state", "expires_at")),)
        permissions = (
            ("approve_proposal", "Can approve and reject proposals"),
            ("propose_change", "Can propose a change by hand"),
            ("break_glass", "Can let a proposal through without waiting for others"),
        )

    def __str__(self) -> str:
        return (
            f"{self.service_id}: prefill {self.from_prefill} → {self.to_prefill}, "
            f"decode {self.from_decode} → {self.to_decode}"
        )

    def get_absolute_url(self) -> str:
        """Return the page of the proposal."""
        return f"/approvals/{self.pk}/"

    @property
    def decider(self) -> str:
        """Who decided last: a person by name, or a rule; empty where nobody did."""
        if self.rule is not None:
            return f"rule {self.rule}"
        return self.decided_by_name or (self.decided_by.get_username() if self.decided_by else "")

    @property
    def asked_by(self) -> frozenset[int | None]:
        """Accounts of whoever asked for it, by an override too; ``None``: the command line."""
        by_hand = self.origin != self.Origin.CONTROLLER or self.requested_by_id is not None
        return frozenset(self.requesters) | ({self.requested_by_id} if by_hand else frozenset())

    def change(self) -> Change:
        """Return what people approve, in GPUs by what an instance takes now."""
        per = {spec.role: spec.gpus_per_instance for spec in self.service.roles.all()}
        return Change(
            before=Instances(self.from_prefill, self.from_decode),
            after=Instances(self.to_prefill, self.to_decode),
            gpus_per_instance=Instances(per.get("prefill", 0), per.get("decode", 0)),
            then=self.then,
        )

    @property
    def then(self) -> Instances | None:
        """What the second half of an exchange reaches; ``None`` without one."""
        return pair_of(self.then_prefill, self.then_decode)


class PolicySuggestion(models.Model):
    """Another ratio and target that the engine suggests; adopting it makes a policy revision."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="suggestions")
    state = models.CharField(
        max_length=12,
        default=SuggestionState.FORMING,
        choices=[(s, s) for s in SuggestionState],
    )
    version = models.PositiveIntegerField(default=1, help_text="Grows when the figures move.")
    revision = models.PositiveIntegerField(help_text="The policy revision it was made from.")
    driver = models.CharField(max_length=40)
    from_pd_ratio = models.FloatField()
    from_target = models.FloatField()
    pd_ratio = models.FloatField()
    target = models.FloatField()
    sentence = models.TextField()
    evidence = models.JSONField(help_text="Mix, requests a second, needs: what it was made from.")
    first_seen_at = models.DateTimeField(help_text="Since when it is wanted without a break.")
    confirmed_at = models.DateTimeField(help_text="When a tick last wanted it.")
    opened_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    decided_at = models.DateTimeField(null=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    decided_reason = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True)
    closed_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-first_seen_at", "-id")
        constraints = (
            models.UniqueConstraint(
                fields=("service",),
                condition=models.Q(state__in=LIVE_SUGGESTION),
                name="one_live_suggestion_per_service",
            ),
        )
        indexes = (models.Index(fields=("state", "decided_at")),)

    def __str__(self) -> str:
        return (
            f"{self.service_id}: ratio {self.from_pd_ratio} → {self.pd_ratio}, "
            f"target {self.from_target} → {self.target}"
        )

    def get_absolute_url(self) -> str:
        """Return the page of the suggestion."""
        return f"/approvals/suggestions/{self.pk}/"


class Action(models.Model):
    """One change sent to a cluster: recorded before it is sent, read back before it counts."""

    id = models.UUIDField(primary_key=True)
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="actions")
    decision = models.ForeignKey(
        Decision, null=True, on_delete=models.SET_NULL, related_name="actions"
    )
    proposal = models.OneToOneField(
        Proposal, null=True, on_delete=models.PROTECT, related_name="action"
    )
    actor = models.CharField(max_length=160, help_text="The person, or the policy and revision.")
    epoch = models.BigIntegerField()
    state = models.CharField(
        max_length=12,
        default=ActionState.RECORDED,
        choices=[(s, s) for s in ActionState],
    )
    reason = models.TextField()
    from_prefill = models.IntegerField()
    from_decode = models.IntegerField()
    to_prefill = models.IntegerField()
    to_decode = models.IntegerField()
    resource_version = models.CharField(max_length=64)
    placement = models.JSONField(
        null=True, help_text="Where its instances go; null where nothing is placed."
    )
    is_bound = models.BooleanField(
        default=False, help_text="Whether the GPUs of its placement are promised to it."
    )
    rearrangement = models.ForeignKey(
        "controller.Rearrangement", null=True, on_delete=models.PROTECT, related_name="actions"
    )
    in_step = models.JSONField(
        null=True, help_text="Who of the started waits to be registered; null: nobody."
    )
    soft = models.JSONField(
        null=True, help_text="Who left service discovery first, and how far that is; null: nobody."
    )
    gone_at_once = models.TextField(
        blank=True, help_text="Who could not be taken out of service discovery first, and why."
    )
    is_out = models.BooleanField(
        default=False, help_text="Whether anybody may still be out of service discovery for it."
    )
    overrides = models.CharField(
        max_length=64, blank=True, help_text="Digest of the overrides it was decided under."
    )
    attempts = models.PositiveIntegerField(default=0)
    partly_at = models.DateTimeField(
        null=True, help_text="When one of its two writes was first seen to be done alone."
    )
    recorded_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True)
    applied_at = models.DateTimeField(null=True)
    ready_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-recorded_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("service",),
                condition=models.Q(state__in=IN_FLIGHT),
                name="one_action_in_flight_per_service",
            ),
        )
        indexes = (
            models.Index(fields=("state", "recorded_at")),
            models.Index(fields=("service", "-recorded_at")),
            models.Index(
                fields=("service",),
                condition=models.Q(is_out=True),
                name="actions_somebody_is_out_for",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.service_id}: prefill {self.from_prefill} → {self.to_prefill}, "
            f"decode {self.from_decode} → {self.to_decode} ({self.state})"
        )


class Freeze(Scoped, models.Model):
    """A person's stop of automatic change; without a scope it holds for the whole fleet.

    It has no end of its own: only a person ends it (S16).
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
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.PROTECT, related_name="+"
    )
    by_name = models.CharField(max_length=150)
    reason = models.TextField()
    since = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    ended_by_name = models.CharField(max_length=150, blank=True)
    end_reason = models.TextField(blank=True)

    class Meta:
        ordering = ("-since",)
        constraints = (
            one_scope("freeze"),
            models.UniqueConstraint(
                fields=("region", "cluster", "service"),
                condition=models.Q(ended_at__isnull=True),
                nulls_distinct=False,
                name="one_freeze_in_force_per_scope",
            ),
        )
        permissions = (
            ("freeze", "Can freeze a service, a cluster, a region or the fleet"),
            ("resume", "Can resume what is frozen"),
        )

    def __str__(self) -> str:
        return f"{self.scope} frozen by {self.by_name}"


class AuditEvent(models.Model):
    """Who did what to what, and why. Append-only: a trigger refuses change and removal."""

    at = models.DateTimeField()
    actor = models.CharField(max_length=160)
    verb = models.CharField(max_length=40)
    object_type = models.CharField(max_length=40)
    object_id = models.CharField(max_length=64)
    service = models.CharField(max_length=63, blank=True)
    before = models.JSONField(default=dict)
    after = models.JSONField(default=dict)
    reason = models.TextField(blank=True)
    request_id = models.CharField(max_length=36, blank=True)
    address = models.CharField(
        max_length=45, blank=True, help_text="Where the request came from; empty without one."
    )

    class Meta:
        ordering = ("-at", "-id")
        indexes = (
            models.Index(fields=("object_type", "object_id")),
            models.Index(fields=("at",), name="audit_at"),
            models.Index(fields=("service", "-id"), name="audit_service"),
        )

    def __str__(self) -> str:
        return f"{self.actor} {self.verb} {self.object_type} {self.object_id}"


class Preference(models.Model):
    """How one person likes the pages."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="+",
    )
    theme = models.CharField(
        max_length=6,
        default="system",
        choices=[("system", "as the system"), ("light", "light"), ("dark", "dark")],
    )
    time_zone = models.CharField(max_length=63, default="UTC")

    def __str__(self) -> str:
        return f"{self.user_id}"


class SavedView(models.Model):
    """Filters of the table of nodes that one person keeps under a name."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="fleet_views"
    )
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=2000, help_text="As it stands in the address.")

    class Meta:
        ordering = (Lower("name"),)
        constraints = (
            models.UniqueConstraint("user", Lower("name"), name="saved_view_name_unique"),
        )

    def __str__(self) -> str:
        return self.name
