"""One rack, and one node that is to be moved: what their pages need."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controller.models import AuditEvent
from controller.selectors.node_page import history_of
from controller.selectors.node_use import node_uses
from controller.selectors.racks import RackSeen, in_order, seen_racks
from inventory.models import Node, Rack


@dataclass(frozen=True, slots=True)
class Beside:
    """The rack before or after another."""

    name: str
    page: str


@dataclass(frozen=True, slots=True)
class RackPage:
    """A rack as its page shows it, between its neighbours."""

    row: Rack
    seen: RackSeen
    before: Beside | None
    after: Beside | None
    history: Sequence[AuditEvent]
    observed: bool


def read_rack(pk: UUID, now: datetime) -> RackPage | None:
    """Return the page of a rack; ``None`` when there is none. Constant queries."""
    row = Rack.objects.select_related("site").filter(pk=pk).first()
    if row is None:
        return None
    uses = node_uses(now)
    racks = seen_racks([pk], uses)
    before, after = _beside(row)
    return RackPage(
        row=row,
        seen=racks[0],
        before=before,
        after=after,
        history=history_of("rack", row.pk),
        observed={one.cluster for one in racks[0].standing} <= uses.observed,
    )


def _beside(row: Rack) -> tuple[Beside | None, Beside | None]:
    """Return the neighbours of a rack in the order in which the racks of its site stand."""
    rows = Rack.objects.filter(site=row.site_id).values_list(
        "pk", "site__slug", "row", "column", "name"
    )
    order = sorted(rows, key=in_order)
    here = [one[0] for one in order].index(row.pk)
    return _at(order, here - 1), _at(order, here + 1)


def _at(order: Sequence[tuple[UUID, str, str, str, str]], place: int) -> Beside | None:
    if not 0 <= place < len(order):
        return None
    return Beside(order[place][4], f"/fleet/racks/{order[place][0]}/")


@dataclass(frozen=True, slots=True)
class Move:
    """A node and the racks it could stand in, those of its region."""

    node: Node
    racks: tuple[tuple[str, str], ...]


def read_move(cluster: str, name: str) -> Move | None:
    """Return a node and where it could go; ``None`` when there is no such node."""
    node = (
        Node.objects.select_related("cluster", "rack__site")
        .filter(cluster__slug=cluster.lower(), name__iexact=name)
        .first()
    )
    if node is None:
        return None
    rows = Rack.objects.filter(site__region=node.cluster.region_id, missing_since=None)
    order = sorted(rows.values_list("pk", "site__slug", "row", "column", "name"), key=in_order)
    return Move(node, tuple((str(pk), f"{site} / {name}") for pk, site, _, _, name in order))


def find_rack(pk: UUID) -> Rack | None:
    """Return a rack by its key."""
    return Rack.objects.select_related("site").filter(pk=pk).first()
