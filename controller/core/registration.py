"""Registration in step: who of the newly started may serve while the other role catches up."""

from dataclasses import dataclass
from typing import Final, Self, TypedDict

from controller.core.pairs import larger, whole_down, whole_up
from controller.core.starts import START_S
from controller.core.types import Decision, Instances, ServiceSpec

SHORTEST_S: Final = 60.0
LONGEST_S: Final = 900.0
LEADS: Final = 2.0
"""A pause lasts so many start-up times: one start that failed and was tried again."""


class PlainRule(TypedDict):
    """A rule as plain values, as rows and documents keep it."""

    least_ratio: float
    ratio: float
    most_ratio: float
    floor: dict[str, int]
    until_s: float


@dataclass(frozen=True, slots=True)
class InStep:
    """How far one role's serving instances may be ahead of the other's (HeteroScale §4.5).

    The three ratios are prefill per decode instance: the least and the most allowed, and the one
    wished. Up to ``floor`` instances of a role always serve. Nothing is held from ``until_s`` on
    [s since the epoch].
    """

    least_ratio: float
    ratio: float
    most_ratio: float
    floor: Instances
    until_s: float

    @classmethod
    def of(
        cls,
        want: Instances,
        ready: Instances,
        spec: ServiceSpec,
        *,
        now_s: float,
        lead_s: float,
    ) -> Self | None:
        """Return the rule for an order of ``want``, ``None`` where no role waits for the other.

        They wait where both have more to come than are ``ready``, asked for now or before.
        ``lead_s`` is how long a start takes [s].
        """
        ratio = want.pd_ratio
        if not ratio or want.prefill <= ready.prefill or want.decode <= ready.decode:
            return None
        tolerance = spec.policy.ratio_tolerance
        wait_s = min(max(LEADS * lead_s, SHORTEST_S), LONGEST_S)
        return cls(
            least_ratio=ratio * (1.0 - tolerance),
            ratio=ratio,
            most_ratio=ratio * (1.0 + tolerance),
            floor=spec.limits.minimum,
            until_s=now_s + wait_s,
        )

    @classmethod
    def from_plain(cls, plain: PlainRule) -> Self:
        """Return the rule :meth:`plain` wrote down."""
        return cls(
            plain["least_ratio"],
            plain["ratio"],
            plain["most_ratio"],
            Instances(**plain["floor"]),
            plain["until_s"],
        )

    def plain(self) -> PlainRule:
        """Return the rule as plain values."""
        return {
            "least_ratio": self.least_ratio,
            "ratio": self.ratio,
            "most_ratio": self.most_ratio,
            "floor": self.floor._asdict(),
            "until_s": self.until_s,
        }

    def most(self, up: Instances) -> Instances:
        """Return how many of each role the other one's instances allow; rounding up is allowed."""
        return Instances(
            max(whole_down(up.decode * self.most_ratio), whole_up(up.decode * self.ratio)),
            max(whole_down(up.prefill / self.least_ratio), whole_up(up.prefill / self.ratio)),
        )


def in_step(decision: Decision, ready: Instances, spec: ServiceSpec) -> InStep | None:
    """Return the rule that goes with the order a decision becomes; ``ready`` serve now."""
    lead_s = START_S if decision.forecast is None else decision.forecast.lead_s
    return InStep.of(decision.final, ready, spec, now_s=decision.now_s, lead_s=lead_s)


@dataclass(frozen=True, slots=True)
class Starts:
    """Instances of a service by how far they are; each pair is (prefill, decode).

    ``held`` are up and kept out of service discovery, ``coming`` are loading.
    """

    serving: Instances
    held: Instances
    coming: Instances


def registered(seen: Starts, rule: InStep | None, *, now_s: float) -> Instances:
    """Return how many of each role are to serve now: those that do, and who of the held may join.

    Only the role that is ahead waits, and only for instances that are coming: what failed, has no
    node or was taken back is not waited for. Never fewer than serve already.
    """
    up = Instances(
        seen.serving.prefill + seen.held.prefill, seen.serving.decode + seen.held.decode
    )
    if rule is None or now_s >= rule.until_s:
        return up
    most = larger(rule.most(up), rule.floor)
    return larger(
        seen.serving,
        Instances(
            min(up.prefill, most.prefill) if seen.coming.decode else up.prefill,
            min(up.decode, most.decode) if seen.coming.prefill else up.decode,
        ),
    )
