"""Clusters that are connected: pages in every state, and the way to a service that is observed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from django.test import Client
from django.utils import timezone

from controller.core.readings.detection import detect
from controller.models import AuditEvent, ClusterSight
from controller.models.clock import database_now
from controller.services import detecting
from inventory.models import Cluster, ClusterAccess, ImportRun, Node, Service, Workload
from tests.clusters_of_kubernetes import make_kube_service
from tests.factories import (
    make_access,
    make_decision,
    make_hardware,
    make_nodes,
    make_service,
    make_source,
)
from tests.kube import Double, Rule, deployment, faults
from tests.pages.reading import reading, words
from tests.pages.test_detection import a_survey
from tests.services.people import person

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_django import DjangoAssertNumQueries

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin() -> Client:
    made = Client()
    made.force_login(person("ada", "Admin"))
    return made


@pytest.fixture
def viewer() -> Client:
    made = Client()
    made.force_login(person("vic", "Viewer"))
    return made


def typed(kube: Double, **more: str) -> dict[str, str]:
    return {
        "slug": "eu-1",
        "way": "token",
        "server": kube.address,
        "secret_token": kube.token,
        **more,
    }


def connect(client: Client, kube: Double) -> None:
    assert client.post("/clusters/new/", typed(kube)).status_code == 302


def test_a_pasted_kubeconfig_connects_and_its_secret_is_on_no_page(
    admin: Client, kube: Double, tmp_path: Path
) -> None:
    pasted = kube.kubeconfig(tmp_path / "config").read_text()

    answer = admin.post(
        "/clusters/new/",
        {"slug": "eu-1", "way": "kubeconfig", "secret_kubeconfig": pasted, "namespaces": "prod"},
        follow=True,
    )

    page = words(answer.text)
    assert answer.redirect_chain[-1][0] == "/clusters/eu-1/"
    assert "eu-1 is connected. Nothing that is needed lacks." in page
    assert "We are kubernetes-admin." in page
    assert "not seen yet" in page
    assert kube.token not in answer.text
    assert kube.token not in admin.get("/clusters/eu-1/edit/").text
    assert ClusterAccess.objects.get().namespaces == ["prod"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"way": "kubeconfig", "secret_kubeconfig": "a: 1"}, "This is no kubeconfig"),
        ({"server": "http://10.0.0.1"}, "would go over the wire as it is"),
        ({"slug": "a b"}, "Name the cluster with at most"),
        ({"namespaces": "Prod"}, "Use at most 63 small letters"),
        ({"way": "in_cluster"}, "This runs in no pod"),
    ],
)
def test_what_can_not_be_used_is_told_at_its_field(
    admin: Client, kube: Double, sent: dict[str, str], said: str
) -> None:
    answer = admin.post("/clusters/new/", typed(kube) | sent)

    assert answer.status_code == 400
    assert said in words(answer.text)
    assert kube.token not in answer.text
    assert not Cluster.objects.exists()


def test_everybody_may_look_and_only_administrators_may_change(viewer: Client) -> None:
    make_access()

    page = reading(viewer, "/clusters/k8s-1/")

    assert "connecting clusters and checking rights there needs the role Admin" in page
    assert "not asked yet" in page
    assert "https://127.0.0.1:1" in page
    assert viewer.post("/clusters/k8s-1/check/").status_code == 403


@pytest.mark.parametrize(
    ("sight", "said"),
    [
        pytest.param(None, "not seen yet", id="never seen"),
        pytest.param({"state": "ok", "heard": 5}, "answers Last known whole", id="fine"),
        pytest.param({"state": "ok", "heard": 300}, "not looked at for a while since", id="stale"),
        pytest.param(
            {"state": "partial", "heard": 5, "told": ["list pods lacks."]},
            "answers in part",
            id="forbidden in part",
        ),
        pytest.param(
            {"state": "failed", "heard": 3600, "told": ["Nobody listens there."]},
            "does not answer since",
            id="dead",
        ),
    ],
)
def test_how_it_answers_is_said_in_words(
    viewer: Client, sight: dict[str, Any] | None, said: str
) -> None:
    access, now = make_access(), timezone.now()
    if sight:
        ClusterSight.objects.create(
            cluster=access.cluster,
            state=sight["state"],
            since=now - timedelta(hours=1),
            heard_at=now - timedelta(seconds=sight["heard"]),
            told=sight.get("told", []),
            nodes=16,
        )

    page, listed = (reading(viewer, path) for path in ("/clusters/k8s-1/", "/clusters/"))

    assert said in page
    assert said.partition(" Last")[0] in listed
    for text in (sight or {}).get("told", []):
        assert text in page


def test_how_it_answers_is_told_again_while_the_page_is_open(viewer: Client) -> None:
    access, now = make_access(), timezone.now()
    asked = {"HX-Request": "true"}

    first = viewer.get("/clusters/k8s-1/", headers=asked)
    same = viewer.get("/clusters/k8s-1/", headers=asked | {"If-None-Match": first["ETag"]})
    ClusterSight.objects.create(cluster=access.cluster, state="ok", since=now, heard_at=now)
    then = viewer.get("/clusters/k8s-1/", headers=asked | {"If-None-Match": first["ETag"]})

    assert ("not seen yet" in first.text, "<html" in first.text) == (True, False)
    assert same.status_code == 304
    assert "answers" in then.text


def test_the_list_costs_the_same_for_many(
    viewer: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    make_access("k8s-1")
    reading(viewer, "/clusters/")
    with django_assert_num_queries(13) as one:
        reading(viewer, "/clusters/")
    for at in (2, 3):
        make_access(f"k8s-{at}")
    with django_assert_num_queries(len(one)):
        reading(viewer, "/clusters/")


def test_rights_that_lack_are_named_with_what_they_are_for(admin: Client, kube: Double) -> None:
    looking = Rule(("get", "list", "watch"), ("nodes", "pods", "deployments"))
    token = kube.account("us", [looking])

    answer = admin.post("/clusters/new/", typed(kube, secret_token=token), follow=True)

    page = words(answer.text)
    assert "2 of what is needed lacks" in page
    assert "get, list, watch statefulsets.apps" in page
    assert "Not granted: get, list, watch." in page


def test_a_cluster_that_can_not_be_asked_is_not_called_connected(
    admin: Client, kube: Double
) -> None:
    answer = admin.post("/clusters/new/", typed(kube, secret_token="wrong"), follow=True)

    page = words(answer.text)
    assert "eu-1 is kept. It could not be asked: The API server does not know us (401)" in page
    assert "is connected" not in page
    again = words(admin.post("/clusters/eu-1/check/", follow=True).text)
    assert "It was asked anew. It could not be asked: The API server does not know us" in again


def test_a_name_that_is_taken_is_no_way_to_replace_an_access(admin: Client, kube: Double) -> None:
    connect(admin, kube)
    before = ClusterAccess.objects.get()

    answer = admin.post("/clusters/new/", typed(kube, server="https://10.0.0.9:6443"))

    assert answer.status_code == 409
    assert "eu-1 is connected already: edit it there" in words(answer.text)
    after = ClusterAccess.objects.get()
    assert (after.server, after.version) == (before.server, before.version)


@pytest.mark.parametrize(
    ("skew_s", "said"),
    [
        (None, ""),
        (-0.9, "Its clock as ours, within seconds"),
        (-3.04, "Its clock 3.0 s behind ours"),
        (7.0, "Its clock 7.0 s ahead of ours"),
    ],
)
def test_a_clock_is_ahead_or_behind_and_never_less_than_nothing_ahead(
    viewer: Client, skew_s: float | None, said: str
) -> None:
    access = make_access()
    now = timezone.now()
    ClusterSight.objects.create(
        cluster=access.cluster, state="ok", since=now, heard_at=now, skew_s=skew_s
    )

    page = reading(viewer, "/clusters/k8s-1/")

    assert said in page
    assert ("Its clock" in page) == bool(said)


def test_the_manifest_is_for_what_was_chosen(viewer: Client) -> None:
    answer = viewer.get("/clusters/rights.yaml?kind=dynamo&observe=1&namespaces=prod,test")

    roles = [each for each in yaml.safe_load_all(answer.text) if each["kind"] == "Role"]
    assert [role["metadata"]["namespace"] for role in roles] == ["prod", "test"]
    assert "dynamographdeployments" in answer.text
    assert "patch" not in answer.text
    assert answer["Content-Disposition"] == 'attachment; filename="heteroscale-rights.yaml"'
    assert viewer.get("/clusters/rights.yaml?namespaces=A").status_code == 404


def test_nodes_become_a_plan_and_nothing_is_written_before_it_is_applied(
    admin: Client, kube: Double
) -> None:
    connect(admin, kube)

    answer = admin.post("/clusters/eu-1/nodes/", follow=True)

    assert "the nodes of eu-1 would change" in words(answer.text)
    assert "S1 = network.topology.nvidia.com/leaf" in words(answer.text)
    assert not Node.objects.exists()
    run = ImportRun.objects.get()
    applied = {"digest": run.digest, "reason": ""}
    admin.post(f"/imports/{run.pk}/apply/", applied)
    assert Node.objects.filter(cluster__slug="eu-1").count() == 16


def test_one_that_does_not_answer_says_so_where_it_is_asked(admin: Client, kube: Double) -> None:
    connect(admin, kube)
    kube.fault(faults.answer(503), times=None)

    nodes = admin.post("/clusters/eu-1/nodes/")
    picked = admin.get("/clusters/eu-1/services/new/")

    assert nodes.status_code == 502
    assert "list nodes" in words(nodes.text)
    assert picked.status_code == 200
    assert "What runs there can’t be listed." in words(picked.text)


KEYS = {"prefill": "deployment/prod/chat-prefill", "decode": "deployment/prod/chat-decode"}


def wish(**more: Any) -> dict[str, Any]:
    role = {"hardware": "h100-8", "gpus": 2, "minimum": 1, "maximum": 8}
    both = {f"{name}_{field}": value for name in KEYS for field, value in role.items()}
    goals = {"ttft_s": 1, "tbt_s": 0.05, "target": 1000, "pd_ratio": 0.5}
    return {**KEYS, **both, **goals, "slug": "chat", "model": "llama", **more}


def test_two_workloads_become_a_service_that_is_observed(admin: Client, kube: Double) -> None:
    kube.put(deployment("prod", "web", 3, gpus=0))
    connect(admin, kube)
    make_hardware("h100-8")

    picked = words(admin.get("/clusters/eu-1/services/new/").text)
    shown = admin.get("/clusters/eu-1/services/new/", KEYS)
    answer = admin.post("/clusters/eu-1/services/new/", wish())

    assert "Use chat" in picked
    assert "Use code" in picked
    assert "prod/web" not in picked
    assert "Deployment prod/chat-decode (decode by its name, chat-decode): 4 now" in words(
        shown.text
    )
    assert 'name="pd_ratio" value="0.5"' in shown.text
    assert (answer.status_code, answer["Location"]) == (302, "/services/chat/")
    service = Service.objects.get()
    assert (service.mode, service.cluster.slug, service.max_gpus) == ("observe", "eu-1", 32)
    assert {(row.role, str(row)) for row in Workload.objects.all()} == {
        ("prefill", "prod/chat-prefill"),
        ("decode", "prod/chat-decode"),
    }
    assert AuditEvent.objects.get(verb="set up").after["decode"] == KEYS["decode"]
    assert "prod/chat-decode" in reading(admin, "/clusters/eu-1/")


def test_goals_and_metrics_are_those_that_a_prometheus_showed(admin: Client, kube: Double) -> None:
    connect(admin, kube)
    make_hardware("h100-8")
    source, ada = make_source("eu-prom"), person("bo", "Admin")
    detecting.keep(source, detect(a_survey()), took_ms=1.0, user=ada)
    found = next(each for each in detect(a_survey()).proposals if each.slug == "chat")

    shown = admin.get("/clusters/eu-1/services/new/", KEYS)
    given = shown.context["form"].initial
    body = {name: given[name] for name in ("ttft_s", "tbt_s", "target", "pd_ratio")}
    admin.post("/clusters/eu-1/services/new/", wish(**body, source="eu-prom", found="chat"))

    assert "by what eu-prom showed in 24 h" in words(shown.text)
    assert found.ttft is not None
    assert (given["ttft_s"], given["target"]) == (found.ttft.value_s, found.target)
    use = Service.objects.get(slug="chat").metrics.get()
    assert (use.endpoint.slug, use.presets) == ("eu-prom", list(found.presets))


QWEN = {role: f"deployment/prod/qwen3-32b-fp8-{role}" for role in ("prefill", "decode")}
TP2 = "qwen3-32b-fp8/h100-tp2-derived"
STRESS = "Target and ratio by the stress test of curation with"


def profiles(name: str) -> dict[str, str]:
    return {f"{role}_profile": name for role in KEYS}


def test_a_profile_that_fits_proposes_target_and_ratio_and_is_kept(
    admin: Client, kube: Double
) -> None:
    for role, count in (("prefill", 3), ("decode", 3)):
        kube.put(deployment("prod", f"qwen3-32b-fp8-{role}", count, gpus=2))
    connect(admin, kube)
    make_hardware("h100-8")
    make_nodes(Cluster.objects.get(), make_hardware("h100-8"), 2)

    shown = admin.get("/clusters/eu-1/services/new/", QWEN)
    given = shown.context["form"].initial
    body = {name: given[name] for name in ("target", "pd_ratio", *profiles(""))}
    admin.post("/clusters/eu-1/services/new/", wish(**QWEN, **body))

    # 6 instances of 2 GPUs run.
    said = f"{STRESS} {TP2}: of 12 GPUs "
    assert said in words(shown.text)
    assert "of 2,000 prompt and 300 generated tokens each, as is usual" in words(shown.text)
    assert f'<option value="{TP2}" selected>' in shown.text
    assert "Goals are usual: look for services at a Prometheus first." in words(shown.text)
    assert "nothing is measured yet" not in words(shown.text)
    service = Service.objects.select_related("policy").get()
    assert service.policy.target == given["target"] not in {1000, None}
    assert service.policy.pd_ratio == given["pd_ratio"] != 1.0
    assert set(service.roles.values_list("profile", flat=True)) == {TP2}
    assert AuditEvent.objects.get(verb="set up").after["decode_profile"] == TP2


def test_lengths_that_a_prometheus_counted_are_those_that_are_played(
    admin: Client, kube: Double
) -> None:
    connect(admin, kube)
    make_nodes(Cluster.objects.get(), make_hardware("h100-8"), 2)
    kept = detecting.keep(
        make_source("eu-prom"), detect(a_survey()), took_ms=1.0, user=person("bo", "Admin")
    )
    (chat,) = (each for each in kept.found["services"] if each["slug"] == "chat")
    # 2 requests/s: 8,000 / 2 prompt tokens and 1,000 / 2 generated ones of each.
    means = {"requests": 2.0, "prefilled": 8000.0, "output": 1000.0}
    chat["load"] = {what: {"mean": mean, "peak": mean} for what, mean in means.items()}
    chat["models"], chat["slo"]["ttft_s"]["goal"] = ["Qwen/Qwen3-32B-FP8"], 2.0
    kept.save()

    shown = admin.get("/clusters/eu-1/services/new/", KEYS)

    text = words(shown.text)
    assert "of 4,000 prompt and 500 generated tokens each, as eu-prom showed." in text
    assert "Goals by what eu-prom showed in 24 h." in text
    assert shown.context["form"].initial["decode_profile"] == TP2
    assert shown.context["form"].initial["target"] != chat["target"]


def test_where_no_name_tells_the_model_none_is_taken_until_a_person_chooses(
    admin: Client, kube: Double
) -> None:
    connect(admin, kube)
    make_nodes(Cluster.objects.get(), make_hardware("h100-8"), 2)
    typed = wish(**profiles(TP2), tbt_s=0.02)

    shown = admin.get("/clusters/eu-1/services/new/", KEYS)
    chosen = admin.post("/clusters/eu-1/services/new/", typed | {"reckon": "1"})
    given = chosen.context["form"].initial

    assert "no name tells its model: choose one for each role" in words(shown.text)
    assert shown.context["form"].initial["target"] == 1000
    assert shown.text.index(f'value="{TP2}"') < shown.text.index('<optgroup label="others">')
    assert f"{STRESS} {TP2}" in words(chosen.text)
    assert given["target"] not in {1000, None}
    assert (given["tbt_s"], given["decode_maximum"]) == (0.02, 8), "what is typed stays"
    assert not Service.objects.exists()


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"ttft_s": 0.01}, "is hardly in reach of", id="TTFT"),
        pytest.param({"tbt_s": 0.001}, "can't keep the TBT goal", id="TBT"),
        pytest.param({"decode_profile": ""}, "Goals and target are usual values", id="one role"),
    ],
)
def test_what_can_not_be_reckoned_stays_as_it_was_typed(
    admin: Client, kube: Double, more: dict[str, Any], said: str
) -> None:
    connect(admin, kube)
    make_hardware("h100-8")
    typed = wish(**{**profiles(TP2), "target": 777, "reckon": "1", **more})

    answer = admin.post("/clusters/eu-1/services/new/", typed)

    assert answer.status_code == 200
    assert said in words(answer.text).replace("&#x27;", "'")
    assert answer.context["form"].initial["target"] == 777


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"decode_profile": "no-such"}, "Select a valid choice"),
        ({"decode_minimum": 9}, "The minimum 9 is above the maximum 8."),
        ({"slug": "a b"}, "valid"),
        ({"ttft_s": 0}, "greater than or equal"),
        ({"prefill": KEYS["decode"]}, "already holds the prefill instances"),
    ],
)
def test_a_service_that_can_not_be_is_refused_whole(
    admin: Client, kube: Double, more: dict[str, Any], said: str
) -> None:
    connect(admin, kube)
    make_hardware("h100-8")

    answer = admin.post("/clusters/eu-1/services/new/", wish(**more))

    assert answer.status_code == 400
    assert said in words(answer.text)
    assert not Service.objects.exists()


def test_what_would_have_been_done_leads_to_acting(admin: Client) -> None:
    service = make_service("chat", mode="observe")
    now = timezone.now()
    for seq, gate in enumerate(("record", "record", "none"), start=11):
        make_decision(service, seq=seq, gate=gate, raw_decode=6, first_at=now, last_at=now)
    make_decision(service, seq=14, first_at=now, last_at=now)

    page = reading(admin, "/services/chat/act/")
    setup = reading(admin, "/setup/")
    sent = {"mode": "approve", "seen": "observe", "reason": "looks right"}
    admin.post("/services/chat/act/", sent)
    again = admin.post("/services/chat/act/", sent | {"mode": "automatic"})

    assert "3 changes recorded, 2 would have been made" in page
    assert "chat: 3 changes recorded, 2 would have been made." in setup
    assert Service.objects.get().mode == "approve"
    assert again.status_code == 409
    assert "chat is in mode approve by now" in words(again.text)
    event = AuditEvent.objects.get(verb="changed the mode of")
    assert (event.before, event.after) == ({"mode": "observe"}, {"mode": "approve"})


def test_a_cluster_is_left_alone_and_forgotten_with_a_reason(admin: Client) -> None:
    make_access()

    assert admin.post("/clusters/k8s-1/watch/", {"watching": "0"}).status_code == 400
    admin.post("/clusters/k8s-1/watch/", {"watching": "0", "reason": "moved"})
    assert "not looked at" in reading(admin, "/clusters/k8s-1/")
    admin.post("/clusters/k8s-1/remove/", {"reason": "moved"})

    assert admin.get("/clusters/k8s-1/").status_code == 404
    assert Cluster.objects.get().kind == "record"


@pytest.mark.parametrize(
    ("state", "ago_s", "said"),
    [
        pytest.param("failed", 90, "does not answer. It hangs. Nothing is decided for", id="dead"),
        pytest.param("partial", 5, "answers in part. It hangs.", id="in part"),
        pytest.param("ok", 90, "not looked at for a while. Nobody watches it", id="no watcher"),
        pytest.param("ok", 5, "", id="well"),
    ],
)
def test_a_cluster_that_does_not_answer_needs_attention(
    viewer: Client, state: str, ago_s: int, said: str
) -> None:
    make_kube_service("chat")
    now = database_now()
    at = now - timedelta(seconds=ago_s)
    ClusterSight.objects.create(
        cluster=Cluster.objects.get(), state=state, since=at, heard_at=at, told=["It hangs."]
    )
    page = viewer.get("/").text
    assert ("Cluster k-1" in page) == bool(said)
    assert said in page
