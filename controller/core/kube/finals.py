"""Which count each workload of a service is to hold, so that its roles hold what is wanted."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from controller.core.types import ROLES, Instances, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from controller.core.kube.values import WorkloadRef, WorkloadSeen
    from controller.core.ports import ScaleOrder

Seen = tuple["WorkloadRef", "WorkloadSeen"]


def desired(workloads: Iterable[Seen]) -> Instances:
    """Return the counts that workloads hold together."""
    held: Counter[Role] = Counter()
    for ref, seen in workloads:
        held[ref.role] += seen.replicas
    return Instances(held[Role.PREFILL], held[Role.DECODE])


def finals(workloads: Sequence[Seen], order: ScaleOrder, leaving: Mapping[int, int]) -> list[int]:
    """Return the count each workload holds once an order is carried out, in their order.

    What carries the order already goes where it said it would. Of what is left, new instances go
    to the workload of the group they were placed in, and those that leave are taken from where
    they are (``leaving``: workload to how many of those named are its own); then from the largest.
    """
    found = [seen.replicas for _, seen in workloads]
    taken: set[int] = set()
    for at, (_, seen) in enumerate(workloads):
        if seen.action == order.action and seen.want is not None:
            found[at] = seen.want
            taken.add(at)
    for role in ROLES:
        own = [at for at, (ref, _) in enumerate(workloads) if ref.role is role]
        free = [at for at in own if at not in taken]
        left = order.want.of(role) - sum(found[at] for at in own)
        if left > 0 and free:
            groups = Counter(spot.group for spot in order.spots if spot.role is role)
            _grow(found, {at: groups[workloads[at][0].group] for at in free}, left)
        elif left < 0:
            _shrink(found, free, -left, leaving)
    return found


def _grow(found: list[int], placed: Mapping[int, int], left: int) -> None:
    for at, wanted in placed.items():
        more = min(wanted, left)
        found[at] += more
        left -= more
    found[next(iter(placed))] += left


def _shrink(found: list[int], free: Sequence[int], left: int, leaving: Mapping[int, int]) -> None:
    for at in free:
        fewer = min(leaving.get(at, 0), found[at], left)
        found[at] -= fewer
        left -= fewer
    while left > 0 and any(found[at] for at in free):
        largest = max(free, key=lambda at: found[at])
        found[largest] -= 1
        left -= 1
