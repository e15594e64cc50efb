"""The signal a policy sizes on, as the figures show it: per instance, beside its target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from controller.core.types import ROLE_INDEX, SIGNAL_INDEX, SIGNALS
from controller.core.words import number

if TYPE_CHECKING:
    from controller.core.types import Floats, Role, SignalKind
    from controller.selectors.series import ServiceSeries

# Units that add up over instances; the others are the same for one instance and for all.
ADDITIVE: Final = frozenset({"tok/s", "req/s", "requests"})


@dataclass(frozen=True, slots=True)
class Driver:
    """A service's driver over time, every array of shape ``(T,)``.

    ``observed`` is per ready instance of the driver's role, ``counted`` per desired one, which is
    what the controller compares with ``target``; both in the unit shown (shares in per cent).
    ``configured`` is the policy's target where another is in use.
    """

    kind: SignalKind
    observed: Floats
    counted: Floats
    coverage: Floats
    reporting_now: tuple[int, int]
    target: float
    floor: float
    ceiling: float
    configured: float | None = None

    @classmethod
    def of(cls, series: ServiceSeries) -> Driver:
        """Return the driver of a service's policy."""
        policy = series.spec.policy
        kind = SIGNALS[SIGNAL_INDEX[policy.driver]]
        row = ROLE_INDEX[kind.role]
        shown = 100.0 if kind.unit == "share" else 1.0
        target = shown * (policy.target if series.in_use is None else series.in_use.target)
        reporting, expected = series.reporting[row], series.expected[row]
        return cls(
            kind=kind,
            observed=shown * _per(series.signals[kind.name], series.ready[row], kind),
            counted=shown * _per(series.signals[kind.name], series.desired[row], kind),
            coverage=_divided(reporting.astype(float), expected.astype(float)),
            reporting_now=(int(reporting[-1]), int(expected[-1])) if len(reporting) else (0, 0),
            target=target,
            floor=target * (1 - policy.theta_in),
            ceiling=target * (1 + policy.theta_out),
            configured=None if series.in_use is None else shown * policy.target,
        )

    @property
    def role(self) -> Role:
        """The role that reports it."""
        return self.kind.role

    @property
    def unit(self) -> str:
        """The unit shown."""
        if self.kind.unit == "share":
            return "%"
        per = f" per {self.role} instance" if self.kind.unit in ADDITIVE else ""
        return f"{self.kind.unit}{per}"

    @property
    def label(self) -> str:
        """Its name in words."""
        return self.kind.label

    @property
    def title(self) -> str:
        """Its name and unit, for a panel."""
        return f"{self.label[:1].upper()}{self.label[1:]} [{self.unit}]"

    @property
    def column(self) -> str:
        """Its name and unit, for a table."""
        return f"{self.label} [{self.unit}]"

    @property
    def format(self) -> str:
        """Plotly's number format for it."""
        return ",.0f" if self.target >= 100 else ",.3~g"  # noqa: PLR2004 - three digits are enough

    @property
    def differs(self) -> bool:
        """Whether ready and desired instances ever gave different figures."""
        known = np.isfinite(self.observed) & np.isfinite(self.counted)
        return bool((self.observed[known] != self.counted[known]).any())

    @property
    def coverage_now(self) -> str:
        """How many instances reported last, in words."""
        reporting, expected = self.reporting_now
        return f"{reporting}/{expected} report"

    @property
    def sentence(self) -> str:
        """Where it stands, in one sentence."""
        known = self.observed[np.isfinite(self.observed)]
        if not len(known):
            return f"{self.label[:1].upper()}{self.label[1:]} was not reported."
        return (
            f"{self.label[:1].upper()}{self.label[1:]} is {self.write(float(known[-1]))} "
            f"{self.unit}, {self.told_target}."
        )

    @property
    def goals(self) -> list[tuple[float, str]]:
        """The target in use and the configured one, each with few enough letters for an edge."""
        if self.configured is None:
            return [(self.target, f"target {self.write(self.target)}")]
        return [
            (self.target, f"in use {self.write(self.target)}"),
            (self.configured, f"target {self.write(self.configured)}"),
        ]

    @property
    def told_target(self) -> str:
        """The target, and the configured one where another is in use."""
        if self.configured is None:
            return f"target {self.write(self.target)}"
        return f"target {self.write(self.target)} in use, {self.write(self.configured)} configured"

    def write(self, value: float) -> str:
        """Return a value as an operator reads it."""
        return number(value)


def _per(values: Floats, instances: object, kind: SignalKind) -> Floats:
    if kind.unit not in ADDITIVE:
        return values
    return _divided(values, np.asarray(instances, dtype=float))


def _divided(values: Floats, by: Floats) -> Floats:
    out = np.full(values.shape, np.nan)
    np.divide(values, by, out=out, where=by > 0)
    return out
