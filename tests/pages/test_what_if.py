"""What if: a question in the address, answered by the rules of the next cycle, and not done."""

from __future__ import annotations

import re
from html import escape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.core.placement.values import Request
from controller.core.types import Instances
from controller.models import Action, AuditEvent, Proposal
from controller.selectors.situation import situation
from controller.views.what_if_form import names_of
from inventory.models import Binding, Fabric, LocalityDomain, Node, RoleSpec, Service, Switch
from tests.factories import (
    an_instance,
    make_cluster,
    make_hardware,
    make_nodes,
    make_service,
    observe,
)
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db
BASE = "/fleet/what-if/"
WRITES = re.compile(r"\s*(INSERT|UPDATE(?! .controller_session)|DELETE|TRUNCATE)", re.IGNORECASE)


@pytest.fixture
def chat() -> Service:
    """Four nodes of eight in one S1; 1 prefill of 2 on the first, 2 decode of 2 on the second."""
    make_nodes(make_cluster(), make_hardware(), 4)
    service = make_service("chat")
    observe(
        service,
        an_instance("chat-p-0", "h800-000"),
        an_instance("chat-d-0", "h800-001"),
        an_instance("chat-d-1", "h800-001"),
    )
    return service


@pytest.fixture
def reader(client: Client, chat: Service) -> Client:
    assert chat.slug == "chat"
    client.force_login(person("ana", "Viewer"))
    return client


def said(client: Client, query: str, status: int = 200) -> str:
    response = client.get(f"{BASE}?{query}")
    text = words(response.content.decode())
    assert response.status_code == status, text
    return text


def test_an_empty_fleet_says_how_to_fill_it(client: Client) -> None:
    client.force_login(person("ana", "Viewer"))
    assert "No node yet" in reading(client, BASE)


def test_strangers_sign_in_first(client: Client) -> None:
    assert client.get(BASE).status_code == 302


def test_where_nothing_is_asked_it_tells_how_much_more_fits(reader: Client) -> None:
    """26 GPUs are free in pieces of 6, 4, 8, 8: 13 slots of two, so 4 times 1 + 2."""
    text = reading(reader, BASE)
    assert "chat 0 1 prefill + 2 decode 4" in text
    assert "Would fit if" in text
    assert "inventory version" in text
    assert "computed in" in text


def test_more_of_a_service_goes_where_the_next_cycle_would_put_it(reader: Client) -> None:
    plan = situation().plan([Request("chat", Instances(1, 2))])
    text = said(reader, "ask=grow&service=chat&prefill=1&decode=2")
    assert "chat prefill +1, decode +2: all of it has room." in text
    assert "Would now go to" in text
    for one in plan.placements:
        assert one.instance in text
        assert one.nodes[0][0].partition("/")[2] in text
    assert "The most that fits at once is 4 × (1 prefill + 2 decode)" in text


def test_a_service_alone_asks_for_its_unit(reader: Client) -> None:
    assert "prefill +1, decode +2" in said(reader, "ask=grow&service=chat")


def test_what_has_no_room_says_what_would_make_it_fit(reader: Client) -> None:
    """14 decode of 2 on 13 slots is one too many, and 14 prefill beside them are many too many."""
    text = said(reader, "ask=grow&service=chat&prefill=14&decode=14")
    assert "there is room for 6 prefill, 6 decode" in text
    assert "No room for 8 prefill, 8 decode" in text
    assert "Neither moves of others nor lower priorities" in text


def test_lower_priorities_that_could_shrink_are_named(reader: Client) -> None:
    low = make_service("low", priority=0, limits={"minimum": 0})
    ones = [an_instance(f"low-d-{at}", f"h800-00{node}") for at, node in enumerate([2] * 4 + [3])]
    observe(low, an_instance("low-p-0", "h800-003"), *ones)
    Service.objects.filter(slug="chat").update(priority=5)
    text = said(reader, "ask=grow&service=chat&prefill=6&decode=6")
    assert "Lower priorities:" in text
    assert "Shrink low" in text


def test_fewer_instances_say_which_go(reader: Client) -> None:
    text = said(reader, "ask=grow&service=chat&decode=-1")
    assert "Taken away" in text
    assert "chat-d-" in text


def test_a_new_service_is_placed_beside_the_others(reader: Client) -> None:
    """Two nodes of eight are whole: one prefill and one decode of eight take both."""
    text = said(reader, "ask=new&level=s1&how=required")
    assert "what-if prefill +1, decode +1: all of it has room." in text
    assert "Whole nodes free: 2 → 0" in text
    again = said(reader, "ask=new&prefill_count=2&decode_count=1&level=s1&how=required")
    assert "there is no room" in again


def test_a_lost_node_tells_who_loses_what(reader: Client) -> None:
    """Both decode are lost with h800-001 and come back under the same S1."""
    text = said(reader, "ask=gone&kind=node&names=h800-001")
    assert "1 node with 8 GPUs would be gone with node h800-001 of eu-1-a" in text
    assert "hold 4 of these GPUs. 1 service would lose instances; none ends below" in text
    assert "chat 0 1 P, 2 D 0 P, 2 D 1 P, 0 D 1 P, 1 D 0 P, 2 D none none 1 P, 2 D as many" in text
    assert "chat-d-0: h800-001 → h800-000" in text


@pytest.mark.parametrize(
    ("kind", "name"),
    [("rack", "r01"), ("s1", "s1-01"), ("s2", "S2-01"), ("hardware", "h800")],
)
def test_all_of_it_gone_leaves_a_service_below_its_minimum(
    reader: Client, kind: str, name: str
) -> None:
    text = said(reader, f"ask=gone&kind={kind}&names={name}")
    assert "4 nodes with 32 GPUs would be gone" in text
    assert "1 would end below the minimum" in text
    assert "Whole nodes free: 2 → 0" in text


def test_all_under_a_switch_can_be_gone(reader: Client) -> None:
    cluster = make_cluster()
    fabric = Fabric.objects.create(cluster=cluster, name="ib", technology="infiniband")
    Switch.objects.create(cluster=cluster, fabric=fabric, name="leaf-1", tier=0)
    Switch.objects.create(cluster=cluster, fabric=fabric, name="leaf-2", tier=0)
    LocalityDomain.objects.filter(level="S1").update(switches=["leaf-1"])
    assert "4 nodes with 32 GPUs would be gone" in said(
        reader, "ask=gone&kind=switch&names=leaf-1"
    )
    assert "No node hangs under leaf-2." in said(reader, "ask=gone&kind=switch&names=leaf-2", 400)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        pytest.param("ask=nonsense", "There is no nonsense here", id="no such question"),
        pytest.param("ask=grow", "Choose a service.", id="no service"),
        pytest.param("ask=grow&service=nope", "There is no nope here to choose.", id="unknown"),
        pytest.param("ask=grow&service=chat&decode=x", "Enter a whole number.", id="no number"),
        pytest.param("ask=grow&service=chat&decode=9999", "less than or equal to", id="too many"),
        pytest.param(
            "ask=grow&service=chat&decode=-3", "chat has 2 decode instances.", id="3 of 2 go"
        ),
        pytest.param("ask=grow&service=chat&decode=0", "more or fewer", id="no change"),
        pytest.param("ask=gone", "Name at least one.", id="nothing named"),
        pytest.param("ask=gone&names=h800-009", "Is it h800-00", id="near misses are told"),
        pytest.param("ask=gone&names=h20-000", "it is in eu-1-b.", id="of the other cluster"),
        pytest.param("ask=gone&kind=s1&names=x%00y", "eu-1-a has no", id="a zero byte"),
        pytest.param("ask=gone&kind=pod&names=a", "There is no pod here", id="no such kind"),
        pytest.param("ask=gone&cluster=mars&names=a", "There is no mars", id="no such cluster"),
        pytest.param(
            "ask=gone&names=" + ",".join(f"n{at}" for at in range(65)), "65 names", id="65 names"
        ),
        pytest.param("ask=new&prefill_hardware=h20", "it is in eu-1-b.", id="elsewhere"),
        pytest.param("ask=new&prefill_gpus=9&prefill_nodes=2", "not the same on 2", id="9 / 2"),
        pytest.param("ask=new&prefill_count=0&decode_count=0", "how many", id="none of either"),
        pytest.param("ask=new&spread=s2", "Say over how many.", id="spread over nobody knows"),
        pytest.param(
            "ask=new&level=s2&spread=s1&domains=2", "Not nearer than", id="spread in a group"
        ),
    ],
)
def test_what_cannot_be_used_is_told_at_its_field(reader: Client, query: str, fault: str) -> None:
    make_nodes(make_cluster("eu-1-b"), make_hardware("h20"), 1)
    text = said(reader, query, 400)
    assert fault in text
    assert "There is no answer yet" in text
    typed = reader.get(f"{BASE}?{query}", headers={"HX-Request": "true"})
    assert typed.status_code == 200
    assert 'hx-swap-oob="true"' in typed.content.decode()
    assert fault in words(typed.content.decode())


def test_what_is_typed_is_shown_as_it_was_typed(reader: Client) -> None:
    query = 'ask=gone&names="><script>alert(1)</script>'
    page = reader.get(f"{BASE}?{query}").content.decode()
    assert "<script>alert(1)" not in page
    assert escape('"><script>alert(1)</script>') in page


def test_a_fault_of_another_question_does_not_count(reader: Client) -> None:
    assert "all of it has room" in said(reader, "ask=grow&service=chat&decode=1&domains=999")


def test_the_address_that_is_passed_on_has_only_what_counts(reader: Client) -> None:
    page = reader.get(f"{BASE}?ask=grow&service=chat&prefill=&decode=2&level=s1&names=x")
    assert 'data-permalink="ask=grow&amp;service=chat&amp;decode=2"' in page.content.decode()


def test_asking_writes_nothing(reader: Client) -> None:
    kinds = (Action, Proposal, AuditEvent, Binding)
    before = [kind.objects.count() for kind in kinds]
    nodes = list(Node.objects.values())
    for query in ("", "ask=grow&service=chat&decode=3", "ask=new", "ask=gone&kind=s2&names=s2-01"):
        with CaptureQueriesContext(connection) as asked:
            said(reader, query)
        assert [one["sql"] for one in asked if WRITES.match(one["sql"])] == []
    assert [kind.objects.count() for kind in kinds] == before
    assert list(Node.objects.values()) == nodes


@pytest.mark.parametrize(
    "query",
    ["", "ask=grow&service=chat&prefill=9&decode=9", "ask=new", "ask=gone&kind=s1&names=s1-01"],
)
def test_the_queries_do_not_grow_with_the_fleet(reader: Client, query: str) -> None:
    reader.get(f"{BASE}?{query}")
    with CaptureQueriesContext(connection) as one:
        said(reader, query)
    for at in (2, 3):
        service = make_service(f"chat-{at}")
        observe(service, an_instance(f"chat-{at}-d-0", "h800-002", group="g"))
        make_nodes(make_cluster(f"eu-{at}"), make_hardware(), 3)
    with CaptureQueriesContext(connection) as three:
        said(reader, query)
    assert len(three) == len(one)


def test_an_only_observed_service_is_told_as_such(reader: Client) -> None:
    Service.objects.update(mode="observe")
    assert "is only observed: nothing is done" in said(reader, "ask=gone&names=h800-001")
    assert "would not do it by itself" in said(reader, "ask=grow&service=chat")


def test_pages_lead_to_their_question(reader: Client) -> None:
    node = Node.objects.get(name="h800-001")
    assert node.rack is not None
    ask = "/fleet/what-if/?ask=gone&amp;cluster=eu-1-a&amp;kind="
    for path, link in (
        (node.get_absolute_url(), f"{ask}node&amp;names=h800-001"),
        (node.rack.get_absolute_url(), f"{ask}rack&amp;names=r01"),
        ("/services/chat/", "/fleet/what-if/?ask=grow&amp;service=chat"),
        ("/services/chat/placement/", "/fleet/what-if/?ask=grow&amp;service=chat"),
        ("/fleet/capacity/", 'href="/fleet/what-if/"'),
    ):
        assert link in reader.get(path).content.decode(), path


def test_a_report_is_told_with_its_time(reader: Client) -> None:
    assert timezone.now().strftime("%H:") in said(reader, "")


def test_roles_of_several_nodes_are_asked_for_whole(reader: Client) -> None:
    """An instance of 16 over two nodes takes the two that are whole."""
    RoleSpec.objects.filter(role="decode").update(gpus_per_instance=16, nodes_per_instance=2)
    text = said(reader, "ask=grow&service=chat&prefill=1&decode=1")
    assert "all of it has room" in text
    assert "Whole nodes free: 2 → 0" in text


def test_names_are_read_once_each() -> None:
    assert names_of(" a, b ,,a") == ["a", "b"]
