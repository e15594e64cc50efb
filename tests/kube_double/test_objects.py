"""Creating, replacing, deleting; what other patches do; what no schema has seen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kube import Double, deployment, leaderworkerset
from tests.kube_double.client import DECODE, DEPLOYMENTS, PODS, Client

LWS = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/prod/leaderworkersets"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


def test_an_object_is_created_once(raw: Client) -> None:
    body = deployment("prod", "new", 2)
    made = raw.ask("POST", DEPLOYMENTS, body)
    assert (made.status_code, made.json()["metadata"]["generation"]) == (201, 1)
    again = raw.ask("POST", DEPLOYMENTS, body)
    assert (again.status_code, again.json()["reason"]) == (409, "AlreadyExists")
    assert again.json()["message"] == 'deployments.apps "new" already exists'


def test_a_name_may_be_made_up(raw: Client) -> None:
    body = {"kind": "Pod", "metadata": {"generateName": "probe-"}, "spec": {}}
    name = raw.ask("POST", PODS, body).json()["metadata"]["name"]
    assert name.startswith("probe-")
    assert len(name) == len("probe-") + 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Upper", 'Invalid value: "Upper"'),
        ("", "Required value: name or generateName is required"),
    ],
)
def test_a_name_that_is_none_is_refused(raw: Client, name: str, message: str) -> None:
    answer = raw.ask("POST", DEPLOYMENTS, deployment("prod", name, 2))
    assert answer.status_code == 422
    assert message in answer.json()["message"]


def test_a_replacement_without_a_version_is_taken_for_built_in_kinds_alone(
    raw: Client, kube: Double
) -> None:
    kube.put(leaderworkerset("prod", "wide", 2))
    for path, code in ((DECODE, 200), (f"{LWS}/wide", 422)):
        body = raw.get(path).json()
        del body["metadata"]["resourceVersion"]
        body["spec"]["replicas"] = 3
        assert raw.ask("PUT", path, body).status_code == code


@pytest.mark.parametrize(
    ("count", "message"),
    [
        ("3", 'spec.replicas in body must be of type integer: "string"'),
        (-1, "must be greater than or equal to 0"),
        (2**31, "should be less than or equal to 2147483647"),
    ],
)
def test_a_custom_resource_is_checked_by_its_schema(
    raw: Client, kube: Double, count: object, message: str
) -> None:
    kube.put(leaderworkerset("prod", "wide", 2))
    answer = raw.patch(f"{LWS}/wide", {"spec": {"replicas": count}})
    assert answer.status_code == 422
    assert message in answer.json()["message"]


@pytest.mark.parametrize("count", [None, "3", 2**31, 2.5])
def test_an_object_may_be_older_than_its_schema(raw: Client, kube: Double, count: object) -> None:
    odd = deployment("prod", "odd", 1)
    odd["spec"]["replicas"] = count
    odd["unknown"] = {"field": 1}
    kube.put(odd, checked=False)
    shown = raw.get(f"{DEPLOYMENTS}/odd").json()
    assert (shown["spec"]["replicas"], shown["unknown"]) == (count, {"field": 1})
    kube.settle()


def test_a_null_count_has_no_scale(raw: Client, kube: Double) -> None:
    odd = leaderworkerset("prod", "odd", 1)
    odd["spec"]["replicas"] = None
    kube.put(odd, checked=False)
    answer = raw.get(f"{LWS}/odd/scale")
    assert answer.status_code == 500
    assert '".spec.replicas" does not exist' in answer.json()["message"]


def test_a_json_patch_is_done_whole_or_not_at_all(raw: Client) -> None:
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 4},
        {"op": "replace", "path": "/spec/replicas", "value": 6},
        {"op": "add", "path": "/metadata/annotations", "value": {"a/b": "c"}},
        {"op": "remove", "path": "/metadata/annotations/a~1b"},
    ]
    shown = raw.ask("PATCH", DECODE, operations, content=JSON_PATCH).json()
    assert (shown["spec"]["replicas"], shown["metadata"]["annotations"]) == (6, {})
    answer = raw.ask("PATCH", DECODE, operations, content=JSON_PATCH)
    assert (answer.status_code, answer.json()["reason"]) == (422, "Invalid")
    assert raw.get(DECODE).json()["spec"]["replicas"] == 6


def test_a_strategic_patch_merges_lists_of_built_in_kinds(raw: Client, kube: Double) -> None:
    kube.put(leaderworkerset("prod", "wide", 2))
    patch: dict[str, Any] = {"spec": {"template": {"spec": {"containers": [{"name": "more"}]}}}}
    shown = raw.ask("PATCH", DECODE, patch, content=STRATEGIC).json()
    names = [each["name"] for each in shown["spec"]["template"]["spec"]["containers"]]
    assert names == ["server", "more"]
    assert raw.ask("PATCH", f"{LWS}/wide", patch, content=STRATEGIC).status_code == 415
    assert raw.ask("PATCH", DECODE, patch, content="text/plain").status_code == 415


def test_a_finalizer_keeps_what_is_deleted(raw: Client, kube: Double) -> None:
    raw.patch(DECODE, {"metadata": {"finalizers": ["example.com/wait"]}})
    marked = raw.ask("DELETE", DECODE).json()
    assert "deletionTimestamp" in marked["metadata"]
    assert raw.get(DECODE).status_code == 200
    raw.patch(DECODE, {"metadata": {"finalizers": None}})
    assert raw.get(DECODE).status_code == 404
    assert kube.writes("deployments", "prod", "chat-decode")[-1].what == "DELETED"


def test_only_the_object_that_is_meant_is_deleted(raw: Client) -> None:
    options = {"preconditions": {"uid": "another"}}
    answer = raw.ask("DELETE", DECODE, options)
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert raw.get(DECODE).status_code == 200


def test_a_pod_is_given_time_to_end(raw: Client, kube: Double) -> None:
    name = kube.all("pods", "prod", "app=chat-decode")[0]["metadata"]["name"]
    shown = raw.ask("DELETE", f"{PODS}/{name}").json()["metadata"]
    assert shown["deletionGracePeriodSeconds"] == 30
    assert raw.ask("DELETE", f"{PODS}/{name}", {"gracePeriodSeconds": 0}).status_code == 200
    assert raw.get(f"{PODS}/{name}").status_code == 404


def test_a_pod_is_evicted(raw: Client, kube: Double) -> None:
    name = kube.all("pods", "prod", "app=chat-decode")[0]["metadata"]["name"]
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
    assert raw.ask("POST", f"{PODS}/{name}/eviction", body).status_code == 201
    assert "deletionTimestamp" in raw.get(f"{PODS}/{name}").json()["metadata"]


def test_pods_of_a_node_are_found(raw: Client, kube: Double) -> None:
    pod = kube.all("pods", "prod", "app=chat-decode")[0]
    found = raw.get(PODS, fieldSelector=f"spec.nodeName={pod['spec']['nodeName']}").json()
    assert pod["metadata"]["name"] in [each["metadata"]["name"] for each in found["items"]]
    everywhere = raw.get("/api/v1/pods", labelSelector="app=chat-decode").json()
    assert len(everywhere["items"]) == 4


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        pytest.param("POST", DECODE, {}, 405, id="post to an object"),
        pytest.param("PUT", DEPLOYMENTS, {}, 405, id="put to a list"),
        pytest.param("PUT", f"{DEPLOYMENTS}/new", {"kind": "Deployment"}, 404, id="put to none"),
        pytest.param("POST", DEPLOYMENTS, {"kind": "Pod"}, 400, id="another kind"),
        pytest.param("POST", DEPLOYMENTS, [], 400, id="no object"),
        pytest.param("PATCH", f"{DECODE}?dryRun=Some", {}, 400, id="half a dry run"),
    ],
)
def test_what_makes_no_sense_is_refused(
    raw: Client, method: str, path: str, body: object, code: int
) -> None:
    content = "application/merge-patch+json" if method == "PATCH" else "application/json"
    assert raw.ask(method, path, body, content=content).status_code == code


def test_all_of_a_selector_are_deleted(raw: Client, kube: Double) -> None:
    raw.ask("DELETE", DEPLOYMENTS, labelSelector="heteroscale.test/service=code")
    left = [each["metadata"]["name"] for each in kube.all("deployments", "prod")]
    assert left == ["chat-decode", "chat-prefill"]
