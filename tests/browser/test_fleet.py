"""The fleet in a browser: narrowed, ticked, cordoned after a look, returned; for every reader."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Group, User
from django.test import Client
from django.utils import timezone

from controller.models import Preference, ServiceStatus, Tick
from inventory.models import Gpu, HealthEvent, Node
from tests import factories
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page
    from pytest_django.live_server_helper import LiveServer

pytestmark = pytest.mark.django_db(transaction=True)
# Playwright's synchronous interface runs a loop in this thread.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture
def ana() -> User:
    """An operator who edits the inventory too, in a fleet of two types whose loop runs."""
    now = timezone.now()
    Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    cluster = factories.make_cluster()
    factories.make_nodes(cluster, factories.make_hardware(), 4)
    factories.make_nodes(cluster, factories.make_hardware("h20"), 3)
    factories.make_service("chat")
    ServiceStatus.objects.update(
        observed_at=now,
        instances=[
            {"name": "d-1", "role": "decode", "group": "g", "node": "h20-000", "state": "ready"}
        ],
    )
    user = person("ana", "Operator")
    user.groups.add(Group.objects.get(name="Inventory editor"))
    return user


def enter(page: Page, server: LiveServer, user: User, path: str = "/fleet/") -> None:
    client = Client()
    client.force_login(user)
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])
    page.goto(server.url + path)


def states() -> dict[str, str]:
    rows = Node.objects.exclude(admin_state="in_service").order_by("name")
    return dict(rows.values_list("name", "admin_state"))


def test_two_nodes_are_cordoned_after_a_look(
    page: Page, live_server: LiveServer, ana: User
) -> None:
    enter(page, live_server, ana)
    page.get_by_role("link", name="h20", exact=False).first.click()
    page.wait_for_url("**hardware=h20**")
    assert page.locator("table.nodes tbody tr").count() == 3

    page.get_by_label("Choose h20-000").check()
    page.get_by_label("Choose h20-001").check()
    assert page.get_by_text("2 ticked.").is_visible()
    page.get_by_role("button", name="Cordon…").click()
    sheet = page.get_by_role("dialog", name="Cordon 2 nodes, 16 GPUs?")
    sheet.wait_for()
    assert page.evaluate("document.activeElement.textContent") == "Not now"
    assert sheet.get_by_text("chat: 1 of 1 decode instance there, none elsewhere").is_visible()
    assert states() == {}

    page.keyboard.press("Escape")
    assert page.get_by_label("Choose h20-001").is_checked()
    page.get_by_role("button", name="Cordon…").click()
    sheet.get_by_label("Reason").fill("fans")
    page.keyboard.press("Control+Enter")
    page.get_by_text("2 nodes cordoned.").wait_for()
    assert states() == {"h20-000": "cordoned", "h20-001": "cordoned"}
    assert "hardware=h20" in page.url


def test_a_node_is_returned_from_its_page(page: Page, live_server: LiveServer, ana: User) -> None:
    Node.objects.filter(name="h20-000").update(admin_state="cordoned", admin_by="ben")
    enter(page, live_server, ana)
    page.get_by_role("link", name="h20-000", exact=True).click()
    page.get_by_role("button", name="Return…").click()
    page.get_by_role("dialog").get_by_label("Reason").fill("repaired")
    page.get_by_role("button", name="Return 1 node").click()
    page.get_by_text("1 node returned.").wait_for()
    assert page.url.endswith("/fleet/nodes/eu-1-a/h20-000/")
    assert states() == {}


def test_rows_are_ticked_by_keyboard(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana)
    for key in ("j", "x", "j", "j", "Shift+X"):
        page.keyboard.press(key)
    assert page.get_by_text("3 ticked.").is_visible()
    page.keyboard.press("x")
    assert page.get_by_text("2 ticked.").is_visible()


def test_what_is_ticked_survives_news(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana)
    page.get_by_label("Choose h800-000").check()
    Node.objects.filter(name="h800-003").update(health="failed")
    page.locator("main").evaluate(
        "() => htmx.trigger(document.querySelector('[data-live-name=nodes]'), 'live')"
    )
    page.get_by_role("button", name="Updates waiting — show").wait_for()
    assert page.get_by_label("Choose h800-000").is_checked()
    page.get_by_role("button", name="Updates waiting — show").click()
    page.locator("table.nodes").get_by_text("failed").wait_for()


def test_nothing_ticked_is_told_at_once(page: Page, live_server: LiveServer, ana: User) -> None:
    enter(page, live_server, ana)
    page.get_by_role("button", name="Drain…").click()
    page.get_by_text("Tick at least one node, or choose all that match.").wait_for()
    assert page.locator("dialog[open]").count() == 0


def test_without_scripts_the_same_are_plain_pages(
    browser: Browser, live_server: LiveServer, ana: User
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    enter(page, live_server, ana, "/fleet/?hardware=h800")
    page.get_by_label("all 4 that match").check()
    page.get_by_role("button", name="Drain…").click()
    assert "Drain 4 nodes, 32 GPUs?" in page.content()
    page.locator("main").get_by_label("Reason").fill("move out")
    page.get_by_role("button", name="Drain 4 nodes").click()
    assert "4 nodes set to drain." in page.content()
    assert len(states()) == 4
    context.close()


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (390, "dark")])
def test_no_page_shuts_anybody_out(
    page: Page, live_server: LiveServer, ana: User, theme: str, width: int
) -> None:
    node = Node.objects.get(name="h20-000")
    Node.objects.filter(pk=node.pk).update(
        admin_state="draining", admin_by="ben", admin_reason="leak", labels={"a/b": "c" * 60},
        managed_fields={"admin_state": "manual"}, health="degraded", health_reason="ECC " * 20,
    )  # fmt: skip
    gpu = Gpu.objects.create(node=node, index=0, uuid="GPU-" + "8" * 40, health="failed")
    HealthEvent.objects.create(gpu=gpu, code="XID 79", severity="critical", started=factories.NOW)
    Preference.objects.create(user=ana, theme=theme)
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]

    found = {}
    for path in (
        "/fleet/",
        "/fleet/?text=nothing",
        "/fleet/?health=degraded&sort=-free",
        node.get_absolute_url(),
    ):
        enter(page, live_server, ana, path)
        found[path] = faults(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
    enter(page, live_server, ana, node.get_absolute_url())
    page.get_by_role("button", name="Retire…").click()
    page.get_by_role("dialog").wait_for()
    found["sheet"] = faults(page)
    assert not {path: told for path, told in found.items() if told}


def faults(page: Page) -> dict[str, list[str]]:
    return {
        violation["id"]: [node["html"][:120] for node in violation["nodes"]]
        for violation in Axe().run(page, options=RULES).response["violations"]
    }
