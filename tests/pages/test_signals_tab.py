"""The signals tab as the operator reads it."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import Decision, Sample
from inventory.models import Policy, Service
from tests import factories
from tests.charts.reading import validated
from tests.pages.reading import reading, words
from tests.services.people import person

TAB = "/services/chat/signals/"


@pytest.fixture
def vera(client: Client) -> Client:
    """A viewer who is signed in."""
    client.force_login(person("vera", "Viewer"))
    return client


def watched(
    service: Service, hours: float, *, step_s: float = 15.0, until: datetime | None = None
) -> None:
    """Leave samples of a load on a wave of two hours, 10 to 30 requests a second, up to now."""
    count = round(hours * 3600 / step_s)
    rows = factories.make_samples(
        service, until=until or timezone.now(), count=count, step_s=step_s
    )
    for i, row in enumerate(rows):
        load = 20.0 - 10.0 * math.cos(2 * math.pi * i * step_s / 7_200.0)
        row.request_rps, row.decode_tps = load, 200.0 * load
        row.prefill_tps_uncached, row.prefill_util = 800.0 * load, load / 40.0
    Sample.objects.filter(service=service).delete()
    Sample.objects.bulk_create(rows)


@pytest.mark.django_db
def test_the_tab_says_which_driver_to_use_and_why(vera: Client) -> None:
    service = factories.make_service("chat")
    watched(service, 4)
    Policy.objects.update(driver="decode_util", force_driver=True)

    page = reading(vera, f"{TAB}?range=6h")

    for sentence in (
        "by the last 6 h of this service: 960 samples in",
        "Use decode throughput: it follows the requests with r = 1.00",
        "was read in 100 % of samples",
        "decode GPU utilisation, the driver in force, has no r, because it never moves",
        "decode GPU utilisation driver never moves",
        "uncached prefill throughput follows 1.00 itself",
        "Answer 200 tokens a request, 200 to 200 in eight of ten windows",
    ):
        assert sentence in page, sentence
    assert 'aria-current="page">Signals' in vera.get(TAB).content.decode()
    assert 'href="/services/chat/signals/"' in vera.get("/services/chat/policy/").content.decode()


@pytest.mark.django_db
def test_the_driver_in_force_may_be_the_best(vera: Client) -> None:
    watched(factories.make_service("chat"), 4)
    page = reading(vera, f"{TAB}?range=6h")
    assert "Keep decode throughput, the driver in force: it follows the requests" in page
    assert "no other that may drive has an r more than 0.05 higher." in page


@pytest.mark.django_db
def test_a_tie_advises_no_switch(vera: Client) -> None:
    watched(factories.make_service("chat"), 4)
    Policy.objects.update(driver="prefill_tps_uncached")
    page = reading(vera, f"{TAB}?range=6h")
    assert "Keep uncached prefill throughput, the driver in force" in page
    assert "Use decode throughput" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wave", "share", "verdict"),
    [
        pytest.param(1.0, 0.0, "follows", id="the load itself: r 1"),
        pytest.param(1.0, 0.9, "follows loosely", id="1 / sqrt(1 + 0.81) = 0.74"),
        pytest.param(1.0, 3.0, "does not follow", id="1 / sqrt(1 + 9) = 0.32, above 0"),
        pytest.param(-1.0, 0.0, "does not follow", id="the reverse: r -1"),
    ],
)
def test_a_verdict_is_a_threshold_of_r(
    vera: Client, wave: float, share: float, verdict: str
) -> None:
    service = factories.make_service("chat")
    watched(service, 4)
    for i, row in enumerate(Sample.objects.filter(service=service).order_by("at")):
        angle = 2 * math.pi * i * 15.0 / 7_200.0
        # A wave a quarter of a turn behind goes with the load as little as chance does.
        beside = wave * math.cos(angle) + share * math.sin(angle)
        ttft_s = 2.0 * max(share, 1.0) - beside
        Sample.objects.filter(service=service, at=row.at).update(ttft_s=ttft_s)
    page = reading(vera, f"{TAB}?range=6h")
    assert f"TTFT p95 not a driver {verdict} " in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("hours", "said"),
    [
        pytest.param(0, "No request rate was reported", id="nothing yet"),
        pytest.param(0.25, "windows of 1 min with a request rate; 24 are needed", id="15 min"),
    ],
)
def test_too_little_is_said_and_nothing_is_advised(vera: Client, hours: float, said: str) -> None:
    service = factories.make_service("chat")
    if hours:
        watched(service, hours)
    page = reading(vera, TAB)
    assert f"Too little to advise. {'There are 1' if hours else said}" in page
    assert said in page
    assert "Use decode throughput" not in page


@pytest.mark.django_db
def test_lengths_that_change_are_pointed_out(vera: Client) -> None:
    service = factories.make_service("chat")
    watched(service, 4)
    half = timezone.now() - timedelta(hours=2)
    Sample.objects.filter(at__gte=half).update(decode_tps=9_000.0)
    page = reading(vera, f"{TAB}?range=6h")
    assert "Requests alone say little of this work" in page


@pytest.mark.django_db
def test_what_was_never_reported_is_a_dash_and_not_0(vera: Client) -> None:
    service = factories.make_service("chat")
    watched(service, 4)
    Sample.objects.update(ttft_s=None)
    page = reading(vera, f"{TAB}?range=6h")
    assert "TTFT p95 not a driver not read — — — — — — 0 %, 0 %" in page


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["", "?range=1h", "?range=7d", "?range=9y", "?range=%00"])
def test_any_range_of_the_address_gives_the_page(vera: Client, query: str) -> None:
    watched(factories.make_service("chat"), 1)
    assert "How each went with the load" in reading(vera, f"{TAB}{query}")


@pytest.mark.django_db
def test_a_service_without_a_policy_is_studied_as_well(vera: Client) -> None:
    watched(factories.make_service("chat"), 4)
    Policy.objects.all().delete()
    assert "no driver is in force" in reading(vera, f"{TAB}?range=6h")


@pytest.mark.django_db
def test_the_figure_has_a_panel_a_signal_few_points_and_a_table(vera: Client) -> None:
    watched(factories.make_service("chat"), 160, step_s=120.0)
    answer = vera.get("/api/v1/figures/signals", {"service": "chat", "range": "7d"})
    figure = answer.json()
    assert len(figure["data"]) == 9
    assert len(validated(figure).data) == 9
    assert len(figure["table"]["rows"]) == 400
    assert figure["table"]["note"].startswith("400 of ")
    assert len(figure["table"]["columns"]) == 11
    csv = vera.get("/api/v1/figures/signals", {"service": "chat", "format": "csv"})
    assert csv.content.startswith(b"window from,requests [req/s],decode throughput [tok/s]")


@pytest.mark.django_db
def test_more_samples_and_services_cost_no_further_query(vera: Client) -> None:
    service = factories.make_service("chat")
    costs = []
    for hours in (0.5, 2):
        watched(service, hours)
        vera.get(TAB)
        with CaptureQueriesContext(connection) as queries:
            vera.get(TAB)
        costs.append(len(queries))
        watched(factories.make_service(f"other-{len(costs)}"), 0.5)
    assert costs[0] == costs[1] <= 16


@pytest.mark.django_db
def test_looking_changes_nothing_and_needs_a_session(client: Client) -> None:
    service = factories.make_service("chat")
    assert client.get(TAB).status_code == 302
    client.force_login(person("vera", "Viewer"))
    assert client.post(TAB).status_code == 405
    assert client.get("/services/nowhere/signals/").status_code == 404
    assert "Nothing is here" in words(client.get("/services/nowhere/signals/").content.decode())
    assert not Decision.objects.filter(service=service).exists()
