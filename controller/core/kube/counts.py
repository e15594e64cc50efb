"""Workloads and pods of one service as the counts and instances that decisions rest on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import Gate
from controller.core.kube.parsing import MOST
from controller.core.kube.token import token_of
from controller.core.kube.values import PodState, WorkloadSeen
from controller.core.types import ROLES, Bar, InstanceRef, Role, RoleState, ServiceState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from controller.core.kube.values import PodSeen, ServiceSeen, WorkloadRef

FLAP_S: Final = 120.0
"""So long after a pod lost and regained readiness nothing is taken away (K15)."""

_OVER_ALL: Final = (PodState.DRAINING, PodState.FAILED, PodState.STARTING)
"""One pod in such a state puts its whole instance in it; the first counts."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What a cluster holds for a service.

    ``state`` is ``None`` where a workload can't be read: then nobody knows how many instances
    there are, and what is known of the others must not pass for all of them (K19). ``problems``
    are sentences that say so.
    """

    state: ServiceState | None
    instances: tuple[InstanceRef, ...]
    bar: Bar | None
    problems: tuple[str, ...]


def counted(seen: ServiceSeen) -> Counted:
    """Return the counts of a service, its instances, and what bars a change of it."""
    problems = tuple(_problems(seen))
    read = [
        (ref, found, pods)
        for ref, found, pods in seen.workloads
        if isinstance(found, WorkloadSeen)
    ]
    instances = tuple(one for ref, found, pods in read for one in _instances(ref, found, pods))
    if problems or not read:
        return Counted(None, instances, None, problems)
    wished: Counter[Role] = Counter()
    for ref, found, _ in read:
        wished[ref.role] += found.replicas
    if too_many := tuple(_too_many(wished)):
        return Counted(None, instances, None, too_many)
    has = Counter((one.role, one.state) for one in instances)
    prefill, decode = (_role_state(role, wished[role], has) for role in ROLES)
    token = token_of((ref, found) for ref, found, _ in read)
    return Counted(ServiceState(prefill, decode, token), instances, _bar(seen), ())


def _role_state(role: Role, wished: int, has: Counter[tuple[Role, str]]) -> RoleState:
    return RoleState(
        desired=wished,
        ready=has[role, PodState.READY],
        starting=has[role, PodState.STARTING],
        draining=has[role, PodState.DRAINING],
        failed=has[role, PodState.FAILED],
        held=has[role, PodState.HELD],
    )


def _problems(seen: ServiceSeen) -> Iterator[str]:
    """Yield why the counts of a service can't be told."""
    for ref, found, _ in seen.workloads:
        if isinstance(found, str):
            yield f"{ref.words} can't be read: {found}."
    roles = {ref.role for ref, _, _ in seen.workloads}
    if roles:
        for role in ROLES:
            if role not in roles:
                yield f"No workload holds its {role.value} instances."
    owners = Counter(one.uid for _, _, pods in seen.workloads for one in pods)
    shared = sorted(
        {one.name for _, _, pods in seen.workloads for one in pods if owners[one.uid] > 1}
    )
    if shared:
        more = f" and {len(shared) - 1} more pods belong" if len(shared) > 1 else " belongs"
        yield (
            f"{shared[0]}{more} to several of its workloads by their labels; "
            "give each workload labels of its own."
        )


def _too_many(wished: Counter[Role]) -> Iterator[str]:
    """Yield the roles whose workloads ask together for more than any count may be (K19)."""
    for role in ROLES:
        if wished[role] > MOST:
            yield f"Its {role.value} workloads ask for {wished[role]:,} instances together."


def _instances(
    ref: WorkloadRef, found: WorkloadSeen, pods: Sequence[PodSeen]
) -> Iterator[InstanceRef]:
    """Yield the instances of a workload; pods of one group are one of them."""
    groups: dict[str, list[PodSeen]] = {}
    for one in pods:
        groups.setdefault(one.of or one.name, []).append(one)
    for name, its in groups.items():
        nodes = dict.fromkeys(one.node for one in its if one.node)
        size = found.size if its[0].of else 1
        state = its[0].state if size == len(its) == 1 else _state_of(ref, its, size)
        yield InstanceRef(name, ref.role, ref.group, ",".join(nodes), state.value)


def _state_of(ref: WorkloadRef, pods: Sequence[PodSeen], size: int) -> PodState:
    """Return the state of an instance of several pods: it is ready only if all of them are.

    Where a label is the gate, the pod that serves alone carries it, and the others nothing.
    """
    states = {one.state for one in pods}
    for over in _OVER_ALL:
        if over in states:
            return over
    if len(pods) < size:
        return PodState.STARTING
    is_open = any if ref.gate is Gate.LABEL else all
    return (
        PodState.READY if is_open(one.state is PodState.READY for one in pods) else PodState.HELD
    )


def _bar(seen: ServiceSeen) -> Bar | None:
    """Return why nothing may be taken away now."""
    told = list(_unrest(seen))
    return Bar("; ".join(told)) if told else None


def _unrest(seen: ServiceSeen) -> Iterable[str]:
    for ref, found, _ in seen.workloads:
        if isinstance(found, WorkloadSeen) and found.rollout:
            yield f"{ref.words}: {found.rollout}"
    flapping = sum(1 for _, _, pods in seen.workloads for one in pods if one.flaps)
    if flapping:
        pods = "pods" if flapping > 1 else "pod"
        yield f"{flapping} {pods} lost and regained readiness within the last {FLAP_S:.0f} s"
