"""The database itself refuses what can't be, and computes what may be used."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from inventory.models import (
    Fabric,
    Gpu,
    HardwareAlias,
    HealthEvent,
    Link,
    Nic,
    Node,
    Rack,
    Reservation,
    ReservedNode,
    Switch,
)
from tests.factories import make_cluster, make_hardware, make_nodes

pytestmark = pytest.mark.django_db


def refused(constraint: str, make: object) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        make()  # type: ignore[operator]


@pytest.fixture
def nodes() -> list[Node]:
    return make_nodes(make_cluster(), make_hardware(), 3)


@pytest.mark.parametrize("field", ["serial", "provider_id", "k8s_uid"])
def test_a_machine_is_there_once(nodes: list[Node], field: str) -> None:
    Node.objects.filter(pk=nodes[0].pk).update(**{field: "Abc"})
    rest = Node.objects.filter(pk=nodes[1].pk)
    refused(f"node_{field}_unique", lambda: rest.update(**{field: "aBC"}))
    assert Node.objects.filter(**{field: ""}).count() == 2, "nothing said is no identity"


def test_two_nodes_share_no_rack_unit(nodes: list[Node]) -> None:
    first, second, third = nodes
    Node.objects.filter(pk=first.pk).update(u_position=2, u_height=8)
    second_row, third_row = (Node.objects.filter(pk=one.pk) for one in (second, third))
    refused("node_units_free", lambda: second_row.update(u_position=9, u_height=8))
    second_row.update(u_position=10, u_height=8)
    third_row.update(face="front", u_position=30, u_height=4)
    refused("node_units_free_front", lambda: second_row.update(u_position=33, u_height=1))
    second_row.update(u_position=33, u_height=1, face="rear")


def test_a_position_needs_a_rack(nodes: list[Node]) -> None:
    row = Node.objects.filter(pk=nodes[0].pk)
    refused("node_position_needs_rack", lambda: row.update(rack=None, u_position=3))


def test_no_node_has_a_million_gpus(nodes: list[Node]) -> None:
    # I05: the database is the last to refuse it.
    row = Node.objects.filter(pk=nodes[0].pk)
    refused("node_gpus_at_most_72", lambda: row.update(gpus=73))
    row.update(gpus=None)


TERMS = {
    "lifecycle": ("active", "planned"),
    "admin_state": ("in_service", "cordoned"),
    "health": ("ok", "degraded"),
    "reserved_for": ("", "ana"),
    "missing_since": (None, timezone.now()),
}


@pytest.mark.parametrize("chosen", list(product((0, 1), repeat=len(TERMS))), ids=str)
def test_schedulable_is_the_product_of_its_terms(
    nodes: list[Node], chosen: tuple[int, ...]
) -> None:
    node, values = nodes[0], zip(TERMS.items(), chosen, strict=True)
    Node.objects.filter(pk=node.pk).update(**{name: of[at] for (name, of), at in values})
    node = Node.objects.get(pk=node.pk)
    assert len(node.why_not_schedulable) == sum(chosen)
    assert node.schedulable == (sum(chosen) == 0)


def test_gpus_and_adapters_are_there_once(nodes: list[Node]) -> None:
    first, second = nodes[:2]
    Gpu.objects.create(node=first, index=0, uuid="GPU-a")
    Gpu.objects.create(node=second, index=1)
    refused("gpu_index_once", lambda: Gpu.objects.create(node=first, index=0))
    refused("gpu_uuid_unique", lambda: Gpu.objects.create(node=second, index=0, uuid="gpu-A"))
    Nic.objects.create(node=first, name="mlx5_0", guid="0x1")
    refused("nic_name_unique", lambda: Nic.objects.create(node=first, name="MLX5_0"))
    refused("nic_guid_unique", lambda: Nic.objects.create(node=second, name="x", guid="0X1"))


def test_a_cable_has_two_ends_and_its_own_ports(nodes: list[Node]) -> None:
    cluster = nodes[0].cluster
    fabric = Fabric.objects.create(cluster=cluster)
    leaf, spine = (
        Switch.objects.create(cluster=cluster, fabric=fabric, name=name, tier=tier)
        for tier, name in enumerate(("leaf", "spine"))
    )

    def link(**fields: object) -> Link:
        return Link.objects.create(cluster=cluster, switch=leaf, **fields)

    link(port="1", node=nodes[0], peer_port="mlx5_0")
    link(peer=spine, count=4)
    refused("link_port_once", lambda: link(port="1", peer=spine))
    refused("link_nic_once", lambda: link(port="2", node=nodes[0], peer_port="mlx5_0"))
    refused("link_has_one_far_end", lambda: link(port="3"))
    refused("link_has_one_far_end", lambda: link(port="3", node=nodes[0], peer=spine))
    refused("link_not_to_itself", lambda: link(port="3", peer=leaf))
    refused("link_bundle_to_switch_once", lambda: link(peer=spine))


def test_an_alias_means_one_type() -> None:
    HardwareAlias.objects.create(hardware=make_hardware("h800"), text="NVIDIA-H800")
    other = make_hardware("h20")
    refused(
        "hardware_alias_unique",
        lambda: HardwareAlias.objects.create(hardware=other, text="nvidia-h800"),
    )


def test_racks_are_named_once_in_their_site(nodes: list[Node]) -> None:
    site = nodes[0].rack.site  # type: ignore[union-attr]
    refused("rack_name_unique", lambda: Rack.objects.create(site=site, name="R01"))
    refused("rack_height_possible", lambda: Rack.objects.create(site=site, name="x", u_height=61))


def test_no_node_is_reserved_twice_at_a_time(nodes: list[Node]) -> None:
    now = timezone.now()
    day = timedelta(days=1)

    def hold(begin: int, end: int | None) -> ReservedNode:
        times = {"begins": now + begin * day, "ends": None if end is None else now + end * day}
        held = Reservation.objects.create(cluster=nodes[0].cluster, owner="ana", **times)
        return ReservedNode.objects.create(reservation=held, node=nodes[0], **times)

    hold(0, 2)
    hold(2, 3)
    refused("node_reserved_once", lambda: hold(1, 4))
    refused("node_reserved_once", lambda: hold(1, None))
    refused("reservation_ends_after_it_begins", lambda: hold(6, 5))
    hold(5, None)


def test_a_health_event_is_about_one_thing(nodes: list[Node]) -> None:
    now = timezone.now()
    HealthEvent.objects.create(node=nodes[0], code="XID 79", started=now)
    gpu = Gpu.objects.create(node=nodes[0], index=0)
    refused(
        "event_has_one_target",
        lambda: HealthEvent.objects.create(node=nodes[0], gpu=gpu, code="ECC", started=now),
    )
    refused("event_has_one_target", lambda: HealthEvent.objects.create(code="ECC", started=now))
