"""The metrics tab of a service, tested against a real Prometheus before anything is saved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller import wiring
from controller.models import AuditEvent, ServiceStatus
from controller.services.service_metrics import mark_of
from inventory.models import MetricsEndpoint, Service, ServiceMetrics, WrittenQuery
from tests.adapters.prometheus.fleets import tokens
from tests.factories import make_service, make_source
from tests.pages.reading import reading, words
from tests.prometheus import NOW_S, PROMTOOL, SERVER, rising, running
from tests.services.people import person

pytestmark = pytest.mark.django_db
TAB = "/services/chat/metrics/"
FIGURE = f"{TAB}decode_tps/"
OWN = 'sum(rate(vllm:generation_tokens_total{service="$service",role="decode"}[$window])) * 2'
DECODE = "vllm:num_requests_running"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus with three decode instances, of which one counts no tokens."""
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    history = [
        tokens("chat", "d-0", rising(100.0)),
        tokens("chat", "d-1", rising(120.0)),
        *(tokens("chat", f"d-{at}", [3.0] * 9, name=DECODE) for at in range(3)),
    ]
    root = tmp_path_factory.mktemp("prometheus")
    with running(root, sorted(history, key=attrgetter("name"))) as address:
        yield address


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Service:
    """A service whose metrics are those of the history."""
    monkeypatch.setattr(wiring, "database_now", lambda: datetime.fromtimestamp(NOW_S, UTC))
    service = make_service("chat")
    ServiceStatus.objects.update(decode_ready=3, prefill_ready=0)
    return service


@pytest.fixture
def admin() -> Client:
    client = Client()
    client.force_login(person("admin", "Admin"))
    return client


def sent(service: Service, *slugs: str, **changed: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"mark": mark_of(service), "reason": "new", "endpoint": list(slugs)}
    for at, slug in enumerate(slugs, start=1):
        given |= {f"rank-{slug}": str(at), f"preset-{slug}": ["vllm"], f"known-{slug}": ""}
    return given | changed


def test_it_says_what_each_figure_is_made_of_and_what_the_last_look_had(
    admin: Client, chat: Service
) -> None:
    make_source("eu-1", chat)
    ServiceStatus.objects.update(observed_at=timezone.now())
    page = reading(admin, TAB)
    for told in (
        "decode throughput ok 3,900 tok/s",
        "4 of 4",
        "decode rate of `vllm:generation_tokens_total`",
        "no preset has it",
    ):
        assert told in page, told
    figure = reading(admin, FIGURE)
    assert "sum by (service)" in figure
    asked = 'vllm:generation_tokens_total{service=~"chat",role="decode"}'
    assert asked in figure.replace("&quot;", '"')
    assert admin.get(f"{TAB}nothing/").status_code == 404


def test_what_was_read_before_a_change_is_no_figure_of_what_is_read_now(
    admin: Client, chat: Service
) -> None:
    make_source("eu-1", chat)
    make_source("eu-2", chat)
    told = "3,900 tok/s"

    def seen_now() -> bool:
        ServiceStatus.objects.update(observed_at=timezone.now())
        return told in reading(admin, TAB)

    assert seen_now()
    use = ServiceMetrics.objects.get(endpoint__slug="eu-1")
    WrittenQuery.objects.create(use=use, signal="decode_tps", query=OWN)
    assert told not in reading(admin, TAB)
    assert seen_now()
    assert admin.post(FIGURE, {"act": "back", "reason": "why"}).status_code == 302
    assert told not in reading(admin, TAB)
    assert seen_now()
    assert admin.post(TAB, sent(chat, "eu-2")).status_code == 302
    assert told not in reading(admin, TAB)


def test_an_endpoint_with_a_query_of_ones_own_is_not_left(admin: Client, chat: Service) -> None:
    make_source("eu-1", chat)
    make_source("eu-2")
    use = ServiceMetrics.objects.get()
    WrittenQuery.objects.create(use=use, signal="decode_tps", query=OWN)
    answer = admin.post(TAB, sent(chat, "eu-2"))
    assert answer.status_code == 400
    said = "It has a query of its own there for decode throughput: put that back first."
    assert said in words(answer.content.decode())
    assert WrittenQuery.objects.get().query == OWN
    assert ServiceMetrics.objects.get() == use


def test_what_it_reads_is_written_and_told_who_comes_late(admin: Client, chat: Service) -> None:
    make_source("eu-1")
    make_source("eu-2")
    first = sent(chat, "eu-1", "eu-2", **{"known-eu-2": "chat-prod"})
    assert admin.post(TAB, first).status_code == 302
    uses = list(ServiceMetrics.objects.values_list("endpoint__slug", "rank", "known_as"))
    assert uses == [("eu-1", 1, ""), ("eu-2", 2, "chat-prod")]
    event = AuditEvent.objects.get()
    assert (event.service, event.after["eu-2"]) == ("chat", "2: vllm, known as chat-prod")
    late = admin.post(TAB, first | {"endpoint": ["eu-1"]})
    assert late.status_code == 409
    assert "admin changed what it reads" in words(late.content.decode())
    assert admin.post(TAB, sent(chat, "eu-2", **{"known-eu-2": "chat-prod"})).status_code == 302
    assert ServiceMetrics.objects.get().rank == 1
    before = AuditEvent.objects.count()
    assert admin.post(TAB, sent(chat, "eu-2", **{"known-eu-2": "chat-prod"})).status_code == 302
    assert AuditEvent.objects.count() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"rank-eu-1": "x"}, "The order is a whole number"),
        ({"rank-eu-1": "101"}, "The order is a whole number"),
        ({"preset-eu-1": []}, "Choose at least one preset."),
        ({"preset-eu-1": ["moon"]}, "There is no preset moon."),
        ({"known-eu-1": "a" * 300}, "at most 253 characters"),
        ({"endpoint": ["gone"], "rank-gone": "1", "preset-gone": ["vllm"]}, "not there any more"),
        ({"reason": " "}, "Give a reason"),
    ],
)
def test_what_can_not_be_read_is_refused(
    admin: Client, chat: Service, changed: dict[str, Any], said: str
) -> None:
    make_source("eu-1")
    answer = admin.post(TAB, sent(chat, "eu-1") | changed)
    assert answer.status_code == 400
    assert said in words(answer.content.decode())
    assert not ServiceMetrics.objects.exists()


@pytest.mark.parametrize("htmx", [False, True], ids=["whole", "part"])
def test_a_test_says_value_age_coverage_and_who_is_missing_and_saves_nothing(
    admin: Client, chat: Service, prometheus: str, *, htmx: bool
) -> None:
    make_source("eu-1", url=prometheus)
    headers = {"HX-Request": "true"} if htmx else {}
    answer = admin.post(f"{TAB}test/", sent(chat, "eu-1"), headers=headers)
    assert answer.status_code == 200
    page = words(answer.content.decode())
    assert ("Skip to the content" in page) != htmx
    assert "eu-1 answers" in page
    # 100 + 120 tokens a second of two of three instances.
    assert "decode throughput partial 220 tok/s 0 s 2 of 3 d-2 decode rate of" in page
    # Three instances with three requests each; every one of them reports.
    assert "requests in decode ok 9 requests 0 s 3 of 3 —" in page
    assert not ServiceMetrics.objects.exists()
    assert not AuditEvent.objects.exists()


def test_an_endpoint_that_is_not_there_is_told(admin: Client, chat: Service) -> None:
    make_source("eu-1", url="http://127.0.0.1:9")
    page = words(admin.post(f"{TAB}test/", sent(chat, "eu-1")).content.decode())
    assert "eu-1 does not answer" in page
    assert "It can't be reached." in page
    assert "decode throughput missing — — 0 of 3" in page


def test_a_query_is_tested_written_read_and_put_back(
    admin: Client, chat: Service, prometheus: str
) -> None:
    make_source("eu-1", chat, url=prometheus)
    asked = {"endpoint": "eu-1", "query": OWN, "reason": "twice"}
    tested = words(admin.post(FIGURE, asked | {"act": "test"}).content.decode())
    # The double of 100 + 120 tokens a second.
    assert "Value 440 tok/s" in tested
    assert "Report 2 of 3 Missing d-2" in tested
    assert not WrittenQuery.objects.exists()

    assert admin.post(FIGURE, asked | {"act": "save"}).status_code == 302
    assert WrittenQuery.objects.get().query == OWN
    event = AuditEvent.objects.get()
    assert (event.before, event.after) == (
        {"decode_tps": "by preset"},
        {"decode_tps": f"eu-1: {OWN}"},
    )
    page = reading(admin, TAB)
    assert "decode throughput own query" in page
    again = words(admin.post(f"{TAB}test/", sent(chat, "eu-1")).content.decode())
    assert "440 tok/s" in again

    assert admin.post(FIGURE, {"act": "back", "reason": "enough"}).status_code == 302
    assert not WrittenQuery.objects.exists()
    empty = words(admin.post(FIGURE, {"act": "test", "query": ""}).content.decode())
    assert "Value 220 tok/s" in empty


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"query": ""}, "Nothing is written."),
        ({"query": "sum(rate(x[5m])"}, "is not closed"),
        ({"query": "rate(x[5m] offset 1h)"}, "leave it out"),
        ({"query": "x" * 4001}, "4,000 are allowed"),
        ({"query": 'sum(x{a="\x01"})'}, "a character that can't be seen"),
        ({"endpoint": "eu-9"}, "reads from no Prometheus eu-9"),
        ({"reason": ""}, "Give a reason"),
    ],
)
def test_a_query_that_can_not_be_used_is_told_and_kept_on_the_page(
    admin: Client, chat: Service, changed: dict[str, str], said: str
) -> None:
    make_source("eu-1", chat)
    given = {"act": "save", "endpoint": "eu-1", "query": OWN, "reason": "why"} | changed
    answer = admin.post(FIGURE, given)
    assert answer.status_code == 400
    assert said in words(answer.content.decode()).replace("&quot;", '"')
    assert answer.context["query"] == given["query"][:4000]
    assert not WrittenQuery.objects.exists()


@pytest.mark.usefixtures("chat")
def test_the_endpoint_says_its_version_and_whom_it_knows(admin: Client, prometheus: str) -> None:
    make_service("code")
    make_source("eu-1", url=prometheus)
    page = words(admin.post("/sources/eu-1/test/").content.decode())
    assert "eu-1 answers" in page
    assert "version 2." in page
    assert "It knows 1 of 2 services by name." in page
    assert "chat chat 0 3" in page
    part = admin.post("/sources/eu-1/test/", headers={"HX-Request": "true"}).content.decode()
    assert part.lstrip().startswith('<div class="body')


def test_what_it_answers_is_not_shown(admin: Client, chat: Service) -> None:
    """A host that is no Prometheus is told from one by a sentence, not by its page."""
    row = make_source("eu-1", chat, url="http://127.0.0.1:9")
    page = words(admin.post("/sources/eu-1/test/").content.decode())
    assert "eu-1 does not answer" in page
    MetricsEndpoint.objects.filter(pk=row.pk).update(url="http://169.254.169.254")
    assert "never asked" in words(admin.post("/sources/eu-1/test/").content.decode())


def test_queries_are_as_many_for_any_number_of_endpoints(admin: Client, chat: Service) -> None:
    def count(path: str) -> int:
        with CaptureQueriesContext(connection) as found:
            assert admin.get(path).status_code == 200
        return len(found)

    make_source("a", chat)
    count(TAB)
    first, figure = count(TAB), count(FIGURE)
    for name in "bcd":
        make_source(name, chat)
    assert count(TAB) == first
    assert count(FIGURE) == figure


def test_a_reader_sees_all_and_may_do_nothing(chat: Service) -> None:
    make_source("eu-1", chat)
    client = Client()
    client.force_login(person("vera", "Operator"))
    for path in (TAB, FIGURE):
        page = client.get(path).content.decode()
        assert "needs the role Admin" in words(page)
        assert 'hx-post="/services/chat' not in page
