"""Bindings follow what clusters report: claimed, bound where it runs, and let go (S19)."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.holdings import Instance, Report
from inventory.models import Binding, DeploymentGroup, LocalityDomain, Node, RoleHardware, Service
from inventory.services.settling import Settled, settle
from tests.factories import (
    NOW,
    make_binding,
    make_cluster,
    make_group,
    make_hardware,
    make_nodes,
    make_service,
)

pytestmark = pytest.mark.django_db

LATER = NOW + timedelta(minutes=1)
ACTION = UUID(int=1)


def one(
    name: str, nodes: str, *, role: str = "decode", state: str = "ready", group: str = "chat-g1"
) -> Instance:
    """Return an instance on nodes by their numbers; ``"0,2"`` are two."""
    names = tuple(f"h800-00{number}" for number in nodes.split(",") if number)
    return Instance(name, role, group, state, names)


def report(*instances: Instance, at: datetime | None = LATER, service: str = "chat") -> Report:
    return Report(service, "eu-1-a", at, instances)


def held() -> list[tuple[str, str, str, int, int]]:
    """Return who holds which places of which node, and in which state."""
    return [
        (row.instance or row.place, row.state, row.node.name[-1], row.gpus.lower, row.gpus.upper)
        for row in Binding.objects.filter(released_at=None).order_by("node__name", "gpus")
    ]


@pytest.fixture
def nodes() -> list[Node]:
    return make_nodes(make_cluster(), make_hardware(), 3)


@pytest.fixture
def service(nodes: list[Node]) -> Service:  # noqa: ARG001 - where it runs
    return make_service()


@pytest.mark.parametrize(
    ("seen", "after", "counts"),
    [
        pytest.param(
            [one("c-1", "0", state="starting")],
            [("c-1", "starting", "0", 0, 2)],
            {"claimed": 1},
            id="taken-up",
        ),
        pytest.param(
            [one("c-1", "0", group="elsewhere")],
            [("c-1", "running", "0", 0, 2)],
            {"claimed": 1},
            id="taken-up-though-another-group-is-reported",
        ),
        pytest.param(
            [one("c-1", "", state="pending")],
            [("new-1", "held", "0", 0, 2)],
            {},
            id="not-by-one-without-a-node",
        ),
        pytest.param(
            [one("c-1", "0", role="prefill")],
            [("new-1", "held", "0", 0, 2), ("c-1", "running", "0", 2, 4)],
            {"bound": 1},
            id="not-by-another-role",
        ),
        pytest.param(
            [one("c-1", "0,1")],
            [
                ("new-1", "held", "0", 0, 2),
                ("c-1", "running", "0", 2, 3),
                ("c-1", "running", "1", 0, 1),
            ],
            {"bound": 1},
            id="not-by-one-on-more-nodes:2-GPUs-on-2",
        ),
        pytest.param(
            [one("c-1", "0"), one("c-2", "0", state="draining")],
            [("c-1", "running", "0", 0, 2), ("c-2", "draining", "0", 2, 4)],
            {"claimed": 1, "bound": 1},
            id="by-one-of-two",
        ),
        pytest.param([], [("new-1", "held", "0", 0, 2)], {}, id="not-yet"),
    ],
)
def test_a_promise_is_taken_up(
    service: Service,
    nodes: list[Node],
    seen: list[Instance],
    after: list[tuple[str, str, str, int, int]],
    counts: dict[str, int],
) -> None:
    make_binding(service, nodes[0], action=ACTION)
    settled = settle([report(*seen)], set(), LATER)
    assert held() == after
    assert settled == Settled(groups=settled.groups, **counts)


def test_of_two_promises_that_of_its_group_is_taken_up(
    service: Service, nodes: list[Node]
) -> None:
    near, far = make_group(service, "b"), make_group(service, "a")
    make_binding(service, nodes[0], 0, group=far, place="a1")
    make_binding(service, nodes[0], 2, group=near, place="b1")
    settle([report(one("c-1", "0", group="b"))], set(), LATER)
    assert [name for name, *_ in held()] == ["a1", "c-1"]


def test_an_old_report_takes_up_no_newer_promise(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], 0, bound_at=LATER)
    settle([report(one("c-1", "0"), at=NOW)], set(), LATER)
    assert held() == [("new-1", "held", "0", 0, 2), ("c-1", "running", "0", 2, 4)]


@pytest.mark.parametrize(
    ("seen", "after"),
    [
        pytest.param(report(), [], id="gone"),
        pytest.param(report(one("c-1", "", state="pending")), [], id="waits-for-a-node-again"),
        pytest.param(report(one("c-1", "2")), [("c-1", "running", "2", 0, 2)], id="moved"),
        pytest.param(
            report(one("c-1", "0", state="draining")),
            [("c-1", "draining", "0", 4, 6)],
            id="drains",
        ),
        pytest.param(
            report(at=NOW - timedelta(seconds=1)),
            [("c-1", "running", "0", 4, 6)],
            id="reported-before-it-was-bound",
        ),
        pytest.param(report(at=None), [("c-1", "running", "0", 4, 6)], id="never-reported"),
        pytest.param(report(service="other"), [("c-1", "running", "0", 4, 6)], id="another's"),
    ],
)
def test_what_is_bound_follows_its_instance(
    service: Service,
    nodes: list[Node],
    seen: Report,
    after: list[tuple[str, str, str, int, int]],
) -> None:
    make_binding(service, nodes[0], 4, instance="c-1", state="running")
    settle([seen], set(), LATER)
    assert held() == after


def test_an_old_list_says_nothing(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], 4, instance="c-1", state="running")
    settle([report()], set(), LATER + timedelta(minutes=11))
    assert len(held()) == 1


def test_places_that_are_left_are_there_for_others_at_once(
    service: Service, nodes: list[Node]
) -> None:
    make_binding(service, nodes[0], 0, 8, instance="c-1", state="running")
    settled = settle([report(one("c-2", "0"))], set(), LATER)
    assert held() == [("c-2", "running", "0", 0, 2)]
    assert (settled.released, settled.bound) == (1, 1)


@pytest.mark.parametrize(
    ("nodes_of", "conflict"),
    [
        pytest.param("0", "c-1: h800-000 has 1 free GPUs, not 2.", id="2-of-1"),
        pytest.param("1,9", "c-1: h800-009 is not in the inventory.", id="unknown-node"),
    ],
)
def test_what_has_no_room_is_told_and_not_raised(
    service: Service, nodes: list[Node], nodes_of: str, conflict: str
) -> None:
    make_binding(service, nodes[0], 0, 7, role="prefill")
    settled = settle([report(one("c-1", nodes_of))], set(), LATER)
    assert settled.conflicts == [conflict]
    assert len(held()) == 1


def test_an_instance_takes_what_its_hardware_takes(service: Service) -> None:
    h20 = make_hardware("h20")
    make_nodes(make_cluster(), h20, 1)
    RoleHardware.objects.create(
        role=service.roles.get(role="decode"), hardware=h20, gpus_per_instance=4
    )
    seen = Instance("c-1", "decode", "", "ready", ("H20-000",))
    settle([report(seen)], set(), LATER)
    assert held() == [("c-1", "running", "0", 0, 4)]
    assert DeploymentGroup.objects.get().name == "chat-g1"


def test_promises_of_what_ended_are_let_go_unless_taken_up(
    service: Service, nodes: list[Node]
) -> None:
    for at, action in enumerate((ACTION, ACTION, UUID(int=2))):
        make_binding(service, nodes[at], 0, place=f"p{at}", action=action)
    settled = settle([report(one("c-1", "0"))], {ACTION}, LATER)
    assert [name for name, *_ in held()] == ["c-1", "p2"]
    assert (settled.claimed, settled.lapsed, settled.released) == (1, 1, 0)


@pytest.mark.usefixtures("service")
def test_groups_are_as_near_as_all_of_them(nodes: list[Node]) -> None:
    s2 = LocalityDomain.objects.get(level="S2")
    other = LocalityDomain.objects.create(
        cluster=nodes[0].cluster, level="S1", key="s1-02", name="s1-02", parent=s2
    )
    Node.objects.filter(pk=nodes[1].pk).update(s1_domain=other)
    Node.objects.filter(pk=nodes[2].pk).update(s1_domain=None, s2_domain=None)
    wanted = [("s1", "s1-01"), ("s2", "s2-01"), ("cluster", "eu-1-a")]
    seen: list[Instance] = []
    for at, place in enumerate(wanted):
        seen.append(one(f"c-{at}", str(at)))
        settle([report(*seen)], set(), LATER)
        assert DeploymentGroup.objects.values_list("level", "domain").get() == place


def test_a_group_ends_ten_minutes_after_its_last_and_comes_back(
    service: Service, nodes: list[Node]
) -> None:
    make_binding(service, nodes[0], instance="c-1")
    group = DeploymentGroup.objects.get()
    for minutes, ended in ((1, False), (10, False), (11, True)):
        now = NOW + timedelta(minutes=minutes)
        settle([report(at=now)], set(), now)
        group.refresh_from_db()
        assert (group.ended_at is not None) is ended, minutes
    now += timedelta(minutes=1)
    settle([report(one("c-1", "0"), at=now)], set(), now)
    group.refresh_from_db()
    assert group.ended_at is None


def test_nothing_is_written_where_nothing_changed(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], instance="c-1", state="running")
    seen = report(one("c-1", "0"))
    settle([seen], set(), LATER)
    with CaptureQueriesContext(connection) as queries:
        assert settle([seen], set(), LATER) == Settled()
    written = [one["sql"] for one in queries if one["sql"].startswith(("UPDATE", "INSERT"))]
    assert written == []


@pytest.mark.parametrize("count", [1, 3])
def test_the_queries_are_the_same_for_any_fleet(nodes: list[Node], count: int) -> None:
    reports = []
    for at in range(count):
        service = make_service(f"s{at}")
        make_binding(service, nodes[at], 0, action=ACTION)
        make_binding(service, nodes[at], 2, instance="gone", place="gone")
        seen = (one("a", str(at), group=""), one("b", str(at), group="new"))
        reports.append(report(*seen, service=service.slug))
    with CaptureQueriesContext(connection) as queries:
        settled = settle(reports, {ACTION}, LATER)
    assert (settled.claimed, settled.bound, settled.released) == (count, count, count)
    assert len(queries) == 18
