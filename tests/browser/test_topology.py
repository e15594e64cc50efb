"""The drawn tree is walked with arrow keys, and Enter narrows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from inventory.models import LocalityDomain, Node
from tests import factories

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.django_db(transaction=True)
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
PHONE = {"width": 390, "height": 844}
PATHS = ("/fleet/topology/", "/fleet/racks/", "/fleet/switches/", "rack", "move")


@pytest.fixture
def site(live_server: LiveServer, client: Client, page: Page) -> str:
    """The address of the product: ana looks at a cluster of two S1 domains."""
    cluster = factories.make_cluster()
    factories.make_nodes(cluster, factories.make_hardware(), 3)
    other = LocalityDomain.objects.create(
        cluster=cluster,
        level="S1",
        key="s1-02",
        name="s1-02",
        parent=LocalityDomain.objects.get(level="S2"),
    )
    Node.objects.filter(name="h800-002").update(s1_domain=other, health="failed")
    Node.objects.filter(name="h800-001").update(u_position=2, u_height=8)
    client.force_login(User.objects.create_superuser("ana", password="a long enough phrase"))
    page.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    return live_server.url


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")


def test_arrows_walk_the_tree_and_enter_narrows_it(site: str, page: Page) -> None:
    page.goto(f"{site}/fleet/topology/")
    page.locator("[data-tree] a[data-depth='0']").focus()
    assert focused(page).startswith("S2 s2-01")
    for key, at in (
        ("ArrowRight", "S1 s1-01"),
        ("ArrowRight", "rack r01"),
        ("ArrowRight", "h800-000"),
        ("ArrowRight", "h800-000"),
        ("ArrowDown", "h800-001"),
        ("ArrowLeft", "rack r01"),
        ("ArrowLeft", "S1 s1-01"),
        ("ArrowLeft", "S2 s2-01"),
        ("ArrowLeft", "S2 s2-01"),
        ("End", "h800-002"),
        ("ArrowLeft", "rack r01"),
        ("ArrowLeft", "S1 s1-02"),
        ("ArrowUp", "S1 s1-01"),
        ("Home", "S2 s2-01"),
        ("ArrowRight", "S1 s1-01"),
    ):
        page.keyboard.press(key)
        assert focused(page).startswith(at), key
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Around S1 s1-01")).to_be_visible()
    expect(page.locator("[data-tree] a[aria-current]")).to_have_count(1)


def address(path: str) -> str:
    """Return the address of a page by its path or a word for it."""
    rack = Node.objects.exclude(rack=None)[0].rack_id
    known = {"rack": f"/fleet/racks/{rack}/", "move": "/fleet/nodes/eu-1-a/h800-001/move/"}
    return known.get(path, path)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_reaches_beyond_a_phone(site: str, page: Page, path: str) -> None:
    page.set_viewport_size(PHONE)
    page.goto(site + address(path))
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(beyond) == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", PATHS)
def test_no_serious_fault_for_those_who_read_otherwise(
    site: str, page: Page, path: str, theme: Literal["light", "dark"]
) -> None:
    page.emulate_media(color_scheme=theme)
    page.goto(site + address(path))
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
