"""From names to the rows they mean, read once for each kind while an import is written."""

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Lower

from inventory.models import (
    Cluster,
    Fabric,
    HardwareType,
    Node,
    NvlinkDomain,
    Rack,
    Region,
    Site,
    Switch,
)

Key = tuple[str, ...]


class UnknownNameError(LookupError):
    """A name that no row has any more."""


@dataclass(slots=True)
class Lookups:
    """The rows of some clusters by kind and names in any letters."""

    clusters: Collection[str]
    _ids: dict[str, dict[Key, UUID]] = field(default_factory=dict)
    _regions: dict[str, str] = field(default_factory=dict)

    def forget(self, kind: str) -> None:
        """Read a kind anew when it is asked for next."""
        self._ids.pop(kind, None)
        if kind == "cluster":
            self._regions = {}

    def get(self, kind: str, *names: str) -> UUID:
        """Return the row with these names. Raises :class:`UnknownNameError`."""
        if kind not in self._ids:
            self._ids[kind] = _READERS[kind](self)
        found = self._ids[kind].get(tuple(name.lower() for name in names))
        if found is None:
            raise UnknownNameError(f"there is no {kind.replace('_', ' ')} {'/'.join(names)}")
        return found

    def rack(self, cluster: str, place: str) -> UUID:
        """Return the rack that a thing of a cluster calls ``site/name``."""
        site, _, name = place.rpartition("/")
        try:
            return self.get("rack", self.region_of(cluster), site, name)
        except UnknownNameError:
            # A site of another region, as a person may have moved it.
            return self.get("rack", "", site, name)

    def region_of(self, cluster: str) -> str:
        """Return the region of a cluster."""
        if not self._regions:
            rows = self.of(Cluster.objects.all(), "slug").values_list("slug", "region__slug")
            self._regions = {slug.lower(): region for slug, region in rows}
        return self._regions.get(cluster.lower(), "")

    def of(self, rows: QuerySet[Any], path: str = "cluster__slug") -> QuerySet[Any]:
        """Return the rows of these clusters."""
        wanted = {slug.lower() for slug in self.clusters}
        own: QuerySet[Any] = rows.alias(place=Lower(path))
        return own.filter(place__in=wanted)


def _named(rows: QuerySet[Any], *names: str) -> dict[Key, UUID]:
    return {
        tuple(str(cell).lower() for cell in cells): row
        for row, *cells in rows.order_by().values_list("id", *names)
    }


def _racks(_lookups: Lookups) -> dict[Key, UUID]:
    found = _named(Rack.objects.all(), "site__region__slug", "site__slug", "name")
    places: dict[Key, list[UUID]] = defaultdict(list)
    for (_, *place), row in found.items():
        places["", *place].append(row)
    return found | {place: rows[0] for place, rows in places.items() if len(rows) == 1}


_READERS: Final[dict[str, Callable[[Lookups], dict[Key, UUID]]]] = {
    "region": lambda _: _named(Region.objects.all(), "slug"),
    "site": lambda _: _named(Site.objects.all(), "region__slug", "slug"),
    "cluster": lambda own: _named(own.of(Cluster.objects.all(), "slug"), "slug"),
    "fabric": lambda own: _named(own.of(Fabric.objects.all()), "cluster__slug", "name"),
    "hardware": lambda _: _named(HardwareType.objects.all(), "slug"),
    "rack": _racks,
    "switch": lambda own: _named(own.of(Switch.objects.all()), "cluster__slug", "name"),
    "nvlink_domain": lambda own: _named(
        own.of(NvlinkDomain.objects.all()), "cluster__slug", "name"
    ),
    "node": lambda own: _named(own.of(Node.objects.all()), "cluster__slug", "name"),
}
