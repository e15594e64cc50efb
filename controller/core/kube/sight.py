"""How far what is known of clusters reaches: how each answers, and since when it is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from controller.core.kube.values import ServiceSeen
    from controller.core.types import Instances

FIRST_ROUNDS: Final = 2
"""Whole pictures of a cluster before anything rests on them: one alone may be half a truth."""


@dataclass(frozen=True, slots=True)
class ClusterStanding:
    """How one cluster answers; times in s since the epoch.

    All of it was known last at ``heard_s``, and ``rounds`` times since the watch of now began, at
    most once a tick. ``told`` are sentences on what does not answer.
    """

    state: str
    since_s: float
    heard_s: float | None = None
    rounds: int = 0
    told: tuple[str, ...] = ()
    skew_s: float | None = None


@dataclass(frozen=True, slots=True)
class Sights:
    """What is known of services in clusters of Kubernetes, by slug.

    ``chosen`` are the services whose workloads somebody chose; ``last`` are the counts last known
    of services, whether they are seen now or not.
    """

    clusters: Mapping[str, ClusterStanding]
    services: Mapping[str, ServiceSeen]
    chosen: frozenset[str] = frozenset()
    last: Mapping[str, Instances] = field(default_factory=dict)
