"""What a placement cycle is asked about: free is the least that anybody says (I04)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.core.fleet import Level
from controller.core.placement.plan_plain import NOWHERE
from controller.core.placement.values import Affinity, Choice, Spread, Tenant
from controller.core.types import Instances, Role
from controller.models import Action, ServiceStatus
from controller.selectors.placing import in_vain, rows_of, tenants_of
from controller.services.placing import places_of
from inventory.models import (
    Binding,
    Cluster,
    Gpu,
    HardwareType,
    LocalityDomain,
    Node,
    RoleHardware,
    RoleSpec,
    Service,
)
from inventory.touched import touched
from tests.factories import (
    NOW,
    make_binding,
    make_cluster,
    make_hardware,
    make_nodes,
    make_service,
)

pytestmark = pytest.mark.django_db

FIRST = "eu-1-a/h800-000"


@pytest.fixture
def nodes() -> list[Node]:
    return make_nodes(make_cluster(), make_hardware(), 3)


@pytest.fixture
def service(nodes: list[Node]) -> Service:  # noqa: ARG001 - where it runs
    return make_service()


def runs(
    slug: str, *instances: tuple[str, str], state: str = "ready", role: str = "decode"
) -> None:
    """Let a cluster report instances, each by its name and node."""
    ServiceStatus.objects.filter(service__slug=slug).update(
        observed_at=NOW,
        instances=[
            {"name": name, "role": role, "group": "g", "node": node, "state": state}
            for name, node in instances
        ],
    )


def free() -> dict[str, int]:
    """Return the free GPUs of each node, by the number in its name."""
    rows = sorted(rows_of().rows, key=lambda row: row.name)
    return {row.name.rpartition("-")[2]: row.free for row in rows}


def tenant() -> Tenant:
    (only,) = tenants_of(rows_of()).readable
    return only


@pytest.mark.usefixtures("service")
def test_a_node_is_where_it_is() -> None:
    row = next(row for row in rows_of().rows if row.name == FIRST)
    assert (row.cluster, row.s2, row.s1, row.rack) == ("eu-1-a", "s2-01", "s1-01", "r01")
    assert (row.hardware, row.gpus, row.free, row.usable) == ("h800", 8, 8, True)


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("gpus", "given_out", "there"),
    [
        pytest.param(8, None, 8, id="nobody-else-says"),
        pytest.param(8, 7, 7, id="the-cluster-says-7-of-8"),
        pytest.param(4, 8, 4, id="the-node-says-4-of-8"),
        pytest.param(None, 8, 0, id="nobody-counted"),
    ],
)
def test_what_node_and_cluster_say_counts_at_its_least(
    nodes: list[Node], gpus: int | None, given_out: int | None, there: int
) -> None:
    """I04: node 8, cluster 7, instances 9."""
    Node.objects.filter(pk=nodes[0].pk).update(gpus=gpus, gpus_allocatable=given_out)
    row = next(row for row in rows_of().rows if row.name == FIRST)
    assert (row.gpus, row.free) == (there, there)
    assert row.usable is (gpus is not None)
    RoleSpec.objects.update(gpus_per_instance=9)
    runs("chat", ("c-1", "h800-000"))
    assert free()["000"] == 0


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    ("failed", "missing", "given_out", "there", "free_now"),
    [
        pytest.param(0, 0, None, 8, 2, id="8-less-6-held"),
        pytest.param(1, 0, None, 7, 1, id="7-work-less-6-held"),
        pytest.param(1, 0, 7, 7, 1, id="the-cluster-left-the-failed-one-out-already"),
        pytest.param(3, 0, 7, 5, 0, id="fewer-work-than-are-held"),
        pytest.param(1, 2, None, 7, 1, id="a-failed-one-taken-out-counts-no-more"),
    ],
)
def test_a_failed_gpu_is_not_free(  # noqa: PLR0913, PLR0917 - a table of figures
    nodes: list[Node],
    failed: int,
    missing: int,
    given_out: int | None,
    there: int,
    free_now: int,
) -> None:
    """I04, I08: what has failed is not there to be given, whoever holds it."""
    Node.objects.filter(pk=nodes[0].pk).update(gpus_allocatable=given_out)
    before = touched([FIRST])
    for at in range(8 + missing):
        gone = NOW if at < missing else None
        health = "failed" if at < missing + failed else "ok"
        Gpu.objects.create(node=nodes[0], index=at % 8, health=health, missing_since=gone)
    runs("chat", *((f"c-{number}", "h800-000") for number in range(3)))
    row = next(row for row in rows_of().rows if row.name == FIRST)
    assert (row.gpus, row.free) == (there, free_now)
    assert (touched([FIRST]) == before) is (failed == 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"hardware": None}, "of unknown hardware"),
        ({"gpus": None}, "without a known number of GPUs"),
        ({"admin_state": "cordoned"}, "cordoned"),
        ({"health": "failed"}, "of failed health"),
        ({"reserved_for": "tests"}, "reserved for tests"),
    ],
)
def test_why_a_node_may_not_be_used(nodes: list[Node], change: dict[str, Any], why: str) -> None:
    Node.objects.filter(pk=nodes[0].pk).update(**change)
    seen = rows_of()
    assert {row.name for row in seen.rows if not row.usable} == {FIRST}
    assert seen.facts.barred == {FIRST: why}


@pytest.mark.parametrize("lifecycle", ["planned", "retired"])
def test_what_is_not_there_is_no_node(nodes: list[Node], lifecycle: str) -> None:
    Node.objects.filter(pk=nodes[0].pk).update(lifecycle=lifecycle)
    assert sorted(free()) == ["001", "002"]


@pytest.mark.parametrize(
    ("instances", "left"),
    [
        pytest.param([], [6, 8, 8], id="2-bound"),
        pytest.param([("c-1", "h800-000")], [6, 8, 8], id="bound-and-reported-count-once"),
        pytest.param([("c-1", "H800-000")], [6, 8, 8], id="however-it-is-spelled"),
        pytest.param([("c-2", "h800-000")], [4, 8, 8], id="2-bound-and-2-of-another"),
        pytest.param([("c-1", "h800-001")], [6, 6, 8], id="2-bound-here-and-reported-there"),
        pytest.param([("c-1", "h800-001,h800-002")], [6, 7, 7], id="1-and-1-of-2"),
        pytest.param([("c-2", "")], [6, 8, 8], id="waiting-holds-nothing"),
        pytest.param([("c-2", "elsewhere")], [6, 8, 8], id="on-a-node-nobody-knows"),
    ],
)
def test_bound_and_reported_are_held(
    service: Service, nodes: list[Node], instances: list[tuple[str, str]], left: list[int]
) -> None:
    make_binding(service, nodes[0], instance="c-1")
    runs("chat", *instances)
    assert list(free().values()) == left


@pytest.mark.parametrize("at", [None, NOW - timedelta(days=2)])
def test_however_old_a_report_is_what_it_names_is_not_free(
    service: Service, nodes: list[Node], at: object
) -> None:
    runs("chat", ("c-1", "h800-000"))
    ServiceStatus.objects.update(observed_at=at)
    make_binding(service, nodes[1])
    assert free() == {"000": 6, "001": 6, "002": 8}


def test_an_instance_on_other_hardware_takes_what_it_takes_there(service: Service) -> None:
    h20 = make_hardware("h20")
    make_nodes(make_cluster(), h20, 1)
    RoleHardware.objects.create(
        role=service.roles.get(role="decode"), hardware=h20, gpus_per_instance=4, throughput=0.5
    )
    runs("chat", ("c-1", "h20-000"))
    assert next(row.free for row in rows_of().rows if row.hardware == "h20") == 4
    assert tenant().held[0].nodes == (("eu-1-a/h20-000", 4),)


STARTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.integers(1, 4)), max_size=6)
SEEN = st.lists(st.tuples(st.integers(0, 4), st.sets(st.integers(0, 2), max_size=3)), max_size=6)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STARTS, SEEN, st.integers(0, 8))
def test_free_is_what_is_there_less_what_the_services_hold(
    service: Service,
    nodes: list[Node],
    bound: list[tuple[int, int, int]],
    seen: list[tuple[int, set[int]]],
    there: int,
) -> None:
    """Never negative, and the same by nodes as by services."""
    Binding.objects.all().delete()
    Node.objects.update(gpus_allocatable=None)
    taken: set[tuple[int, int]] = set()
    for number, (node, first, gpus) in enumerate(bound):
        places = {(node, place) for place in range(first, first + gpus)}
        if first + gpus <= 8 and not places & taken:
            taken |= places
            name = f"c-{number}" if number % 2 else ""
            make_binding(
                service, nodes[node], first, first + gpus, instance=name, place=f"p{number}"
            )
    # Places may be held that the node has lost since.
    Node.objects.update(gpus_allocatable=there)
    once = {f"c-{name}": ",".join(f"h800-00{at}" for at in sorted(on)) for name, on in seen}
    runs("chat", *once.items())
    held = dict.fromkeys(free(), 0)
    for one in tenant().held:
        for name, gpus in one.nodes:
            held[name.rpartition("-")[2]] += gpus
    assert free() == {name: max(0, there - gpus) for name, gpus in held.items()}


@pytest.mark.usefixtures("service")
def test_a_service_is_as_it_is_configured() -> None:
    h20 = make_hardware("h20")
    Service.objects.update(
        priority=7, affinity_level="s1", affinity_required=True, spread_level="s2"
    )
    decode = RoleSpec.objects.get(role="decode")
    RoleSpec.objects.filter(pk=decode.pk).update(
        nodes_per_instance=2, select={"zone": "a", "rack": ["b", "c"]}, tolerate=["x=y"], minimum=3
    )
    RoleHardware.objects.create(
        role=decode, rank=2, hardware=make_hardware("b200"), gpus_per_instance=1, throughput=2
    )
    RoleHardware.objects.create(role=decode, hardware=h20, gpus_per_instance=4, throughput=0.5)
    seen = tenant()
    need = seen.roles[Role.DECODE].need
    assert need is not None
    assert need.hardware == (Choice("h800", 2), Choice("h20", 4, 0.5), Choice("b200", 1, 2.0))
    assert (need.nodes, need.tolerate) == (2, {"x=y"})
    assert need.select == {"zone": ("a",), "rack": ("b", "c")}
    assert (seen.name, seen.priority, seen.pd_ratio) == ("chat", 7, 0.5)
    assert (seen.affinity, seen.spread) == (Affinity(Level.S1, required=True), Spread(Level.S2, 2))
    assert seen.least == Instances(1, 3)


def test_instances_and_promises_are_held(service: Service, nodes: list[Node]) -> None:
    since = NOW - timedelta(hours=1)
    make_binding(service, nodes[0], 0, 4, instance="c-1", bound_at=since)
    make_binding(service, nodes[1], 0, role="prefill", place="p-1")
    make_binding(service, nodes[1], 2, role="prefill", place="p-1", action=uuid4())
    runs("chat", ("c-1", "h800-000"), ("c-2", "h800-002"), ("c-3", ""))
    held = {one.name: (one.nodes[0], one.gpus, one.is_up, one.group) for one in tenant().held}
    assert held == {
        "c-1": ((FIRST, 4), 4, True, "g"),
        "c-2": (("eu-1-a/h800-002", 2), 2, True, "g"),
        "p-1": (("eu-1-a/h800-001", 2), 2, False, "chat-g1"),
        "p-1 (2)": (("eu-1-a/h800-001", 2), 2, False, "chat-g1"),
    }
    assert tenant().counts == Instances(2, 2)
    assert {one.name: one.since_s for one in tenant().held}["c-1"] == since.timestamp()


@pytest.mark.usefixtures("service")
def test_labels_are_read_where_a_role_selects_by_them(nodes: list[Node]) -> None:
    Node.objects.filter(pk=nodes[0].pk).update(labels={"zone": "a"})
    assert rows_of().facts.labels == {}
    RoleSpec.objects.filter(role="decode").update(select={"zone": "a"})
    assert rows_of().facts.labels == {FIRST: {"zone": "a"}}


def test_taints_are_read(nodes: list[Node]) -> None:
    assert rows_of().facts.taints == {}
    Node.objects.filter(pk=nodes[0].pk).update(taints=["dedicated=llm"])
    assert rows_of().facts.taints == {FIRST: {"dedicated=llm"}}


def _moves(node: Node) -> None:
    other = LocalityDomain.objects.create(cluster=node.cluster, level="S1", key="x", name="x")
    Node.objects.filter(pk=node.pk).update(s1_domain=other)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda node: node.delete(), id="removed"),
        pytest.param(_moves, id="moved"),
        *(
            pytest.param(
                lambda node, to=to: Node.objects.filter(pk=node.pk).update(**to), id=str(to)
            )
            for to in ({"admin_state": "draining"}, {"gpus": 4}, {"gpus_allocatable": 7})
        ),
    ],
)
@pytest.mark.parametrize("at", [0, 1])
def test_a_change_in_a_touched_domain_is_noticed(
    nodes: list[Node], change: Callable[[Node], object], at: int
) -> None:
    """I01, S20: also of a node that is only a neighbour of the one named."""
    before = touched([FIRST])
    assert touched([FIRST]) == before
    change(nodes[at])
    assert touched([FIRST]) != before


def test_a_change_elsewhere_is_not_noticed(nodes: list[Node]) -> None:
    _moves(nodes[2])
    Node.objects.filter(pk=nodes[1].pk).update(s1_domain=None)
    before, alone = touched([FIRST]), touched(["eu-1-a/h800-001"])
    Node.objects.filter(pk=nodes[0].pk).update(serial="another")
    Node.objects.filter(pk=nodes[2].pk).update(gpus=4)
    make_nodes(make_cluster("eu-1-b"), make_hardware(), 1)
    assert (touched([FIRST]), touched(["eu-1-a/h800-001"])) == (before, alone)
    Node.objects.filter(pk=nodes[1].pk).update(gpus=4)
    assert touched(["eu-1-a/h800-001"]) != alone


@pytest.mark.parametrize(
    ("state", "vain"),
    [("recorded", False), ("applied", False), ("ready", True), ("cancelled", True)],
)
def test_promises_of_an_action_that_ended_are_in_vain(
    service: Service, nodes: list[Node], state: str, *, vain: bool
) -> None:
    action = Action.objects.create(
        id=uuid4(),
        service=service,
        state=state,
        from_prefill=1,
        from_decode=1,
        to_prefill=1,
        to_decode=2,
        epoch=1,
        recorded_at=NOW,
    )
    make_binding(service, nodes[0], action=action.pk)
    assert (in_vain() == {action.pk}) is vain
    Binding.objects.update(instance="c-1")
    assert in_vain() == frozenset()


@pytest.mark.parametrize(
    ("later", "ended", "vain"),
    [
        ("applied", False, False),
        ("unknown", False, False),
        ("ready", True, True),
        ("failed", True, True),
    ],
)
def test_what_an_overtaken_action_was_promised_is_in_vain_once_the_later_one_ended(
    service: Service, nodes: list[Node], later: str, *, ended: bool, vain: bool
) -> None:
    overtaken, _ = (
        Action.objects.create(
            id=uuid4(),
            service=service,
            state=state,
            **dict.fromkeys(("from_prefill", "from_decode", "to_prefill", "to_decode"), 1),
            epoch=1,
            recorded_at=NOW,
            ended_at=NOW if is_over else None,
        )
        for state, is_over in (("applied", True), (later, ended))
    )
    make_binding(service, nodes[0], action=overtaken.pk)
    assert (in_vain() == {overtaken.pk}) is vain


def test_a_long_name_of_what_moves_is_cut_where_names_are_alike() -> None:
    moves: Any = [
        {
            "instance": f"{'a' * 120}-{end}",
            "role": "decode",
            "group": "g",
            "cluster": "eu-1-a",
            "to_nodes": {"h800-001": 8},
        }
        for end in ("x", "y")
    ]
    first, second = places_of({**NOWHERE, "moves": moves})
    assert first.name != second.name
    assert len(first.name) == len(second.name) == 100


def _fill(cluster: Cluster, hardware: HardwareType, count: int) -> None:
    for at, node in enumerate(make_nodes(cluster, hardware, count)):
        slug = f"s{at}"
        service = make_service(slug, cluster=cluster, hardware=hardware)
        RoleSpec.objects.filter(service=service).update(select={"zone": "a"})
        Node.objects.filter(pk=node.pk).update(health="failed")
        make_binding(service, node)
        runs(slug, (f"{slug}-1", node.name))


@pytest.mark.parametrize("count", [1, 3])
def test_the_queries_are_the_same_for_any_fleet(count: int) -> None:
    _fill(make_cluster(), make_hardware(), count)
    with CaptureQueriesContext(connection) as queries:
        nodes = rows_of()
    assert len(queries) == 10
    with CaptureQueriesContext(connection) as queries:
        tenants_of(nodes)
    assert len(queries) == 8
    with CaptureQueriesContext(connection) as queries:
        touched([row.name for row in nodes.rows])
    assert len(queries) == 1
