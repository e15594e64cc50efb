"""Capacity: what is free, what fits, what services may ask for, and what is not known."""

from __future__ import annotations

import csv
import io
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import PoolSample, ServiceStatus
from controller.selectors.capacity import Scope, read_capacity
from controller.selectors.node_use import node_uses
from inventory.gpus import PARTS
from inventory.models import LocalityDomain, Node, Service
from tests.factories import NOW, make_cluster, make_hardware, make_nodes, make_pools, make_service
from tests.pages.reading import words
from tests.services.people import person

pytestmark = pytest.mark.django_db
BASE = "/api/v1/figures"


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(person("ana", "Viewer"))
    return client


def runs(slug: str, *nodes: str) -> None:
    """Put one decode instance of two GPUs on each node, as of now."""
    ServiceStatus.objects.filter(service__slug=slug).update(
        observed_at=timezone.now(),
        instances=[
            {"name": f"{slug}-{i}", "role": "decode", "group": "g", "node": node, "state": "ready"}
            for i, node in enumerate(nodes)
        ],
    )


@pytest.fixture
def fleet() -> list[Node]:
    """Four nodes of eight under one S1, three of 32 GPUs... of which six are held."""
    nodes = make_nodes(make_cluster(), make_hardware(), 4)
    make_service("chat")
    runs("chat", "h800-000", "h800-000", "h800-001")
    return nodes


def pool(**fields: Any) -> PoolSample:
    row = make_pools(make_cluster(), make_hardware(), at=timezone.now())
    PoolSample.objects.filter(at=row.at).update(**fields)
    return row


def now_of(scope: Scope | None = None) -> Any:
    return read_capacity(scope or Scope(), timezone.now())


def test_an_empty_fleet_says_how_to_fill_it(reader: Client) -> None:
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "No node yet" in text


def test_the_parts_of_a_pool_add_up(reader: Client, fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[1].pk).update(reserved_for="ana")
    Node.objects.filter(pk=fleet[2].pk).update(health="failed")
    Node.objects.filter(pk=fleet[3].pk).update(admin_state="maintenance")
    (stock,) = now_of().stocks
    assert {part: getattr(stock.parts, part) for part in PARTS} == {
        "in_use": 6, "free": 4, "reserved": 6, "maintenance": 8, "unhealthy": 8, "unknown": 0,
    }  # fmt: skip
    assert stock.parts.total == 32
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "Total = in use + free + reserved + maintenance + unhealthy + unknown" in text


def test_every_number_opens_the_nodes_that_make_it_up(reader: Client, fleet: list[Node]) -> None:
    Node.objects.filter(pk=fleet[3].pk).update(admin_state="maintenance")
    (stock,) = now_of().stocks
    page = reader.get("/fleet/capacity/").content.decode()
    for part, _, count, query in stock.links:
        if count:
            assert query.replace("&", "&amp;") in page
            assert str(count) in reader.get(f"/fleet/?{query}").content.decode(), part


@pytest.mark.usefixtures("fleet")
def test_busy_and_idle_are_the_controllers_newest_count(reader: Client) -> None:
    pool(total=32, busy=4, held_idle=2, free=26, maintenance=0)
    (stock,) = now_of().stocks
    assert (stock.busy, stock.held_idle, stock.difference) == (4, 2, "")
    assert "instead of" not in words(reader.get("/fleet/capacity/").content.decode())


@pytest.mark.usefixtures("fleet")
def test_where_the_count_differs_from_the_inventory_it_says_so(reader: Client) -> None:
    pool(total=40, busy=4, held_idle=4, free=32, maintenance=0)
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "the controller counted 40 in all instead of 32, 8 in use instead of 6" in text


@pytest.mark.usefixtures("fleet")
def test_an_old_count_is_not_now(reader: Client) -> None:
    row = pool()
    PoolSample.objects.filter(at=row.at).update(at=timezone.now() - timedelta(hours=1))
    (stock,) = now_of().stocks
    assert (stock.busy, stock.held_idle, stock.difference) == (None, None, "")
    assert "busy and idle last counted" in words(reader.get("/fleet/capacity/").content.decode())


@pytest.mark.usefixtures("fleet")
def test_unknown_use_is_neither_free_nor_zero(reader: Client) -> None:
    ServiceStatus.objects.update(observed_at=NOW)
    Service.objects.update(max_gpus=30)
    found = now_of()
    assert (found.stocks[0].parts.free, found.stocks[0].use_unknown) == (0, 26)
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "26 use unknown" in text
    assert "No GPU here is known to be free. Of 26 nobody knows." in text
    assert "can’t be told" in text
    figure = reader.get(f"{BASE}/capacity").json()
    (unknown,) = [trace for trace in figure["data"] if trace["name"] == "use unknown"]
    assert unknown["x"] == [26]
    assert "pattern" in unknown["marker"]
    assert reader.get(f"{BASE}/fragmentation").json()["empty"] == (
        "Nothing is known to be free: nobody reports what runs on 26 GPUs."
    )


@pytest.mark.usefixtures("fleet")
def test_unknown_is_shown_as_such_and_a_part_as_the_least(reader: Client) -> None:
    """I04: a question mark where nobody reports, "at least" where some do."""
    page = "/fleet/capacity/"
    ServiceStatus.objects.update(observed_at=None, instances=[])
    text = words(reader.get(page).content.decode())
    assert "32 ? — — ? 0 0 0 32 32 use unknown ? ?" in text
    assert "H800 in eu-1-a would lack at least 128 GPUs" in text
    summary = reader.get(f"{BASE}/headroom").json()["summary"]
    assert "would lack at least 128 GPUs" in summary
    assert "in use ? free ? reserved 0" in words(reader.get("/fleet/").content.decode())
    make_nodes(make_cluster("b"), make_hardware("h20"), 1)
    make_service("code", cluster=make_cluster("b"))
    runs("code", "h20-000")
    text = words(reader.get("/fleet/").content.decode())
    assert "in use at least 2 free at least 6 reserved 0" in text
    text = words(reader.get(f"{page}?cluster=b").content.decode())
    assert "at least" not in text


def test_of_unknown_use_are_not_those_that_are_out_anyway(fleet: list[Node]) -> None:
    ServiceStatus.objects.update(observed_at=NOW)
    Node.objects.filter(pk=fleet[0].pk).update(health="failed")
    Node.objects.filter(pk=fleet[1].pk).update(health="unknown")
    (stock,) = now_of().stocks
    assert (stock.parts.unhealthy, stock.parts.unknown, stock.use_unknown) == (4, 22, 16)


def test_no_group_crosses_an_s1(reader: Client, fleet: list[Node]) -> None:
    # 2, 6, 8 and 8 GPUs free... the two whole nodes apart from each other.
    other = LocalityDomain.objects.create(
        cluster=fleet[0].cluster, level="S1", key="s1-02", name="s1-02"
    )
    Node.objects.filter(pk=fleet[3].pk).update(s1_domain=other)
    found = now_of()
    assert {room.s1: (room.free, room.whole) for room in found.rooms} == {
        "s1-01": (18, 1),
        "s1-02": (8, 1),
    }
    rows = reader.get(f"{BASE}/fragmentation").json()["table"]["rows"]
    assert [row[:3] for row in rows] == [
        [1, 26, 26], [2, 13, 13], [4, 6, 6], [8, 2, 3], [16, 0, 1],
    ]  # fmt: skip
    assert (found.stocks[0].most_free, found.stocks[0].largest_instance) == (18, 8)


@pytest.mark.usefixtures("fleet")
def test_what_would_lack_if_every_service_went_to_its_maximum(reader: Client) -> None:
    make_service("search", limits={"minimum": 1, "maximum": 5})
    runs("search")
    # chat: 2 roles of 40 × 2 GPUs, search: 2 of 5 × 2; 32 GPUs are usable.
    (one,) = now_of().headroom
    assert (one.least, one.most, one.usable, one.lacking) == (8, 180, 32, 148)
    page = reader.get("/fleet/capacity/").content.decode()
    assert "H800 in eu-1-a would lack 148 GPUs" in words(page)
    assert 'href="/services/search/"' in page
    figure = reader.get(f"{BASE}/headroom").json()
    assert figure["summary"] == (
        "If every service went to its maximum, H800 in eu-1-a would lack 148 GPUs."
    )


def test_a_service_without_nodes_lacks_all(reader: Client) -> None:
    make_service("chat", max_gpus=20)
    make_nodes(make_cluster(), make_hardware("h20"), 1)
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "H800 in eu-1-a would lack 20 GPUs" in text
    assert "it lacks 4 for their minima" in text


def test_a_filter_narrows_and_none_match_says_so(reader: Client, fleet: list[Node]) -> None:
    make_nodes(fleet[0].cluster, make_hardware("h20"), 2)
    found = now_of(Scope("eu-1-a", "h20"))
    assert [stock.hardware for stock in found.stocks] == ["h20"]
    assert all(room.word == "H20" for room in found.rooms)
    text = words(reader.get("/fleet/capacity/?cluster=nowhere").content.decode())
    assert "No pool matches" in text
    figure = reader.get(f"{BASE}/fragmentation", {"hardware": "h20"}).json()
    assert figure["table"]["rows"][0][:3] == [1, 16, 16]


def test_without_history_nothing_is_foreseen(reader: Client, fleet: list[Node]) -> None:
    pool()
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "H800 in eu-1-a: not enough history yet: 0 of 24 hours." in text
    assert "hours are foreseen" not in text
    assert fleet


def test_a_day_of_history_is_a_forecast(reader: Client) -> None:
    cluster, hardware = make_cluster(), make_hardware()
    make_nodes(cluster, hardware, 4)
    now = timezone.now().replace(minute=30, second=0, microsecond=0)
    for back in range(30):
        make_pools(cluster, hardware, at=now - timedelta(hours=back))
    text = words(reader.get("/fleet/capacity/").content.decode())
    assert "H800 in eu-1-a is forecast to hold at most 14 of" in text
    assert "is not known before 48 h of history" in text
    figure = reader.get(f"{BASE}/peak-forecast").json()
    assert {row[3] for row in figure["table"]["rows"]} == {"measured", "forecast"}
    assert "forecast" in {trace["name"] for trace in figure["data"]}


@pytest.mark.parametrize("name", ["capacity", "fragmentation", "headroom", "peak-forecast"])
@pytest.mark.usefixtures("fleet")
def test_each_figure_is_a_csv_too(reader: Client, name: str) -> None:
    pool()
    answer = reader.get(f"{BASE}/{name}", {"format": "csv", "cluster": "eu-1-a"})
    rows = list(csv.reader(io.StringIO(answer.content.decode())))
    assert answer["Content-Type"].startswith("text/csv")
    assert len(rows) > 1
    assert {len(row) for row in rows} == {len(rows[0])}


@pytest.mark.parametrize("name", ["cluster", "hardware"])
def test_a_bad_filter_is_named(reader: Client, name: str) -> None:
    answer = reader.get(f"{BASE}/fragmentation", {name: "a b"})
    assert (answer.status_code, answer.json()["error"]["where"]) == (400, name)


def test_queries_do_not_grow_with_the_fleet(reader: Client, fleet: list[Node]) -> None:
    pool()
    reader.get("/fleet/capacity/")
    counts = []
    for slugs in ((), ("b", "c")):
        for slug in slugs:
            cluster, hardware = make_cluster(f"eu-1-{slug}"), make_hardware(f"gpu-{slug}")
            make_nodes(cluster, hardware, 5)
            make_service(slug, cluster=cluster, hardware=hardware)
            make_pools(cluster, hardware, at=timezone.now())
        with CaptureQueriesContext(connection) as queries:
            assert reader.get("/fleet/capacity/").status_code == 200
        counts.append(len(queries))
    assert counts[0] == counts[1]
    assert fleet


@pytest.mark.usefixtures("fleet")
def test_the_table_is_a_fragment_for_htmx(reader: Client) -> None:
    answer = reader.get("/fleet/capacity/", headers={"HX-Request": "true"})
    text = answer.content.decode()
    assert "<html" not in text
    assert "Pools" in text
    assert node_uses(timezone.now()).observed == {"eu-1-a"}
