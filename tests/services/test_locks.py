"""Edits of the inventory while an import writes it: each waits, and neither kills the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse

from controller.services import fleet, hardware, racks
from inventory.models import HardwareType, Node, Rack, Reservation, ReservedNode
from inventory.services import nodes, reservations
from inventory.services.hardware import FACTS
from inventory.services.locks import lock_for_edit, lock_inventory
from inventory.services.racks import facts_of
from inventory.transitions import NodeChange
from tests.factories import make_cluster, make_hardware, make_nodes
from tests.services.importing import ME
from tests.services.people import at_once

pytestmark = pytest.mark.django_db(transaction=True)

WRITES_S = 0.5


@pytest.fixture
def node() -> Node:
    return make_nodes(make_cluster(), make_hardware(), 1)[0]


def _cordon(node: Node) -> object:
    asked, seen = NodeChange("cordon"), {node.pk: node.version}
    return len(nodes.change(asked, seen, barred={}, by="a", reason="r").changed)


def _relabel(node: Node) -> object:
    return len(fleet.relabel(node, {}, "team=search", user=ME).changed)


def _hardware(node: Node) -> object:
    row = HardwareType.objects.get(pk=node.hardware_id)
    values = {name: getattr(row, name) for name in FACTS} | {"cost_per_gpu_hour": Decimal(2)}
    return hardware.edit(row.pk, values, seen=row.version, user=ME, reason="r")


def _rack(node: Node) -> object:
    row = Rack.objects.get(pk=node.rack_id)
    wanted = facts_of(row) | {"row": "R7"}
    return racks.save_facts(row, wanted, opened=row.version, user=ME).row == "R7"


def _settle(node: Node) -> object:
    made = Reservation.objects.create(
        cluster=node.cluster, owner="o", begins=node.updated, ends=None
    )
    ReservedNode.objects.create(reservation=made, node=node, begins=node.updated)
    return len(reservations.settle())


def _admin(node: Node) -> object:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    where = reverse("admin:inventory_region_change", args=[node.cluster.region_id])
    form = client.get(where).context["adminform"].form
    given = {name: form[name].value() for name in form.fields} | {"name": "Other"}
    return client.post(where, {k: v for k, v in given.items() if v is not None}).status_code == 302


EDITS: tuple[Callable[[Node], Any], ...] = (_cordon, _relabel, _hardware, _rack, _settle, _admin)


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_waits_for_an_import_instead_of_deadlocking(
    edit: Callable[[Node], Any], node: Node
) -> None:
    # S20: what a person does and what an import writes are both there.
    holds = threading.Event()

    def bring() -> str:
        with transaction.atomic():
            lock_inventory()
            holds.set()
            time.sleep(WRITES_S)
            Node.objects.filter(pk=node.pk).update(serial="by import")
            HardwareType.objects.filter(pk=node.hardware_id).update(cpu="by import")
            Rack.objects.filter(pk=node.rack_id).update(power_kw=7)
            node.cluster.region.__class__.objects.update(name="by import")
        return "brought"

    def change() -> object:
        holds.wait(10)
        return edit(node)

    brought, edited = at_once(bring, change)
    assert brought == "brought"
    assert edited
    assert not isinstance(edited, Exception), edited
    assert Node.objects.get(pk=node.pk).serial == "by import"


def test_edits_do_not_wait_for_each_other() -> None:
    both = threading.Barrier(2, timeout=5)

    def edit() -> str:
        with transaction.atomic():
            lock_for_edit()
            both.wait()
        return "met"

    assert at_once(edit, edit) == ["met", "met"]


def test_what_the_clock_need_not_do_waits_for_nobody() -> None:
    def bring() -> str:
        with transaction.atomic():
            lock_inventory()
            return str(at_once(reservations.settle)[0])

    assert bring() == "()"
