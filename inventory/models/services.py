"""What is served, with which goals, and how it is sized: configuration, never measurement."""

from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from inventory.models.base import Record
from inventory.models.hardware import HardwareType
from inventory.models.places import Cluster


class Nearness(models.TextChoices):
    """The levels at which instances may share a domain of the network."""

    S1 = "s1", "S1 switch"
    S2 = "s2", "S2 switch"
    CLUSTER = "cluster", "cluster"


SELECTION: Final = (
    'Give each label a value or a list of values: {"zone": "a", "rack": ["b", "c"]}.'
)
TAINTS: Final = 'Give taints as a list of texts: ["dedicated=llm"].'


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one for one in value)


def _is_selection(value: object) -> bool:
    return isinstance(value, dict) and all(
        name and (isinstance(wanted, str) or (_is_texts(wanted) and bool(wanted)))
        for name, wanted in value.items()
    )


class Service(Record):
    """A model served by prefill and decode instances in one cluster."""

    class Mode(models.TextChoices):
        OBSERVE = "observe", "observe: record what would be done"
        APPROVE = "approve", "approve: a person confirms each change"
        AUTOMATIC = "automatic", "automatic: changes are carried out"

    slug = models.SlugField(max_length=63, unique=True)
    name = models.CharField(max_length=100)
    model_name = models.CharField(max_length=120, verbose_name="model")
    purpose = models.CharField(max_length=200, blank=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="services")
    mode = models.CharField(max_length=16, choices=Mode, default=Mode.OBSERVE)
    priority = models.SmallIntegerField(
        default=0, help_text="Higher is served first when capacity is short."
    )
    max_gpus = models.PositiveIntegerField(
        validators=[MinValueValidator(1)],
        verbose_name="most GPUs",
        help_text="No decision takes the service above this, starting and draining included.",
    )
    affinity_level = models.CharField(
        max_length=7,
        choices=Nearness,
        default=Nearness.S2,
        verbose_name="affinity",
        help_text="How near to each other all instances of a deployment group are.",
    )
    affinity_required = models.BooleanField(
        default=False,
        verbose_name="affinity is required",
        help_text="Required: rather not placed than farther apart. Else preferred.",
    )
    spread_level = models.CharField(
        max_length=7,
        choices=Nearness,
        blank=True,
        verbose_name="spread over",
        help_text="The failure domains its instances are spread over; empty: none. Not nearer"
        " than the affinity.",
    )
    spread_domains = models.PositiveSmallIntegerField(
        default=2,
        validators=[MinValueValidator(2), MaxValueValidator(64)],
        verbose_name="spread over at least",
        help_text="No such domain gets more than its share of each role's instances.",
    )

    class Meta:
        ordering = ("slug",)

    def __str__(self) -> str:
        return self.slug

    def get_absolute_url(self) -> str:
        """Return the page of the service."""
        return f"/services/{self.slug}/"

    def clean(self) -> None:
        """Refuse to spread what has to stay together."""
        levels = Nearness.values
        if self.spread_level not in levels or self.affinity_level not in levels:
            return
        if levels.index(self.spread_level) < levels.index(self.affinity_level):
            far, near = Nearness(self.affinity_level).label, Nearness(self.spread_level).label
            said = f"A group shares one {far}: it can't be spread over several {near} domains."
            raise ValidationError({"spread_level": f"{said} Spread over {far} or farther."})


class RoleSpec(Record):
    """One role of a service: its hardware, the GPUs of one instance, floor and ceiling."""

    class RoleName(models.TextChoices):
        PREFILL = "prefill", "prefill"
        DECODE = "decode", "decode"

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="roles")
    role = models.CharField(max_length=8, choices=RoleName)
    hardware = models.ForeignKey(
        HardwareType,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="hardware type",
    )
    gpus_per_instance = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(1024)],
        verbose_name="GPUs per instance",
    )
    nodes_per_instance = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(72)],
        verbose_name="nodes per instance",
        help_text="Above 1 an instance takes this many whole nodes under one S1.",
    )
    select = models.JSONField(
        default=dict,
        blank=True,
        verbose_name="node labels",
        help_text='Labels a node must have, like {"zone": "a"} or {"zone": ["a", "b"]}.',
    )
    tolerate = models.JSONField(
        default=list,
        blank=True,
        verbose_name="tolerated taints",
        help_text='Taints a node may have, like ["dedicated=llm"].',
    )
    parts_level = models.CharField(
        max_length=7,
        choices=Nearness,
        default=Nearness.S1,
        verbose_name="parts share one",
        help_text="How near to each other the pods of one instance are, if it consists of parts.",
    )
    minimum = models.PositiveIntegerField(default=1)
    maximum = models.PositiveIntegerField(default=10)
    profile = models.CharField(
        max_length=80,
        blank=True,
        verbose_name="engine profile",
        help_text="Built in or kept here. With one for each role, what the load needs is reckoned"
        " from the engines' speeds; without, from the driver and its target alone.",
    )

    class Meta:
        ordering = ("service", "-role")
        constraints = (
            models.UniqueConstraint(fields=("service", "role"), name="role_once_per_service"),
            models.CheckConstraint(
                condition=models.Q(minimum__lte=models.F("maximum")),
                name="role_min_at_most_max",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role}"

    def clean(self) -> None:
        """Refuse labels and taints that no node could be held against, a floor above the ceiling.

        What is empty in a form is no label and no taint.
        """
        self.select, self.tolerate = self.select or {}, self.tolerate or []
        problems = {
            "select": "" if _is_selection(self.select) else SELECTION,
            "tolerate": "" if _is_texts(self.tolerate) else TAINTS,
        }
        if any(problems.values()):
            raise ValidationError({name: said for name, said in problems.items() if said})
        # A field that did not validate is None here, whatever its declaration says.
        low: int | None = self.minimum
        high: int | None = self.maximum
        if low is not None and high is not None and low > high:
            raise ValidationError(
                {"minimum": f"The minimum {self.minimum} is above the maximum {self.maximum}."}
            )


class RoleHardware(models.Model):
    """A further hardware type a role may run on where the one before it is short (§7)."""

    role = models.ForeignKey(RoleSpec, on_delete=models.CASCADE, related_name="alternatives")
    rank = models.PositiveSmallIntegerField(
        default=1, validators=[MinValueValidator(1)], help_text="1 is tried first."
    )
    hardware = models.ForeignKey(
        HardwareType,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="hardware type",
    )
    gpus_per_instance = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(1024)],
        verbose_name="GPUs per instance",
    )
    throughput = models.FloatField(
        default=1.0,
        validators=[MinValueValidator(0.05), MaxValueValidator(20)],
        help_text="Work of one instance there over that of one on the role's own hardware.",
    )

    class Meta:
        ordering = ("role", "rank")
        verbose_name = "alternative hardware"
        verbose_name_plural = "alternative hardware"
        constraints = (
            models.UniqueConstraint(fields=("role", "hardware"), name="role_hardware_once"),
            models.UniqueConstraint(fields=("role", "rank"), name="role_hardware_rank_once"),
            models.CheckConstraint(
                condition=models.Q(throughput__gt=0), name="role_hardware_throughput_positive"
            ),
        )

    def __str__(self) -> str:
        return f"{self.hardware} × {self.gpus_per_instance}"

    def clean(self) -> None:
        """Refuse the role's own hardware, which is tried before any other."""
        if self.role.hardware_id == self.hardware_id:
            raise ValidationError({"hardware": "It is the role's own: choose another."})


class RolePart(models.Model):
    """A part of a role of a mixture of experts: ``pods`` of each make one instance (§8)."""

    role = models.ForeignKey(RoleSpec, on_delete=models.CASCADE, related_name="parts")
    name = models.SlugField(max_length=40, help_text="Like attention or ffn.")
    pods = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(1024)],
        help_text="How many of it one instance has.",
    )
    hardware = models.ForeignKey(
        HardwareType,
        on_delete=models.PROTECT,
        related_name="+",
        verbose_name="hardware type",
    )
    gpus_per_pod = models.PositiveSmallIntegerField(
        validators=[MinValueValidator(1), MaxValueValidator(1024)],
        verbose_name="GPUs per pod",
    )

    class Meta:
        ordering = ("role", "pk")
        verbose_name = "part"
        constraints = (
            models.UniqueConstraint(fields=("role", "name"), name="role_part_once"),
            models.CheckConstraint(
                condition=models.Q(pods__gte=1, gpus_per_pod__gte=1), name="role_part_not_empty"
            ),
        )

    def __str__(self) -> str:
        return f"{self.pods} × {self.name}"


def parts_problem(gpus: int | None, nodes: int | None, parts: Sequence[RolePart]) -> str:
    """Return how GPUs and nodes of an instance contradict its parts; nothing without parts.

    Figures that could not be read are ``None`` and contradict nothing.
    """
    taken = sum(part.pods * part.gpus_per_pod for part in parts)
    if parts and gpus not in {None, taken}:
        return f"The parts of one instance take {taken} GPUs, not {gpus}."
    if parts and nodes not in {None, 1}:
        return "The pods of parts are on single nodes: 1 node per instance."
    return ""


class Slo(Record):
    """Latency goals of a service at the 95th percentile."""

    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="slo")
    ttft_s = models.FloatField(
        verbose_name="TTFT p95 [s]",
        validators=[MinValueValidator(0.001), MaxValueValidator(3600)],
        help_text="Time to first token, from arrival to the first token out.",
    )
    tbt_s = models.FloatField(
        verbose_name="TBT p95 [s]",
        validators=[MinValueValidator(0.001), MaxValueValidator(60)],
        help_text="Time between tokens, also called ITL or TPOT.",
    )
    goal_frac = models.FloatField(
        default=0.99,
        verbose_name="share of requests",
        validators=[MinValueValidator(0.5), MaxValueValidator(1)],
    )

    class Meta:
        verbose_name = "SLO"

    def __str__(self) -> str:
        return f"TTFT {self.ttft_s:g} s, TBT {self.tbt_s * 1000:g} ms"


class Policy(Record):
    """How a service is sized now; each saved change is a new ``revision`` (HeteroScale §4, §5)."""

    class Adapt(models.TextChoices):
        OFF = "off", "off: target and ratio stay as entered"
        PROPOSE = "propose", "propose: shown, to be adopted by a person"
        AUTOMATIC = "automatic", "automatic: used in place of those entered"

    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="policy")
    name = models.CharField(max_length=40, default="proportional")
    driver = models.CharField(
        max_length=40,
        default="decode_tps",
        help_text="The signal that sizes both roles.",
    )
    target = models.FloatField(help_text="Driver total per instance of the driver's role.")
    pd_ratio = models.FloatField(
        verbose_name="P/D ratio", help_text="Prefill instances per decode instance."
    )
    ratio_tolerance = models.FloatField(
        default=0.25, help_text="Relative: 0.25 allows 0.75 to 1.25 times the ratio."
    )
    theta_out = models.FloatField(default=0.10, verbose_name="θ out")
    theta_in = models.FloatField(default=0.10, verbose_name="θ in")
    cooldown_out_s = models.FloatField(default=15, verbose_name="cooldown after scale-out [s]")
    cooldown_in_s = models.FloatField(default=300, verbose_name="cooldown after scale-in [s]")
    stabilisation_s = models.FloatField(default=300, verbose_name="scale-in stabilisation [s]")
    step_abs = models.PositiveIntegerField(
        default=4,
        verbose_name="largest step [instances]",
        help_text="One change moves a role by this or by the share, whichever is more.",
    )
    step_frac = models.FloatField(default=0.25, verbose_name="largest step in [share]")
    step_out_frac = models.FloatField(
        default=1.0,
        verbose_name="largest step out [share]",
        help_text="1 lets one change double a role.",
    )
    damp_frac = models.FloatField(
        default=1.0,
        verbose_name="damping [share]",
        help_text="Share of a wanted change that is made at once; 1 makes all of it.",
    )
    coverage_in_frac = models.FloatField(
        default=0.90, verbose_name="coverage needed to scale in [share]"
    )
    proposal_ttl_s = models.FloatField(default=600, verbose_name="proposal expires after [s]")
    proposal_ttl_in_s = models.FloatField(
        default=1800,
        verbose_name="proposal to scale in expires after [s]",
        help_text="For changes that only take instances away: they can wait longer.",
    )
    force_driver = models.BooleanField(
        default=False,
        verbose_name="take the driver as it is",
        help_text="Lets a signal drive that does not grow in proportion to the load.",
    )
    latency_severe = models.FloatField(
        default=1.5,
        verbose_name="severe latency [× goal]",
        help_text="Above this the latency policy asks for a large step out.",
    )
    latency_moderate = models.FloatField(
        default=1.1,
        verbose_name="moderate latency [× goal]",
        help_text="Above this the latency policy asks for a small step out.",
    )
    latency_idle = models.FloatField(
        default=0.5,
        verbose_name="idle latency [× goal]",
        help_text="Below this the latency policy, where it is the only one, asks for less.",
    )
    schedule = models.JSONField(
        default=list,
        blank=True,
        help_text="Windows of time and the counts they ask for, as a JSON list of objects: name,"
        " begin and end (HH:MM), prefill, decode, kind (floor or target), days (0 is Monday),"
        " dates and except_dates (YYYY-MM-DD).",
    )
    time_zone = models.CharField(
        max_length=64,
        default="UTC",
        help_text="In which the schedule's times are meant, like Europe/Berlin.",
    )
    adapt = models.CharField(
        max_length=16,
        choices=Adapt,
        default=Adapt.AUTOMATIC,
        verbose_name="following the mix",
        help_text="What becomes of the target and ratio reckoned for the present requests; nothing"
        " is reckoned without engine profiles.",
    )
    ratio_band = models.FloatField(
        default=8.0,
        verbose_name="farthest a ratio may go [×]",
        help_text="A reckoned ratio stays between the P/D ratio divided and multiplied by this.",
    )
    hold_s = models.FloatField(
        default=3600,
        verbose_name="provide for the peak of the last [s]",
        help_text="0 provides for the load of now.",
    )
    lead_s = models.FloatField(
        null=True,
        blank=True,
        verbose_name="start-up time [s]",
        help_text="How long an instance takes from order to service; empty: measured.",
    )
    margin_frac = models.FloatField(
        null=True,
        blank=True,
        verbose_name="margin [share]",
        help_text="What is added for growth during a start; empty: measured from how the load"
        " outran its peaks.",
    )
    drain_s = models.FloatField(
        default=120,
        verbose_name="work off a backlog within [s]",
        help_text="Waiting requests count as load to be served in this time; 0 leaves them out.",
    )
    slo_margin_frac = models.FloatField(
        default=0.10,
        verbose_name="room below the goals [share]",
        help_text="Instances are sized, and a scale-in is judged, for goals tighter by this.",
    )
    revision = models.PositiveIntegerField(default=1, editable=False)

    class Meta:
        verbose_name_plural = "policies"

    def __str__(self) -> str:
        return f"{self.name} on {self.driver}, revision {self.revision}"


class PolicyRevision(models.Model):
    """A policy as it was: written once, never changed."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="revisions")
    revision = models.PositiveIntegerField()
    body = models.JSONField()
    at = models.DateTimeField(auto_now_add=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+"
    )

    class Meta:
        ordering = ("service", "-revision")
        constraints = (
            models.UniqueConstraint(fields=("service", "revision"), name="policy_revision_once"),
        )

    def __str__(self) -> str:
        return f"{self.service_id} revision {self.revision}"
