"""What people do to nodes: which moves are legal, what they set, and who is too late."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from controller import tasks
from controller.models import AuditEvent
from controller.services import fleet
from controller.services.errors import ForbiddenError, InvalidError
from controller.services.simulated import node_specs
from inventory.models import InventoryVersion, Node, Reservation, ReservedNode
from inventory.models.base import AdminState, Lifecycle
from inventory.services import reservations
from inventory.services.nodes import Outcome
from inventory.stored import newest_version
from inventory.transitions import ACTIONS, TRANSITIONS, NodeChange
from tests.factories import make_cluster, make_hardware, make_nodes
from tests.services.people import at_once, person

OUT = ("cordoned", "draining", "maintenance")
HERE = ("active", "decommissioning")
LEGAL = {
    ("cordon", "in_service"): HERE,
    ("drain", "in_service"): HERE,
    ("drain", "cordoned"): HERE,
    ("drain", "maintenance"): HERE,
    ("maintain", "in_service"): HERE,
    ("maintain", "cordoned"): HERE,
    ("maintain", "draining"): HERE,
    **{("return", state): (*HERE, "retired") for state in OUT},
    **{("retire", state): ("planned", *HERE) for state in ("in_service", *OUT)},
}
"""From which states each verb may be done: everything else is refused."""


@pytest.mark.parametrize("action", sorted(TRANSITIONS))
def test_every_other_move_is_refused_in_words(action: str) -> None:
    for state, lifecycle in product(AdminState.values, Lifecycle.values):
        said = NodeChange(action).refusal(state, lifecycle, "")
        legal = lifecycle in LEGAL.get((action, state), ())
        assert (said == "") == legal, (action, state, lifecycle, said)
        if said:
            words = {AdminState(state).label, Lifecycle(lifecycle).label}
            assert any(word in said for word in words)


@pytest.mark.parametrize(
    ("action", "reserved_for", "said"),
    [
        ("reserve", "", ""),
        ("reserve", "ana", "it is reserved for ana"),
        ("unreserve", "", "nobody has reserved it"),
        ("unreserve", "ana", ""),
        ("retire", "ana", "it is reserved for ana"),
        ("cordon", "ana", ""),
        ("label", "ana", ""),
    ],
)
def test_who_keeps_a_node_bars_some_moves(action: str, reserved_for: str, said: str) -> None:
    assert NodeChange(action).refusal("in_service", "active", reserved_for) == said


def test_every_action_has_its_words() -> None:
    for action in ACTIONS:
        assert NodeChange(action).word
        assert NodeChange(action).done
    assert {action for action in ACTIONS if NodeChange(action).takes} == {
        "cordon", "drain", "maintain", "retire", "reserve",
    }  # fmt: skip


@pytest.fixture
def nodes(db: None) -> list[Node]:  # noqa: ARG001
    return make_nodes(make_cluster(), make_hardware(), 3)


@pytest.fixture
def ana(db: None) -> User:  # noqa: ARG001
    return person("ana", "Operator")


def do(action: str, user: User, *found: Node, reason: str = "because", **more: object) -> Outcome:
    seen = {node.pk: node.version for node in found}
    asked = NodeChange(action, **more)  # type: ignore[arg-type]
    return fleet.change(asked, seen, barred={}, user=user, reason=reason)


def test_a_cordon_is_held_by_a_person_until_it_is_returned(nodes: list[Node], ana: User) -> None:
    before = newest_version()
    done = do("cordon", ana, nodes[0], reason="fan")
    node = Node.objects.get(pk=nodes[0].pk)
    assert (node.admin_state, node.schedulable) == ("cordoned", False)
    assert (node.admin_by, node.admin_reason, node.version) == ("ana", "fan", 2)
    assert node.managed_fields == {"admin_state": "manual", "lifecycle": "manual"}
    # I01: whoever planned with the version of before sees that it is an old one.
    assert done.inventory_version == newest_version() > before
    do("return", ana, node, reason="repaired")
    node.refresh_from_db()
    assert (node.admin_state, node.schedulable, node.managed_fields) == ("in_service", True, {})
    assert list(AuditEvent.objects.values_list("verb", "reason").order_by("pk")) == [
        ("cordoned", "fan"),
        ("returned", "repaired"),
    ]


@pytest.mark.parametrize("action", ["cordon", "drain", "maintain", "reserve"])
def test_the_simulated_fleet_places_nothing_there_any_more(
    nodes: list[Node], ana: User, action: str
) -> None:
    do(action, ana, nodes[0], owner="search")
    assert [spec.usable for spec in node_specs()] == [False, True, True]
    state = "reserved" if action == "reserve" else "maintenance"
    assert node_specs()[0].state == state


def test_a_retired_node_is_not_there_for_the_simulated_fleet(nodes: list[Node]) -> None:
    do("retire", person("ed", "Inventory editor"), nodes[0])
    assert [spec.name for spec in node_specs()] == ["h800-001", "h800-002"]


def test_an_operator_brings_no_retired_node_back(nodes: list[Node], ana: User) -> None:
    editor = person("ed", "Inventory editor")
    editor.groups.add(*ana.groups.all())
    do("retire", editor, nodes[0])
    node = Node.objects.get(pk=nodes[0].pk)
    assert [said for _, said in do("return", ana, node).refused] == ["it is retired"]
    assert len(do("return", editor, node).changed) == 1
    node.refresh_from_db()
    assert (node.lifecycle, node.admin_state) == ("active", "in_service")


def test_who_was_faster_is_named(nodes: list[Node], ana: User) -> None:
    ben = person("ben", "Operator")
    do("drain", ben, nodes[0], reason="leak")
    done = do("cordon", ana, nodes[0], nodes[1])
    assert [one.node.name for one in done.changed] == ["h800-001"]
    assert [said for _, said in done.refused] == [
        "it was changed meanwhile (ben: set to drain): it is active and draining now"
    ]
    # An import is no person: nobody is blamed for what it did.
    Node.objects.filter(pk=nodes[0].pk).update(version=7, updated=timezone.now())
    again = do("cordon", ana, nodes[0])
    assert [said for _, said in again.refused] == [
        "it was changed meanwhile: it is active and draining now"
    ]


def test_what_changes_nothing_makes_no_version(nodes: list[Node], ana: User) -> None:
    done = do("return", ana, nodes[0])
    assert [said for _, said in done.refused] == ["it is in service"]
    assert not InventoryVersion.objects.exists()
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"action": "cordon", "reason": " "}, "reason"),
        ({"action": "reserve"}, "owner"),
    ],
    ids=str,
)
def test_what_is_lacking_is_named(
    nodes: list[Node], ana: User, asked: dict[str, str], field: str
) -> None:
    given = dict(asked)
    with pytest.raises(InvalidError) as fault:
        do(given.pop("action"), ana, nodes[0], **given)
    assert fault.value.field == field


def test_too_many_at_once_are_refused(nodes: list[Node], ana: User) -> None:
    with pytest.raises(InvalidError, match="2,001 nodes are chosen; at most 2,000"):
        fleet.check_number(2_001)
    fleet.check_number(2_000)
    with pytest.raises(ForbiddenError):
        do("retire", ana, nodes[0])


# Reservations.


def until(hours: int) -> datetime:
    return timezone.now() + timedelta(hours=hours)


def test_a_reservation_keeps_nodes_until_its_end(nodes: list[Node], ana: User) -> None:
    do("reserve", ana, *nodes[:2], owner="search", ends=until(4), reason="load test")
    assert list(Node.objects.values_list("reserved_for", "schedulable").order_by("name")) == [
        ("search", False),
        ("search", False),
        ("", True),
    ]
    kept = Reservation.objects.get()
    assert (kept.owner, kept.reason, kept.held.count()) == ("search", "load test", 2)
    do("unreserve", ana, Node.objects.get(pk=nodes[0].pk))
    kept.refresh_from_db()
    assert kept.ends is not None
    assert kept.ends > timezone.now()
    do("unreserve", ana, Node.objects.get(pk=nodes[1].pk))
    kept.refresh_from_db()
    assert kept.ends <= timezone.now()
    assert not Node.objects.exclude(reserved_for="").exists()
    # What was ended early can be reserved again.
    done = do("reserve", ana, Node.objects.get(pk=nodes[0].pk), owner="ads")
    assert len(done.changed) == 1


def test_a_node_promised_to_somebody_is_not_promised_again(nodes: list[Node], ana: User) -> None:
    later = Reservation.objects.create(
        cluster=nodes[0].cluster, owner="ads", reason="x", begins=until(2), ends=until(6)
    )
    ReservedNode.objects.create(
        reservation=later, node=nodes[0], begins=later.begins, ends=later.ends
    )
    done = do("reserve", ana, *nodes[:2], owner="search", ends=until(4))
    assert [one.node.name for one in done.changed] == ["h800-001"]
    assert done.refused[0][1].startswith("it is reserved for ads from ")
    assert len(do("reserve", ana, nodes[0], owner="search", ends=until(1)).changed) == 1


def test_the_database_keeps_two_reservations_apart(nodes: list[Node]) -> None:
    made = Reservation.objects.create(
        cluster=nodes[0].cluster, owner="a", reason="x", begins=until(0), ends=until(2)
    )
    ReservedNode.objects.create(reservation=made, node=nodes[0], begins=until(0), ends=until(2))
    with pytest.raises(IntegrityError), transaction.atomic():
        ReservedNode.objects.create(reservation=made, node=nodes[0], begins=until(1), ends=None)


def test_the_clock_begins_and_ends_reservations(nodes: list[Node], ana: User) -> None:
    do("reserve", ana, nodes[0], owner="search", ends=until(4))
    begun = Reservation.objects.create(
        cluster=nodes[1].cluster, owner="ads", reason="x", begins=until(-1), ends=until(3)
    )
    ReservedNode.objects.create(
        reservation=begun, node=nodes[1], begins=begun.begins, ends=begun.ends
    )
    ReservedNode.objects.filter(node=nodes[0]).update(begins=until(-5), ends=until(-1))
    assert tasks.fleet.settle_reservations() == 2
    assert list(Node.objects.values_list("reserved_for", flat=True).order_by("name")) == [
        "",
        "ads",
        "",
    ]
    told = AuditEvent.objects.filter(actor=reservations.BY_CLOCK).order_by("object_id")
    assert sorted(told.values_list("verb", flat=True)) == ["reserved", "unreserved"]
    assert fleet.settle_reservations() == 0


def test_a_reservation_of_an_older_owner_does_not_end_a_newer_one(
    nodes: list[Node], ana: User
) -> None:
    do("reserve", ana, nodes[0], owner="search", ends=until(4))
    ReservedNode.objects.update(begins=until(-5), ends=until(-1))
    fleet.settle_reservations()
    do("reserve", ana, Node.objects.get(pk=nodes[0].pk), owner="ads")
    assert fleet.settle_reservations() == 0
    assert Node.objects.get(pk=nodes[0].pk).reserved_for == "ads"


@pytest.mark.django_db(transaction=True)
def test_of_two_who_reserve_at_once_one_gets_the_node() -> None:
    found = make_nodes(make_cluster(), make_hardware(), 2)
    people = [person(name, "Operator") for name in ("ana", "ben")]
    given = at_once(
        lambda: do("reserve", people[0], *found, owner="ana"),
        lambda: do("reserve", people[1], *reversed(found), owner="ben"),
    )
    changed = sorted(len(one.changed) for one in given if isinstance(one, Outcome))
    assert changed == [0, 2]
    assert ReservedNode.objects.count() == 2
