"""From a decision to GPUs: bound before it is sent, called off when places changed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import django_rq
import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from redis.exceptions import ConnectionError as BrokerError

from controller import loop, tasks, wiring
from controller.core.placement.plan_plain import spots_of
from controller.core.placement.preview import Situation
from controller.core.types import Instances
from controller.models import Action, Decision, Freeze, Proposal, ServiceStatus, Tick
from controller.models.clock import database_now
from controller.selectors.situation import refused_in_a_row, refused_requests, situation
from controller.services import actions, leadership, placing
from inventory.models import Binding, InventoryVersion, Node, RoleSpec, Service
from inventory.services.versions import stamp
from tests.clusters import Cluster
from tests.factories import (
    a_placement,
    make_action,
    make_binding,
    make_cluster,
    make_hardware,
    make_nodes,
    make_service,
    observe,
)
from tests.services.people import at_once
from tests.sources import HEALTHY, ArraySource

SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)
BUSY = {**HEALTHY, "decode_tps": 6000.0}
"""2 prefill and 4 decode instances become 3 and 6: 1 + 2 more, of 2 GPUs each."""


@pytest.fixture(autouse=True)
def queue_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every test go on by itself: nobody answers at the queue."""

    def refuse(_name: str) -> None:
        raise BrokerError("connection refused")

    monkeypatch.setattr(django_rq, "get_queue", refuse)


@pytest.fixture
def nodes() -> list[Node]:
    """Two nodes of eight GPUs under one S1."""
    return make_nodes(make_cluster(), make_hardware(), 2)


def tick(*busy: str) -> loop.Report:
    """Run one tick, a period after the last, in which some services want more."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("test", seconds=60)
    assert lease is not None
    source = ArraySource(values=dict.fromkeys(busy, BUSY))
    return loop.run(lease, source_of=lambda _: source, settings=SETTINGS)


def bound() -> dict[str, int]:
    """Return the GPUs that are promised or held by node."""
    held: dict[str, int] = {}
    for row in Binding.objects.filter(released_at=None).select_related("node"):
        name = row.node.name[-3:]
        held[name] = held.get(name, 0) + row.gpus.upper - row.gpus.lower
    return held


def cordon(*nodes: Node) -> None:
    Node.objects.filter(pk__in=[node.pk for node in nodes]).update(admin_state="cordoned")


def fill(service: Service, node: Node, gpus: int = 8) -> None:
    """Let somebody hold GPUs of a node."""
    make_binding(service, node, 0, gpus, place=f"full-{node.name}")


@pytest.mark.django_db
def test_an_action_waits_for_its_gpus_before_it_is_sent_s10_s19(nodes: list[Node]) -> None:
    make_service("chat")
    report = tick("chat")
    action = Action.objects.get()
    assert report.actions == (), "nothing may be sent yet"
    assert (action.state, action.is_bound) == ("recorded", False)
    assert len(action.placement["places"]) == 3
    assert bound() == {}
    cluster = Cluster()
    assert actions.run(action.pk, actuator_of=cluster.of) == "recorded"
    assert cluster.writes == []

    assert tasks.place() == "1 actions placed"
    action.refresh_from_db()
    assert (action.state, action.is_bound) == ("recorded", True)
    assert sum(bound().values()) == 6
    assert {row.action for row in Binding.objects.all()} == {action.pk}
    assert {row.state for row in Binding.objects.all()} == {"held"}
    assert nodes


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
def test_the_order_says_where_instances_go() -> None:
    make_service("chat")
    tick("chat")
    tasks.place()
    action, cluster = Action.objects.get(), Cluster()
    assert actions.run(action.pk, actuator_of=cluster.of) == "applied"
    (order,) = cluster.orders
    assert order.spots == spots_of(action.placement)
    assert sorted(str(spot.role) for spot in order.spots) == ["decode", "decode", "prefill"]
    taken = {node: 0 for spot in order.spots for node, _ in spot.nodes}
    for spot in order.spots:
        for node, gpus in spot.nodes:
            taken[node] += gpus
    assert {node[-3:]: gpus for node, gpus in taken.items()} == bound()
    assert order.leave == ()


@pytest.mark.django_db
def test_the_order_says_who_leaves(nodes: list[Node]) -> None:
    service = make_service("chat")
    observe(service, *({
        "name": f"chat-{role[0]}-{at}", "role": role, "group": "chat-g1",
        "node": nodes[0].name, "state": "ready",
    } for role, count in (("prefill", 1), ("decode", 3)) for at in range(count)))  # fmt: skip
    plan = a_placement(places=[], candidates=[])
    action = make_action(
        service, recorded_at=database_now(), to_prefill=2, to_decode=3, placement=plan
    )
    assert placing.place_due(situation) == [action.pk]
    cluster = Cluster()
    actions.run(action.pk, actuator_of=cluster.of)
    (order,) = cluster.orders
    assert len(order.leave) == 1
    assert order.leave[0].startswith("chat-d-")


@pytest.mark.django_db
def test_a_cordoned_node_calls_the_action_off_and_the_next_tick_decides_anew_i01_k16(
    nodes: list[Node],
) -> None:
    make_service("chat")
    tick("chat")
    cordon(*nodes)
    assert tasks.place() == "0 actions placed"
    first = Action.objects.get()
    assert first.state == "cancelled"
    assert first.error.startswith("There is room for 0 of 1 prefill instances now. ")
    assert bound() == {}
    cluster = Cluster()
    actions.run(first.pk, actuator_of=cluster.of)
    assert cluster.writes == []

    tick("chat")
    blocked = ServiceStatus.objects.get().decision
    assert (blocked.move, blocked.code) == ("blocked", "NO_CAPACITY_SKU")
    Node.objects.update(admin_state="in_service")
    tick("chat")
    tasks.place()
    assert sum(bound().values()) == 6


@pytest.mark.django_db
def test_another_node_of_the_same_kind_will_do(nodes: list[Node]) -> None:
    make_service("chat")
    tick("chat")
    planned = {name for one in Action.objects.get().placement["places"] for name in one["nodes"]}
    gone = [node for node in nodes if node.name in planned]
    assert len(gone) == 1, "6 GPUs fit on one node of 8"
    cordon(*gone)
    assert tasks.place() == "1 actions placed"
    (left,) = {node.name[-3:] for node in nodes} - {gone[0].name[-3:]}
    assert bound() == {left: 6}
    assert Action.objects.get().placement["places"][0]["nodes"].keys() == {f"h800-{left}"}


def _edited(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(gpus=4)


def _moved(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(s1_domain=None)


def _removed(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(lifecycle="retired")


def _tainted(node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(taints=["dedicated=tests"])


@pytest.mark.django_db
@pytest.mark.parametrize("change", [cordon, _edited, _moved, _removed, _tainted])
@pytest.mark.parametrize("mode", ["automatic", "approve"])
def test_nodes_that_change_between_binding_and_sending_stop_it_s20_i01(
    nodes: list[Node], change: Callable[[Node], None], mode: str
) -> None:
    service = make_service("chat", mode=mode)
    tick("chat")
    if mode == "approve":
        _approve(Proposal.objects.get())
        actions.start_approved(Proposal.objects.get().pk)
    tasks.place()
    assert sum(bound().values()) == 6
    change(nodes[1])
    cluster, action = Cluster(), Action.objects.get()
    assert actions.run(action.pk, actuator_of=cluster.of) == "cancelled"
    assert cluster.writes == []
    assert bound() == {}, "what was promised is let go"
    action.refresh_from_db()
    assert action.error == "The nodes it was placed on have changed since."
    if mode == "approve":
        assert Proposal.objects.get(service=service).state == "stale"


@pytest.mark.django_db
def test_what_changes_elsewhere_stops_nothing(nodes: list[Node]) -> None:
    make_service("chat")
    tick("chat")
    tasks.place()
    make_nodes(make_cluster("eu-1-b"), make_hardware("h20"), 1)
    Node.objects.filter(pk=nodes[0].pk).update(serial="abc")
    cluster = Cluster()
    assert actions.run(Action.objects.get().pk, actuator_of=cluster.of) == "applied"


@pytest.mark.django_db
def test_two_services_want_the_last_gpus_in_one_cycle_i07(nodes: list[Node]) -> None:
    for slug in ("chat", "code"):
        make_service(slug)
    cordon(nodes[1])
    tick("chat", "code")
    assert Action.objects.count() == 1, "8 GPUs are enough for 6, not for 12"
    held = Decision.objects.get(gate="none")
    assert held.code in {"NO_CAPACITY_SKU", "NO_CAPACITY_DOMAIN", "FRAGMENTED"}
    tasks.place()
    assert bound() == {"000": 6}


@pytest.mark.django_db(transaction=True)
def test_two_services_want_the_last_gpus_in_two_cycles_at_once_i07() -> None:
    make_nodes(make_cluster(), make_hardware(), 1)
    for slug in ("chat", "code"):
        make_action(make_service(slug), recorded_at=database_now(), placement=a_placement())
    given = at_once(*[lambda: placing.place_due(situation)] * 2)
    assert sorted(len(each) for each in given) == [0, 1], given
    assert bound() == {"000": 6}
    states = sorted(Action.objects.values_list("state", "is_bound"))
    assert states == [("cancelled", False), ("recorded", True)]
    lost = Action.objects.get(state="cancelled")
    assert lost.error.startswith("There is room for 0 of 1 prefill instances now.")


@pytest.mark.django_db(transaction=True)
def test_what_somebody_binds_during_a_cycle_is_not_given_twice_i07_s19() -> None:
    (node,) = make_nodes(make_cluster(), make_hardware(), 1)
    service = make_service("chat")
    make_action(service, recorded_at=database_now(), placement=a_placement())

    def read() -> Situation:
        seen = situation()
        fill(service, node)
        return seen

    assert placing.place_due(read) == []
    assert bound() == {"000": 8}
    assert Action.objects.get().error.startswith("What it was placed on is taken: h800-000 has 0")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("edits", "after"),
    [
        pytest.param(1, {"001": 6}, id="once: the second try sees it"),
        pytest.param(2, {"001": 6}, id="twice: so does the third"),
        pytest.param(3, {}, id="all three times: the sweep goes on with it"),
    ],
)
def test_a_cycle_during_which_the_inventory_is_edited_is_computed_again_i01(
    edits: int, after: dict[str, int]
) -> None:
    first, _ = make_nodes(make_cluster(), make_hardware(), 2)
    make_action(make_service("chat"), recorded_at=database_now(), placement=a_placement())
    times = iter(range(edits))

    def edit() -> None:
        cordon(first)
        stamp(InventoryVersion.Cause.EDIT, "ana")

    def read() -> Situation:
        seen = situation()
        if next(times, None) is not None:
            at_once(edit)
        return seen

    assert len(placing.place_due(read)) == bool(after)
    assert bound() == after, "never on the node that was cordoned"
    assert Action.objects.get().state == "recorded"


def _approve(proposal: Proposal) -> None:
    ana = User.objects.create_user("ana")
    ana.user_permissions.add(Permission.objects.get(codename="approve_proposal"))
    Proposal.objects.filter(pk=proposal.pk).update(
        state="approved", decided_by=ana, decided_at=database_now()
    )


@pytest.mark.django_db
def test_an_approval_whose_place_is_gone_ends_as_stale_a03(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_service("chat", mode="approve")
    tick("chat")
    proposal = Proposal.objects.get()
    assert len(proposal.placement["places"]) == 3
    _approve(proposal)
    cordon(*nodes)
    cluster = Cluster()
    monkeypatch.setattr(wiring, "actuator_of", cluster.of)
    assert tasks.run_proposal(proposal.pk) == "cancelled"
    proposal.refresh_from_db()
    assert proposal.state == "stale"
    assert proposal.closed_reason.startswith("There is room for 0 of 1 prefill instances now. ")
    assert cluster.writes == []


@pytest.mark.django_db
def test_an_approval_whose_nodes_merely_differ_runs(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_service("chat", mode="approve")
    tick("chat")
    proposal = Proposal.objects.get()
    planned = {name for one in proposal.placement["places"] for name in one["nodes"]}
    _approve(proposal)
    cordon(*[node for node in nodes if node.name in planned])
    cluster = Cluster()
    monkeypatch.setattr(wiring, "actuator_of", cluster.of)
    assert tasks.run_proposal(proposal.pk) == "applied"
    proposal.refresh_from_db()
    assert proposal.state == "applied"
    used = {name for spot in cluster.orders[0].spots for name, _ in spot.nodes}
    assert used.isdisjoint(planned)


@pytest.mark.django_db
def test_no_room_is_a_decision_that_says_why_and_what_would_help(nodes: list[Node]) -> None:
    service = make_service("chat")
    fill(service, nodes[0])
    fill(service, nodes[1], 6)
    tick("chat")
    assert not Action.objects.exists()
    decision = Decision.objects.get()
    assert (decision.move, decision.gate, decision.code) == ("blocked", "none", "NO_CAPACITY_SKU")
    assert decision.sentence.startswith("Wanted decode 4 → 6, prefill 2 → 3, and there is no room")
    assert "It would fit with" in decision.sentence
    assert (decision.final_prefill, decision.final_decode) == (2, 4)
    assert decision.steps[-1]["name"] == "placement"


@pytest.mark.django_db
def test_how_often_in_a_row_it_was_refused_counts(nodes: list[Node]) -> None:
    service = make_service("chat")
    cordon(*nodes)
    for times in (1, 2, 3):
        tick("chat")
        assert refused_in_a_row() == {"chat": times}
    (request,) = refused_requests(database_now())
    assert (request.service, request.change, request.refused) == ("chat", Instances(1, 2), 3)
    Node.objects.update(admin_state="in_service")
    tick("chat")
    assert refused_in_a_row() == {}
    assert refused_requests(database_now()) == []
    assert Action.objects.filter(service=service).count() == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("when", ["before it is bound", "before it is sent"])
def test_a_freeze_lets_go_of_what_was_promised_s16(when: str) -> None:
    make_service("chat")
    tick("chat")
    freeze = Freeze(service=None, by_name="ana", reason="stop", since=database_now())
    if when == "before it is bound":
        freeze.save()
    tasks.place()
    freeze.save()
    cluster = Cluster()
    assert actions.run(Action.objects.get().pk, actuator_of=cluster.of) == "cancelled"
    assert (cluster.writes, bound()) == ([], {})


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("trouble", ["refused", "conflict"])
def test_a_failed_action_lets_go_of_what_was_promised(trouble: str) -> None:
    make_service("chat")
    tick("chat")
    tasks.place()
    cluster = Cluster(version=9) if trouble == "conflict" else Cluster(trouble=["refused"])
    assert actions.run(Action.objects.get().pk, actuator_of=cluster.of) == "failed"
    assert bound() == {}


@pytest.mark.django_db
def test_a_cluster_of_which_no_node_is_known_passes_as_before() -> None:
    make_service("chat")
    report = tick("chat")
    action, cluster = Action.objects.get(), Cluster()
    assert (action.placement, report.actions) == (None, (action.pk,))
    assert tasks.place() == "0 actions placed"
    assert actions.run(action.pk, actuator_of=cluster.of) == "applied"
    (order,) = cluster.orders
    assert (order.spots, order.leave, order.moves) == ((), (), ())


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
def test_the_sweep_places_and_sends_what_the_queue_lost_r01_r02(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_service("chat")
    tick("chat")
    Action.objects.update(recorded_at=database_now() - timedelta(seconds=10))
    cluster = Cluster()
    monkeypatch.setattr(wiring, "actuator_of", cluster.of)
    tasks.sweep()
    assert Action.objects.get().state == "applied"
    assert sum(bound().values()) == 6
    tasks.sweep()
    assert len(cluster.writes) == 1, "once (R05)"


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
def test_placing_again_promises_nothing_twice_r05() -> None:
    make_service("chat")
    tick("chat")
    assert [tasks.place() for _ in range(2)] == ["1 actions placed", "0 actions placed"]
    assert sum(bound().values()) == 6


def _bad_labels(service: Service) -> None:
    RoleSpec.objects.filter(service=service, role="decode").update(select={"zone": 5})


def _bad_spread(service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(spread_level="rack")


def _no_gpus(service: Service) -> None:
    RoleSpec.objects.filter(service=service, role="decode").update(nodes_per_instance=0)


def _bad_level(service: Service) -> None:
    Service.objects.filter(pk=service.pk).update(affinity_level="rack")


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("spoil", [_bad_labels, _bad_spread, _bad_level, _no_gpus])
def test_a_bad_row_holds_its_own_service_only_s24(spoil: Callable[[Service], None]) -> None:
    bad = make_service("bad")
    make_service("chat")
    spoil(bad)
    tick("bad", "chat")
    action = Action.objects.get()
    assert (action.service.slug, len(action.placement["places"])) == ("chat", 3)
    held = Decision.objects.get(service=bad)
    assert (held.move, held.gate, held.code) == ("blocked", "none", "EXECUTOR_ERROR")
    assert held.sentence.startswith("Wanted decode 4 → 6, prefill 2 → 3, and nothing grows: ")
    assert "Where it would go can't be worked out (" in held.sentence
    assert ServiceStatus.objects.get(service=bad).failure == "", "it is observed all the same"
    assert tasks.place() == "1 actions placed"
    assert refused_requests(database_now()) == [], "no room would help"


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
def test_an_action_that_cannot_be_placed_ends_and_the_others_go_on_s24() -> None:
    now = database_now()
    bad, chat = make_service("bad"), make_service("chat")
    broken = make_action(bad, recorded_at=now, placement={"places": "?"})
    good = make_action(chat, recorded_at=now, placement=a_placement())
    assert placing.place_due(situation) == [good.pk]
    broken.refresh_from_db()
    assert broken.state == "cancelled"
    assert broken.error.startswith("It can't be placed: ")


@pytest.mark.django_db
def test_a_service_unreadable_since_its_action_was_recorded_is_called_off_s24(
    nodes: list[Node],
) -> None:
    bad, chat = make_service("bad"), make_service("chat")
    tick("bad", "chat")
    _bad_labels(bad)
    assert tasks.place() == "1 actions placed"
    called_off = Action.objects.get(service=bad)
    assert called_off.state == "cancelled"
    assert "TypeError" in called_off.error
    assert Action.objects.get(service=chat).is_bound
    assert nodes


@pytest.mark.django_db
@pytest.mark.usefixtures("nodes")
@pytest.mark.parametrize("name", ["situation", "preview", "refused_in_a_row"])
def test_a_tick_goes_on_without_placement_s24(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object) -> None:
        raise RuntimeError("out of ideas")

    monkeypatch.setattr(loop, name, fail)
    make_service("chat")
    idle = make_service("idle", policy={"cooldown_in_s": 0.0, "stabilisation_s": 0.0})
    make_service("calm")
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("test", seconds=60)
    assert lease is not None
    source = ArraySource(values={"chat": BUSY, "idle": {**HEALTHY, "decode_tps": 2000.0}})
    report = loop.run(lease, source_of=lambda _: source, settings=SETTINGS)
    assert report.decisions == 3
    held = Decision.objects.get(service__slug="chat")
    assert (held.move, held.gate, held.code) == ("blocked", "none", "EXECUTOR_ERROR")
    assert "out of ideas" in held.sentence
    assert Tick.objects.get().failures == {}, "they are observed all the same"
    action = Action.objects.get()
    assert (action.service, action.placement) == (idle, None), "what shrinks needs no place"


@pytest.mark.django_db
def test_what_is_wrong_with_reports_or_moves_keeps_nobody_from_gpus_s24(
    nodes: list[Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise ValueError("a report that can't be read")

    monkeypatch.setattr(tasks, "settle", fail)
    monkeypatch.setattr(tasks.rearranging, "advance", fail)
    make_service("chat")
    tick("chat")
    assert tasks.place() == "1 actions placed"
    assert nodes


def _queries(act: Callable[[], object]) -> int:
    with CaptureQueriesContext(connection) as queries:
        act()
    return len(queries)


@pytest.mark.django_db
def test_queries_do_not_grow_with_services() -> None:
    """A tick in which all want more, and a cycle in which one of them gets it."""
    counts = []
    for services in (1, 3):
        Service.objects.all().delete()
        Node.objects.all().delete()
        make_nodes(make_cluster(), make_hardware(), 4)
        slugs = [f"s{at}" for at in range(services)]
        for slug in slugs:
            make_service(slug)
        tick()
        in_tick = _queries(lambda slugs=slugs: tick(*slugs))
        assert Action.objects.count() == services
        Action.objects.exclude(service__slug="s0").delete()
        counts.append((in_tick, _queries(tasks.place)))
        assert Action.objects.get().is_bound
    assert counts[0] == counts[1]
