"""What a service reported over a time, for the study of its signals."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np

from controller.core.signal_study import LOAD, STUDIED, Samples, Study, study
from controller.core.types import PolicyConfig, Role
from controller.models import Sample
from controller.selectors.series import Ask, UnknownServiceError
from inventory.models import Policy, Service

SIGNALS: Final = (*STUDIED, LOAD)
COUNTED: Final = ("ready", "reporting", "expected")
COLUMNS: Final = (
    "at",
    *SIGNALS,
    *(f"{role.value}_{what}" for what in COUNTED for role in (Role.PREFILL, Role.DECODE)),
)
COVERAGE_FRAC: Final = PolicyConfig("", "", 0.0, 0.0).coverage_in_frac


@dataclass(frozen=True, slots=True)
class StudyOf:
    """The study of one service with what its policy says of signals.

    ``driver`` is the one in force, empty without a policy.
    """

    name: str
    driver: str
    coverage_frac: float
    since_s: float
    until_s: float
    found: Study


def signal_study(ask: Ask) -> StudyOf:
    """Return the study of the service and time a figure asks for; two queries."""
    service = Service.objects.select_related("policy").filter(slug=ask.service).first()
    if service is None:
        raise UnknownServiceError(ask.service)
    return study_of(service, ask.since, ask.until)


def study_of(service: Service, since: datetime, until: datetime) -> StudyOf:
    """Return what the samples from ``since`` to ``until`` say of the service's signals."""
    policy: Policy | None = getattr(service, "policy", None)
    coverage_frac = policy.coverage_in_frac if policy else COVERAGE_FRAC
    samples = _samples(service, since, until)
    return StudyOf(
        name=service.name,
        driver=policy.driver if policy else "",
        coverage_frac=coverage_frac,
        since_s=since.timestamp(),
        until_s=until.timestamp(),
        found=study(samples, coverage_frac=coverage_frac),
    )


def _samples(service: Service, since: datetime, until: datetime) -> Samples:
    rows = (
        Sample.objects.filter(service=service, at__gte=since, at__lte=until)
        .order_by("at")
        .values_list(*COLUMNS)
    )
    table = [(at.timestamp(), *rest) for at, *rest in rows.iterator(chunk_size=5_000)]
    columns = np.array(table, dtype=np.float64).reshape(-1, len(COLUMNS)).T
    counts = columns[1 + len(SIGNALS) :].astype(np.int64).reshape(len(COUNTED), 2, -1)
    return Samples(columns[0], dict(zip(SIGNALS, columns[1:], strict=False)), *counts)
