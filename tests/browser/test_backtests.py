"""A backtest in a browser: asked by clicking, watched without reloading, read by everybody."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller import tasks
from controller.models import Backtest, Preference, Tick
from controller.services import backtest_jobs
from tests.backtests import make_backtest
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}


@pytest.fixture
def otto() -> User:
    """An operator, in a fleet whose loop runs."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    return person("otto", "Operator")


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without scripts."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def enter(page: Page, server: LiveServer, user: User) -> None:
    """Give a page the session of a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])


def ask(page: Page, server: LiveServer) -> Backtest:
    """Ask for a quarter of an hour of generated load by clicking."""
    page.goto(f"{server.url}/backtests/")
    page.locator("main a.button.primary", has_text="New backtest…").first.click()
    page.get_by_label("a generated load").check()
    page.get_by_label("Length [h]").fill("0.25")
    page.locator("button", has_text="Start the backtest").click()
    page.wait_for_url("**/backtests/*-*/")
    return Backtest.objects.get()


def first_line(page: Page, link: str) -> str:
    """Return the first line of the file a link gives."""
    with page.expect_download() as download:
        page.get_by_role("link", name=link, exact=True).click()
    return download.value.path().read_text(encoding="utf-8").splitlines()[0]


def test_a_backtest_is_asked_watched_and_read(
    page: Page, live_server: LiveServer, otto: User
) -> None:
    enter(page, live_server, otto)
    row = ask(page, live_server)
    assert page.get_by_text("It starts as soon as a worker is free.").is_visible()

    backtest_jobs._claim(row.pk)
    mine = Backtest.objects.filter(pk=row.pk)
    mine.update(progress_frac=0.42)
    page.locator(".progress-line b", has_text="42 %").wait_for()
    mine.update(state="queued", started_at=None, heartbeat_at=None)
    tasks.run_backtest(str(row.pk))
    page.locator("h1", has_text="of requests within both goals").wait_for()

    assert page.locator("[data-live-name=backtest]").count() == 0
    page.locator(".js-plotly-plot").nth(1).wait_for()
    for figure, heading in (("backtest", "load [requests/s]"), ("backtest-frontier", "× bound")):
        box = page.locator(f"[data-figure*='/{figure}?']")
        box.locator("summary").click()
        box.locator("th", has_text=heading).wait_for()
    assert first_line(page, "Scores as CSV").startswith("policy,gpu_hours [GPU-hours],")
    assert first_line(page, "Time series as CSV").startswith("policy,t [s],load [requests/s],")


def test_the_legend_hides_a_policy_in_every_panel(
    page: Page, live_server: LiveServer, otto: User
) -> None:
    row = make_backtest(otto, "done")
    enter(page, live_server, otto)
    page.goto(f"{live_server.url}/backtests/{row.pk}/")
    page.locator(".legendtoggle").nth(1).click()

    page.wait_for_function(
        """() => document.querySelector("[data-figure*='/backtest?'] .figure-plot")._fullData
            .filter((line) => line.name === "default")
            .every((line) => line.visible === "legendonly")"""
    )


def test_without_scripts_it_is_asked_cancelled_and_read(
    plain: Page, live_server: LiveServer, otto: User
) -> None:
    enter(plain, live_server, otto)
    ask(plain, live_server)
    plain.locator("button", has_text="Cancel this backtest").click()
    assert "Cancelled by otto" in plain.content()

    plain.goto(f"{live_server.url}/backtests/{make_backtest(otto, 'done').pk}/")
    plain.locator("th a", has_text="GPU-hours").click()
    assert plain.locator("th[aria-sort=ascending]").count() == 1


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_reader_can_use_every_page(
    page: Page, live_server: LiveServer, otto: User, theme: str, width: int
) -> None:
    Preference.objects.create(user=otto, theme=theme)
    done, failed = make_backtest(otto, "done"), make_backtest(otto, "failed", error="too long")
    running = make_backtest(otto, "running")
    other = f"{failed.pk}/" if theme == "light" else f"{running.pk}/"
    enter(page, live_server, otto)

    for path in ("", "new/", f"{done.pk}/", other):
        page.goto(f"{live_server.url}/backtests/{path}")
        if path == f"{done.pk}/":
            page.locator(".js-plotly-plot").nth(1).wait_for()
        page.set_viewport_size({"width": width, "height": 800})
        # Figures follow a new width a moment later.
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page, options=RULES)
        assert not found.response["violations"], (path, width, found.generate_report())
