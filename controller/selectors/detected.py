"""What was found at an endpoint, beside what is set up already: proposals as a page shows them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.core.readings.attach_plain import PlainError, attach_of, attach_plain
from controller.core.readings.detection import NEW_HARDWARE, UNKNOWN_GPU
from controller.core.types import ROLES
from controller.models import Detected
from inventory.models import Cluster, HardwareType, MetricsEndpoint, Service, ServiceMetrics

MOST: Final = 100
"""So many proposals stand on the page; the rest after some of them were accepted."""
Choices = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Choice:
    """Clusters, hardware types by slug with all words for their GPUs, and services there are."""

    clusters: Choices
    types: Mapping[str, tuple[str, ...]]
    services: frozenset[str]

    def hardware_for(self, model: str) -> str:
        """Return the choice for GPUs of a model: the type of that name, else a new one."""
        low = model.casefold()
        fitting = [
            (len(word), slug)
            for slug, words in self.types.items()
            for word in words
            if word and model and word.casefold() in low
        ]
        if fitting:
            return max(fitting)[1]
        if not model and len(self.types) == 1:
            return next(iter(self.types))
        return f"{NEW_HARDWARE}{model or UNKNOWN_GPU}"

    def hardware(self, models: Iterable[str]) -> Choices:
        """Return what may be chosen where these models were found."""
        fitting = dict.fromkeys(self.hardware_for(model) for model in models)
        new = [each for each in fitting if each.startswith(NEW_HARDWARE)]
        return [
            *((slug, slug) for slug in self.types),
            *((each, f"a new type: {each.removeprefix(NEW_HARDWARE)}") for each in new),
        ]


@dataclass(frozen=True, slots=True)
class Found:
    """One proposal, and the service that reads it already."""

    proposal: Mapping[str, Any]
    service: str = ""

    @property
    def may(self) -> bool:
        """Whether it can be accepted."""
        return not self.service and not self.proposal["blockers"] and self.models is not None

    @property
    def models(self) -> Mapping[str, str] | None:
        """GPU models by role; None where its series can't be known."""
        if self.proposal["attach"] is None:
            return None
        roles = self.proposal["roles"]
        return {role.value: roles.get(role.value, {}).get("gpu_model", "") for role in ROLES}


@dataclass(frozen=True, slots=True)
class Page:
    """The last look at an endpoint, the first ``MOST`` of its proposals, and what to choose of."""

    kept: Detected | None
    found: Sequence[Found]
    further: int
    choice: Choice


def read(row: MetricsEndpoint) -> Page:
    """Read what was found last; five queries for any number of proposals."""
    kept = Detected.objects.filter(endpoint=row).first()
    proposals = kept.found["services"] if kept else []
    taken = _taken(row)
    found = [Found(each, taken.get(_key(each), "")) for each in proposals]
    found.sort(key=lambda each: (bool(each.service), not each.may))
    return Page(kept, found[:MOST], max(0, len(found) - MOST), _choice())


def _choice() -> Choice:
    clusters = Cluster.objects.filter(kind=Cluster.Kind.RECORD).values_list("slug", "name")
    types = HardwareType.objects.prefetch_related("aliases")
    words = {
        each.slug: (each.gpu_model, *(one.text for one in each.aliases.all())) for each in types
    }
    services = frozenset(Service.objects.values_list("slug", flat=True))
    return Choice([(slug, name or slug) for slug, name in clusters], words, services)


def _key(proposal: Mapping[str, Any]) -> tuple[str, str]:
    return proposal["known_as"], _spelled(proposal["attach"])


def _spelled(plain: object) -> str:
    """Return how series are known in one spelling, nothing where it can't be read."""
    try:
        return json.dumps(attach_plain(attach_of(plain)), sort_keys=True)
    except PlainError:
        return ""


def _taken(row: MetricsEndpoint) -> dict[tuple[str, str], str]:
    """Return the services that read from this address, by name there and how they are known."""
    uses = ServiceMetrics.objects.filter(endpoint__url=row.url, endpoint__kind=row.kind)
    return {
        (use.known_as or use.service.slug, _spelled(use.endpoint.attach)): use.service.slug
        for use in uses.select_related("service", "endpoint")
    }
