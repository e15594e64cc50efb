"""Arithmetic on (prefill, decode) pairs: rounding, the larger of two, and the P/D ratio."""

import math
from dataclasses import dataclass
from typing import Final, Self

from controller.core.types import SIGNAL_INDEX, SIGNALS, Instances, PolicyConfig, Role

# 0.1 * 30 is 3.0000000000000004 in binary; without this slack it would cost an instance.
NOISE: Final = 1e-9

MOST_INSTANCES: Final = 100_000
"""More instances of a role than any fleet has; counts above it are mistakes."""


def whole_up(value: float) -> int:
    """Return ``ceil(value)``, where an excess of one part in 10⁹ is noise and not an instance."""
    return math.ceil(value - NOISE * max(1.0, abs(value)))


def whole_down(value: float) -> int:
    """Return ``floor(value)``, where a lack of one part in 10⁹ is noise."""
    return math.floor(value + NOISE * max(1.0, abs(value)))


def larger(one: Instances, two: Instances) -> Instances:
    """Return the larger count of each role."""
    # Conditions, because these two run dozens of times a decision and builtins cost twice that.
    return Instances(
        one.prefill if one.prefill > two.prefill else two.prefill,  # noqa: FURB136
        one.decode if one.decode > two.decode else two.decode,  # noqa: FURB136
    )


def smaller(one: Instances, two: Instances) -> Instances:
    """Return the smaller count of each role."""
    return Instances(
        one.prefill if one.prefill < two.prefill else two.prefill,  # noqa: FURB136
        one.decode if one.decode < two.decode else two.decode,  # noqa: FURB136
    )


def other(role: Role) -> Role:
    """Return the partner of a role."""
    return Role.DECODE if role is Role.PREFILL else Role.PREFILL


def driver_role(config: PolicyConfig) -> Role:
    """Return the role whose signal drives. Raises ``KeyError`` for an unknown driver."""
    return SIGNALS[SIGNAL_INDEX[config.driver]].role


@dataclass(frozen=True, slots=True)
class Pairing:
    """The P/D ratio seen from the role that leads, the driver's: how many follow it.

    The three figures are following instances per leading instance: the least and the most the
    tolerance allows, and the target between them (HeteroScale §4.5).
    """

    lead: Role
    least_frac: float
    ideal_frac: float
    most_frac: float

    @classmethod
    def of(cls, config: PolicyConfig) -> Self:
        """Return the pairing a policy asks for; ``pd_ratio`` is prefill per decode."""
        role = driver_role(config)
        low = config.pd_ratio * (1.0 - config.ratio_tolerance)
        high = config.pd_ratio * (1.0 + config.ratio_tolerance)
        if role is Role.DECODE:
            return cls(role, low, config.pd_ratio, high)
        return cls(role, 1.0 / high, 1.0 / config.pd_ratio, 1.0 / low)

    def split(self, pair: Instances) -> tuple[int, int]:
        """Return a pair as (leading, following)."""
        if self.lead is Role.DECODE:
            return pair.decode, pair.prefill
        return pair.prefill, pair.decode

    def join(self, lead: int, follow: int) -> Instances:
        """Return (leading, following) as a pair."""
        return Instances(follow, lead) if self.lead is Role.DECODE else Instances(lead, follow)

    def ideal(self, lead: int) -> int:
        """Return how many should follow: rounded up, so that the follower is never short."""
        return whole_up(self.ideal_frac * lead)

    def least(self, lead: int) -> int:
        """Return the fewest that may follow."""
        return whole_up(self.least_frac * lead)

    def most(self, lead: int) -> int:
        """Return the most that may follow; what rounding up gives is always allowed."""
        return max(whole_down(self.most_frac * lead), self.ideal(lead))

    def fewest_leading(self, follow: int) -> int:
        """Return the fewest leading instances for which ``follow`` are not too many."""
        if follow <= 0:
            return 0
        rounded = whole_down((follow - 1) / self.ideal_frac) + 1
        return min(whole_up(follow / self.most_frac), rounded)

    def most_leading(self, follow: int) -> int:
        """Return the most leading instances that ``follow`` can serve; the fewest are allowed."""
        return max(whole_down(follow / self.least_frac), self.fewest_leading(follow))

    def paired_leading(self, follow: int) -> int:
        """Return the most leading instances that ``follow`` serve at the target ratio."""
        return whole_down(follow / self.ideal_frac)
