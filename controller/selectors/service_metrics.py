"""What a service reads from which endpoint, and what the last tick read of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.core.readings.presets import KINDS
from controller.core.readings.trying import Ready, Tried
from controller.core.types import ROLES, Quality, Role
from controller.models import ServiceStatus
from inventory.models import MetricsEndpoint, Service, ServiceMetrics


@dataclass(frozen=True, slots=True)
class Read:
    """Endpoints there are, which of them the service reads, and what the last tick has of it."""

    endpoints: Sequence[MetricsEndpoint]
    uses: Sequence[ServiceMetrics]
    figures: Mapping[str, Tried]
    ready: Ready


def read_metrics(service: Service) -> Read:
    """Read what a service measures itself by; four queries.

    What was read before it was changed is no figure of what it reads now.
    """
    rows = service.metrics.select_related("endpoint").prefetch_related("written")
    uses = list(rows.order_by("rank", "pk"))
    changed = [use.updated for use in uses] + [
        q.updated for use in uses for q in use.written.all()
    ]
    status = ServiceStatus.objects.filter(service=service).first()
    seen = status.observed_at if status else None
    is_of_now = seen is not None and all(at <= seen for at in changed)
    return Read(
        endpoints=list(MetricsEndpoint.objects.select_related("status")),
        uses=uses,
        figures=_figures(status) if status and is_of_now else {},
        ready=_ready(status) if status else Ready({}, {}),
    )


def _figures(status: ServiceStatus) -> dict[str, Tried]:
    """Return the signals of the last tick, as old as they were then."""
    at_s = status.observed_at.timestamp() if status.observed_at else None
    found: dict[str, Tried] = {}
    for name, signal in status.signals.items():
        if name in KINDS:
            measured_s = signal["measured_at_s"]
            is_known = at_s is not None and measured_s is not None
            found[name] = Tried(
                KINDS[name],
                Quality(signal["quality"]),
                signal["value"],
                at_s - measured_s if is_known else None,
                signal["reporting"],
                signal["expected"],
            )
    return found


def _ready(status: ServiceStatus) -> Ready:
    names: dict[Role, frozenset[str]] = {
        role: frozenset(
            one["name"]
            for one in status.instances
            if one["role"] == role.value and one["state"] == "ready"
        )
        for role in ROLES
    }
    counts = {Role.PREFILL: status.prefill_ready, Role.DECODE: status.decode_ready}
    return Ready(counts, names)
