"""What each tick leaves behind: the lease, the tick, samples, decisions, the latest state."""

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from controller.core.reasons import Code
from controller.core.types import (
    Gate,
    Instances,
    Move,
    Quality,
    RoleState,
    ServiceState,
    Signal,
    Signals,
)
from inventory.models import Cluster, HardwareType, Service


def choices(kind: type[Move] | type[Gate] | type[Code]) -> list[tuple[str, str]]:
    """Return an enumeration of the core as Django choices."""
    return [(member.value, member.value) for member in kind]


def pair_of(prefill: int | None, decode: int | None) -> Instances | None:
    """Return two columns as counts, ``None`` where either is NULL."""
    return None if prefill is None or decode is None else Instances(prefill, decode)


class ControllerLease(models.Model):
    """Who may act: a leased row with a fencing epoch, checked by every write of a tick."""

    name = models.CharField(max_length=40, primary_key=True)
    holder = models.CharField(max_length=120)
    epoch = models.BigIntegerField()
    expires_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.name}: {self.holder}, epoch {self.epoch}"


class Tick(models.Model):
    """One look at the fleet. ``slot`` is the time divided by the period: each happens once."""

    slot = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    epoch = models.BigIntegerField()
    finished_at = models.DateTimeField(null=True)
    services = models.PositiveIntegerField(default=0)
    fresh = models.PositiveIntegerField(default=0, help_text="Services whose driver was ok.")
    stages_ms = models.JSONField(default=dict)
    failures = models.JSONField(default=dict)

    class Meta:
        ordering = ("-slot",)

    def __str__(self) -> str:
        return f"tick {self.slot}"


class Sample(models.Model):
    """What one service reported at one time: counts per role and every signal, absent as NULL."""

    pk = models.CompositePrimaryKey("service_id", "at")
    service = models.ForeignKey(
        Service, on_delete=models.CASCADE, related_name="samples", db_constraint=False
    )
    at = models.DateTimeField()
    prefill_desired = models.IntegerField()
    prefill_ready = models.IntegerField()
    prefill_starting = models.IntegerField()
    prefill_draining = models.IntegerField()
    prefill_held = models.IntegerField(default=0)
    decode_desired = models.IntegerField()
    decode_ready = models.IntegerField()
    decode_starting = models.IntegerField()
    decode_draining = models.IntegerField()
    decode_held = models.IntegerField(default=0)
    prefill_reporting = models.IntegerField()
    prefill_expected = models.IntegerField()
    decode_reporting = models.IntegerField()
    decode_expected = models.IntegerField()
    decode_tps = models.FloatField(null=True)
    prefill_tps = models.FloatField(null=True)
    prefill_tps_uncached = models.FloatField(null=True)
    ttft_s = models.FloatField(null=True)
    tbt_s = models.FloatField(null=True)
    prefill_util = models.FloatField(null=True)
    decode_util = models.FloatField(null=True)
    prefill_sm = models.FloatField(null=True)
    decode_sm = models.FloatField(null=True)
    request_rps = models.FloatField(null=True)
    prefill_waiting = models.FloatField(null=True)
    decode_waiting = models.FloatField(null=True)
    ttft_p50_s = models.FloatField(null=True)
    ttft_p99_s = models.FloatField(null=True)
    tbt_p50_s = models.FloatField(null=True)
    tbt_p99_s = models.FloatField(null=True)

    class Meta:
        indexes = (BrinIndex(fields=("at",), name="sample_at_brin"),)

    def __str__(self) -> str:
        return f"{self.service_id} at {self.at}"


class PoolSample(models.Model):
    """GPUs of one hardware type in one cluster at one time; the seven parts add up to total."""

    PARTS = (
        "busy",
        "held_idle",
        "free",
        "reserved",
        "maintenance",
        "unhealthy",
        "unknown",
    )

    pk = models.CompositePrimaryKey("cluster_id", "hardware_id", "at")
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="+")
    hardware = models.ForeignKey(HardwareType, on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField()
    total = models.IntegerField()
    busy = models.IntegerField()
    held_idle = models.IntegerField()
    free = models.IntegerField()
    reserved = models.IntegerField()
    maintenance = models.IntegerField()
    unhealthy = models.IntegerField()
    unknown = models.IntegerField()
    largest_free = models.IntegerField(help_text="Most free GPUs under one S1 switch.")

    class Meta:
        indexes = (BrinIndex(fields=("at",), name="pool_sample_at_brin"),)
        constraints = (
            models.CheckConstraint(
                name="pool_parts_add_up",
                condition=models.Q(
                    total=models.F("busy")
                    + models.F("held_idle")
                    + models.F("free")
                    + models.F("reserved")
                    + models.F("maintenance")
                    + models.F("unhealthy")
                    + models.F("unknown")
                ),
            ),
        )

    def __str__(self) -> str:
        return f"{self.cluster_id} {self.hardware_id} at {self.at}"


class Decision(models.Model):
    """What was decided and why. Identical holds share one row: first, last, count."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="decisions")
    seq = models.BigIntegerField(help_text="Gapless per service.")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    count = models.PositiveIntegerField(default=1)
    slot = models.BigIntegerField(help_text="The tick of the first of them.")
    mode = models.CharField(max_length=16)
    policy_revision = models.PositiveIntegerField()
    inventory_version = models.BigIntegerField(
        null=True, help_text="What existed, as of the last of them."
    )
    inputs = models.JSONField(default=list)
    driver = models.CharField(max_length=40, blank=True)
    load = models.FloatField(null=True, help_text="Driver over its target; 1 is on target.")
    current_prefill = models.IntegerField()
    current_decode = models.IntegerField()
    raw_prefill = models.IntegerField()
    raw_decode = models.IntegerField()
    final_prefill = models.IntegerField()
    final_decode = models.IntegerField()
    then_prefill = models.IntegerField(
        null=True, help_text="What an exchange reaches once its GPUs are free; null without one."
    )
    then_decode = models.IntegerField(null=True)
    steps = models.JSONField(default=list)
    forecast = models.JSONField(
        null=True, help_text="What was provided for; null where nothing was reckoned."
    )
    parts = models.JSONField(default=list, help_text="What each policy of a composition wanted.")
    terms = models.JSONField(
        default=dict,
        help_text="SLO, limits, hardware, GPUs per instance, priority, half an exchange.",
    )
    move = models.CharField(max_length=16, choices=choices(Move))
    gate = models.CharField(max_length=16, choices=choices(Gate))
    code = models.CharField(max_length=32, choices=choices(Code))
    sentence = models.TextField()

    class Meta:
        ordering = ("-last_at", "-id")
        constraints = (
            models.UniqueConstraint(fields=("service", "seq"), name="decision_seq_once"),
            models.CheckConstraint(
                condition=models.Q(last_at__gte=models.F("first_at")),
                name="decision_times_ordered",
            ),
        )
        indexes = (
            models.Index(fields=("service", "-last_at")),
            models.Index(fields=("-last_at", "-id")),
        )

    def __str__(self) -> str:
        return self.sentence

    def get_absolute_url(self) -> str:
        """Return the page of the decision."""
        return f"/decisions/{self.pk}/"

    @property
    def then(self) -> Instances | None:
        """What the second half of an exchange reaches; ``None`` without one."""
        return pair_of(self.then_prefill, self.then_decode)


class DecisionTally(models.Model):
    """How many decisions there were, by move and code: counters that survive a restart."""

    move = models.CharField(max_length=16)
    code = models.CharField(max_length=32)
    total = models.BigIntegerField(default=0)

    class Meta:
        constraints = (models.UniqueConstraint(fields=("move", "code"), name="tally_once"),)

    def __str__(self) -> str:
        return f"{self.move} {self.code}: {self.total}"


class ServiceStatus(models.Model):
    """The latest of everything for one service, so that a page needs no search for it."""

    service = models.OneToOneField(
        Service, on_delete=models.CASCADE, primary_key=True, related_name="status"
    )
    observed_at = models.DateTimeField(null=True, help_text="When the cluster last answered.")
    decision = models.ForeignKey(Decision, null=True, on_delete=models.SET_NULL, related_name="+")
    decision_seq = models.BigIntegerField(default=0)
    prefill_desired = models.IntegerField(default=0)
    prefill_ready = models.IntegerField(default=0)
    prefill_starting = models.IntegerField(default=0)
    prefill_draining = models.IntegerField(default=0)
    prefill_held = models.IntegerField(default=0)
    prefill_failed = models.IntegerField(default=0)
    decode_desired = models.IntegerField(default=0)
    decode_ready = models.IntegerField(default=0)
    decode_starting = models.IntegerField(default=0)
    decode_draining = models.IntegerField(default=0)
    decode_held = models.IntegerField(default=0)
    decode_failed = models.IntegerField(default=0)
    resource_version = models.CharField(max_length=64, blank=True)
    signals = models.JSONField(default=dict)
    instances = models.JSONField(default=list, help_text="Name, role, group, node and state.")
    outlook = models.JSONField(default=dict, help_text="What is learnt from tick to tick.")
    failure = models.CharField(max_length=300, blank=True)
    exchange = models.JSONField(
        default=dict, help_text="The half of an exchange still to come, and until when."
    )
    last_scale_out_at = models.DateTimeField(null=True)
    last_scale_in_at = models.DateTimeField(null=True)
    ttft_breach_since = models.DateTimeField(null=True)
    tbt_breach_since = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "service statuses"

    def __str__(self) -> str:
        return f"{self.service_id}"

    @property
    def state(self) -> ServiceState:
        """Both roles as they were last seen."""
        prefill, decode = (
            RoleState(
                *(
                    getattr(self, f"{role}_{part}")
                    for part in ("desired", "ready", "starting", "draining", "failed", "held")
                )
            )
            for role in ("prefill", "decode")
        )
        return ServiceState(prefill, decode, self.resource_version)

    def read_signals(self) -> Signals:
        """Return the signals the last tick read."""
        return {
            name: Signal(
                name,
                one["value"],
                one["unit"],
                one["measured_at_s"],
                one["reporting"],
                one["expected"],
                Quality(one["quality"]),
            )
            for name, one in self.signals.items()
        }
