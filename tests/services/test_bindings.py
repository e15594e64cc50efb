"""No GPU has two owners: the database refuses it, and whoever comes second is told (S19)."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import DjangoAssertNumQueries

from controller.services import retention
from inventory.models import Binding, DeploymentGroup, Node, Service
from inventory.services.bindings import NoLongerFreeError, Place, bind, release
from tests.factories import (
    NOW,
    make_binding,
    make_cluster,
    make_group,
    make_hardware,
    make_nodes,
    make_service,
)
from tests.services.people import at_once

pytestmark = pytest.mark.django_db

ACTION = UUID(int=1)


def place(name: str, *, group: str = "g1", **nodes: int) -> Place:
    """Return a place for a decode instance; ``n0=2`` takes two GPUs of the first node."""
    named = {f"h800-00{key[1:]}": gpus for key, gpus in nodes.items()}
    return Place(name, "decode", group, "eu-1-a", named, "s1", "s1-01")


def held() -> list[tuple[str, str, int, int]]:
    """Return who holds which places of which node."""
    return [
        (one.instance or one.place, one.node.name, one.gpus.lower, one.gpus.upper)
        for one in Binding.objects.filter(released_at=None).order_by("node__name", "gpus")
    ]


@pytest.fixture
def nodes() -> list[Node]:
    return make_nodes(make_cluster(), make_hardware(), 3)


@pytest.fixture
def service(nodes: list[Node]) -> Service:  # noqa: ARG001 - where it runs
    return make_service()


def insert(node: Node, group: int, gpus: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO inventory_binding (group_id, role, instance, place, node_id, gpus, state,"
            " bound_at) VALUES (%s, 'decode', '', 'p', %s, %s::int4range, 'held', now())",
            [group, node.pk, gpus],
        )


@pytest.mark.parametrize(
    ("gpus", "constraint"),
    [
        pytest.param("[3,5)", "gpu_has_one_owner", id="place-3-is-held-already"),
        pytest.param("[0,8)", "gpu_has_one_owner", id="a-node-of-which-part-is-held"),
        pytest.param("[4,9)", "binding_within_node", id="a-9th-GPU-of-8"),
        pytest.param("[-1,0)", "binding_holds_gpus", id="a-place-below-0"),
        pytest.param("empty", "binding_", id="nothing"),
    ],
)
def test_the_database_refuses(
    service: Service, nodes: list[Node], gpus: str, constraint: str
) -> None:
    other = make_service("code")
    make_binding(other, nodes[0], 0, 4)
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        insert(nodes[0], make_group(service).pk, gpus)
    insert(nodes[0], make_group(service).pk, "[4,8)")


def test_the_database_refuses_what_the_cluster_does_not_hand_out(
    service: Service, nodes: list[Node]
) -> None:
    """I04: the node says 8 and the cluster 7."""
    Node.objects.update(gpus_allocatable=7)
    group = make_group(service).pk
    with pytest.raises(IntegrityError, match="binding_within_node"), transaction.atomic():
        insert(nodes[0], group, "[0,8)")
    insert(nodes[0], group, "[0,7)")
    with pytest.raises(IntegrityError, match="binding_within_node"), transaction.atomic():
        Binding.objects.update(gpus="[0,8)")


def test_released_gpus_may_be_held_again(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], 0, 8, released_at=NOW)
    insert(nodes[0], make_group(service).pk, "[0,8)")


def test_the_lowest_places_in_few_ranges_are_promised(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], 1, 3, place="old")
    bind(
        service.pk,
        [place("a", n0=1), place("b", n0=2), place("c", n1=8, n2=8)],
        ACTION,
        NOW,
    )
    assert held() == [
        ("a", "h800-000", 0, 1),
        ("old", "h800-000", 1, 3),
        ("b", "h800-000", 3, 5),
        ("c", "h800-001", 0, 8),
        ("c", "h800-002", 0, 8),
    ]
    made = Binding.objects.get(place="a")
    assert (made.state, made.action, made.group.name) == ("held", ACTION, "g1")
    assert (made.group.level, made.group.domain, made.group.made_at) == ("s1", "s1-01", NOW)


def test_a_group_that_ended_goes_on(service: Service) -> None:
    make_group(service, "g1", ended_at=NOW)
    bind(service.pk, [place("a", n0=1)], ACTION, NOW)
    assert DeploymentGroup.objects.get().ended_at is None


@pytest.mark.parametrize(
    ("nodes_of", "message"),
    [
        pytest.param({"n0": 5}, "h800-000 has 4 free GPUs, not 5.", id="5-of-4"),
        pytest.param({"n1": 8, "n7": 1}, "h800-007 has 0 free GPUs, not 1.", id="no-such-node"),
    ],
)
def test_all_or_nothing(
    service: Service, nodes: list[Node], nodes_of: dict[str, int], message: str
) -> None:
    make_binding(service, nodes[0], 0, 4)
    with pytest.raises(NoLongerFreeError) as fault:
        bind(service.pk, [place("a", n2=8), place("b", group="g2", **nodes_of)], ACTION, NOW)
    assert str(fault.value) == message
    assert len(held()) == 1
    assert not DeploymentGroup.objects.filter(name="g2").exists()


def test_a_promise_is_let_go_but_not_what_runs(service: Service, nodes: list[Node]) -> None:
    make_binding(service, nodes[0], 0, place="a", action=ACTION)
    make_binding(
        service, nodes[0], 2, place="b", action=ACTION, instance="chat-1", state="running"
    )
    make_binding(service, nodes[0], 4, place="c", action=uuid4())
    assert release(ACTION, NOW) == 1
    assert [name for name, *_ in held()] == ["chat-1", "c"]
    assert release(ACTION, NOW) == 0


@pytest.mark.parametrize("count", [1, 3])
def test_binding_takes_the_same_queries_for_any_plan(
    service: Service, django_assert_num_queries: DjangoAssertNumQueries, count: int
) -> None:
    wanted = [place(f"p{at}", **{f"n{at}": 4}) for at in range(count)]
    with transaction.atomic(), django_assert_num_queries(11):
        bind(service.pk, wanted, ACTION, NOW)


@pytest.mark.django_db(transaction=True)
def test_one_of_two_gets_the_last_eight(service: Service) -> None:
    """I07: two cycles at once want the only node with eight free GPUs."""

    def take(action: int) -> str:
        bind(service.pk, [place(f"p{action}", group=f"g{action}", n0=8)], UUID(int=action), NOW)
        return "bound"

    for _ in range(5):
        Binding.objects.all().delete()
        given = at_once(lambda: take(1), lambda: take(2))
        assert sorted(map(str, given)) == ["bound", "h800-000 has 0 free GPUs, not 8."]
        assert len(held()) == 1


def test_old_releases_go_with_their_groups(service: Service, nodes: list[Node]) -> None:
    old, new = NOW - timedelta(days=8), NOW - timedelta(days=6)
    over = make_group(service, "over", ended_at=old)
    make_binding(service, nodes[0], 0, released_at=old, group=over)
    make_binding(service, nodes[0], 0, released_at=new)
    make_binding(service, nodes[0], 0, place="live", bound_at=old)
    retention.prune(NOW)
    left = Binding.objects.values_list("place", "released_at").order_by("place")
    assert list(left) == [("live", None), ("new-1", new)]
    assert list(DeploymentGroup.objects.values_list("name", flat=True)) == ["chat-g1"]
