"""A policy suggestion in a browser: read on the Approvals page, adopted by keyboard, readable."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import PolicySuggestion, Preference, Tick
from inventory.models import Policy
from tests import factories
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture
def pia() -> User:
    """A policy editor, in a fleet whose loop runs and that has one suggestion."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    factories.make_suggestion(factories.make_service(policy={"adapt": "propose"}))
    return person("pia", "Policy editor")


def enter(page: Page, server: LiveServer, user: User) -> None:
    """Open the Approvals page as a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(f"{server.url}/approvals/")


def test_a_suggestion_is_adopted_by_keyboard(
    page: Page, live_server: LiveServer, pia: User
) -> None:
    enter(page, live_server, pia)
    assert page.get_by_role("link", name="Approvals 1 waiting").is_visible()

    page.get_by_role("button", name="Adopt…").press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Not now"
    page.get_by_label("Note").fill("as measured")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/services/chat/policy/")

    assert page.get_by_text("Adopted: revision 2 is in force from the next tick on.").is_visible()
    assert page.get_by_text("“as measured”").is_visible()
    assert Policy.objects.get().pd_ratio == 0.62
    assert PolicySuggestion.objects.get().state == "adopted"


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_read_it_even_on_a_phone(
    page: Page, live_server: LiveServer, pia: User, theme: str, width: int
) -> None:
    Preference.objects.create(user=pia, theme=theme)
    enter(page, live_server, pia)
    address = PolicySuggestion.objects.get().get_absolute_url()
    for path in ("/approvals/", address, "/services/chat/policy/"):
        page.set_viewport_size({"width": width, "height": 800})
        page.goto(f"{live_server.url}{path}")
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
