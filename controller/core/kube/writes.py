"""In which steps two counts go from one pair to another, so that all in between is safe (S5)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.core.types import ROLES, Instances, Role

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDE: Final = 2.0
"""In between, a ratio may be so many times farther out than at both ends."""


@dataclass(frozen=True, slots=True)
class Between:
    """What holds between two writes as well.

    GPUs of an instance of each role, the most in all, and the two pairs whose ratios are the ends
    of the band: they stay the same however far the change is.
    """

    gpus: Instances
    most_gpus: int
    ends: tuple[Instances, Instances]


def next_count(now: Instances, target: Instances, rules: Between) -> tuple[Role, int] | None:
    """Return the role that is written next and its count; ``None`` where all is written.

    Both counts lie between ``now`` and ``target`` at all times, so floors and ceilings that hold
    at both ends hold in between (S1, S2). GPUs never exceed the most there may be, or what is held
    anyway. Of two roles the one that keeps the pair nearer to its ratio goes first, and no farther
    than the wide band lets it: then they take turns. Raises ``ValueError`` where GPUs forbid both.
    """
    open_roles = [role for role in ROLES if now.of(role) != target.of(role)]
    if not open_roles:
        return None
    if len(open_roles) == 1:
        return open_roles[0], target.of(open_roles[0])
    found = [step for role in open_roles if (step := _farthest(role, now, target, rules))]
    if not found:
        raise ValueError(f"neither role can be written within {rules.most_gpus} GPUs")
    whole = [step for step in found if step[1] == target.of(step[0])]
    return min(whole or found, key=lambda step: _distance(_at(now, *step), rules))


def steps(now: Instances, target: Instances, rules: Between) -> Iterator[Instances]:
    """Return every pair on the way from ``now`` to ``target``, the last being ``target``."""
    while (step := next_count(now, target, rules)) is not None:
        now = _at(now, *step)
        yield now


def _farthest(
    role: Role, now: Instances, target: Instances, rules: Between
) -> tuple[Role, int] | None:
    """Return how far a role may go at once, at least by one; ``None`` where GPUs forbid that."""
    step = 1 if target.of(role) > now.of(role) else -1
    most_gpus = max(rules.most_gpus, now.gpus(rules.gpus))
    found = None
    for count in range(now.of(role) + step, target.of(role) + step, step):
        pair = _at(now, role, count)
        if pair.gpus(rules.gpus) > most_gpus:
            break
        if found is not None and _distance(pair, rules) > WIDE:
            break
        found = role, count
    return found


def _at(pair: Instances, role: Role, count: int) -> Instances:
    if role is Role.PREFILL:
        return Instances(count, pair.decode)
    return Instances(pair.prefill, count)


def _distance(pair: Instances, rules: Between) -> float:
    """Return how many times farther out a ratio is than at both ends; 1 is in between them."""
    ratios = [_ratio(one) for one in rules.ends]
    least, most, here = min(ratios), max(ratios), _ratio(pair)
    return max(least / here, here / most, 1.0)


def _ratio(pair: Instances) -> float:
    """Return prefill per decode instance, of a pair in which none may be missing."""
    return max(pair.prefill, 0.5) / max(pair.decode, 0.5)
