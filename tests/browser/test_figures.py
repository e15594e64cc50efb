"""Figures in a browser under the strict policy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.template import engines
from django.urls import include, path
from django.utils import timezone
from playwright.sync_api import expect

from tests.charts.scenes import make_afternoon, make_fleet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.test import Client
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.urls("tests.browser.test_figures"),
]
BARE = """{% load static %}<!doctype html><html lang="en-GB" data-theme="light"><head>
<meta charset="utf-8"><title>Figure</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="{% static 'app.css' %}">{% include "controller/_charts.html" %}
</head><body><main>{% include "controller/_figure.html" %}</main></body></html>"""


def bare(request: HttpRequest, name: str) -> HttpResponse:
    params = request.GET.urlencode()
    given = {"name": name, "title": f"Figure {name}", "params": params, "height": "m"}
    return HttpResponse(engines["django"].from_string(BARE).render(given, request))


urlpatterns = [path("bare/<slug:name>/", bare), path("", include("heteroscale_site.urls"))]

WATCH = """
window.refused = [];
addEventListener("securitypolicyviolation", (event) => {
  refused.push(`${event.effectiveDirective} ${event.sample} ${event.target?.outerHTML}`);
});
"""
DRAWN = ".figure-plot.js-plotly-plot .main-svg"
TICK = ".figure-plot .xtick text"


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may report refusals, which the tests look at themselves."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, timezone_id="UTC")
    context.set_default_timeout(30_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def scene(page: Page, client: Client, live_server: object) -> dict[str, str]:
    """A signed-in browser and a busy afternoon; the address of each figure by name."""
    service = make_afternoon(until=timezone.now(), hours=1)
    make_fleet(until=timezone.now(), hours=1)
    client.force_login(User.objects.create_user("ana"))
    page.context.add_cookies(
        [
            {"name": key, "value": cookie.value, "url": live_server.url}  # type: ignore[attr-defined]
            for key, cookie in client.cookies.items()
        ]
    )
    page.add_init_script(WATCH)
    decision = service.decisions.filter(move="scale_out").first()
    queries = {
        "service": "?service=chat",
        "slo-map": "",
        "capacity": "",
        "fleet-trend": "",
        "decision-steps": f"?decision={decision.pk}",
        "decision-window": f"?decision={decision.pk}",
    }
    return {
        name: f"{live_server.url}/bare/{name}/{query}"  # type: ignore[attr-defined]
        for name, query in queries.items()
    }


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("service", "scatter"),
        ("slo-map", "heatmap"),
        ("capacity", "bar"),
        ("fleet-trend", "scatter"),
        ("decision-steps", "bar"),
        ("decision-window", "scatter"),
    ],
)
def test_it_draws_under_the_policy_and_shares_nothing(
    page: Page, scene: dict[str, str], name: str, kind: str
) -> None:
    page.goto(scene[name])
    page.wait_for_selector(DRAWN)
    kinds = page.evaluate(
        "document.querySelector('.figure-plot')._fullData.map((trace) => trace.type)"
    )
    assert set(kinds) == {kind}
    titles = page.evaluate(
        "[...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title || b.ariaLabel)"
    )
    assert titles
    sharing = re.compile("share|cloud|plotly", re.IGNORECASE)
    assert not [title for title in titles if sharing.search(title or "")]
    assert page.evaluate("refused") == []
    expect(page.locator(".figure-note")).to_have_text("")


def test_the_table_opens_by_keyboard_and_sorts(page: Page, scene: dict[str, str]) -> None:
    page.goto(scene["capacity"])
    page.wait_for_selector(DRAWN)
    page.locator(".figure-table summary").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".figure-rows table")
    assert page.locator(".figure-rows tbody tr").count() == 3
    page.get_by_role("button", name="total [GPUs]").click()
    assert page.locator(".figure-rows tbody tr").first.locator("td").nth(1).inner_text() == "H20"
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


def test_colours_follow_the_theme(page: Page, scene: dict[str, str]) -> None:
    page.goto(scene["service"])
    page.wait_for_selector(DRAWN)
    expect(page.locator(TICK).first).to_have_css("fill", "rgb(82, 96, 109)")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    expect(page.locator(TICK).first).to_have_css("fill", "rgb(168, 176, 187)")


def test_a_figure_that_cannot_be_refreshed_keeps_its_last_state(
    page: Page, scene: dict[str, str]
) -> None:
    page.goto(scene["capacity"])
    page.wait_for_selector(DRAWN)
    page.route("**/api/v1/figures/**", lambda route: route.fulfill(status=503, body="busy"))
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_selector(".figure-error")
    said = page.locator(".figure-note").inner_text()
    assert "Not up to date since" in said
    assert "the server answered 503" in said
    assert "Next try at" in said
    assert page.locator(DRAWN).first.is_visible()
    page.unroute("**/api/v1/figures/**")
    page.get_by_role("button", name="Try now").click()
    page.wait_for_selector(".figure:not(.figure-error)")


def test_a_decision_opens_its_page(page: Page, scene: dict[str, str]) -> None:
    page.goto(scene["fleet-trend"])
    page.wait_for_selector(DRAWN)
    page.locator(".figure-plot .scatterlayer .points path").last.click(force=True)
    page.wait_for_url(re.compile(r"/decisions/\d+/$"))
