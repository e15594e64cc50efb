"""The rules of the Kubernetes HorizontalPodAutoscaler, without Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Final

from controller.simulator.references.checks import figure
from controller.simulator.references.port import Param

SOURCE: Final = (
    "kubernetes/kubernetes, rules as of v1.33: pkg/controller/podautoscaler/replica_calculator.go,"
    " horizontal.go, pkg/apis/autoscaling/v2/defaults.go (1adaa75)"
)

MILLI: Final = 1000
"""Metrics are whole thousandths there: sums and means are taken of whole numbers."""

PARAMS: Final[Mapping[str, Param]] = {
    "tolerance": Param(0.1, "share of the target within which nothing changes"),
    "scale_up_percent": Param(100, "most that is added in a period [% of the count before]"),
    "scale_up_pods": Param(4, "most that is added in a period [instances]; the larger counts"),
    "scale_up_period_s": Param(15, "period of the two limits above [s]"),
    "scale_up_window_s": Param(0, "the lowest wish of so long is taken on the way up [s]"),
    "scale_down_percent": Param(100, "most that is removed in a period [% of the count before]"),
    "scale_down_period_s": Param(15, "period of the limit above [s]"),
    "scale_down_window_s": Param(300, "the highest wish of so long is taken on the way down [s]"),
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How fast counts may change; ``tolerance`` belongs to how wishes are made."""

    tolerance: float
    scale_up_percent: float
    scale_up_pods: float
    scale_up_period_s: float
    scale_up_window_s: float
    scale_down_percent: float
    scale_down_period_s: float
    scale_down_window_s: float


def behaviour(params: Mapping[str, float]) -> Behaviour:
    """Return the behaviour the parameters describe. Raises ``ValueError`` naming the field."""
    most = {
        "tolerance": 1.0,
        "scale_down_percent": 100.0,
        # As the API of Kubernetes validates them.
        "scale_up_window_s": 3600.0,
        "scale_down_window_s": 3600.0,
        "scale_up_period_s": 1800.0,
        "scale_down_period_s": 1800.0,
    }
    return Behaviour(**{name: figure(params, name, 0, most.get(name, inf)) for name in PARAMS})


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a role: wished, ready, reporting a metric (of the ready), not yet ready."""

    current: int
    ready: int
    reporting: int
    unready: int = 0

    @property
    def missing(self) -> int:
        """Ready pods without a metric."""
        return self.ready - self.reporting


@dataclass(frozen=True, slots=True)
class Share:
    """A target for the mean over pods; ``missing`` is assumed of silent pods on the way down."""

    target: float
    missing: float
    tolerance: float

    def ratio(self, total: int, pods: int) -> float:
        """Return usage over target for a total [thousandths] over so many pods."""
        return (total // pods) / round(self.target * MILLI)


def _close(ratio: float, tolerance: float) -> bool:
    return 1 - tolerance <= ratio <= 1 + tolerance


def wish_for_share(pods: Pods, mean: float, share: Share) -> int | None:
    """Return the count at which the mean would be the target; ``None`` if no pod reports.

    Pods not yet ready count as idle if the rest asks for more, else not at all. Silent pods count
    as idle if the rest asks for more, and at ``share.missing`` if it asks for fewer. If that
    changes the direction or lands within the tolerance, the current count stays.
    """
    if pods.reporting <= 0:
        return None
    total = round(mean * MILLI * pods.reporting)
    ratio = share.ratio(total, pods.reporting)
    idle = pods.unready if ratio > 1 else 0
    if not idle and not pods.missing:
        same = _close(ratio, share.tolerance)
        return pods.current if same else ceil(ratio * pods.ready)
    return _rebalanced(pods, total, share, idle)


def _rebalanced(pods: Pods, total: int, share: Share, idle: int) -> int:
    before = share.ratio(total, pods.reporting)
    counted = pods.reporting + idle + (pods.missing if before != 1 else 0)
    if before < 1:
        total += round(max(share.missing, share.target) * MILLI) * pods.missing
    ratio = share.ratio(total, counted)
    wish = ceil(ratio * counted)
    turned = (before < 1 < ratio) or (before > 1 > ratio)
    against = (ratio < 1 and wish > pods.current) or (ratio > 1 and wish < pods.current)
    return pods.current if turned or against or _close(ratio, share.tolerance) else wish


def wish_for_total(existing: int, total: float, target: float, tolerance: float) -> int:
    """Return the count at which a total is ``target`` per pod; ``existing`` if that is close.

    This is the rule for an external metric with an average value: which pods are ready is left
    out of it.
    """
    usage, goal = round(total * MILLI), round(target * MILLI)
    ratio = usage / (goal * existing) if existing else inf
    return existing if _close(ratio, tolerance) else ceil(usage / goal)


@dataclass(slots=True)
class Autoscaler:
    """One autoscaler of one role; it remembers its wishes and its changes."""

    behaviour: Behaviour
    minimum: int
    maximum: int
    _wishes: list[tuple[float, int]] = field(default_factory=list)
    _changes: list[tuple[float, int]] = field(default_factory=list)

    def next(self, now_s: float, current: int, wish: int | None) -> int:
        """Return the count to ask for now; ``wish`` is ``None`` without a metric."""
        if not self._wishes:
            self._wishes.append((now_s, current))
        bounded = min(max(current, self.minimum), self.maximum)
        if bounded == current and wish is not None:
            bounded = self._paced(now_s, current, self._stabilised(now_s, current, wish))
        if bounded != current:
            self._changes.append((now_s, bounded - current))
        return bounded

    def _stabilised(self, now_s: float, current: int, wish: int) -> int:
        """Keep ``current`` between the lowest wish of one window and the highest of the other."""
        up_s, down_s = self.behaviour.scale_up_window_s, self.behaviour.scale_down_window_s
        self._wishes = [kept for kept in self._wishes if kept[0] > now_s - max(up_s, down_s)]
        self._wishes.append((now_s, wish))
        low = min((count for at_s, count in self._wishes if at_s > now_s - up_s), default=wish)
        high = max((count for at_s, count in self._wishes if at_s > now_s - down_s), default=wish)
        return min(max(current, low), high)

    def _paced(self, now_s: float, current: int, wish: int) -> int:
        """Shorten a change to what its policies still allow in their period."""
        rules = self.behaviour
        longest_s = max(rules.scale_up_period_s, rules.scale_down_period_s)
        self._changes = [kept for kept in self._changes if kept[0] > now_s - longest_s]
        if wish > current:
            before = current - self._changed(now_s, rules.scale_up_period_s)
            grown = ceil(before * (1 + rules.scale_up_percent / 100))
            most = max(grown, before + int(rules.scale_up_pods), current)
            return min(wish, most, self.maximum)
        before = current - self._changed(now_s, rules.scale_down_period_s)
        least = min(int(before * (1 - rules.scale_down_percent / 100)), current)
        return max(wish, least, self.minimum) if wish < current else wish

    def _changed(self, now_s: float, period_s: float) -> int:
        return sum(change for at_s, change in self._changes if at_s > now_s - period_s)
