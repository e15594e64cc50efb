"""A cluster as it is watched: what is shown of services, whatever the API server does."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest

from controller.adapters.fleet.kubernetes import cluster as watched
from controller.adapters.fleet.kubernetes.cluster import ClusterWatch
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.core.kube.counts import Counted, counted
from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.kube.values import ServiceSeen, WorkloadRef
from controller.core.types import Role
from tests.adapters.fleet.conftest import FAST, Watching
from tests.adapters.fleet.pods import NAMESPACE, pod, settle
from tests.kube import (
    Double,
    autoscaler,
    deployment,
    dynamo,
    dynamo_adapter,
    faults,
    rolebasedgroup_adapter,
)

DEPLOYMENT = WorkloadKind.DEPLOYMENT


def ref(role: Role, name: str, kind: WorkloadKind = DEPLOYMENT, part: str = "") -> WorkloadRef:
    about = KINDS[kind]
    return WorkloadRef(role, kind, about.api, about.plural, NAMESPACE, name, part)


CHAT = {"chat": [ref(Role.PREFILL, "chat-prefill"), ref(Role.DECODE, "chat-decode")]}
CODE = {"code": [ref(Role.PREFILL, "code-prefill"), ref(Role.DECODE, "code-decode")]}


def now_s() -> float:
    return time.time()  # noqa: TID251 - the double's clock is this machine's


def look(one: ClusterWatch) -> watched.Whole:
    return one.look(now_s())


def shown(one: ClusterWatch, service: str = "chat") -> Counted:
    seen = (look(one).services or {}).get(service, ServiceSeen(()))
    return counted(seen)


def desired(one: ClusterWatch, service: str = "chat") -> tuple[int, int] | None:
    state = shown(one, service).state
    return None if state is None else state.desired


def ready(one: ClusterWatch, service: str = "chat") -> tuple[int, int] | None:
    state = shown(one, service).state
    return None if state is None else state.ready


@pytest.fixture
def chat(kube: Double, watching: Watching) -> ClusterWatch:
    """Return a watch that has seen chat at rest: 2 and 4."""
    settle(kube, "chat-prefill", 2)
    settle(kube, "chat-decode", 4)
    one = watching(kube)
    one.follow(CHAT)
    kube.wait_for(lambda: ready(one) == (2, 4))
    return one


def test_a_service_at_rest(chat: ClusterWatch) -> None:
    found, whole = shown(chat), look(chat)
    assert found.bar is None
    assert {each.node for each in found.instances} == {"gpu-0000"}
    assert (whole.nodes, whole.pods, whole.told, whole.is_dead) == (16, 6, (), False)


def test_events_are_followed(kube: Double, chat: ClusterWatch) -> None:
    kube.put(pod("chat-decode", 9, ready=False))
    kube.scale("deployments", NAMESPACE, "chat-decode", 5, by="heteroscale")
    kube.wait_for(lambda: desired(chat) == (2, 5))
    kube.wait_for(lambda: len(shown(chat).instances) == 7)
    kube.delete("pods", NAMESPACE, "chat-decode-9")
    kube.wait_for(lambda: len(shown(chat).instances) == 6)


def test_pods_of_others_are_not_kept(kube: Double, chat: ClusterWatch) -> None:
    kube.put(pod("code-decode", 1), pod("chat-decode", 8))
    kube.wait_for(lambda: ready(chat) == (2, 5))
    assert look(chat).pods == 7


def test_a_service_that_is_added_is_seen_as_a_whole_or_not_at_all(
    kube: Double, chat: ClusterWatch
) -> None:
    settle(kube, "code-prefill", 1)
    settle(kube, "code-decode", 2)
    chat.follow({**CHAT, **CODE})
    seen = set()
    kube.wait_for(lambda: seen.add(ready(chat, "code")) or ready(chat, "code") == (1, 2))
    assert seen <= {None, (1, 2)}
    assert ready(chat) == (2, 4)


def test_a_missing_workload_is_named(kube: Double, chat: ClusterWatch) -> None:
    kube.delete("deployments", NAMESPACE, "chat-decode")
    said = "Deployment prod/chat-decode can't be read: there is no such object."
    kube.wait_for(lambda: said in shown(chat).problems)
    assert desired(chat) is None


def test_an_object_made_anew_is_another_one_k11(kube: Double, chat: ClusterWatch) -> None:
    before = shown(chat).state
    assert before is not None
    kube.recreate("deployments", NAMESPACE, "chat-decode")

    def is_another() -> bool:
        state = shown(chat).state
        return state is not None and state.resource_version != before.resource_version

    kube.wait_for(is_another)
    assert desired(chat) == (2, 4)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.close_after(0), id="closed before anything"),
        pytest.param(faults.close_after(1), id="closed after one event"),
        pytest.param(faults.cut_after(1), id="cut in an event"),
        pytest.param(faults.duplicated(), id="told twice"),
        pytest.param(faults.swapped(), id="told in another order"),
        pytest.param(faults.without_bookmarks(), id="without bookmarks"),
    ],
)
def test_the_picture_is_right_however_events_come_k08(
    kube: Double, chat: ClusterWatch, fault: faults.Fault
) -> None:
    kube.fault(fault, when=lambda asked: "watch" in asked.query, times=4)
    kube.end_watches()
    for number in (6, 7, 8):
        kube.put(pod("chat-decode", number))
    kube.delete("pods", NAMESPACE, "chat-decode-7")
    kube.change("pods", NAMESPACE, "chat-decode-0", {"metadata": {"labels": {"app": "other"}}})
    kube.wait_for(lambda: ready(chat) == (2, 5))


def test_a_past_that_is_forgotten_is_listed_anew_k08(kube: Double, chat: ClusterWatch) -> None:
    kube.put(pod("chat-decode", 6))
    kube.compact()
    kube.end_watches(gone=True)
    kube.put(pod("chat-decode", 7))
    kube.wait_for(lambda: ready(chat) == (2, 6))


def is_list_of_pods(asked: object) -> bool:
    return "watch" not in asked.query  # type: ignore[attr-defined]


def test_half_a_list_is_no_list_k09(kube: Double, chat: ClusterWatch) -> None:
    for fault in (faults.truncate(), faults.truncate(chunked=True), faults.answer(410)):
        trap = kube.fault(fault, path="/pods", when=is_list_of_pods, times=2)
        kube.wait_for(lambda trap=trap: kube.end_watches(gone=True) or trap.hit == 2)
        assert ready(chat) == (2, 4)
    kube.put(pod("chat-decode", 6))
    kube.wait_for(lambda: ready(chat) == (2, 5))


def test_the_second_page_missing_is_a_failed_read_k09(kube: Double, watching: Watching) -> None:
    settle(kube, "chat-prefill", 2)
    settle(kube, "chat-decode", 700)
    trap = kube.fault(
        faults.answer(410), path="/pods", when=lambda asked: "continue" in asked.query, times=3
    )
    one = watching(kube)
    one.follow(CHAT)
    seen = set()
    kube.wait_for(lambda: seen.add(ready(one)) or ready(one) == (2, 700))
    assert trap.hit == 3
    assert seen <= {None, (2, 700)}


def test_a_feed_that_is_refused_spoils_what_needs_it(kube: Double, watching: Watching) -> None:
    adapters = [
        ref(role, "rag", WorkloadKind.ROLE_BASED_GROUP, role.value)
        for role in (Role.PREFILL, Role.DECODE)
    ]
    settle(kube, "chat-prefill", 2)
    settle(kube, "chat-decode", 4)
    kube.fault(faults.answer(403), path="rolebasedgroupscalingadapters", times=None)
    one = watching(kube)
    one.follow({**CHAT, "rag": adapters})
    kube.wait_for(lambda: ready(one) == (2, 4))
    kube.wait_for(lambda: look(one).told)
    (problem, _) = shown(one, "rag").problems
    assert "rolebasedgroupscalingadapters.workloads.x-k8s.io can't be watched" in problem
    assert "Not allowed (403)" in problem
    assert look(one).is_dead is False


def test_a_dead_cluster_says_nothing_new_and_the_mirror_stays_k09_k17(
    kube: Double, chat: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look(chat).current_at
    kube.close()
    monkeypatch.setattr(watched, "OLD_S", 0.2)
    kube.wait_for(lambda: look(chat).is_dead)
    whole = look(chat)
    assert whole.services is None
    assert any("can't be watched: Nobody listens there" in text for text in whole.told)
    assert before is not None
    assert whole.current_at is not None
    assert whole.current_at <= time.monotonic() - 0.2
    kube.start()
    kube.put(pod("chat-decode", 6))
    monkeypatch.setattr(watched, "OLD_S", 30.0)
    kube.wait_for(lambda: ready(chat) == (2, 5) and not look(chat).told)


def test_a_silent_line_is_not_taken_for_a_quiet_cluster(kube: Double, watching: Watching) -> None:
    settle(kube, "chat-prefill", 2)
    settle(kube, "chat-decode", 4)
    quick = Pace(jitter=lambda: 0.0, watch_s=1.0, first_wait_s=0.02, longest_wait_s=0.1)
    one = watching(kube, pace=quick)
    one.follow(CHAT)
    kube.wait_for(lambda: ready(one) == (2, 4))
    first = look(one).current_at
    # Nothing happens, and a watch that ends in order says so.
    kube.wait_for(lambda: look(one).current_at != first)
    kube.pause()
    time.sleep(0.1)
    stuck = look(one).current_at
    time.sleep(1.5)
    assert look(one).current_at == stuck
    kube.resume()


def test_one_odd_object_spoils_itself_k19(kube: Double, watching: Watching) -> None:
    for name, count in {"chat-prefill": 2, "chat-decode": 4, "code-prefill": 1}.items():
        settle(kube, name, count)
    odd = deployment(NAMESPACE, "code-decode", 2)
    odd["spec"]["replicas"] = "2"
    kube.delete("deployments", NAMESPACE, "code-decode")
    kube.put(odd, checked=False)
    one = watching(kube)
    one.follow({**CHAT, **CODE})
    kube.wait_for(lambda: ready(one) == (2, 4))
    (problem,) = shown(one, "code").problems
    said = 'Deployment prod/code-decode can\'t be read: spec.replicas is "2"'
    assert problem.startswith(said)


def test_flapping_pods_bar_scale_in_k15(kube: Double, chat: ClusterWatch) -> None:
    for ready_now in (False, True):
        kube.put(pod("chat-decode", 0, ready=ready_now))
        kube.wait_for(lambda want=3 + ready_now: ready(chat) == (2, want))
    bar = shown(chat).bar
    assert bar is not None
    assert not bar.growth
    assert "1 pod lost and regained readiness" in bar.text


def test_an_autoscaler_on_the_same_object_is_a_rival_k13(kube: Double, chat: ClusterWatch) -> None:
    made = autoscaler(NAMESPACE, kube.get("deployments", NAMESPACE, "chat-decode"))
    made["metadata"]["labels"] = {"scaledobject.keda.sh/name": "chat"}
    kube.put(made)
    said = (
        "the HorizontalPodAutoscaler prod/chat-decode, made by KEDA's ScaledObject chat, "
        "which scales Deployment prod/chat-decode"
    )
    kube.wait_for(lambda: (look(chat).services or {})["chat"].rivals == (said,))


def test_who_sets_the_count_again_and_again_is_a_rival_k13(
    kube: Double, chat: ClusterWatch
) -> None:
    for count, by in ((6, "kubectl"), (4, "heteroscale"), (7, "argocd"), (4, "heteroscale")):
        kube.scale("deployments", NAMESPACE, "chat-decode", count, by=by)
        kube.wait_for(lambda count=count: desired(chat) == (2, count))
    (said,) = (look(chat).services or {})["chat"].rivals
    assert said == (
        "argocd and kubectl, which set the count of Deployment prod/chat-decode several times "
        "within 10 min"
    )


def test_one_change_by_a_person_is_no_fight(kube: Double, chat: ClusterWatch) -> None:
    kube.scale("deployments", NAMESPACE, "chat-decode", 6, by="kubectl")
    kube.wait_for(lambda: desired(chat) == (2, 6))
    assert (look(chat).services or {})["chat"].rivals == ()


def test_a_clock_ahead_is_corrected_t03(kube: Double, watching: Watching) -> None:
    kube.skew = timedelta(seconds=10)
    kube.put(pod("chat-decode", 0))
    one = watching(kube)
    one.follow(CHAT)
    kube.wait_for(lambda: len(shown(one).instances) == 1)
    (_, (_, _, (found,))) = (look(one).services or {})["chat"].workloads
    assert found.created_s == pytest.approx(now_s(), abs=3.0)
    assert one.skew_s(now_s()) == pytest.approx(10.0, abs=1.5)


def test_an_adapter_stands_for_the_component_it_scales(kube: Double, watching: Watching) -> None:
    graph = [
        ref(role, "rag", WorkloadKind.DYNAMO, part)
        for role, part in ((Role.PREFILL, "Prefill"), (Role.DECODE, "Decode"))
    ]
    kube.put(dynamo(NAMESPACE, "rag", {"Prefill": 1, "Decode": 3}, adapters=("Decode",)))
    kube.put(dynamo_adapter(NAMESPACE, "rag", "Decode", 5))
    one = watching(kube)
    one.follow({"rag": graph})
    kube.wait_for(lambda: desired(one, "rag") == (1, 5))
    plurals = [each.plural for each, _, _ in (look(one).services or {})["rag"].workloads]
    assert plurals == ["dynamographdeployments", "dynamographdeploymentscalingadapters"]


def test_roles_of_a_group_are_read_from_their_adapters(kube: Double, watching: Watching) -> None:
    roles = {Role.PREFILL: 2, Role.DECODE: 3}
    kube.put(*(rolebasedgroup_adapter(NAMESPACE, "rag", r.value, n) for r, n in roles.items()))
    one = watching(kube)
    one.follow({"rag": [ref(r, "rag", WorkloadKind.ROLE_BASED_GROUP, r.value) for r in roles]})
    kube.wait_for(lambda: desired(one, "rag") == (2, 3))


def test_each_namespace_by_itself_where_only_those_are_allowed(
    kube: Double, watching: Watching
) -> None:
    settle(kube, "chat-prefill", 2)
    settle(kube, "chat-decode", 4)
    one = watching(kube, namespaces=(NAMESPACE,))
    one.follow(CHAT)
    kube.wait_for(lambda: ready(one) == (2, 4))
    asked = {each.path for each in kube.asked("GET", "pods|deployments|autoscalers")}
    assert all("/namespaces/prod/" in path for path in asked)


def test_throttling_is_waited_for(kube: Double, watching: Watching) -> None:
    kube.fault(faults.answer(429, retry_after="1"), path="/pods")
    one = watching(kube, pace=FAST)
    one.follow(CHAT)
    kube.wait_for(lambda: desired(one) == (2, 4))
    first, second = [each.at for each in kube.asked("GET", "/pods")][:2]
    assert (second - first).total_seconds() >= 1.0
