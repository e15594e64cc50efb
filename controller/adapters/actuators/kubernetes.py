"""Counts of a service written into a cluster of Kubernetes: read, compared, written, compared.

Every write carries the ``resourceVersion`` that was read right before it (Kubernetes API concepts:
updates to existing resources), the epoch, the action and what it leads to, so that the object
itself tells what became of an action whose answer was lost.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from controller.adapters.kube import pods
from controller.core.kube import errors, parsing
from controller.core.kube.access import Res
from controller.core.kube.affinity import of_group, template_patch
from controller.core.kube.finals import desired, finals
from controller.core.kube.kinds import DYNAMO_ADAPTERS, Victims, WorkloadKind, adapter_of
from controller.core.kube.token import token_of
from controller.core.kube.values import (
    ACTION,
    BEFORE,
    EPOCH,
    MANAGER,
    WANT,
    BadObjectError,
    PodState,
    WorkloadRef,
    WorkloadSeen,
    annotation_of,
)
from controller.core.kube.victims import instance_of
from controller.core.kube.writes import Between, next_count
from controller.core.ports import (
    EFFECT_WITHIN_S,
    ConflictError,
    NotSentError,
    RefusedError,
    ScaleOrder,
    ScaleView,
    UnreachableError,
)
from controller.core.types import Instances, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from controller.adapters.kube.api import Api

TRIES: Final = 3
"""So often a write is made anew because only the status of its object has changed."""

MARGIN_S: Final = 2.0
"""A request is over so long before its order may take no effect any more."""

READ_S: Final = 10.0
UNDONE: Final = ":undone"
ANY: Final = Instances(0, 0)
Held = tuple[WorkloadRef, WorkloadSeen]


@dataclass(frozen=True, slots=True)
class Known:
    """What a service is in its cluster: the API server, and its workloads in a fixed order."""

    api: Api
    refs: Sequence[WorkloadRef]


class Kubernetes:
    """Scales workloads of every kind of :data:`controller.core.kube.kinds.KINDS`."""

    def __init__(self, known: Callable[[str], Known]) -> None:
        """Take who says what a service is; it raises :class:`RefusedError` where it is nothing."""
        self._known = known

    def read(self, service: str, *, now_s: float) -> ScaleView:  # noqa: ARG002
        """Return the present counts. Raises :class:`ActuatorError`."""
        known, until = self._known(service), time.monotonic() + READ_S
        try:
            held = [_read(known.api, ref, until) for ref in _targets(known, until)]
        except (errors.UnauthorisedError, errors.ForbiddenError, errors.MissingError) as fault:
            raise RefusedError(fault.text) from None
        except BadObjectError as fault:
            raise RefusedError(str(fault)) from None
        except errors.KubeError as fault:
            raise UnreachableError(fault.text) from None
        return _view(held)

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:
        """Write what is wanted, one object after the other, or take it back."""
        known = self._known(order.service)
        until = time.monotonic() + EFFECT_WITHIN_S - MARGIN_S
        _Order(order, known, until, now_s).carry_out()


class _Order:
    """One order on its way."""

    def __init__(self, order: ScaleOrder, known: Known, until: float, now_s: float) -> None:
        self._order = order
        self._now_s = now_s
        self._api = known.api
        self._known = known
        self._until = until
        self._sent = False

    def carry_out(self) -> None:
        """Write until everything holds what it is to hold."""
        held = self._looked()
        self._check(held)
        if self._order.moves:
            raise RefusedError("Instances can't be moved one by one in a cluster of Kubernetes.")
        goal = self._goal(held)
        while (at := self._following(held, goal)) is not None:
            held = self._written(held, *at)

    def _looked(self) -> list[Held]:
        try:
            refs = _targets(self._known, self._until)
            return [_read(self._api, ref, self._until) for ref in refs]
        except BadObjectError as fault:
            raise RefusedError(str(fault)) from None
        except errors.KubeError as fault:
            raise self._told(fault) from None

    def _check(self, held: Sequence[Held]) -> None:
        """Refuse what an older leader sends, and what rests on another state (S12, S13)."""
        newest = max((seen.epoch for _, seen in held), default=0)
        if newest > self._order.epoch:
            raise RefusedError(
                f"epoch {self._order.epoch} is over, epoch {newest} wrote last. If the database"
                " was restored, raise its epoch first: docs/deploying.md."
            )
        mine = [_ours(seen, self._order.action) for _, seen in held]
        before = [
            (ref, replace(seen, replicas=seen.before) if own and seen.before is not None else seen)
            for (ref, seen), own in zip(held, mine, strict=True)
        ]
        if token_of(before) != self._order.resource_version:
            raise ConflictError(f"it holds {desired(held)}, or was made anew.")
        for (ref, seen), own in zip(held, mine, strict=True):
            if own and (not _is_between(seen) or _is_overwritten(ref, seen)):
                raise ConflictError(f"{ref.words} holds {seen.replicas} by now.")

    def _goal(self, held: Sequence[Held]) -> list[int]:
        if self._order.undo:
            return [
                seen.before
                if seen.action == self._order.action and seen.before is not None
                else seen.replicas
                for _, seen in held
            ]
        return finals(held, self._order, self._leaving(held))

    def _leaving(self, held: Sequence[Held]) -> dict[int, int]:
        """Return how many of those that are to go each workload has, where that is a choice.

        A name does not tell: ``decode-h100-1`` may be of ``decode`` or of ``decode-h100``.
        """
        present, several = desired(held), Counter(ref.role for ref, _ in held)
        found: dict[int, int] = {}
        for at, (ref, seen) in enumerate(held):
            shrinks = self._order.want.of(ref.role) < present.of(ref.role)
            if self._order.leave and shrinks and several[ref.role] > 1:
                found[at] = len(self._instances(ref, seen).intersection(self._order.leave))
        return found

    def _instances(self, ref: WorkloadRef, seen: WorkloadSeen) -> set[str]:
        try:
            items = pods.listed(self._api, ref, seen.selector, until=self._until)
        except BadObjectError as fault:
            raise RefusedError(str(fault)) from None
        except errors.KubeError as fault:
            raise self._told(fault) from None
        there = pods.seen(ref, items, self._now_s)
        return {instance_of(pod) for pod in there if pod.state is not PodState.DRAINING}

    def _following(
        self, held: Sequence[Held], goal: Sequence[int]
    ) -> tuple[Mapping[int, int], Sequence[int]] | None:
        """Return what is written next: workloads of one object, each with its count."""
        late = [at for at, (_, seen) in enumerate(held) if seen.replicas != goal[at]]
        if not late:
            return None
        wanted = desired(
            [(ref, replace(seen, replicas=goal[at])) for at, (ref, seen) in enumerate(held)]
        )
        present = desired(held)
        rules = self._order.between or Between(ANY, 0, (present, wanted))
        try:
            step = next_count(present, wanted, rules)
        except ValueError:
            said = f"no order of writes keeps it within {rules.most_gpus} GPUs."
            raise RefusedError(said) from None
        first, together = late[0], [late[0]]
        if step is not None:
            role, count = step
            first = next((at for at in late if held[at][0].role is role), late[0])
            together = [at for at in late if _object_of(held[at][0]) == _object_of(held[first][0])]
            if len(together) == 1:
                most = abs(count - present.of(role))
                return {first: _towards(held[first][1].replicas, goal[first], most)}, goal
        return {at: goal[at] for at in together}, goal

    def _written(
        self, held: list[Held], counts: Mapping[int, int], goal: Sequence[int]
    ) -> list[Held]:
        """Write the counts of one object and return everything as it is now."""
        for attempt in range(TRIES):
            try:
                return self._write(held, counts, goal)
            except errors.ConflictError as fault:
                if attempt + 1 == TRIES:
                    raise ConflictError(fault.text) from None
                held = self._same_as(held)
            except errors.KubeError as fault:
                raise self._told(fault) from None
            except BadObjectError as fault:
                raise UnreachableError(f"what was written can't be read: {fault}") from None
        raise ConflictError("its objects change too fast.")  # pragma: no cover - TRIES is above 0

    def _same_as(self, held: Sequence[Held]) -> list[Held]:
        """Read everything again: another count or object is a conflict, a new status is none."""
        fresh = self._looked()
        if token_of(fresh) != token_of(held):
            raise ConflictError(f"it holds {desired(fresh)} by now.")
        return fresh

    def _write(
        self, held: list[Held], counts: Mapping[int, int], goal: Sequence[int]
    ) -> list[Held]:
        first = next(iter(counts))
        ref, seen = held[first]
        self._mark_victims(held, counts)
        body: dict[str, Any] = {
            "metadata": {
                "uid": seen.uid,
                "resourceVersion": seen.resource_version,
                "annotations": self._annotations(held, counts, goal),
            }
        }
        res = Res(ref.api, ref.plural)
        name = _name_of(ref)
        scales = ref.kind is WorkloadKind.SCALE
        if not scales:
            body["spec"] = _spec({held[at][0]: count for at, count in counts.items()})
            body["spec"] |= self._template(ref, seen)
        answer, scale = self._merge(res, ref.namespace, name, body), None
        if scales:
            version = parsing.version_of(answer)
            body = {
                "metadata": {"resourceVersion": version},
                "spec": {"replicas": counts[first]},
            }
            scale = self._merge(res, ref.namespace, name, body, subresource="scale")
        fresh = list(held)
        for at, count in counts.items():
            fresh[at] = held[at][0], parsing.workload(held[at][0], answer, scale)
            if fresh[at][1].replicas != count:
                raise RefusedError(
                    f"{held[at][0].words} holds {fresh[at][1].replicas} after {count} were"
                    " written: something in the cluster, like an admission webhook, rewrites it."
                )
        return fresh

    def _ask(self) -> None:
        """Look once more whether it may be sent: much may have come since the last look (S16)."""
        if not self._order.may_go_on():
            raise NotSentError("it may not go on any more.")

    def _merge(
        self,
        res: Res,
        namespace: str,
        name: str,
        body: dict[str, Any],
        subresource: str = "",
    ) -> dict[str, Any]:
        self._ask()
        answer = self._api.merge(
            res, namespace, name, body, until=self._until, subresource=subresource
        )
        self._sent = True
        return answer

    def _template(self, ref: WorkloadRef, seen: WorkloadSeen) -> dict[str, Any]:
        """Return what keeps new pods in the domain of their group, while there are none yet."""
        patch = template_patch(ref, seen, of_group(self._order.homes, ref.group))
        return {} if patch is None else dict(patch["spec"])

    def _mark_victims(self, held: Sequence[Held], counts: Mapping[int, int]) -> None:
        """Say to the cluster who is to go before the count falls, where it lets that be said."""
        for at, count in counts.items():
            ref, seen = held[at]
            if count >= seen.replicas or ref.about.victims is not Victims.COST:
                continue
            try:
                items = pods.listed(self._api, ref, seen.selector, until=self._until)
                self._ask()
                there = pods.seen(ref, items, self._now_s)
                pods.mark_victims(
                    self._api, ref, there, count, self._order.leave, until=self._until
                )
            except errors.ForbiddenError:
                continue  # who goes is the cluster's choice then, as the preflight says

    def _annotations(
        self, held: Sequence[Held], counts: Mapping[int, int], goal: Sequence[int]
    ) -> dict[str, str]:
        undo = self._order.undo
        told = {
            EPOCH: str(self._order.epoch),
            ACTION: self._order.action + (UNDONE if undo else ""),
        }
        # An object of several parts is said of each of them to whom the action belongs.
        objects = {_object_of(held[at][0]) for at in counts}
        for at, (ref, seen) in enumerate(held):
            if _object_of(ref) not in objects:
                continue
            before = seen.before if _ours(seen, self._order.action) else seen.replicas
            told[annotation_of(WANT, ref)] = str(goal[at])
            told[annotation_of(BEFORE, ref)] = str(before)
        return told

    def _told(self, fault: errors.KubeError) -> Exception:
        """Return what a fault means for the order; a write without an answer is unknown (S14)."""
        if isinstance(fault, errors.ThrottledError):
            return NotSentError(fault.text)
        if isinstance(
            fault,
            errors.UnauthorisedError
            | errors.ForbiddenError
            | errors.MissingError
            | errors.InvalidError,
        ):
            return RefusedError(fault.text)
        if isinstance(fault, errors.UnreachableError) and not fault.sent and not self._sent:
            return NotSentError(fault.text)
        return UnreachableError(fault.text)


def _targets(known: Known, until: float) -> list[WorkloadRef]:
    """Return the objects to write to: an adapter stands for the component of a graph it scales.

    Which one it is depends on what there is, and never on a write that failed before.
    """
    return [_target(known.api, ref, until) for ref in known.refs]


def _target(api: Api, ref: WorkloadRef, until: float) -> WorkloadRef:
    if ref.kind is not WorkloadKind.DYNAMO:
        return ref
    adapter = replace(ref, plural=DYNAMO_ADAPTERS)
    try:
        api.read(Res(ref.api, DYNAMO_ADAPTERS), ref.namespace, _name_of(adapter), until=until)
    except errors.MissingError:
        return ref
    return adapter


def _name_of(ref: WorkloadRef) -> str:
    if ref.kind is WorkloadKind.ROLE_BASED_GROUP or ref.plural == DYNAMO_ADAPTERS:
        return adapter_of(ref.name, ref.part)
    return ref.name


def _read(api: Api, ref: WorkloadRef, until: float) -> Held:
    res, name = Res(ref.api, ref.plural), _name_of(ref)
    body = api.read(res, ref.namespace, name, until=until)
    scale = None
    if ref.kind is WorkloadKind.SCALE:
        scale = api.read(res, ref.namespace, name, until=until, subresource="scale")
    return ref, parsing.workload(ref, body, scale)


def _object_of(ref: WorkloadRef) -> tuple[str, str, str]:
    return ref.plural, ref.namespace, _name_of(ref)


def _spec(counts: Mapping[WorkloadRef, int]) -> dict[str, Any]:
    spec: dict[str, Any] = {}
    for ref, count in counts.items():
        if ref.kind is WorkloadKind.DYNAMO and ref.plural != DYNAMO_ADAPTERS:
            spec.setdefault("services", {})[ref.part] = {"replicas": count}
        else:
            spec["replicas"] = count
    return spec


def _ours(seen: WorkloadSeen, action: str) -> bool:
    return seen.action in (action, action + UNDONE)


def _is_overwritten(ref: WorkloadRef, seen: WorkloadSeen) -> bool:
    """Return whether somebody else set the count after the action that the object bears (S25).

    Nothing is said of objects that don't tell who set it, nor of those whose annotations are
    written before their count.
    """
    is_done = seen.want is None or seen.replicas == seen.want
    in_two = ref.kind is WorkloadKind.SCALE
    return not in_two and not is_done and seen.by not in {"", MANAGER}


def _is_between(seen: WorkloadSeen) -> bool:
    ends = [seen.before, seen.want]
    known = [end for end in ends if end is not None]
    return not known or min(known) <= seen.replicas <= max(known)


def _towards(now: int, goal: int, most: int) -> int:
    return min(goal, now + most) if goal > now else max(goal, now - most)


def _view(held: Sequence[Held]) -> ScaleView:
    newest = max(held, key=lambda one: one[1].epoch, default=None)
    undone = frozenset(
        seen.action.removesuffix(UNDONE) for _, seen in held if seen.action.endswith(UNDONE)
    )
    ready = dict.fromkeys(Role, 0)
    for ref, seen in held:
        ready[ref.role] += seen.ready
    return ScaleView(
        desired=desired(held),
        ready=Instances(ready[Role.PREFILL], ready[Role.DECODE]),
        resource_version=token_of(held),
        last_action=newest[1].action.removesuffix(UNDONE) if newest and newest[1].action else None,
        last_epoch=newest[1].epoch if newest else 0,
        actions=frozenset(
            seen.action for _, seen in held if seen.action and not seen.action.endswith(UNDONE)
        ),
        undone=undone,
        overwritten=frozenset(
            seen.action.removesuffix(UNDONE)
            for ref, seen in held
            if seen.action and _is_overwritten(ref, seen)
        ),
    )
