"""A page for pages with figures: Plotly tries one style the policy refuses, for maps we lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from django.test import Client

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from playwright.sync_api import Browser, ConsoleMessage, Page
    from pytest_django.live_server_helper import LiveServer

OWN_HOST = ("http://localhost", "http://127.0.0.1", "data:", "blob:", "about:")


def is_fault(line: ConsoleMessage) -> bool:
    """Return whether a line of the console is an error other than Plotly's refused map style."""
    known = "plotly" in line.location["url"] and "inline style" in line.text
    return line.type == "error" and not known


def enter(page: Page, live_server: LiveServer, user: User) -> None:
    """Give a page the session of a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": live_server.url}])


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that fails the test for script errors, refusals and requests elsewhere."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 800},
        timezone_id="UTC",
        locale="en-GB",
        reduced_motion="reduce",
    )
    context.set_default_timeout(30_000)
    opened = context.new_page()
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if is_fault(line) else None)
    opened.on(
        "request",
        lambda request: (
            None if request.url.startswith(OWN_HOST) else faults.append(f"left: {request.url}")
        ),
    )
    yield opened
    context.close()
    assert not faults
