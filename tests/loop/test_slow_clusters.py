"""An API server that answers late: each call ends in time, others are served meanwhile (K06)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.db.models import F

from controller import tasks, wiring
from controller.adapters.actuators import kubernetes
from controller.core.lifecycle import ActionState
from controller.core.ports import EFFECT_WITHIN_S
from controller.models import Action
from controller.services import actions
from heteroscale_site.cron import beats
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_cluster, make_service
from tests.kube import Double, faults
from tests.loop.test_actions import make_action
from tests.loop.test_pairs import Stage
from tests.workloads import LAID, Act, act, served

pytestmark = pytest.mark.django_db
__all__ = ["act"]
CALL_S = 0.5


@pytest.fixture
def kube() -> Iterator[Double]:
    with Double(kinds=served()) as found:
        LAID["deployment"].put(found)
        yield found


@pytest.fixture
def stage(kube: Double, act: Act, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """One action of 2/4 → 3/6 all of whose calls have half a second."""
    monkeypatch.setattr(kubernetes, "EFFECT_WITHIN_S", kubernetes.MARGIN_S + CALL_S)
    monkeypatch.setattr(kubernetes, "READ_S", CALL_S)
    return Stage(make_service(), kube, act)


def test_a_slow_one_that_answers_in_time_is_waited_for_k06(stage: Stage) -> None:
    stage.kube.fault(faults.delay(before_s=0.03, after_s=0.03), times=None)
    assert stage.run() == ActionState.APPLIED
    assert stage.counts == (3, 6)


@pytest.mark.parametrize(
    ("method", "nth", "done", "sent"),
    [
        pytest.param("GET", 1, False, 0, id="the first look"),
        pytest.param("GET", 2, True, 0, id="the answer to the second"),
        pytest.param("PATCH", 1, False, 1, id="the first write"),
        pytest.param("PATCH", 1, True, 1, id="the answer to the first write"),
        pytest.param("PATCH", 2, False, 2, id="the second write"),
    ],
)
def test_nothing_is_sent_after_the_time_of_an_order_and_it_ends_the_same_k06(
    stage: Stage,
    method: str,
    nth: int,
    done: bool,  # noqa: FBT001
    sent: int,
) -> None:
    held = faults.Hold(done=done)
    stage.kube.fault(held, method=method, nth=nth)
    assert stage.run() == ActionState.UNKNOWN
    assert "No answer yet" in stage.row.error
    held.release()  # 60 s later, in a cluster that is that slow
    assert len(stage.kube.asked("PATCH")) == sent, "its time is over"

    stage.later(actions.ANSWER_WITHIN_S + 1)
    for _ in range(3):
        stage.resolve()
    assert stage.row.state == ActionState.APPLIED, stage.row.error
    assert stage.counts == (3, 6)
    assert [one.replicas for one in stage.kube.writes(by="heteroscale")] == [3, 6]


def test_an_order_is_over_before_anybody_gives_it_up_k06() -> None:
    longest_s = EFFECT_WITHIN_S - kubernetes.MARGIN_S + kubernetes.READ_S
    assert longest_s < actions.ANSWER_WITHIN_S
    assert 2 * (longest_s + tasks.CARRY_S) < tasks.SWEPT_WITHIN_S, "both kinds in one sweep"
    (sweep,) = (one for one in beats() if one.task == "controller.tasks.sweep")
    assert sweep.timeout_s == tasks.SWEPT_WITHIN_S


# The sweep, in which one cluster comes after the other.


class Slow(Cluster):
    """A cluster that takes its time over each question, and never answers."""

    def __init__(self, took: Callable[[float], None]) -> None:
        super().__init__(trouble=["dropped"] * 99, blind=True)
        self.took = took
        self.asked = 0

    def apply(self, *given: object, **named: object) -> None:
        self.asked += 1
        self.took(28.0)
        super().apply(*given, **named)  # type: ignore[arg-type]


def test_a_cluster_that_does_not_answer_is_asked_once_a_sweep_and_others_first_k06_l4(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]
    monkeypatch.setattr(tasks, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    near, far = make_cluster("near"), make_cluster("far")
    slow = Slow(lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    quick = {"quick-1": Cluster(), "quick-2": Cluster()}
    for number in range(4):
        make_action(make_service(f"slow-{number}", cluster=far))
    for slug in quick:
        make_action(make_service(slug, cluster=near))
    Action.objects.update(recorded_at=F("recorded_at") - timedelta(seconds=10))

    def actuator_of(service: Service) -> Cluster:
        return quick.get(service.slug, slow)

    monkeypatch.setattr(wiring, "actuator_of", actuator_of)
    tasks.sweep()
    assert slow.asked == 1
    tasks.sweep()
    assert all(len(one.writes) == 1 for one in quick.values()), "not behind those of the slow one"
    assert Action.objects.filter(state="recorded", service__cluster=far).count() >= 2
