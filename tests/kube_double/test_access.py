"""Who may do what, and in which words it is refused."""

from __future__ import annotations

import pytest

from tests.kube import Double, Rule
from tests.kube_double.client import DECODE, NODES, Client

READ = Rule(("get", "list", "watch"), ("deployments",), ("apps",), ("prod",))


@pytest.mark.parametrize("token", ["", "made-up"])
def test_nobody_is_let_in(kube: Double, token: str) -> None:
    raw = Client(kube, token or "none")
    answer = raw.get(DECODE)
    assert (answer.status_code, answer.json()["message"]) == (401, "Unauthorized")


def test_a_token_expires(kube: Double) -> None:
    raw = Client(kube, kube.account("heteroscale", [READ]))
    assert raw.get(DECODE).status_code == 200
    kube.accounts.expire(raw.token)
    assert raw.get(DECODE).status_code == 401


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        pytest.param(
            "PATCH",
            DECODE,
            'deployments.apps "chat-decode" is forbidden: User "heteroscale" cannot patch '
            'resource "deployments" in API group "apps" in the namespace "prod"',
            id="an object",
        ),
        pytest.param(
            "PATCH",
            f"{DECODE}/scale",
            'deployments.apps "chat-decode" is forbidden: User "heteroscale" cannot patch '
            'resource "deployments/scale" in API group "apps" in the namespace "prod"',
            id="a subresource",
        ),
        pytest.param(
            "GET",
            NODES,
            'nodes is forbidden: User "heteroscale" cannot list resource "nodes" in API group "" '
            "at the cluster scope",
            id="a list of the cluster",
        ),
    ],
)
def test_what_no_rule_allows_is_refused(
    kube: Double, method: str, path: str, message: str
) -> None:
    raw = Client(kube, kube.account("heteroscale", [READ]))
    answer = raw.ask(method, path, {"spec": {"replicas": 1}})
    assert (answer.status_code, answer.json()["reason"]) == (403, "Forbidden")
    assert answer.json()["message"] == message


def test_a_rule_of_a_namespace_is_none_elsewhere(kube: Double) -> None:
    raw = Client(kube, kube.account("heteroscale", [READ]))
    codes = {
        path: raw.get(path).status_code
        for path in (
            "/apis/apps/v1/namespaces/prod/deployments",
            "/apis/apps/v1/namespaces/stage/deployments",
            "/apis/apps/v1/deployments",
        )
    }
    assert list(codes.values()) == [200, 403, 403]


def test_a_role_may_be_reduced(kube: Double) -> None:
    raw = Client(kube, kube.account("heteroscale", [READ]))
    kube.accounts.limit("heteroscale", [])
    assert raw.get(DECODE).status_code == 403


@pytest.mark.parametrize(("verb", "allowed"), [("get", True), ("patch", False)])
def test_a_review_says_what_is_enforced(kube: Double, verb: str, *, allowed: bool) -> None:
    raw = Client(kube, kube.account("heteroscale", [READ]))
    wish = {"verb": verb, "group": "apps", "resource": "deployments", "namespace": "prod"}
    answer = raw.ask(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {"kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": wish}},
    )
    assert (answer.status_code, answer.json()["status"]["allowed"]) == (201, allowed)


def test_one_may_ask_who_one_is(kube: Double) -> None:
    raw = Client(kube, kube.account("system:serviceaccount:tools:heteroscale", []))
    body = {"kind": "SelfSubjectReview"}
    answer = raw.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body)
    assert answer.json()["status"]["userInfo"]["username"] == (
        "system:serviceaccount:tools:heteroscale"
    )


def test_the_server_says_what_it_serves(raw: Client) -> None:
    assert raw.get("/version").json()["gitVersion"] == "v1.34.0"
    assert raw.get("/api").json()["versions"] == ["v1"]
    groups = {each["name"] for each in raw.get("/apis").json()["groups"]}
    assert {"apps", "nvidia.com", "leaderworkerset.x-k8s.io"} <= groups
    served = raw.get("/apis/apps/v1").json()["resources"]
    assert {"deployments", "deployments/scale", "deployments/status"} <= {
        each["name"] for each in served
    }
