"""The values of a decision as plain JSON: documents to contexts, decisions to records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite, nan
from typing import Any, Final, TypedDict, TypeVar

import numpy as np

from controller.core.config_check import LONGEST_S, MOST_GPUS, validate_spec
from controller.core.engine import Engine, Mix
from controller.core.outlook import Learnt, Outlook
from controller.core.outlook_plain import as_plain, fault_of, from_plain
from controller.core.overrides import Override, OverrideKind, ScopeKind
from controller.core.overrides import fault_of as fault_of_values
from controller.core.overrides_plain import effects
from controller.core.pairs import MOST_INSTANCES
from controller.core.raw_values import shown
from controller.core.schedule import ScheduleError, schedule_from_plain, schedule_plain
from controller.core.signals import summarise
from controller.core.steering import steered
from controller.core.types import (
    NO_INSTANCES,
    ROLE_INDEX,
    SIGNAL_INDEX,
    SIGNALS,
    Adapt,
    Context,
    Decision,
    Forecast,
    History,
    Hold,
    Instances,
    Limits,
    Mode,
    Period,
    PolicyConfig,
    Quality,
    Refusal,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Signal,
    SignalKind,
    Signals,
    Slo,
    Stage,
    Window,
    Wish,
)

MAX_AGE_S: Final = 45.0
"""A sample older than this is stale, as in the loop unless it is configured otherwise [s]."""

LATEST_S: Final = 253_402_300_799.0
"""The last second of the year 9999; later times have no date."""

Plain = Mapping[str, object]
Kind = TypeVar("Kind", bound=StrEnum)


class DocumentError(ValueError):
    """A value of the document that can't be used: ``where`` is its path, the text the fix."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.where = where


@dataclass(frozen=True, slots=True)
class Sizing:
    """The engines a document names and the mean request they serve [tokens], where it says so."""

    prefill: str
    decode: str
    tbt_s: float
    input_tokens: float | None
    output_tokens: float | None
    cached_frac: float


class Terms(TypedDict):
    """What a service's policy works under: it is no part of a policy's revision."""

    slo: Slo
    limits: Limits
    gpus_per_instance: Instances
    hardware: Mapping[Role, str]
    priority: int


@dataclass(frozen=True, slots=True)
class _Part:
    """An object of the document with its path; every reading says where it went wrong."""

    where: str
    plain: Plain

    def path(self, name: str) -> str:
        return f"{self.where}.{name}" if self.where else name

    def only(self, *names: str) -> None:
        for name in self.plain:
            if name not in names:
                known = ", ".join(names)
                raise DocumentError(self.path(str(name)), f"there is no such field; give {known}")

    def part(self, name: str) -> "_Part":
        """Return an object in this one; an absent one is empty."""
        return part_of(self.plain.get(name, {}), self.path(name))

    def parts(self, name: str) -> list["_Part"]:
        given, where = self.plain.get(name, []), self.path(name)
        if not isinstance(given, list | tuple):
            raise DocumentError(where, f"{shown(given)} is no list; give a list of objects")
        return [part_of(each, f"{where}[{at}]") for at, each in enumerate(given)]

    def number(self, name: str, default: float | None = None) -> float:
        found = self.optional(name)
        if found is not None:
            return found
        if default is None:
            raise DocumentError(self.path(name), "this is missing; give a number")
        return default

    def optional(self, name: str) -> float | None:
        given = self.plain.get(name)
        if given is None:
            return None
        if isinstance(given, bool) or not isinstance(given, int | float) or not _fits(given):
            raise DocumentError(self.path(name), f"{shown(given)} is no number; give a number")
        return float(given)

    def whole(self, name: str, default: int | None = None) -> int:
        given = self.plain.get(name)
        if given is None and default is not None:
            return default
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MOST_GPUS:
            fix = f"give a whole number from 0 to {MOST_GPUS:,}"
            raise DocumentError(self.path(name), f"{shown(given)} is no count; {fix}")
        return given

    def text(self, name: str, default: str) -> str:
        given = self.plain.get(name, default)
        if not isinstance(given, str):
            raise DocumentError(self.path(name), f"{shown(given)} is no text; give a text")
        return given

    def named(self, name: str) -> str:
        """Return a text that must say something."""
        given = self.text(name, "")
        if not given.strip():
            raise DocumentError(self.path(name), "this is missing; give a text")
        return given

    def choice(self, name: str, kind: type[Kind], default: Kind) -> Kind:
        given = self.plain.get(name, default)
        for each in kind:
            if given == each:
                return each
        fix = f"choose from {', '.join(kind)}"
        raise DocumentError(self.path(name), f"{shown(given)} is none; {fix}")

    def pair(self, name: str, default: Instances | None = None) -> Instances:
        """Return a count for each role; one left out has its default."""
        roles = self.part(name)
        roles.only(*Role)
        found = (roles.whole(role, default and default.of(role)) for role in Role)
        return Instances(*found)


def part_of(given: object, where: str) -> _Part:
    """Return an object of a document; raises :class:`DocumentError` for anything else."""
    if not isinstance(given, Mapping):
        raise DocumentError(where or "document", f"{shown(given)} is no object; give an object")
    return _Part(where, given)


def sizing_of(document: object) -> Sizing | None:
    """Return the engines a document names; ``None`` if none. Raises :class:`DocumentError`."""
    service = part_of(document, "").part("service")
    tokens, cached_frac = _request(service.part("request"))
    prefill = service.text("profile", "")
    decode = service.text("decode_profile", prefill)
    if not prefill:
        if decode:
            raise DocumentError("service.profile", "decode_profile needs a profile beside it")
        return None
    tbt_s = service.part("slo").number("tbt_s")
    return Sizing(prefill, decode, tbt_s, *tokens, cached_frac)


def _request(given: _Part) -> tuple[tuple[float | None, float | None], float]:
    """Return the tokens of a request each way and the share of its prompt that is cached."""
    given.only("input_tokens", "output_tokens", "cached_frac")
    tokens = given.optional("input_tokens"), given.optional("output_tokens")
    for name, each in zip(("input_tokens", "output_tokens"), tokens, strict=True):
        if each is not None and each < 1.0:
            raise DocumentError(given.path(name), "a request has at least 1 token each way")
    return tokens, _bounded(given, "cached_frac", 0.0, 1.0, 0.0)


def context_from(
    document: object, *, engine: Engine | None = None, policy: PolicyConfig | None = None
) -> Context:
    """Return the context a document describes; docs/decide.md has every field.

    ``engine`` and ``policy`` are those of the profiles it names, and its own fields go before
    them. Qualities follow from values, ages and coverage as in the loop. Raises
    :class:`DocumentError` for the first field that can't be used.
    """
    whole = part_of(document, "")
    whole.only(*_DOCUMENT)
    now_s = whole.number("now_s")
    if not 0.0 <= now_s <= LATEST_S:
        raise DocumentError("now_s", f"{now_s:g} is no time; give seconds since 1970")
    spec = _spec(whole.part("service"), engine, policy)
    hold, overrides = _overrides(whole.parts("overrides"), spec.key, now_s)
    spec = steered(spec, overrides, now_s)
    state = _state(whole.part("state"))
    free, left = whole.part("gpus_free"), whole.optional("gpus_left")
    starts = whole.part("usual_start_s")
    return Context(
        now_s=now_s,
        spec=spec,
        state=state,
        signals=_signals(whole.part("signals"), now_s, spec, state),
        history=_history(whole, now_s),
        hold=hold,
        gpus_free={name: free.whole(name) for name in free.plain}
        if "gpus_free" in whole.plain
        else dict.fromkeys(spec.hardware.values(), MOST_GPUS),
        gpus_left=None if left is None else int(left),
        usual_start_s={name: _bounded(starts, name, 0.0, LONGEST_S) for name in starts.plain},
        handicap=whole.pair("handicap", NO_INSTANCES),
    )


def _further(given: _Part) -> dict[Role, dict[str, float]]:
    """Return the further types of roles, with what a GPU there stands for on the first."""
    given.only(*Role)
    found = {role: given.part(role.value) for role in Role if role.value in given.plain}
    return {
        role: {name: _bounded(part, name, 1e-3, 1e3) for name in part.plain}
        for role, part in found.items()
    }


_DOCUMENT: Final = (
    *("now_s", "service", "state", "signals", "history", "overrides"),
    *("gpus_free", "gpus_left", "refusals", "outlook", "usual_start_s", "handicap"),
)
_SERVICE: Final = (
    *("name", "cluster", "slo", "policy", "limits", "mode", "gpus_per_instance", "hardware"),
    *("priority", "engine", "profile", "decode_profile", "request", "further"),
)
_STATE: Final = (
    *("ready", "starting", "held", "draining", "failed", "desired"),
    *("last_scale_out_s", "last_scale_in_s", "in_flight", "changed_from", "exchange"),
)
_SIGNAL: Final = ("value", "unit", "measured_at_s", "reporting", "expected", "newest", "quality")


def _fits(figure: float) -> bool:
    try:
        return isfinite(float(figure))
    except OverflowError:
        return False


def _spec(service: _Part, engine: Engine | None, policy: PolicyConfig | None) -> ServiceSpec:
    service.only(*_SERVICE)
    spec = ServiceSpec(
        key=service.text("name", "service"),
        cluster=service.text("cluster", "cluster"),
        mode=service.choice("mode", Mode, Mode.OBSERVE),
        **_terms(service),
        policy=_policy(service.part("policy"), policy),
        engine=_engine(service.part("engine")) if "engine" in service.plain else engine,
        further=_further(service.part("further")),
    )
    for problem in validate_spec(spec):
        raise DocumentError(_path_of(problem.field), problem.message)
    return spec


def _terms(service: _Part) -> Terms:
    slo, hardware = service.part("slo"), service.part("hardware")
    slo.only("ttft_s", "tbt_s", "goal_frac")
    hardware.only(*Role)
    return {
        "slo": Slo(slo.number("ttft_s"), slo.number("tbt_s"), slo.number("goal_frac", 0.99)),
        "limits": _limits(service.part("limits")),
        "gpus_per_instance": service.pair("gpus_per_instance", Instances(1, 1)),
        "hardware": {role: hardware.text(role, role.value) for role in Role},
        "priority": service.whole("priority", 0),
    }


def with_terms(spec: ServiceSpec, plain: object) -> ServiceSpec | None:
    """Return the configuration under the terms that plain values hold; ``None`` if they hold none.

    The inverse of :func:`terms_plain`. What can't be read as a whole is not taken in part; whether
    the values can be used together is not looked at.
    """
    try:
        return replace(spec, **_terms(part_of(plain, "terms")))
    except DocumentError:
        return None


def _path_of(field: str) -> str:
    """Return where in the document the field of a configuration is."""
    head = field.partition(".")[0].partition("[")[0]
    if head in _POLICY:
        return f"service.policy.{field}"
    if head in {"minimum", "maximum", "max_gpus"}:
        return f"service.limits.{field}"
    if head in {each.name for each in fields(Slo)}:
        return f"service.slo.{field}"
    return f"service.{'name' if field == 'key' else field}"


def _limits(limits: _Part) -> Limits:
    limits.only("minimum", "maximum", "max_gpus")
    most = Instances(MOST_INSTANCES, MOST_INSTANCES)
    return Limits(
        limits.pair("minimum", Instances(1, 1)),
        limits.pair("maximum", most),
        limits.whole("max_gpus", MOST_GPUS),
    )


_POLICY: Final = tuple(field.name for field in fields(PolicyConfig))
_NEEDED: Final = ("target", "pd_ratio")


def policy_from(document: object, base: PolicyConfig) -> PolicyConfig:
    """Return the policy a document describes, its fields over those of ``base``.

    Raises :class:`DocumentError` for the first field that can't be used.
    """
    return _policy(part_of(document, "policy"), base)


def _policy(given: _Part, base: PolicyConfig | None) -> PolicyConfig:
    """Return a policy: its own fields over those of ``base``, over the defaults."""
    given.only(*_POLICY)
    if base is None:
        for name in _NEEDED:
            if given.plain.get(name) is None:
                fix = "give it, or service.profile and the tokens of service.request to size by"
                raise DocumentError(given.path(name), f"this is missing; {fix}")
        base = PolicyConfig("proportional", "decode_tps", 0.0, 0.0)
    read = {name: _policy_field(given, name) for name in given.plain}
    return replace(base, **read)


def _policy_field(given: _Part, name: str) -> Any:  # noqa: ANN401 - as many types as fields
    if name == "schedule":
        return _windows(given)
    if name == "adapt":
        return given.choice(name, Adapt, Adapt.OFF)
    read = _READERS.get(name, _Part.number)
    return read(given, name)


def _windows(given: _Part) -> tuple[Period, ...]:
    try:
        return schedule_from_plain(given.plain["schedule"])
    except ScheduleError as fault:
        raise DocumentError(given.path(fault.field), str(fault)) from fault


def _flag(given: _Part, name: str) -> bool:
    value = given.plain[name]
    if not isinstance(value, bool):
        raise DocumentError(given.path(name), f"{shown(value)} is neither true nor false")
    return value


_READERS: Final[Mapping[str, Callable[[_Part, str], object]]] = {
    **dict.fromkeys(("name", "driver", "time_zone"), lambda given, name: given.text(name, "")),
    **dict.fromkeys(("lead_s", "margin_frac"), _Part.optional),
    **dict.fromkeys(("step_abs", "version"), _Part.whole),
    "force_driver": _flag,
}


def _engine(given: _Part) -> Engine:
    given.only(*(field.name for field in fields(Engine)))
    return Engine(
        prefill_s=_figures(given, "prefill_s", 3, grows=1),  # type: ignore[arg-type]
        step_s=_figures(given, "step_s", 4, grows=3),  # type: ignore[arg-type]
        miss_frac=_bounded(given, "miss_frac", 0.0, 1.0, 0.0),
        kv_capacity_tokens=_bounded(given, "kv_capacity_tokens", 1.0, 1e15),
        max_seqs=given.whole("max_seqs", 256) or 1,
        prompt_spread=_bounded(given, "prompt_spread", 1.0, 1e6, 2.0),
        output_spread=_bounded(given, "output_spread", 1.0, 1e6, 2.0),
    )


def _bounded(
    given: _Part, name: str, low: float, high: float, default: float | None = None
) -> float:
    figure = given.number(name, default)
    if not low <= figure <= high:
        raise DocumentError(given.path(name), f"{figure:g} is not from {low:g} to {high:g}")
    return figure


def _figures(given: _Part, name: str, length: int, *, grows: int) -> tuple[float, ...]:
    """Return times of an engine [s]; one of the ``grows`` after the first is above 0."""
    value, where = given.plain.get(name), given.path(name)
    if not isinstance(value, list | tuple) or len(value) != length:
        raise DocumentError(where, f"{shown(value)} is no list of {length} numbers")
    figures = tuple(_Part(where, {"": each}).number("") for each in value)
    if min(figures) < 0.0 or max(figures[1 : 1 + grows]) <= 0.0:
        part = "the second is" if grows == 1 else "one after the first is"
        raise DocumentError(where, f"times are at least 0, and {part} above 0")
    return figures


def _state(state: _Part) -> ServiceState:
    state.only(*_STATE)
    if "ready" not in state.plain:
        raise DocumentError(state.path("ready"), "this is missing; give prefill and decode")
    ready = state.pair("ready")
    none = Instances(0, 0)
    starting, held, draining, failed = (
        state.pair(name, none) for name in ("starting", "held", "draining", "failed")
    )
    living = ready, starting, held
    wished = Instances(sum(each.prefill for each in living), sum(each.decode for each in living))
    desired = state.pair("desired", wished)
    counts = (desired, ready, starting, draining, failed, held)
    prefill, decode = (RoleState(*(each.of(role) for each in counts)) for role in Role)
    return ServiceState(prefill, decode, resource_version="")


def _signals(
    given: _Part, now_s: float, spec: ServiceSpec, state: ServiceState
) -> dict[str, Signal]:
    given.only(*SIGNAL_INDEX)
    found = {}
    for name in given.plain:
        kind = SIGNALS[SIGNAL_INDEX[name]]
        one = given.part(name)
        one.only(*_SIGNAL)
        found[name] = _signal(one, kind, now_s, spec, state.of(kind.role).ready)
    return found


def _signal(one: _Part, kind: SignalKind, now_s: float, spec: ServiceSpec, ready: int) -> Signal:
    """Return a signal graded as the loop would, or exactly as given where its quality is."""
    if one.text("unit", kind.unit) != kind.unit:
        raise DocumentError(one.path("unit"), f"{kind.name} is in {kind.unit}; give it so")
    expected = one.whole("expected", ready)
    counts = one.whole("reporting", expected), expected
    if "quality" not in one.plain and counts[0] > expected:
        fix = f"of {expected} expected at most so many can report"
        raise DocumentError(one.path("reporting"), f"{counts[0]} is too many; {fix}")
    value, newest = _value(one, "value"), one.optional("newest")
    if "quality" in one.plain:
        quality, at_s = one.choice("quality", Quality, Quality.OK), one.optional("measured_at_s")
        known = value is not None and isfinite(value)
        if not known and quality not in _UNREAD:
            raise DocumentError(one.path("quality"), f"without a number it can't be {quality}")
        figures = (None, None) if quality in _UNREAD else (value, newest)
        return Signal(kind.name, figures[0], kind.unit, at_s, *counts, quality, figures[1])
    at_s = one.number("measured_at_s", now_s)
    signal = _graded(kind, value, at_s, counts, now_s, spec)
    return signal if newest is None or signal.value is None else replace(signal, newest=newest)


_UNREAD: Final = (Quality.MISSING, Quality.INVALID)


def _value(one: _Part, name: str) -> float | None:
    """Return a value; ``NaN`` and infinity stay what they are, written as text or not."""
    given = one.plain.get(name)
    if isinstance(given, str) and given.strip().lower() in _NO_NUMBERS:
        return nan
    if isinstance(given, float) and not isfinite(given):
        return given
    return one.optional(name)


_NO_NUMBERS: Final = frozenset(
    {"nan", "inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"}
)


def _graded(  # noqa: PLR0913, PLR0917 - what the loop knows of one sample
    kind: SignalKind,
    value: float | None,
    at_s: float,
    counts: tuple[int, int],
    now_s: float,
    spec: ServiceSpec,
) -> Signal:
    """Return one sample with the quality the loop would give it; none that nobody reports."""
    value = None if counts[0] == 0 else value
    row = SIGNAL_INDEX[kind.name]
    values, present = np.zeros((len(SIGNALS), 1)), np.zeros((len(SIGNALS), 1), dtype=np.bool_)
    values[row, 0], present[row, 0] = (0.0 if value is None else value), value is not None
    reporting, expected = (np.zeros((len(Role), 1), dtype=np.int64) for _ in counts)
    role = ROLE_INDEX[kind.role]
    reporting[role, 0], expected[role, 0] = counts
    window = Window(np.array([at_s]), values, present, reporting, expected)
    found = summarise(
        window,
        now_s=now_s,
        max_age_s=MAX_AGE_S,
        coverage_ok_frac=spec.policy.coverage_in_frac,
    )
    return found[kind.name]


def _history(whole: _Part, now_s: float) -> History:
    state = whole.part("state")
    changed = state.pair("changed_from") if state.plain.get("changed_from") else None
    wishes = (_wish(one, now_s) for one in whole.parts("history"))
    return History(
        last_scale_out_s=_past(state, "last_scale_out_s", now_s),
        last_scale_in_s=_past(state, "last_scale_in_s", now_s),
        wishes=tuple(sorted(wishes, key=lambda wish: wish.at_s)),
        in_flight=state.text("in_flight", "") or None,
        refusals=tuple(map(_refusal, whole.parts("refusals"))),
        changed_from=changed,
        stage=_stage(state.part("exchange")) if state.plain.get("exchange") else None,
        outlook=_outlook(whole.part("outlook")),
    )


def _past(given: _Part, name: str, latest_s: float) -> float | None:
    """Return the time of what has been, ``None`` where it is absent."""
    at_s = given.optional(name)
    if at_s is not None and at_s > latest_s:
        fix = f"give a time up to {latest_s:.15g}"
        raise DocumentError(given.path(name), f"{at_s:.15g} is too late; {fix}")
    return at_s


def _outlook(given: _Part) -> Outlook:
    given.only(*(field.name for field in fields(Outlook)))
    for role in Role:
        given.part(role).only(*(field.name for field in fields(Learnt)))
    plain = dict(given.plain)
    fault = fault_of(plain)
    if fault is not None:
        fix = "give it as the service's status keeps it, or leave it out"
        raise DocumentError(given.path(fault), f"{shown(plain[fault])} can't be read; {fix}")
    return from_plain(plain)


def _stage(one: _Part) -> Stage:
    one.only(*(field.name for field in fields(Stage)))
    before, first, then = (one.pair(name) for name in ("before", "first", "then"))
    proposal, second = (
        None if one.plain.get(name) is None else one.whole(name) for name in ("proposal", "second")
    )
    return Stage(
        before,
        first,
        then,
        one.number("since_s"),
        one.number("until_s"),
        one.whole("policy_version"),
        one.choice("mode", Mode, Mode.OBSERVE),
        one.text("resource_version", ""),
        proposal,
        second,
    )


def _wish(one: _Part, now_s: float) -> Wish:
    one.only("at_s", "prefill", "decode", "since_s")
    want = Instances(one.whole("prefill"), one.whole("decode"))
    at_s = one.number("at_s")
    _past(one, "at_s", now_s)
    return Wish(at_s, want, _past(one, "since_s", at_s))


def _refusal(one: _Part) -> Refusal:
    one.only("prefill", "decode", "until_s", "by", "reason")
    want = Instances(one.whole("prefill"), one.whole("decode"))
    return Refusal(want, one.number("until_s"), one.text("by", ""), one.text("reason", ""))


def _overrides(
    given: Sequence[_Part], scope: str, now_s: float
) -> tuple[Hold | None, list[Override]]:
    """Return the freeze in force and all other overrides; of several freezes the first."""
    freezes = [one for one in given if one.plain.get("kind") == OverrideKind.FREEZE]
    found = [_freeze(one, scope, now_s) for one in freezes]
    hold = next((each for each in found if _in_force(each, now_s)), None)
    others = (one for one in given if one.plain.get("kind") != OverrideKind.FREEZE)
    return hold, [_override(one, scope, key, now_s) for key, one in enumerate(others, 1)]


def _freeze(one: _Part, scope: str, now_s: float) -> Hold:
    one.only("kind", "by", "reason", "since_s", "until_s")
    by, reason = (one.named(name) for name in ("by", "reason"))
    return Hold(scope, by, reason, one.number("since_s", now_s), one.optional("until_s"))


def _override(one: _Part, scope: str, key: int, now_s: float) -> Override:
    one.only("kind", "values", "by", "reason", "scope", "since_s", "until_s")
    one.named("kind")
    kind, values = one.choice("kind", OverrideKind, OverrideKind.PIN), one.part("values")
    fault = fault_of_values(kind, values.plain)
    if fault is not None:
        raise DocumentError(values.path(fault[0]) if fault[0] else values.where, fault[1])
    since_s, until_s = one.number("since_s", now_s), one.number("until_s")
    if not 0.0 <= until_s <= LATEST_S:
        raise DocumentError(one.path("until_s"), "give seconds since 1970")
    return Override(
        key,
        kind,
        one.choice("scope", ScopeKind, ScopeKind.SERVICE),
        scope,
        one.named("by"),
        one.named("reason"),
        since_s=since_s,
        until_s=until_s,
        values=dict(values.plain),
    )


def _in_force(hold: Hold, now_s: float) -> bool:
    return hold.since_s <= now_s and (hold.until_s is None or now_s < hold.until_s)


def record_of(
    decision: Decision, hold: Hold | None = None, overrides: Sequence[Override] = ()
) -> dict[str, Any]:
    """Return the record of a decision as plain values; what isn't known of it is ``None``."""
    return {
        "id": None,
        "time": datetime.fromtimestamp(decision.now_s, UTC).isoformat(),
        "now_s": decision.now_s,
        "service": decision.service,
        "loop_seq": None,
        "policy_version": decision.policy_version,
        "inventory_version": None,
        "mode": decision.mode.value,
        "driver": decision.driver,
        "load": decision.load,
        "inputs": _inputs(decision.signals, decision.now_s),
        "forecast": None if decision.forecast is None else forecast_plain(decision.forecast),
        "current": decision.current._asdict(),
        "raw": decision.raw._asdict(),
        "parts": [
            {"policy": part.policy, "want": part.want._asdict()}
            | {"reason_code": part.reason.code.value, "detail": part.reason.text}
            for part in decision.parts
        ],
        "steps": [
            {
                "name": step.name,
                "before": step.before._asdict(),
                "after": step.after._asdict(),
                "reason_code": step.code.value,
                "detail": step.detail,
            }
            for step in decision.steps
        ],
        "final": decision.final._asdict(),
        "then": None if decision.then is None else decision.then._asdict(),
        "action": decision.move.value,
        "gate": decision.gate.value,
        "reason_code": decision.code.value,
        "sentence": decision.sentence,
        "placement": None,
        "proposal": None,
        "override": None if hold is None else {"scope": hold.scope} | _freeze_document(hold),
        "overrides": effects(decision, overrides),
        "outcome": None,
    }


def _inputs(signals: Signals, now_s: float) -> list[dict[str, object]]:
    return [
        {
            "metric": name,
            "role": SIGNALS[SIGNAL_INDEX[name]].role.value,
            "value": one.value,
            "unit": one.unit,
            "window": None,
            "age_s": None if one.measured_at_s is None else round(now_s - one.measured_at_s, 1),
            "coverage_pct": round(100.0 * one.coverage_frac, 1) if one.expected else None,
            "source": None,
            "health": one.quality.value,
        }
        for name, one in signals.items()
    ]


def forecast_plain(forecast: Forecast) -> dict[str, object]:
    """Return what a decision provided for as plain values; an infinite figure is ``None``."""
    return {field.name: _told(getattr(forecast, field.name)) for field in fields(forecast)}


def _told(value: object) -> object:
    if isinstance(value, Mix):
        return asdict(value)
    if isinstance(value, tuple):
        return {role.value: _told(each) for role, each in zip(Role, value, strict=True)}
    # JSON has no infinity: a latency that can't be kept has no figure.
    return None if isinstance(value, float) and not isfinite(value) else value


def document_of(context: Context) -> dict[str, Any]:
    """Return the document :func:`context_from` makes this context of."""
    spec, state, history = context.spec, context.state, context.history
    return {
        "now_s": context.now_s,
        "service": _service_document(spec),
        "state": {
            **{
                name: {role.value: getattr(state.of(role), name) for role in Role}
                for name in ("desired", "ready", "starting", "held", "draining", "failed")
            },
            "last_scale_out_s": history.last_scale_out_s,
            "last_scale_in_s": history.last_scale_in_s,
            "in_flight": history.in_flight or "",
            "changed_from": history.changed_from and history.changed_from._asdict(),
            "exchange": None if history.stage is None else stage_plain(history.stage),
        },
        "signals": {name: _signal_document(one) for name, one in context.signals.items()},
        "history": [
            {"at_s": wish.at_s, **wish.want._asdict(), "since_s": wish.since_s}
            for wish in history.wishes
        ],
        "refusals": [
            {**each.want._asdict(), "until_s": each.until_s}
            | {"by": each.by, "reason": each.reason}
            for each in history.refusals
        ],
        "overrides": [
            *([] if context.hold is None else [_freeze_document(context.hold)]),
            *(
                _override_document(one)
                for one in spec.overrides
                if one.kind is not OverrideKind.FREEZE
            ),
        ],
        "gpus_free": dict(context.gpus_free),
        "gpus_left": context.gpus_left,
        "outlook": as_plain(history.outlook),
        "usual_start_s": dict(context.usual_start_s),
        "handicap": context.handicap._asdict(),
    }


def stage_plain(stage: Stage) -> dict[str, Any]:
    """Return the half of an exchange that is still to come as plain values."""
    pairs = {name: getattr(stage, name)._asdict() for name in ("before", "first", "then")}
    times = {"since_s": stage.since_s, "until_s": stage.until_s}
    others = ("policy_version", "resource_version", "proposal", "second")
    rest = {name: getattr(stage, name) for name in others}
    return pairs | times | {"mode": stage.mode.value} | rest


def stage_from(plain: object) -> Stage | None:
    """Return the half of an exchange that plain values hold; ``None`` if it is none.

    What a row holds and can't be read permits nothing (S24).
    """
    try:
        return _stage(part_of(plain, "exchange")) if plain else None
    except DocumentError:
        return None


def _service_document(spec: ServiceSpec) -> dict[str, Any]:
    config = spec.policy_set or spec.policy
    policy = {name: getattr(config, name) for name in _POLICY}
    document = {
        "name": spec.key,
        "cluster": spec.cluster,
        "mode": (spec.mode_set or spec.mode).value,  # the overrides beside it steer both again
        **terms_plain(spec),
        "further": {role.value: dict(kinds) for role, kinds in spec.further.items()},
        "policy": policy
        | {"schedule": schedule_plain(config.schedule), "adapt": config.adapt.value},
    }
    return document if spec.engine is None else document | {"engine": asdict(spec.engine)}


def terms_plain(spec: ServiceSpec) -> dict[str, Any]:
    """Return what is in force beside a service's policy as plain values."""
    return {
        "slo": asdict(spec.slo),
        "limits": {
            "minimum": spec.limits.minimum._asdict(),
            "maximum": spec.limits.maximum._asdict(),
            "max_gpus": spec.limits.max_gpus,
        },
        "gpus_per_instance": spec.gpus_per_instance._asdict(),
        "hardware": {role.value: spec.hardware[role] for role in Role},
        "priority": spec.priority,
    }


def _signal_document(one: Signal) -> dict[str, object]:
    known = {name: getattr(one, name) for name in _SIGNAL}
    return known | {"quality": one.quality.value}


def _override_document(one: Override) -> dict[str, object]:
    said = {name: getattr(one, name) for name in ("by", "reason", "since_s", "until_s")}
    scope = {"kind": one.kind.value, "scope": one.scope.value}
    return scope | said | {"values": dict(one.values)}


def _freeze_document(hold: Hold) -> dict[str, object]:
    return {"kind": "breaker" if hold.is_breaker else "freeze"} | {
        name: getattr(hold, name) for name in ("by", "reason", "since_s", "until_s")
    }
