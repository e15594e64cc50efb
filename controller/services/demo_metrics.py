"""The demonstration read through a real Prometheus instead of from the simulator itself."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from controller.services import audit
from controller.services.errors import InvalidError
from inventory.models import MetricsEndpoint, Service, ServiceMetrics

SLUG: Final = "demo-prometheus"
"""A name of its own: an operator's endpoint is never changed."""

PRESETS: Final = ("vllm", "dcgm")
SCRAPE_S: Final = 15.0
ACTOR: Final = "start command"


def read_through(url: str | None) -> bool:
    """Let every simulated service be read from the Prometheus at ``url``; without, from itself.

    Returns whether anything changed. A service that reads from another endpoint keeps that too.
    Raises :class:`InvalidError` for an address without HTTP.
    """
    if url is None:
        return _read_directly()
    url = url.rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise InvalidError(
            "prometheus", f"{url} is no address: give one like http://localhost:9090."
        )
    services = list(Service.objects.filter(simulated__isnull=False))
    with transaction.atomic():
        wanted = {"url": url, "enabled": True, "attach": {}, "scrape_s": SCRAPE_S}
        row, made = MetricsEndpoint.objects.get_or_create(slug=SLUG, defaults=wanted)
        changed = made or any(getattr(row, name) != value for name, value in wanted.items())
        if changed and not made:
            for name, value in wanted.items():
                setattr(row, name, value)
            row.save()
        uses = [
            ServiceMetrics.objects.get_or_create(
                service=service, endpoint=row, defaults={"presets": list(PRESETS)}
            )
            for service in services
        ]
        changed |= any(new for _, new in uses)
        if changed:
            audit.record(
                actor=ACTOR,
                verb="let the demo be read through a Prometheus",
                obj=row,
                after={"url": url, "services": len(services)},
            )
    return changed


def _read_directly() -> bool:
    with transaction.atomic():
        row = MetricsEndpoint.objects.filter(slug=SLUG).first()
        if row is None:
            return False
        audit.record(
            actor=ACTOR,
            verb="let the demo be read directly",
            obj=row,
            before={"url": row.url, "services": row.uses.count()},
        )
        row.uses.all().delete()
        row.delete()
    return True
