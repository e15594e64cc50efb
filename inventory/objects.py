"""Every thing of the files as it would become a row, and the fleet as it would be then."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from inventory.absence import link_name, source_of
from inventory.differences import CLEAR, Planned, difference
from inventory.figures import known_figures
from inventory.importers.found import (
    KINDS,
    TIERS,
    Fault,
    Found,
    FoundGpu,
    FoundLink,
    FoundNic,
    FoundNode,
    Key,
    Thing,
)
from inventory.importers.gathering import place_of
from inventory.kept import SILENT, Kept, Stored, Value, Values, thing_of, values_of
from inventory.limits import cut, too_long
from inventory.matching import Matches
from inventory.places import UNNAMED, Places
from inventory.units import crowded

CLUSTER_KINDS: Final = ("simulated", "record")
SOURCED: Final = frozenset(("rack", "switch", "node", "gpu", "nic", "link"))
CLEARED: Final[Mapping[str, tuple[str, ...]]] = {
    "u": ("u_position",),
    "rack": ("rack", "u_position"),
    "reason": ("health_reason", "admin_reason"),
    "sku": ("hardware",),
}
CLEARABLE: Final = frozenset(
    (
        *("hardware", "gpus", "gpus_allocatable", "rack", "u_position", "tiers", "labels"),
        *("nvlink_domain", "serial", "provider_id", "k8s_uid", "instance_type"),
        *("health_reason", "admin_reason", "driver", "cuda"),
    )
)
LEVELS: Final = {name: place for place, name in enumerate(TIERS)}


@dataclass(slots=True)
class Objects:
    """Makes planned objects; what is wrong or worth a word is kept beside them."""

    found: Found
    stored: Stored
    matches: Matches
    places: Places
    cluster: str = ""
    level_keys: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _after: dict[object, Values] = field(default_factory=dict)
    _new: list[tuple[str, str, Values]] = field(default_factory=list)

    def all(self) -> list[Planned]:
        """Return what would become of everything that the files name."""
        made: list[Planned] = []
        for kind, make in self._makers().items():
            rows = {one.key: one for one in self.stored.of(kind)}
            made += make(kind, rows)
        self._positions()
        return made

    def _makers(self) -> dict[str, Callable[[str, Mapping[Key, Kept]], Iterator[Planned]]]:
        return {
            "region": self._regions,
            "site": self._sites,
            "cluster": self._clusters,
            "fabric": self._plain,
            "hardware": self._hardware,
            "rack": self._racks,
            "switch": self._switches,
            "nvlink_domain": self._plain,
            "node": self._nodes,
            "gpu": self._parts,
            "nic": self._parts,
            "link": self._links,
        }

    # One kind after the other.

    def _regions(self, kind: str, rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for one in (*self.found.regions, *self.places.made_regions.values()):
            yield self._planned(kind, one, rows.get(one.key), values_of(kind, one))

    def _sites(self, _kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for (region, _), site in self.places.made_sites.items():
            after = {"region": region, "slug": site, "name": site}
            key = (region.lower(), site.lower())
            self._check("site", after, UNNAMED)
            yield Planned(
                operation="create", kind="site", key=key, name=site, after=after, at=UNNAMED
            )

    def _clusters(self, kind: str, rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for one in self.found.clusters:
            kept = rows.get(one.key)
            said = values_of(kind, one)
            told = said.pop("kind", None)
            if kept is None:
                said["kind"] = told if told in CLUSTER_KINDS else "record"
            if kept is None or one.region:
                said["region"] = self.places.region_of(one.slug)
            if self.level_keys and one.slug.lower() == self.cluster.lower():
                said["level_keys"] = list(self.level_keys)
            yield self._planned(kind, one, kept, said)

    def _plain(self, kind: str, rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        things: Sequence[Any] = getattr(self.found, KINDS[kind])
        for one in things:
            yield self._planned(kind, one, rows.get(one.key), values_of(kind, one))

    def _hardware(self, kind: str, rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for one in self.found.hardware:
            kept = rows.get(one.key)
            said = values_of(kind, one)
            yield self._planned(kind, one, kept, said if kept else {**known_figures(one), **said})

    def _racks(self, kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        seen = set()
        for plan in self.places.racks.values():
            key = (plan.values["region"], plan.place.lower())
            if key not in seen:
                seen.add(key)
                yield self._planned(kind, plan.thing, plan.kept, plan.values)

    def _switches(self, kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for one in self.found.switches:
            kept = self.matches.row_of(one)
            said = values_of(kind, one)
            if one.rack:
                said["rack"] = self.places.rack_of(one.cluster, one.rack)
            yield self._planned(kind, one, kept, said)

    def _nodes(self, kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        heights = {one.slug.lower(): one.u_height for one in self.found.hardware if one.u_height}
        for row in self.stored.of("hardware"):
            if isinstance(height := row.values.get("u_height"), int):
                heights.setdefault(str(row.values["slug"]).lower(), height)
        bare = 0
        for one in self.found.nodes:
            kept = self.matches.row_of(one)
            said = values_of(kind, one)
            if one.rack:
                said["rack"] = self.places.rack_of(one.cluster, one.rack)
            elif one.u_position and not (kept and kept.values.get("rack")):
                del said["u_position"]
                bare += 1
            self._height(one, kept, said, heights)
            yield self._planned(kind, one, kept, said)
        if bare:
            word = "node has" if bare == 1 else "nodes have"
            self.notes.append(f"{bare:,} {word} a position and no rack: it is left out.")

    @staticmethod
    def _height(
        one: FoundNode, kept: Kept | None, said: dict[str, Value], heights: Mapping[str, int]
    ) -> None:
        """Give a node the height of its type when it is new or becomes of that type."""
        if not one.hardware or (height := heights.get(one.hardware.lower())) is None:
            return
        if kept is None or str(kept.values.get("hardware")).lower() != one.hardware.lower():
            said["u_height"] = height

    def _parts(self, kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        things: Sequence[FoundGpu | FoundNic] = getattr(self.found, KINDS[kind])
        for one in things:
            kept = self.matches.row_of(one)
            yield self._planned(kind, one, kept, values_of(kind, one))

    def _links(self, kind: str, _rows: Mapping[Key, Kept]) -> Iterator[Planned]:
        for one in self.found.links:
            kept = self.matches.row_of(one)
            said = values_of(kind, one)
            if kept is not None:
                _as_seen(kept, self.matches, said)
            yield self._planned(kind, one, kept, said)

    # One thing.

    def _planned(self, kind: str, thing: Any, kept: Kept | None, said: Values) -> Planned:  # noqa: ANN401 - any kind
        said = cut(said)
        self._check(kind, said, thing.at)
        cluster = "" if kind in {"cluster", "region"} else getattr(thing, "cluster", "")
        one = Planned(
            operation="create",
            kind=kind,
            key=thing.key,
            name=_name(thing),
            cluster=kept.cluster if kept else cluster,
            row=kept.row if kept else None,
            after=said,
            at=thing.at,
        )
        if id(thing) in self.matches.refused or (kind, thing.key) in self.found.disputed:
            one = replace(one, operation="conflict")
        if kept is None:
            return self._created(one)
        return self._changed(one, thing, kept, said)

    def _created(self, one: Planned) -> Planned:
        self._new.append((one.kind, one.cluster, one.after))
        if one.kind not in SOURCED:
            return one
        return replace(one, after={**one.after, "source": self._source(one)})

    def _source(self, one: Planned, before: str = "") -> str:
        return source_of(one.kind, self.found.forms(one.kind, one.key), before)

    def _changed(self, one: Planned, thing: Thing, kept: Kept, said: Values) -> Planned:
        kept = self._as_called(kept)
        clears = _clears(thing, kept) if isinstance(thing, FoundNode) else ()
        if isinstance(thing, FoundNode):
            said = _levels(thing, said)
        if kept.kind in SOURCED:
            said = {**said, "source": self._source(one, kept.source)}
            kept = replace(kept, values={**kept.values, "source": kept.source})
        differs = difference(kept, said, clears)
        self._after[kept.row] = differs.after
        if one.operation == "conflict":
            return replace(one, before=differs.before, after=differs.after)
        return replace(
            one,
            operation="change" if differs.after else "unchanged",
            before=differs.before,
            after=differs.after,
            held=differs.held,
            owners=dict.fromkeys(differs.after, kept.source or "manual")
            | dict.fromkeys(differs.held, "manual"),
        )

    def _as_called(self, kept: Kept) -> Kept:
        """Return a row with the names that others will have by then."""
        values = dict(kept.values)
        if values.get("rack"):
            values["rack"] = self.places.after(values["rack"])  # type: ignore[assignment]  # text
        after = self.matches.name_after
        if kept.kind in {"gpu", "nic"}:
            values["node"] = after("node", kept.cluster, str(values["node"]))
        elif kept.kind == "link":
            far = "node" if values["peer_is_node"] else "switch"
            values["switch"] = after("switch", kept.cluster, str(values["switch"]))
            values["peer"] = after(far, kept.cluster, str(values["peer"]))
        return replace(kept, values=values)

    def _check(self, kind: str, said: Values, at: str) -> None:
        if problem := too_long(kind, said):
            line, file = place_of(at)
            self.faults.append(Fault(line, *problem, file))

    # The fleet as it would be.

    def after(self, absent: Sequence[Planned]) -> Found:
        """Return everything that will be there, with all that is known of it."""
        leaving = {one.row for one in absent}
        things: dict[str, list[Thing]] = {kind: [] for kind in KINDS}
        for kind, cluster, values in self._new:
            if kind in KINDS and kind != "rack":
                things[kind].append(thing_of(kind, cluster, values))
        for kind, made in things.items():
            for one in self.stored.of(kind) if kind != "rack" else ():
                changed = self._after.get(one.row)
                if one.row in leaving or (one.missing and changed is None):
                    continue
                called = self._as_called(one)
                values = {**called.values, **(changed or {})}
                made.append(thing_of(kind, one.cluster, values))
        named = {KINDS[kind]: tuple(made) for kind, made in things.items()}
        return Found(
            format=self.found.format,
            **named,  # type: ignore[arg-type]  # each kind holds its own class alone
            level_sources=self.found.level_sources,
        )

    def _positions(self) -> None:
        """Refuse nodes that would stand where another stands."""
        nodes = [(one, self._after.get(one.row, {})) for one in self.stored.of("node")]
        values: list[Values] = [
            {**self._as_called(one).values, **after}
            for one, after in nodes
            if not (one.missing and "missing" not in after)
        ]
        values += [after for kind, _, after in self._new if kind == "node"]
        for name, sentence in crowded(values):
            at = next((one.at for one in self.found.nodes if one.name == name), "")
            line, file = place_of(at)
            self.faults.append(Fault(line, "u_position", sentence, file))


def _as_seen(kept: Kept, matches: Matches, said: dict[str, Value]) -> None:
    """Turn a cable between switches to the end from which its row has it."""
    switch = matches.name_after("switch", kept.cluster, str(kept.values["switch"])).lower()
    turned = not said["peer_is_node"] and str(said["peer"]).lower() == switch
    if turned:
        said["switch"], said["peer"] = said["peer"], said["switch"]
        said["port"], said["peer_port"] = said["peer_port"], said["port"]
    for name in ("port", "peer_port"):
        if not said[name]:
            # A port that this file leaves out is the one that is known.
            del said[name]


def _clears(node: FoundNode, kept: Kept) -> tuple[str, ...]:
    names = [name for one in node.clears for name in CLEARED.get(one, (one,))]
    if "rack" in names and node.rack:
        names.remove("rack")
    return tuple(
        name for name in names if name in CLEARABLE and kept.values.get(name) not in SILENT
    )


def _levels(node: FoundNode, said: Values) -> Values:
    """Return what a node's file says, with a mark at the levels that it clears."""
    places = [LEVELS[one] for one in node.clears if one in LEVELS]
    if not places:
        return said
    told = list(node.tiers) + [None] * (max(places) + 1 - len(node.tiers))
    return {**said, "tiers": [CLEAR if at in places else one for at, one in enumerate(told)]}


def _name(thing: Thing) -> str:
    if isinstance(thing, FoundLink):
        ports = {"port": thing.port, "peer_port": thing.peer_port}
        return link_name(thing.switch, thing.peer, ports)
    if isinstance(thing, FoundGpu):
        return f"{thing.node} GPU {thing.index}"
    node = f"{thing.node} " if isinstance(thing, FoundNic) else ""
    return node + str(getattr(thing, "slug", None) or getattr(thing, "name", ""))
