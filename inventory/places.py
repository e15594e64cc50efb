"""Regions, sites and racks: which of them a file means, and which have to be made."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from inventory.importers.found import Found, FoundRack, FoundRegion
from inventory.kept import Kept, Stored, Values, rack_place

DEFAULT_REGION: Final = "default"
UNNAMED: Final = "nothing names one"


@dataclass(frozen=True, slots=True)
class RackPlan:
    """A rack of a file: where it will stand, and its row."""

    thing: FoundRack
    values: Values
    kept: Kept | None

    @property
    def place(self) -> str:
        """The words a node has for it."""
        return rack_place(self.values)


@dataclass(slots=True)
class Places:
    """Where everything of an import is."""

    regions: dict[str, str] = field(default_factory=dict)
    made_regions: dict[str, FoundRegion] = field(default_factory=dict)
    made_sites: dict[tuple[str, str], str] = field(default_factory=dict)
    racks: dict[tuple[str, str], RackPlan] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)

    def region_of(self, cluster: str) -> str:
        """Return the region a cluster will be in."""
        return self.regions.get(cluster.lower(), DEFAULT_REGION)

    def rack_of(self, cluster: str, name: str) -> str:
        """Return the words a node has for a rack of its cluster."""
        plan = self.racks.get((cluster.lower(), name.lower()))
        return plan.place if plan else f"{cluster}/{name}"

    def after(self, place: object) -> object:
        """Return where a rack of a row will stand."""
        return self.moved.get(place, place) if isinstance(place, str) else place


def places(found: Found, stored: Stored) -> Places:
    """Return where everything is; nothing that is there already is moved unless a file says so."""
    answer = Places()
    _regions(answer, found, stored)
    homes = {one.row: one for one in stored.of("rack")}
    by_place = {one.key: one for one in homes.values()}
    used = _used(stored)
    for rack in found.racks:
        _rack(answer, rack, stored, by_place, used)
    return answer


def _regions(answer: Places, found: Found, stored: Stored) -> None:
    known = {str(one.values["slug"]).lower(): one for one in stored.of("region")}
    clusters = {str(one.values["slug"]).lower(): one for one in stored.of("cluster")}
    for cluster in found.clusters:
        kept = clusters.get(cluster.slug.lower())
        before = str(kept.values["region"]) if kept else ""
        region = cluster.region or before or DEFAULT_REGION
        row = known.get(region.lower())
        answer.regions[cluster.slug.lower()] = str(row.values["slug"]) if row else region
        if row is None and not any(one.key == (region.lower(),) for one in found.regions):
            made = FoundRegion(slug=region, at=cluster.at if cluster.region else UNNAMED)
            answer.made_regions.setdefault(region.lower(), made)


def _used(stored: Stored) -> Mapping[tuple[str, str], set[str]]:
    """Return the places of the racks that a cluster uses, by cluster and name."""
    used: dict[tuple[str, str], set[str]] = defaultdict(set)
    for one in (*stored.of("node"), *stored.of("switch")):
        place = one.values.get("rack")
        if isinstance(place, str) and place:
            name = place.rpartition("/")[2]
            used[one.cluster.lower(), name.lower()].add(place)
    return used


def _rack(
    answer: Places,
    rack: FoundRack,
    stored: Stored,
    by_place: Mapping[tuple[str, ...], Kept],
    used: Mapping[tuple[str, str], set[str]],
) -> None:
    region = answer.region_of(rack.cluster)
    theirs = used.get((rack.cluster.lower(), rack.name.lower()), set())
    only = next(iter(theirs)).rpartition("/")[0] if len(theirs) == 1 else ""
    site = rack.site or only or rack.cluster
    kept = by_place.get((region.lower(), site.lower(), rack.name.lower()))
    if kept is None and rack.site and only.lower() == rack.cluster.lower():
        # It had no site of its own until now.
        kept = by_place.get((region.lower(), only.lower(), rack.name.lower()))
        if kept is not None:
            answer.moved[rack_place(kept.values)] = f"{site}/{kept.values['name']}"
    name = str(kept.values["name"]) if kept else rack.name
    site = _site(answer, stored, region, site)
    values = {"region": region, "site": site, "name": name}
    if rack.u_height is not None:
        values["u_height"] = rack.u_height  # type: ignore[assignment]  # a number
    answer.racks[rack.key[0], rack.key[1]] = RackPlan(rack, values, kept)


def _site(answer: Places, stored: Stored, region: str, site: str) -> str:
    """Return a site as it is written, and note that it has to be made."""
    for one in stored.of("site"):
        if one.key == (region.lower(), site.lower()):
            return str(one.values["slug"])
    return answer.made_sites.setdefault((region, site.lower()), site)
