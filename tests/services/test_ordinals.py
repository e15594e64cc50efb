"""Placement knows which workloads give up the highest ordinals only."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from controller.core.types import Role
from controller.selectors.situation import situation
from inventory.models import Workload
from tests import factories

pytestmark = pytest.mark.django_db


def make(kind: str) -> None:
    cluster = factories.make_cluster("eu-1-k", "kubernetes")
    factories.make_nodes(cluster, factories.make_hardware())
    service = factories.make_service("chat", cluster=cluster)
    for role in Role:
        Workload.objects.create(
            service=service, role=role, kind=kind, namespace="prod", name=f"chat-{role}"
        )


@pytest.mark.parametrize(
    ("kind", "roles"),
    [("deployment", set()), ("statefulset", set(Role)), ("leaderworkerset", set(Role))],
)
def test_whose_workloads_are_ordinal_is_known_to_a_plan(kind: str, roles: set[Role]) -> None:
    make(kind)
    assert situation().tenants["chat"].ordinal == roles


def test_without_kubernetes_nobody_asks() -> None:
    factories.make_nodes(factories.make_cluster(), factories.make_hardware())
    factories.make_service("chat")
    with CaptureQueriesContext(connection) as queries:
        situation()
    assert not any("inventory_workload" in one["sql"] for one in queries)
