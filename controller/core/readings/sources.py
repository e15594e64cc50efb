"""Where signals are measured: endpoints, and which of them says what of which service."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from controller.core.readings.attach import Attach
from controller.core.types import Role


class EndpointKind(StrEnum):
    """What an endpoint is asked by."""

    PROMETHEUS = "prometheus"
    SCRAPE = "scrape"


@dataclass(frozen=True, slots=True)
class Access:
    """As whom to ask: a bearer token, or user and password; a tenant; certificates as PEM."""

    token: str = field(default="", repr=False)
    user: str = ""
    password: str = field(default="", repr=False)
    tenant: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """One exporter that is scraped directly.

    ``service`` and ``role`` are those of the instance it speaks for; both are absent of one that
    speaks of pods by label, as DCGM's does, and the role alone of a frontend or of an engine that
    says it itself. ``instance`` names it among those of its service.
    """

    url: str
    instance: str
    service: str = ""
    role: Role | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One endpoint: a Prometheus at ``url``, or the targets that are scraped directly.

    ``scrape_s`` is how often its samples come [s].
    """

    name: str
    kind: EndpointKind
    url: str
    attach: Attach
    access: Access = Access()
    targets: Sequence[Target] = ()
    scrape_s: float = 15.0


@dataclass(frozen=True, slots=True)
class Use:
    """What one service reads from one endpoint, under the name it has there.

    ``written`` are queries that stand in the place of the presets' recipes, by signal.
    """

    source: str
    known_as: str
    presets: tuple[str, ...]
    written: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """All endpoints by name, and the uses of each service by its key, the preferred first.

    ``broken`` are services whose configuration can't be used, each in words.
    """

    sources: Mapping[str, Source]
    uses: Mapping[str, Sequence[Use]]
    broken: Mapping[str, str] = field(default_factory=dict)
