"""Live pages in a browser: what moves, what must not, and what is said when nobody answers."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django.live_server_helper import LiveServer

from controller.models import Freeze, ServiceStatus, Tick
from tests import factories

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.django_db(transaction=True)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@pytest.fixture
def person(db: None) -> User:  # noqa: ARG001 - the fixture opens the database
    return User.objects.create_superuser("ana", password="a long enough phrase")


@pytest.fixture
def site(live_server: LiveServer, client: Client, person: User, page: Page) -> str:
    """The address of the product, with ana signed in and one service that runs."""
    now = timezone.now()
    service = factories.make_service("chat")
    factories.make_samples(service, until=now, count=120, step_s=60)
    factories.make_decision(service, move="scale_out", sentence="Decode 4 → 6.")
    status = ServiceStatus.objects.get(service=service)
    for signal in status.signals.values():
        signal["measured_at_s"] = now.timestamp()
    status.observed_at = now
    status.save()
    factories.make_pools(service.cluster, factories.make_hardware(), at=now)
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    client.force_login(person)
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    return live_server.url


def ask_again(page: Page) -> None:
    """Ask for every live region now, as the page does when a reader comes back."""
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_the_strip_tells_a_freeze_without_a_reload(site: str, page: Page, person: User) -> None:
    page.goto(f"{site}/services/")
    assert page.locator("[data-strip]").get_attribute("data-mode") == "acting"
    Freeze.objects.create(by=person, by_name="ana", reason="incident", since=timezone.now())
    ask_again(page)
    page.locator("[data-strip][data-mode=frozen]").wait_for()
    assert page.title() == "■ frozen — Services"
    assert "favicon-warn" in (page.locator("link[rel=icon]").get_attribute("href") or "")
    assert "frozen" in page.locator("#announce").inner_text()


def test_the_heartbeat_counts_and_turns_amber_and_red(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.clock.install()
    page.reload()
    page.evaluate("document.querySelectorAll('[data-live]').forEach(e => e.dataset.live = 9999)")
    page.clock.run_for(40_000)
    assert "warn" in (page.locator("[data-beat]").get_attribute("class") or "")
    page.clock.run_for(30_000)
    assert "crit" in (page.locator("[data-beat]").get_attribute("class") or "")


def test_a_region_with_focus_waits_for_the_reader(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.locator("a[data-row]").first.focus()
    ServiceStatus.objects.update(decode_ready=7)
    ask_again(page)
    chip = page.get_by_role("button", name="Updates waiting")
    chip.wait_for()
    assert "7" not in page.locator("[data-k=decode]").inner_text()
    chip.click()
    page.locator("[data-k=decode] b", has_text="7").wait_for()
    assert chip.count() == 0


def test_an_unchanged_region_keeps_its_nodes(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    with page.expect_response("**/services/"):
        ask_again(page)
    page.wait_for_timeout(100)
    page.evaluate("document.querySelector('table.services').dataset.mine = 'kept'")
    with page.expect_response("**/services/") as answer:
        ask_again(page)
    assert answer.value.status == 304
    page.wait_for_timeout(100)
    assert page.locator("table.services").get_attribute("data-mine") == "kept"


def test_pausing_stops_every_request_until_resumed(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.keyboard.press(".")
    assert page.locator("#paused").is_visible()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    ask_again(page)
    page.wait_for_timeout(1_500)
    assert asked == []
    with page.expect_response("**/strip/"):
        page.keyboard.press(".")
    assert page.locator("#paused").is_hidden()


def test_keys_move_and_go_but_not_while_typing(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.keyboard.press("j")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "/services/chat/"
    page.get_by_label("Text").focus()
    page.keyboard.type("g.?")
    assert page.get_by_label("Text").input_value() == "g.?"
    assert page.locator("dialog[open]").count() == 0
    page.get_by_label("Text").blur()
    page.keyboard.press("?")
    assert "Go to the services" in page.locator("dialog#keys").inner_text()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("o")
    page.wait_for_url(f"{site}/")


def test_freezing_is_two_actions_and_the_safe_one_has_the_focus(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.locator("#open-freeze").click()
    assert page.evaluate("document.activeElement.textContent") == "Keep running"
    page.get_by_role("button", name="Freeze the fleet").click()
    page.locator("[data-strip][data-mode=frozen]").wait_for()
    assert Freeze.objects.filter(service=None, ended_at=None).exists()


def test_the_theme_toggle_is_kept_by_the_server(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.get_by_role("button", name="Theme: system").click()
    page.locator("html[data-theme=light]").wait_for(state="attached")


def test_a_page_nobody_answers_says_how_old_it_is(site: str, page: Page) -> None:
    page.goto(f"{site}/services/")
    page.route("**/strip/", lambda route: route.fulfill(status=204))
    page.route("**/services/", lambda route: route.fulfill(status=204))
    page.evaluate(
        """() => {
          const strip = document.querySelector("#strip");
          const lost = new CustomEvent("htmx:afterRequest",
            {bubbles: true, detail: {elt: strip, successful: false}});
          strip.dispatchEvent(lost); strip.dispatchEvent(lost);
        }"""
    )
    assert "reconnecting" in page.locator("#lost").inner_text()
    ask_again(page)
    page.locator("#lost").wait_for(state="hidden")


def test_everything_that_steers_works_without_scripts(
    site: str, browser: Browser, page: Page
) -> None:
    cookies = [
        {"name": each["name"], "value": each["value"], "url": site}
        for each in page.context.cookies()
    ]
    with browser.new_context(java_script_enabled=False) as context:
        context.add_cookies(cookies)  # type: ignore[arg-type]
        plain = context.new_page()
        plain.goto(f"{site}/services/chat/")
        plain.get_by_role("link", name="Freeze chat…").click()
        assert plain.url == f"{site}/services/chat/freeze/"


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (320, "dark")])
@pytest.mark.parametrize("path", ["/", "/services/", "/services/chat/"])
def test_pages_are_accessible_and_never_scroll_sideways(
    site: str, page: Page, path: str, width: int, theme: str
) -> None:
    factories.make_proposal(
        factories.make_service("search", mode="approve"),
        expires_at=timezone.now() + timedelta(minutes=5),
    )
    page.emulate_media(color_scheme="light" if theme == "light" else "dark")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(site + path)
    page.wait_for_load_state("networkidle")
    options = {"runOnly": RULES, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    told = [(each["id"], [node["target"] for node in each["nodes"]][:3]) for each in found]
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
