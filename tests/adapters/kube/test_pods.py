"""Pods of a workload listed and marked, against the API server double."""

import time
from collections.abc import Iterator

import pytest

from controller.adapters.kube import pods
from controller.adapters.kube.api import Api
from controller.core.kube.access import Credentials
from controller.core.kube.errors import ServerError
from controller.core.kube.kinds import WorkloadKind
from controller.core.kube.values import COST, BadObjectError
from controller.core.kube.victims import MARK
from tests.adapters.kube.objects import NAMESPACE, a_pod, a_ref
from tests.kube import Double, Rule, deployment, faults, statefulset

READER = [Rule(("get", "list"), ("pods", "deployments"))]
NOON_S = 1_772_366_400.0


@pytest.fixture
def kube() -> Iterator[Double]:
    """A server whose pods are those that a test puts there."""
    with Double() as double:
        double.put(deployment(NAMESPACE, "chat-decode", 4))
        yield double


@pytest.fixture
def api(kube: Double) -> Iterator[Api]:
    found = Api(Credentials(kube.address, token=kube.token))
    yield found
    found.close()


def soon() -> float:
    return time.monotonic() + 10.0


def costs(kube: Double) -> dict[str, str]:
    """Return the deletion costs that pods bear, by their names."""
    found = {
        item["metadata"]["name"]: item["metadata"].get("annotations", {}).get(COST)
        for item in kube.all("pods", NAMESPACE)
    }
    return {name: cost for name, cost in found.items() if cost is not None}


def marked(api: Api, leave: list[str], after: int) -> tuple[str, ...]:
    ref = a_ref()
    labels = pods.labels_of_pods(api, ref, until=soon())
    there = pods.seen(ref, pods.listed(api, ref, labels, until=soon()), NOON_S)
    return pods.mark_victims(api, ref, there, after, leave, until=soon())


def test_who_is_to_go_is_marked_and_the_mark_of_an_earlier_plan_taken_back(
    kube: Double, api: Api
) -> None:
    kube.put(*(a_pod(f"d-{i}", at_s=i) for i in range(4)))
    assert marked(api, ["d-1"], 3) == ()
    assert costs(kube) == {"d-1": str(MARK)}
    assert marked(api, ["d-0", "d-2"], 2) == ()
    assert costs(kube) == {"d-0": str(MARK), "d-2": str(MARK)}


def test_marks_that_are_there_are_not_written_again(kube: Double, api: Api) -> None:
    kube.put(*(a_pod(f"d-{i}", at_s=i) for i in range(4)))
    marked(api, ["d-1"], 3)
    marked(api, ["d-1"], 3)
    assert len(kube.asked("PATCH")) == 1


def test_pods_of_another_workload_are_not_touched(kube: Double, api: Api) -> None:
    kube.put(a_pod("d-0"), a_pod("p-0", "chat-prefill"), a_pod("d-1", at_s=1))
    marked(api, ["p-0"], 0)
    assert set(costs(kube)) == {"d-0", "d-1"}


@pytest.mark.parametrize("then", ["gone", "another of its name"])
def test_a_pod_that_is_gone_meanwhile_needs_no_mark(kube: Double, api: Api, then: str) -> None:
    kube.put(a_pod("d-0"), a_pod("d-1", at_s=1))
    ref = a_ref()
    there = pods.seen(ref, pods.listed(api, ref, {"app": "chat-decode"}, until=soon()), NOON_S)
    kube.delete("pods", NAMESPACE, "d-1")
    if then == "another of its name":
        kube.put(a_pod("d-1"))
    assert pods.mark_victims(api, ref, there, 1, ["d-1"], until=soon()) == ()
    assert costs(kube) == {}


def test_ordinals_get_no_mark_and_that_they_choose_is_said(kube: Double, api: Api) -> None:
    kube.put(statefulset(NAMESPACE, "set", 2))
    there = [a_pod(f"set-{i}", "set") for i in range(2)]
    kube.put(*there)
    ref = a_ref("set", WorkloadKind.STATEFUL_SET)
    seen = pods.seen(ref, kube.all("pods", NAMESPACE), NOON_S)
    said = pods.mark_victims(api, ref, seen, 1, ["set-0"], until=soon())
    assert "takes the highest ordinals, set-1, and so set-0 stays" in said[0]
    assert kube.asked("PATCH") == []


def test_without_the_right_to_pods_nobody_is_marked_and_that_is_said(kube: Double) -> None:
    kube.put(a_pod("d-0"), a_pod("d-1", at_s=1))
    token = kube.account("reader", READER)
    reader = Api(Credentials(kube.address, token=token))
    (said,) = marked(reader, ["d-0"], 1)
    reader.close()
    assert "Who of Deployment prod/chat-decode goes can't be chosen" in said
    assert "patch" in said
    assert costs(kube) == {}


def test_a_server_that_fails_is_told(kube: Double, api: Api) -> None:
    kube.put(a_pod("d-0"), a_pod("d-1", at_s=1))
    kube.fault(faults.answer(503), method="PATCH")
    with pytest.raises(ServerError):
        marked(api, ["d-0"], 1)


def test_without_labels_no_pod_is_listed_s21(kube: Double, api: Api) -> None:
    kube.put(a_pod("d-0"))
    with pytest.raises(BadObjectError, match="which pods are its own"):
        pods.listed(api, a_ref(), {}, until=soon())


def test_a_pod_that_cannot_be_read_spoils_itself_only_k19(kube: Double) -> None:
    broken = a_pod("d-1")
    broken["status"]["conditions"] = "none"
    kube.put(a_pod("d-0"))
    kube.put(broken, checked=False)
    assert [pod.name for pod in pods.seen(a_ref(), kube.all("pods", NAMESPACE), NOON_S)] == ["d-0"]
