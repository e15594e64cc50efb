"""Moves in a browser: read on the Approvals page, approved by keyboard, readable for everybody."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Preference, Rearrangement, Tick
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
def ana() -> User:
    """An approver, in a fleet whose loop runs and where moves wait."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=2, fresh=2)
    service = factories.make_service("chat")
    factories.make_nodes(service.cluster, factories.make_hardware(), 2)
    factories.make_service("code")
    Rearrangement.objects.create(
        kind="room",
        service=service,
        key="room:chat",
        body={
            "moves": [
                {
                    "service": "code", "instance": "code-d-1", "role": "decode",
                    "group": "code-g1", "from_nodes": {"h800-000": 2},
                    "to_nodes": {"h800-001": 2}, "cluster": "eu-1-a",
                }
            ],
            "shrinks": [
                {
                    "service": "code", "before": {"prefill": 2, "decode": 4},
                    "after": {"prefill": 2, "decode": 3},
                    "removals": [{"instance": "code-d-9", "why": "the youngest"}],
                }
            ],
        },
        gain={
            "instances": 2,
            "shapes": [
                {
                    "hardware": ["h800"], "gpus": 8, "nodes": 1,
                    "fits": {"before": 0, "after": 1}, "largest": {"before": 0, "after": 1},
                }
            ],
        },
        cost={"instances": 1, "gpus": 2, "gpu_s": 120.0},
        sentence="Move 1 decode instance of code, so that 2 more instances of chat fit.",
        inventory_version=1,
        touched="",
        created_at=now,
        evidence_at=now,
        expires_at=now + timedelta(minutes=30),
    )  # fmt: skip
    return person("ana")


def enter(page: Page, server: LiveServer, user: User) -> None:
    """Open the Approvals page as a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(f"{server.url}/approvals/")


def test_moves_are_approved_by_keyboard(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana)
    assert page.get_by_role("link", name="Approvals 1 waiting").is_visible()

    page.get_by_role("button", name="Approve…").press("Enter")
    assert page.evaluate("document.activeElement.textContent") == "Not now"
    page.get_by_label("Note").fill("before tonight")
    page.keyboard.press("Control+Enter")
    page.wait_for_url("**/approvals/moves/*/")

    assert page.get_by_text("Approved: the moves begin at once").is_visible()
    assert page.get_by_text("before tonight").is_visible()
    row = Rearrangement.objects.get()
    assert (row.state, row.decided_by, row.decided_reason) == ("approved", ana, "before tonight")


def test_moves_are_not_approved_by_escape(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana)
    page.get_by_role("button", name="Approve…").press("Enter")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "Approve…"
    assert Rearrangement.objects.get().state == "pending"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_them_even_on_a_phone(
    page: Page, live_server: LiveServer, ana: User, theme: str
) -> None:
    Preference.objects.create(user=ana, theme=theme)
    enter(page, live_server, ana)
    address = Rearrangement.objects.get().get_absolute_url()
    for path in ("/approvals/", address):
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 800})
            page.goto(f"{live_server.url}{path}")
            found = Axe().run(page, options=RULES)
            assert found.violations_count == 0, found.generate_report()
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
