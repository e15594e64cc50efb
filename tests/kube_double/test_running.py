"""Certificates, a process of its own, and clients that others have written."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import sys
import urllib.request
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import lightkube
import pytest
import requests
import yaml
from lightkube import KubeConfig
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.core_v1 import Node, Pod

from heteroscale_site.configuration import BASE_DIR
from tests.kube import Double, autoscaler, deployment, node, statefulset
from tests.kube.tls import Certificates
from tests.kube_double.client import DECODE, NODES, Client

KUBECTL = shutil.which("kubectl")
MANIFEST = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: read-nodes}
rules: [{apiGroups: [""], resources: [nodes], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: scale}
rules:
- {apiGroups: [apps], resources: [deployments/scale], verbs: [patch], resourceNames: [chat-decode]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: read-nodes}
roleRef: {kind: ClusterRole, name: read-nodes}
subjects: [{kind: ServiceAccount, namespace: tools, name: heteroscale}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: scale, namespace: prod}
roleRef: {kind: ClusterRole, name: scale}
subjects: [{kind: ServiceAccount, namespace: tools, name: heteroscale}]
"""


def asked(kube: Double, authority: bytes) -> int:
    context = ssl.create_default_context(cadata=authority.decode())
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{kube.address}/version", headers={"Authorization": f"Bearer {kube.token}"}
    )
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:  # noqa: S310
        return int(answer.status)


def test_tls_is_spoken_with_a_certificate_of_its_own_authority() -> None:
    with Double(tls=True) as kube:
        assert kube.certificates is not None
        assert asked(kube, kube.certificates.ca) == 200
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            asked(kube, Certificates().ca)
        kube.close()
        kube.certificates.expired = True
        kube.start()
        with pytest.raises(OSError, match="certificate has expired"):
            asked(kube, kube.certificates.ca)


def test_a_manifest_gives_what_it_says(kube: Double) -> None:
    raw = Client(kube, kube.grant(yaml.safe_load_all(MANIFEST)))
    one = {"spec": {"replicas": 1}}
    assert raw.get(NODES).status_code == 200
    assert raw.patch(f"{DECODE}/scale", one).status_code == 200
    refused = raw.patch(f"{DECODE.replace('decode', 'prefill')}/scale", one)
    assert (
        'User "system:serviceaccount:tools:heteroscale" cannot patch' in refused.json()["message"]
    )
    assert raw.get(DECODE).status_code == 403
    elsewhere = raw.patch(f"{DECODE.replace('/prod/', '/stage/')}/scale", one)
    assert elsewhere.status_code == 403


def test_the_clock_of_a_cluster_may_be_wrong(raw: Client, kube: Double) -> None:
    right = raw.get("/version").headers["Date"]
    kube.skew = timedelta(days=2)
    assert raw.get("/version").headers["Date"] != right


def test_it_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    more = tmp_path / "more.yaml"
    more.write_text(yaml.safe_dump_all([node("extra"), deployment("prod", "other", 1)]))
    faulty = tmp_path / "faulty.py"
    faulty.write_text(
        "from tests.kube import faults\n"
        "def prepare(kube):\n"
        "    kube.fault(faults.answer(503), path='nodes', nth=2)\n"
    )
    words = ["--nodes", "3", "--decode", "2", "--token", "secret", "--every", "0.01"]
    words += ["--scenario", str(more), "--scenario", str(faulty)]
    command = [sys.executable, "-m", "tests.kube", *words]
    with subprocess.Popen(  # noqa: S603 - our own module
        command, cwd=BASE_DIR, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        address, _ = process.stdout.readline().split()
        session = requests.Session()
        session.trust_env = False
        session.headers["Authorization"] = "Bearer secret"
        codes = [session.get(f"{address}{NODES}", timeout=10) for _ in range(3)]
        assert [each.status_code for each in codes] == [200, 503, 200]
        assert len(codes[0].json()["items"]) == 4
        shown = session.get(f"{address}{DECODE}", timeout=10).json()
        assert shown["spec"]["replicas"] == 2
        session.close()
        process.terminate()
        assert process.wait(10) == 0


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine")
def test_kubectl_reads_and_writes(tmp_path: Path) -> None:
    with Double(tls=True) as kube:
        kube.put(node("gpu-0000"), deployment("prod", "chat-decode", 4))
        config = kube.kubeconfig(tmp_path / "config")

        def kubectl(*words: str) -> str:
            assert KUBECTL
            return subprocess.run(  # noqa: S603
                [KUBECTL, "--kubeconfig", config, "--cache-dir", tmp_path, "-n", "prod", *words],
                check=True,
                capture_output=True,
                text=True,
                env={**os.environ, "HOME": str(tmp_path)},
            ).stdout.strip()

        assert kubectl("get", "nodes", "-o", "name") == "node/gpu-0000"
        kubectl("scale", "deployment/chat-decode", "--replicas=6", "--current-replicas=4")
        assert (
            kubectl("get", "deployment", "chat-decode", "-o", "jsonpath={.spec.replicas}") == "6"
        )
        kubectl("annotate", "deployment", "chat-decode", "a=b")
        shown = json.loads(kubectl("get", "deployment", "chat-decode", "-o", "json"))
        assert shown["metadata"]["annotations"] == {"a": "b"}
        kubectl("delete", "deployment", "chat-decode")
        assert kubectl("get", "deployments", "-o", "name") == ""


def test_what_is_served_is_what_a_typed_client_reads(tmp_path: Path) -> None:
    with Double() as kube:
        work = deployment("prod", "chat-decode", 4)
        kube.put(node("gpu-0000"), work, statefulset("prod", "rank", 2), autoscaler("prod", work))
        kube.kubelet.stuck["rank-1"] = "CrashLoopBackOff"
        kube.settle()
        config = KubeConfig.from_file(kube.kubeconfig(tmp_path / "config")).get()
        with closing(lightkube.Client(config=config, trust_env=False)) as client:
            found = {
                kind.__name__: sum(1 for _ in client.list(kind, namespace="*", chunk_size=4))
                for kind in (Pod, Deployment, StatefulSet, ReplicaSet, HorizontalPodAutoscaler)
            }
            assert found == {
                "Pod": 6,
                "Deployment": 1,
                "StatefulSet": 1,
                "ReplicaSet": 1,
                "HorizontalPodAutoscaler": 1,
            }
            assert [each.metadata.name for each in client.list(Node)] == ["gpu-0000"]
            scale = client.get(Deployment.Scale, "chat-decode", namespace="prod")
            assert scale.spec.replicas == 4
