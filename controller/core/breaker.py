"""When the controller stops itself: failures, reversals and losses that no policy explains.

What tripped stays stopped until a person resets it: a fault that ends by itself would begin anew.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.types import ROLES, Instances, Role

FEWEST: Final = 3
"""Of fewer services or instances nothing is told by a share: one of two is half of them."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From when on the controller is not trusted any more; windows in seconds.

    ``failed`` of the last ``of`` automatic actions of a service within ``failed_s``; failures of
    ``fleet_failed`` services, or of ``fleet_failed_frac`` of them, within ``fleet_failed_s``;
    ``reversals`` of direction of a service within ``reversals_s``; the share of services with a
    fresh driver falling from ``fresh_before_frac`` below ``fresh_after_frac`` within
    ``fresh_ticks``; the load of the fleet losing more than ``load_drop_frac`` in one tick.
    """

    failed: int = 3
    of: int = 5
    failed_s: float = 1800.0
    fleet_failed: int = 5
    fleet_failed_frac: float = 0.3
    fleet_failed_s: float = 600.0
    reversals: int = 4
    reversals_s: float = 1800.0
    fresh_before_frac: float = 0.8
    fresh_after_frac: float = 0.5
    fresh_ticks: int = 2
    load_drop_frac: float = 0.6


@dataclass(frozen=True, slots=True)
class Attempt:
    """An automatic action recorded at ``at_s``; ``delta`` is what it was to add."""

    service: str
    at_s: float
    delta: Instances
    failed: bool


@dataclass(frozen=True, slots=True)
class Sight:
    """What a tick saw of the fleet: services, those with a fresh driver, and their loads.

    ``loads`` are the instances the load takes, by service, of those that were fresh and had
    instances ready.
    """

    services: int
    fresh: int
    loads: Mapping[str, float] = field(default_factory=dict, hash=False)

    @property
    def fresh_frac(self) -> float:
        """The share of services with a fresh driver; 1 without services."""
        return self.fresh / self.services if self.services else 1.0


@dataclass(frozen=True, slots=True)
class Trip:
    """Why automatic change stops: of one service, or with ``None`` of the fleet."""

    service: str | None
    cause: str
    evidence: Mapping[str, object] = field(default_factory=dict, hash=False)


USUAL: Final = Thresholds()


def judge(
    attempts: Iterable[Attempt],
    now: Sight,
    before: Sequence[Sight],
    *,
    now_s: float,
    limits: Thresholds = USUAL,
) -> tuple[Trip, ...]:
    """Return what trips, the fleet's first; ``before`` are the last ticks, the newest first.

    ``attempts`` are those since the last reset of their scope.
    """
    mine = sorted((one for one in attempts if one.at_s <= now_s), key=lambda one: one.at_s)
    found = [*_fleet_failed(mine, now, now_s, limits), *_blinded(now, before, limits)]
    found = [*found, *_vanished(now, before, limits)][:1]
    of: dict[str, list[Attempt]] = defaultdict(list)
    for one in mine:
        of[one.service].append(one)
    for service in sorted(of):
        own = [*_failed(of[service], now_s, limits), *_reversed(of[service], now_s, limits)]
        found.extend(own[:1])
    return tuple(found)


def _failed(tried: Sequence[Attempt], now_s: float, limits: Thresholds) -> Iterator[Trip]:
    last = [one for one in tried if one.at_s > now_s - limits.failed_s][-limits.of :]
    failed = sum(one.failed for one in last)
    if failed >= limits.failed:
        said = f"{failed} of its last {len(last)} automatic changes failed within"
        yield Trip(
            tried[0].service,
            f"{said} {limits.failed_s / 60:.0f} min.",
            {"failed": failed, "of": len(last)},
        )


def _reversed(tried: Sequence[Attempt], now_s: float, limits: Thresholds) -> Iterator[Trip]:
    recent = [one for one in tried if one.at_s > now_s - limits.reversals_s and not one.failed]
    count = reversals([one.delta for one in recent])
    if count >= limits.reversals:
        said = f"it changed direction {count} times within {limits.reversals_s / 60:.0f} min."
        yield Trip(tried[0].service, f"{said[0].upper()}{said[1:]}", {"reversals": count})


def reversals(deltas: Iterable[Instances]) -> int:
    """Return how many changes went against the last change of one of their roles."""
    last: dict[Role, int] = {}
    count = 0
    for delta in deltas:
        signs = {role: _sign(delta.of(role)) for role in ROLES if delta.of(role)}
        count += any(last.get(role, sign) != sign for role, sign in signs.items())
        last.update(signs)
    return count


def _sign(number: int) -> int:
    return 1 if number > 0 else -1


def _fleet_failed(
    tried: Sequence[Attempt], now: Sight, now_s: float, limits: Thresholds
) -> Iterator[Trip]:
    failed = {
        one.service for one in tried if one.failed and one.at_s > now_s - limits.fleet_failed_s
    }
    share = max(FEWEST, limits.fleet_failed_frac * now.services)
    if len(failed) >= min(limits.fleet_failed, share):
        said = f"Changes of {len(failed)} of {now.services} services failed within"
        yield Trip(
            None,
            f"{said} {limits.fleet_failed_s / 60:.0f} min.",
            {"failed": sorted(failed), "services": now.services},
        )


def _blinded(now: Sight, before: Sequence[Sight], limits: Thresholds) -> Iterator[Trip]:
    if now.services < FEWEST or now.fresh_frac >= limits.fresh_after_frac:
        return
    best = max(before[: limits.fresh_ticks], key=lambda one: one.fresh_frac, default=None)
    if best is not None and best.services and best.fresh_frac >= limits.fresh_before_frac:
        said = f"Services with fresh metrics fell from {best.fresh} of {best.services}"
        yield Trip(
            None,
            f"{said} to {now.fresh} of {now.services}.",
            {"fresh_before": best.fresh, "fresh": now.fresh, "services": now.services},
        )


def _vanished(now: Sight, before: Sequence[Sight], limits: Thresholds) -> Iterator[Trip]:
    """Return whether the load of services seen in both ticks is gone at once (M19)."""
    both = sorted(now.loads.keys() & before[0].loads.keys()) if before else []
    had = sum(before[0].loads[key] for key in both) if both else 0.0
    has = sum(now.loads[key] for key in both)
    if len(both) < FEWEST or had < FEWEST:
        return
    lost = 1.0 - has / had
    if lost > limits.load_drop_frac:
        said = f"The load of {len(both)} services fell by {lost:.0%} within one tick"
        yield Trip(
            None,
            f"{said}, from {had:.1f} to {has:.1f} instances.",
            {"load_before": round(had, 3), "load": round(has, 3), "services": len(both)},
        )
