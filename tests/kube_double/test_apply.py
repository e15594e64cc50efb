"""Server-side apply: who owns which field."""

from __future__ import annotations

from typing import Any

from tests.kube import Double
from tests.kube_double.client import DECODE, DEPLOYMENTS, Client

COUNT = ("f:spec", "f:replicas")


def wish(replicas: int | None = None, **notes: str) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat-decode", "annotations": notes},
        "spec": {} if replicas is None else {"replicas": replicas},
    }


def owners(raw: Client) -> list[tuple[str, str]]:
    """Return manager and operation of who owns the count."""
    entries = raw.get(DECODE).json()["metadata"]["managedFields"]
    return [
        (each["manager"], each["operation"])
        for each in entries
        if "f:replicas" in each["fieldsV1"].get("f:spec", {})
    ]


def test_a_field_of_anothers_is_a_conflict_unless_forced(raw: Client, kube: Double) -> None:
    version = kube.version
    answer = raw.apply(DECODE, wish(6), "heteroscale")
    assert (answer.status_code, answer.json()["message"]) == (
        409,
        'Apply failed with 1 conflict: conflict with "kubectl" using apps/v1: .spec.replicas',
    )
    assert answer.json()["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "kubectl" using apps/v1',
            "field": ".spec.replicas",
        }
    ]
    assert kube.version == version
    assert raw.apply(DECODE, wish(6), "heteroscale", force="true").json()["spec"]["replicas"] == 6
    assert owners(raw) == [("heteroscale", "Apply")]


def test_the_same_value_is_shared(raw: Client) -> None:
    assert raw.apply(DECODE, wish(4), "heteroscale").status_code == 200
    assert owners(raw) == [("kubectl", "Update"), ("heteroscale", "Apply")]


def test_an_update_takes_a_field_over(raw: Client, kube: Double) -> None:
    raw.apply(DECODE, wish(6), "heteroscale", force="true")
    kube.scale("deployments", "prod", "chat-decode", 5, by="kube-controller-manager")
    assert owners(raw) == [("kube-controller-manager", "Update")]
    answer = raw.apply(DECODE, wish(6), "heteroscale")
    assert answer.json()["details"]["causes"][0]["message"] == (
        'conflict with "kube-controller-manager" with subresource "scale" using apps/v1'
    )


def test_what_is_no_longer_applied_goes(raw: Client) -> None:
    raw.apply(DECODE, wish(a="1", b="2"), "heteroscale")
    shown = raw.apply(DECODE, wish(b="3"), "heteroscale").json()
    assert shown["metadata"]["annotations"] == {"b": "3"}


def test_what_another_owns_too_stays(raw: Client, kube: Double) -> None:
    raw.apply(DECODE, wish(4, a="1"), "heteroscale")
    shown = raw.apply(DECODE, wish(a="1"), "heteroscale").json()
    assert shown["spec"]["replicas"] == 4
    assert owners(raw) == [("kubectl", "Update")]
    assert kube.get("deployments", "prod", "chat-decode")["spec"]["template"]


def test_entries_of_a_list_are_owned_one_by_one(raw: Client) -> None:
    env = [{"name": "server", "env": [{"name": "MODE", "value": "x"}]}]
    body = {**wish(), "spec": {"template": {"spec": {"containers": env}}}}
    (container,) = raw.apply(DECODE, body, "heteroscale").json()["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["env"] == [{"name": "MODE", "value": "x"}]
    assert container["image"] == "registry.example/engine:1.0"


def test_what_is_not_there_is_created(raw: Client) -> None:
    body = wish(1)
    body["metadata"]["name"] = "new"
    answer = raw.apply(f"{DEPLOYMENTS}/new", body, "heteroscale")
    assert (answer.status_code, answer.json()["metadata"]["generation"]) == (201, 1)


def test_a_version_is_compared_and_a_manager_is_wanted(raw: Client, kube: Double) -> None:
    body = wish(a="1")
    body["metadata"]["resourceVersion"] = str(kube.version - 1)
    kube.change("deployments", "prod", "chat-decode", {"metadata": {"labels": {"x": "y"}}})
    assert raw.apply(DECODE, body, "heteroscale").status_code == 409
    assert raw.apply(DECODE, wish(4), "").status_code == 400
