"""Where metrics are read: the list of endpoints, and the page of one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from controller.core.readings.attach import ByInfo, ByLabels, ByPod
from controller.core.readings.attach_plain import PlainError, attach_of, targets_of
from controller.core.readings.sources import Target
from controller.models import AuditEvent, EndpointStatus
from controller.selectors.node_page import history_of
from inventory.models import MetricsEndpoint, Service, ServiceMetrics

MOST_TARGETS: Final = 200
"""So many are listed on the page of a direct scrape."""
_TONES: Final = {"ok": "ok", "partial": "warn", "failed": "crit"}
_STATE: Final = EndpointStatus.State


@dataclass(frozen=True, slots=True)
class Source:
    """One endpoint as it stands: what it is, how it answers, and which services read from it."""

    row: MetricsEndpoint
    status: EndpointStatus | None
    services: tuple[str, ...]
    now: datetime

    @property
    def tone(self) -> str:
        """The icon of its state."""
        if not self.row.enabled or self.status is None:
            return "muted"
        return _TONES[self.status.state]

    @property
    def word(self) -> str:
        """Its state in words."""
        if not self.row.enabled:
            return "switched off"
        if self.status is None:
            return "not asked yet" if self.services else "not asked: no service reads from it"
        return str(_STATE(self.status.state).label)

    @property
    def is_down(self) -> bool:
        """Whether it does not answer, or only in part."""
        return self.row.enabled and self.status is not None and self.status.state != _STATE.OK

    @property
    def again_at(self) -> datetime | None:
        """When it is asked again, if that is later than the next look."""
        at = self.status.again_at if self.status and self.row.enabled else None
        return at if at and at > self.now else None

    @property
    def told(self) -> tuple[str, ...]:
        """What it or its answer said, in sentences."""
        return tuple(map(str, self.status.told)) if self.status and self.row.enabled else ()

    @property
    def where(self) -> str:
        """Its address, or how many there are."""
        count = len(self.row.targets)
        return self.row.url or f"{count:,} target{'' if count == 1 else 's'}"

    @property
    def kind_word(self) -> str:
        """What it is, in two words."""
        return "direct scrape" if self.row.kind == MetricsEndpoint.Kind.SCRAPE else "Prometheus"

    @property
    def is_open(self) -> bool:
        """Whether a secret of it goes over the wire as it is."""
        addresses = [self.row.url, *(each.get("url", "") for each in self.row.targets)]
        return bool(self.row.secret) and any(each.startswith("http:") for each in addresses)


@dataclass(frozen=True, slots=True)
class SourcePage:
    """Everything about one endpoint."""

    source: Source
    uses: Sequence[ServiceMetrics]
    known: tuple[tuple[str, str], ...]
    targets: tuple[Target, ...]
    further_targets: int
    history: Sequence[AuditEvent]


def read_sources(now: datetime) -> tuple[Source, ...]:
    """Read every endpoint; two queries for any number."""
    services: dict[UUID, list[str]] = defaultdict(list)
    uses = ServiceMetrics.objects.order_by("service__slug")
    for pk, slug in uses.values_list("endpoint", "service__slug"):
        services[pk].append(slug)
    rows = MetricsEndpoint.objects.select_related("status")
    return tuple(_source(row, tuple(services[row.pk]), now) for row in rows)


def find(slug: str) -> MetricsEndpoint | None:
    """Return an endpoint with its status by its name."""
    return MetricsEndpoint.objects.select_related("status").filter(slug=slug).first()


def read_source(row: MetricsEndpoint, now: datetime) -> SourcePage:
    """Read the page of an endpoint; two queries."""
    uses = list(row.uses.select_related("service").order_by("service__slug"))
    known, targets = _known(row)
    return SourcePage(
        source=_source(row, tuple(use.service.slug for use in uses), now),
        uses=uses,
        known=known,
        targets=targets[:MOST_TARGETS],
        further_targets=max(0, len(targets) - MOST_TARGETS),
        history=read_history(row),
    )


def names_at(row: MetricsEndpoint) -> Mapping[str, str]:
    """Return all services by the name they have at an endpoint, their own where none is given."""
    known = dict(row.uses.exclude(known_as="").values_list("service__slug", "known_as"))
    slugs = Service.objects.order_by("slug").values_list("slug", flat=True)
    return {known.get(slug, slug): slug for slug in slugs}


def read_history(row: MetricsEndpoint) -> Sequence[AuditEvent]:
    """Return what people changed of an endpoint, the newest first."""
    return history_of("metricsendpoint", row.pk)


def _source(row: MetricsEndpoint, services: tuple[str, ...], now: datetime) -> Source:
    # Without a row the reverse of a one-to-one raises.
    return Source(row, getattr(row, "status", None), services, now)


def _known(row: MetricsEndpoint) -> tuple[tuple[tuple[str, str], ...], tuple[Target, ...]]:
    """Return in words how series are known, and the targets; what can't be read is said."""
    try:
        attach, targets = attach_of(row.attach), targets_of(row.targets)
    except PlainError as fault:
        return (("Can't be used", str(fault)),), ()
    own: Mapping[str, str]
    match attach:
        case ByLabels():
            roles = ", ".join(f"{role} is {text}" for role, text in attach.roles.items())
            own = {
                "Way": "by labels of its series",
                "Service": f"label {attach.service}",
                "Role": f"label {attach.role}: {roles}",
            }
        case ByInfo():
            own = {
                "Way": "joined with heteroscale_instance_info",
                "Joined on": f"{attach.namespace}, {attach.pod}",
            }
        case ByPod():
            patterns = {
                f"Pods of {role or 'both roles'}": text for role, text in attach.patterns.items()
            }
            own = {"Way": f"by the name of the pod, label {attach.pod}", **patterns}
    only = ", ".join(f"{name}=~{text}" for name, text in attach.only.items())
    also = {"Instances apart by": ", ".join(attach.instance)} | ({"Only": only} if only else {})
    return tuple({**own, **also}.items()), targets
