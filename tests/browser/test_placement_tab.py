"""The placement tab in a browser: read and drawn, changed with a reason, readable by everybody."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Preference, Proposal, Tick
from inventory.models import LocalityDomain, Node, Service
from tests import factories
from tests.factories import a_placement, an_instance, make_binding, observe
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def pia() -> User:
    """A policy editor, in a fleet with a service of two groups, one of them under two S1."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    service = factories.make_service("chat")
    hardware = factories.make_hardware()
    nodes = factories.make_nodes(service.cluster, hardware, 8)
    s2 = LocalityDomain.objects.get(level="S2")
    other = LocalityDomain.objects.create(
        cluster=service.cluster, level="S1", key="s1-02", name="s1-02", parent=s2
    )
    Node.objects.filter(name__in=[f"h800-{at:03}" for at in (5, 6, 7)]).update(s1_domain=other)
    Node.objects.filter(name="h800-006").update(health="unknown")
    Node.objects.filter(name="h800-001").update(admin_state="cordoned", admin_reason="fan")
    make_binding(service, nodes[3], 0, 4)
    make_binding(service, nodes[2], 0, 2, instance="chat-d-2", place="chat-d-2")
    observe(
        service,
        *(an_instance(f"chat-p-{at}", f"h800-{at:03}") for at in (0, 1)),
        *(an_instance(f"chat-d-{at}", f"h800-{at:03}") for at in (0, 1, 5)),
        an_instance("chat-d-2", "ghost-1", group="chat-g2", state="starting"),
        an_instance("chat-p-3", "h800-006", group="chat-g2"),
    )
    short = {
        "prefill": 0,
        "decode": 2,
        "code": "FRAGMENTED",
        "sentence": "8 GPUs are free, no two together.",
        "would_fit_if": "one instance moved off h800-002.",
    }
    factories.make_proposal(
        service,
        placement=a_placement(unplaced=short),
        evidence_at=now,
        expires_at=now + timedelta(minutes=9),
    )
    return person("pia", "Policy editor")


def enter(page: Page, server: LiveServer, user: User) -> None:
    """Open the tab as a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(f"{server.url}/services/chat/")
    page.get_by_role("link", name="Placement", exact=True).first.click()


def test_the_rules_are_changed_on_the_tab(page: Page, live_server: LiveServer, pia: User) -> None:
    enter(page, live_server, pia)
    page.locator("summary", has_text="Change…").click()
    page.get_by_label("A group shares one").select_option("s1")
    page.get_by_label("Spread over", exact=True).select_option("s1")
    page.get_by_label("Reason").fill("two switches failed")
    page.get_by_role("button", name="Save").click()
    page.get_by_text("Saved: what is placed from now on keeps to it").wait_for()
    assert Service.objects.values_list("affinity_level", "spread_level").get() == ("s1", "s1")


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_read_it_even_on_a_phone(
    page: Page, live_server: LiveServer, pia: User, theme: str, width: int
) -> None:
    Preference.objects.create(user=pia, theme=theme)
    address = Proposal.objects.get().get_absolute_url()
    enter(page, live_server, pia)
    page.set_viewport_size({"width": width, "height": 800})
    for path in ("/services/chat/placement/", address):
        page.goto(f"{live_server.url}{path}")
        if path != address:
            page.locator(".main-svg").first.wait_for()
        for folded in page.locator("main details").all():
            folded.evaluate("each => { each.open = true; }")
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
