"""Fixtures that many tests use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django_rq
import pytest
from django.conf import settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = next(
    filter(
        None,
        (
            os.environ.get("CHROMIUM"),
            *(shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")),
        ),
    ),
    None,
)
OWN_HOST = ("http://localhost", "http://127.0.0.1", "data:", "blob:", "about:")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The directory with traces and other large data sets."""
    directory: Path = settings.SHARED
    if not directory.is_dir():
        pytest.skip(f"{directory} is not there: name it in HETEROSCALE_SHARED")
    return directory


@pytest.fixture
def broker() -> Iterator[None]:
    """An empty broker, emptied again afterwards."""
    connection = django_rq.get_connection("default")
    connection.flushdb()
    yield
    connection.flushdb()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests of pages."""
    if CHROMIUM is None:
        pytest.skip("no Chromium: install it or name it in CHROMIUM")
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - slow, and not always needed

    # Chromium refuses its sandbox to root.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield opened
        opened.close()


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
    # Refusals by the content security policy arrive here.
    opened.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    opened.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(OWN_HOST)
            else faults.append(f"left the host: {request.url}")
        ),
    )
    yield opened
    context.close()
    assert not faults
