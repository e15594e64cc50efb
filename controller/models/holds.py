"""What is frozen, read from every place a stop can come from; unreadable means frozen (S16)."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from controller.core.types import Hold
from controller.core.words import clean
from controller.models.steering import Freeze

FLAG_FILE = "FREEZE"
FLEET = "the fleet"


@dataclass(frozen=True, slots=True)
class Holds:
    """The fleet's hold, if any, and those of single services by slug."""

    fleet: Hold | None
    services: Mapping[str, Hold]

    def over(self, service: str) -> Hold | None:
        """Return the hold a service is under; the fleet's comes first."""
        return self.fleet or self.services.get(service)


def read() -> Holds:
    """Read the environment, the flag file and the rows; one query."""
    fleet = by_environment() or by_file()
    services: dict[str, Hold] = {}
    for row in Freeze.objects.filter(ended_at__isnull=True).select_related("service"):
        hold = Hold(row.scope, row.by_name, row.reason, row.since.timestamp())
        if row.service is None:
            fleet = fleet or hold
        else:
            services[row.service.slug] = hold
    return Holds(fleet, services)


def by_environment() -> Hold | None:
    """Return the hold that the environment setting asks for."""
    if not settings.FREEZE_FLAG:
        return None
    return Hold(FLEET, "the environment", "HETEROSCALE_FREEZE is set", since_s=0.0)


def by_file() -> Hold | None:
    """Return the hold that the file ``FREEZE`` in the data directory asks for; its text is why."""
    path = Path(settings.HOME) / FLAG_FILE
    try:
        if not path.exists():
            return None
        text = clean(path.read_text(encoding="utf-8", errors="replace")).strip()
        since_s = path.stat().st_mtime
    except OSError as fault:
        return Hold(FLEET, "an unreadable flag", f"{path.name}: {fault.strerror}", since_s=0.0)
    return Hold(FLEET, f"the file {path.name}", text[:200] or "no reason given", since_s)
