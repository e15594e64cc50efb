"""Objects of the API as values: what is read, and which field makes an object unusable."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.kube import parsing
from controller.core.kube.kinds import Gate, WorkloadKind
from controller.core.kube.parsing import LONGEST_WHY, matches
from controller.core.kube.values import (
    BadObjectError,
    PodSeen,
    PodState,
    WorkloadRef,
    WorkloadSeen,
)
from tests.core.kube.objects import (
    GATED_BY_LABEL,
    GATED_BY_READINESS,
    NOW_S,
    READY,
    at,
    condition,
    deployment,
    pod,
    ref,
    waiting,
)

DEPLOYMENT = ref()
SELECTOR = {"app": "chat-decode"}


def test_a_deployment_at_rest() -> None:
    obj = deployment()
    obj["metadata"] = {
        "uid": "u1",
        "resourceVersion": "71",
        "generation": 3,
        "annotations": {
            "heteroscale.io/action": "a-17",
            "heteroscale.io/epoch": "12",
            "heteroscale.io/want": "4",
            "heteroscale.io/before": "3",
        },
        "managedFields": [
            {
                "manager": "kubectl",
                "time": at(NOW_S - 900),
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            },
            {
                "manager": "heteroscale",
                "time": at(NOW_S - 9),
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            },
            {
                "manager": "kube-controller-manager",
                "time": at(NOW_S),
                "fieldsV1": {"f:status": {"f:replicas": {}}},
            },
        ],
    }
    assert parsing.workload(DEPLOYMENT, obj) == WorkloadSeen(
        uid="u1",
        resource_version="71",
        replicas=4,
        current=4,
        generation=3,
        action="a-17",
        epoch=12,
        want=4,
        before=3,
        ready=4,
        by="heteroscale",
        selector=SELECTOR,
    )


@pytest.mark.parametrize(
    ("replicas", "text"),
    [
        pytest.param(None, "spec.replicas is null or missing", id="null"),
        pytest.param("4", 'spec.replicas is "4"', id="a number as text"),
        pytest.param(2**31, "spec.replicas is 2147483648", id="2**31: one more than it holds"),
        pytest.param(-1, "spec.replicas is -1", id="negative"),
        pytest.param(True, "spec.replicas is True", id="a flag, which Python takes for 1"),
        pytest.param(4.0, "spec.replicas is 4.0", id="4.0 is no whole number of JSON"),
        pytest.param([4], "spec.replicas is a list", id="a list"),
        pytest.param(float("nan"), "spec.replicas is nan", id="no number"),
    ],
)
def test_a_count_that_is_none_spoils_the_object(replicas: object, text: str) -> None:
    with pytest.raises(BadObjectError, match=text):
        parsing.workload(DEPLOYMENT, deployment(replicas, status={}))


def test_nothing_stands_for_a_missing_count() -> None:
    obj = deployment(spec={"selector": {"matchLabels": SELECTOR}})
    with pytest.raises(BadObjectError, match=r"spec\.replicas is null or missing"):
        parsing.workload(DEPLOYMENT, obj)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        pytest.param({"spec": "four"}, 'spec is "four"', id="spec is a text"),
        pytest.param({"status": []}, "status is a list", id="status is a list"),
        pytest.param({"status": {"replicas": "4"}}, r"status.replicas is \"4\"", id="text there"),
        pytest.param({"metadata": {}}, "metadata.uid is missing", id="no uid"),
        pytest.param({"metadata": {"uid": 7}}, "metadata.uid is 7", id="uid is a number"),
    ],
)
def test_a_part_of_another_type_is_named(more: dict[str, object], text: str) -> None:
    with pytest.raises(BadObjectError, match=text):
        parsing.workload(DEPLOYMENT, deployment(**more))


@pytest.mark.parametrize("status", [{}, None], ids=["empty", "null"])
def test_a_missing_status_is_a_count_of_none(status: object) -> None:
    seen = parsing.workload(DEPLOYMENT, deployment(status=status))
    assert (seen.replicas, seen.current) == (4, 0)


def test_unknown_fields_are_left_aside() -> None:
    spec = {"replicas": 4, "selector": {"matchLabels": SELECTOR}, "surge": [{"x": None}]}
    odd = deployment(spec=spec, further={"a": 1})
    assert parsing.workload(DEPLOYMENT, odd) == parsing.workload(DEPLOYMENT, deployment())


@pytest.mark.parametrize(
    ("status", "paused", "rollout"),
    [
        pytest.param(
            {"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4}, False, "", id="at rest"
        ),
        pytest.param(
            {"observedGeneration": 2, "replicas": 4, "updatedReplicas": 4},
            False,
            "its controller has not yet taken up the last change of it",
            id="generation 3 is after 2",
        ),
        pytest.param(
            {"observedGeneration": 3, "replicas": 5, "updatedReplicas": 1},
            False,
            "1 of 5 pods are of the newest version",
            id="1 of 5 updated",
        ),
        pytest.param(
            {"observedGeneration": 3, "replicas": 4},
            False,
            "0 of 4 pods are of the newest version",
            id="zeros are left out by the server",
        ),
        pytest.param(
            {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2},
            False,
            "",
            id="2 of 4 wanted are there, both new: scaling out is no rollout",
        ),
        pytest.param(
            {"observedGeneration": 3, "replicas": 4, "updatedReplicas": 4},
            True,
            "its rollout is paused",
            id="paused",
        ),
    ],
)
def test_a_rollout_in_words(status: dict[str, object], paused: bool, rollout: str) -> None:  # noqa: FBT001
    spec = {"replicas": 4, "selector": {"matchLabels": SELECTOR}, "paused": paused}
    seen = parsing.workload(DEPLOYMENT, deployment(spec=spec, status=status))
    assert (seen.rollout, seen.paused) == (rollout, paused)


def test_the_nodes_of_a_template() -> None:
    terms = [
        {
            "matchExpressions": [
                {"key": "s1", "operator": "In", "values": ["s1-03", "s1-04"]},
                {"key": "gpu", "operator": "Exists"},
            ]
        }
    ]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    pods = {"nodeSelector": {"pool": "h20"}, "affinity": {"nodeAffinity": required}}
    spec = {
        "replicas": 4,
        "selector": {"matchLabels": SELECTOR},
        "template": {"spec": pods},
    }
    seen = parsing.workload(DEPLOYMENT, deployment(spec=spec))
    assert seen.domains == {"pool": ("h20",), "s1": ("s1-03", "s1-04")}
    terms.append({"matchExpressions": []})
    either = parsing.workload(DEPLOYMENT, deployment(spec=spec))
    assert either.domains == {"pool": ("h20",)}


ADAPTER = {
    "metadata": {"uid": "u2"},
    "spec": {"replicas": 3, "scaleTargetRef": {"name": "chat", "role": "decode"}},
    "status": {"replicas": 2},
}
GRAPH = {
    "metadata": {"uid": "u3", "generation": 5},
    "spec": {
        "services": {
            "Frontend": {"replicas": 1},
            "VllmDecodeWorker": {"replicas": 6, "multinode": {"nodeCount": 2}},
        }
    },
    "status": {"services": {"VllmDecodeWorker": {"replicas": 5, "updatedReplicas": 2}}},
}
RBG = WorkloadKind.ROLE_BASED_GROUP


@pytest.mark.parametrize(
    ("one", "obj", "expect"),
    [
        pytest.param(
            ref(RBG, name="chat", part="decode"),
            ADAPTER,
            WorkloadSeen(
                "u2",
                "",
                replicas=3,
                current=2,
                selector={
                    "rolebasedgroup.workloads.x-k8s.io/name": "chat",
                    "rolebasedgroup.workloads.x-k8s.io/role": "decode",
                },
            ),
            id="adapter of a RoleBasedGroup",
        ),
        pytest.param(
            ref(RBG, name="chat", part="decode", api="workloads.x-k8s.io/v1alpha2"),
            ADAPTER,
            WorkloadSeen(
                "u2",
                "",
                replicas=3,
                current=2,
                selector={
                    "rbg.workloads.x-k8s.io/group-name": "chat",
                    "rbg.workloads.x-k8s.io/role-name": "decode",
                },
            ),
            id="adapter of v1alpha2: other labels",
        ),
        pytest.param(
            ref(WorkloadKind.DYNAMO, name="chat", part="VllmDecodeWorker"),
            GRAPH,
            WorkloadSeen(
                "u3",
                "",
                replicas=6,
                current=5,
                generation=5,
                rollout="2 of 5 pods are of the newest version",
                selector={
                    "nvidia.com/dynamo-graph-deployment-name": "chat",
                    "nvidia.com/dynamo-component": "VllmDecodeWorker",
                },
                size=2,
            ),
            id="component of a graph over two nodes",
        ),
        pytest.param(
            ref(WorkloadKind.DYNAMO, name="chat", part="VllmDecodeWorker"),
            {
                "metadata": {"uid": "u4"},
                "spec": {"replicas": 7, "dgdRef": {"name": "chat"}},
                "status": {"replicas": 6},
            },
            WorkloadSeen(
                "u4",
                "",
                replicas=7,
                current=6,
                selector={
                    "nvidia.com/dynamo-graph-deployment-name": "chat",
                    "nvidia.com/dynamo-component": "VllmDecodeWorker",
                },
            ),
            id="adapter of a component",
        ),
        pytest.param(
            ref(WorkloadKind.LEADER_WORKER_SET),
            {
                "metadata": {"uid": "u5"},
                "spec": {"replicas": 2, "leaderWorkerTemplate": {"size": 4}},
                "status": {"replicas": 2, "updatedReplicas": 2},
            },
            WorkloadSeen(
                "u5",
                "",
                replicas=2,
                current=2,
                selector={"leaderworkerset.sigs.k8s.io/name": "chat-decode"},
                size=4,
            ),
            id="groups of four",
        ),
        pytest.param(
            ref(WorkloadKind.SCALE),
            {
                "kind": "Scale",
                "metadata": {"uid": "u6", "resourceVersion": "9"},
                "spec": {"replicas": 2},
                "status": {"replicas": 1, "selector": "app=chat, tier==decode"},
            },
            WorkloadSeen(
                "u6", "9", replicas=2, current=1, selector={"app": "chat", "tier": "decode"}
            ),
            id="scale subresource",
        ),
    ],
)
def test_other_kinds(one: WorkloadRef, obj: object, expect: WorkloadSeen) -> None:
    assert parsing.workload(one, obj) == expect  # type: ignore[arg-type]


def test_the_scale_subresource_tells_the_count_and_the_object_the_rest() -> None:
    obj = {
        "metadata": {"uid": "u6", "annotations": {"heteroscale.io/epoch": "8"}},
        "spec": {"size": 2},
    }
    scale = {"spec": {"replicas": 2}, "status": {"replicas": 1, "selector": "app=chat"}}
    seen = parsing.workload(ref(WorkloadKind.SCALE), obj, scale)
    assert (seen.uid, seen.replicas, seen.current, seen.epoch) == ("u6", 2, 1, 8)
    assert seen.selector == {"app": "chat"}


@pytest.mark.parametrize("query", ["", "app in (chat)", "app!=chat", "app=chat,!old"])
def test_a_workload_without_labels_is_none_that_means_all(query: str) -> None:
    scale = {"metadata": {"uid": "u"}, "spec": {"replicas": 2}, "status": {"selector": query}}
    with pytest.raises(BadObjectError, match="which pods are its own"):
        parsing.workload(ref(WorkloadKind.SCALE), scale)
    chosen = ref(WorkloadKind.SCALE, selector={"app": "chat"})
    assert parsing.workload(chosen, scale).selector == {"app": "chat"}


def test_no_labels_select_no_pod() -> None:
    assert not matches({}, {"app": "chat"})
    assert matches({"app": "chat"}, {"app": "chat", "more": "x"})
    assert not matches({"app": "chat", "role": "decode"}, {"app": "chat"})


@pytest.mark.parametrize(
    ("one", "obj", "state", "why"),
    [
        pytest.param(DEPLOYMENT, pod("p", *READY), PodState.READY, "", id="ready"),
        pytest.param(
            GATED_BY_LABEL, pod("p", *READY), PodState.HELD, "", id="no label: not in discovery"
        ),
        pytest.param(
            GATED_BY_LABEL,
            pod("p", *READY, labels={"heteroscale.io/serving": "false"}),
            PodState.HELD,
            "",
            id="label says no",
        ),
        pytest.param(
            GATED_BY_LABEL,
            pod("p", *READY, labels={"heteroscale.io/serving": "true"}),
            PodState.READY,
            "",
            id="label says yes",
        ),
        pytest.param(
            GATED_BY_LABEL,
            pod("p", condition("Ready", "False"), labels={"heteroscale.io/serving": "false"}),
            PodState.STARTING,
            "",
            id="not yet up",
        ),
        pytest.param(
            GATED_BY_READINESS,
            pod("p", condition("ContainersReady"), condition("Ready", "False")),
            PodState.HELD,
            "",
            id="its gate has no condition yet",
        ),
        pytest.param(
            GATED_BY_READINESS,
            pod("p", *READY, condition("heteroscale.io/registered")),
            PodState.READY,
            "",
            id="its gate is open",
        ),
        pytest.param(
            GATED_BY_READINESS,
            pod(
                "p",
                condition("ContainersReady"),
                condition("Ready", "False"),
                condition("heteroscale.io/registered"),
            ),
            PodState.STARTING,
            "",
            id="another gate is closed",
        ),
        pytest.param(
            DEPLOYMENT,
            pod("p", *READY, deletionTimestamp=at(NOW_S + 20)),
            PodState.DRAINING,
            "",
            id="deleted, still ready",
        ),
        pytest.param(
            DEPLOYMENT,
            pod("p", status={"phase": "Failed", "reason": "Evicted", "message": "disk"}),
            PodState.FAILED,
            "Evicted: disk",
            id="evicted",
        ),
        *(
            pytest.param(
                DEPLOYMENT,
                pod("p", status=waiting(reason, "back-off 5m0s")),
                PodState.FAILED,
                f"{reason}: back-off 5m0s",
                id=reason,
            )
            for reason in (
                "CrashLoopBackOff",
                "ImagePullBackOff",
                "ErrImagePull",
                "CreateContainerConfigError",
            )
        ),
        pytest.param(
            DEPLOYMENT,
            pod("p", status={"phase": "Pending", **waiting("ContainerCreating")}),
            PodState.STARTING,
            "ContainerCreating",
            id="being made",
        ),
        pytest.param(
            DEPLOYMENT,
            pod(
                "p",
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/500 nodes are available: 500 Insufficient nvidia.com/gpu.",
                },
                status={"phase": "Pending"},
            ),
            PodState.STARTING,
            "Unschedulable: 0/500 nodes are available: 500 Insufficient nvidia.com/gpu.",
            id="no room",
        ),
        pytest.param(DEPLOYMENT, {**pod("p"), "status": None}, PodState.STARTING, "", id="new"),
    ],
)
def test_how_far_a_pod_is(
    one: WorkloadRef, obj: dict[str, object], state: PodState, why: str
) -> None:
    seen = parsing.pod(one, obj, NOW_S)
    assert (seen.state, seen.why) == (state, why)


def test_all_of_a_pod() -> None:
    obj = pod(
        "chat-decode-5d9-x1",
        *READY,
        status={"containerStatuses": [{"restartCount": 2}, {"restartCount": 1}]},
        annotations={"controller.kubernetes.io/pod-deletion-cost": "-50"},
    )
    assert parsing.pod(DEPLOYMENT, obj, NOW_S) == PodSeen(
        name="chat-decode-5d9-x1",
        uid="uid-chat-decode-5d9-x1",
        node="n1",
        state=PodState.READY,
        since_s=NOW_S - 60,
        created_s=NOW_S - 600,
        cost=-50,
        restarts=3,
    )


@pytest.mark.parametrize(
    ("obj", "since_s"),
    [
        pytest.param(pod("p", *READY), NOW_S - 60, id="ready for 60 s"),
        pytest.param(pod("p"), NOW_S - 600, id="never ready: since it was made"),
        pytest.param(
            pod("p", *READY, deletionTimestamp=at(NOW_S + 20), deletionGracePeriodSeconds=30),
            NOW_S - 10,
            id="20 s of 30 s left: leaving for 10 s",
        ),
        pytest.param(
            pod("p", condition("Ready", since_s=NOW_S + 10)),
            NOW_S,
            id="a clock 10 s ahead: not before it began",
        ),
    ],
)
def test_since_when_a_pod_is_in_its_state(obj: dict[str, object], since_s: float) -> None:
    assert parsing.pod(DEPLOYMENT, obj, NOW_S).since_s == since_s


LWS = ref(WorkloadKind.LEADER_WORKER_SET)
DYNAMO = ref(WorkloadKind.DYNAMO, name="chat", part="Decode")


@pytest.mark.parametrize(
    ("one", "name", "labels", "expect"),
    [
        pytest.param(DEPLOYMENT, "chat-5d9-x1", {}, (None, ""), id="a Deployment has no order"),
        pytest.param(ref(WorkloadKind.STATEFUL_SET), "chat-11", {}, (11, ""), id="by its name"),
        pytest.param(
            ref(WorkloadKind.STATEFUL_SET),
            "chat-11",
            {"apps.kubernetes.io/pod-index": "12"},
            (12, ""),
            id="by its label, which counts",
        ),
        pytest.param(
            LWS,
            "chat-decode-3-1",
            {"leaderworkerset.sigs.k8s.io/group-index": "3"},
            (3, "chat-decode-3"),
            id="one of a group",
        ),
        pytest.param(
            LWS,
            "chat-decode-ab12",
            {"leaderworkerset.sigs.k8s.io/group-index": "ab12"},
            (None, "ab12"),
            id="groups without an order",
        ),
        pytest.param(
            DYNAMO,
            "chat-0-decode-1-ldr-x",
            {"grove.io/podcliquescalinggroup-replica-index": "1"},
            (1, "chat-decode-1"),
            id="a component over several nodes",
        ),
        pytest.param(DYNAMO, "chat-0-decode-x", {}, (None, ""), id="a component on one node"),
    ],
)
def test_which_instance_a_pod_is_of(
    one: WorkloadRef,
    name: str,
    labels: dict[str, str],
    expect: tuple[int | None, str],
) -> None:
    seen = parsing.pod(one, pod(name, labels=labels), NOW_S)
    assert (seen.index, seen.of) == expect


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        pytest.param({"metadata": None}, "metadata.name is missing", id="nothing at all"),
        pytest.param(pod("p", labels={"a": 1}), "metadata.labels.a is 1", id="label of a number"),
        pytest.param(
            pod("p", creationTimestamp="soon"), 'creationTimestamp is "soon"', id="no time"
        ),
        pytest.param(
            {**pod("p"), "status": {"conditions": {"Ready": True}}},
            "status.conditions is an object",
            id="conditions of another shape",
        ),
        pytest.param(
            pod("p", status={"containerStatuses": [{"restartCount": "9"}]}),
            r"status.containerStatuses\[0\].restartCount is \"9\"",
            id="restarts as text",
        ),
    ],
)
def test_a_pod_that_is_none(obj: dict[str, object], text: str) -> None:
    with pytest.raises(BadObjectError, match=text):
        parsing.pod(DEPLOYMENT, obj, NOW_S)


def test_what_the_api_says_is_kept_short_and_in_one_line() -> None:
    obj = pod("p", status=waiting("CrashLoopBackOff", "x\n\u202e" + 300 * "y"))
    why = parsing.pod(DEPLOYMENT, obj, NOW_S).why
    assert len(why) == LONGEST_WHY
    assert why.startswith("CrashLoopBackOff: x yyy")


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("metadata", "spec", "status", "replicas", "uid", "name", "labels", "x")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
REFS = (
    *(ref(kind, part="decode") for kind in WorkloadKind),
    *(ref(gate=gate) for gate in Gate),
)


@given(
    st.sampled_from(REFS),
    st.dictionaries(st.sampled_from(("metadata", "spec", "status")), ANYTHING),
)
def test_whatever_comes_is_a_value_or_named(one: WorkloadRef, obj: dict[str, object]) -> None:
    for read in (lambda: parsing.workload(one, obj), lambda: parsing.pod(one, obj, NOW_S)):
        with suppress(BadObjectError):
            seen = read()
            assert isinstance(seen, PodSeen) or 0 <= seen.replicas < 2**31
