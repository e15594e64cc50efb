"""The policy tab in a browser: edited, compared while typing, adopted, taken back, readable."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Preference, Tick
from inventory.models import Policy
from inventory.services.policies import body_of
from tests import factories
from tests.backtests import FOUND, answer, make_backtest
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"],
    "resultTypes": ["violations"],
}


@pytest.fixture
def pia() -> User:
    """A policy editor, in a fleet whose loop runs and that has one service."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    factories.make_service("chat")
    return person("pia", "Policy editor")


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without scripts."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def enter(page: Page, server: LiveServer, user: User) -> None:
    """Open the tab as a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(f"{server.url}/services/chat/")
    page.get_by_role("link", name="Policy", exact=True).click()


def add_window(page: Page) -> None:
    """Add a window of weekdays and fill it in."""
    page.get_by_role("button", name="Add a window").click()
    page.locator("[name=window-0-name]").fill("office hours")
    page.locator("[name=window-0-begin]").fill("08:00")
    page.locator("[name=window-0-end]").fill("18:00")
    page.locator("[name=window-0-prefill]").fill("4")
    page.locator("[name=window-0-decode]").fill("8")


def test_a_policy_is_edited_compared_adopted_and_taken_back(
    page: Page, live_server: LiveServer, pia: User
) -> None:
    enter(page, live_server, pia)
    changes = page.locator("#policy-changes")
    page.locator("[name=target]").fill("1e99")
    page.locator("#id_target_error", has_text="give a number from").wait_for()
    page.locator("[name=target]").fill("1200")
    changes.locator("td", has_text="1,200 per instance").wait_for()
    assert page.locator("#id_target_error").inner_text() == ""

    page.locator("[name=name][value=periodic]").check()
    page.locator("#policy-schedule_error", has_text="periodic has no window; add one").wait_for()
    add_window(page)
    changes.locator("td", has_text="at least prefill 4, decode 8").wait_for()

    page.get_by_label("Reason").first.fill("a busier week")
    page.get_by_role("button", name="Adopt as revision 2").click()
    page.get_by_text("Adopted: revision 2 is in force from the next tick on.").wait_for()
    assert Policy.objects.values_list("revision", "name", "target").get() == (
        2,
        "proportional+periodic",
        1200.0,
    )

    page.locator("summary", has_text="Revert to this…").click()
    page.locator("#revert-1-reason").fill("it was calm")
    page.get_by_role("button", name="Revert to revision 1").click()
    page.get_by_text("Reverted: revision 3 has the policy of revision 1.").wait_for()
    assert Policy.objects.values_list("revision", "name", "target").get() == (
        3,
        "proportional",
        1000.0,
    )


def test_what_was_typed_before_the_scripts_came_is_checked_too(
    page: Page, live_server: LiveServer, pia: User
) -> None:
    enter(page, live_server, pia)
    # The scripts of the page that is being left are nobody's to hold.
    page.wait_for_url("**/services/chat/policy/", wait_until="load")
    held: list[Route] = []
    # Playwright takes no method of a list for a handler.
    page.route("**/htmx*.js", lambda route: held.append(route))  # noqa: PLW0108
    page.goto(f"{live_server.url}/services/chat/policy/", wait_until="commit")
    page.locator("[name=target]").fill("1e99")
    for route in held:
        route.continue_()
    page.locator("#id_target_error", has_text="give a number from").wait_for()


def test_what_can_not_be_used_is_told_to_every_reader_and_adopt_waits(
    page: Page, live_server: LiveServer, pia: User
) -> None:
    enter(page, live_server, pia)
    adopt = page.get_by_role("button", name="Adopt as revision 2")
    page.locator("[name=target]").fill("1e99")
    page.locator("[name=target][aria-invalid=true]").wait_for()
    page.get_by_role("status").get_by_text("1 field can't be used yet: Target.").wait_for()
    assert adopt.is_disabled()

    page.locator("[name=target]").fill("1200")
    page.locator("[name=target]:not([aria-invalid])").wait_for()
    assert adopt.is_enabled()


def test_a_curation_is_read_and_put_into_the_form(
    page: Page, live_server: LiveServer, pia: User
) -> None:
    row = make_backtest(pia, "done", found=answer(curation=FOUND))
    body = body_of(Policy.objects.get())
    kept = {"service": "chat", "revision": 1, "body": body, "labels": {}}
    row.asked |= {"policy_tab": kept, "curate": {"gpus": 24, "goal_frac": 0.99}}
    row.save()
    enter(page, live_server, pia)
    page.goto(f"{live_server.url}/services/chat/policy/?simulation={row.pk}")
    page.locator("#simulation .main-svg").first.wait_for()
    page.locator("#simulation summary", has_text="View as table").click()
    page.locator("#simulation .figure-rows td", has_text="146.6").first.wait_for()
    page.get_by_role("link", name="Adopt…").click()
    assert page.locator("[name=pd_ratio]").input_value() == "2.18"
    page.get_by_label("Reason").first.fill("curated")
    page.get_by_role("button", name="Adopt as revision 2").click()
    page.get_by_text("Adopted: revision 2 is in force from the next tick on.").wait_for()
    assert Policy.objects.values_list("revision", "pd_ratio").get() == (2, 2.18)


def test_without_scripts_it_is_edited_checked_and_adopted(
    plain: Page, live_server: LiveServer, pia: User
) -> None:
    enter(plain, live_server, pia)
    plain.locator("[name=name][value=periodic]").check()
    add_window(plain)
    plain.get_by_role("button", name="Check", exact=True).click()
    assert "at least prefill 4, decode 8" in plain.locator("#policy-changes").inner_text()

    plain.get_by_label("Reason").first.fill("office hours")
    plain.get_by_role("button", name="Adopt as revision 2").click()
    assert "Adopted: revision 2" in plain.locator("main").inner_text()
    plain.get_by_role("button", name="Remove window 1").click()
    assert plain.locator("[name=window-0-begin]").count() == 0


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_every_reader_can_use_the_tab(
    page: Page, live_server: LiveServer, pia: User, theme: str, width: int
) -> None:
    Preference.objects.create(user=pia, theme=theme)
    enter(page, live_server, pia)
    add_window(page)
    page.locator("[name=target]").fill("x")
    page.locator("#id_target_error", has_text="give a number from").wait_for()

    page.set_viewport_size({"width": width, "height": 800})
    page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page, options=RULES)
    assert not found.response["violations"], (width, found.generate_report())
