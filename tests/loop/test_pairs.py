"""An action of two writes in a Kubernetes cluster: half done, completed, taken back (S5, K07)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from django.db.models import F

from controller.core.lifecycle import ActionState
from controller.core.ports import Actuator, ScaleOrder, ScaleView
from controller.models import Action, AuditEvent, Freeze
from controller.models.clock import database_now
from controller.selectors.freezes import requests_outstanding
from controller.services import actions, objections
from inventory.models import Policy, Service
from tests.factories import make_service
from tests.kube import Double, Rule, faults
from tests.loop.test_actions import make_action
from tests.workloads import LAID, NAMESPACE, Act, act, served

pytestmark = pytest.mark.django_db
__all__ = ["act"]
DEPLOYMENTS = LAID["deployment"]
LATE_S = objections.PAIR_WITHIN_S + 1


@pytest.fixture
def kube() -> Iterator[Double]:
    with Double(kinds=served()) as found:
        DEPLOYMENTS.put(found)
        yield found


@pytest.fixture
def service() -> Service:
    return make_service()


class Stage:
    """One action of a service on the double, and what it leads to."""

    def __init__(self, service: Service, kube: Double, act: Act, **fields: object) -> None:
        self.kube = kube
        self.acting = act(DEPLOYMENTS)
        version = self.acting.read("chat", now_s=0.0).resource_version
        self.action = make_action(service, epoch=7, resource_version=version, **fields)

    def run(self, acting: Actuator | None = None) -> str:
        return actions.run(self.action.pk, actuator_of=lambda _: acting or self.acting)

    def resolve(self, acting: Actuator | None = None) -> str:
        return actions.resolve(self.action.pk, actuator_of=lambda _: acting or self.acting)

    def later(self, seconds: float) -> None:
        """Let time pass: rows get older."""
        ago = timedelta(seconds=seconds)
        columns = ("recorded_at", "sent_at", "partly_at")
        Action.objects.filter(pk=self.action.pk).update(**{one: F(one) - ago for one in columns})

    @property
    def row(self) -> Action:
        self.action.refresh_from_db()
        return self.action

    @property
    def counts(self) -> tuple[int, int]:
        return self.acting.read("chat", now_s=0.0).desired


@dataclass
class Meanwhile:
    """An actuator while which something happens: after a read, before a first or later write."""

    acting: Actuator
    after_read: Callable[[], object] = bool
    before: Callable[[], object] = bool
    between: Callable[[], object] = bool

    def read(self, service: str, *, now_s: float) -> ScaleView:
        seen = self.acting.read(service, now_s=now_s)
        self.after_read()
        return seen

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:
        comes = iter([self.before])

        def asked() -> bool:
            next(comes, self.between)()
            return order.may_go_on()

        self.acting.apply(replace(order, may_go_on=asked), now_s=now_s)


def freeze() -> None:
    Freeze.objects.create(by_name="ana", reason="latency", since=database_now())


def observe() -> None:
    Service.objects.update(mode="observe")


@pytest.fixture
def half(service: Service, kube: Double, act: Act) -> Stage:
    """2/4 → 3/6 of which decode was refused once prefill was written."""
    stage = Stage(service, kube, act)
    kube.fault(faults.answer(403), method="PATCH", nth=2)
    assert stage.run() == ActionState.PARTLY
    assert stage.counts == (3, 4)
    return stage


def test_half_done_it_is_told_and_counts_as_outstanding(half: Stage) -> None:
    assert half.row.partly_at is not None
    assert "refused" in half.row.error
    assert requests_outstanding(None) == 1


def test_the_sweep_finds_it_at_once(half: Stage) -> None:
    assert actions.due(database_now()).unanswered == [half.action.pk]


def test_the_other_half_is_sent_under_the_same_id(half: Stage) -> None:
    assert half.resolve() == ActionState.APPLIED
    assert half.counts == (3, 6)
    writes = half.kube.writes(by="heteroscale")
    assert [one.replicas for one in writes] == [3, 6]
    assert {one.annotation("heteroscale.io/action") for one in writes} == {str(half.action.pk)}


def test_refused_for_good_it_is_taken_back_in_time(half: Stage) -> None:
    half.kube.fault(faults.answer(403), method="PATCH", path="chat-decode", times=None)
    assert half.resolve() == ActionState.PARTLY
    half.later(LATE_S)
    assert half.resolve() == ActionState.FAILED
    assert half.counts == (2, 4)
    assert "Taken back" in half.row.error
    assert "refused" in half.row.error
    assert AuditEvent.objects.filter(verb="action failed").exists()


def test_a_half_that_can_not_be_taken_back_ends_where_it_stands(half: Stage) -> None:
    half.kube.fault(faults.answer(403), method="PATCH", times=None)
    for _ in range(3):
        half.later(LATE_S)
        half.resolve()
    assert half.row.state == ActionState.FAILED
    assert "prefill 3, decode 4" in half.row.error
    assert half.row.ended_at is not None


def test_a_policy_that_changed_since_takes_it_back(half: Stage) -> None:
    Policy.objects.filter(service=half.row.service).update(revision=9)
    Action.objects.filter(pk=half.action.pk).update(decision=None)
    Service.objects.filter(pk=half.row.service_id).update(mode="approve")
    assert half.resolve() == ActionState.FAILED
    assert half.counts == (2, 4)
    assert "mode approve" in half.row.error


@pytest.mark.parametrize("stop", ["freeze", "observe"])
def test_nothing_is_sent_while_stopped_and_it_still_ends_a06_s16_s17(
    half: Stage, stop: str
) -> None:
    if stop == "freeze":
        Freeze.objects.create(by_name="ana", reason="latency", since=database_now())
    else:
        Service.objects.update(mode="observe")
    before = len(half.kube.asked("PATCH"))
    assert half.resolve() == ActionState.PARTLY
    assert requests_outstanding(None) == 1
    half.later(LATE_S)
    assert half.resolve() == ActionState.FAILED
    assert len(half.kube.asked("PATCH")) == before
    assert half.counts == (3, 4)
    assert "Stopped half way" in half.row.error
    assert requests_outstanding(None) == 0


def test_a_freeze_that_ends_in_time_lets_it_go_on(half: Stage) -> None:
    frozen = Freeze.objects.create(by_name="ana", reason="latency", since=database_now())
    assert half.resolve() == ActionState.PARTLY
    frozen.ended_at = database_now()
    frozen.save()
    assert half.resolve() == ActionState.APPLIED


@pytest.mark.parametrize("stop", [freeze, observe])
def test_what_is_stopped_after_the_last_look_at_the_cluster_sends_nothing_s16_s17(
    service: Service, kube: Double, act: Act, stop: Callable[[], None]
) -> None:
    stage = Stage(service, kube, act)
    assert stage.run(Meanwhile(stage.acting, before=stop)) == ActionState.RECORDED
    assert stage.run() == ActionState.CANCELLED
    assert not kube.asked("PATCH")


@pytest.mark.parametrize("stop", [freeze, observe])
def test_what_is_stopped_between_two_writes_sends_no_second_s16_s17(
    service: Service, kube: Double, act: Act, stop: Callable[[], None]
) -> None:
    stage = Stage(service, kube, act)
    assert stage.run(Meanwhile(stage.acting, between=stop)) == ActionState.PARTLY
    assert [one.replicas for one in kube.writes(by="heteroscale")] == [3]
    assert "What is left was not sent" in stage.row.error
    assert requests_outstanding(None) == 1


def test_stopped_in_between_and_not_readable_it_is_looked_at_again_s14(
    service: Service, kube: Double, act: Act
) -> None:
    stage = Stage(service, kube, act)

    def stop() -> None:
        freeze()
        kube.fault(faults.answer(503), method="GET", times=1)

    assert stage.run(Meanwhile(stage.acting, between=stop)) == ActionState.UNKNOWN


def test_nothing_is_taken_back_of_what_is_only_observed_since_it_was_read_s17(
    half: Stage,
) -> None:
    Action.objects.filter(pk=half.action.pk).update(error=f"{objections.UNDOING}it expired.")
    before = len(half.kube.asked("PATCH"))
    assert half.resolve(Meanwhile(half.acting, after_read=observe)) == ActionState.PARTLY
    assert len(half.kube.asked("PATCH")) == before


def test_who_stood_still_with_the_other_half_claimed_sends_nothing_p02(half: Stage) -> None:
    """By then somebody else may have taken the first half back."""
    before = len(half.kube.asked("PATCH"))

    def actuator_of(_: Service) -> Actuator:
        if half.row.state == ActionState.SENT:
            half.later(actions.ANSWER_WITHIN_S)
        return half.acting

    assert actions.resolve(half.action.pk, actuator_of=actuator_of) == ActionState.PARTLY
    assert len(half.kube.asked("PATCH")) == before


def test_half_done_it_waits_where_it_may_not_be_read_for_a_while(half: Stage) -> None:
    half.kube.fault(faults.answer(403), method="GET", times=1)
    assert half.resolve() == ActionState.PARTLY
    assert half.resolve() == ActionState.APPLIED


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(8, id="8: beyond 2 to 3"),
        pytest.param(2, id="2: as it was before"),
        pytest.param(1, id="1: below 2 to 3"),
    ],
)
def test_somebody_who_changes_the_written_half_is_left_alone_s25(half: Stage, count: int) -> None:
    half.kube.scale("deployments", NAMESPACE, "chat-prefill", count, by="kubectl")
    assert half.resolve() == ActionState.FAILED
    assert half.counts == (count, 4)
    assert "Changed outside" in half.row.error


def test_what_may_still_arrive_is_waited_for_before_anything_is_undone(
    service: Service, kube: Double, act: Act
) -> None:
    """The second request is still on its way: nobody may take the first back under it."""
    stage = Stage(service, kube, act)
    kube.fault(faults.drop(), method="PATCH", nth=2)
    assert stage.run() == ActionState.UNKNOWN
    assert stage.resolve() == ActionState.UNKNOWN
    stage.later(actions.ANSWER_WITHIN_S + 1)
    assert stage.resolve() == ActionState.PARTLY
    assert stage.resolve() == ActionState.APPLIED
    assert stage.counts == (3, 6)


def _changed(kube: Double) -> None:
    kube.scale("deployments", NAMESPACE, "chat-decode", 8, by="kubectl")


def _refused(kube: Double) -> None:
    kube.fault(faults.answer(403), method="GET", times=2)


@pytest.mark.parametrize("seen", [_changed, _refused])
def test_no_request_outlives_its_action_s14_s16(
    service: Service, kube: Double, act: Act, seen: Callable[[Double], None]
) -> None:
    """The write of prefill is on its way still, whatever became of decode."""
    stage = Stage(service, kube, act)
    kube.fault(faults.drop(), method="PATCH")
    assert stage.run() == ActionState.UNKNOWN
    seen(kube)
    assert stage.resolve() == ActionState.UNKNOWN
    stage.later(actions.ANSWER_WITHIN_S + 1)
    assert stage.resolve() == ActionState.FAILED


def test_what_was_read_before_the_deadline_says_nothing_about_after_it_s15(
    service: Service, kube: Double, act: Act, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever stands still between the two would call off what has arrived meanwhile."""
    stage = Stage(service, kube, act)
    kube.fault(faults.drop(), method="PATCH")
    assert stage.run() == ActionState.UNKNOWN

    def stand_still() -> None:
        late = database_now() + timedelta(seconds=actions.ANSWER_WITHIN_S + 1)
        monkeypatch.setattr(actions, "database_now", lambda: late)

    assert stage.resolve(Meanwhile(stage.acting, after_read=stand_still)) == ActionState.UNKNOWN


def test_a_cluster_that_asks_to_wait_is_asked_again_k02(
    service: Service, kube: Double, act: Act
) -> None:
    stage = Stage(service, kube, act)
    kube.fault(faults.answer(429, retry_after="1"), method="PATCH")
    assert stage.run() == ActionState.RECORDED
    assert "wait" in stage.row.error
    assert stage.run() == ActionState.APPLIED
    assert stage.row.attempts == 2


def test_one_that_asks_to_wait_half_way_stays_half_done_k02(
    service: Service, kube: Double, act: Act
) -> None:
    stage = Stage(service, kube, act)
    kube.fault(faults.answer(429, retry_after="1"), method="PATCH", nth=2)
    assert stage.run() == ActionState.PARTLY
    assert stage.resolve() == ActionState.APPLIED


@pytest.mark.parametrize(
    ("fault", "writes"),
    [
        pytest.param(faults.answer(503, done=True), 2, id="503 K03: done"),
        pytest.param(faults.answer(503), 2, id="503 K03: not done"),
        pytest.param(faults.drop(done=True), 2, id="answer lost K04"),
        pytest.param(faults.drop(), 2, id="never arrived K05"),
    ],
)
@pytest.mark.parametrize("nth", [1, 2])
def test_an_answer_that_is_missing_is_read_back_first_s14(  # noqa: PLR0913, PLR0917 - a table
    service: Service,
    kube: Double,
    act: Act,
    fault: Callable[..., object],
    writes: int,
    nth: int,
) -> None:
    stage = Stage(service, kube, act)
    kube.fault(fault, method="PATCH", nth=nth)
    assert stage.run() == ActionState.UNKNOWN
    stage.later(actions.ANSWER_WITHIN_S + 1)
    for _ in range(2):
        stage.resolve()
    assert stage.row.state == ActionState.APPLIED, stage.row.error
    assert stage.counts == (3, 6)
    assert len(kube.writes(by="heteroscale")) == writes


def test_a_right_that_was_taken_ends_it_with_its_name_k12(
    service: Service, kube: Double, act: Act
) -> None:
    stage = Stage(service, kube, act)
    looking = [Rule(("get", "list", "watch"), ("*",), ("*",))]
    stage.acting = act(DEPLOYMENTS, kube.account("reader", looking))
    assert stage.run() == ActionState.FAILED
    assert "patch" in stage.row.error
    assert "deployments" in stage.row.error
    assert stage.counts == (2, 4)
