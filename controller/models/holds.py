"""What is frozen, read from every place a stop can come from; unreadable means frozen (S16)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from pathlib import Path
from stat import S_ISREG
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, Q
from django.db.models.functions import Now

from controller.core.overrides import OverrideKind
from controller.core.types import Hold
from controller.core.words import clean
from controller.models.overriding import Breaker, Override
from controller.models.scopes import FLEET, Scoped, covering, in_time
from controller.models.steering import Freeze
from inventory.models import Service

FLAG_FILE = "FREEZE"
BY_ITSELF = "the controller"


@dataclass(frozen=True, slots=True)
class Holds:
    """The fleet's hold, if any, and those of single services by slug, whatever their scope.

    Open breakers are kept apart: they stop what nobody approved, and nothing else.
    """

    fleet: Hold | None
    services: Mapping[str, Hold]
    breaker: Hold | None = None
    broken: Mapping[str, Hold] = field(default_factory=dict)

    def over(self, service: str) -> Hold | None:
        """Return the hold a service is under; that of the widest scope comes first."""
        return self.fleet or self.services.get(service)

    def automatic_over(self, service: str) -> Hold | None:
        """Return what keeps the controller from acting by itself: a hold or an open breaker."""
        return self.over(service) or self.breaker or self.broken.get(service)


def held(service: str = "service") -> Q:
    """Return whether the service that an outer query names is frozen by a person's row.

    For the condition of an UPDATE, so that nothing is claimed once a freeze is in force; what the
    environment and the file say is asked apart.
    """
    freezes = Freeze.objects.filter(covering(service), ended_at=None)
    timed = Override.objects.filter(covering(service), in_time(Now()), kind=OverrideKind.FREEZE)
    return Q(Exists(freezes)) | Q(Exists(timed))


def tripped(service: str = "service") -> Q:
    """Return whether a breaker is open over the service that an outer query names."""
    return Q(Exists(Breaker.objects.filter(covering(service), ended_at=None)))


def read() -> Holds:
    """Read the environment, the flag file and the rows.

    Three queries, and one more while something is stopped in a region or a cluster.
    """
    found, open_ones = [*_rows()], [*_breakers()]
    wide = any(row.region_id or row.cluster_id for row, _ in (*found, *open_ones))
    members = _members() if wide else []
    fleet, services = _spread(found, members)
    return Holds(by_environment() or by_file() or fleet, services, *_spread(open_ones, members))


def _spread(
    found: Iterable[tuple[Scoped, Hold]], members: Iterable[tuple[str, UUID, UUID]]
) -> tuple[Hold | None, dict[str, Hold]]:
    """Return the fleet's hold and those of services, that of the widest scope first."""
    fleet, services = None, dict[str, Hold]()
    for row, hold in sorted(found, key=lambda one: WIDTH[one[0].scope_kind]):
        if row.scope_kind == "fleet":
            fleet = fleet or hold
        elif row.service is not None:
            services.setdefault(row.service.slug, hold)
        for slug, cluster, region in members:
            if cluster == getattr(row.cluster, "pk", None) or region == getattr(
                row.region, "pk", None
            ):
                services.setdefault(slug, hold)
    return fleet, services


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


def _breakers() -> Iterator[tuple[Breaker, Hold]]:
    found = Breaker.objects.filter(ended_at=None)
    for row in found.select_related("service", "cluster", "region"):
        since_s = row.opened_at.timestamp()
        yield row, Hold(row.scope, BY_ITSELF, row.cause, since_s, is_breaker=True)


def _members() -> list[tuple[str, UUID, UUID]]:
    return list(Service.objects.values_list("slug", "cluster_id", "cluster__region_id"))


def by_environment() -> Hold | None:
    """Return the hold that the environment setting asks for."""
    if not settings.FREEZE_FLAG:
        return None
    return Hold(FLEET, "the environment", "HETEROSCALE_FREEZE is set", since_s=0.0)


def by_file() -> Hold | None:
    """Return the hold that the file ``FREEZE`` in the data directory asks for; its text is why.

    Whatever else bears that name is one that can't be read, a link to nothing too, and so is any
    in a data directory that is gone though it is known to have been there.
    """
    path = Path(settings.HOME) / FLAG_FILE
    try:
        found = path.lstat()
        if not S_ISREG(found.st_mode):  # never opened: a pipe would keep its reader waiting
            return _unreadable(OSError(EINVAL, "it is no plain file"))
        text = clean(path.read_text(encoding="utf-8", errors="replace")).strip()
    except FileNotFoundError as fault:
        expected = settings.HOME_EXPECTED and not path.parent.is_dir()
        return _unreadable(fault) if expected else None
    except OSError as fault:
        return _unreadable(fault)
    return Hold(FLEET, f"the file {path.name}", text[:200] or "no reason given", found.st_mtime)


def _unreadable(fault: OSError) -> Hold:
    return Hold(FLEET, "an unreadable flag", f"{FLAG_FILE}: {fault.strerror}", since_s=0.0)
