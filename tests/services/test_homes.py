"""Which label keeps new instances in their group's domain, from rows."""

from typing import Any

import pytest

from controller.core.kube.affinity import Wanted
from controller.models import Action
from controller.services.homes import homes_of
from inventory.models import Cluster, Node
from tests import factories
from tests.factories import a_placement
from tests.loop.test_actions import make_action

pytestmark = pytest.mark.django_db
LEAF = "network.topology.nvidia.com/leaf"
NODES = ("h800-000", "h800-001")


def make(kind: str = "kubernetes", **fields: Any) -> Action:
    """Return an action that places two instances of chat-g1 on nodes of leaf-01."""
    cluster = factories.make_cluster("eu-1-k", kind)
    Cluster.objects.update(level_keys=[LEAF])
    given = {"affinity_level": "s1", "affinity_required": True} | fields
    service = factories.make_service("chat", cluster=Cluster.objects.get(), **given)
    factories.make_nodes(cluster, factories.make_hardware())
    Node.objects.update(labels={LEAF: "leaf-01"})
    place = a_placement()["places"][0]
    places = [place | {"group": "chat-g1", "nodes": {name: 2}} for name in NODES]
    return make_action(service, placement=a_placement() | {"places": places})


def test_the_label_is_the_one_the_placed_nodes_bear() -> None:
    assert homes_of(make()) == {"chat-g1": Wanted(LEAF, "leaf-01", "s1")}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        pytest.param("simulated", {}, id="not in Kubernetes"),
        pytest.param("kubernetes", {"affinity_required": False}, id="only preferred"),
        pytest.param("kubernetes", {"affinity_level": "cluster"}, id="a whole cluster"),
    ],
)
def test_elsewhere_the_scheduler_is_free(kind: str, fields: dict[str, Any]) -> None:
    assert homes_of(make(kind, **fields)) == {}


def test_nodes_that_bear_no_label_name_no_domain() -> None:
    action = make()
    Node.objects.filter(name=NODES[1]).update(labels={})
    assert homes_of(action) == {}


def test_what_was_not_placed_has_no_home() -> None:
    action = make()
    action.placement = None
    assert homes_of(action) == {}
