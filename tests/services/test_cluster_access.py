"""How clusters are reached, as people set it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from django.utils import timezone

from controller import wiring
from controller.adapters.kube.api import ThrottledError, UnreachableError
from controller.core.kube.access import Credentials, ExecPlugin
from controller.models import AuditEvent, ClusterSight
from controller.services import cluster_access
from controller.services.cluster_access import Draft
from controller.services.errors import ConflictError, ForbiddenError, InvalidError, MissingError
from inventory.models import Cluster, ClusterAccess
from tests.adapters.prometheus.certificates import authority, certificate
from tests.factories import make_service
from tests.kube import faults
from tests.services.people import person

if TYPE_CHECKING:
    from pathlib import Path

    from django.conf import LazySettings

    from tests.kube import Double

pytestmark = pytest.mark.django_db
V1 = "client.authentication.k8s.io/v1"
SERVER = "https://10.0.0.1:6443"


def given(**more: Any) -> Credentials:
    return Credentials(**{"server": SERVER, "token": "geheim", **more})


def connect(slug: str = "eu-1-a", draft: Draft | None = None, **more: Any) -> Cluster:
    admin = more.pop("user", None) or person("ada", "Admin")
    found = draft or Draft("kubeconfig", given(), ["prod"])
    return cluster_access.connect(slug, found, user=admin, reason="new", **more)


def row(slug: str = "eu-1-a") -> ClusterAccess:
    return ClusterAccess.objects.select_related("cluster").get(cluster__slug=slug)


def test_an_unknown_cluster_is_made_and_its_secrets_are_nowhere_to_be_read() -> None:
    ca, pair = authority(), None
    pair = certificate(ca, "client")
    whole = given(ca=ca[0], certificate=pair[0], key=pair[1])

    connect(draft=Draft("kubeconfig", whole, ["prod", "prod", "test"]), region="eu-1")

    found = row()
    assert (found.cluster.kind, found.cluster.region.slug) == ("kubernetes", "eu-1")
    assert (found.server, found.namespaces) == (SERVER, ["prod", "test"])
    assert cluster_access.credentials_of(found).key == pair[1].strip()
    assert cluster_access.credentials_of(found).token == "geheim"
    event = AuditEvent.objects.get(verb="connected a cluster")
    kept = json.dumps([event.before, event.after, found.secret, found.ca])
    assert "geheim" not in kept
    assert "PRIVATE" not in kept
    assert event.after["secret"] == "kept"
    assert (event.object_type, event.reason) == ("cluster", "new")


def test_one_api_server_has_one_name() -> None:
    ada = person("ada", "Admin")
    connect("eu-1-a", user=ada)
    with pytest.raises(InvalidError, match="connected already, as eu-1-a") as fault:
        connect("eu-2", user=ada)
    assert fault.value.field == "slug"
    assert not Cluster.objects.filter(slug="eu-2").exists()
    connect("eu-1-a", user=ada)


def test_a_new_token_takes_the_place_of_the_old_one_and_the_audit_says_so() -> None:
    ada = person("ada", "Admin")
    connect(user=ada)
    before = row()

    connect(draft=Draft("kubeconfig", given(token="other"), ["prod"]), user=ada)

    after = row()
    assert (after.version, after.pk) == (before.version + 1, before.pk)
    assert cluster_access.credentials_of(after).token == "other"
    event = AuditEvent.objects.get(verb="changed the access to a cluster")
    assert (event.before, event.after) == ({"secret": "another"}, {"secret": "replaced"})


def test_namespaces_change_without_the_secret() -> None:
    ada = person("ada", "Admin")
    connect(user=ada)

    connect(draft=Draft("kubeconfig", None, []), user=ada)

    assert (row().namespaces, cluster_access.credentials_of(row()).token) == ([], "geheim")


@pytest.mark.parametrize(
    ("more", "field", "said"),
    [
        ({"server": ""}, "server", "Give the address"),
        ({"server": "ftp://x"}, "server", "https://"),
        ({"server": "http://10.0.0.1"}, "server", "would go over the wire as it is"),
        ({"server": "https://169.254.169.254"}, "server", "never asked"),
        ({"server": "https://u:p@k"}, "server", "no user name"),
        ({"server": "https://k/?a=b"}, "server", r"no \?"),
        ({"server": "https://k/" + "a" * 500}, "server", "too long"),
        ({"token": "two words"}, "token", "no spaces"),
        ({"token": "a\nb"}, "token", "no spaces"),
        ({"token": ""}, "token", "nothing that says who we are"),
        ({"ca": "none"}, "ca", "no certificate in PEM"),
        ({"certificate": authority()[0]}, "key", "needs its key"),
        ({"exec_": ExecPlugin(V1, "aws")}, "kubeconfig", "HETEROSCALE_EXEC_PLUGINS does not list"),
    ],
)
def test_what_can_not_be_used_is_named(more: dict[str, Any], field: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as caught:
        connect(draft=Draft("kubeconfig", given(**more)))

    assert caught.value.field == field
    assert not Cluster.objects.exists()


@pytest.mark.parametrize(
    ("slug", "draft", "field"),
    [
        ("new", None, "slug"),
        ("", None, "slug"),
        ("a b", None, "slug"),
        ("x" * 64, None, "slug"),
        ("eu", Draft("kubeconfig", given(), ["Prod"]), "namespaces"),
        ("eu", Draft("kubeconfig", given(), [f"n{at}" for at in range(101)]), "namespaces"),
        ("eu", Draft("kubeconfig", None), "kubeconfig"),
        ("eu", Draft("in_cluster"), "way"),
    ],
)
def test_names_and_ways_are_checked(slug: str, draft: Draft | None, field: str) -> None:
    with pytest.raises(InvalidError) as caught:
        connect(slug, draft)

    assert caught.value.field == field


@pytest.mark.parametrize(
    ("command", "variables", "allowed"),
    [
        pytest.param("aws", {"AWS_PROFILE": "p"}, True, id="as it is listed"),
        pytest.param("/opt/aws", {}, False, id="another file of that name"),
        pytest.param("gcloud", {}, False, id="not listed"),
        pytest.param("aws", {"LD_PRELOAD": "/x.so"}, False, id="what runs something else"),
        pytest.param("aws", {"path": "/x"}, False, id="where programs are looked for"),
        pytest.param("aws", {"PYTHONPATH": "/x"}, False, id="where modules are looked for"),
        pytest.param("aws", {"A B": "x"}, False, id="no name"),
    ],
)
def test_only_programs_that_the_host_lists_are_run(
    settings: LazySettings, command: str, variables: dict[str, str], *, allowed: bool
) -> None:
    settings.EXEC_PLUGINS = ("aws",)
    draft = Draft("kubeconfig", given(token="", exec_=ExecPlugin(V1, command, (), variables)))

    if not allowed:
        with pytest.raises(InvalidError):
            connect(draft=draft)
        return
    connect(draft=draft)
    assert cluster_access.credentials_of(row()).exec_ == draft.credentials.exec_
    settings.EXEC_PLUGINS = ()
    with pytest.raises(cluster_access.UnusableError, match="HETEROSCALE_EXEC_PLUGINS"):
        cluster_access.credentials_of(row())


@pytest.mark.parametrize("role", ["Viewer", "Operator", "Approver", "Policy editor"])
def test_only_administrators_connect_clusters(role: str) -> None:
    with pytest.raises(ForbiddenError, match="role Admin"):
        connect(user=person("eve", role))

    assert not Cluster.objects.exists()


def test_a_simulated_cluster_stays_one() -> None:
    service = make_service("chat")
    Cluster.objects.update(kind="simulated")

    with pytest.raises(ConflictError, match="is simulated"):
        connect(service.cluster.slug)


def test_a_cluster_that_is_acted_on_is_not_disconnected() -> None:
    ada, service = person("ada", "Admin"), make_service("chat", mode="approve")
    slug = service.cluster.slug
    Cluster.objects.update(kind="record")
    connect(slug, user=ada)
    remove = {"user": ada, "reason": "moved"}

    with pytest.raises(ConflictError, match="chat can be changed there"):
        cluster_access.remove(slug, **remove)
    type(service).objects.update(mode="observe")
    cluster_access.remove(slug, **remove)

    assert Cluster.objects.get(slug=slug).kind == "record"
    assert AuditEvent.objects.filter(verb="disconnected a cluster").count() == 1
    with pytest.raises(MissingError):
        cluster_access.remove(slug, **remove)


def test_an_access_of_another_key_says_what_to_do(settings: LazySettings) -> None:
    connect()
    settings.SECRET_KEY = "x" * 50

    with pytest.raises(UnreachableError, match=r"another SECRET_KEY\. Connect") as caught:
        wiring.api_of(row().cluster)

    assert not caught.value.sent


def test_one_who_speaks_to_a_cluster_serves_until_its_access_changes(kube: Double) -> None:
    ada = person("ada", "Admin")
    here = given(server=kube.address, token=kube.token)
    cluster = connect(draft=Draft("token", here), user=ada)

    first = wiring.api_of(cluster)
    assert wiring.api_of(cluster) is first
    assert first.version() == "v1.34.0"
    connect(draft=Draft("token", here), user=ada)
    assert wiring.api_of(cluster) is not first
    cluster_access.remove(cluster.slug, user=ada, reason="over")
    with pytest.raises(UnreachableError, match="Nobody said how eu-1-a is reached"):
        wiring.api_of(cluster)


def test_a_wait_that_one_process_was_told_holds_for_all_k02(kube: Double) -> None:
    draft = Draft("token", given(server=kube.address, token=kube.token))
    cluster = connect(draft=draft)
    ClusterSight.objects.create(cluster=cluster, state="ok", since=timezone.now())
    kube.fault(faults.answer(429, retry_after="30"))

    waits = []
    for _ in range(2):
        # Each with a memory of its own, as processes have.
        with pytest.raises(ThrottledError) as caught:
            wiring.new_api(row()).version()
        waits.append(caught.value.wait_s)

    assert waits[0] == 30.0
    assert 25.0 < waits[1] <= 30.0
    assert len(kube.asked("GET", "/version")) == 1


def test_the_account_of_the_pod_is_read_from_the_pod(
    kube: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, _, port = kube.address.removeprefix("http://").partition(":")
    held = {"TOKEN_FILE": kube.token, "CA_FILE": authority()[0]}
    for name, text in held.items():
        (tmp_path / name).write_text(text)
        monkeypatch.setattr(cluster_access, name, str(tmp_path / name))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)

    connect(draft=Draft("in_cluster"))

    found = cluster_access.credentials_of(row())
    assert found == Credentials(
        f"https://{host}:{port}", held["CA_FILE"], token_file=str(tmp_path / "TOKEN_FILE")
    )
    assert (row().server, row().secret) == (f"https://{host}:{port}", "")
