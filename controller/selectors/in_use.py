"""The target and the ratio a service is sized by: its own, the workload's, or a person's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from controller.core.overrides import Override, OverrideKind
from controller.core.overrides_plain import from_plain
from controller.core.raw_values import finite
from controller.core.types import Adapt
from controller.models import Decision
from inventory.models import Service


@dataclass(frozen=True, slots=True)
class InUse:
    """Prefill per decode, and the target in the driver's unit per instance."""

    pd_ratio: float
    target: float


def in_use(service: Service, decision: Decision | None = None) -> InUse | None:
    """Return what the decision, or else the newest, was made with in place of the configured.

    ``None`` where ``adapt`` is not automatic, or where nothing was measured: then the policy's own
    are in use. Without a decision given it takes one query, and that only where they may differ.
    """
    policy = getattr(service, "policy", None)
    if policy is None or policy.adapt != Adapt.AUTOMATIC:
        return None
    if decision is None:
        decision = Decision.objects.filter(service=service).only("pk", "forecast").first()
    kept: Any = decision.forecast if decision else None
    ratio = finite(kept.get("ratio")) if isinstance(kept, Mapping) else None
    if not ratio:
        return None
    return InUse(ratio, finite(kept.get("target")) or policy.target)


def set_ratio(decision: Decision | None, now: datetime) -> Override | None:
    """Return the ratio a person set over the policy's, as the decision felt it and while it lasts.

    Under a pin no ratio counts.
    """
    terms: Any = decision.terms if decision else None
    found = from_plain(terms.get("overrides")) if isinstance(terms, Mapping) else ()
    ruling = {one.kind: one for one in found if now.timestamp() < one.until_s}
    return None if OverrideKind.PIN in ruling else ruling.get(OverrideKind.RATIO)
