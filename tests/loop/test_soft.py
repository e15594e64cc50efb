"""Soft scale-in: out of service discovery first, watched, then gone or back (HeteroScale §9)."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controller.core.lifecycle import ActionState
from controller.core.types import Instances
from controller.models import Action, Proposal, ServiceStatus
from controller.models.clock import database_now
from controller.selectors.freezes import requests_outstanding
from controller.services import actions, overriding, withdrawing
from controller.services.freezes import freeze
from controller.services.withdrawing import Tools
from inventory.models import Service
from tests.clusters import Cluster
from tests.factories import make_proposal, make_service
from tests.gates import Gates
from tests.loop.test_actions import approver, make_action
from tests.services.people import person

pytestmark = pytest.mark.django_db
WINDOW_S, DRAIN_S = 60.0, 300.0
OUT = ActionState.WITHDRAWN


def tools(cluster: Cluster, gates: Gates, **fields: Any) -> Tools:
    given = {"window_s": WINDOW_S, "drain_s": DRAIN_S, "max_age_s": 45.0} | fields
    return Tools(actuator_of=cluster.of, discovery_of=gates.of, **given)


def idle(_service: Service, _names: object) -> int:
    return 0


class Scene:
    """A service of 2 and 4 whose decode is to shrink to 2, and who carries that."""

    def __init__(self, **fields: Any) -> None:
        self.service = make_service(**fields)
        self.cluster, self.gates = Cluster(), Gates.of_decode()
        self.action = make_action(self.service, to_prefill=2, to_decode=2)
        self.look()

    def look(self, **signals: dict[str, Any]) -> None:
        """Let a tick have looked now; signals are those that differ from the usual."""
        status = ServiceStatus.objects.get(service=self.service)
        status.observed_at = database_now()
        usual = {"value": 900.0, "unit": "tok/s", "reporting": 2, "expected": 2}
        known = status.signals | {"prefill_tps_uncached": usual | {"quality": "ok"}}
        at_s = database_now().timestamp()
        status.signals = {
            name: one | {"measured_at_s": at_s} | signals.get(name, {})
            for name, one in known.items()
        }
        status.save()

    def run(self, **fields: Any) -> ActionState:
        return withdrawing.run(self.action.pk, tools(self.cluster, self.gates, **fields))

    def pass_s(self, seconds: float) -> None:
        """Let time pass: all that was noted of the action is so much longer ago."""
        row = Action.objects.get(pk=self.action.pk)
        soft = dict(row.soft or {})
        for name in ("asked_s", "out_s", "over_s", "back_s"):
            if soft.get(name) is not None:
                soft[name] -= seconds
        ago = timedelta(seconds=seconds)
        applied = row.applied_at and row.applied_at - ago
        Action.objects.filter(pk=row.pk).update(
            soft=soft or None, recorded_at=row.recorded_at - ago, applied_at=applied
        )

    @property
    def row(self) -> Action:
        return Action.objects.get(pk=self.action.pk)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_who_goes_leaves_discovery_and_is_watched_before_anything_is_sent(scene: Scene) -> None:
    assert scene.run() == OUT
    assert scene.gates.out == {"d-2", "d-3"}
    assert set(scene.gates.stamps.values()) == {str(scene.action.pk)}
    assert (scene.cluster.writes, scene.row.is_out) == ([], True)
    assert scene.row.soft["names"] == ["d-3", "d-2"]


@pytest.mark.parametrize(
    ("after_s", "load", "state"),
    [
        pytest.param(59, 0, OUT, id="59 of 60 s, nothing in flight"),
        pytest.param(61, 0, ActionState.APPLIED, id="61 s, nothing in flight"),
        pytest.param(61, 3, OUT, id="61 s, 3 in flight"),
        pytest.param(359, None, OUT, id="359 of 60+300 s, nobody knows: never taken for 0"),
        pytest.param(361, None, ActionState.APPLIED, id="361 s, nobody knows: the deadline"),
        pytest.param(361, 3, ActionState.APPLIED, id="361 s, 3 in flight: the deadline"),
    ],
)
def test_it_is_sent_once_the_window_is_over_and_nothing_is_in_flight(
    scene: Scene, after_s: float, load: int | None, state: ActionState
) -> None:
    scene.run()
    scene.pass_s(after_s)
    scene.look()
    assert scene.run(load_of=lambda *_: load) == state
    assert scene.cluster.writes == ([str(scene.action.pk)] if state != OUT else [])


def test_those_that_were_taken_out_are_those_that_go(scene: Scene) -> None:
    scene.run()
    scene.pass_s(361)
    scene.look()
    scene.run()
    (order,) = scene.cluster.orders
    assert order.leave == ("d-3", "d-2")
    assert order.want == Instances(2, 2)


def test_evidence_counts_from_the_end_of_the_window_s6(scene: Scene) -> None:
    """Recorded 361 s ago, three times what an action may wait; the signals are of now."""
    scene.run()
    scene.pass_s(361)
    scene.look()
    assert scene.run() == ActionState.APPLIED


MISSING, INVALID = ({"value": None, "quality": quality} for quality in ("missing", "invalid"))
OVER = "is over its goal of"
BAD: list[Any] = [
    pytest.param({"ttft_s": {"value": 1.3}}, f"TTFT p95 of 1.3 s {OVER} 1 s", id="TTFT"),
    pytest.param({"tbt_s": {"value": 0.06}}, f"TBT p95 of 0.06 s {OVER} 0.05 s", id="TBT"),
    pytest.param({"ttft_s": MISSING}, "TTFT p95 is missing", id="missing"),
    pytest.param({"decode_tps": {"quality": "stale"}}, "last measured", id="stale"),
    pytest.param({"decode_tps": {"quality": "partial", "reporting": 1}}, "report", id="partial"),
    pytest.param({"tbt_s": INVALID}, "TBT p95 is not a number", id="NaN"),
]


@pytest.mark.parametrize(("signals", "said"), BAD)
@pytest.mark.parametrize("after_s", [5, 61, 361], ids=["window", "drain", "at the end"])
def test_they_return_at_once_when_latency_suffers_or_a_signal_fails_s6(
    scene: Scene, signals: dict[str, Any], said: str, after_s: float
) -> None:
    scene.run()
    scene.pass_s(after_s)
    scene.look(**signals)
    assert scene.run() == ActionState.CANCELLED
    assert (scene.gates.out, scene.gates.stamps, scene.cluster.writes) == (set(), {}, [])
    assert said in scene.row.error


def test_after_such_a_return_nothing_is_taken_away_for_a_cooldown(scene: Scene) -> None:
    scene.run()
    scene.look(ttft_s={"value": 1.3})
    scene.run()
    assert ServiceStatus.objects.get().last_scale_in_at is not None


def test_a_service_that_is_not_looked_at_gets_its_instances_back(scene: Scene) -> None:
    scene.run()
    ServiceStatus.objects.update(observed_at=database_now() - timedelta(seconds=46))
    assert scene.run() == ActionState.CANCELLED
    assert "not seen lately" in scene.row.error
    assert scene.gates.out == set()


def freeze_it(scene: Scene, _home: Path) -> None:
    freeze(about=scene.service, user=person("ana", "Operator"), reason="incident")


def raise_the_flag(_scene: Scene, home: Path) -> None:
    (home / "FREEZE").write_text("incident")


def observe_it(scene: Scene, _home: Path) -> None:
    Service.objects.filter(pk=scene.service.pk).update(mode="observe")


def pin_it(scene: Scene, _home: Path) -> None:
    overriding.place(
        overriding.OverrideKind.PIN,
        scene.service,
        {"prefill": 2, "decode": 4},
        ends_at=database_now() + timedelta(hours=1),
        reason="a launch",
        user=person("ana", "Operator"),
    )


def change_it_outside(_scene: Scene, _home: Path) -> None:
    ServiceStatus.objects.update(resource_version="77")


@pytest.mark.parametrize(
    ("what", "said"),
    [
        pytest.param(freeze_it, "Frozen", id="frozen"),
        pytest.param(raise_the_flag, "Frozen", id="the flag file"),
        pytest.param(observe_it, "mode observe", id="only observed"),
        pytest.param(pin_it, "overrides of the service have changed", id="pinned"),
        pytest.param(change_it_outside, "Changed outside", id="changed outside"),
    ],
)
def test_they_return_at_once_when_somebody_wants_something_else(
    scene: Scene, settings: Any, tmp_path: Path, what: Callable[..., None], said: str
) -> None:
    settings.HOME = tmp_path
    scene.run()
    what(scene, tmp_path)
    assert scene.run() == ActionState.CANCELLED
    assert scene.gates.out == set()
    assert said in scene.row.error
    assert scene.cluster.writes == []


def test_a_freeze_is_not_complete_before_everybody_is_back_s16(scene: Scene) -> None:
    scene.run()
    freeze(about=None, user=person("ana", "Operator"), reason="incident")
    assert requests_outstanding(None) == 1
    scene.gates.trouble = ["dropped"]
    assert scene.run() == OUT
    assert requests_outstanding(None) == 1
    assert "not all back yet" in scene.row.error
    assert scene.run() == ActionState.CANCELLED
    # A request that takes somebody out may still be on its way; it would be found.
    assert requests_outstanding(None) == 1
    scene.pass_s(withdrawing.FENCE_S)
    scene.run()
    assert requests_outstanding(None) == 0


def test_a_freeze_calls_nobody_out_s16(scene: Scene) -> None:
    freeze(about=None, user=person("ana", "Operator"), reason="incident")
    assert scene.run() == ActionState.CANCELLED
    assert scene.gates.done == []


def test_what_they_bear_of_an_ended_action_is_found_though_it_came_late(scene: Scene) -> None:
    """A worker stood still after its claim: its request arrives when they are back already."""
    scene.run()
    scene.look(ttft_s={"value": 1.3})
    scene.run()
    scene.gates.take_out("chat", ["d-3"], action=str(scene.action.pk), epoch=1, now_s=0.0)
    assert withdrawing.due() == [scene.action.pk]
    scene.run()
    assert scene.gates.out == set()
    scene.pass_s(withdrawing.FENCE_S)
    scene.run()
    assert withdrawing.due() == []


@pytest.mark.parametrize("at", range(3))
@pytest.mark.parametrize("trouble", ["dropped", "lost"])
def test_taking_out_is_finished_after_whatever_stopped_it(
    scene: Scene, trouble: str, at: int
) -> None:
    scene.gates.trouble = [*["", "", ""][:at], trouble]
    scene.run()
    assert scene.run() == OUT
    assert scene.gates.out == {"d-2", "d-3"}
    assert scene.row.soft["out_s"] is not None


def test_the_window_begins_when_all_are_out(scene: Scene) -> None:
    scene.gates.trouble = ["", "dropped"]
    scene.run()
    scene.pass_s(50)
    scene.run()
    scene.pass_s(50)
    scene.look()
    assert scene.run(load_of=idle) == OUT
    scene.pass_s(11)
    scene.look()
    assert scene.run(load_of=idle) == ActionState.APPLIED


def test_who_can_not_be_taken_out_in_time_stays_and_the_others_return(scene: Scene) -> None:
    scene.gates.trouble = ["", "dropped"]
    scene.run()
    scene.pass_s(61)
    scene.look()
    assert scene.run() == ActionState.FAILED
    assert scene.gates.out == set()
    assert "could not be taken out of service discovery in time" in scene.row.error


def test_without_the_right_to_pods_it_fails_and_says_so(scene: Scene) -> None:
    scene.gates.trouble = ["", "refused"]
    assert scene.run() == ActionState.FAILED
    assert scene.gates.out == set()
    assert "patch pods is not allowed" in scene.row.error


@pytest.mark.parametrize(
    ("blind", "state"), [("refused", ActionState.FAILED), ("dead", ActionState.RECORDED)]
)
def test_where_nobody_can_tell_who_goes_nothing_is_sent(
    scene: Scene, blind: str, state: ActionState
) -> None:
    scene.gates.blind = blind
    assert scene.run() == state
    assert scene.cluster.writes == []
    assert "Who is to go can't be told" in scene.row.error


def test_who_can_not_be_taken_out_goes_at_once_and_that_is_kept(scene: Scene) -> None:
    scene.gates.said = ("Deployment prod/chat has nothing that keeps a pod out.",)
    assert scene.run() == ActionState.APPLIED
    assert scene.row.gone_at_once == "Deployment prod/chat has nothing that keeps a pod out."
    assert (scene.row.soft, scene.row.is_out) == (None, False)


@pytest.mark.parametrize(
    "to", [Instances(3, 4), Instances(2, 4), Instances(3, 6)], ids=["out", "same", "both out"]
)
def test_what_takes_nobody_away_is_sent_at_once(to: Instances) -> None:
    scene = Scene()
    Action.objects.update(to_prefill=to.prefill, to_decode=to.decode)
    assert scene.run() == ActionState.APPLIED
    assert scene.gates.done == []


def test_a_cluster_without_gates_sends_at_once(scene: Scene) -> None:
    own = Tools(scene.cluster.of, lambda _: None, WINDOW_S, DRAIN_S, 45.0)
    assert withdrawing.run(scene.action.pk, own) == ActionState.APPLIED


def test_who_stays_after_all_returns_when_the_others_are_gone(scene: Scene) -> None:
    scene.run()
    scene.pass_s(361)
    scene.look()
    scene.run()
    scene.run()
    assert scene.gates.out == {"d-2", "d-3"}
    scene.gates.ended = {"d-3"}
    scene.pass_s(withdrawing.GONE_WITHIN_S)
    scene.run()
    assert scene.gates.out == {"d-3"}
    assert scene.row.is_out is False


def test_a_send_that_is_refused_brings_them_back(scene: Scene) -> None:
    scene.run()
    scene.pass_s(361)
    scene.look()
    scene.cluster.trouble = ["refused"]
    assert scene.run() == ActionState.FAILED
    scene.run()
    assert scene.gates.out == set()


def test_a_send_that_never_arrived_is_sent_again_and_they_stay_out_k05(scene: Scene) -> None:
    scene.run()
    scene.pass_s(361)
    scene.look()
    scene.cluster.trouble = ["dropped"]
    assert scene.run() == ActionState.UNKNOWN
    Action.objects.update(sent_at=database_now() - timedelta(seconds=91))
    assert actions.resolve(scene.action.pk, actuator_of=scene.cluster.of) == ActionState.APPLIED
    assert scene.gates.out == {"d-2", "d-3"}


def test_one_that_never_arrived_and_may_not_be_sent_again_brings_them_back(scene: Scene) -> None:
    scene.run()
    scene.pass_s(361)
    scene.look()
    scene.cluster.trouble = ["dropped"]
    scene.run()
    Action.objects.update(sent_at=database_now() - timedelta(seconds=91))
    freeze(about=None, user=person("ana", "Operator"), reason="incident")
    assert actions.resolve(scene.action.pk, actuator_of=scene.cluster.of) == OUT
    assert scene.run() == ActionState.CANCELLED
    assert (scene.gates.out, scene.cluster.writes) == (set(), [])


def test_of_a_dead_cluster_the_action_ends_and_they_are_still_looked_for_l2(scene: Scene) -> None:
    scene.run()
    scene.look(ttft_s={"value": 1.3})
    scene.gates.trouble = ["dropped"] * 3
    assert scene.run() == OUT
    scene.pass_s(301)
    assert scene.run() == ActionState.FAILED
    assert "may still be out of service discovery" in scene.row.error
    assert withdrawing.due() == [scene.action.pk]
    scene.run()
    assert scene.gates.out == {"d-2", "d-3"}
    scene.run()
    assert scene.gates.out == set()


def test_a_person_who_shrinks_a_service_under_bad_latency_is_not_overruled_by_it() -> None:
    """TTFT was over its goal before, so that it says nothing of what was taken out."""
    scene = Scene(mode="approve")
    proposal = make_proposal(
        scene.service,
        state="applying",
        origin=Proposal.Origin.PERSON,
        decided_by=approver(),
        expires_at=database_now() + timedelta(hours=1),
    )
    Action.objects.update(proposal=proposal)
    scene.look(ttft_s={"value": 1.3}, decode_tps={"value": None, "quality": "missing"})
    assert scene.run() == OUT
    assert scene.run() == OUT
    scene.look(ttft_s={"value": 1.3}, tbt_s={"value": 0.2})
    assert scene.run() == ActionState.CANCELLED
    assert "TBT" in scene.row.error


def test_a_row_gone_wrong_brings_them_back_and_ends(scene: Scene) -> None:
    scene.run()
    Action.objects.update(soft={"names": 7})
    assert scene.run() == ActionState.FAILED
    assert scene.gates.out == set()


def test_a_row_gone_wrong_keeps_no_other_from_being_followed_s24(scene: Scene) -> None:
    now = database_now()
    Action.objects.update(soft={"names": 7}, state="applied", applied_at=now, sent_at=now)
    actions.follow(now + timedelta(hours=1))
    assert scene.row.state == ActionState.FAILED
