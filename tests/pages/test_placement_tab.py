"""The placement tab as the operator reads it, and where a change would go on its own pages."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from controller.models import AuditEvent, ServiceStatus
from inventory.models import LocalityDomain, Node, RoleHardware, RoleSpec, Service
from tests import factories
from tests.charts.reading import validated
from tests.factories import a_placement, an_instance, make_binding, observe
from tests.pages.reading import reading, words
from tests.services.people import person

TAB = "/services/chat/placement/"
FIGURE = "/api/v1/figures/placement-map"
RULES = {
    "affinity_level": "s1",
    "affinity_required": "yes",
    "spread_level": "s2",
    "spread_domains": "3",
    "reason": "KV is slow over S2",
}

pytestmark = pytest.mark.django_db


@pytest.fixture
def vera(client: Client) -> Client:
    """A viewer who is signed in."""
    client.force_login(person("vera", "Viewer"))
    return client


@pytest.fixture
def pia() -> Client:
    """A policy editor who is signed in."""
    client = Client()
    client.force_login(person("pia", "Policy editor"))
    return client


@pytest.fixture
def service() -> Service:
    """The service chat on a cluster with four nodes under one S1 of two GPU types."""
    service = factories.make_service("chat")
    factories.make_nodes(service.cluster, factories.make_hardware())
    LocalityDomain.objects.filter(level="S1").update(subgroup="S1 heterogeneous", rank=2)
    return service


def elsewhere(service: Service, name: str, s1: str = "s1-02") -> Node:
    """Return one more node under another S1 of the same S2."""
    s2 = LocalityDomain.objects.get(level="S2")
    domain = LocalityDomain.objects.get_or_create(
        cluster=service.cluster, level="S1", key=s1, defaults={"name": s1, "parent": s2}
    )[0]
    return Node.objects.create(
        cluster=service.cluster,
        name=name,
        hardware=factories.make_hardware(),
        s1_domain=domain,
        s2_domain=s2,
        gpus=8,
    )


def test_the_tab_says_how_near_prefill_and_decode_are(vera: Client, service: Service) -> None:
    elsewhere(service, "far-1")
    observe(
        service,
        an_instance("chat-p-1", "h800-000"),
        an_instance("chat-d-1", "h800-000"),
        an_instance("chat-d-2", "h800-001"),
        an_instance("chat-d-3", "far-1"),
    )
    page = reading(vera, TAB)
    assert "1 prefill and 3 decode instances in 1 group." in page
    # One prefill with each of three decode instances, two of them under its S1.
    assert "P and D share S1: 67 % of pairs, S2: 100 %." in page
    assert "KV moves from any prefill to any decode instance of a group" in page
    assert "S2 s2-01 not known 1 3 0.33" in page
    assert 'aria-current="page">Placement' in vera.get(TAB).content.decode()


def test_a_group_is_told_with_domain_scarcity_instances_and_gpus(
    vera: Client, service: Service
) -> None:
    one, two = Node.objects.order_by("name")[:2]
    make_binding(service, one, 0, 2, role="prefill", instance="chat-p-1", place="chat-p-1")
    make_binding(service, one, 2, 3, instance="chat-d-1", place="chat-d-1")
    make_binding(service, one, 5, 6, instance="chat-d-1", place="chat-d-1")
    observe(
        service,
        an_instance("chat-p-1", "h800-000"),
        an_instance("chat-d-1", "h800-000"),
        an_instance("chat-d-2", "h800-001,h800-002", state="starting"),
    )
    page = reading(vera, TAB)
    assert "chat-g1 S1 s1-01 S1 heterogeneous: high priority to spare 1 2 0.50" in page
    assert "in 1 group, 2 of them ready. P and D share S1: 100 % of pairs" in page
    assert "chat-p-1 prefill, ready → h800-000 GPUs 0–1" in page
    assert "chat-d-1 decode, ready → h800-000 GPUs 2, 5" in page
    # Two GPUs an instance over two nodes: one of each.
    assert "chat-d-2 decode, starting → h800-001 1 GPU , h800-002 1 GPU" in page
    html = vera.get(TAB).content.decode()
    assert 'href="/fleet/topology/?cluster=eu-1-a&amp;focus=s1%3As1-01"' in html
    assert f'href="/fleet/nodes/eu-1-a/{two.name}/"' in html


def test_groups_stand_in_the_order_people_count(vera: Client, service: Service) -> None:
    observe(
        service,
        *(an_instance(f"d-{at}", "h800-000", group=f"chat-g{at}") for at in (10, 9, 1)),
        an_instance("d-0", "h800-000", group=""),
    )
    page = reading(vera, TAB)
    order = [page.index(f"{name} S1 s1-01") for name in ("chat-g1", "chat-g9", "chat-g10")]
    assert [page.index("without a group S1 s1-01"), *order] == sorted(
        [page.index("without a group S1 s1-01"), *order]
    )


def test_what_is_wrong_with_a_place_stands_beside_it(vera: Client, service: Service) -> None:
    node = Node.objects.get(name="h800-000")
    Node.objects.filter(name="h800-001").update(
        admin_state="cordoned", admin_reason="fan", health="ok"
    )
    make_binding(service, node, 0, 2, instance="chat-d-1", place="chat-d-1", state="running")
    observe(
        service,
        an_instance("chat-d-1", "h800-001"),
        an_instance("chat-d-2", "ghost-7"),
        an_instance("chat-d-3", "", state="starting", group="chat-g2"),
    )
    page = reading(vera, TAB)
    assert (
        "chat-d-1 decode, ready → h800-001 2 GPUs takes no new instance: it is cordoned; fan"
        in (page)
    )
    assert "promised on h800-000" in page
    assert "2 instances, 2 marked" in page.replace(" ,", ",")
    assert "ghost-7 2 GPUs not in the inventory" in page
    assert "chat-d-3 decode, starting → no node yet" in page
    assert "chat-g1 not known — 0 2 0.00" in page


@pytest.mark.usefixtures("service")
def test_what_is_configured_is_told_role_by_role(vera: Client) -> None:
    Service.objects.update(
        affinity_level="s1", affinity_required=True, spread_level="s2", spread_domains=3
    )
    role = RoleSpec.objects.get(role="decode")
    RoleHardware.objects.create(
        role=role,
        hardware=factories.make_hardware("l20"),
        gpus_per_instance=4,
        throughput=0.5,
    )
    RoleSpec.objects.filter(role="decode").update(
        nodes_per_instance=2, select={"zone": ["a", "b"]}, tolerate=["dedicated=llm"]
    )
    page = reading(vera, TAB)
    for said in (
        "Affinity a group shares one S1 switch, required: rather not placed than farther apart",
        "Spread over at least 3 of level S2 switch",
        "Decode runs on 2 GPUs on H800, or 4 GPUs on L20 at 0.5 × the throughput",
        "Decode instance 2 whole nodes under one S1",
        "Decode needs labels zone=a|b",
        "Decode tolerates dedicated=llm",
        "Prefill runs on 2 GPUs on H800 Prefill instance part of one node, or all of it",
    ):
        assert said in page, said


def test_what_is_promised_and_not_seen_is_listed_with_its_change(
    vera: Client, service: Service
) -> None:
    decision = factories.make_decision(service)
    action = factories.make_action(service, decision=decision, placement=a_placement())
    node = Node.objects.get(name="h800-003")
    make_binding(service, node, 4, 8, action=action.pk)
    make_binding(service, node, 0, 1, place="gone", released_at=timezone.now())
    observe(service, an_instance("chat-d-1", "h800-000"))
    page = reading(vera, TAB)
    assert "new-1 decode chat-g1 h800-003 GPUs 4–7 4 promised" in page
    assert "decode 4 → 6, prefill 2 → 3" in page
    assert f'href="/decisions/{decision.pk}/"' in vera.get(TAB).content.decode()
    assert "gone" not in page


def test_the_last_placement_is_told_with_what_lost(vera: Client, service: Service) -> None:
    short = {
        "prefill": 0,
        "decode": 2,
        "code": "FRAGMENTED",
        "sentence": "8 GPUs are free, no two together.",
        "would_fit_if": "one instance moved off h800-002.",
    }
    gone = {
        "instance": "chat-d-2",
        "role": "decode",
        "group": "chat-g1",
        "nodes": {"h800-002": 2},
        "why": "the least in its domain",
    }
    moved = {
        "service": "chat",
        "instance": "chat-d-3",
        "role": "decode",
        "group": "chat-g1",
        "from_nodes": {"h800-002": 2},
        "to_nodes": {"h800-003": 2},
        "cluster": "eu-1-a",
    }
    plan = a_placement(unplaced=short, removals=[gone], moves=[moved])
    factories.make_action(service, placement=plan, state="ready", is_bound=True)
    page = reading(vera, TAB)
    for said in (
        "Went to: S1 s1-01 (1 prefill, 2 decode on 2 nodes), joins chat-g1",
        "No room for 2 decode FRAGMENTED : 8 GPUs are free, no two together.",
        "Would fit if one instance moved off h800-002.",
        "chat-d-2 decode chat-g1 h800-002 2 the least in its domain",
        "chat-d-3 chat decode h800-002 2 h800-003 2",
        "2 domains looked at",
        "S1 s1-01 3 low 2 chat-g1 chosen",
        "S1 s1-02 5 high 6 a new group more scarce",
    ):
        assert said in page, said
    assert "computed again" not in page


def test_the_newest_of_action_and_proposal_is_the_last(vera: Client, service: Service) -> None:
    factories.make_action(service, placement=a_placement(), state="ready")
    later = factories.NOW + timedelta(minutes=1)
    factories.make_proposal(
        service, placement=a_placement(), evidence_at=later, to_prefill=2, to_decode=9
    )
    page = reading(vera, TAB)
    assert "Last placement decided decode 4 → 9 , " in page
    assert "Would go to: S1 s1-01" in page
    assert "It is computed again when it is carried out." in page


def test_nothing_placed_by_us_is_said_honestly(vera: Client, service: Service) -> None:
    factories.make_action(service, state="ready")
    observe(service, an_instance("chat-d-1", "h800-000"))
    page = reading(vera, TAB)
    assert "Nothing was placed by us yet: where instances are was chosen by the cluster" in page
    assert "No pair yet." in page


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        pytest.param(2, "1 decode instance in 1 group.", id="2 min ago: fresh"),
        pytest.param(25, "Not observed since", id="25 min ago: stale"),
    ],
)
def test_old_places_are_told_as_old(
    vera: Client, service: Service, minutes: int, said: str
) -> None:
    at = timezone.now() - timedelta(minutes=minutes)
    observe(service, an_instance("chat-d-1", "h800-000"), at=at)
    page = reading(vera, TAB)
    assert said in page
    assert ("25 min ago" in page) == (minutes > 10)
    assert ("where instances were, not where they are" in page) == (minutes > 10)


def test_never_reported_and_none_reported_are_two_things(vera: Client, service: Service) -> None:
    observe(service)
    assert "No instance is reported; last asked" in reading(vera, TAB)
    ServiceStatus.objects.update(observed_at=None)
    page = reading(vera, TAB)
    assert "eu-1-a never reported this service, so it is not known where it runs." in page
    assert "No instance is reported, so there is no group." in page


@pytest.mark.usefixtures("service")
def test_looking_changes_nothing_and_needs_a_session(client: Client) -> None:
    assert client.get(TAB).status_code == 302
    client.force_login(person("vera", "Viewer"))
    assert "Shown only: changing a policy needs the role Policy editor." in reading(client, TAB)
    refused = client.post(TAB, RULES | {"version": "1"})
    assert refused.status_code == 403
    assert "needs the role Policy editor" in words(refused.content.decode())
    assert Service.objects.get().affinity_level == "s2"
    assert client.get("/services/nowhere/placement/").status_code == 404


@pytest.mark.usefixtures("service")
def test_the_rules_are_changed_with_a_reason_and_audited(pia: Client) -> None:
    saved = pia.post(TAB, RULES | {"version": "1"}, follow=True)
    assert "Saved: what is placed from now on keeps to it; nothing is moved." in words(
        saved.content.decode()
    )
    row = Service.objects.get()
    assert (row.affinity_level, row.affinity_required) == ("s1", True)
    assert (row.spread_level, row.spread_domains, row.version) == ("s2", 3, 2)
    event = AuditEvent.objects.get(verb="changed placement of")
    assert (event.actor, event.service, event.reason) == ("pia", "chat", "KV is slow over S2")
    assert event.before == {
        "affinity_level": "s2",
        "affinity_required": False,
        "spread_level": "",
        "spread_domains": 2,
    }


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        pytest.param(
            {"affinity_level": "s2", "spread_level": "s1"},
            "spread_level",
            "A group shares one S2 switch: it can't be spread over several S1 switch domains.",
            id="spread over S1, a group shares S2",
        ),
        pytest.param({"spread_domains": "1"}, "spread_domains", "greater than", id="over 1"),
        pytest.param({"reason": " "}, "reason", "reason", id="no reason"),
    ],
)
def test_rules_that_can_not_be_used_are_refused_by_field(
    pia: Client, service: Service, changed: dict[str, str], field: str, said: str
) -> None:
    answer = pia.post(TAB, RULES | {"version": "1"} | changed)
    assert answer.status_code == 400
    shown = re.search(rf'id="id_{field}_error">(.*?)</p>', answer.content.decode(), re.DOTALL)
    assert shown is not None
    assert said in words(shown[1])
    assert Service.objects.get().version == service.version == 1


@pytest.mark.usefixtures("service")
def test_nobody_saves_over_a_change_unseen(pia: Client) -> None:
    pia.post(TAB, RULES | {"version": "1"})
    late = pia.post(TAB, RULES | {"version": "1", "spread_domains": "5"})
    page = words(late.content.decode())
    assert late.status_code == 409
    assert "chat was changed since you opened it, last by pia" in page
    assert Service.objects.get().spread_domains == 3
    # What was typed is still there, on top of the version that came first.
    assert 'name="spread_domains" value="5"' in late.content.decode()
    assert 'name="version" value="2"' in late.content.decode()
    again = pia.post(TAB, RULES | {"version": "2"})
    assert "Nothing differs" in words(again.content.decode())


def test_more_instances_cost_no_further_query(vera: Client, service: Service) -> None:
    nodes = list(Node.objects.order_by("name"))
    action = factories.make_action(service, placement=a_placement())
    costs = []
    for count in (1, 3):
        make_binding(
            service,
            nodes[count],
            place=f"new-{count}",
            action=action.pk,
            group=f"g{count}",
        )
        observe(
            service,
            *(
                an_instance(f"chat-{role}-{at}", nodes[at].name, group=f"g{at}")
                for at in range(count)
                for role in ("p", "d")
            ),
        )
        for path in (TAB, f"{FIGURE}?service=chat", "/services/chat/"):
            vera.get(path)
            with CaptureQueriesContext(connection) as queries:
                vera.get(path)
            costs.append(len(queries))
    assert costs[:3] == costs[3:]
    assert costs[0] <= 24


def test_the_figure_has_a_cell_a_node_with_letters_and_a_table(
    vera: Client, service: Service
) -> None:
    observe(
        service,
        an_instance("chat-p-1", "h800-000"),
        an_instance("chat-d-1", "h800-000"),
        an_instance("chat-d-2", "h800-000"),
    )
    figure = vera.get(FIGURE, {"service": "chat"}).json()
    known, unknown = figure["data"]
    assert [trace.type for trace in validated(figure).data] == ["heatmap", "heatmap"]
    assert known["y"] == ["s1-01"]
    # Three instances of two GPUs on a node of eight.
    assert known["z"] == [[75.0, 0.0, 0.0, 0.0]]
    assert known["text"] == [["PDD<br>75 %", "0 %", "0 %", "0 %"]]
    assert unknown["text"] == [["", "", "", ""]]
    assert figure["table"]["rows"][0] == ["s1-01", 1, "h800-000", 8, 6, 75, 1, 2]
    assert figure["summary"] == "chat is on 1 node of 1 S1 domain."
    csv = vera.get(FIGURE, {"service": "chat", "format": "csv"})
    assert csv.content.startswith(b"S1 domain,position,node,GPUs,GPUs in use,in use [%]")


def test_of_many_domains_the_first_are_drawn(vera: Client, service: Service) -> None:
    nodes = [elsewhere(service, f"far-{at:02}", f"su-{at:02}") for at in range(42)]
    observe(service, *(an_instance(f"chat-d-{node.name}", node.name) for node in nodes))
    figure = vera.get(FIGURE, {"service": "chat"}).json()
    assert len(figure["table"]["rows"]) == 40
    assert figure["table"]["rows"][-1][0] == "su-39"
    assert figure["summary"].endswith("The first 40 of 42 S1 domains, by name.")


def test_what_other_services_use_and_what_is_not_known_is_in_the_figure(
    vera: Client, service: Service
) -> None:
    other = factories.make_service("search")
    observe(other, an_instance("search-d-1", "h800-001"))
    Node.objects.filter(name="h800-002").update(health="unknown")
    Node.objects.filter(name="h800-003").update(s1_domain=None)
    observe(
        service,
        an_instance("chat-d-1", "h800-000"),
        an_instance("chat-d-2", "h800-003"),
        an_instance("chat-d-3", "ghost"),
    )
    figure = vera.get(FIGURE, {"service": "chat"}).json()
    assert figure["table"]["rows"] == [
        ["s1-01", 1, "h800-000", 8, 2, 25, 0, 1],
        ["s1-01", 2, "h800-001", 8, 2, 25, 0, 0],
        ["s1-01", 3, "h800-002", 8, None, None, 0, 0],
        ["no S1 named", 1, "h800-003", 8, 2, 25, 0, 1],
    ]
    assert "chat runs on 1 node that is not in the inventory." in figure["summary"]


def test_the_page_of_the_service_leads_to_the_tab(vera: Client, service: Service) -> None:
    observe(service, an_instance("chat-p-1", "h800-000"), an_instance("chat-d-1", "h800-001"))
    page = reading(vera, "/services/chat/")
    assert "Placement : 1 group · P and D share S1: 100 % of pairs" in page
    assert f'<a href="{TAB}">Placement</a>' in vera.get("/services/chat/").content.decode()


@pytest.mark.parametrize("is_open", [True, False])
def test_a_proposal_says_where_it_would_go(
    vera: Client, service: Service, *, is_open: bool
) -> None:
    now = timezone.now()
    proposal = factories.make_proposal(
        service,
        placement=a_placement(),
        state="pending" if is_open else "rejected",
        expires_at=now + timedelta(minutes=9),
    )
    page = reading(vera, f"/approvals/{proposal.pk}/")
    told = "Would go to" if is_open else "Would have gone to"
    assert f"{told}: S1 s1-01 (1 prefill, 2 decode on 2 nodes), joins chat-g1" in page
    assert ("It is computed again when it is carried out." in page) is is_open
    assert "S1 s1-02 5 high 6 a new group more scarce" in page


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        pytest.param({}, "Would go to", id="recorded, not bound"),
        pytest.param({"is_bound": True}, "Goes to", id="bound"),
        pytest.param({"state": "ready", "is_bound": True}, "Went to", id="carried out"),
        pytest.param({"state": "cancelled"}, "Would have gone to", id="cancelled"),
    ],
)
def test_a_decision_says_where_its_change_goes(
    vera: Client, service: Service, fields: dict[str, object], told: str
) -> None:
    decision = factories.make_decision(service, move="scale_out", gate="act")
    factories.make_action(service, decision=decision, placement=a_placement(), **fields)
    page = reading(vera, f"/decisions/{decision.pk}/")
    assert f"{told}: S1 s1-01 (1 prefill, 2 decode on 2 nodes), joins chat-g1" in page


def test_a_change_that_nobody_placed_says_nothing_of_places(
    vera: Client, service: Service
) -> None:
    decision = factories.make_decision(service, move="scale_out", gate="act")
    factories.make_action(service, decision=decision)
    assert "looked at" not in reading(vera, f"/decisions/{decision.pk}/")
