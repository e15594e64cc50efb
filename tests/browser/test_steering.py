"""Steering in a browser: by keyboard alone, without scripts, and for every reader."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Freeze, Preference, Proposal, Tick
from tests import factories
from tests.services.people import person, waiting

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture
def ana() -> User:
    """An approver, in a fleet whose loop runs."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    return person("ana")


@pytest.fixture
def enter(live_server: LiveServer) -> Callable[[Page, User], None]:
    """Give a page the session of a person."""

    def come_in(page: Page, user: User) -> None:
        client = Client()
        client.force_login(user)
        cookie = client.cookies["sessionid"].value
        page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])

    return come_in


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that fails the test for script errors and refusals, but for one known refusal.

    Plotly tries to add the style of its maps, which no figure of ours draws and the policy
    refuses.
    """
    context = browser.new_context(timezone_id="UTC", locale="en-GB", reduced_motion="reduce")
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if is_fault(line) else None)
    yield opened
    context.close()
    assert not faults


def is_fault(line: ConsoleMessage) -> bool:
    """Return whether a line of the console is an error that is not known."""
    maps = "plotly" in line.location["url"] and "inline style" in line.text
    return line.type == "error" and not maps


@pytest.fixture
def plain(browser: Browser) -> Iterator[Page]:
    """A page without scripts."""
    context = browser.new_context(java_script_enabled=False)
    yield context.new_page()
    context.close()


def tab_to(page: Page, selector: str, *, most: int = 60) -> None:
    """Press Tab until the element has the focus."""
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("s => document.activeElement.matches(s)", selector):
            return
    pytest.fail(f"{selector} is not reached by {most} tabs")


def test_a_proposal_is_approved_by_keyboard_alone(
    page: Page, live_server: LiveServer, ana: User, enter: Callable[[Page, User], None]
) -> None:
    proposal = waiting()
    enter(page, ana)
    page.goto(f"{live_server.url}/approvals/")

    tab_to(page, "[data-verb=approve]")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Not now"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.dataset.verb") == "approve"
    page.keyboard.press("a")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(f"**/approvals/{proposal.pk}/")

    assert page.get_by_text("Approved decode 4 → 6, prefill 2 → 3 for chat.").is_visible()
    assert Proposal.objects.get().state == "approved"


def test_the_fleet_is_frozen_by_keyboard_alone(
    page: Page, live_server: LiveServer, ana: User, enter: Callable[[Page, User], None]
) -> None:
    enter(page, ana)
    page.goto(f"{live_server.url}/freeze/")

    tab_to(page, "main input[name=reason]")
    page.keyboard.type(" 8812")
    page.keyboard.press("Control+Enter")
    page.wait_for_url(f"{live_server.url}/freeze/?scope=fleet")

    assert Freeze.objects.get().reason.endswith("8812")


def test_without_scripts_approving_rejecting_and_freezing_are_plain_forms(
    plain: Page, live_server: LiveServer, ana: User, enter: Callable[[Page, User], None]
) -> None:
    first, second = waiting("chat"), waiting("other")
    enter(plain, ana)

    plain.goto(f"{live_server.url}/approvals/")
    plain.locator(f"#proposal-{first.pk} [data-verb=approve]").click()
    plain.locator("form#approve button.primary").click()
    assert "Approved decode" in plain.content()
    plain.goto(f"{live_server.url}/approvals/{second.pk}/")
    plain.fill("form#reject input[name=reason]", "a load test")
    plain.locator("form#reject button").click()
    assert "Rejected" in plain.content()
    plain.goto(f"{live_server.url}/freeze/")
    plain.locator("main form button.stop").click()

    assert set(Proposal.objects.values_list("state", flat=True)) == {"approved", "rejected"}
    assert Freeze.objects.get().reason == "incident"


def test_a_proposal_that_runs_out_while_it_is_read_loses_its_buttons(
    page: Page, live_server: LiveServer, ana: User, enter: Callable[[Page, User], None]
) -> None:
    waiting(left_s=4)
    enter(page, ana)
    page.goto(f"{live_server.url}/approvals/")

    page.get_by_text("expired just now").wait_for()

    assert page.locator("[data-verb]").count() == 0


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_no_page_shuts_anybody_out(  # noqa: PLR0913, PLR0917 - fixtures and the two axes
    page: Page,
    live_server: LiveServer,
    ana: User,
    enter: Callable[[Page, User], None],
    theme: str,
    width: int,
) -> None:
    proposal = waiting(needs=2, needs_why="it is large", from_decode=8)
    done = waiting("other", state="rejected", closed_at=timezone.now())
    waiting("late", state="expired", expires_at=timezone.now() - timedelta(hours=1))
    Preference.objects.create(user=ana, theme=theme)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]

    found = {}
    for path in (
        "/sign-in/",
        "/approvals/",
        "/approvals/?tab=decided",
        f"/approvals/{proposal.pk}/",
        f"/approvals/{done.pk}/",
        f"/approvals/{proposal.pk}/change/",
        "/approvals/?tab=open",
        "/approvals/?tab=requests",
        "/approvals/rules/",
        "/services/chat/propose/?prefill=3&decode=6",
        "/decisions/",
        "/decisions/?move=rebalance",
        f"/decisions/{proposal.decision_id}/",
        "/freeze/",
        "/resume/",
    ):
        page.goto(live_server.url + path)
        found[path] = {
            violation["id"]: [node["html"][:120] for node in violation["nodes"]]
            for violation in Axe().run(page, options=RULES).response["violations"]
        }
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        if path == "/sign-in/":
            enter(page, ana)
    assert not {path: faults for path, faults in found.items() if faults}


def test_the_administration_obeys_the_content_security_policy(
    page: Page, live_server: LiveServer, enter: Callable[[Page, User], None]
) -> None:
    service = waiting().service
    node = factories.make_nodes(service.cluster, factories.make_hardware())[0]
    root = User.objects.create_superuser("root", password="x")
    enter(page, root)

    for path in (
        "",
        "inventory/node/",
        f"inventory/node/{node.pk}/change/",
        f"inventory/service/{service.pk}/change/",
        "controller/decision/",
    ):
        page.goto(f"{live_server.url}/admin/{path}")
