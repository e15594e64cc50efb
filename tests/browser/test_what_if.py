"""What if in a browser: the answer follows the form and the address, and everybody can read it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Preference, Tick
from inventory.models import Service
from tests import factories
from tests.factories import an_instance, observe
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"]}


@pytest.fixture
def ana() -> User:
    """A viewer of six nodes, on which chat outranks the batch that holds most of them."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=2, fresh=2)
    chat = factories.make_service("chat", priority=5)
    low = factories.make_service("batch-summaries", limits={"minimum": 0})
    factories.make_nodes(chat.cluster, factories.make_hardware(), 6)
    observe(
        chat,
        *(an_instance(f"chat-p-{at}", "h800-000") for at in range(2)),
        *(an_instance(f"chat-d-{at}", f"h800-00{at}") for at in range(3)),
    )
    observe(
        low,
        *(an_instance(f"low-p-{at}", f"h800-00{3 + at // 4}", group="b") for at in range(5)),
        *(an_instance(f"low-d-{at}", f"h800-00{4 + at // 3}", group="b") for at in range(6)),
    )
    Service.objects.update(affinity_required=True, affinity_level="s1")
    return person("ana", "Viewer")


def enter(page: Page, server: LiveServer, user: User, path: str) -> None:
    """Open a page as a person."""
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(f"{server.url}{path}")


def test_the_answer_follows_what_is_asked(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana, "/fleet/capacity/")
    page.get_by_role("link", name="What if", exact=True).click()
    page.get_by_text("How much more fits now").wait_for()
    page.get_by_label("more or less of a service").check()
    page.get_by_label("Service", exact=True).select_option("chat")
    page.locator("main").get_by_text("chat prefill +1, decode +2: all of it has room.").wait_for()
    page.locator("#id_decode").fill("9999")
    page.locator("#id_decode_error", has_text="less than or equal to 1000").wait_for()
    assert page.locator("#id_decode").get_attribute("aria-invalid") == "true"
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    page.locator("#id_decode").fill("5")
    page.locator("main").get_by_text("chat decode +5: all of it has room.").wait_for()
    page.locator("#announce", has_text="chat decode +5: all of it has room.").wait_for(
        state="attached"
    )
    page.wait_for_url("**/fleet/what-if/?ask=grow&service=chat&decode=5")
    page.reload()
    page.locator("main").get_by_text("chat decode +5: all of it has room.").wait_for()
    page.get_by_label("something is gone").check()
    page.get_by_label("What is gone").select_option("rack")
    page.get_by_label("Called").fill("r01")
    page.locator("main").get_by_text("6 nodes with 48 GPUs would be gone").wait_for()


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_read_it_even_on_a_phone(
    page: Page, live_server: LiveServer, ana: User, theme: str, width: int
) -> None:
    Preference.objects.create(user=ana, theme=theme)
    enter(page, live_server, ana, "/fleet/what-if/")
    asked = (
        "",
        "?ask=grow&service=chat&prefill=5&decode=6",
        "?ask=new&prefill_gpus=16&prefill_nodes=2",
        "?ask=gone&names=h800-000,h800-001,h800-002,h800-004",
    )
    page.set_viewport_size({"width": width, "height": 800})
    for query in asked:
        page.goto(f"{live_server.url}/fleet/what-if/{query}")
        for folded in page.locator("main details").all():
            folded.evaluate("each => { each.open = true; }")
        page.wait_for_function("document.documentElement.scrollWidth <= innerWidth")
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
