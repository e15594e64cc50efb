"""What is frozen, read from every place a stop can come from; unreadable means frozen (S16)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Q
from django.db.models.functions import Now

from controller.core.overrides import OverrideKind
from controller.core.types import Hold
from controller.core.words import clean
from controller.models.overriding import Override
from controller.models.scopes import FLEET, covering, in_time
from controller.models.steering import Freeze
from inventory.models import Service

FLAG_FILE = "FREEZE"


@dataclass(frozen=True, slots=True)
class Holds:
    """The fleet's hold, if any, and those of single services by slug, whatever their scope."""

    fleet: Hold | None
    services: Mapping[str, Hold]

    def over(self, service: str) -> Hold | None:
        """Return the hold a service is under; that of the widest scope comes first."""
        return self.fleet or self.services.get(service)


def held(service: str = "service") -> Q:
    """Return whether the service that an outer query names is frozen by a person's row.

    For the condition of an UPDATE, so that nothing is claimed once a freeze is in force; what the
    environment and the file say is asked apart.
    """
    freezes = Freeze.objects.filter(covering(service), ended_at=None)
    timed = Override.objects.filter(covering(service), in_time(Now()), kind=OverrideKind.FREEZE)
    return Q(Exists(freezes)) | Q(Exists(timed))


def read() -> Holds:
    """Read the environment, the flag file and the rows.

    Two queries, and one more while a region or a cluster is frozen.
    """
    fleet = by_environment() or by_file()
    found = [*_rows()]
    members = _members() if any(row.region_id or row.cluster_id for row, _ in found) else ()
    services: dict[str, Hold] = {}
    for row, hold in sorted(found, key=lambda one: WIDTH[one[0].scope_kind]):
        if row.scope_kind == "fleet":
            fleet = fleet or hold
        elif row.service is not None:
            services.setdefault(row.service.slug, hold)
        for slug, cluster, region in members:
            if row.cluster_id == cluster or row.region_id == region:
                services.setdefault(slug, hold)
    return Holds(fleet, services)


WIDTH = {"fleet": 0, "region": 1, "cluster": 2, "service": 3}
"""How narrow a scope is: of several stops the widest is told first."""


def _rows() -> Iterator[tuple[Freeze | Override, Hold]]:
    parts = ("service", "cluster", "region")
    for row in Freeze.objects.filter(ended_at=None).select_related(*parts):
        yield row, Hold(row.scope, row.by_name, row.reason, row.since.timestamp())
    timed = Override.objects.filter(in_time(Now()), kind=OverrideKind.FREEZE)
    for one in timed.select_related(*parts):
        since_s, until_s = one.starts_at.timestamp(), one.ends_at.timestamp()
        yield one, Hold(one.scope, one.by_name, one.reason, since_s, until_s)


def _members() -> list[tuple[str, UUID, UUID]]:
    return list(Service.objects.values_list("slug", "cluster_id", "cluster__region_id"))


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
