"""A drain ends when nothing is in flight, as the endpoints of the service tell it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.conf import LazySettings
from pytest_django import DjangoAssertNumQueries

from controller import wiring
from controller.core.lifecycle import ActionState
from controller.core.reach import Reach
from controller.models import EndpointStatus
from controller.models.clock import database_now
from inventory.models import MetricsEndpoint, Service, Workload
from tests.adapters.scrape.fleet import Exporters, exporting, ok
from tests.factories import make_service, make_source
from tests.loop.test_soft import OUT, Scene

pytestmark = pytest.mark.django_db
GOING = ("d-3", "d-2")


@pytest.fixture
def exporters(settings: LazySettings) -> Iterator[Exporters]:
    settings.METRICS_REACH = Reach()
    with exporting() as found:
        yield found


def page(running: float) -> bytes:
    return ok(
        f"vllm:num_requests_running {running}\nvllm:num_requests_waiting 0\n"
        "vllm:kv_cache_usage_perc 0\n"
    )


def scraped(exporters: Exporters, service: Service, slug: str = "eu-1") -> MetricsEndpoint:
    """Return an endpoint of which every decode instance is a target."""
    targets = [
        {"url": f"{exporters.base}/d-{at}", "instance": f"d-{at}", "service": service.slug}
        for at in range(4)
    ]
    return make_source(slug, service, kind="scrape", url="", targets=targets)


def test_it_is_sent_before_its_deadline_once_those_that_go_are_idle(exporters: Exporters) -> None:
    scene = Scene()
    scraped(exporters, scene.service)
    scene.run()
    scene.pass_s(61)
    for said, state in (
        ({"d-2": page(0), "d-3": page(2)}, OUT),
        ({"d-2": page(0), "d-3": ok("up 1\n")}, OUT),
        ({"d-2": page(0), "d-3": page(0)}, ActionState.APPLIED),
    ):
        exporters.says = said
        scene.look()
        assert scene.run(load_of=wiring.load_of) == state
    # 61 s of 60 + 300 s; those that stay were not asked.
    paths = {re.split(r"[ /]+", head)[1] for head in exporters.asked}
    assert paths == set(GOING)


def test_nobody_is_asked_while_they_are_only_watched(exporters: Exporters) -> None:
    scene = Scene()
    scraped(exporters, scene.service)
    exporters.says = dict.fromkeys(GOING, page(0))
    scene.run()
    scene.pass_s(59)
    scene.look()
    assert scene.run(load_of=wiring.load_of) == OUT
    assert exporters.asked == []


def disable(row: MetricsEndpoint) -> None:
    MetricsEndpoint.objects.filter(pk=row.pk).update(enabled=False)


def use_another_preset(row: MetricsEndpoint) -> None:
    row.uses.update(presets=["trtllm"])


def use_no_preset_there_is(row: MetricsEndpoint) -> None:
    row.uses.update(presets=["none"])


def let_it_rest(row: MetricsEndpoint) -> None:
    now = database_now()
    again = now + timedelta(minutes=1)
    EndpointStatus.objects.create(
        endpoint=row, state="failed", since=now, asked_at=now, failures=5, again_at=again
    )


def spoil_its_targets(row: MetricsEndpoint) -> None:
    MetricsEndpoint.objects.filter(pk=row.pk).update(targets=7)


def make_it_a_group(row: MetricsEndpoint) -> None:
    service = row.uses.get().service
    Workload.objects.create(service=service, role="decode", kind="leaderworkerset", name="d")


@pytest.mark.parametrize(
    "what",
    [
        disable,
        use_another_preset,
        use_no_preset_there_is,
        let_it_rest,
        spoil_its_targets,
        make_it_a_group,
    ],
)
def test_unknown_is_not_zero_and_raises_nothing(exporters: Exporters, what: Any) -> None:
    service = make_service()
    row = scraped(exporters, service)
    exporters.says = dict.fromkeys(GOING, page(0))
    assert wiring.load_of(service, GOING) == 0
    asked = len(exporters.asked)
    what(row)
    assert wiring.load_of(service, GOING) is None
    assert len(exporters.asked) == asked


def test_one_that_is_late_is_waited_for_no_longer_than_allowed(
    exporters: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wiring, "LOAD_S", 0.2)
    service = make_service()
    scraped(exporters, service)
    exporters.says = {"d-2": page(0), "d-3": None}
    assert wiring.load_of(service, GOING) is None


def test_a_fault_of_one_endpoint_is_none_of_another(
    exporters: Exporters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one raises what nobody expects, the other knows both."""
    service = make_service()
    scraped(exporters, service)
    make_source("us-1", service)
    exporters.says = dict.fromkeys(GOING, page(1))

    def fail(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("controller.wiring.endpoint_of", fail)
    assert wiring.load_of(service, GOING) == 2
    disable(MetricsEndpoint.objects.get(slug="eu-1"))
    assert wiring.load_of(service, GOING) is None


def test_it_costs_few_queries(
    exporters: Exporters, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    service = make_service()
    scraped(exporters, service)
    exporters.says = dict.fromkeys(GOING, page(1))
    with django_assert_num_queries(6):
        assert wiring.load_of(service, GOING) == 2


def test_workers_ask_so() -> None:
    assert wiring.softly().load_of is wiring.load_of
