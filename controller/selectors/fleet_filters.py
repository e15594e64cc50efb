"""What the table of nodes is narrowed by: text, facets and an order, as the query string says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

from controller.selectors.fleet_lines import Line
from inventory.gpus import PARTS
from inventory.models import AdminState, Health, Lifecycle

FACETS: Final[Mapping[str, tuple[str, Callable[[Line], Sequence[str]]]]] = {
    "cluster": ("Cluster", lambda line: (line.cluster,)),
    "hardware": ("Hardware", lambda line: (line.hardware,)),
    "health": ("Health", lambda line: (line.facts.health,)),
    "state": ("State", lambda line: (line.facts.admin_state,)),
    "lifecycle": ("Lifecycle", lambda line: (line.facts.lifecycle,)),
    "schedulable": ("Takes new instances", lambda line: ("yes" if line.schedulable else "no",)),
    "use": ("In use", lambda line: (line.use,)),
    "gpus": ("GPUs", lambda line: [part for part in PARTS if getattr(line.parts, part)]),
    "listed": ("Listed by its source", lambda line: ("no" if line.is_missing else "yes",)),
    "s2": ("S2 domain", lambda line: (line.s2,)),
    "s1": ("S1 domain", lambda line: (line.s1,)),
    "rack": ("Rack", lambda line: (line.rack,)),
    "service": ("Service", lambda line: line.services),
}
WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "health": dict(Health.choices),
    "state": dict(AdminState.choices),
    "lifecycle": dict(Lifecycle.choices),
    "use": {
        "empty": "no instance",
        "part": "in part",
        "full": "all its GPUs",
        "unknown": "not known",
    },
    "gpus": {part: part.replace("_", " ") for part in PARTS},
}
NONE: Final = "none"
"""How an address asks for the nodes without a rack, a domain or a hardware type."""
DOWN: Final = "-"
"""Stands before an order that is turned round."""

ORDERS: Final[Mapping[str, Callable[[Line], Any]]] = {
    "name": lambda line: line.name.lower(),
    "hardware": lambda line: line.hardware,
    "place": lambda line: (line.s2, line.s1, line.rack, line.u_position or 0),
    "free": lambda line: -line.parts.free,
    "use": lambda line: -line.parts.in_use,
    "health": lambda line: (line.facts.health == "ok", line.facts.health),
    "services": lambda line: (not line.services, line.services),
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
            for name in FACETS
        }
        text = next(iter(given.get("text", ())), "").strip()[:200]
        sort = next(iter(given.get("sort", ())), "")
        page = next(iter(given.get("page", ())), "")
        known = page.isascii() and page.isdigit() and len(page) < 7  # noqa: PLR2004
        return cls(
            text=text,
            chosen={name: values for name, values in chosen.items() if values},
            sort=sort if sort.removeprefix(DOWN) in ORDERS else "name",
            page=max(1, int(page)) if known else 1,
        )

    def ordered(self, lines: Sequence[Line]) -> list[Line]:
        """Return lines in the order that is asked for."""
        order = ORDERS[self.sort.removeprefix(DOWN)]
        return sorted(lines, key=order, reverse=self.sort.startswith(DOWN))

    def turned(self, name: str) -> str:
        """Return the query string that sorts by ``name``, the other way if it does already."""
        return self.query(sort=f"{DOWN}{name}" if self.sort == name else name)

    @property
    def active(self) -> bool:
        """Whether anything is narrowed."""
        return bool(self.text or self.chosen)

    @property
    def words(self) -> str:
        """What is asked for, in words: "health failed or degraded, rack r01"."""
        told = [f"text “{self.text}”"] if self.text else []
        for name, values in self.chosen.items():
            known = WORDS.get(name, {})
            told.append(f"{FACETS[name][0]}: {' or '.join(known.get(v, v) for v in values)}")
        return ", ".join(told) or "not being retired"

    def query(self, **other: Any) -> str:  # noqa: ANN401 - values of a query string
        """Return the query string with some values in place of those here; ``None`` drops one."""
        values: dict[str, Any] = {
            "text": self.text,
            **self.chosen,
            "sort": self.sort,
            "page": "" if self.page == 1 else self.page,
        }
        values |= {"page": ""} | other
        values["sort"] = "" if values["sort"] == "name" else values["sort"]
        return urlencode({key: value for key, value in values.items() if value}, doseq=True)

    def misses(self, line: Line) -> list[str]:
        """Return which facets leave a node out; ``text`` is one of them.

        Retired nodes are left out until their lifecycle is asked for.
        """
        found = [
            name
            for name, wanted in self.chosen.items()
            if not _meets(wanted, values_of(name, line))
        ]
        if line.facts.lifecycle == Lifecycle.RETIRED and "lifecycle" not in self.chosen:
            found.append("lifecycle")
        return found if _has_text(line, self.text.lower()) else [*found, "text"]


def _meets(wanted: Sequence[str], values: Sequence[str]) -> bool:
    return any(value in wanted for value in values)


def values_of(name: str, line: Line) -> Sequence[str]:
    """Return what a node counts as in a facet."""
    return [value or NONE for value in FACETS[name][1](line)]


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
