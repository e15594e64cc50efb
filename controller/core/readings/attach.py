"""How the series of an endpoint are known to be of a service and a role."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from controller.core.types import ROLES, Role

INFO: Final = "heteroscale_instance_info"
"""The series by which this controller tells which pods are instances of which service."""


@dataclass(frozen=True, slots=True)
class ByLabels:
    """The series themselves say service and role, as labels of scrape targets or of the engine."""

    service: str = "service"
    role: str = "role"
    roles: Mapping[Role, str] = field(default_factory=lambda: {role: role.value for role in ROLES})
    instance: tuple[str, ...] = ("instance",)
    only: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ByInfo:
    """``heteroscale_instance_info`` says it, joined on the pod.

    ``namespace`` and ``pod`` are the labels of the metric; of one that speaks of another pod than
    its exporter's, as DCGM's do, those of the owner count.
    """

    namespace: str = "namespace"
    pod: str = "pod"
    instance: tuple[str, ...] = ("instance",)
    only: Mapping[str, str] = field(default_factory=dict)
    service = "service"


@dataclass(frozen=True, slots=True)
class ByPod:
    """The pod's name says it: an expression for each role, with a group ``service``.

    Expressions match the whole name (RE2). The one for ``None`` finds what serves both roles,
    such as a frontend; without it figures of no role are of the pods of either.
    """

    patterns: Mapping[Role | None, str]
    namespace: str = "namespace"
    pod: str = "pod"
    instance: tuple[str, ...] = ("instance",)
    only: Mapping[str, str] = field(default_factory=dict)
    service = "heteroscale_service"


Attach = ByLabels | ByInfo | ByPod
