"""Pods in and out of service discovery, against the API server double."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controller.adapters.kube.api import Api
from controller.adapters.kube.discovery import KubeDiscovery
from controller.core.kube.access import Credentials
from controller.core.kube.gates import WITHDRAWN_BY
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.values import REGISTERED, SERVING, WorkloadRef
from controller.core.ports import Going, RefusedError, ScaleOrder, UnreachableError
from controller.core.types import Instances, Role
from tests.adapters.kube.objects import NAMESPACE, a_pod, a_ref
from tests.kube import Double, Rule, deployment, faults, leaderworkerset, statefulset

NOW_S = 1_772_366_400.0 + 600.0
"""Ten past noon: pods came up from noon on."""
IN: dict[str, str] = {SERVING: "true"}
Look = Callable[..., KubeDiscovery]


@pytest.fixture
def kube() -> Iterator[Double]:
    """A server whose pods are those that a test puts there."""
    with Double() as double:
        double.put(deployment(NAMESPACE, "chat-decode", 4))
        yield double


@pytest.fixture
def look(kube: Double) -> Iterator[Look]:
    """Return who opens and closes gates of these workloads, as the account of a token."""
    opened: list[Api] = []

    def of(*refs: WorkloadRef, token: str = "") -> KubeDiscovery:
        api = Api(Credentials(kube.address, token=token or kube.token))
        opened.append(api)
        return KubeDiscovery(lambda _: (api, refs))

    yield of
    for api in opened:
        api.close()


LABEL, READINESS = a_ref(gate=Gate.LABEL), a_ref(gate=Gate.READINESS)


def fill(kube: Double, ref: WorkloadRef, count: int = 3) -> None:
    """Put pods d-0, d-1… of a workload that all serve."""
    is_label = ref.gate is Gate.LABEL
    kube.put(
        *(
            a_pod(
                f"d-{i}",
                at_s=i,
                labels=IN if is_label else None,
                registered=True if ref.gate is Gate.READINESS else None,
            )
            for i in range(count)
        )
    )


def kubelet(kube: Double, name: str) -> None:
    """Let a node's agent reckon the readiness of a pod from its gates."""
    pod = kube.get("pods", NAMESPACE, name)
    known = {one["type"]: one for one in pod["status"]["conditions"]}
    known["Ready"]["status"] = known[REGISTERED]["status"]
    kube.change("pods", NAMESPACE, name, {"status": {"conditions": list(known.values())}})


def gates(kube: Double) -> dict[str, tuple[str, str]]:
    """Return for each pod what its gate says, and who took it out."""
    found = {}
    for pod in kube.all("pods", NAMESPACE):
        meta = pod["metadata"]
        said = {one["type"]: one["status"] for one in pod["status"]["conditions"]}
        gate = said.get(REGISTERED) or meta["labels"].get(SERVING, "")
        taken = meta.get("annotations", {}).get(WITHDRAWN_BY, "")
        found[meta["name"]] = (gate.lower(), taken)
    return found


@pytest.mark.parametrize("ref", [LABEL, READINESS], ids=["label", "readiness"])
def test_who_is_taken_out_bears_the_action_and_comes_back(
    kube: Double, look: Look, ref: WorkloadRef
) -> None:
    fill(kube, ref)
    of = look(ref)
    of.take_out("chat", ["d-0", "d-2"], action="a1", epoch=4, now_s=NOW_S)
    assert gates(kube) == {"d-0": ("false", "a1"), "d-1": ("true", ""), "d-2": ("false", "a1")}
    of.put_back("chat", action="a1", now_s=NOW_S)
    assert gates(kube) == dict.fromkeys(("d-0", "d-1", "d-2"), ("true", ""))


@pytest.mark.parametrize(
    ("ref", "writes"),
    [pytest.param(LABEL, 1, id="label: one"), pytest.param(READINESS, 2, id="readiness: two")],
)
def test_each_is_written_no_more_often_than_needed(
    kube: Double, look: Look, ref: WorkloadRef, writes: int
) -> None:
    fill(kube, ref)
    of = look(ref)
    of.take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    of.put_back("chat", action="a2", now_s=NOW_S)
    assert len(kube.asked("PATCH")) == writes
    assert gates(kube)["d-0"] == ("false", "a1")


def test_other_conditions_of_a_pod_stay_as_they_are(kube: Double, look: Look) -> None:
    fill(kube, READINESS)
    before = kube.get("pods", NAMESPACE, "d-0")["status"]["conditions"]
    look(READINESS).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    after = kube.get("pods", NAMESPACE, "d-0")["status"]["conditions"]
    assert after[:-1] == before[:-1]
    assert after[-1] == {
        "type": REGISTERED, "status": "False", "reason": "Withdrawn",
        "lastTransitionTime": "2026-03-01T12:10:00Z",
    }  # fmt: skip


def test_a_pod_that_changed_meanwhile_is_read_again(kube: Double, look: Look) -> None:
    fill(kube, LABEL, 1)
    kube.fault(faults.answer(409), method="PATCH")
    look(LABEL).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    assert gates(kube) == {"d-0": ("false", "a1")}
    kube.fault(faults.answer(409), method="PATCH", times=None)
    with pytest.raises(UnreachableError):
        look(LABEL).put_back("chat", action="a1", now_s=NOW_S)


def test_pods_that_are_gone_or_end_are_left_alone(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    of = look(LABEL)
    of.take_out("chat", ["d-0", "d-1", "d-9"], action="a1", epoch=4, now_s=NOW_S)
    kube.delete("pods", NAMESPACE, "d-0", grace_s=30)
    kube.delete("pods", NAMESPACE, "d-1")
    of.put_back("chat", action="a1", now_s=NOW_S)
    assert gates(kube) == {"d-0": ("false", "a1"), "d-2": ("true", "")}


@pytest.mark.parametrize("then", ["gone", "another of its name"])
def test_a_pod_that_went_between_reading_and_writing_is_not_taken_for_another(
    kube: Double, look: Look, then: str
) -> None:
    fill(kube, LABEL, 1)

    def lost(request: Any, serve: Any) -> Any:
        kube.delete("pods", NAMESPACE, "d-0")
        if then == "another of its name":
            kube.put(a_pod("d-0", labels=IN))
        return serve(request)

    kube.fault(lost, method="PATCH")
    look(LABEL).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    left = {} if then == "gone" else {"d-0": ("true", "")}
    assert gates(kube) == left


def test_an_older_leader_takes_nobody_out_any_more_s12(kube: Double, look: Look) -> None:
    fill(kube, LABEL, 1)
    of = look(LABEL)
    of.take_out("chat", ["d-0"], action="a7", epoch=7, now_s=NOW_S)
    of.put_back("chat", action="a7", now_s=NOW_S)
    with pytest.raises(RefusedError, match="epoch 4 is over, epoch 7"):
        of.take_out("chat", ["d-0"], action="a4", epoch=4, now_s=NOW_S)
    assert gates(kube) == {"d-0": ("true", "")}


@pytest.mark.parametrize("at", [1, 2])
def test_half_of_taking_out_by_readiness_is_found_and_taken_back(
    kube: Double, look: Look, at: int
) -> None:
    """The stamp comes first, so that whatever is out says whose it is."""
    fill(kube, READINESS, 1)
    kube.fault(faults.answer(503, done=True), method="PATCH", nth=at)
    of = look(READINESS)
    with pytest.raises(UnreachableError):
        of.take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    assert gates(kube)["d-0"][1] == "a1"
    of.put_back("chat", action="a1", now_s=NOW_S)
    assert gates(kube) == {"d-0": ("true", "")}


def test_who_bears_a_stamp_returns_though_the_gate_was_configured_away(
    kube: Double, look: Look
) -> None:
    fill(kube, LABEL, 1)
    look(LABEL).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    look(a_ref()).put_back("chat", action="a1", now_s=NOW_S)
    assert gates(kube) == {"d-0": ("true", "")}


def test_a_workload_that_is_gone_keeps_nobody_of_another_out(kube: Double, look: Look) -> None:
    fill(kube, LABEL, 1)
    lost = a_ref("lost", gate=Gate.LABEL)
    look(LABEL).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    look(lost, LABEL).put_back("chat", action="a1", now_s=NOW_S)
    assert gates(kube) == {"d-0": ("true", "")}


def test_only_who_was_not_taken_out_is_let_in(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    of = look(LABEL)
    of.take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    kube.put(a_pod("new", at_s=9))
    of.let_in("chat", ["new", "d-0"], now_s=NOW_S)
    assert gates(kube)["new"] == ("true", "")
    assert gates(kube)["d-0"] == ("false", "a1")


def test_the_label_of_a_group_is_its_leaders(kube: Double, look: Look) -> None:
    """A Service finds the pod that answers; its workers bear no label."""
    kube.put(leaderworkerset(NAMESPACE, "big", 1))
    group = {
        "leaderworkerset.sigs.k8s.io/name": "big",
        "leaderworkerset.sigs.k8s.io/group-index": "0",
    }
    index = "leaderworkerset.sigs.k8s.io/worker-index"
    kube.put(*(a_pod(f"big-0-{i}", "big", labels=group | {index: str(i)}) for i in range(2)))
    of = look(a_ref("big", WorkloadKind.LEADER_WORKER_SET, gate=Gate.LABEL))
    of.let_in("chat", ["big-0"], now_s=NOW_S)
    assert gates(kube) == {"big-0-0": ("true", ""), "big-0-1": ("", "")}
    (one,) = of.serving("chat", now_s=NOW_S)
    assert (one.name, one.is_in) == ("big-0", True)
    of.take_out("chat", ["big-0"], action="a1", epoch=1, now_s=NOW_S)
    assert gates(kube) == {"big-0-0": ("false", "a1"), "big-0-1": ("", "")}


def test_who_serves_who_waits_and_who_comes(kube: Double, look: Look) -> None:
    fill(kube, LABEL, 2)
    kube.put(
        a_pod("held", at_s=5),
        a_pod("coming", ready=False),
        a_pod("nowhere", ready=False, node=""),
    )
    of = look(LABEL)
    of.take_out("chat", ["d-1"], action="a1", epoch=4, now_s=NOW_S)
    found = {one.name: one for one in of.serving("chat", now_s=NOW_S)}
    assert {name for name, one in found.items() if one.is_in} == {"d-0"}
    assert {name for name, one in found.items() if one.is_up} == {"d-0", "d-1", "held"}
    assert {name for name, one in found.items() if one.is_coming} == {"coming"}
    assert {name: one.taken_by for name, one in found.items() if one.taken_by} == {"d-1": "a1"}


def order(want: Instances, leave: tuple[str, ...] = ()) -> ScaleOrder:
    return ScaleOrder("a1", "chat", 1, want, "", leave=leave)


def going(of: KubeDiscovery, decode: int, leave: tuple[str, ...] = ()) -> Going:
    """Return who goes when decode shrinks from the 4 of the stand and prefill stays at 2."""
    return of.going(order(Instances(2, decode), leave), Instances(2, 4), now_s=NOW_S)


def test_who_goes_is_whom_the_plan_names_and_serves(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    kube.put(a_pod("a-held"))
    of = look(LABEL)
    # All are of the same age to this server, so that the name decides after the plan.
    assert going(of, 2, ("d-0",)) == Going(("d-0",))
    assert going(of, 3, ("d-1",)) == Going(("d-1",))
    assert going(of, 3) == Going()


def test_without_a_gate_nobody_can_be_taken_out_and_that_is_said(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    (said,) = going(look(a_ref()), 3).said
    assert "Deployment prod/chat-decode has nothing that keeps a pod out" in said


def test_where_an_operator_chooses_nobody_can_be_taken_out_and_that_is_said(look: Look) -> None:
    group = a_ref("chat", WorkloadKind.ROLE_BASED_GROUP, part="decode", gate=Gate.LABEL)
    (said,) = going(look(group), 3).said
    assert "is chosen by its operator: nobody can be taken out" in said


def test_the_highest_ordinals_are_who_goes(kube: Double, look: Look) -> None:
    kube.put(statefulset(NAMESPACE, "set", 4))
    kube.put(*(a_pod(f"set-{i}", "set", labels=IN) for i in range(4)))
    found = going(look(a_ref("set", WorkloadKind.STATEFUL_SET, gate=Gate.LABEL)), 2, ("set-0",))
    assert found.names == ("set-3", "set-2")
    assert "takes the highest ordinals" in found.said[0]


def test_counts_that_somebody_else_changed_name_nobody(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    kube.scale("deployments", NAMESPACE, "chat-decode", 9, by="hpa")
    assert going(look(LABEL), 3, ("d-0",)) == Going()


def test_of_two_workloads_of_a_role_those_go_whom_the_plan_names(kube: Double, look: Look) -> None:
    fill(kube, LABEL, 2)
    kube.put(statefulset(NAMESPACE, "more", 2))
    kube.put(*(a_pod(f"more-{i}", "more", labels=IN) for i in range(2)))
    kube.scale("deployments", NAMESPACE, "chat-decode", 2, by="kubectl")
    of = look(LABEL, a_ref("more", WorkloadKind.STATEFUL_SET, gate=Gate.LABEL))
    assert going(of, 2, ("d-1", "more-1")).names == ("d-1", "more-1")


def test_a_missing_right_is_named(kube: Double, look: Look) -> None:
    fill(kube, LABEL)
    token = kube.account("reader", [Rule(("get", "list"), ("pods", "deployments"))])
    with pytest.raises(RefusedError, match="patch pods"):
        look(LABEL, token=token).take_out("chat", ["d-0"], action="a1", epoch=4, now_s=NOW_S)
    token = kube.account("labels", [Rule(("get", "list", "patch"), ("pods", "deployments"))])
    fill(kube, READINESS)
    with pytest.raises(RefusedError, match="pods/status"):
        look(READINESS, token=token).take_out("c", ["d-0"], action="a1", epoch=4, now_s=NOW_S)


def test_kubernetes_itself_takes_a_pod_out_whose_readiness_gate_is_closed(
    kube: Double, look: Look
) -> None:
    fill(kube, READINESS, 1)
    of = look(READINESS)
    of.take_out("chat", ["d-0"], action="a1", epoch=1, now_s=NOW_S)
    kubelet(kube, "d-0")
    (one,) = of.serving("chat", now_s=NOW_S)
    assert (one.is_up, one.is_in, one.role) == (True, False, Role.DECODE)


def test_who_was_taken_out_meanwhile_is_not_let_in(
    kube: Double, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(kube, LABEL)
    kube.change("pods", NAMESPACE, "d-0", {"metadata": {"labels": {SERVING: "false"}}})
    merge, taken = Api.merge, []

    def late(api: Api, *asked: Any, **more: Any) -> dict[str, Any]:
        if not taken:
            taken.append(True)
            note = {"metadata": {"annotations": {WITHDRAWN_BY: "a1"}}}
            kube.change("pods", NAMESPACE, "d-0", note)
        return merge(api, *asked, **more)

    monkeypatch.setattr(Api, "merge", late)
    look(LABEL).let_in("chat", ["d-0"], now_s=NOW_S)
    assert kube.get("pods", NAMESPACE, "d-0")["metadata"]["labels"][SERVING] == "false"
