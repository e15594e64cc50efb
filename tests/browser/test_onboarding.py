"""From nothing to 500 nodes and to a service that is observed: few clicks, no minutes."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db.models import F
from django.test import Client
from playwright.sync_api import expect
from pytest_django.live_server_helper import LiveServer

from controller import tasks, wiring
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.core.kube import rights
from controller.core.kube.manifest import manifest
from controller.core.types import ROLES
from controller.management import watching
from controller.management.watching import Watcher
from controller.models import Action, ClusterSight, ServiceStatus, Tick
from controller.services import import_jobs
from inventory.models import ImportRun, Node, Service
from tests.browser.test_whole_path import work as do_actions
from tests.factories import make_service
from tests.kube import EVERYTHING, Double, deployment, fleet
from tests.services.people import person
from tests.services.test_preflight import ACCOUNT, rules_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("broker")]
NODES = 500
MOST_CLICKS = 6
MOST_TO_OBSERVE = 15
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


def enter(
    page: Page, server: LiveServer, role: str = "Inventory editor", name: str = "ana"
) -> None:
    client = Client()
    client.force_login(person(name, role))
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


def connect(hand: Hand, config: str) -> None:
    """Paste a kubeconfig and see that all that is needed is allowed."""
    hand.click("link", "Connect a cluster")
    hand.page.get_by_role("textbox", name="Name", exact=True).fill("eu-1-a")
    hand.page.get_by_role("textbox", name="Kubeconfig").fill(config)
    hand.click("button", "Connect and check")
    expect(hand.page.get_by_text("Nothing that is needed lacks.")).to_be_visible()


def read_nodes(hand: Hand) -> None:
    """Bring the nodes of the cluster that is shown into the inventory, and see where they are."""
    hand.click("button", "Bring in its nodes")
    work()
    levels = hand.page.get_by_text("S1 = network.topology.nvidia.com/leaf (32 values")
    expect(levels).to_be_visible()
    hand.click("button", "Apply")
    hand.page.get_by_text("It begins as soon as a worker is free.").wait_for()
    work()
    hand.click("link", "See the topology")
    expect(hand.page.get_by_role("link", name="leaf-00").first).to_be_visible()


def connect_metrics(hand: Hand) -> None:
    hand.click("link", "HeteroScale")
    hand.click("link", "Connect metrics")
    hand.click("link", "Add a Prometheus")
    hand.page.get_by_label("Name", exact=True).fill("eu-1")
    hand.page.get_by_label("Address", exact=True).fill("http://127.0.0.1:9")
    hand.click("button", "Add")


def observe(hand: Hand) -> None:
    hand.click("link", "HeteroScale")
    hand.click("link", "Add a service of eu-1-a")
    hand.click("link", "Use chat")
    expect(hand.page.get_by_text("as most nodes of eu-1-a are").first).to_be_visible()
    hand.click("button", "Observe it")
    expect(hand.page.get_by_text("chat is observed")).to_be_visible()


@contextmanager
def watching_clusters(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watcher]:
    """Give the watcher of the product, which looks as often as it is asked to."""
    monkeypatch.setattr(watching, "CONFIG_S", 0.0)
    monkeypatch.setattr(watching, "NOTE_S", 0.0)
    pace = Pace(jitter=lambda: 0.5, watch_s=2.0, first_wait_s=0.02)
    watcher = Watcher(lambda about, pause: wiring.new_api(about.access, pause), pace)
    try:
        yield watcher
    finally:
        watcher.stop()


def seen(watcher: Watcher, holds: Callable[[], bool]) -> None:
    """Let time pass for the cluster and its watcher until ticks know what holds."""
    ends = time.monotonic() + 30.0
    while not holds():
        assert time.monotonic() < ends, "it did not come to pass"
        watcher.round()
        ClusterSight.objects.update(begun_at=F("begun_at") - timedelta(seconds=60))
        Tick.objects.update(at="2000-01-01T00:00:00Z")
        tasks.tick()


def approve(browser: Browser, server: LiveServer, decode: int) -> None:
    """Approve the one proposal there is, as a second person."""
    page = browser.new_page()
    enter(page, server, "Approver", "ben")
    page.goto(f"{server.url}/approvals/")
    expect(page.get_by_text(f"→ {decode}").first).to_be_visible()
    page.get_by_role("button", name="Approve…").first.click()
    page.get_by_role("button", name="Approve", exact=True).last.click()
    expect(page.get_by_text("Approved").first).to_be_visible()
    page.close()


def act_on(
    page: Page, browser: Browser, live_server: LiveServer, kube: Double, watcher: Watcher
) -> None:
    """Watch the service, let people approve its changes, and see the first one through."""
    kube.settle()
    status = ServiceStatus.objects.filter(service__slug="chat")
    seen(watcher, status.filter(prefill_ready=2, decode_ready=2).exists)
    assert kube.writes(by="heteroscale") == []

    page.goto(f"{live_server.url}/services/chat/act/")
    page.get_by_role("radio", name="approve").check()
    page.locator("main").get_by_label("Reason").fill("it decides as we would")
    page.get_by_role("button", name="Change the mode").click()
    expect(page.get_by_text("waits for approval of each change")).to_be_visible()
    page.get_by_role("link", name="Propose change…").click()
    page.get_by_label("Decode instances").fill("4")
    page.locator("main").get_by_label("Reason").fill("a launch at noon")
    page.get_by_role("button", name="Propose", exact=True).click()
    expect(page.get_by_text("waits for another person").first).to_be_visible()
    expect(page.get_by_text("Where its pods go is chosen by the cluster")).to_be_visible()

    approve(browser, live_server, 4)
    do_actions()
    assert Action.objects.get().state == "applied", Action.objects.get().error
    assert kube.get("deployments", "prod", "chat-decode")["spec"]["replicas"] == 4
    assert len(kube.writes("deployments", by="heteroscale")) == 1
    kube.settle()
    seen(watcher, Action.objects.filter(state="ready").exists)


def test_from_an_empty_installation_to_an_approved_change_in_the_cluster(
    page: Page,
    browser: Browser,
    live_server: LiveServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    enter(page, live_server, "Admin")
    hand = Hand(page)
    with Double(tls=True) as kube:
        kube.put(*fleet(NODES))
        kube.put(*(deployment("prod", f"chat-{role}", 2, gpus=2) for role in ROLES))
        rules = rules_of(manifest(rights.wanted(rights.usual())))
        config = kube.kubeconfig(tmp_path / "config", token=kube.account(ACCOUNT, rules))
        page.goto(f"{live_server.url}/")
        connect(hand, config.read_text())
        read_nodes(hand)
        connect_metrics(hand)
        observe(hand)
        assert hand.clicks <= MOST_TO_OBSERVE
        assert Node.objects.exclude(s1_domain=None).count() == NODES
        service = Service.objects.get()
        assert (service.mode, service.metrics.count()) == ("observe", 1)
        with watching_clusters(monkeypatch) as watcher:
            act_on(page, browser, live_server, kube, watcher)
        page.goto(f"{live_server.url}/services/chat/")
        expect(page.get_by_text("4 ready").first).to_be_visible()
        expect(page.get_by_text("by ben").first).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_of_clusters_are_read_by_everybody(
    page: Page, live_server: LiveServer, theme: Any
) -> None:
    enter(page, live_server, "Admin")
    page.emulate_media(color_scheme=theme)
    with Double() as kube:
        kube.put(*(deployment("prod", f"chat-{role}", 2, gpus=2) for role in ROLES))
        for path in ("/clusters/", "/clusters/new/"):
            look(page, live_server, path)
        page.get_by_role("textbox", name="Name", exact=True).fill("eu")
        page.locator("summary", has_text="an address and a token").click()
        page.get_by_label("Reached by").select_option("token")
        page.get_by_label("Address of the API server").fill(kube.address)
        page.get_by_label("Token", exact=True).fill(kube.account(ACCOUNT, []))
        page.get_by_role("button", name="Connect and check").click()
        expect(page.get_by_text("of what is needed lacks")).to_be_visible()
        kube.accounts.limit(ACCOUNT, [EVERYTHING])
        pair = "prefill=deployment/prod/chat-prefill&decode=deployment/prod/chat-decode"
        make_service("chat", mode="observe")
        for path in (
            "/clusters/",
            "/clusters/eu/",
            "/clusters/eu/edit/",
            "/clusters/eu/remove/",
            "/clusters/eu/services/new/",
            f"/clusters/eu/services/new/?{pair}",
            "/services/chat/act/",
        ):
            look(page, live_server, path)


def look(page: Page, server: LiveServer, path: str) -> None:
    """Open a page on a phone: nothing is beyond its edge, and nothing keeps anybody out."""
    page.set_viewport_size(PHONE)
    page.goto(f"{server.url}{path}")
    beyond = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(beyond) == 0, path
    found = Axe().run(page, options=RULES).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found] == [], path


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
        look(page, live_server, path)
