"""From no metrics to a figure by a query of one's own, in a browser and a real Prometheus."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import product
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone

from controller import wiring
from controller.models import EndpointStatus, ServiceStatus, Tick
from inventory.models import MetricsEndpoint
from tests import factories
from tests.adapters.prometheus.fleets import tokens
from tests.browser.conftest import enter
from tests.prometheus import NOW_S, PROMTOOL, SERVER, rising, running
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}
OWN = 'sum(rate(vllm:generation_tokens_total{service="$service",role="decode"}[$window])) * 2'


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prometheus that knows two decode instances of chat."""
    if not (SERVER and PROMTOOL):
        pytest.skip("no Prometheus: install it (Debian's package prometheus)")
    history = [
        *(tokens("chat", f"d-{at}", rising(100.0 + 20.0 * at)) for at in range(2)),
        *(tokens("chat", f"d-{at}", [3.0] * 9, name="vllm:num_requests_running") for at in (0, 1)),
    ]
    with running(
        tmp_path_factory.mktemp("prometheus"), sorted(history, key=attrgetter("name"))
    ) as address:
        yield address


@pytest.fixture(autouse=True)
def chat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service of three decode instances, at the time of the history."""
    monkeypatch.setattr(wiring, "database_now", lambda: datetime.fromtimestamp(NOW_S, UTC))
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    factories.make_service("chat")
    ServiceStatus.objects.update(decode_ready=3, prefill_ready=0)


def everybody_can_read(page: Page) -> None:
    """Hold a page against axe and its width, in both themes and widths."""
    page.evaluate(Axe().axe_script)
    for theme, width in product(("light", "dark"), (1280, 390)):
        page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        page.set_viewport_size({"width": width, "height": 800})
        found: dict[str, Any] = page.evaluate("rules => axe.run(document, rules)", RULES)
        wrong = {each["id"]: each["nodes"] for each in found["violations"]}
        assert wrong == {}, f"{page.url} {theme} {width}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    page.set_viewport_size({"width": 1280, "height": 800})


def test_from_no_metrics_to_a_figure_by_ones_own_query(  # noqa: PLR0915 - one path
    page: Page, live_server: LiveServer, prometheus: str
) -> None:
    enter(page, live_server, person("ada", "Admin"))
    page.goto(f"{live_server.url}/sources/")
    page.get_by_text("No metrics source yet").wait_for()
    everybody_can_read(page)
    page.get_by_role("link", name="Add a Prometheus…").click()
    page.get_by_label("Name", exact=True).fill("eu-1")
    everybody_can_read(page)
    page.get_by_label("Address").fill(prometheus)
    page.get_by_role("button", name="Add", exact=True).click()
    page.get_by_role("heading", name="eu-1", exact=True).wait_for()

    page.get_by_role("button", name="Test eu-1").click()
    page.locator("#tried").get_by_text("It knows 1 of 1 service by name.").wait_for()
    everybody_can_read(page)
    page.locator("#tried").get_by_role("link", name="chat").click()

    page.get_by_label("read from it").check()
    page.get_by_role("checkbox", name="vllm").check()
    page.locator("#uses-reason").fill("it has them")
    page.get_by_role("button", name="Test", exact=True).click()
    # 100 + 120 tokens a second.
    page.locator("#tried").get_by_text("220 tok/s").wait_for()
    everybody_can_read(page)
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("chat reads so from the next tick on.").wait_for()

    page.get_by_role("link", name="decode throughput").click()
    page.get_by_label("PromQL").fill(f"{OWN} offset 1h")
    page.get_by_role("button", name="Test", exact=True).click()
    page.locator("#tried .note.crit").wait_for()
    page.get_by_label("PromQL").fill(OWN)
    page.get_by_role("button", name="Test", exact=True).click()
    page.locator("#tried").get_by_text("440 tok/s").wait_for()
    everybody_can_read(page)
    page.locator("#reason").fill("twice")
    page.get_by_role("button", name="Save", exact=True).click()
    page.get_by_text("decode throughput is read by this query").wait_for()
    page.get_by_text("own query").wait_for()


def test_the_list_fits_and_can_be_read(page: Page, live_server: LiveServer) -> None:
    now = timezone.now()
    for name, state in (("eu-1", "ok"), ("eu-2-with-a-long-name", "failed"), ("eu-3", "partial")):
        row = factories.make_source(name, url=f"https://{name}.a-long-domain.example.org/prefix")
        EndpointStatus.objects.create(
            endpoint=row,
            state=state,
            since=now,
            asked_at=now,
            again_at=now,
            failures=3,
            took_ms=412.0,
            told=["It can't be reached."] if state == "failed" else [],
        )
    MetricsEndpoint.objects.create(
        slug="direct",
        kind="scrape",
        targets=[
            {"url": f"http://10.0.0.{at}:8000/metrics", "service": "chat"} for at in range(3)
        ],
    )
    enter(page, live_server, person("ada", "Admin"))
    for path in ("/sources/", "/sources/direct/", "/sources/direct/remove/"):
        page.goto(f"{live_server.url}{path}")
        everybody_can_read(page)
