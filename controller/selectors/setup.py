"""The way from an empty database to a watched service, and how far it is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from django.db.models import Count, Q
from django.urls import reverse

from controller.core.kube.preflight import checks_of
from controller.selectors import would_have
from controller.selectors.node_use import NodeUses, node_uses
from controller.selectors.would_have import WouldHave
from inventory.models import Cluster, ImportRun, Link, LocalityDomain, Node, Rack, Service, Switch

NAMED: Final = 3
"""So many of what is wrong are named; the rest is counted."""


class Standing(StrEnum):
    """How a step stands, as the icon that says it."""

    DONE = "ok"
    LOOK = "warn"
    OPEN = "muted"


@dataclass(frozen=True, slots=True)
class Door:
    """A link out of a step."""

    word: str
    address: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step: what it is, how it stands in words, and where it is done."""

    word: str
    standing: Standing
    said: tuple[str, ...]
    doors: tuple[Door, ...] = ()
    optional: bool = False

    @property
    def icon(self) -> str:
        """The icon of the standing: what is to do is not unknown."""
        return "clock" if self.standing is Standing.OPEN else self.standing.value

    @property
    def state(self) -> str:
        """The standing in a word."""
        if self.standing is Standing.OPEN:
            return "optional" if self.optional else "to do"
        return "done" if self.standing is Standing.DONE else "to look at"


@dataclass(frozen=True, slots=True)
class Checklist:
    """Every step in order."""

    steps: tuple[Step, ...]

    @property
    def done(self) -> int:
        """How many of the steps that are needed are done."""
        return sum(one.standing is Standing.DONE for one in self.needed)

    @property
    def needed(self) -> tuple[Step, ...]:
        """The steps nobody can leave out."""
        return tuple(one for one in self.steps if not one.optional)

    @property
    def following(self) -> Step | None:
        """The first step that is needed and open."""
        return next((one for one in self.needed if one.standing is Standing.OPEN), None)

    @property
    def to_look_at(self) -> Step | None:
        """The first step that is done and not as it should be."""
        return next((one for one in self.needed if one.standing is Standing.LOOK), None)


@dataclass(frozen=True, slots=True)
class _Fleet:
    """Clusters and what is in them, as the steps count it."""

    simulated: Mapping[str, int]
    real: Mapping[str, int]
    without_s1: Mapping[str, int]
    domains: Mapping[tuple[str, str], int]
    keys: Mapping[str, Sequence[str]]
    connected: Mapping[str, int]
    """Clusters whose API server is asked, and how many rights lack there."""


def read_setup(now: datetime) -> Checklist:
    """Return the checklist; the number of queries is the same for any fleet."""
    fleet = _fleet()
    return Checklist(
        (
            _demo_or_real(fleet),
            _nodes(fleet),
            _levels(fleet),
            _fabric(fleet),
            _metrics(fleet, node_uses(now)),
            _service(fleet),
            *_acting(would_have.counted(now)),
        )
    )


def _fleet() -> _Fleet:
    present = Q(nodes__missing_since=None, nodes__isnull=False)
    rows = Cluster.objects.select_related("access").annotate(
        count=Count("nodes", filter=present),
        homeless=Count("nodes", filter=present & Q(nodes__s1_domain=None)),
    )
    clusters = {row.slug: row for row in rows}
    counted = LocalityDomain.objects.order_by().values_list("cluster__slug", "level")
    return _Fleet(
        simulated={slug: row.count for slug, row in clusters.items() if row.is_simulated},
        real={slug: row.count for slug, row in clusters.items() if not row.is_simulated},
        without_s1={slug: row.homeless for slug, row in clusters.items() if row.homeless},
        domains={(slug, level): n for slug, level, n in counted.annotate(n=Count("pk"))},
        keys={slug: row.level_keys for slug, row in clusters.items()},
        connected={
            slug: sum(check.lacks for check in checks_of(row.access.checks))
            for slug, row in clusters.items()
            if hasattr(row, "access")
        },
    )


def _demo_or_real(fleet: _Fleet) -> Step:
    connect = Door("Connect a cluster", reverse("cluster-new"))
    doors = (connect, Door("Paste nodes instead", reverse("import-new")))
    if fleet.real:
        return _own(fleet, connect)
    if fleet.simulated:
        said = f"The simulated fleet {_some(fleet.simulated)} is there, to try everything on."
        return Step("A cluster, or a demo", Standing.DONE, (said,), doors)
    said = (
        "Nothing is here yet. Connect a cluster of Kubernetes: what it needs is looked at first,"
        " and nothing is written to it. Or start ./heteroscale up without --no-demo"
        " on an empty database: it plays a simulated fleet."
    )
    return Step("A cluster, or a demo", Standing.OPEN, (said,), doors)


def _own(fleet: _Fleet, connect: Door) -> Step:
    """Say which clusters there are, and which of those that are connected lack rights."""
    said = [f"{_count(len(fleet.real), 'cluster')} of your own: {_some(fleet.real)}."]
    if fleet.simulated:
        said.append(f"The simulated {_some(fleet.simulated)} is beside it.")
    lacking = [slug for slug, count in fleet.connected.items() if count]
    if lacking:
        said.append(f"Rights that are needed lack in {_names(lacking)}.")
    elif fleet.connected:
        said.append(f"Connected with all rights that are needed: {_names(list(fleet.connected))}.")
    see = tuple(
        Door(f"See {slug}", reverse("cluster", args=[slug]))
        for slug in [*lacking, *fleet.connected][:1]
    )
    standing = Standing.LOOK if lacking else Standing.DONE
    return Step("A cluster, or a demo", standing, tuple(said), (*see, connect))


def _nodes(fleet: _Fleet) -> Step:
    word = "Its nodes"
    planned = ImportRun.objects.filter(state=ImportRun.State.PLANNED, reverts=None, total__gt=0)
    waiting = planned.only("pk").first()
    held = {slug: count for slug, count in fleet.real.items() if count}
    look = (Door("Review the import that waits", waiting.get_absolute_url()),) if waiting else ()
    paste = Door("Import more" if held else "Paste or choose files", reverse("import-new"))
    if not held:
        said = "kubectl get nodes -o json is enough: nothing has to be set up before."
        read = tuple(
            Door(f"Bring in the nodes of {slug}", reverse("cluster", args=[slug]))
            for slug in list(fleet.connected)[:NAMED]
        )
        return Step(word, Standing.OPEN, (said,), (*look, *read, paste))
    told = tuple(f"{_count(count, 'node')} in {slug}." for slug, count in held.items())
    see = Door("See the nodes", reverse("fleet"))
    return Step(word, Standing.DONE, _cut(told), (*look, see, paste))


def _levels(fleet: _Fleet) -> Step:
    """Say what S1 and S2 are in each cluster: a wrong order of levels shows in the counts."""
    word = "Confirm what S1 and S2 are"
    held = {slug: count for slug, count in fleet.real.items() if count}
    if not held:
        said = "After the nodes: which switches or labels make nodes near each other."
        return Step(word, Standing.OPEN, (said,))
    told = tuple(_level_words(slug, count, fleet) for slug, count in held.items())
    doors = tuple(
        Door(f"See the topology of {slug}", f"{reverse('topology')}?cluster={slug}")
        for slug in list(held)[:NAMED]
    )
    is_whole = all(not fleet.without_s1.get(slug) for slug in held)
    return Step(word, Standing.DONE if is_whole else Standing.LOOK, _cut(told), doors)


def _level_words(slug: str, nodes: int, fleet: _Fleet) -> str:
    s1, s2 = (fleet.domains.get((slug, level), 0) for level in ("S1", "S2"))
    if not s1:
        return f"{slug}: no node is under an S1 domain: name the label keys, or bring cables."
    by = f" by {', '.join(fleet.keys[slug])}" if fleet.keys[slug] else ""
    homeless = fleet.without_s1.get(slug, 0)
    rest = f"; {_count(homeless, 'node')} under none" if homeless else ""
    placed = (nodes - homeless) / s1
    return (
        f"{slug}: {_count(s1, 'S1 domain')} of {placed:.0f} nodes on average"
        f" in {_count(s2, 'S2 domain')}{by}{rest}."
    )


def _fabric(fleet: _Fleet) -> Step:
    word = "Switches, cables and racks"
    mine = Q(cluster__slug__in=list(fleet.real))
    switches, links = Switch.objects.filter(mine).count(), Link.objects.filter(mine).count()
    racks = Rack.objects.filter(nodes__cluster__slug__in=list(fleet.real)).distinct().count()
    told = [
        _count(count, noun)
        for count, noun in ((switches, "switch"), (links, "cable"), (racks, "rack"))
        if count
    ]
    doors = (Door("Import fabric or rack files", reverse("import-new")),)
    if not told:
        said = (
            "ibnetdiscover, lldpcli, topology.conf, a CSV with racks, or NetBox: then domains"
            " follow from cables, and racks are drawn."
        )
        return Step(word, Standing.OPEN, (said,), doors, optional=True)
    return Step(word, Standing.DONE, (f"{', '.join(told)}.",), doors, optional=True)


def _metrics(fleet: _Fleet, uses: NodeUses) -> Step:
    """Say what can be known: who lists instances, and whether the nodes they name exist."""
    word = "Metrics that match the nodes"
    doors = (Door("Connect metrics", reverse("sources")),)
    if not uses.observed:
        said = (
            "No metrics source is configured yet, so what runs on the nodes is unknown, not none."
        )
        return Step(word, Standing.OPEN, (said,), doors)
    lists = f"Instance lists arrive for {_some(dict.fromkeys(sorted(uses.observed), 0))}."
    named = set(uses.of)
    known = _known(named)
    match = f"{len(named & known):,} of {_count(len(named), 'node')} they name are known here"
    strange = sorted(f"{slug}/{node}" for slug, node in named - known)
    rest = f"; unknown: {_names(strange)}." if strange else "."
    silent = sorted(set(fleet.real) - uses.observed)
    quiet = (f"No source is configured for {_names(silent)}: use there is unknown.",)
    told = (lists, match + rest, *(quiet if silent else ()))
    is_done = not strange and not silent
    return Step(word, Standing.DONE if is_done else Standing.LOOK, told, doors)


def _known(named: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return those of ``named`` that are nodes of the inventory, in one query."""
    clusters = {slug for slug, _ in named}
    rows = Node.objects.filter(cluster__slug__in=clusters).values_list("cluster__slug", "name")
    return {(slug, name.lower()) for slug, name in rows}


def _service(fleet: _Fleet) -> Step:
    word = "A first service, in observe mode"
    count = Service.objects.count()
    adds = [
        Door(f"Add a service of {slug}", reverse("cluster-service-new", args=[slug]))
        for slug in list(fleet.connected)[:NAMED]
    ]
    add = adds[0] if adds else Door("Add a service", reverse("admin:inventory_service_add"))
    if not count:
        said = "Its roles, SLO and policy. What would be done is recorded, nothing is changed."
        return Step(word, Standing.OPEN, (said,), tuple(adds) or (add,))
    see = Door("See the services", reverse("services"))
    return Step(word, Standing.DONE, (f"{_count(count, 'service')}.",), (see, *adds[:1]))


def _acting(counted: Mapping[str, WouldHave]) -> Iterator[Step]:
    """Say what would have been done to services that are only observed; nothing if nothing."""
    if not counted:
        return
    told = tuple(
        f"{slug}: {_count(each.wanted, 'change')} recorded, {each.would:,} would have been made."
        for slug, each in sorted(counted.items())
    )
    doors = tuple(
        Door(f"Review {slug} and start acting", reverse("service-act", args=[slug]))
        for slug in sorted(counted)[:NAMED]
    )
    word = "From observing to acting"
    yield Step(word, Standing.OPEN, _cut(told, "service"), doors, optional=True)


def _count(count: int, noun: str) -> str:
    many = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def _some(counted: Mapping[str, int]) -> str:
    return _names([f"{slug} ({_count(n, 'node')})" if n else slug for slug, n in counted.items()])


def _names(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    rest = f" and {more:,} more" if more > 0 else ""
    return ", ".join(names[:NAMED]) + rest


def _cut(lines: tuple[str, ...], noun: str = "cluster") -> tuple[str, ...]:
    more = len(lines) - NAMED
    rest = (f"And {more:,} more {noun}s.",) if more > 0 else ()
    return (*lines[:NAMED], *rest)
