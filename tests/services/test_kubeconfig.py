"""What a pasted kubeconfig says, and what in it is refused by name."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml

from controller.core.kube.access import Credentials, ExecPlugin
from controller.services import kubeconfig
from controller.services.errors import InvalidError

V1 = "client.authentication.k8s.io/v1"


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def config(
    user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None, **more: Any
) -> str:
    """Return a kubeconfig of one context ``prod``."""
    told = {"server": "https://10.0.0.1:6443"} | (cluster or {})
    return yaml.safe_dump(
        {
            "clusters": [{"name": "c", "cluster": told}],
            "users": [{"name": "u", "user": {"token": "t"} if user is None else user}],
            "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u"}}],
        }
        | more
    )


def plugin(**more: Any) -> dict[str, Any]:
    return {"exec": {"apiVersion": V1, "command": "aws", "args": ["eks", "get-token"], **more}}


def test_texts_are_taken_as_they_are_and_data_is_unpacked() -> None:
    text = config(
        {"client-certificate-data": coded("CERT"), "client-key-data": coded("KEY")},
        {"certificate-authority-data": coded("CA")},
    )

    assert kubeconfig.read(text) == Credentials(
        "https://10.0.0.1:6443", "CA", "", certificate="CERT", key="KEY"
    )


def test_a_plugin_is_read_and_not_run() -> None:
    env = [{"name": "AWS_PROFILE", "value": "p"}]

    found = kubeconfig.read(config(plugin(env=env, provideClusterInfo=True))).exec_

    assert found == ExecPlugin(
        V1, "aws", ("eks", "get-token"), {"AWS_PROFILE": "p"}, tells_cluster=True
    )


@pytest.mark.parametrize(
    ("current", "chosen", "server"),
    [
        pytest.param("a", "", "https://a", id="the current one"),
        pytest.param("a", "b", "https://b", id="the one that is named"),
    ],
)
def test_one_context_is_chosen(current: str, chosen: str, server: str) -> None:
    text = yaml.safe_dump(
        {
            "current-context": current,
            "clusters": [{"name": n, "cluster": {"server": f"https://{n}"}} for n in "ab"],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": n, "context": {"cluster": n, "user": "u"}} for n in "ab"],
        }
    )

    assert kubeconfig.read(text, chosen).server == server
    assert kubeconfig.contexts_of(text) == (("a", "b"), current)
    with pytest.raises(InvalidError, match="It has no context 'c', but a, b") as caught:
        kubeconfig.read(text, "c")
    assert caught.value.field == "context"
    with pytest.raises(InvalidError, match="Choose one of its contexts: a, b"):
        kubeconfig.read(text.replace("current-context: a", "current-context: gone"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "This is no kubeconfig", id="nothing"),
        pytest.param("hello", "This is no kubeconfig", id="a word"),
        pytest.param("a: 1\nb: [", "Line 3: this is no YAML", id="no YAML"),
        pytest.param("a: &x 1\nclusters: [*x]", "aliases", id="an alias"),
        pytest.param("x" * 500_001, "500,001 characters", id="too long"),
        pytest.param(config(contexts=[]), "It has no contexts", id="no contexts"),
        pytest.param(config(users=[]), "names the user u, which is not in it", id="no user"),
        pytest.param(
            config({"tokenFile": "/t"}), "tokenFile names a file, which is not here", id="token"
        ),
        pytest.param(
            config({"client-certificate": "/c"}), "client-certificate names a file", id="cert"
        ),
        pytest.param(config({"client-key": "/k"}), "client-key names a file", id="key"),
        pytest.param(
            config(None, {"certificate-authority": "/ca"}),
            "certificate-authority names a file",
            id="ca",
        ),
        pytest.param(
            config(None, {"insecure-skip-tls-verify": True}),
            "insecure-skip-tls-verify: whoever answers would be given our token",
            id="insecure",
        ),
        pytest.param(
            config(None, {"insecure-skip-tls-verify": "false"}),
            "insecure-skip-tls-verify",
            id="insecure, in whatever spelling",
        ),
        pytest.param(config(None, {"proxy-url": "http://p"}), "proxy-url: A proxy", id="proxy"),
        pytest.param(config(None, {"tls-server-name": "x"}), "tls-server-name", id="name"),
        pytest.param(config({"username": "u", "password": "p"}), "username: ", id="password"),
        pytest.param(config({"auth-provider": {"name": "gcp"}}), "auth-provider: ", id="provider"),
        pytest.param(config({"token": "t", "as": "root"}), "as: It acts as", id="impersonation"),
        pytest.param(config({"token": 5}), "token is no text", id="no text"),
        pytest.param(
            config({"client-certificate-data": "%%%"}),
            "client-certificate-data is no PEM text in base64",
            id="no base64",
        ),
        pytest.param(
            config(plugin(apiVersion="client.authentication.k8s.io/v1alpha1")),
            "exec.apiVersion is client.authentication.k8s.io/v1alpha1",
            id="an old plugin",
        ),
        pytest.param(config(plugin(command="")), "exec.command is empty", id="no command"),
        pytest.param(
            config(plugin(interactiveMode="Always")), "exec.interactiveMode", id="asks people"
        ),
    ],
)
def test_what_can_not_be_used_is_named(text: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as caught:
        kubeconfig.read(text)

    assert caught.value.field == "kubeconfig"


def test_what_a_file_names_may_stand_beside_its_data() -> None:
    text = config({"token": "t", "client-key": "/k", "client-key-data": coded("KEY")})

    assert kubeconfig.read(text).key == "KEY"
