"""Fixtures that many tests use."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django_rq
import pytest
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.test import TransactionTestCase
from hypothesis import settings as examples
from pytest_django import DjangoDbBlocker

from controller import wiring
from controller.selectors.strip import StripState, read_strip
from controller.services import database_roles, queueing
from heteroscale_site.connections import APPLICATION_USER
from tests.kube.stand import kube
from tests.leftovers import Leftovers

__all__ = ["kube"]

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# A machine that is busy with something else is no fault of what is tested.
examples.register_profile("any machine", deadline=None, max_examples=50)
examples.load_profile("any machine")

LONGEST = ("tests/site/test_up.py", "tests/architecture/test_rules.py")


def pytest_collection_finish() -> None:
    """Leave thousands of collected tests out of every later search for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest: at the end one process would work and the others wait."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


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


@pytest.fixture(scope="session", autouse=True)
def passwords_are_hashed_once() -> Iterator[None]:
    """The product's own way to hash passwords, without the rounds that make it slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PBKDF2PasswordHasher, "iterations", 1)
        yield


@pytest.fixture(scope="session")
def django_db_setup(
    django_db_setup: None,  # noqa: ARG001 - the one of pytest-django, which this follows
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[None]:
    """The database of the tests; what a test commits is taken away by means of our own."""
    with django_db_blocker.unblock():
        leftovers = Leftovers()
        database_roles.grant(APPLICATION_USER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", lambda _: leftovers.take_away())
        yield


@pytest.fixture
def broker() -> Iterator[None]:
    """An empty broker, emptied again afterwards."""
    connection = django_rq.get_connection("default")
    connection.flushdb()
    yield
    connection.flushdb()


@pytest.fixture(autouse=True)
def nothing_known_of_other_tests() -> Iterator[None]:
    """Forget that the broker failed, and close what a test opened to API servers."""
    queueing.LINE.forget()
    yield
    while wiring._OPENED:
        _, (_, api) = wiring._OPENED.popitem()
        api.close()


@pytest.fixture
def strip_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The strip of the first page on every page, where answers matter and not what stands there.

    Half the time of a page that refuses something is its strip, which has tests of its own.
    """
    first: list[StripState] = []

    def read(*asked: Any, **more: Any) -> StripState:
        if not first:
            first.append(read_strip(*asked, **more))
        return first[0]

    monkeypatch.setattr("controller.views.chrome.read_strip", read)


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
