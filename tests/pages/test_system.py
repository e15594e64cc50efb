"""What machines read: health, readiness, figures."""

import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from prometheus_client.parser import text_string_to_metric_families

from controller.core.decision_plain import stage_plain
from controller.core.types import Instances, Mode, Stage
from controller.models import Action, DecisionTally, ServiceStatus, Tick
from controller.models.clock import database_now
from tests.clusters_of_kubernetes import NAMESPACE, make_kube_service
from tests.factories import an_instance, make_proposal, make_service, make_suggestion, observe


def figures(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return every sample of ``/metrics`` by name and labels."""
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_healthz_asks_nobody(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


@pytest.mark.django_db
def test_readyz_tells_the_age_of_the_loop(client: Client) -> None:
    assert client.get("/readyz").json() == {
        "ready": True, "database": "ok", "loop": "late: no tick yet", "queue": "ok",
    }  # fmt: skip
    now = database_now()
    Tick.objects.create(slot=1, at=now - timedelta(seconds=300), finished_at=now, epoch=1)
    assert re.fullmatch(r"late: 30[01] s ago", client.get("/readyz").json()["loop"])


@pytest.mark.django_db
def test_figures_are_in_the_text_format_with_their_labels(client: Client) -> None:
    service = make_service("chat")
    make_proposal(make_service("code", mode="approve"))
    ServiceStatus.objects.filter(service=service).update(
        instances=[
            {"name": "chat-decode-1", "role": "decode", "group": "chat-g1", "node": "n-1",
             "state": "ready"}
        ]
    )  # fmt: skip
    DecisionTally.objects.create(move="hold", code="WITHIN_TOLERANCE", total=41)
    now = database_now()
    Tick.objects.create(
        slot=1, at=now - timedelta(seconds=7), finished_at=now, epoch=1, services=4, fresh=3,
        stages_ms={"decide": 250.0},
    )  # fmt: skip
    seen = figures(client)
    assert 7 <= seen["heteroscale_loop_age_seconds", ()] < 60
    assert seen["heteroscale_metrics_fresh_ratio", ()] == 0.75
    assert seen["heteroscale_tick_stage_seconds", (("stage", "decide"),)] == 0.25
    assert (
        seen["heteroscale_decisions_total", (("action", "hold"), ("reason", "WITHIN_TOLERANCE"))]
        == 41
    )
    assert seen["heteroscale_proposals_open", (("state", "pending"),)] == 1
    assert seen["heteroscale_actions", (("state", "unknown"),)] == 0
    info = {
        "service": "chat", "role": "decode", "group": "chat-g1", "namespace": "eu-1-a",
        "pod": "chat-decode-1", "node": "n-1", "state": "ready",
    }  # fmt: skip
    assert seen["heteroscale_instance_info", tuple(sorted(info.items()))] == 1
    ready = (("role", "decode"), ("service", "chat"), ("state", "ready"))
    assert seen["heteroscale_instances", ready] == 4


@pytest.mark.django_db
def test_an_instance_of_a_cluster_is_in_the_namespace_of_its_pods(client: Client) -> None:
    service = make_kube_service("chat")
    observe(service, an_instance("chat-decode-1", "n-1", role="decode"))
    names = [dict(labels) for name, labels in figures(client) if name.endswith("instance_info")]
    assert [(one["namespace"], one["pod"]) for one in names] == [(NAMESPACE, "chat-decode-1")]


@pytest.mark.django_db
def test_what_waits_is_counted_until_its_time_is_over(client: Client) -> None:
    now = database_now()
    for number, left_s in enumerate((-1, 60, 90)):
        service = make_service(f"s{number}")
        stage = Stage(
            before=Instances(10, 2),
            first=Instances(6, 2),
            then=Instances(6, 6),
            since_s=now.timestamp(),
            until_s=now.timestamp() + left_s,
            policy_version=1,
            mode=Mode.AUTOMATIC,
        )
        ServiceStatus.objects.filter(service=service).update(exchange=stage_plain(stage))
        make_suggestion(service, expires_at=now + timedelta(seconds=left_s))
    seen = figures(client)
    assert seen["heteroscale_policy_suggestions_open", ()] == 2
    assert seen["heteroscale_exchanges_waiting", ()] == 2


@pytest.mark.django_db
def test_what_is_unknown_is_not_exported_as_zero(client: Client) -> None:
    ServiceStatus.objects.filter(service=make_service("chat")).update(observed_at=None)
    now = database_now()
    Tick.objects.create(slot=1, at=now, finished_at=now, epoch=1, services=0, fresh=0)
    names = {name for name, _ in figures(client)}
    assert not names & {
        "heteroscale_instances",
        "heteroscale_signal_age_seconds",
        "heteroscale_metrics_fresh_ratio",
    }


@pytest.mark.django_db
def test_an_applied_action_counts_until_it_ends(client: Client) -> None:
    service = make_service("chat")
    for ended_at in (None, database_now()):
        Action.objects.create(
            id=uuid.uuid4(), service=service, actor="ana", epoch=1, state="applied", reason="x",
            from_prefill=2, from_decode=4, to_prefill=3, to_decode=6, resource_version="1",
            recorded_at=database_now(), ended_at=ended_at,
        )  # fmt: skip
    assert figures(client)["heteroscale_actions", (("state", "applied"),)] == 1


@pytest.mark.django_db
def test_the_number_of_queries_does_not_grow_with_the_fleet(client: Client) -> None:
    counts = []
    for fleet in (1, 3):
        for number in range(fleet):
            make_service(f"s{fleet}-{number}")
        with CaptureQueriesContext(connection) as queries:
            client.get("/metrics")
        counts.append(len(queries))
    assert counts[0] == counts[1]
