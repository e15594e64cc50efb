"""From pasted `kubectl get nodes -o json` of 500 nodes to a topology: few clicks, no minutes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.test import Client
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from controller.services import import_jobs
from inventory.models import ImportRun, Node
from tests.services.people import person

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
NODES = 500
MOST_CLICKS = 6
MOST_S = 180.0
PHONE = {"width": 390, "height": 844}
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


def node(i: int) -> dict[str, Any]:
    """Return a node as a cluster with the GPU operator and Topograph prints it, 16 kB."""
    labels = {
        "kubernetes.io/hostname": f"gpu-{i:04}",
        "kubernetes.io/arch": "amd64",
        "topology.kubernetes.io/region": "eu-1",
        "topology.kubernetes.io/zone": "eu-1a",
        "node.kubernetes.io/instance-type": "p5en.48xlarge",
        "fabric.topograph.run/tier-0": f"leaf-{i // 16:02}",
        "fabric.topograph.run/tier-1": f"spine-{i // 128}",
        "nvidia.com/gpu.product": "NVIDIA-H200",
        "nvidia.com/gpu.count": "8",
        "nvidia.com/gpu.memory": "143771",
    }
    labels |= {f"feature.node.kubernetes.io/cpu-cpuid.F{n}": "true" for n in range(60)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"gpu-{i:04}", "uid": f"0a0b-{i:08}", "labels": labels},
        "spec": {"providerID": f"aws:///eu-1a/i-{i:017}"},
        "status": {
            "capacity": {"cpu": "192", "memory": "2097152Ki", "nvidia.com/gpu": "8"},
            "allocatable": {"cpu": "191", "memory": "2090000Ki", "nvidia.com/gpu": "8"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "images": [
                {
                    "names": [
                        f"registry.example/{n:04}@sha256:{n:064}",
                        f"registry.example/{n:04}:1",
                    ]
                }
                for n in range(90)
            ],
        },
    }


@pytest.fixture(scope="module")
def pasted() -> str:
    text = json.dumps(
        {"apiVersion": "v1", "kind": "List", "items": [node(i) for i in range(NODES)]}, indent=2
    )
    assert len(text) > 8_000_000
    return text


class Hand:
    """Clicks, and counts them."""

    def __init__(self, page: Page) -> None:
        self.page, self.clicks = page, 0

    def click(self, role: Any, name: str) -> None:
        self.clicks += 1
        self.page.get_by_role(role, name=name).first.click()


def enter(page: Page, server: LiveServer) -> None:
    client = Client()
    client.force_login(person("ana", "Inventory editor"))
    cookie = client.cookies["sessionid"].value
    page.context.add_cookies([{"name": "sessionid", "value": cookie, "url": server.url}])


def paste(page: Page, text: str) -> None:
    """Paste as a person does, out of the clipboard."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("(text) => navigator.clipboard.writeText(text)", text)
    page.get_by_label("Paste what a tool printed").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_text("MB to read, the pasted text kept as a file")).to_be_visible()


def work() -> None:
    """Do what the worker for imports would do now."""
    import_jobs.carry_out(ImportRun.objects.get().pk, {})


def test_five_hundred_pasted_nodes_are_a_topology_in_a_few_clicks(
    page: Page, live_server: LiveServer, pasted: str
) -> None:
    enter(page, live_server)
    page.goto(f"{live_server.url}/")
    hand, begin = Hand(page), time.monotonic()

    hand.click("link", "Paste or choose files")
    paste(page, pasted)
    hand.click("button", "See what it would become")
    expect(page.get_by_text("It begins as soon as a worker is free.")).to_be_visible()
    work()
    expect(page.get_by_role("heading", name="pasted would change")).to_be_visible()
    expect(page.get_by_text("S1 = fabric.topograph.run/tier-0 (32 values")).to_be_visible()
    hand.click("button", "Apply")
    page.get_by_text("It begins as soon as a worker is free.").wait_for()
    work()
    hand.click("link", "See the topology")
    expect(page.get_by_role("link", name="leaf-00").first).to_be_visible()
    assert (hand.clicks <= MOST_CLICKS, time.monotonic() - begin < MOST_S) == (True, True)
    assert Node.objects.exclude(s1_domain=None).exclude(s2_domain=None).count() == NODES


def test_a_refusal_costs_nobody_the_paste(browser: Browser, live_server: LiveServer) -> None:
    # A page of its own: the browser notes the refusal as an error.
    page = browser.new_page()
    enter(page, live_server)
    page.goto(f"{live_server.url}/imports/new/")
    long = "node,gpus,labels\n" + "".join(f"n{i},8,k={'x' * 60}\n" for i in range(3_000))
    assert len(long) > 200_000
    paste(page, long)
    page.get_by_label("Cluster").fill("no name!")
    page.get_by_role("button", name="See what it would become").click()
    expect(page.locator("[data-faults] .note")).to_be_visible()
    expect(page.get_by_text("the pasted text kept as a file")).to_be_visible()
    page.get_by_label("Cluster").fill("own-1")
    page.get_by_role("button", name="See what it would become").click()
    page.wait_for_url("**/imports/*-*/")
    assert ImportRun.objects.get().options["cluster"] == "own-1"
    page.close()


def test_without_scripts_it_is_pasted_applied_and_seen(
    browser: Browser, live_server: LiveServer
) -> None:
    context = browser.new_context(java_script_enabled=False)
    plain = context.new_page()
    enter(plain, live_server)
    plain.goto(f"{live_server.url}/imports/new/")
    plain.locator("#pasted").fill("cluster,node,s1,s2,gpus\nown-1,n1,l1,s1,8\nown-1,n2,l2,s1,8\n")
    plain.get_by_role("button", name="See what it would become").click()
    plain.get_by_role("button", name="Apply").click()
    plain.get_by_role("link", name="See the topology").click()
    assert "S1 l1" in plain.content()
    context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_of_imports_are_read_by_everybody(
    page: Page, live_server: LiveServer, theme: Any
) -> None:
    enter(page, live_server)
    page.emulate_media(color_scheme=theme)
    page.goto(f"{live_server.url}/imports/new/")
    page.locator("#pasted").fill(
        "cluster,node,s1,s2,gpus,sku\nown-1,n1,l1,s1,8,h200-8\nown-1,n2,l2,s1,-8,\n"
    )
    page.get_by_role("button", name="See what it would become").click()
    page.wait_for_url("**/imports/*-*/")
    for path in (
        "/imports/",
        "/imports/new/",
        "/setup/",
        ImportRun.objects.get().get_absolute_url(),
    ):
        page.set_viewport_size(PHONE)
        page.goto(f"{live_server.url}{path}")
        beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(beyond) == 0, path
        found = Axe().run(page, options=RULES).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path
