"""What runs on a node is what the clusters said last; unknown is not none."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from controller.models import ServiceStatus
from controller.selectors.node_use import Use, node_uses
from tests.factories import NOW, make_cluster, make_service

pytestmark = pytest.mark.django_db


def runs(slug: str, *instances: tuple[str, str, str]) -> None:
    ServiceStatus.objects.filter(service__slug=slug).update(
        observed_at=NOW,
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


def test_old_lists_are_no_knowledge() -> None:
    make_service("chat")
    runs("chat", ("decode", "a-1", "ready"))
    uses = node_uses(NOW + timedelta(minutes=11))
    assert uses.gpus("eu-1-a", "a-1") is None
    assert uses.stale == {"eu-1-a"}


def test_two_queries_however_many_services(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for count in (1, 6):
        for i in range(count):
            make_service(f"s{count}-{i}", cluster=make_cluster(f"c{i}"))
        with django_assert_num_queries(2):
            node_uses(NOW)
