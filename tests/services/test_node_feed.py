"""Nodes of a watched cluster in the inventory: by an import's rules, and never the first time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.models import ClusterSight
from controller.services.node_feed import feed
from inventory.models import Cluster, InventoryVersion, Node
from inventory.services import discovering
from inventory.services.importing import Upload, Wanted, bring, found_in
from tests.clusters_of_kubernetes import make_watched
from tests.kube import fleet

pytestmark = pytest.mark.django_db
NODES = 16


def listed(*changed: Any, count: int = NODES) -> bytes:
    """Return the list of nodes; each of ``changed`` is a number and what to do to that node."""
    nodes = fleet(count)
    for number, change in changed:
        change(nodes[number])
    return json.dumps({"kind": "List", "items": nodes}).encode()


@pytest.fixture
def cluster() -> Cluster:
    """Return a cluster whose nodes a person imported once, and which is watched."""
    made = make_watched("k-1")
    bring(
        found_in([Upload("nodes.json", listed())], Wanted(form="kubernetes", cluster="k-1")),
        by="ana",
    )
    ClusterSight.objects.create(cluster=made, since="2026-01-01T00:00:00Z", state="ok")
    return made


def versions() -> list[tuple[str, str]]:
    rows = InventoryVersion.objects.filter(cause="discovery").order_by("seq")
    return list(rows.values_list("cause", "by"))


def node(number: int) -> Node:
    return Node.objects.get(name=f"gpu-{number:04d}")


def cordoned(one: dict[str, Any]) -> None:
    one["spec"]["unschedulable"] = True


def tainted(one: dict[str, Any]) -> None:
    one["spec"]["taints"] = [{"key": "team", "value": "lab", "effect": "NoSchedule"}]


def not_ready(one: dict[str, Any]) -> None:
    one["status"]["conditions"] = [{"type": "Ready", "status": "False", "reason": "NoDisk"}]


def one_gpu_less(one: dict[str, Any]) -> None:
    one["status"]["allocatable"]["nvidia.com/gpu"] = "7"


def test_nothing_is_taken_over_before_a_person_did_so_once() -> None:
    made = make_watched("k-1")
    assert feed(made.pk, listed(), {}) == ()
    assert Node.objects.count() == 0


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        pytest.param(cordoned, {"admin_state": "cordoned"}, id="cordoned"),
        pytest.param(tainted, {"taints": ["team=lab"]}, id="tainted"),
        pytest.param(not_ready, {"health": "failed"}, id="not ready"),
        pytest.param(
            one_gpu_less, {"gpus_allocatable": 7, "health": "degraded"}, id="7 of 8 GPUs"
        ),
    ],
)
def test_what_changes_of_a_node_follows(
    cluster: Cluster, change: Any, fields: dict[str, object]
) -> None:
    assert feed(cluster.pk, listed((3, change)), {}) == ()
    found = node(3)
    assert {name: getattr(found, name) for name in fields} == fields
    assert versions() == [("discovery", "cluster k-1")]
    assert feed(cluster.pk, listed(), {}) == ()
    assert node(3).schedulable


def test_the_same_list_is_read_once(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    assert feed(cluster.pk, listed((3, cordoned)), {}) == ()

    def fail(*_: object) -> None:
        raise AssertionError("it was read again")

    monkeypatch.setattr(discovering, "discover", fail)
    assert feed(cluster.pk, listed((3, cordoned)), {}) == ()
    assert len(versions()) == 1


def test_a_list_that_changes_nothing_makes_no_version(cluster: Cluster) -> None:
    assert feed(cluster.pk, listed(), {}) == ()
    assert versions() == []


def test_new_nodes_and_few_that_go_are_followed(cluster: Cluster) -> None:
    feed(cluster.pk, listed(count=18), {})
    assert Node.objects.count() == 18
    feed(cluster.pk, listed(count=16), {})
    assert Node.objects.filter(missing_since=None).count() == 16


def test_more_than_a_fifth_gone_waits_for_a_person_i02(cluster: Cluster) -> None:
    (said,) = feed(cluster.pk, listed((0, cordoned), count=12), {})
    assert said == (
        "4 of 16 nodes of k-1 are no longer listed: so many are not taken for gone before a "
        "person imports the nodes."
    )
    assert Node.objects.filter(missing_since=None).count() == 16
    assert node(0).admin_state == "in_service"
    assert ClusterSight.objects.get().fingerprint == ""
    assert feed(cluster.pk, listed(count=15), {}) == ()


def test_a_fifth_in_parts_waits_as_well_i02(cluster: Cluster) -> None:
    assert feed(cluster.pk, listed(count=14), {}) == ()
    (said,) = feed(cluster.pk, listed(count=12), {})
    assert said.startswith(
        "2 of 14 nodes of k-1 are no longer listed, after 2 within the last hour"
    )
    Node.objects.exclude(missing_since=None).update(missing_since="2026-01-01T00:00:00Z")
    assert feed(cluster.pk, listed(count=12), {}) == ()


def test_an_empty_list_is_no_empty_cluster_i02(cluster: Cluster) -> None:
    (said,) = feed(cluster.pk, b'{"kind":"List","items":[]}', {})
    assert said == "Its nodes can't be read: nothing to import was found."
    assert Node.objects.filter(missing_since=None).count() == 16


def test_what_a_person_set_stays(cluster: Cluster) -> None:
    Node.objects.filter(name="gpu-0003").update(
        admin_state="maintenance", managed_fields={"admin_state": "manual"}
    )
    feed(cluster.pk, listed((3, cordoned), (4, cordoned)), {})
    assert (node(3).admin_state, node(4).admin_state) == ("maintenance", "cordoned")


def test_one_odd_node_is_named_and_the_rest_goes_on_k19(cluster: Cluster) -> None:
    def odd(one: dict[str, Any]) -> None:
        one["status"]["capacity"]["nvidia.com/gpu"] = "eight"

    (said,) = feed(cluster.pk, listed((3, odd), (4, cordoned), count=15), {})
    assert said.startswith("Not all of its nodes are taken over: items[3].status.capacity")
    assert said.endswith("'eight' is no whole number.")
    assert (node(3).admin_state, node(4).admin_state) == ("in_service", "cordoned")
    assert Node.objects.filter(missing_since=None).count() == 16, "nobody is gone meanwhile"
