"""A page for pages with figures: Plotly tries one style the policy refuses, for maps we lack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

OWN_HOST = ("http://localhost", "http://127.0.0.1", "data:", "blob:", "about:")


def is_fault(line: ConsoleMessage) -> bool:
    """Return whether a line of the console is an error other than Plotly's refused map style."""
    known = "plotly" in line.location["url"] and "inline style" in line.text
    return line.type == "error" and not known


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
