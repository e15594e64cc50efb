"""The views of the table of nodes: those everybody has, and those a person keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

from controller.models import SavedView
from controller.selectors.fleet_filters import Filters

_BUILT_IN: Final = (
    ("Takes no new instance", "schedulable=no"),
    ("Unhealthy", "health=degraded&health=failed&health=unknown"),
    ("Cordoned or draining", "state=cordoned&state=draining"),
    ("Missing from their source", "listed=no"),
    ("Free whole nodes", "schedulable=yes&use=empty"),
)


@dataclass(frozen=True, slots=True)
class View:
    """Filters under a name; ``pk`` is ``None`` for those everybody has."""

    name: str
    query: str
    pk: int | None = None


def plain(query: str) -> str:
    """Return a query string as the table's own links write it; what is unknown is left out."""
    return Filters.of(parse_qs(query, max_num_fields=500)).query()


BUILT_IN: Final = tuple(View(name, plain(query)) for name, query in _BUILT_IN)


def views_of(user_pk: int) -> tuple[View, ...]:
    """Return what a person keeps, by name."""
    rows = SavedView.objects.filter(user_id=user_pk).values_list("name", "query", "pk")
    return tuple(View(name, query, pk) for name, query, pk in rows)
