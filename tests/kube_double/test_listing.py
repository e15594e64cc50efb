"""Lists in parts, at versions, by selectors; watches from a version on."""

from __future__ import annotations

import pytest

from tests.kube import Double
from tests.kube_double.client import DEPLOYMENTS, NODES, Client, told


def names(answer: dict[str, list[dict[str, dict[str, str]]]]) -> list[str]:
    return [each["metadata"]["name"] for each in answer["items"]]


def test_a_list_in_parts_is_that_of_its_first_part(raw: Client, kube: Double) -> None:
    first = raw.get(DEPLOYMENTS, limit=3).json()
    assert first["metadata"]["remainingItemCount"] == 1
    kube.change("deployments", "prod", "code-prefill", {"spec": {"replicas": 9}})
    rest = raw.get(DEPLOYMENTS, **{"limit": 3, "continue": first["metadata"]["continue"]}).json()
    assert names(first) + names(rest) == [
        "chat-decode",
        "chat-prefill",
        "code-decode",
        "code-prefill",
    ]
    assert rest["items"][0]["spec"]["replicas"] == 1
    assert rest["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}


def test_a_continue_token_expires(raw: Client, kube: Double) -> None:
    token = raw.get(DEPLOYMENTS, limit=3).json()["metadata"]["continue"]
    kube.change("deployments", "prod", "code-prefill", {"spec": {"replicas": 9}})
    kube.compact()
    answer = raw.get(DEPLOYMENTS, **{"limit": 3, "continue": token})
    assert (answer.status_code, answer.json()["reason"]) == (410, "Expired")


@pytest.mark.parametrize(
    ("selector", "expect"),
    [
        ("heteroscale.test/service=chat", ["chat-decode", "chat-prefill"]),
        ("heteroscale.test/service!=chat", ["code-decode", "code-prefill"]),
        ("app in (chat-decode, code-decode)", ["chat-decode", "code-decode"]),
        ("app notin (chat-decode),heteroscale.test/service=chat", ["chat-prefill"]),
        ("app,!nothing", ["chat-decode", "chat-prefill", "code-decode", "code-prefill"]),
        ("nothing", []),
    ],
)
def test_labels_choose(raw: Client, selector: str, expect: list[str]) -> None:
    assert names(raw.get(DEPLOYMENTS, labelSelector=selector).json()) == expect


def test_fields_choose_where_they_are_offered(raw: Client) -> None:
    assert names(raw.get(NODES, fieldSelector="metadata.name=gpu-0003").json()) == ["gpu-0003"]
    answer = raw.get(NODES, fieldSelector="spec.podCIDR=1")
    assert (answer.status_code, answer.json()["message"]) == (
        400,
        "field label not supported: spec.podCIDR",
    )


def test_a_list_may_be_that_of_a_version(raw: Client, kube: Double) -> None:
    then = kube.version
    kube.delete("deployments", "prod", "chat-decode")
    kube.change("deployments", "prod", "chat-prefill", {"spec": {"replicas": 9}})
    exact = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
    found = raw.get(DEPLOYMENTS, **exact).json()
    assert found["metadata"]["resourceVersion"] == str(then)
    assert [each["spec"]["replicas"] for each in found["items"][:2]] == [4, 2]
    newer = raw.get(DEPLOYMENTS, resourceVersion=then, resourceVersionMatch="NotOlderThan").json()
    assert names(newer) == ["chat-prefill", "code-decode", "code-prefill"]
    assert names(raw.get(DEPLOYMENTS, resourceVersion=0).json()) == names(newer)
    kube.compact()
    assert raw.get(DEPLOYMENTS, **exact).status_code == 410


def test_a_version_of_the_future_is_not_there_yet(raw: Client, kube: Double) -> None:
    answer = raw.get(DEPLOYMENTS, resourceVersion=kube.version + 10)
    assert answer.status_code == 504
    assert answer.json()["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


def test_a_watch_tells_what_came_after_its_version(raw: Client, kube: Double) -> None:
    begin = raw.get(DEPLOYMENTS).json()["metadata"]["resourceVersion"]
    kube.change("deployments", "prod", "chat-decode", {"spec": {"replicas": 5}})
    events = raw.watch(DEPLOYMENTS, resourceVersion=begin)
    assert told(events, 1) == [("MODIFIED", "chat-decode")]
    kube.delete("deployments", "prod", "chat-decode")
    gone = next(events)
    assert (gone["type"], gone["object"]["spec"]["replicas"]) == ("DELETED", 5)
    assert gone["object"]["metadata"]["resourceVersion"] == str(kube.version)


def test_a_watch_without_a_version_begins_with_what_is_there(raw: Client) -> None:
    assert told(raw.watch(DEPLOYMENTS), 4)[0] == ("ADDED", "chat-decode")


def test_what_leaves_a_selector_is_deleted_for_its_watch(raw: Client, kube: Double) -> None:
    events = raw.watch(DEPLOYMENTS, resourceVersion=kube.version, labelSelector="gate=on")
    for gate in ("on", "off"):
        patch = {"metadata": {"labels": {"gate": gate}}}
        kube.change("deployments", "prod", "chat-decode", patch)
    assert told(events, 2) == [("ADDED", "chat-decode"), ("DELETED", "chat-decode")]


def test_a_watch_from_a_version_that_is_gone_says_so(raw: Client, kube: Double) -> None:
    begin = kube.version
    kube.change("deployments", "prod", "chat-decode", {"spec": {"replicas": 5}})
    kube.compact()
    events = list(raw.watch(DEPLOYMENTS, resourceVersion=begin))
    assert [(each["type"], each["object"]["code"]) for each in events] == [("ERROR", 410)]
    assert events[0]["object"]["reason"] == "Expired"


def test_bookmarks_are_told_to_who_wants_them(raw: Client, kube: Double) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "y"}}
    kube.put(body)
    version = kube.version
    events = raw.watch(DEPLOYMENTS, resourceVersion=version, allowWatchBookmarks="true")
    kube.wait_for(lambda: kube.watches)
    kube.bookmark()
    assert next(events) == {
        "type": "BOOKMARK",
        "object": {
            "kind": "Deployment",
            "apiVersion": "apps/v1",
            "metadata": {"resourceVersion": str(version), "creationTimestamp": None},
        },
    }


def test_events_are_found_by_what_they_are_about(raw: Client, kube: Double) -> None:
    for number, name in enumerate(("chat-decode-1", "chat-decode-2")):
        about = {"kind": "Pod", "namespace": "prod", "name": name}
        meta = {"namespace": "prod", "name": f"told-{number}"}
        body = {"apiVersion": "v1", "kind": "Event", "metadata": meta, "involvedObject": about}
        kube.put({**body, "reason": "FailedScheduling"})
    chosen = "involvedObject.kind=Pod,involvedObject.name=chat-decode-2"
    found = raw.get("/api/v1/namespaces/prod/events", fieldSelector=chosen).json()
    assert names(found) == ["told-1"]
