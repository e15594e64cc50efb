"""Writes: versions, compare-and-set, patches, counts."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.kube import Double, Kind, Scale
from tests.kube.kinds import KINDS
from tests.kube_double.client import DECODE, DEPLOYMENTS, Client

LWS = "/apis/leaderworkerset.x-k8s.io/v1/namespaces/prod/leaderworkersets"


def test_a_change_of_the_spec_makes_a_version_and_a_generation(raw: Client) -> None:
    before = raw.get(DECODE).json()["metadata"]
    after = raw.patch(DECODE, {"spec": {"replicas": 5}}).json()["metadata"]
    assert int(after["resourceVersion"]) > int(before["resourceVersion"])
    assert (before["generation"], after["generation"]) == (1, 2)
    assert (before["uid"], before["creationTimestamp"]) == (
        after["uid"],
        after["creationTimestamp"],
    )


@pytest.mark.parametrize(
    ("path", "patch"),
    [
        pytest.param(DECODE, {"metadata": {"annotations": {"a": "b"}}}, id="an annotation"),
        pytest.param(f"{DECODE}/status", {"status": {"replicas": 3}}, id="a status"),
    ],
)
def test_other_changes_make_a_version_and_no_generation(
    raw: Client, path: str, patch: dict[str, Any]
) -> None:
    before = raw.get(DECODE).json()["metadata"]
    raw.patch(path, patch)
    after = raw.get(DECODE).json()["metadata"]
    assert int(after["resourceVersion"]) > int(before["resourceVersion"])
    assert after["generation"] == before["generation"]


def test_a_write_that_changes_nothing_is_none(raw: Client) -> None:
    first = raw.patch(DECODE, {"spec": {"replicas": 7}}).json()
    assert raw.patch(DECODE, {"spec": {"replicas": 7}}).json() == first


def test_the_main_door_leaves_the_status_alone_and_that_of_the_status_all_else(
    raw: Client,
) -> None:
    both = {"spec": {"replicas": 9}, "status": {"replicas": 3}}
    assert raw.patch(DECODE, both).json()["status"]["replicas"] == 4
    shown = raw.patch(f"{DECODE}/status", {"spec": {"replicas": 1}, "status": {"replicas": 3}})
    assert shown.json()["spec"]["replicas"] == 9
    assert shown.json()["status"]["replicas"] == 3


@pytest.mark.parametrize("how", ["merge", "put", "scale", "scale put"])
def test_an_old_version_in_the_body_is_a_conflict_and_nothing_is_written(
    raw: Client, kube: Double, how: str
) -> None:
    old = raw.get(DECODE).json()
    scale = raw.get(f"{DECODE}/scale").json()
    kube.change("deployments", "prod", "chat-decode", {"metadata": {"labels": {"x": "y"}}})
    version = {"metadata": {"resourceVersion": old["metadata"]["resourceVersion"]}}
    wish = {"spec": {"replicas": 9}, **version}
    answer = {
        "merge": lambda: raw.patch(DECODE, wish),
        "put": lambda: raw.ask("PUT", DECODE, {**old, "spec": {**old["spec"], "replicas": 9}}),
        "scale": lambda: raw.patch(f"{DECODE}/scale", wish),
        "scale put": lambda: raw.ask("PUT", f"{DECODE}/scale", {**scale, "spec": {"replicas": 9}}),
    }[how]()
    assert (answer.status_code, answer.json()["reason"]) == (409, "Conflict")
    assert answer.json()["message"].startswith(
        'Operation cannot be fulfilled on deployments.apps "chat-decode": the object has been '
    )
    assert kube.get("deployments", "prod", "chat-decode")["spec"]["replicas"] == 4


def test_an_object_of_the_same_name_is_another(raw: Client, kube: Double) -> None:
    uid = raw.get(DECODE).json()["metadata"]["uid"]
    kube.recreate("deployments", "prod", "chat-decode")
    answer = raw.patch(DECODE, {"metadata": {"uid": uid}, "spec": {"replicas": 9}})
    assert answer.status_code == 409
    assert "UID in precondition" in answer.json()["message"]


def test_a_merge_patch_takes_null_away_and_replaces_lists(raw: Client) -> None:
    raw.patch(DECODE, {"metadata": {"annotations": {"a": "1", "b": "2"}}})
    shown = raw.patch(DECODE, {"metadata": {"annotations": {"a": None, "c": "3"}}}).json()
    assert shown["metadata"]["annotations"] == {"b": "2", "c": "3"}
    containers = {"spec": {"template": {"spec": {"containers": [{"name": "only"}]}}}}
    shown = raw.patch(DECODE, containers).json()
    assert shown["spec"]["template"]["spec"]["containers"] == [{"name": "only"}]


def test_a_scale_is_that_of_its_object(raw: Client) -> None:
    scale = raw.patch(f"{DECODE}/scale", {"spec": {"replicas": 6}}).json()
    shown = raw.get(DECODE).json()
    assert scale["spec"] == {"replicas": 6} == {"replicas": shown["spec"]["replicas"]}
    assert scale["metadata"]["resourceVersion"] == shown["metadata"]["resourceVersion"]
    assert scale["status"] == {"replicas": 4, "selector": "app=chat-decode"}
    entry = shown["metadata"]["managedFields"][-1]
    assert (entry["manager"], entry["subresource"]) == ("raw", "scale")
    assert entry["fieldsV1"] == {"f:spec": {"f:replicas": {}}}


def test_a_scale_of_none_leaves_the_count_out(raw: Client) -> None:
    assert raw.patch(f"{DECODE}/scale", {"spec": {"replicas": 0}}).json()["spec"] == {}


@pytest.mark.parametrize(
    ("count", "code", "message"),
    [
        pytest.param(
            -1,
            422,
            'Deployment.apps "chat-decode" is invalid: spec.replicas: Invalid value: -1: '
            "must be greater than or equal to 0",
            id="below 0",
        ),
        pytest.param("3", 422, "cannot unmarshal string", id="text"),
        pytest.param(2.5, 422, "cannot unmarshal number 2.5", id="a half"),
        pytest.param(2**31, 422, "cannot unmarshal number 2147483648", id="beyond 32 bits"),
    ],
)
def test_a_count_that_is_none_is_refused(
    raw: Client, count: object, code: int, message: str
) -> None:
    answer = raw.patch(DECODE, {"spec": {"replicas": count}})
    assert answer.status_code == code
    assert message in answer.json()["message"]
    assert answer.json()["details"]["causes"]
    assert raw.get(DECODE).json()["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    ("count", "code"),
    [pytest.param(-1, 422, id="below 0"), pytest.param("3", 400, id="text")],
)
def test_a_scale_that_is_none_is_refused(raw: Client, count: object, code: int) -> None:
    assert raw.patch(f"{DECODE}/scale", {"spec": {"replicas": count}}).status_code == code
    assert raw.get(DECODE).json()["spec"]["replicas"] == 4


def test_a_count_may_be_elsewhere() -> None:
    kind = Kind("x.example/v1", "engines", "Engine", scale=Scale(wanted=("spec", "size", "pods")))
    with Double(kinds=[*KINDS, kind]) as kube:
        meta = {"namespace": "prod", "name": "one"}
        body = {"apiVersion": kind.api, "kind": kind.name, "metadata": meta}
        kube.put({**body, "spec": {"size": {"pods": 2, "width": 8}}})
        raw, path = Client(kube), kind.path("prod", "one")
        assert raw.patch(f"{path}/scale", {"spec": {"replicas": 3}}).json()["spec"] == {
            "replicas": 3
        }
        assert raw.get(path).json()["spec"] == {"size": {"pods": 3, "width": 8}}
        assert [each.replicas for each in kube.writes("engines")] == [2, 3]
        refused = raw.patch(path, {"spec": {"size": {"pods": -1}}})
        assert (refused.status_code, refused.json()["details"]["causes"][0]["field"]) == (
            422,
            "spec.size.pods",
        )


def test_of_many_who_compare_and_set_each_sets_once(kube: Double) -> None:
    def add(done: list[int]) -> None:
        raw = Client(kube)
        while len(done) < 5:
            seen = raw.get(DECODE).json()
            count = seen["spec"]["replicas"] + 1
            version = {"resourceVersion": seen["metadata"]["resourceVersion"]}
            answer = raw.patch(DECODE, {"metadata": version, "spec": {"replicas": count}})
            if answer.status_code == 200:
                done.append(count)

    found: list[list[int]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=add, args=(each,)) for each in found]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    # 4 writers, 5 times each, from 4 on: 5 to 24, none twice.
    assert sorted(count for each in found for count in each) == list(range(5, 25))
    counts = [each.replicas for each in kube.writes("deployments", by="raw")]
    assert counts == list(range(5, 25))


def test_a_dry_run_answers_and_changes_nothing(raw: Client, kube: Double) -> None:
    before = kube.version
    answer = raw.patch(DECODE, {"spec": {"replicas": 9}}, dryRun="All")
    assert answer.json()["spec"]["replicas"] == 9
    assert kube.version == before


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{DEPLOYMENTS}/nobody", 'deployments.apps "nobody" not found'),
        ("/apis/apps/v1/namespaces/prod/gadgets", "the server could not find the requested"),
        (f"{LWS}/x/gadget", "the server could not find the requested resource"),
        ("/nowhere", "the server could not find the requested resource"),
    ],
)
def test_what_is_not_there_is_said(raw: Client, path: str, message: str) -> None:
    answer = raw.get(path)
    assert (answer.status_code, answer.json()["reason"]) == (404, "NotFound")
    assert answer.json()["message"].startswith(message)
