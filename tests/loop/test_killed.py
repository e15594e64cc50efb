"""Kill -9 before and after every statement and request of an action (P01), for each kind."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.db.models import F

from controller.adapters.actuators.kubernetes import Known, Kubernetes
from controller.adapters.kube.api import Api, Credentials
from controller.adapters.kube.discovery import KubeDiscovery
from controller.core.approval import fingerprint
from controller.core.kube.kinds import Gate
from controller.core.kube.values import SERVING
from controller.core.lifecycle import ActionState
from controller.core.types import Instances
from controller.models import Action, AuditEvent, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.services import actions, withdrawing
from controller.services.rows import basis_of
from inventory.models import Service
from inventory.snapshot import service_spec
from tests import killing
from tests.factories import make_proposal, make_service
from tests.kube import Double, deployment, faults, fleet
from tests.loop.test_actions import approver
from tests.workloads import LAID, Laid, served

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from controller.core.kube.values import WorkloadRef

pytestmark = pytest.mark.django_db(transaction=True)
ROUNDS = 5
DONE = (ActionState.APPLIED, ActionState.FAILED, ActionState.CANCELLED)
WANT = Instances(3, 6)
LEAVING = {"get", "patch", "COMMIT"}


def untroubled(_: Double) -> None:
    """Let everything work."""


def without_decode(kube: Double) -> None:
    """Never let decode be written, so that prefill is taken back."""
    kube.fault(faults.answer(403), method="PATCH", path="decode", times=None)


class Case:
    """One approved proposal of 2/4 → 3/6 on a cluster of its own."""

    want = WANT

    def __init__(self, laid: Laid, slug: str, trouble: Callable[[Double], None]) -> None:
        self.laid = laid
        self.kube = Double(kinds=served())
        self.kube.start()
        self._opened: dict[int, Api] = {}
        self.put()
        version = self.acting().read(slug, now_s=0.0).resource_version
        self.service = make_service(slug)
        ServiceStatus.objects.filter(service=self.service).update(resource_version=version)
        basis = basis_of(service_spec(self.service), Instances(2, 4), version)
        self.proposal = make_proposal(
            self.service,
            state="approved",
            decided_by=approver(f"ana-{slug}"),
            fingerprint=fingerprint(basis, self.want),
            to_prefill=self.want.prefill,
            to_decode=self.want.decode,
            resource_version=version,
            expires_at=database_now() + timedelta(minutes=5),
        )
        trouble(self.kube)

    def put(self) -> None:
        self.laid.put(self.kube)

    @property
    def refs(self) -> Sequence[WorkloadRef]:
        return self.laid.refs()

    @property
    def api(self) -> Api:
        # A fork must not share its parent's line to the server.
        if os.getpid() not in self._opened:
            credentials = Credentials(server=self.kube.address, token=self.kube.token)
            self._opened[os.getpid()] = Api(credentials)
        return self._opened[os.getpid()]

    def acting(self) -> Kubernetes:
        return Kubernetes(lambda _: Known(self.api, self.refs))

    def of(self, _: Service) -> Kubernetes:
        return self.acting()

    def close(self) -> None:
        for api in self._opened.values():
            api.close()
        self.kube.close()

    def start(self) -> None:
        """Do what a worker does with an approved proposal."""
        start = actions.start_approved(self.proposal.pk)
        if start.action is not None:
            self.run(start.action)

    def run(self, action: UUID) -> None:
        actions.run(action, actuator_of=self.of)

    def sweep(self) -> None:
        """Do what the sweep does with this service, as if a while had gone by."""
        ago = timedelta(seconds=actions.ANSWER_WITHIN_S + 1)
        own = Action.objects.filter(service=self.service)
        own.update(
            sent_at=F("sent_at") - ago,
            partly_at=F("partly_at") - ago,
            recorded_at=F("recorded_at") - timedelta(seconds=5),
        )
        due, mine = actions.due(database_now()), set(own.values_list("pk", flat=True))
        if self.proposal.pk in due.approved:
            self.start()
        for pk in mine.intersection(due.recorded):
            self.run(pk)
        for pk in mine.intersection(due.unanswered):
            actions.resolve(pk, actuator_of=self.of)

    def settle(self) -> None:
        """Sweep until nothing is left to do; in vain once more, which must change nothing."""
        for _ in range(ROUNDS):
            self.sweep()
            ended = Action.objects.filter(service=self.service, state__in=DONE)
            if ended.exists():
                break
        self.sweep()

    def end(self) -> dict[str, object]:
        """Return how it ended: what is recorded, what the cluster holds, and how it got there."""
        seen = self.acting().read(self.service.slug, now_s=0.0)
        action = Action.objects.get(service=self.service)
        states = Proposal.objects.filter(pk=self.proposal.pk).values_list("state", flat=True)
        told = AuditEvent.objects.filter(object_id=str(action.pk)).values_list("verb", flat=True)
        writes = [
            (one.key.name, one.body["spec"])
            for one in self.kube.writes(by="heteroscale")
            if one.key.kind != "pods"
        ]
        epochs = [one.annotation("heteroscale.io/epoch") for one in self.kube.writes()]
        known = [int(epoch) for epoch in epochs if epoch]
        assert known == sorted(known)
        return {
            "state": action.state,
            "ended": action.ended_at is not None,
            "proposal": states.get(),
            "counts": seen.desired,
            "writes": Counter(map(str, writes)),
            "told": Counter(told),
        }


class SoftCase(Case):
    """One approved proposal of 2/4 → 2/2 of pods behind a label, watched for no time at all."""

    want = Instances(2, 2)

    def put(self) -> None:
        self.kube.put(*fleet(8))
        for ref, count in zip(self.laid.refs(), (2, 4), strict=True):
            self.kube.put(deployment(ref.namespace, ref.name, count, {SERVING: "true"}))
        self.kube.settle()

    @property
    def refs(self) -> Sequence[WorkloadRef]:
        return [replace(ref, gate=Gate.LABEL) for ref in self.laid.refs()]

    def look(self) -> None:
        """Let a tick have looked now, and found everything well."""
        status = ServiceStatus.objects.get(service=self.service)
        status.observed_at = database_now()
        usual = {"value": 900.0, "unit": "tok/s", "reporting": 2, "expected": 2, "quality": "ok"}
        known = status.signals | {"prefill_tps_uncached": usual}
        at = {"measured_at_s": database_now().timestamp()}
        status.signals = {name: one | at for name, one in known.items()}
        status.save()

    def run(self, action: UUID) -> None:
        self.look()
        tools = withdrawing.Tools(
            actuator_of=self.of,
            discovery_of=lambda _: KubeDiscovery(lambda _: (self.api, self.refs)),
            window_s=0.0,
            drain_s=0.0,
            max_age_s=45.0,
        )
        for _ in range(2):
            withdrawing.run(action, tools)

    def sweep(self) -> None:
        super().sweep()
        for pk in withdrawing.due():
            if Action.objects.filter(pk=pk, service=self.service).exists():
                self.run(pk)

    def end(self) -> dict[str, object]:
        self.kube.settle()
        pods = self.kube.all("pods", "prod", "app=chat-decode")
        inside = [pod["metadata"]["labels"][SERVING] for pod in pods]
        return super().end() | {"serving": inside}


def whole(
    laid: Laid, slug: str, trouble: Callable[[Double], None], make: type[Case] = Case
) -> dict[str, object]:
    """Return how the work ends if nothing disturbs it."""
    case = make(laid, slug, trouble)
    try:
        case.start()
        case.settle()
        return case.end()
    finally:
        case.close()


def killed(
    laid: Laid,
    slug: str,
    trouble: Callable[[Double], None],
    point: int,
    make: type[Case] = Case,
) -> dict[str, object]:
    """Return how it ends if the worker is killed at a point of its first run."""
    case = make(laid, slug, trouble)
    try:
        killing.killed_at(point, case.start)
        case.settle()
        return case.end()
    finally:
        case.close()


def points_of(
    laid: Laid, slug: str, trouble: Callable[[Double], None], make: type[Case] = Case
) -> list[str]:
    case = make(laid, slug, trouble)
    try:
        return killing.points(case.start)
    finally:
        case.close()


def survived(
    laid: Laid,
    trouble: Callable[[Double], None],
    some: Callable[[list[str]], Iterator[int]],
    name: str = "",
    make: type[Case] = Case,
) -> tuple[int, dict[str, object]]:
    """Return how many points were tried, and those after which the end is another one."""
    name = "".join(one if one.isalnum() else "-" for one in name)[:40]
    points = points_of(laid, f"points-{name}", trouble, make)
    wanted = whole(laid, f"whole-{name}", trouble, make)
    tried, wrong = 0, {}
    for point in some(points):
        found = killed(laid, f"killed-{name}-{point}", trouble, point, make)
        tried += 1
        if found != wanted:
            wrong[f"{point} {points[point]}"] = found
    return tried, wrong


def all_of(points: list[str]) -> Iterator[int]:
    yield from range(len(points))


def every_ninth(points: list[str]) -> Iterator[int]:
    yield from range(1, len(points), 9)


def every_eighteenth(points: list[str]) -> Iterator[int]:
    yield from range(2, len(points), 18)


def requests_and_commits(points: list[str]) -> Iterator[int]:
    """Return every sixth point where something leaves this process for good."""
    found = [at for at, name in enumerate(points) if name.split()[1] in LEAVING]
    yield from found[::6]


@pytest.mark.parametrize(
    ("kind", "trouble", "some", "least"),
    [
        pytest.param("deployment", untroubled, every_ninth, 18, id="deployment"),
        pytest.param(
            "deployment", without_decode, every_eighteenth, 8, id="deployment, taken back"
        ),
        *(
            pytest.param(kind, untroubled, requests_and_commits, 3, id=kind)
            for kind in LAID
            if kind != "deployment"
        ),
    ],
)
def test_wherever_a_worker_is_killed_the_end_is_the_same_p01(
    kind: str,
    trouble: Callable[[Double], None],
    some: Callable[[list[str]], Iterator[int]],
    least: int,
) -> None:
    """The benchmark ``faults`` kills at every point of every kind; here are some of each."""
    tried, wrong = survived(LAID[kind], trouble, some)
    assert not wrong
    assert tried >= least


def test_wherever_a_worker_is_killed_a_soft_scale_in_ends_the_same_p01() -> None:
    undisturbed = whole(LAID["deployment"], "once", untroubled, SoftCase)
    assert (undisturbed["counts"], undisturbed["serving"]) == ((2, 2), ["true", "true"])
    tried, wrong = survived(LAID["deployment"], untroubled, every_eighteenth, make=SoftCase)
    assert not wrong
    assert tried >= 12


def thawed(
    laid: Laid, slug: str, trouble: Callable[[Double], None], point: int
) -> dict[str, object]:
    """Return how it ends if the worker stands still at a point until others have finished."""
    case = Case(laid, slug, trouble)
    try:
        killing.frozen_at(point, case.start, case.settle)
        case.sweep()
        return case.end()
    finally:
        case.close()


@pytest.mark.parametrize("kind", ["deployment", "dynamo"])
def test_a_worker_that_stood_still_adds_nothing_to_what_others_finished_p02_p03(kind: str) -> None:
    laid = LAID[kind]
    points = points_of(laid, "points", untroubled)
    wanted = whole(laid, "whole", untroubled)
    # Whoever stands still within a transaction loses it to the time-outs of the database (D03).
    asked = [at for at, name in enumerate(points) if name.split()[1] in {"get", "patch"}][::3]
    found = {
        f"{point} {points[point]}": thawed(laid, f"thawed-{point}", untroubled, point)
        for point in asked
    }
    assert len(found) >= 2
    assert found == dict.fromkeys(found, wanted)
