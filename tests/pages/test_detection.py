"""The page that proposes services: who may look and accept, what is written, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.conf import LazySettings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from controller.core.reach import Reach
from controller.core.readings.detection import detect
from controller.core.readings.survey import DAY_S, HOUR_S, QUARTER_S, Row, Survey
from controller.models import AuditEvent, Detected
from controller.services import detecting
from inventory.models import (
    Cluster,
    HardwareType,
    MetricsEndpoint,
    Policy,
    Service,
    ServiceMetrics,
)
from tests.factories import make_cluster, make_hardware, make_service, make_source
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db
LOOKS, HOURS = DAY_S // QUARTER_S + 1, DAY_S // HOUR_S
NAMES = frozenset({"vllm:num_requests_running", "sglang:num_running_reqs", "tgi_queue_size"})
OK, FOUND, BAD, FORBIDDEN, CONFLICT, NO_GATEWAY = 200, 302, 400, 403, 409, 502


def _rows(*labels: dict[str, str], value: float = 1.0, samples: int = LOOKS) -> list[Row]:
    return [Row(each, np.full(samples, value)) for each in labels]


def a_survey() -> Survey:
    """Two services told in two ways, and one that nobody tells."""
    chat = [
        {"service": "chat", "role": role, "instance": f"{role}{at}:80", "model_name": "org/M"}
        for role, many in (("prefill", 1), ("decode", 2))
        for at in range(many)
    ]
    pods = [
        {"namespace": "llm", "pod": f"code-{role}-0", "model_name": "C", "instance": role}
        for role in ("prefill", "decode")
    ]
    buckets = [
        Row({**chat[at], "le": le}, np.full(HOURS, rate))
        for at in range(3)
        for le, rate in (("0.1", 0.0), ("0.2", 10.0), ("+Inf", 10.0))
    ]
    owner = {"exported_namespace": "llm", "modelName": "NVIDIA H20"}
    return Survey(
        NAMES,
        {"vllm": _rows(*chat, *pods), "tgi": _rows({"instance": "t:80", "job": "tgi"})},
        {
            ("vllm", "ttft_s"): buckets,
            ("vllm", "tbt_s"): buckets,
            ("vllm", "output"): _rows(*chat, value=300.0, samples=HOURS),
        },
        gpus=[Row({**owner, "exported_pod": one["pod"]}, np.array([4.0])) for one in pods],
        scrape_s={"vllm": 15.0},
    )


@pytest.fixture(autouse=True)
def anywhere(settings: LazySettings) -> None:
    """This machine itself may be asked."""
    settings.METRICS_REACH = Reach()


@pytest.fixture
def admin(client: Client) -> Client:
    client.force_login(person("ada", "Admin"))
    return client


@pytest.fixture
def source() -> MetricsEndpoint:
    """An endpoint that was looked through."""
    row = make_source("eu-1")
    detecting.keep(row, detect(a_survey()), took_ms=812.0, user=person("bo", "Admin"))
    return row


Send = Callable[..., Any]


@pytest.fixture
def send(admin: Client, source: MetricsEndpoint) -> Send:
    """Accept proposals with what the page has filled in, and what is changed of it."""

    def sent(*accepted: str, **changed: Any) -> Any:
        page = admin.get(reverse("source-detect", args=[source.slug])).context
        body = {"seen": page["seen"]}
        for _, form in page["found"]:
            if form is None:
                continue
            for name in form.fields:
                value = form[name].value()
                body[form.add_prefix(name)] = "" if value is None or value is False else value
        body |= {f"{name}-accept": "on" for name in accepted}
        given = {name.replace("__", "-", 1): value for name, value in changed.items()}
        return admin.post(reverse("source-accept", args=[source.slug]), body | given)

    return sent


def text(answer: Any) -> str:
    return words(answer.content.decode())


def test_before_anybody_looked_the_page_says_what_a_look_takes(admin: Client) -> None:
    make_source("eu-1")
    page = reading(admin, "/sources/eu-1/detect/")
    assert "Nobody has looked yet." in page
    assert "Look now" in page


def test_the_page_has_each_proposal_with_its_evidence(
    admin: Client, source: MetricsEndpoint
) -> None:
    page = reading(admin, f"/sources/{source.slug}/detect/")
    for told in (
        "by bo, in 812 ms",
        "2 instances now, 2 to 2 in 24 h: decode.",
        "its label role is decode; decode0:80 and decode1:80",
        "TTFT p95 0.2 s.",
        "4 GPUs an instance, NVIDIA H20.",
        "add DCGM_FI_PROF_SM_ACTIVE",
        "1 instance for both phases in one",
        "target_label: role",
        "a new one that only records",
    ):
        assert told in page, told
    assert "tgi-accept" not in admin.get(f"/sources/{source.slug}/detect/").content.decode()


def test_looking_and_accepting_need_admin(source: MetricsEndpoint) -> None:
    client = Client()
    client.force_login(person("eve", "Approver"))
    page = reading(client, "/sources/eu-1/detect/")
    assert "needs the role Admin" in page
    for name in ("source-detect", "source-accept"):
        assert client.post(reverse(name, args=[source.slug])).status_code == FORBIDDEN
    assert not Service.objects.exists()


def test_accepted_services_are_whole_observed_and_audited(send: Send) -> None:
    make_hardware("h800")
    assert send("chat", chat__prefill_gpus=2, chat__decode_gpus=4).status_code == FOUND
    service = Service.objects.get()
    assert (service.slug, service.mode, service.model_name) == ("chat", "observe", "org/M")
    # At most 2 × 1 prefill instances of 2 GPUs and 2 × 2 decode ones of 4: 4 + 16.
    assert service.max_gpus == 20
    roles = {
        each.role: (each.hardware.slug, each.gpus_per_instance, each.minimum, each.maximum)
        for each in service.roles.all()
    }
    assert roles == {"prefill": ("h800", 2, 1, 2), "decode": ("h800", 4, 2, 4)}
    assert (service.slo.ttft_s, service.slo.tbt_s) == (0.2, 0.2)
    policy = Policy.objects.get()
    assert (policy.target, policy.pd_ratio, policy.revision) == (300.0, 0.5, 1)
    assert (service.cluster.slug, service.cluster.kind) == ("eu-1", Cluster.Kind.RECORD)
    use = ServiceMetrics.objects.get()
    assert (use.endpoint.slug, use.presets, use.known_as) == ("eu-1", ["vllm"], "")
    verbs = set(AuditEvent.objects.filter(actor="ada").values_list("verb", flat=True))
    assert {"added", "set up as detected", "let read from a source"} <= verbs


def test_services_known_in_another_way_read_from_an_endpoint_of_the_same_address(
    send: Send,
) -> None:
    gpus = dict.fromkeys(("chat__prefill_gpus", "chat__decode_gpus"), 1)
    goals = {"code__ttft_s": 1, "code__tbt_s": 0.05, "code__target": 500}
    assert send("chat", "code", **gpus, **goals).status_code == FOUND
    found = {use.service.slug: use.endpoint for use in ServiceMetrics.objects.all()}
    assert found["chat"].slug == "eu-1"
    assert found["code"].slug == "eu-1-pod"
    assert found["code"].url == found["chat"].url
    assert found["code"].attach["by"] == "pod"
    assert HardwareType.objects.get(slug="nvidia-h20").gpu_model == "NVIDIA H20"


def test_accepted_twice_is_told_and_can_be_connected_instead(send: Send, admin: Client) -> None:
    make_service("chat", cluster=make_cluster(kind="record"))
    answer = send("chat", chat__prefill_gpus=2, chat__decode_gpus=4)
    assert answer.status_code == BAD
    assert "There is a service chat already: tick that it is meant" in text(answer)
    assert not ServiceMetrics.objects.exists()
    assert send("chat", chat__connect="on").status_code == FOUND
    assert ServiceMetrics.objects.get().service.slug == "chat"
    assert Service.objects.get().mode == "automatic"
    assert "chat reads from here." in reading(admin, "/sources/eu-1/detect/")


def test_the_same_form_sent_again_changes_nothing(send: Send) -> None:
    gpus = dict.fromkeys(("chat__prefill_gpus", "chat__decode_gpus"), 1)
    assert send("chat", **gpus).status_code == FOUND
    before = (Service.objects.count(), ServiceMetrics.objects.count(), AuditEvent.objects.count())
    answer = send("chat", **gpus)
    assert answer.status_code == BAD
    assert "choose at least one" in text(answer)
    after = (Service.objects.count(), ServiceMetrics.objects.count(), AuditEvent.objects.count())
    assert after == before


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"chat__decode_minimum": 9}, "The minimum 9 is above the maximum 4."),
        ({"chat__tbt_s": ""}, "This field is required."),
        ({"chat__slug": "no such name"}, "valid “slug”"),
        ({"chat__target": "1e400"}, "Enter a number."),
        ({"chat__prefill_gpus": 2000}, "less than or equal to 1024"),
        ({"chat__new_cluster": ""}, "Choose a cluster, or name the new one."),
        ({"chat__cluster": "nowhere"}, "not one of the available choices"),
        ({"chat__pd_ratio": -1}, "greater than or equal to 0.001"),
    ],
)
def test_bad_input_is_told_at_its_field_and_nothing_is_written(
    send: Send, changed: dict[str, Any], says: str
) -> None:
    answer = send("chat", **{"chat__prefill_gpus": 1, "chat__decode_gpus": 1} | changed)
    assert answer.status_code == BAD
    assert says in text(answer)
    assert "Nothing was set up" in text(answer)
    assert not Service.objects.exists()
    assert not Cluster.objects.exists()


def test_what_was_found_anew_meanwhile_is_a_conflict(send: Send) -> None:
    gpus = dict.fromkeys(("chat__prefill_gpus", "chat__decode_gpus"), 1)
    answer = send("chat", **gpus, seen="2026-01-01T00:00:00+00:00")
    assert answer.status_code == CONFLICT
    assert "bo looked again: nothing was set up" in text(answer)
    assert not Service.objects.exists()


def test_a_proposal_that_is_blocked_can_not_be_accepted_by_hand(send: Send) -> None:
    assert send("tgi").status_code == BAD
    assert not Service.objects.exists()


def test_an_endpoint_that_does_not_answer_is_told(admin: Client) -> None:
    row = make_source("eu-1")
    MetricsEndpoint.objects.filter(pk=row.pk).update(url="http://127.0.0.1:9")
    answer = admin.post("/sources/eu-1/detect/")
    assert answer.status_code == NO_GATEWAY
    assert "eu-1 could not be looked through: It can't be reached." in text(answer)
    assert not Detected.objects.exists()


def test_nothing_found_is_said(admin: Client) -> None:
    row = make_source("eu-1")
    detecting.keep(row, detect(Survey(frozenset())), took_ms=3.0, user=person("bo", "Admin"))
    page = reading(admin, "/sources/eu-1/detect/")
    assert "Is this the Prometheus that scrapes the engines?" in page


@pytest.mark.usefixtures("source")
def test_queries_do_not_grow_with_proposals(admin: Client) -> None:
    def count() -> int:
        with CaptureQueriesContext(connection) as found:
            admin.get("/sources/eu-1/detect/")
        return len(found)

    count()
    few = count()
    kept = Detected.objects.get()
    one = next(each for each in kept.found["services"] if each["slug"] == "chat")
    kept.found["services"] += [
        {**one, "slug": f"s-{at}", "known_as": f"s-{at}"} for at in range(9)
    ]
    kept.save()
    assert count() == few
