"""The table of nodes: every node read once, then narrowed, counted and cut into pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, Q

from controller.selectors.node_use import NodeUses, Use, node_uses
from inventory.gpus import PARTS, NodeFacts, Parts, contradiction, parts_of, total_of
from inventory.models import AdminState, Gpu, Health, InventoryVersion, Lifecycle, Node

PAGE: Final = 100
MOST_SHOWN: Final = 12
"""Choices of a facet shown before the rest is folded away."""


@dataclass(frozen=True, slots=True)
class Line:
    """One node as the table shows it; ``used`` is ``None`` where nobody reports its use."""

    pk: UUID
    version: int
    cluster: str
    name: str
    s1: str
    s2: str
    rack: str
    rack_pk: UUID | None
    u_position: int | None
    hardware: str
    gpu_model: str
    facts: NodeFacts
    used: int | None
    uses: tuple[Use, ...]
    parts: Parts
    health_reason: str
    admin_reason: str
    reserved_for: str
    last_seen: datetime | None
    labels: Mapping[str, str]
    serial: str
    schedulable: bool
    why_not: tuple[str, ...]

    @property
    def address(self) -> str:
        """The page of the node."""
        return f"/fleet/nodes/{self.cluster}/{self.name}/"

    @property
    def services(self) -> tuple[str, ...]:
        """The services with instances on it."""
        return tuple(sorted({use.service for use in self.uses}))

    @property
    def odd(self) -> str:
        """How its counts contradict each other, in words; empty where they don't."""
        return contradiction(self.facts, self.used)

    @property
    def health(self) -> str:
        """What is observed of it."""
        return Health(self.facts.health).label

    @property
    def health_icon(self) -> str:
        """The icon and colour of its health."""
        return {"ok": "ok", "degraded": "warn", "failed": "crit"}.get(self.facts.health, "muted")

    @property
    def admin_state(self) -> str:
        """Whether people let it be used."""
        return AdminState(self.facts.admin_state).label

    @property
    def lifecycle(self) -> str:
        """What people plan with it."""
        return Lifecycle(self.facts.lifecycle).label

    @property
    def is_missing(self) -> bool:
        """Whether its source no longer lists it."""
        return self.facts.missing_since is not None


_FACETS: Final[Mapping[str, tuple[str, Callable[[Line], Sequence[str]]]]] = {
    "cluster": ("Cluster", lambda line: (line.cluster,)),
    "hardware": ("Hardware", lambda line: (line.hardware,)),
    "health": ("Health", lambda line: (line.facts.health,)),
    "state": ("State", lambda line: (line.facts.admin_state,)),
    "lifecycle": ("Lifecycle", lambda line: (line.facts.lifecycle,)),
    "schedulable": ("Takes new instances", lambda line: ("yes" if line.schedulable else "no",)),
    "gpus": ("GPUs", lambda line: [part for part in PARTS if getattr(line.parts, part)]),
    "listed": ("Listed by its source", lambda line: ("no" if line.is_missing else "yes",)),
    "s2": ("S2 domain", lambda line: (line.s2,)),
    "s1": ("S1 domain", lambda line: (line.s1,)),
    "rack": ("Rack", lambda line: (line.rack,)),
    "service": ("Service", lambda line: line.services),
}
_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "health": dict(Health.choices),
    "state": dict(AdminState.choices),
    "lifecycle": dict(Lifecycle.choices),
    "gpus": {part: part.replace("_", " ") for part in PARTS},
}
NONE: Final = "none"
"""How an address asks for the nodes without a rack, a domain or a hardware type."""

_ORDERS: Final[Mapping[str, Callable[[Line], Any]]] = {
    "name": lambda line: line.name.lower(),
    "hardware": lambda line: line.hardware,
    "place": lambda line: (line.s2, line.s1, line.rack, line.u_position or 0),
    "free": lambda line: -line.parts.free,
    "use": lambda line: -line.parts.in_use,
    "health": lambda line: (line.facts.health == "ok", line.facts.health),
    "seen": lambda line: line.last_seen.timestamp() if line.last_seen else 0.0,
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the query string asks for; several choices of one facet are alternatives."""

    text: str = ""
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: str = "name"
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, Sequence[str]]) -> Filters:
        """Return the filters of a query string; what is unknown in it is left out."""
        chosen = {
            name: tuple(dict.fromkeys(text[:253] for text in given.get(name, ()) if text))
            for name in _FACETS
        }
        text = next(iter(given.get("text", ())), "").strip()[:200]
        sort = next(iter(given.get("sort", ())), "")
        page = next(iter(given.get("page", ())), "")
        known = page.isascii() and page.isdigit() and len(page) < 7  # noqa: PLR2004
        return cls(
            text=text,
            chosen={name: values for name, values in chosen.items() if values},
            sort=sort if sort in _ORDERS else "name",
            page=max(1, int(page)) if known else 1,
        )

    @property
    def active(self) -> bool:
        """Whether anything is narrowed."""
        return bool(self.text or self.chosen)

    def query(self, **other: Any) -> str:  # noqa: ANN401 - values of a query string
        """Return the query string with some values in place of those here; ``None`` drops one."""
        values: dict[str, Any] = {
            "text": self.text,
            **self.chosen,
            "sort": "" if self.sort == "name" else self.sort,
            "page": "" if self.page == 1 else self.page,
        }
        values |= {"page": ""} | other
        return urlencode({key: value for key, value in values.items() if value}, doseq=True)

    def misses(self, line: Line) -> list[str]:
        """Return which facets leave a node out; ``text`` is one of them."""
        found = [
            name for name, wanted in self.chosen.items() if not _meets(wanted, _values(name, line))
        ]
        return found if _has_text(line, self.text.lower()) else [*found, "text"]


def _meets(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return any(value in wanted for value in values)


def _values(name: str, line: Line) -> Sequence[str]:
    return [value or NONE for value in _FACETS[name][1](line)]


def _has_text(line: Line, text: str) -> bool:
    if not text:
        return True
    key, equals, value = text.partition("=")
    if equals:
        return any(
            name.lower() == key and value in had.lower() for name, had in line.labels.items()
        )
    told = (line.name, line.serial, line.health_reason, line.admin_reason, line.reserved_for)
    return any(text in words.lower() for words in told)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet: how many nodes have it, and the address with and without it."""

    value: str
    word: str
    count: int
    chosen: bool
    query: str


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to narrow the table."""

    name: str
    word: str
    choices: tuple[Choice, ...]
    further: tuple[Choice, ...]

    @property
    def active(self) -> bool:
        """Whether one of its choices is chosen."""
        return any(choice.chosen for choice in (*self.choices, *self.further))


@dataclass(frozen=True, slots=True)
class Fleet:
    """One page of the table, the facets, and the GPUs of all nodes that match."""

    filters: Filters
    lines: tuple[Line, ...]
    matching: int
    nodes: int
    parts: Parts
    facets: tuple[Facet, ...]
    page: int
    pages: int
    version: InventoryVersion | None
    unobserved: tuple[str, ...]
    stale: tuple[str, ...]

    @property
    def links(self) -> tuple[tuple[str, int, str], ...]:
        """Each part of the GPUs: word, count, and the address of the nodes that make it up."""
        return tuple(
            (part.replace("_", " "), getattr(self.parts, part), self.filters.query(gpus=(part,)))
            for part in PARTS
        )

    @property
    def sorts(self) -> Mapping[str, str]:
        """The address of each order."""
        return {name: self.filters.query(sort=name) for name in _ORDERS}

    @property
    def earlier(self) -> str:
        """The address of the page before."""
        return self.filters.query(page=self.page - 1)

    @property
    def later(self) -> str:
        """The address of the page after."""
        return self.filters.query(page=self.page + 1)

    @property
    def state(self) -> tuple[object, ...]:
        """What the fragment of the table is made of."""
        version = self.version.seq if self.version else 0
        return (self.filters.query(), version, self.lines, self.parts, self.unobserved)


def read_fleet(filters: Filters, now: datetime) -> Fleet:
    """Read every node, then what the filters keep of them; five queries for any fleet."""
    uses = node_uses(now)
    everything = read_lines(uses)
    left_out = [filters.misses(line) for line in everything]
    kept = [line for line, missed in zip(everything, left_out, strict=True) if not missed]
    matching = sorted(kept, key=_ORDERS[filters.sort])
    pages = max(1, -(-len(matching) // PAGE))
    page = min(filters.page, pages)
    clusters = {line.cluster for line in everything}
    return Fleet(
        filters=filters,
        lines=tuple(matching[(page - 1) * PAGE : page * PAGE]),
        matching=len(matching),
        nodes=len(everything),
        parts=total_of(line.parts for line in matching),
        facets=_facets(filters, everything, left_out),
        page=page,
        pages=pages,
        version=InventoryVersion.objects.first(),
        unobserved=tuple(sorted(clusters - uses.observed)),
        stale=tuple(sorted(clusters & uses.stale)),
    )


_FIELDS: Final = (
    "pk",
    "version",
    "cluster__slug",
    "name",
    "s1_domain__name",
    "s2_domain__name",
    "rack__name",
    "rack_id",
    "u_position",
    "hardware__slug",
    "hardware__gpu_model",
    "gpus",
    "gpus_allocatable",
    "lifecycle",
    "admin_state",
    "health",
    "reserved_for",
    "missing_since",
    "health_reason",
    "admin_reason",
    "last_seen",
    "labels",
    "serial",
    "schedulable",
)


def read_lines(uses: NodeUses, narrowed: Q | None = None) -> list[Line]:
    """Read nodes as lines, by cluster and name; two queries."""
    rows = Node.objects.filter(narrowed or Q()).order_by("cluster__slug", "name")
    failed = dict(
        Gpu.objects.filter(health=Health.FAILED, missing_since=None)
        .values_list("node")
        .annotate(count=Count("pk"))
    )
    return [_line(row, failed, uses) for row in rows.values(*_FIELDS).iterator(5_000)]


def _line(row: Mapping[str, Any], failed: Mapping[UUID, int], uses: NodeUses) -> Line:
    cluster, name = row["cluster__slug"], row["name"]
    used = uses.gpus(cluster, name)
    facts = NodeFacts(
        gpus=row["gpus"],
        allocatable=row["gpus_allocatable"],
        failed=failed.get(row["pk"], 0),
        lifecycle=row["lifecycle"],
        admin_state=row["admin_state"],
        health=row["health"],
        reserved=bool(row["reserved_for"]),
        missing_since=row["missing_since"],
    )
    return Line(
        pk=row["pk"],
        version=row["version"],
        cluster=cluster,
        name=name,
        s1=row["s1_domain__name"] or "",
        s2=row["s2_domain__name"] or "",
        rack=row["rack__name"] or "",
        rack_pk=row["rack_id"],
        u_position=row["u_position"],
        hardware=row["hardware__slug"] or "",
        gpu_model=row["hardware__gpu_model"] or row["hardware__slug"] or "",
        facts=facts,
        used=used,
        uses=uses.on(cluster, name),
        parts=parts_of(facts, used),
        health_reason=row["health_reason"],
        admin_reason=row["admin_reason"],
        reserved_for=row["reserved_for"],
        last_seen=row["last_seen"],
        labels=row["labels"],
        serial=row["serial"],
        schedulable=row["schedulable"],
        why_not=() if row["schedulable"] else why_not(facts, row["reserved_for"]),
    )


def why_not(facts: NodeFacts, reserved_for: str) -> tuple[str, ...]:
    """Return which terms keep new instances away, in words."""
    node = Node(
        lifecycle=facts.lifecycle,
        admin_state=facts.admin_state,
        health=facts.health,
        reserved_for=reserved_for,
        missing_since=facts.missing_since,
    )
    return node.why_not_schedulable


def _facets(
    filters: Filters, lines: Sequence[Line], left_out: Sequence[Sequence[str]]
) -> tuple[Facet, ...]:
    """Return each facet with the nodes of its choices among those the other facets keep."""
    found = []
    for name, (word, _) in _FACETS.items():
        counts = Counter(
            value
            for line, missed in zip(lines, left_out, strict=True)
            if not missed or (len(missed) == 1 and missed[0] == name)
            for value in _values(name, line)
        )
        chosen = filters.chosen.get(name, ())
        values = sorted(counts.keys() | set(chosen), key=lambda value: (value == NONE, value))
        choices = [_choice(filters, name, value, counts[value]) for value in values]
        if len(choices) > 1 or chosen:
            shown = [one for i, one in enumerate(choices) if i < MOST_SHOWN or one.chosen]
            further = [one for one in choices if one not in shown]
            found.append(Facet(name, word, tuple(shown), tuple(further)))
    return tuple(found)


def _choice(filters: Filters, name: str, value: str, count: int) -> Choice:
    chosen = filters.chosen.get(name, ())
    others = tuple(one for one in chosen if one != value)
    wanted = others if value in chosen else (*chosen, value)
    return Choice(
        value=value,
        word=_WORDS.get(name, {}).get(value, value),
        count=count,
        chosen=value in chosen,
        query=filters.query(**{name: wanted}),
    )
