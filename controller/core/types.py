"""The values that travel from traffic to action: Window, Signals, Target, Decision."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from controller.core.engine import Engine, Mix
from controller.core.outlook import NOTHING_LEARNT, Outlook
from controller.core.overrides import Override, OverrideKind
from controller.core.reasons import Code

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Counts = NDArray[np.int64]


class Role(StrEnum):
    """The two phases of a disaggregated service (HeteroScale §1)."""

    PREFILL = "prefill"
    DECODE = "decode"


ROLES: Final = (Role.PREFILL, Role.DECODE)
"""Both roles in the order of every pair."""


class Quality(StrEnum):
    """How far a signal can be trusted (HeteroScale §3)."""

    OK = "ok"
    STALE = "stale"
    PARTIAL = "partial"
    MISSING = "missing"
    INVALID = "invalid"


class Mode(StrEnum):
    """What a change of a service becomes: a record, a proposal or an action."""

    OBSERVE = "observe"
    APPROVE = "approve"
    AUTOMATIC = "automatic"


class Move(StrEnum):
    """What one decision does; the ``action`` of a decision record."""

    SCALE_OUT = "scale_out"
    SCALE_IN = "scale_in"
    REBALANCE = "rebalance"
    HOLD = "hold"
    BLOCKED = "blocked"
    PROPOSE = "propose"


class Gate(StrEnum):
    """What happens to a change: nothing to do, recorded only, proposed, or carried out."""

    NONE = "none"
    RECORD = "record"
    PROPOSE = "propose"
    ACT = "act"


@dataclass(frozen=True, slots=True)
class SignalKind:
    """What a signal measures: its unit, the role that reports it, whether it is linear in load."""

    name: str
    unit: str
    role: Role
    linear: bool
    label: str


_LINEAR: Final = frozenset({"decode_tps", "prefill_tps_uncached", "prefill_util", "prefill_sm"})
SIGNALS: Final[tuple[SignalKind, ...]] = tuple(
    SignalKind(name, unit, role, linear=name in _LINEAR, label=label)
    for name, unit, role, label in (
        ("decode_tps", "tok/s", Role.DECODE, "decode throughput"),
        ("prefill_tps", "tok/s", Role.PREFILL, "prefill throughput with cache hits"),
        ("prefill_tps_uncached", "tok/s", Role.PREFILL, "uncached prefill throughput"),
        ("ttft_s", "s", Role.PREFILL, "TTFT p95"),
        ("tbt_s", "s", Role.DECODE, "TBT p95"),
        ("prefill_util", "share", Role.PREFILL, "prefill GPU utilisation"),
        ("decode_util", "share", Role.DECODE, "decode GPU utilisation"),
        ("prefill_sm", "share", Role.PREFILL, "prefill SM activity"),
        ("decode_sm", "share", Role.DECODE, "decode SM activity"),
        ("request_rps", "req/s", Role.PREFILL, "requests"),
        ("prefill_waiting", "requests", Role.PREFILL, "requests waiting for prefill"),
        ("decode_waiting", "requests", Role.DECODE, "requests waiting for decode"),
        ("ttft_p50_s", "s", Role.PREFILL, "TTFT p50"),
        ("ttft_p99_s", "s", Role.PREFILL, "TTFT p99"),
        ("tbt_p50_s", "s", Role.DECODE, "TBT p50"),
        ("tbt_p99_s", "s", Role.DECODE, "TBT p99"),
    )
)
SIGNAL_INDEX: Final[Mapping[str, int]] = {kind.name: i for i, kind in enumerate(SIGNALS)}
ROLE_INDEX: Final[Mapping[Role, int]] = {Role.PREFILL: 0, Role.DECODE: 1}


class Instances(NamedTuple):
    """Instance counts, always the pair. A tuple: guards make and compare dozens a decision."""

    prefill: int
    decode: int

    def of(self, role: Role) -> int:
        """Return the count of one role."""
        return self.prefill if role is Role.PREFILL else self.decode

    def gpus(self, per_instance: "Instances") -> int:
        """Return the GPUs these instances hold, given GPUs per instance of each role."""
        return self.prefill * per_instance.prefill + self.decode * per_instance.decode

    @property
    def pd_ratio(self) -> float | None:
        """Prefill instances per decode instance; ``None`` without decode instances."""
        return self.prefill / self.decode if self.decode else None

    def __str__(self) -> str:
        return f"prefill {self.prefill}, decode {self.decode}"


@dataclass(frozen=True, slots=True)
class Window:
    """Samples of one service over the evaluation window, oldest first.

    ``times_s`` has shape ``(T,)`` [s since the epoch]; ``values`` and ``present`` have shape
    ``(len(SIGNALS), T)``: ``present`` is False where nothing was reported, so that "no sample"
    and "sample is NaN" stay apart. ``reporting`` and ``expected`` have shape ``(2, T)``,
    instances of (prefill, decode) that reported and that should have. ``heard`` and
    ``at_s``, shaped as ``values``, are the instances behind each sample and when it was taken,
    where signals differ in that. ``partly``, shape ``(len(SIGNALS),)``, are signals of which
    series are known to be missing, whatever the counts say.
    """

    times_s: Floats
    values: Floats
    present: Flags
    reporting: Counts
    expected: Counts
    heard: Counts | None = None
    at_s: Floats | None = None
    partly: Flags | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """One scalar a policy reads. ``value`` is ``None`` unless quality is ok, partial or stale.

    ``newest`` is the last sample of the window alone, where the value is the mean of several.
    """

    name: str
    value: float | None
    unit: str
    measured_at_s: float | None
    reporting: int
    expected: int
    quality: Quality
    newest: float | None = None

    @property
    def coverage_frac(self) -> float:
        """Share of the expected instances that reported; 0 when none was expected."""
        return self.reporting / self.expected if self.expected else 0.0


Signals = Mapping[str, Signal]


@dataclass(frozen=True, slots=True)
class Slo:
    """Latency goals [s], both at the 95th percentile, and the share of requests to meet them."""

    ttft_s: float
    tbt_s: float
    goal_frac: float = 0.99


@dataclass(frozen=True, slots=True)
class Limits:
    """Floor and ceiling of each role, and the most GPUs the service may hold."""

    minimum: Instances
    maximum: Instances
    max_gpus: int


class Adapt(StrEnum):
    """What becomes of the target and ratio the engine estimates for the present mix."""

    OFF = "off"
    PROPOSE = "propose"
    AUTOMATIC = "automatic"


class PeriodKind(StrEnum):
    """What the counts of a time window are: the least there may be, or exactly what there is."""

    FLOOR = "floor"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Period:
    """A repeating window of time and the counts it asks for (HeteroScale §4.3).

    ``days`` are those on which it begins, Monday is 0; ``begin`` and ``end`` are wall-clock
    times ``HH:MM`` in the policy's time zone, and an ``end`` not after ``begin`` is on the next
    day. ``dates`` (ISO) replace ``days`` where given; on ``except_dates`` it doesn't begin.
    """

    name: str
    begin: str
    end: str
    counts: Instances
    kind: PeriodKind = PeriodKind.FLOOR
    days: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6)
    dates: tuple[str, ...] = ()
    except_dates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """How a service is sized. The rules of HeteroScale §4 and §5; docs/policies.md has each field.

    ``name`` is one policy, or several joined by "+" (HeteroScale §4.4). ``target`` is the
    driver's total per instance of the driver's role [driver unit per instance]. ``pd_ratio`` is
    prefill instances per decode instance, kept within ``± ratio_tolerance`` (relative).
    ``step_abs`` [instances] and ``step_out_frac`` or ``step_frac`` (scale-in) bound one action:
    the larger counts. ``None`` for ``lead_s`` and ``margin_frac`` means measured.
    """

    name: str
    driver: str
    target: float
    pd_ratio: float
    theta_out: float = 0.10
    theta_in: float = 0.10
    ratio_tolerance: float = 0.25
    cooldown_out_s: float = 15.0
    cooldown_in_s: float = 300.0
    stabilisation_s: float = 300.0
    step_abs: int = 4
    step_frac: float = 0.25
    step_out_frac: float = 1.0
    damp_frac: float = 1.0
    coverage_in_frac: float = 0.90
    proposal_ttl_s: float = 600.0
    proposal_ttl_in_s: float = 1800.0
    force_driver: bool = False
    latency_severe: float = 1.5
    latency_moderate: float = 1.1
    latency_idle: float = 0.5
    schedule: tuple[Period, ...] = ()
    time_zone: str = "UTC"
    adapt: Adapt = Adapt.OFF
    ratio_band: float = 8.0
    hold_s: float = 3600.0
    lead_s: float | None = None
    margin_frac: float | None = None
    drain_s: float = 120.0
    slo_margin_frac: float = 0.10
    version: int = 1


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """What the operator configured for one service; ``key`` is its slug."""

    key: str
    cluster: str
    mode: Mode
    slo: Slo
    limits: Limits
    policy: PolicyConfig
    gpus_per_instance: Instances
    hardware: Mapping[Role, str] = field(hash=False)
    priority: int = 0
    engine: Engine | None = None
    """How fast its engines are; ``None`` where nobody has said."""
    further: Mapping[Role, Mapping[str, float]] = field(default_factory=dict, hash=False)
    """Other types a role may run on: GPUs of its first type that one GPU there stands for."""
    overrides: tuple[Override, ...] = ()
    """What people set over it for a while; limits, ratio and mode are those under it."""
    left_out: tuple[str, ...] = ()
    """Overrides that can't be used, each in words."""
    mode_set: Mode | None = None
    """The configured mode where an override only lets it be observed."""
    policy_set: PolicyConfig | None = None
    """The configured policy where an override sets another ratio."""

    def kinds(self, role: Role) -> Mapping[str, float]:
        """Return all types a role may run on, in its order, with what a GPU there stands for."""
        return {self.hardware[role]: 1.0, **self.further.get(role, {})}

    def override(self, kind: OverrideKind) -> Override | None:
        """Return the override of a kind that rules, of exclusions the first; ``None`` if none."""
        return next((one for one in self.overrides if one.kind is kind), None)


@dataclass(frozen=True, slots=True)
class RoleState:
    """Instances of one role as its cluster reports them; ``desired`` is the last wish.

    ``ready`` ones serve; ``held`` ones are up and kept out of service discovery until the other
    role catches up. ``desired`` counts those that are ready, held, starting or failed, and those
    of which the cluster shows nothing yet.
    """

    desired: int
    ready: int
    starting: int = 0
    draining: int = 0
    failed: int = 0
    held: int = 0

    @property
    def up(self) -> int:
        """Instances whose start is over, whether they serve or not."""
        return self.ready + self.held

    @property
    def lost(self) -> int:
        """Failed instances that ``desired`` still counts: nothing starts in their place."""
        return max(min(self.failed, self.desired - self.up - self.starting), 0)

    @property
    def coming(self) -> int:
        """Instances asked for that are neither up nor failed, whether the cluster shows them."""
        return max(self.desired - self.up - self.lost, 0)


@dataclass(frozen=True, slots=True)
class ServiceState:
    """Both roles of a service as the cluster reports them.

    ``resource_version`` is the cluster's version of the object that holds the desired counts: a
    write carries it back (compare-and-set).
    """

    prefill: RoleState
    decode: RoleState
    resource_version: str
    desired: Instances = field(init=False, compare=False, repr=False)
    """The counts last asked for."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "desired", Instances(self.prefill.desired, self.decode.desired))

    @property
    def ready(self) -> Instances:
        """The counts that serve now."""
        return Instances(self.prefill.ready, self.decode.ready)

    def of(self, role: Role) -> RoleState:
        """Return the state of one role."""
        return self.prefill if role is Role.PREFILL else self.decode


@dataclass(frozen=True, slots=True)
class InstanceRef:
    """One instance by name: its role, deployment group, node (empty: none yet) and state."""

    name: str
    role: Role
    group: str
    node: str
    state: str


@dataclass(frozen=True, slots=True)
class Bar:
    """Why what a cluster shows allows no change now; without ``growth`` it bars scale-in alone."""

    text: str
    growth: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at one service brought back.

    ``told_by`` names the endpoints each signal was read from, where it was measured. ``bar`` is
    set while the cluster is not settled: just seen for the first time, rolling out, flapping.
    """

    window: Window
    state: ServiceState | None
    instances: tuple[InstanceRef, ...] = ()
    told_by: Mapping[str, str] = field(default_factory=dict, hash=False)
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """What the policy wanted at a time, before guards: the memory of the stabilisation window.

    ``at_s`` is when it was last wanted; ``since_s`` since when without a break, where one row
    stands for many equal decisions (``None``: at ``at_s`` alone).
    """

    at_s: float
    want: Instances
    since_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A person rejected this body; it is not proposed again before ``until_s``."""

    want: Instances
    until_s: float
    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The second half of an exchange: it waits for the GPUs that the first half gives back.

    ``before`` are the counts before the first half, ``first`` those after it, ``then`` what is
    reached by the second: one role shrinks from ``before`` to ``first``, the other grows from
    ``first`` to ``then``. It is a permission from ``since_s`` until ``until_s``; what is done is
    decided from the signals of that time, under the policy and mode of the first. ``proposal`` is
    the number of the one by which a person approved both, and ``second`` that of the one which
    used this approval: it is of ``first`` and ``resource_version``, and good for one change.
    """

    before: Instances
    first: Instances
    then: Instances
    since_s: float
    until_s: float
    policy_version: int
    mode: Mode
    resource_version: str = ""
    proposal: int | None = None
    second: int | None = None

    @property
    def grower(self) -> Role:
        """The role that grows by the second half."""
        return Role.PREFILL if self.then.prefill > self.first.prefill else Role.DECODE

    @property
    def giver(self) -> Role:
        """The role that gives its GPUs."""
        return Role.DECODE if self.grower is Role.PREFILL else Role.PREFILL


@dataclass(frozen=True, slots=True)
class History:
    """What the rows remember of a service; a restart must not change it (S23).

    ``wishes`` are oldest first and reach back at least ``PolicyConfig.stabilisation_s``.
    ``changed_from`` is what the counts were when something that is not ours changed them since the
    last look, else ``None``. ``outlook`` is what was learnt of the load and of start-up times.
    ``stage`` is the half of an exchange that is still to come.
    """

    last_scale_out_s: float | None = None
    last_scale_in_s: float | None = None
    wishes: tuple[Wish, ...] = ()
    in_flight: str | None = None
    refusals: tuple[Refusal, ...] = ()
    changed_from: Instances | None = None
    outlook: Outlook = NOTHING_LEARNT
    stage: Stage | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """A stop over a scope: who, why, since and until when (``None``: until resumed).

    A person's, or with ``is_breaker`` the controller's own.
    """

    scope: str
    by: str
    reason: str
    since_s: float
    until_s: float | None = None
    is_breaker: bool = False

    def binds(self, now_s: float) -> bool:
        """Return whether it is in force."""
        return self.until_s is None or now_s < self.until_s


Pair = tuple[float | None, float | None]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a decision provides for; pairs are (prefill, decode), instances, unrounded.

    ``lead_s`` is how long a start takes (90th percentile). ``needs`` is what the window's load
    takes, ``newest`` what its last sample alone would beyond chance, ``peaks`` the most of
    ``hold_s``, ``backlog`` what drains the queues in time; ``margins`` are the shares by which
    the load has outrun its peaks within ``lead_s``. ``measured`` are needs by the measured mix of
    tokens and the engines' speeds, also where the driver decides; ``ratio`` and ``target`` are
    what that mix asks for, ``mix`` and ``rps`` what was measured. ``ahead`` is the need forecast
    for the end of a start-up, ``ahead_by`` how ("flat", "trend", "season"), ``ahead_errors`` the
    mean relative error of that over a day and ``flat_errors`` that of the need of now. ``overdue``
    are wished instances that have failed or take too long to start. Unknown is ``None``.
    """

    lead_s: float
    needs: Pair
    peaks: Pair
    margins: tuple[float, float]
    newest: Pair = (None, None)
    backlog: tuple[float, float] = (0.0, 0.0)
    measured: Pair = (None, None)
    ratio: float | None = None
    target: float | None = None
    mix: Mix | None = None
    rps: float | None = None
    ahead: Pair = (None, None)
    ahead_by: tuple[str, str] = ("flat", "flat")
    ahead_errors: Pair = (None, None)
    flat_errors: Pair = (None, None)
    overdue: tuple[int, int] = (0, 0)


NO_INSTANCES: Final = Instances(0, 0)


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a policy or guard may know about one service at one time.

    ``gpus_free`` is what the pool of each role's hardware type could still give; roles that share
    a pool show the same figure twice. ``None`` in place of a mapping entry never occurs: a pool
    that can't be read is absent, and then nothing may grow. ``gpus_left`` is what the fleet may
    still take beyond what all services hold, ``None`` without a budget of the fleet.
    ``handicap`` is how many instances of each role's first hardware those that are held do less
    than as many as they are. ``bar`` is why the cluster allows no change now, or no scale-in.
    """

    now_s: float
    spec: ServiceSpec
    state: ServiceState
    signals: Signals
    history: History
    hold: Hold | None
    gpus_free: Mapping[str, int]
    forecast: Forecast | None = None
    gpus_left: int | None = None
    usual_start_s: Mapping[str, float] = field(default_factory=dict)
    handicap: Instances = NO_INSTANCES
    bar: Bar | None = None


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code and a sentence with the numbers."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What a policy wants and why; ``driver`` names the signal that asked, ``load`` its load.

    ``parts`` are what the policies of a composition wanted, each under its own ``policy`` name.
    """

    want: Instances
    reason: Reason
    driver: str
    load: float | None
    policy: str = ""
    parts: tuple["Recommendation", ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One row of the constraint table: what a stage made of the counts.

    ``override`` is the key of the override without which it would not be there.
    """

    name: str
    before: Instances
    after: Instances
    code: Code
    detail: str
    override: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """The counts on their way through the guards, with the steps that shaped them.

    ``then`` is what an exchange reaches by its second half; a later move takes it away again.
    """

    want: Instances
    steps: tuple[Step, ...] = ()
    blocked: Reason | None = None
    then: Instances | None = None

    def moved_to(
        self, want: Instances, name: str, code: Code, detail: str, override: int | None = None
    ) -> Self:
        """Return the target at ``want``, with the step that says why."""
        step = Step(name, self.want, want, code, detail, override)
        return type(self)(want, (*self.steps, step), self.blocked)

    def blocked_at(
        self, want: Instances, name: str, code: Code, detail: str, override: int | None = None
    ) -> Self:
        """Return the target stopped at ``want``: later guards see it and leave it."""
        return replace(
            self.moved_to(want, name, code, detail, override),
            blocked=self.blocked or Reason(code, detail),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided for one service at one tick (product: the decision record)."""

    service: str
    now_s: float
    mode: Mode
    policy_version: int
    signals: Signals
    current: Instances
    raw: Instances
    steps: tuple[Step, ...]
    final: Instances
    move: Move
    gate: Gate
    code: Code
    sentence: str
    driver: str
    load: float | None = None
    forecast: Forecast | None = None
    parts: tuple[Recommendation, ...] = ()
    outlook: Outlook = NOTHING_LEARNT
    then: Instances | None = None
    """What an exchange reaches once the GPUs are free that ``final`` gives back."""
    exchange_over: bool = False
    """Whether the half of an exchange that waited rests on what is no longer so."""

    @property
    def changes(self) -> bool:
        """Whether the counts would change."""
        return self.final != self.current
