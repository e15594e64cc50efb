"""The command ``cluster``: connect, check, list, print rights, disconnect."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
import yaml
from django.core.management import CommandError, call_command

from controller.core.kube import rights
from controller.core.kube.manifest import manifest
from controller.models import AuditEvent
from inventory.models import Cluster, ClusterAccess, Node
from tests.services.test_preflight import ACCOUNT, rules_of

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube import Double

pytestmark = pytest.mark.django_db


def cluster(*line: str) -> str:
    out = StringIO()
    call_command("cluster", *line, stdout=out)
    return out.getvalue()


def failing(*line: str) -> tuple[str, int]:
    out = StringIO()
    try:
        call_command("cluster", *line, stdout=out)
    except SystemExit as end:
        return out.getvalue(), int(str(end.code))
    except CommandError as fault:
        return str(fault), fault.returncode
    return out.getvalue(), 0


def test_a_kubeconfig_connects_and_what_we_may_is_told(kube: Double, tmp_path: Path) -> None:
    token = kube.account(ACCOUNT, rules_of(manifest(rights.wanted(rights.usual()))))
    config = kube.kubeconfig(tmp_path / "config", token=token)

    said = cluster("add", "eu-1", "--kubeconfig", str(config), "--region", "eu")

    assert said.splitlines()[:3] == [
        "eu-1 is connected.",
        "    yes  answers: Kubernetes v1.34.0.",
        f"    yes  account: We are {ACCOUNT}.",
    ]
    assert "    yes  patch pods in all namespaces: Granted." in said
    assert said.splitlines()[-1] == "Nothing that is needed lacks."
    assert Cluster.objects.get().region.slug == "eu"
    assert AuditEvent.objects.get(object_type="cluster").actor.startswith("command line (")
    assert cluster("list") == f"eu-1: not seen yet, {kube.address}\n"


def test_a_token_connects_and_a_right_that_lacks_fails_the_check(
    kube: Double, tmp_path: Path
) -> None:
    held = tmp_path / "token"
    held.write_text(kube.account(ACCOUNT, []) + "\n")
    line = ("--server", kube.address, "--token-file", str(held), "--namespaces", "prod")

    said, status = failing("add", "eu-1", *line)
    again, fails = failing("check", "eu-1", "--json")

    assert (status, fails) == (1, 1)
    assert "     no  get, list, watch pods in prod: Not granted: get, list, watch." in said
    answer = json.loads(again)
    assert answer["lacking"] == 5
    assert {check["what"] for check in answer["checks"] if check["found"] == "crit"} == {
        "get, list, watch nodes",
        "get, list, watch pods",
        "get, list, watch horizontalpodautoscalers.autoscaling",
        "get, list, watch deployments.apps",
        "get, list, watch statefulsets.apps",
    }
    told = json.loads(cluster("list", "--json"))["clusters"][0]
    assert (told["account"], len(told["lacking"])) == (ACCOUNT, 5)


def test_one_that_is_dead_is_kept_and_said(kube: Double, tmp_path: Path) -> None:
    config = kube.kubeconfig(tmp_path / "config")
    kube.close()

    said, status = failing("add", "eu-1", "--kubeconfig", str(config))

    assert status == 1
    assert said == "eu-1 is connected.\n     no  answers: Nobody listens there.\n"
    assert ClusterAccess.objects.count() == 1


@pytest.mark.parametrize(
    ("line", "said", "status"),
    [
        (("add", "eu", "--kubeconfig", "/none"), "--kubeconfig: /none can't be read", 2),
        (("add", "eu", "--server", "http://10.0.0.1"), "--server: Our token would", 2),
        (("add", "new", "--server", "https://k"), "NAME: new is an address", 2),
        (("add", "eu", "--in-cluster"), "--in-cluster: This runs in no pod", 2),
        (("check", "eu"), "NAME: No cluster 'eu' is connected.", 2),
        (("remove", "eu", "--reason", "x"), "No cluster eu is connected.", 1),
        (("rights", "--kinds", "cronjob"), "--kinds: there is no kind 'cronjob'", 2),
        (("rights", "--namespaces", "A"), "--namespaces: A: Use at most", 2),
    ],
)
def test_what_can_not_be_done_is_said(line: tuple[str, ...], said: str, status: int) -> None:
    found, fails = failing(*line)

    assert found.startswith(said)
    assert fails == status


def test_rights_are_printed_before_any_cluster_is_known() -> None:
    documents = list(yaml.safe_load_all(cluster("rights", "--namespaces", "prod")))

    kinds = [(each["kind"], each["metadata"].get("namespace", "")) for each in documents]
    assert kinds == [
        ("Namespace", ""),
        ("ServiceAccount", "heteroscale"),
        ("ClusterRole", ""),
        ("ClusterRoleBinding", ""),
        ("Role", "prod"),
        ("RoleBinding", "prod"),
        ("Secret", "heteroscale"),
    ]
    assert documents[2]["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
    ]
    observing = cluster("rights", "--observe", "--kinds", "dynamo")
    assert "patch" not in observing
    assert "dynamographdeployments" in observing


def test_nodes_are_printed_as_imports_read_them(kube: Double, tmp_path: Path) -> None:
    cluster("add", "eu", "--kubeconfig", str(kube.kubeconfig(tmp_path / "config")))
    kept = tmp_path / "nodes.json"
    kept.write_text(cluster("nodes", "eu"))

    call_command("import_fleet", str(kept), "--cluster", "eu", stdout=StringIO())
    kube.close()

    assert Node.objects.filter(cluster__slug="eu", gpus=8).count() == 16
    assert failing("nodes", "eu") == ("NAME: Nobody listens there.", 1)


def test_a_cluster_is_disconnected(kube: Double, tmp_path: Path) -> None:
    cluster("add", "eu", "--kubeconfig", str(kube.kubeconfig(tmp_path / "config")))

    assert cluster("remove", "eu", "--reason", "moved").startswith("eu is not connected any more")
    assert cluster("list") == "No cluster is connected.\n"
