"""Contexts for core tests: one healthy service whose figures are easy to reckon with."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from controller.core.types import (
    SIGNALS,
    Context,
    History,
    Hold,
    Instances,
    Limits,
    Mode,
    PolicyConfig,
    Quality,
    Refusal,
    Role,
    RoleState,
    ServiceSpec,
    ServiceState,
    Signal,
    Signals,
    Slo,
    Window,
    Wish,
)

NOW_S = 1_000_000.0
POLICY = PolicyConfig(
    "proportional",
    "decode_tps",
    target=1000.0,
    pd_ratio=0.5,
    cooldown_out_s=60.0,
    step_out_frac=0.25,
    hold_s=0.0,
    margin_frac=0.0,
    drain_s=0.0,
)
LIMITS = Limits(Instances(1, 1), Instances(50, 100), max_gpus=10_000)
SPEC = ServiceSpec(
    key="chat",
    cluster="eu-1",
    mode=Mode.AUTOMATIC,
    slo=Slo(ttft_s=1.0, tbt_s=0.05),
    limits=LIMITS,
    policy=POLICY,
    gpus_per_instance=Instances(2, 4),
    hardware={Role.PREFILL: "H800", Role.DECODE: "H20"},
)
PLENTY: Mapping[str, int] = {"H800": 100_000, "H20": 100_000}
MEANS = ("s", "share")
"""Units of signals that are means of the instances and not sums over them."""

UNREAD = (Quality.MISSING, Quality.INVALID)


def state(current: Instances, *, draining: Instances | None = None) -> ServiceState:
    """Return a state in which everything wished for is ready."""
    gone = draining or Instances(0, 0)
    return ServiceState(
        RoleState(current.prefill, current.prefill, draining=gone.prefill),
        RoleState(current.decode, current.decode, draining=gone.decode),
        resource_version="7",
    )


def healthy(decode_tps: float, current: Instances) -> dict[str, Signal]:
    """Return every signal ok, fully reported, latencies at half their goal; idle at 0 tokens/s."""
    busy = min(0.7 * decode_tps / (1000.0 * max(current.decode, 1)), 1.0)
    values = {
        "decode_tps": decode_tps,
        "prefill_tps": 2.0 * decode_tps,
        "prefill_tps_uncached": decode_tps,
        "ttft_s": 0.5,
        "tbt_s": 0.025,
        "request_rps": decode_tps / 100.0,
        "prefill_util": busy,
        "prefill_sm": busy,
    }
    found = {}
    for kind in SIGNALS:
        expected = current.of(kind.role)
        found[kind.name] = Signal(
            kind.name,
            values.get(kind.name, 0.0),
            kind.unit,
            NOW_S - 5.0,
            expected,
            expected,
            Quality.OK,
        )
    return found


def graded(signals: Signals, name: str, quality: Quality) -> dict[str, Signal]:
    """Return the signals with one of them made worse; unread ones lose their value.

    A partial one is reported by half of the instances, and a sum over them is half of what it was.
    """
    found = signals[name]
    value = None if quality in UNREAD else found.value
    reporting = found.reporting // 2 if quality is Quality.PARTIAL else found.reporting
    if value is not None and found.unit not in MEANS:
        value *= reporting / max(found.reporting, 1)
    worse = replace(found, quality=quality, value=value, reporting=reporting)
    return {**signals, name: worse}


def valued(signals: Signals, **values: float) -> dict[str, Signal]:
    """Return the signals with other values."""
    return {**signals, **{name: replace(signals[name], value=v) for name, v in values.items()}}


def without(signals: Signals, *names: str) -> dict[str, Signal]:
    """Return the signals with some of them missing."""
    found = dict(signals)
    for name in names:
        found = graded(found, name, Quality.MISSING)
    return found


def wishes(want: Instances, *, over_s: float = 300.0) -> tuple[Wish, ...]:
    """Return the same wish every 15 s up to now."""
    return tuple(Wish(NOW_S - age, want) for age in np.arange(over_s, 0.0, -15.0).tolist())


def context(  # noqa: PLR0913 - a test names only what it is about
    current: Instances,
    decode_tps: float,
    *,
    spec: ServiceSpec = SPEC,
    signals: Signals | None = None,
    history: History | None = None,
    hold: Hold | None = None,
    gpus_free: Mapping[str, int] = PLENTY,
) -> Context:
    """Return a context; by default healthy, unhindered and with a memory that wants little."""
    return Context(
        now_s=NOW_S,
        spec=spec,
        state=state(current),
        signals=healthy(decode_tps, current) if signals is None else signals,
        history=History(wishes=wishes(Instances(0, 0))) if history is None else history,
        hold=hold,
        gpus_free=gpus_free,
    )


def policy(**fields: object) -> ServiceSpec:
    """Return the service with other policy fields."""
    return replace(SPEC, policy=replace(POLICY, **fields))  # type: ignore[arg-type]


def limits(
    minimum: Instances = LIMITS.minimum,
    maximum: Instances = LIMITS.maximum,
    max_gpus: int = LIMITS.max_gpus,
) -> ServiceSpec:
    """Return the service with other limits."""
    return replace(SPEC, limits=Limits(minimum, maximum, max_gpus))


def refused(want: Instances, *, left_s: float = 240.0) -> History:
    """Return a history in which Ana rejected ``want``."""
    refusal = Refusal(want, NOW_S + left_s, "ana", "too early")
    return History(wishes=wishes(Instances(0, 0)), refusals=(refusal,))


def window(
    samples: Mapping[str, Sequence[float | None]],
    *,
    period_s: float = 15.0,
    reporting: tuple[int, int] = (2, 4),
    expected: tuple[int, int] = (2, 4),
) -> Window:
    """Return a window of samples, oldest first, the newest at ``NOW_S``; ``None`` is absent."""
    length = max((len(column) for column in samples.values()), default=4)
    values = np.zeros((len(SIGNALS), length))
    present = np.zeros((len(SIGNALS), length), dtype=np.bool_)
    for row, kind in enumerate(SIGNALS):
        for at, value in enumerate(samples.get(kind.name, ())):
            present[row, at] = value is not None
            values[row, at] = 0.0 if value is None else value
    ones = np.ones(length, dtype=np.int64)
    return Window(
        times_s=NOW_S - period_s * np.arange(length - 1, -1, -1, dtype=np.float64),
        values=values,
        present=present,
        reporting=np.stack([ones * reporting[0], ones * reporting[1]]),
        expected=np.stack([ones * expected[0], ones * expected[1]]),
    )
