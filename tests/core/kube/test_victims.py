"""Who goes when a count falls: what the plan wants, and what each kind of workload does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import PodSeen, PodState, WorkloadRef
from controller.core.kube.victims import MARK, leaving
from controller.core.types import Role


def a_ref(kind: WorkloadKind = WorkloadKind.DEPLOYMENT, gate: Gate = Gate.NONE) -> WorkloadRef:
    api, plural = "apps/v1", f"{kind}s"
    return WorkloadRef(Role.DECODE, kind, api, plural, "llm", "chat-d", gate=gate)


def a_pod(name: str, state: str = "ready", at_s: float = 0.0, **fields: object) -> PodSeen:
    given = {"uid": f"uid-{name}", "node": "n1"} | fields
    return PodSeen(name=name, state=PodState(state), since_s=at_s, created_s=at_s, **given)


ABCD = [a_pod("a", at_s=1), a_pod("b", at_s=2), a_pod("c", at_s=3), a_pod("d", at_s=4)]


@pytest.mark.parametrize(
    ("pods", "after", "leave", "goes"),
    [
        pytest.param(ABCD, 3, ["a"], ["a"], id="4 → 3: the planned one"),
        pytest.param(ABCD, 2, ["a"], ["d", "a"], id="4 → 2: the planned one and the newest"),
        pytest.param(ABCD, 3, ["a", "b"], ["b"], id="4 → 3 of two planned: the newer"),
        pytest.param(ABCD, 4, ["a"], [], id="4 → 4: nobody"),
        pytest.param(ABCD, 6, ["a"], [], id="4 → 6: nobody"),
        pytest.param(ABCD, 3, ["x"], ["d"], id="4 → 3: the planned one is of another workload"),
        pytest.param(
            [*ABCD, a_pod("e", "draining")], 3, [], ["d"], id="5 with one that goes → 3: one more"
        ),
        pytest.param([*ABCD, a_pod("e", "starting")], 4, [], ["e"], id="who only starts goes"),
        pytest.param(
            [*ABCD, a_pod("e", "starting"), a_pod("f", "starting", node="")],
            5,
            [],
            ["f"],
            id="who has no node goes first",
        ),
    ],
)
def test_a_deployment_gives_up_who_is_planned(
    pods: list[PodSeen], after: int, leave: list[str], goes: list[str]
) -> None:
    found = leaving(a_ref(), pods, after, leave)
    assert list(found.names) == goes
    assert [pod.name for pod in found.pods] == goes
    assert {pod.name for pod in found.marks} == set(goes)
    assert found.said == ()


def test_what_is_not_ready_goes_before_any_cost_and_that_is_said() -> None:
    found = leaving(a_ref(), [*ABCD, a_pod("e", "starting")], 4, ["a"])
    assert found.names == ("e",)
    assert [pod.name for pod in found.marks] == ["a"]
    (said,) = found.said
    assert said == (
        "Of Deployment llm/chat-d what is not ready goes first: e, and so a stays, unlike planned."
    )


@pytest.mark.parametrize(
    ("gate", "goes"),
    [
        pytest.param(Gate.LABEL, "a", id="without the label it is ready to Kubernetes"),
        pytest.param(Gate.READINESS, "e", id="without its condition it is not"),
    ],
)
def test_one_that_is_held_goes_first_only_where_its_gate_is_readiness(
    gate: Gate, goes: str
) -> None:
    found = leaving(a_ref(gate=gate), [*ABCD, a_pod("e", "held")], 4, ["a"])
    assert found.names == (goes,)


def test_marks_of_an_earlier_plan_are_taken_back_and_those_of_people_stay() -> None:
    pods = [a_pod("a"), a_pod("b", cost=MARK), a_pod("c", cost=-5), a_pod("d", cost=MARK)]
    found = leaving(a_ref(), pods, 3, ["b"])
    assert (found.names, found.marks) == (("b",), ())
    assert [pod.name for pod in found.resets] == ["d"]


@pytest.mark.parametrize("kind", [WorkloadKind.STATEFUL_SET, WorkloadKind.LEADER_WORKER_SET])
def test_ordinals_leave_no_choice(kind: WorkloadKind) -> None:
    pods = [
        a_pod(f"chat-d-{i}-{k}", index=i, of=f"chat-d-{i}") for i in (2, 10, 1) for k in (0, 1)
    ]
    found = leaving(a_ref(kind), pods, 1, ["chat-d-1", "chat-d-10"])
    assert found.names == ("chat-d-10", "chat-d-2")
    assert {pod.name for pod in found.pods} == {
        "chat-d-10-0", "chat-d-10-1", "chat-d-2-0", "chat-d-2-1",
    }  # fmt: skip
    assert (found.marks, found.resets) == ((), ())
    assert "the highest ordinals, chat-d-10 and chat-d-2, and so chat-d-1 stays" in found.said[0]


@pytest.mark.parametrize(
    "kind", [WorkloadKind.ROLE_BASED_GROUP, WorkloadKind.DYNAMO, WorkloadKind.SCALE]
)
def test_an_operator_that_chooses_itself_names_nobody(kind: WorkloadKind) -> None:
    found = leaving(a_ref(kind), ABCD, 3, ["a"])
    assert (found.names, found.pods, found.marks) == ((), (), ())
    assert "is chosen by its operator, whatever is planned: a" in found.said[0]
    assert leaving(a_ref(kind), ABCD, 4, ["a"]).said == ()


def kubernetes_takes(pods: list[PodSeen], many: int) -> set[str]:
    """Return whom a ReplicaSet ends: by node, by readiness, by cost, the newest first."""
    ranked = sorted(
        (pod for pod in pods if pod.state is not PodState.DRAINING),
        key=lambda pod: (
            bool(pod.node), pod.state is PodState.READY, pod.cost, -pod.created_s, pod.name
        ),
    )  # fmt: skip
    return {pod.name for pod in ranked[:many]}


@given(data=st.data())
def test_after_the_marks_a_replica_set_takes_those_that_were_named(data: st.DataObject) -> None:
    names = list("abcdefgh")[: data.draw(st.integers(1, 8))]
    pods = [
        a_pod(
            name,
            data.draw(st.sampled_from(["ready", "ready", "starting", "failed", "draining"])),
            data.draw(st.integers(0, 3)),
            cost=data.draw(st.sampled_from([0, 0, MARK, -7])),
            node=data.draw(st.sampled_from(["n1", ""])),
        )
        for name in names
    ]
    after = data.draw(st.integers(0, 8))
    found = leaving(a_ref(), pods, after, data.draw(st.sets(st.sampled_from(names))))

    marked = {pod.name for pod in found.marks}
    reset = {pod.name for pod in found.resets}
    cost = {pod.name: MARK if pod.name in marked else pod.cost for pod in pods}
    cost |= dict.fromkeys(reset, 0)
    then = [
        a_pod(pod.name, pod.state, pod.created_s, node=pod.node, cost=cost[pod.name])
        for pod in pods
    ]
    assert kubernetes_takes(then, len(found.names)) == set(found.names)
    there = sum(pod.state is not PodState.DRAINING for pod in pods)
    assert len(found.names) == max(there - after, 0)
