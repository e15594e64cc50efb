"""States and labels of nodes, changed by people: never over a change they did not see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from inventory.models import InventoryVersion, Node
from inventory.services import bulk
from inventory.services.versions import stamp
from inventory.transitions import LABEL, TRANSITIONS, NodeChange

BY_HAND: Final = "manual"
STATE_FIELDS: Final = ("admin_state", "lifecycle")


@dataclass(frozen=True, slots=True)
class Changed:
    """One node that was changed: what it was and what it is."""

    node: Node
    before: Mapping[str, Any]
    after: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of each node: changed, or left alone with the reason."""

    changed: tuple[Changed, ...]
    refused: tuple[tuple[Node, str], ...]
    inventory_version: int | None


def change(
    asked: NodeChange,
    seen: Mapping[UUID, int],
    *,
    barred: Mapping[UUID, str],
    by: str,
    reason: str,
) -> Outcome:
    """Change nodes in one transaction, four statements however many there are.

    ``seen`` has the version of each node that the person saw; a node that changed since, is in
    ``barred``, or whose state doesn't allow it is left alone and named. What people set this way
    no import changes until it is given back; returning a node gives its state back.
    """
    changed: list[Changed] = []
    refused: list[tuple[Node, str]] = []
    with transaction.atomic():
        for node in _locked(seen):
            after = _after(node, asked)
            said = (
                _overtaken(node, seen)
                or asked.refusal(node.admin_state, node.lifecycle)
                or barred.get(node.pk, "")
                or ("nothing differs" if all(_is(node, after)) else "")
            )
            if said:
                refused.append((node, said))
                continue
            before = {field: getattr(node, field) for field in after}
            changed.append(Changed(node, before, after))
        _write(asked, changed, by, reason)
        version = _stamp(asked.done, changed, by)
    return Outcome(tuple(changed), tuple(refused), version)


def _is(node: Node, after: Mapping[str, Any]) -> list[bool]:
    return [getattr(node, field) == value for field, value in after.items()]


def _after(node: Node, asked: NodeChange) -> dict[str, Any]:
    if asked.action == LABEL:
        kept = {key: text for key, text in node.labels.items() if key not in asked.drop}
        return {"labels": kept | dict(asked.put)}
    transition = TRANSITIONS[asked.action]
    return {
        "admin_state": str(transition.admin_to),
        "lifecycle": str(transition.lifecycle_to or node.lifecycle),
    }


def _write(asked: NodeChange, changed: Sequence[Changed], by: str, reason: str) -> None:
    fields = ("labels",) if asked.action == LABEL else STATE_FIELDS
    columns, also = (*fields, "managed_fields"), dict(bulk.NEXT_VERSION)
    told: tuple[str, ...] = ()
    if asked.action != LABEL:
        columns, told = (*columns, "admin_by", "admin_reason"), (by[:160], reason)
        also |= {"admin_at": "now()"}
    gives_back = asked.action != LABEL and not asked.takes
    cells = [
        (
            one.node.pk,
            *(one.after[field] for field in fields),
            _managed(one.node, fields, held=not gives_back),
            *told,
        )
        for one in changed
    ]
    bulk.update(Node, "id", columns, cells, also)


def release(node: UUID, field: str, *, seen: int, by: str) -> Outcome:
    """Give a field back to imports, whose next one may change it."""
    with transaction.atomic():
        for row in _locked({node: seen}):
            said = _overtaken(row, {node: seen})
            if not said and field not in row.managed_fields:
                said = f"nobody holds {field}"
            if said:
                return Outcome((), ((row, said),), None)
            held = {key: who for key, who in row.managed_fields.items() if key != field}
            bulk.update(Node, "id", ("managed_fields",), [(row.pk, held)], bulk.NEXT_VERSION)
            done = (Changed(row, {"managed": field}, {"managed": ""}),)
            return Outcome(done, (), _stamp("released", done, by))
    return Outcome((), (), None)


def _locked(seen: Mapping[UUID, int]) -> list[Node]:
    """Return the nodes, locked in one order, so that two who change the same don't deadlock."""
    rows = Node.objects.filter(pk__in=list(seen)).select_related("cluster").order_by("pk")
    return list(rows.select_for_update(of=("self",)))


def _overtaken(node: Node, seen: Mapping[UUID, int]) -> str:
    if node.version == seen[node.pk]:
        return ""
    who = f" by {node.admin_by}" if node.admin_by else ""
    return f"it was changed meanwhile{who}: it is {node.get_admin_state_display()} now"


def _managed(node: Node, fields: Sequence[str], *, held: bool) -> dict[str, str]:
    kept = {key: who for key, who in node.managed_fields.items() if key not in fields}
    return kept | (dict.fromkeys(fields, BY_HAND) if held else {})


def _stamp(done: str, changed: Sequence[Changed], by: str) -> int | None:
    if not changed:
        return None
    counts = {f"nodes {done}": len(changed)}
    return stamp(InventoryVersion.Cause.EDIT, by, counts=counts)
