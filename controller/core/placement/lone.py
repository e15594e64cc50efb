"""Whether a service can shrink so that no group is left with one role: that serves nobody."""

from collections.abc import Sequence

from controller.core.types import Instances


def can_stay_whole(
    groups: Sequence[Instances], loose: Sequence[Instances], rest: Instances
) -> bool:
    """Return whether ``rest`` instances can be kept so that groups keep both roles or nothing.

    ``groups`` are the counts of those that are to keep both; one that has lost a role already
    must go. ``loose`` are groups of one role, of which any number may stay. Exact.
    """
    whole = [count for count in groups if 0 not in count]
    need = Instances(
        max(0, rest.prefill - sum([count.prefill for count in loose])),
        max(0, rest.decode - sum([count.decode for count in loose])),
    )
    most = min(rest)
    if len(whole) <= most:
        return _holds(whole, need)
    by_prefill = sorted(whole, key=lambda count: (-count.prefill, -count.decode))[:most]
    by_decode = sorted(whole, key=lambda count: (-count.decode, -count.prefill))[:most]
    if _holds(by_prefill, need) or _holds(by_decode, need):
        return True
    if not (
        _holds(by_prefill, Instances(need.prefill, 0))
        and _holds(by_decode, Instances(0, need.decode))
    ):
        return False
    return _any_hold(whole, most, need)


def _holds(kept: Sequence[Instances], need: Instances) -> bool:
    return (
        sum([count.prefill for count in kept]) >= need.prefill
        and sum([count.decode for count in kept]) >= need.decode
    )


def _any_hold(whole: Sequence[Instances], most: int, need: Instances) -> bool:
    """Return whether at most so many groups hold what is needed, over every choice of them."""
    # By how many groups and how much prefill, capped at what is needed: the most decode.
    best: list[dict[int, int]] = [{0: 0}, *({} for _ in range(most))]
    for count in whole:
        for used in range(most, 0, -1):
            for prefill, decode in best[used - 1].items():
                got = min(need.prefill, prefill + count.prefill)
                now = decode + count.decode
                best[used][got] = max(best[used].get(got, 0), now)
    return any(found.get(need.prefill, -1) >= need.decode for found in best)
