"""What each field of a policy is called, measured in and means; how it is told and compared."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, Final

from controller.core.types import Adapt, PeriodKind, PolicyConfig
from controller.core.wording import UNKNOWN

DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ALL_DAYS: Final = tuple(range(len(DAYS)))


class Kind(StrEnum):
    """How a field is entered."""

    NUMBER = "number"
    WHOLE = "whole"
    MEASURED = "measured"
    CHECK = "check"
    DRIVER = "driver"
    ADAPT = "adapt"
    POLICIES = "policies"
    ZONE = "zone"
    SCHEDULE = "schedule"


@dataclass(frozen=True, slots=True)
class Group:
    """Fields that belong together, under one heading with one sentence."""

    title: str
    about: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyField:
    """One field: its words, its unit (empty where it has none) and what it means in one line."""

    name: str
    label: str
    unit: str
    kind: Kind
    meaning: str


GROUPS: Final = (
    Group(
        "What sizes it",
        "The policies that ask for instances, and the signal they read.",
        ("name", "driver", "target", "theta_out", "theta_in", "force_driver"),
    ),
    Group(
        "Ratio",
        "Prefill instances per decode instance, and what may change it.",
        ("pd_ratio", "ratio_tolerance", "adapt", "ratio_band"),
    ),
    Group(
        "Look ahead and backlog",
        "What is provided for beyond the load of now.",
        ("hold_s", "lead_s", "margin_frac", "drain_s"),
    ),
    Group(
        "Latency",
        "When the latency policy steps in, and what a scale-in must leave.",
        ("latency_severe", "latency_moderate", "latency_idle", "slo_margin_frac"),
    ),
    Group(
        "Schedule",
        "Repeating windows and the counts they ask for; read by the periodic policy.",
        ("time_zone", "schedule"),
    ),
    Group(
        "Limits of one change",
        "How large a change may be and how long it waits.",
        (
            "step_abs",
            "step_out_frac",
            "step_frac",
            "damp_frac",
            "cooldown_out_s",
            "cooldown_in_s",
            "stabilisation_s",
        ),
    ),
    Group(
        "Trust",
        "What must be known before anything is removed, and how long a proposal stands.",
        ("coverage_in_frac", "proposal_ttl_s", "proposal_ttl_in_s"),
    ),
)

_EVERY: Final = (
    PolicyField(
        "name",
        "Policies",
        "",
        Kind.POLICIES,
        "Several together: the largest wish of each role counts.",
    ),
    PolicyField(
        "driver", "Driver", "", Kind.DRIVER, "The signal that sizes both roles, in its own unit."
    ),
    PolicyField(
        "target",
        "Target",
        "per instance",
        Kind.NUMBER,
        "The driver's total, in its own unit, per wished instance of the driver's role.",
    ),
    PolicyField(
        "theta_out",
        "Scale out above",
        "share of the target",
        Kind.NUMBER,
        "More is wanted when the load is over the target by this share.",
    ),
    PolicyField(
        "theta_in",
        "Scale in below",
        "share of the target",
        Kind.NUMBER,
        "Less is wanted when the load is under the target by this share.",
    ),
    PolicyField(
        "force_driver",
        "Accept a driver that is advised against",
        "",
        Kind.CHECK,
        "Lets a signal drive that does not grow in proportion to the load.",
    ),
    PolicyField(
        "pd_ratio",
        "P/D ratio",
        "prefill per decode",
        Kind.NUMBER,
        "Prefill instances per decode instance.",
    ),
    PolicyField(
        "ratio_tolerance",
        "Tolerance of the ratio",
        "share of the ratio",
        Kind.NUMBER,
        "The role that is short grows when the ratio leaves this band.",
    ),
    PolicyField(
        "adapt",
        "Follow the mix",
        "",
        Kind.ADAPT,
        "What becomes of the ratio and target estimated for the present requests.",
    ),
    PolicyField(
        "ratio_band",
        "Farthest an estimate may lead",
        "times the ratio",
        Kind.NUMBER,
        "An estimated ratio stays between the ratio divided and multiplied by this.",
    ),
    PolicyField(
        "hold_s",
        "Provide for the peak of the last",
        "s",
        Kind.NUMBER,
        "Instances stay for the highest need of this time; 0 provides for the load of now.",
    ),
    PolicyField(
        "lead_s",
        "Start-up to look ahead by",
        "s",
        Kind.MEASURED,
        "How long a start takes. Empty: measured, the 90th percentile of the starts seen.",
    ),
    PolicyField(
        "margin_frac",
        "Margin over the peak",
        "share of the peak",
        Kind.MEASURED,
        "What is added for growth during a start. Empty: measured from how the load outran it.",
    ),
    PolicyField(
        "drain_s",
        "Work off a backlog within",
        "s",
        Kind.NUMBER,
        "Waiting requests count as load to be served within this time.",
    ),
    PolicyField(
        "latency_severe",
        "Severe breach above",
        "times the goal",
        Kind.NUMBER,
        "Above this a role grows by a large step.",
    ),
    PolicyField(
        "latency_moderate",
        "Moderate breach above",
        "times the goal",
        Kind.NUMBER,
        "Above this a role grows by a small step.",
    ),
    PolicyField(
        "latency_idle",
        "Idle below",
        "times the goal",
        Kind.NUMBER,
        "Below this both roles shrink slightly, where latency is the sole policy.",
    ),
    PolicyField(
        "slo_margin_frac",
        "Room a scale-in leaves",
        "share of the goals",
        Kind.NUMBER,
        "A scale-in after which TTFT or TBT would come closer to its goal than this waits.",
    ),
    PolicyField(
        "time_zone",
        "Time zone",
        "",
        Kind.ZONE,
        "The zone of the windows' wall-clock times, such as Europe/Berlin.",
    ),
    PolicyField(
        "schedule", "Windows", "", Kind.SCHEDULE, "Counts that are asked for at certain times."
    ),
    PolicyField(
        "step_abs",
        "Largest step",
        "instances",
        Kind.WHOLE,
        "One action changes a role by this many, or by the share below where that is more.",
    ),
    PolicyField(
        "step_out_frac",
        "Largest step of a scale-out",
        "share of the role",
        Kind.NUMBER,
        "1 lets one action double a role.",
    ),
    PolicyField(
        "step_frac",
        "Largest step of a scale-in",
        "share of the role",
        Kind.NUMBER,
        "0.25 lets one action remove a quarter of a role.",
    ),
    PolicyField(
        "damp_frac",
        "Part of a change made at once",
        "share of the change",
        Kind.NUMBER,
        "1 makes the whole change; below it the next actions continue it.",
    ),
    PolicyField(
        "cooldown_out_s",
        "Wait after a scale-out",
        "s",
        Kind.NUMBER,
        "Until the next scale-out.",
    ),
    PolicyField(
        "cooldown_in_s",
        "Wait before a scale-in",
        "s",
        Kind.NUMBER,
        "Since the last scale-in or scale-out.",
    ),
    PolicyField(
        "stabilisation_s",
        "A lower wish must last",
        "s",
        Kind.NUMBER,
        "Scales in only to the highest wish of this time.",
    ),
    PolicyField(
        "coverage_in_frac",
        "Coverage needed to scale in",
        "share of the instances",
        Kind.NUMBER,
        "How many of the expected instances must report.",
    ),
    PolicyField(
        "proposal_ttl_s",
        "A proposal expires after",
        "s",
        Kind.NUMBER,
        "A service in approve mode asks for a person's answer within this time.",
    ),
    PolicyField(
        "proposal_ttl_in_s",
        "A proposal to scale in expires after",
        "s",
        Kind.NUMBER,
        "For changes that only take instances away: they can wait longer.",
    ),
)
FIELDS: Final[Mapping[str, PolicyField]] = {field.name: field for field in _EVERY}
DEFAULTS: Final[Mapping[str, Any]] = {
    field.name: field.default
    for field in fields(PolicyConfig)
    if field.default is not MISSING and field.name in FIELDS
}
ADAPT_WORDS: Final[Mapping[Adapt, str]] = {
    Adapt.OFF: "off: the ratio and target above stay",
    Adapt.PROPOSE: "propose: suggested on the Approvals page",
    Adapt.AUTOMATIC: "automatic: the estimate is used",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """One field that differs between two bodies, in words."""

    name: str
    label: str
    before: str
    after: str


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Sequence[Difference]:
    """Return what differs between two bodies of a policy, in the order of the form.

    A body that lacks a field, because it is older than the field, has its default.
    """
    found = []
    for name in (name for group in GROUPS for name in group.names):
        old, new = (body.get(name, plain_default(name)) for body in (before, after))
        if name in {*before, *after} and old != new:
            field = FIELDS[name]
            found.append(Difference(name, field.label, told(field, old), told(field, new)))
    return found


def plain_default(name: str) -> object:
    """Return the default of a field as a body keeps it; ``None`` where it has none."""
    value = DEFAULTS.get(name)
    if isinstance(value, tuple):
        return list(value)
    return value.value if isinstance(value, Adapt) else value


def told(field: PolicyField, value: object) -> str:
    """Return a value of a body in words with its unit; whatever it holds, a text."""
    if value is None:
        return "measured" if field.kind is Kind.MEASURED else UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return "; ".join(_window(each) for each in value) or "no window"
    is_figure = isinstance(value, int | float)
    return f"{value:,.10g} {field.unit}".rstrip() if is_figure else str(value)[:200]


def _window(value: object) -> str:
    if not isinstance(value, Mapping):
        return str(value)[:80]
    name, begin, end = (str(value.get(key, UNKNOWN))[:60] for key in ("name", "begin", "end"))
    least = "at least " if value.get("kind", PeriodKind.FLOOR) == PeriodKind.FLOOR else ""
    counts = f"prefill {value.get('prefill', UNKNOWN)}, decode {value.get('decode', UNKNOWN)}"
    return f"{name}, {begin} to {end}{_when(value)}: {least}{counts}"


def _when(value: Mapping[str, Any]) -> str:
    days = value.get("days", ALL_DAYS)
    usable = isinstance(days, list | tuple) and all(day in ALL_DAYS for day in days)
    dates, excepted = (value.get(key) or () for key in ("dates", "except_dates"))
    if dates:
        told_days = f" on {', '.join(map(str, dates))}"
    elif usable and set(days) != set(ALL_DAYS):
        told_days = f" on {', '.join(DAYS[day] for day in days)}"
    else:
        told_days = ""
    return told_days + (f" but not on {', '.join(map(str, excepted))}" if excepted else "")


def in_form_words(message: str) -> str:
    """Return a sentence about a policy with each field by its name on the form.

    Names that are words of their own, such as "driver", stay but for one that opens the sentence.
    """
    return _NAMED.sub(lambda found: f"“{FIELDS[found[0]].label}”", message)


_NAMED: Final = re.compile(
    rf"^(?:target|adapt)\b|\b(?:{'|'.join(name for name in FIELDS if '_' in name)})\b"
)


def parameters(config: PolicyConfig, names: Sequence[str]) -> str:
    """Return fields of a policy as a backtest takes them: ``key=value,key=value``."""
    return ",".join(f"{name}={_parameter(getattr(config, name))}" for name in names)


def _parameter(value: object) -> str:
    if value is None:
        return "measured"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plainly(value)


def plainly(value: object) -> str:
    """Return a value as a person would type it, so that reading it gives the very same one."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
