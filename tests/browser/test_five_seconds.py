"""The five answers of the overview are seen without scrolling, on a desk and on a phone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.browser.conftest import enter
from tests.services.people import person
from tests.six_states import STATES, make_state

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
SCREENS: Final = ((1280, 720), (390, 844))
PARTS: Final = "#strip, .attention h2, .calm"
"""Where the answers stand; the pill of the mode and what it says are parts of the strip."""


@pytest.mark.parametrize("state", STATES)
def test_every_answer_is_on_the_first_screen(
    page: Page, live_server: LiveServer, state: str
) -> None:
    make_state(state)
    enter(page, live_server, person("ana"))
    page.goto(f"{live_server.url}/")

    unseen = []
    for width, height in SCREENS:
        page.set_viewport_size({"width": width, "height": height})
        for answer in STATES[state].texts:
            found = page.locator(PARTS).get_by_text(answer.split(" by ")[0]).first
            box = found.bounding_box()
            if box is None or box["y"] + box["height"] > height or box["x"] + box["width"] > width:
                unseen.append((answer, width, box))
    assert unseen == []
