"""Values for tests of figures, without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from controller.core.types import (
    SIGNALS,
    Instances,
    Limits,
    Mode,
    PolicyConfig,
    Role,
    ServiceSpec,
    Slo,
)
from controller.selectors.series import DecisionMark, FreezeSpan, ServiceSeries

NOON_S = 1_772_366_400.0  # 2026-03-01T12:00:00Z
STEP_S = 15.0


def a_spec(**policy: object) -> ServiceSpec:
    """Return a service with target 1,000 tok/s per decode instance and 0.5 prefill per decode."""
    return ServiceSpec(
        key="chat",
        cluster="eu-1-a",
        mode=Mode.AUTOMATIC,
        slo=Slo(1.0, 0.05),
        limits=Limits(Instances(1, 1), Instances(8, 8), 400),
        policy=PolicyConfig(
            **{"name": "proportional", "driver": "decode_tps", "target": 1_000.0, "pd_ratio": 0.5}
            | policy
        ),
        gpus_per_instance=Instances(2, 2),
        hardware={Role.PREFILL: "h800", Role.DECODE: "h800"},
    )


def a_mark(pk: int = 1, at_s: float = NOON_S, **fields: object) -> DecisionMark:
    """Return a scale-out of decode 4 → 6."""
    given: dict[str, Any] = {
        "service": "chat",
        "last_s": at_s,
        "count": 1,
        "move": "scale_out",
        "gate": "act",
        "code": "ABOVE_TARGET",
        "sentence": "Decode 4 → 6.",
        "current": Instances(2, 4),
        "raw": Instances(3, 7),
        "final": Instances(3, 6),
        "failed": False,
    } | fields
    return DecisionMark(pk=pk, first_s=at_s, **given)


def a_series(count: int = 40, **fields: object) -> ServiceSeries:
    """Return ``count`` samples 15 s apart from noon on: prefill 2, decode 4, 4,000 tok/s."""
    times = NOON_S + STEP_S * np.arange(count)
    pair = np.tile(np.array([[2], [4]]), (1, count))
    signals = {kind.name: np.full(count, np.nan) for kind in SIGNALS}
    signals |= {
        "decode_tps": np.full(count, 4_000.0),
        "ttft_s": np.full(count, 0.5),
        "tbt_s": np.full(count, 0.03),
    }
    made = ServiceSeries(
        name="Chat",
        spec=a_spec(),
        since_s=NOON_S,
        until_s=float(times[-1]) if count else NOON_S + 600,
        step_s=STEP_S,
        times_s=times,
        desired=pair,
        ready=pair.copy(),
        starting=np.zeros_like(pair),
        held=np.zeros_like(pair),
        reporting=pair,
        expected=pair,
        signals=signals,
    )
    return replace(made, **fields)


def a_freeze(**fields: object) -> FreezeSpan:
    """Return a freeze by ana from 12:02 to 12:05."""
    given: dict[str, Any] = {
        "scope": "chat",
        "by": "ana",
        "reason": "deploy",
        "since_s": NOON_S + 120,
        "until_s": NOON_S + 300,
    } | fields
    return FreezeSpan(**given)
