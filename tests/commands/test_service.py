"""The command ``service``: what runs in a cluster becomes a service, and is let be changed."""

from __future__ import annotations

import json
from io import StringIO
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from controller.models import AuditEvent
from inventory.models import Cluster, Policy, RoleSpec, Service, Workload
from tests.factories import make_hardware, make_nodes
from tests.kube import deployment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kube import Double

pytestmark = pytest.mark.django_db
PAIR = ("--prefill", "deployment/prod/chat-prefill", "--decode", "deployment/prod/chat-decode")


@pytest.fixture
def eu(kube: Double, tmp_path: Path) -> Double:
    """A double that is connected as ``eu``."""
    config = str(kube.kubeconfig(tmp_path / "config"))
    call_command("cluster", "add", "eu", "--kubeconfig", config, stdout=StringIO())
    return kube


def service(*line: str) -> str:
    out = StringIO()
    call_command("service", *line, stdout=out)
    return out.getvalue()


@pytest.mark.usefixtures("eu")
def test_what_runs_there_is_listed_with_pairs() -> None:
    said = service("workloads", "--cluster", "eu").splitlines()

    assert (
        "deployment/prod/chat-decode: 4 now, 2 GPUs each, decode by its name, chat-decode" in said
    )
    assert f"chat: {' '.join(PAIR)}" in said
    told = json.loads(service("workloads", "--cluster", "eu", "--json"))
    assert [each["role"] for each in told["workloads"]] == ["decode", "prefill"] * 2


@pytest.mark.usefixtures("eu")
def test_a_service_is_set_up_with_what_is_proposed_and_what_is_said() -> None:
    cluster = _cluster_with_nodes()

    said = service("add", "chat", "--cluster", "eu", *PAIR, "--ttft", "2", "--decode-maximum", "9")

    assert said.startswith("chat is observed")
    assert f"on h100-8, as most nodes of {cluster} are" in said
    found = Service.objects.get()
    assert (found.mode, found.cluster.slug, found.slo.ttft_s) == ("observe", "eu", 2.0)
    roles = {row.role: (row.gpus_per_instance, row.maximum) for row in RoleSpec.objects.all()}
    # Prefill: 2 instances now, room for twice as many.
    assert roles == {"prefill": (2, 4), "decode": (2, 9)}
    assert Policy.objects.get().pd_ratio == 0.5
    assert Workload.objects.count() == 2


def test_a_service_is_set_up_with_the_speeds_of_its_engines(eu: Double) -> None:
    _cluster_with_nodes()
    more = [f"more-{role}" for role in ("prefill", "decode")]
    eu.put(*(deployment("prod", each, 2, gpus=2) for each in more))
    name = "qwen3-32b/h100-tp2"
    both = ("--prefill-profile", name, "--decode-profile", name)

    told = service("add", "chat", "--cluster", "eu", *PAIR, *both, "--ratio", "3")
    by_model = service(
        "add", "code", "--cluster", "eu", *_pair("code"), "--model", "Qwen/Qwen3-32B"
    )
    none = ("--decode-profile", "none", "--model", "Qwen/Qwen3-32B")
    without = service("add", "more", "--cluster", "eu", *_pair("more"), *none)

    said = f"Target and ratio by the stress test of curation with {name}: of "
    assert said in told
    assert said in by_model
    assert "Goals and target are usual values" in without
    found = {row.service.slug: (row.target, row.pd_ratio) for row in Policy.objects.all()}
    assert 1000 not in {found["chat"][0], found["code"][0]}
    assert found["more"] == (1000, 1)
    assert found["chat"][1] == 3 != found["code"][1], "what is given stands"
    assert dict(
        RoleSpec.objects.filter(role="decode").values_list("service__slug", "profile")
    ) == {
        "chat": name,
        "code": name,
        "more": "",
    }


def _pair(name: str) -> tuple[str, ...]:
    return tuple(word.replace("chat", name) for word in PAIR)


def _cluster_with_nodes() -> str:
    row = Cluster.objects.get(slug="eu")
    make_nodes(row, make_hardware("h100-8"), 2)
    return row.slug


@pytest.mark.usefixtures("eu")
@pytest.mark.parametrize(
    ("line", "said", "status"),
    [
        (("add", "c", "--cluster", "us", *PAIR), "--cluster: No cluster 'us'", 2),
        (
            ("add", "c", "--cluster", "eu", "--prefill", "x", "--decode", "y"),
            "--prefill: 'x' is not among the workloads there",
            2,
        ),
        (("add", "c", "--cluster", "eu", *PAIR), "--prefill-hardware: None is known", 2),
        (("would", "none"), "NAME: There is no service 'none'", 2),
        (("mode", "none", "approve", "--reason", "x"), "There is no service none.", 1),
    ],
)
def test_what_can_not_be_done_is_said(line: tuple[str, ...], said: str, status: int) -> None:
    with pytest.raises(CommandError) as caught:
        service(*line)

    assert str(caught.value).startswith(said)
    assert caught.value.returncode == status


@pytest.mark.usefixtures("eu")
def test_a_profile_that_nobody_keeps_is_refused() -> None:
    _cluster_with_nodes()
    with pytest.raises(CommandError, match=r"^--decode-profile: There is no engine profile"):
        service("add", "chat", "--cluster", "eu", *PAIR, "--decode-profile", "qwen9")
    assert not Service.objects.exists()


@pytest.mark.usefixtures("eu")
def test_from_observing_to_acting() -> None:
    _cluster_with_nodes()
    service("add", "chat", "--cluster", "eu", *PAIR)

    assert service("would", "chat").startswith("0 changes recorded in 7 days, 0 would have been")
    assert service("mode", "chat", "approve", "--reason", "ready") == (
        "chat is in mode approve from now on.\n"
    )
    assert service("mode", "chat", "approve", "--reason", "ready") == "chat is in mode approve.\n"
    event = AuditEvent.objects.get(verb="changed the mode of")
    assert event.actor.startswith("command line (")
