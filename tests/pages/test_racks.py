"""Racks: a row of elevations, one rack with its facts, and nodes that move."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent
from inventory.models import Fabric, HardwareType, InventoryVersion, Node, Rack, Site, Switch
from tests import factories
from tests.pages.reading import reading, words
from tests.pages.test_switch import run

PAGE = "/fleet/racks/"


@pytest.fixture
def reader(client: Client, db: None) -> Client:  # noqa: ARG001
    client.force_login(User.objects.create_user("ana", password="a long enough phrase"))
    return client


@pytest.fixture
def editor(reader: Client) -> Client:
    permission = Permission.objects.get(codename="change_node")
    User.objects.get(username="ana").user_permissions.add(permission)
    return reader


@pytest.fixture
def rack(db: None) -> Rack:  # noqa: ARG001
    """A rack with nodes of 8 U at U2, U12, U22 and U32."""
    cluster = factories.make_cluster()
    nodes = factories.make_nodes(cluster, factories.make_hardware(u_height=8), 4)
    for number, node in enumerate(nodes):
        node.u_position, node.u_height = 2 + 10 * number, 8
        node.save()
    return Rack.objects.get()


def page_of(rack: Rack) -> str:
    return f"{PAGE}{rack.pk}/"


def move_of(name: str) -> str:
    return f"/fleet/nodes/eu-1-a/{name}/move/"


def facts(**fields: Any) -> dict[str, Any]:
    return {
        "row": "",
        "column": "",
        "u_height": 48,
        "power_kw": "",
        "cooling": "",
        "version": 1,
    } | fields


def place(where: Rack, **fields: Any) -> dict[str, Any]:
    return {"rack": str(where.pk), "u_position": 2, "face": "both", "version": 1} | fields


def test_racks_stand_in_their_order(reader: Client, rack: Rack) -> None:
    for column, name in ((10, "a"), (9, "b"), (2, "c")):
        Rack.objects.create(site=rack.site, name=name, row="1", column=str(column))
    page = reader.get(PAGE).text
    order = [page.index(f">{name}</a></h3>") for name in ("r01", "c", "b", "a")]
    assert order == sorted(order)
    assert "4 of 4 racks" in words(page)
    assert "eu-1-a, row 1, column 10" in words(page)


def test_a_row_has_pages(reader: Client, rack: Rack) -> None:
    for number in range(20):
        Rack.objects.create(site=rack.site, name=f"x{number}")
    first, second = reading(reader, PAGE), reading(reader, PAGE + "?page=2")
    assert "12 of 21 racks page 1 of 2 · next racks" in first
    assert "9 of 21 racks previous racks · page 2 of 2" in second


def test_a_place_narrows_them(reader: Client, rack: Rack) -> None:
    site = Site.objects.create(region=rack.site.region, slug="hall-2", name="Hall 2")
    Rack.objects.create(site=site, name="lonely")
    assert "lonely" in reading(reader, PAGE)
    assert "lonely" not in reading(reader, PAGE + "?place=cluster:eu-1-a")
    assert "r01" not in reading(reader, PAGE + "?site=HALL-2")
    answer = reader.get(PAGE + "?place=site:nowhere")
    assert answer.status_code == 404
    assert "There is no site nowhere with racks." in words(answer.text)


@pytest.mark.usefixtures("rack")
def test_nodes_without_a_rack_are_listed(reader: Client) -> None:
    Node.objects.create(cluster=factories.make_cluster(), name="lost-1")
    page = reading(reader, PAGE)
    assert "Without a rack 1 node lost-1 place lost-1" in page


def test_no_rack_says_where_they_come_from(reader: Client) -> None:
    assert "No rack yet" in reading(reader, PAGE)
    factories.make_cluster()
    assert "No rack is known there" in reading(reader, PAGE + "?cluster=eu-1-a")


def test_one_rack_tells_what_stands_in_it(reader: Client, rack: Rack) -> None:
    run("h800-001")
    Node.objects.filter(name="h800-003").update(health="failed", health_reason="XID 79")
    page = reading(reader, page_of(rack))
    # from the top, with what runs there
    order = [page.rindex(f"{name} eu-1-a U") for name in ("h800-003", "h800-002", "h800-000")]
    assert order == sorted(order)
    assert "h800-003 eu-1-a U32–U39 failed XID 79 H800 8 0 none Move… h800-003" in page
    assert "h800-001 eu-1-a U12–U19 ok H800 8 2 chat" in page
    assert "32: 2 in use, 22 free, 0 reserved, 0 in maintenance, 8 unhealthy, 0 unknown" in page
    assert "Power not known" in page


def test_unknown_use_is_not_zero(reader: Client, rack: Rack) -> None:
    page = reading(reader, page_of(rack))
    assert "h800-001 eu-1-a U12–U19 ok H800 8 unknown unknown" in page
    assert "32 unknown" in page


def test_an_nvlink_rack_counts_its_trays(reader: Client, rack: Rack) -> None:
    HardwareType.objects.update(nvlink="rack")
    Node.objects.filter(name="h800-003").update(health="failed")
    fabric = Fabric.objects.create(
        cluster=factories.make_cluster(), name="nvl", technology="NVLink"
    )
    Switch.objects.create(
        cluster=fabric.cluster, fabric=fabric, name="nvs-1", rack=rack, u_position=20
    )
    page = reading(reader, page_of(rack))
    assert "healthy trays 3/4, switch trays 1/1" in page
    assert "nvs-1 switch eu-1-a U20 ok" in page


@pytest.mark.usefixtures("rack")
@pytest.mark.parametrize("query", ["?colour=use", "?colour=service", "?colour=hardware&face=both"])
def test_colours_and_sides_are_chosen_in_the_address(reader: Client, query: str) -> None:
    run("h800-001")
    plain, chosen = reader.get(PAGE).text, reader.get(PAGE + query).text
    drawn = [
        page[page.index("elevations") : page.rindex("</article>")] for page in (plain, chosen)
    ]
    assert drawn[0] != drawn[1]
    assert " style=" not in chosen


def test_facts_are_changed_once_and_audited(editor: Client, rack: Rack) -> None:
    sent = facts(row="7", power_kw="44", reason="measured")
    assert editor.post(page_of(rack), sent).status_code == 302
    rack.refresh_from_db()
    assert (rack.row, rack.power_kw, rack.version) == ("7", 44.0, 2)
    assert rack.managed_fields == {"row": "manual", "power_kw": "manual"}
    event = AuditEvent.objects.get(object_type="rack")
    assert (event.actor, event.verb, event.reason) == ("ana", "changed rack", "measured")
    assert (event.before, event.after) == (
        {"row": "", "power_kw": None},
        {"row": "7", "power_kw": 44.0},
    )
    assert InventoryVersion.objects.get().cause == "edit"
    assert "ana changed rack" in reading(editor, page_of(rack))


def test_a_change_unseen_is_not_overwritten(editor: Client, rack: Rack) -> None:
    editor.post(page_of(rack), facts(row="7"))
    answer = editor.post(page_of(rack), facts(column="3"))
    assert answer.status_code == 409
    page = words(answer.text)
    assert "r01 was changed since you opened it, last by ana" in page
    assert 'name="version" value="2"' in answer.text
    rack.refresh_from_db()
    assert (rack.row, rack.column) == ("7", "")


def test_saving_nothing_new_says_so(editor: Client, rack: Rack) -> None:
    answer = editor.post(page_of(rack), facts())
    assert answer.status_code == 409
    assert "Nothing differs from what is stored" in answer.text
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        pytest.param("u_height", 30, "h800-003 on U32–U39 would stick out", id="too low"),
        pytest.param("u_height", 61, "less than or equal to 60", id="too high"),
        pytest.param("power_kw", "-1", "greater than or equal to 0", id="negative power"),
        pytest.param("power_kw", "nan", "Enter a number", id="no number"),
    ],
)
def test_impossible_facts_are_refused_by_field(
    editor: Client, rack: Rack, field: str, value: object, said: str
) -> None:
    answer = editor.post(page_of(rack), facts(**{field: value}))
    assert answer.status_code == 400
    assert f'id="id_{field}_error"' in answer.text
    assert said in answer.text
    assert not InventoryVersion.objects.exists()


def test_who_may_not_is_told_and_recorded(reader: Client, rack: Rack) -> None:
    page = reading(reader, page_of(rack))
    assert "Shown only: changing the inventory needs the role Inventory editor" in page
    assert "Shown only" in reading(reader, move_of("h800-001"))
    assert reader.post(page_of(rack), facts(row="7")).status_code == 403
    assert reader.post(move_of("h800-001"), place(rack, u_position=40)).status_code == 403
    assert AuditEvent.objects.filter(verb="was refused change_node").count() == 2
    assert not Rack.objects.filter(row="7").exists()


def test_a_node_moves_and_is_audited(editor: Client, rack: Rack) -> None:
    other = Rack.objects.create(site=rack.site, name="r02")
    answer = editor.post(move_of("h800-001"), place(other, u_position=5, reason="swap"))
    assert answer["Location"] == page_of(other)
    node = Node.objects.get(name="h800-001")
    assert (node.rack, node.u_position, node.version) == (other, 5, 2)
    assert node.managed_fields == {"rack": "manual", "u_position": "manual"}
    event = AuditEvent.objects.get(verb="moved node")
    assert event.before == {"rack": "r01", "u_position": 12, "face": "both"}
    assert event.after == {"rack": "r02", "u_position": 5, "face": "both"}
    assert event.reason == "swap"
    assert InventoryVersion.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "sent", "said"),
    [
        pytest.param(
            "u_position",
            {"u_position": 28},
            # U28 to U35 meets U22–U29 and U32–U39; U12–U19 is its own and free
            "In the way: h800-002 on U22–U29, h800-003 on U32–U39; "
            "the lowest free 8 U begin at U10.",
            id="two in the way",
        ),
        pytest.param(
            "u_position",
            {"u_position": 45},
            "It would reach U52; r01 ends at U48: the lowest free 8 U begin at U10.",
            id="beyond the top",
        ),
        pytest.param("rack", {"rack": ""}, "A unit needs a rack", id="no rack"),
        pytest.param("rack", {"rack": "nonsense"}, "Select a valid choice", id="no such rack"),
        pytest.param("u_position", {"u_position": 0}, "greater than or equal to 1", id="U0"),
    ],
)
def test_an_impossible_place_names_the_field_and_a_way_out(
    editor: Client, rack: Rack, field: str, sent: dict[str, Any], said: str
) -> None:
    answer = editor.post(move_of("h800-001"), place(rack, **sent))
    assert answer.status_code == 400
    assert f'id="id_{field}_error"' in answer.text
    assert said in answer.text
    assert Node.objects.get(name="h800-001").u_position == 12


def test_front_and_rear_are_apart(editor: Client, rack: Rack) -> None:
    Node.objects.filter(name="h800-002").update(face="front")
    rear = place(rack, u_position=22, face="rear")
    assert editor.post(move_of("h800-001"), rear).status_code == 302


def test_a_full_rack_says_so(editor: Client, rack: Rack) -> None:
    Rack.objects.update(u_height=39)
    Node.objects.filter(name="h800-001").update(u_height=20, u_position=None)
    answer = editor.post(move_of("h800-001"), place(rack, u_position=2))
    assert "r01 has no free 20 U: choose another rack." in answer.text


def test_a_switch_is_in_the_way_too(editor: Client, rack: Rack) -> None:
    cluster = factories.make_cluster()
    fabric = Fabric.objects.create(cluster=cluster)
    Switch.objects.create(cluster=cluster, fabric=fabric, name="tor", rack=rack, u_position=44)
    answer = editor.post(move_of("h800-001"), place(rack, u_position=40))
    assert "In the way: tor on U44" in answer.text


def test_a_move_over_a_change_unseen_is_refused(editor: Client, rack: Rack) -> None:
    Node.objects.filter(name="h800-001").update(version=5)
    answer = editor.post(move_of("h800-001"), place(rack, u_position=40))
    assert answer.status_code == 409
    assert "h800-001 was changed since you opened it" in answer.text
    assert 'name="version" value="5"' in answer.text


def test_a_node_may_leave_every_rack(editor: Client, rack: Rack) -> None:
    answer = editor.post(move_of("h800-001"), place(rack, rack="", u_position=""))
    assert answer["Location"] == PAGE
    assert Node.objects.get(name="h800-001").rack is None


@pytest.mark.usefixtures("rack")
def test_any_case_leads_to_the_node(reader: Client) -> None:
    assert reader.get("/fleet/nodes/EU-1-A/H800-001/move/")["Location"] == move_of("h800-001")
    answer = reader.get("/fleet/nodes/eu-1-a/nowhere/move/")
    assert "There is no node nowhere in eu-1-a." in words(answer.text)


def test_hostile_names_stay_text(reader: Client, rack: Rack) -> None:
    hostile = '"><script>alert(1)</script>'
    Rack.objects.update(row=hostile[:30], cooling=hostile, missing_since=timezone.now())
    Node.objects.update(health="failed", health_reason=hostile)
    for path in (PAGE, page_of(rack)):
        page = reader.get(path).text
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;" in page


@pytest.mark.parametrize("nodes", [1, 3])
def test_pages_cost_the_same_for_any_rack(
    reader: Client, django_assert_num_queries: DjangoAssertNumQueries, nodes: int
) -> None:
    cluster = factories.make_cluster()
    factories.make_nodes(cluster, factories.make_hardware(), nodes)
    rack = Rack.objects.get()
    for number in range(nodes):
        Rack.objects.create(site=rack.site, name=f"x{number}")
    reader.get(PAGE)
    # session, person, preferences, 5 of the strip; sites, clusters, racks, 2 of use, racks with
    # site, 3 of nodes, switches, 2 of nodes without a rack, 3 of permissions
    with django_assert_num_queries(25):
        reader.get(PAGE)
    # the same without sites, clusters and nodes without a rack; the rack, its neighbours, history
    with django_assert_num_queries(23):
        reader.get(page_of(rack))


@pytest.mark.usefixtures("rack")
def test_only_the_racks_are_fetched_again(reader: Client) -> None:
    first = reader.get(PAGE, headers={"HX-Request": "true"})
    assert "<html" not in first.text
    given = {"HX-Request": "true", "If-None-Match": first["ETag"]}
    assert reader.get(PAGE, headers=given).status_code == 304
    Node.objects.filter(name="h800-001").update(health="failed")
    assert reader.get(PAGE, headers=given).status_code == 200


def test_strangers_sign_in(client: Client, rack: Rack) -> None:
    for path in (PAGE, page_of(rack), move_of("h800-001")):
        assert client.get(path)["Location"].startswith("/sign-in/")
