"""Who else scales a workload, and pods that lose and regain readiness (K13, K15)."""

from dataclasses import replace

import pytest

from controller.core.kube.counts import FLAP_S
from controller.core.kube.flapping import Flaps
from controller.core.kube.kinds import WorkloadKind
from controller.core.kube.rivals import WITHIN_S, Autoscaler, Hands, autoscaler_of
from controller.core.kube.values import PodSeen, PodState, WorkloadRef, WorkloadSeen
from tests.core.kube.objects import NOW_S, ref

GROUP = ref(WorkloadKind.ROLE_BASED_GROUP, name="chat", part="decode")
GRAPH = ref(WorkloadKind.DYNAMO, name="chat", part="Decode")
OTHER = ref(WorkloadKind.SCALE, name="chat", api="example.com/v1", plural="engines")


@pytest.mark.parametrize(
    ("one", "kind", "target", "is_its"),
    [
        pytest.param(ref(), "Deployment", "chat-decode", True, id="the object itself"),
        pytest.param(ref(), "Deployment", "chat-prefill", False, id="another object"),
        pytest.param(ref(), "StatefulSet", "chat-decode", False, id="another kind of that name"),
        pytest.param(GROUP, "RoleBasedGroupScalingAdapter", "chat-decode", True, id="its adapter"),
        pytest.param(GROUP, "RoleBasedGroup", "chat", False, id="the group has no scale"),
        pytest.param(GRAPH, "DynamoGraphDeployment", "chat", True, id="the graph"),
        pytest.param(
            GRAPH, "DynamoGraphDeploymentScalingAdapter", "chat-decode", True, id="its adapter too"
        ),
        pytest.param(OTHER, "Engine", "chat", True, id="any kind of its API"),
    ],
)
def test_what_an_autoscaler_scales(
    one: WorkloadRef,
    kind: str,
    target: str,
    is_its: object,
) -> None:
    api = one.api or "apps/v1"
    scaler = Autoscaler("llm", "hpa", api, kind, target)
    assert scaler.scales(one) is is_its
    assert not replace(scaler, namespace="elsewhere").scales(one)


@pytest.mark.parametrize(
    "plain",
    [{}, {"target": []}, {"namespace": "a", "name": "b", "target": {"kind": 7}}],
    ids=["nothing", "no target", "no texts"],
)
def test_an_autoscaler_that_names_nothing_is_none(plain: dict[str, object]) -> None:
    assert autoscaler_of(plain) is None


@pytest.mark.parametrize(
    ("writes", "after_s", "fights"),
    [
        pytest.param([(6, "kubectl")], 0.0, False, id="once is a correction"),
        pytest.param([(6, "kubectl"), (4, "heteroscale"), (7, "argocd")], 0.0, True, id="twice"),
        pytest.param([(6, "heteroscale"), (7, "heteroscale")], 0.0, False, id="ourselves"),
        pytest.param([(6, ""), (7, "")], 0.0, False, id="nobody knows who"),
        pytest.param([(6, "a"), (7, "a")], WITHIN_S, False, id="10 min ago"),
        pytest.param([(4, "a"), (4, "a")], 0.0, False, id="the count it had"),
    ],
)
def test_a_fight_is_more_than_one_foreign_change(
    writes: list[tuple[int, str]],
    after_s: float,
    fights: object,
) -> None:
    hands, seen = Hands(), WorkloadSeen("u1", "1", 4)
    hands.note(ref(), seen, now_s=NOW_S)
    for count, by in writes:
        seen = WorkloadSeen("u1", "1", count, by=by)
        hands.note(ref(), seen, now_s=NOW_S)
    assert bool(hands.fighting(ref(), seen, now_s=NOW_S + after_s)) is fights
    anew = replace(seen, uid="u2")
    assert hands.fighting(ref(), anew, now_s=NOW_S) == "", "made anew it begins anew (K11)"


READY, STARTING, HELD = PodState.READY, PodState.STARTING, PodState.HELD


@pytest.mark.parametrize(
    ("looks", "gated", "flaps"),
    [
        pytest.param([(STARTING, 0), (READY, 9)], False, 0, id="it came up"),
        pytest.param([(READY, 0), (STARTING, 5), (READY, 9)], False, 1, id="lost and regained"),
        pytest.param([(READY, 0), (STARTING, 5)], False, 0, id="lost: not regained yet"),
        pytest.param([(READY, 0), (READY, 9)], False, 1, id="between two looks"),
        pytest.param([(READY, 0), (READY, 9)], True, 0, id="that may be its gate"),
        pytest.param([(READY, 0), (HELD, 5), (READY, 0)], False, 0, id="held back by its label"),
        pytest.param(
            [(READY, 0), (STARTING, 3), (READY, 5), (STARTING, 7), (READY, 9)],
            False,
            2,
            id="twice",
        ),
    ],
)
def test_flaps_are_counted(
    looks: list[tuple[PodState, float]],
    gated: object,
    flaps: int,
) -> None:
    known, pod = Flaps(), PodSeen("p", "u", "n1", READY, NOW_S, NOW_S)
    for state, since_s in looks:
        pod = replace(pod, state=state, since_s=NOW_S + since_s)
        known.note(pod, now_s=NOW_S, gated=bool(gated))
    assert known.marked(pod, now_s=NOW_S).flaps == flaps
    assert known.marked(pod, now_s=NOW_S + FLAP_S).flaps == 0
    known.keep(())
    assert known.marked(pod, now_s=NOW_S).flaps == 0
