"""What runs on a node is what the clusters said last; unknown is not none."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from controller.models import ServiceStatus
from controller.selectors.node_use import Use, holders, node_uses, running
from inventory.models import RoleSpec
from tests.factories import NOW, make_cluster, make_service

pytestmark = pytest.mark.django_db


def runs(slug: str, *instances: tuple[str, str, str], at: datetime | None = NOW) -> None:
    ServiceStatus.objects.filter(service__slug=slug).update(
        observed_at=at,
        instances=[
            {"name": f"{slug}-{i}", "role": role, "group": "g", "node": node, "state": state}
            for i, (role, node, state) in enumerate(instances)
        ],
    )


def test_instances_are_counted_where_they_are() -> None:
    make_service("chat")
    make_service("code")
    runs("chat", ("prefill", "A-1", "ready"), ("prefill", "a-1", "starting"), ("decode", "", "x"))
    runs("code", ("decode", "a-1,a-2", "ready"))
    uses = node_uses(NOW)
    assert uses.on("eu-1-a", "a-1") == (
        Use("chat", "prefill", 2, 1, 4),
        Use("code", "decode", 1, 1, 1),
    )
    assert uses.services("eu-1-a", "A-2") == ("code",)
    assert [uses.gpus("eu-1-a", name) for name in ("a-1", "a-2", "a-3")] == [5, 1, 0]
    assert uses.gpus("elsewhere", "a-1") is None


LATER = NOW + timedelta(minutes=11)


def test_old_lists_are_the_least_that_is_held() -> None:
    """I04: what was held last is not free, and what is beside it is unknown."""
    make_service("chat")
    runs("chat", ("decode", "a-1", "ready"))
    uses = node_uses(LATER)
    assert [uses.gpus("eu-1-a", name) for name in ("a-1", "a-2")] == [2, None]
    assert (uses.observed, uses.stale) == (frozenset(), {"eu-1-a"})
    assert holders(LATER) == {("eu-1-a", "a-1"): ("chat",)}
    assert [one.is_stale for one in running(LATER)] == [True]


@pytest.mark.parametrize("at", [NOW, None])
def test_one_service_that_is_heard_does_not_speak_for_the_others(at: datetime | None) -> None:
    make_service("chat")
    make_service("code")
    runs("chat", ("decode", "a-1", "ready"), at=at)
    runs("code", ("decode", "a-2", "ready"), at=LATER)
    uses = node_uses(LATER)
    assert [uses.gpus("eu-1-a", name) for name in ("a-1", "a-2", "a-3")] == [2, 2, None]
    assert (uses.observed, uses.stale) == ({"eu-1-a"}, {"eu-1-a"})
    assert not uses.is_whole("eu-1-a")


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_service_never_heard_of_leaves_its_cluster_in_part(*, is_listed: bool) -> None:
    make_service("chat")
    new = make_service("code")
    ServiceStatus.objects.filter(service=new).update(observed_at=None, instances=[])
    if not is_listed:
        ServiceStatus.objects.filter(service=new).delete()
    assert node_uses(NOW).stale == {"eu-1-a"}


def test_a_cluster_nobody_ever_heard_of_is_not_observed() -> None:
    make_service("chat")
    runs("chat", at=None)
    uses = node_uses(NOW)
    assert (uses.observed, uses.stale) == (frozenset(), frozenset())
    assert uses.gpus("eu-1-a", "a-1") is None


def test_an_instance_over_nodes_holds_as_many_as_it_asks_for() -> None:
    make_service("chat")
    RoleSpec.objects.update(gpus_per_instance=8)
    runs("chat", ("decode", "a-1,a-2,a-3", "ready"))
    uses = node_uses(NOW)
    assert [uses.gpus("eu-1-a", f"a-{i}") for i in (1, 2, 3)] == [3, 3, 2]


def test_two_queries_however_many_services(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for count in (1, 6):
        for i in range(count):
            make_service(f"s{count}-{i}", cluster=make_cluster(f"c{i}"))
        with django_assert_num_queries(2):
            node_uses(NOW)
