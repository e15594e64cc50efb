"""States and labels of nodes, changed by people: never over a change they did not see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from inventory.models import InventoryVersion, Node
from inventory.services import bulk, reservations
from inventory.services.locks import lock_for_edit
from inventory.services.versions import stamp
from inventory.transitions import LABEL, RESERVE, UNRESERVE, NodeChange, Transition

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
    """Change nodes in one transaction, as many statements for one as for two thousand.

    ``seen`` has the version of each node that the person saw; a node that changed since, is in
    ``barred``, or whose state doesn't allow it is left alone and named. What people set this way
    no import changes until it is given back; returning a node gives its state back.
    """
    changed: list[Changed] = []
    refused: list[tuple[Node, str]] = []
    with transaction.atomic():
        lock_for_edit()
        found = _locked(seen)
        taken = reservations.taken(found, asked.ends) if asked.action == RESERVE else {}
        for node in found:
            after = _after(node, asked)
            said = (
                _overtaken(node, seen)
                or asked.refusal(node.admin_state, node.lifecycle, node.reserved_for)
                or barred.get(node.pk, "")
                or taken.get(node.pk, "")
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
    named = asked.transition
    if named is None:
        return {"reserved_for": asked.owner if asked.action == RESERVE else ""}
    return {
        "admin_state": str(named.admin_to),
        "lifecycle": str(named.lifecycle_to or node.lifecycle),
    }


def _write(asked: NodeChange, changed: Sequence[Changed], by: str, reason: str) -> None:
    named = asked.transition
    if named is not None:
        _write_states(named, changed, by, reason)
    elif asked.action == LABEL:
        _write_labels(changed)
    else:
        cells = [(one.node.pk, one.after["reserved_for"]) for one in changed]
        bulk.update(Node, "id", ("reserved_for",), cells, bulk.NEXT_VERSION)
        nodes = [one.node for one in changed]
        if asked.action == UNRESERVE:
            reservations.let_go(nodes)
        else:
            reservations.hold(nodes, owner=asked.owner, reason=reason, ends=asked.ends)


def _write_states(named: Transition, changed: Sequence[Changed], by: str, reason: str) -> None:
    columns = (*STATE_FIELDS, "managed_fields", "admin_by", "admin_reason")
    cells = [
        (
            one.node.pk,
            *(one.after[field] for field in STATE_FIELDS),
            _managed(one.node, STATE_FIELDS, held=named.takes),
            by[:160],
            reason,
        )
        for one in changed
    ]
    bulk.update(Node, "id", columns, cells, {**bulk.NEXT_VERSION, "admin_at": "now()"})


def _write_labels(changed: Sequence[Changed]) -> None:
    cells = [
        (one.node.pk, one.after["labels"], _managed(one.node, ("labels",), held=True))
        for one in changed
    ]
    bulk.update(Node, "id", ("labels", "managed_fields"), cells, bulk.NEXT_VERSION)


def relabel(node: UUID, seen: Mapping[str, str], wanted: Mapping[str, str], *, by: str) -> Outcome:
    """Write the labels of one node over those that the person saw.

    Whatever else changed of the node meanwhile does not matter; other labels than ``seen`` do:
    then nothing is written, and the refusal says which differ.
    """
    with transaction.atomic():
        lock_for_edit()
        for row in _locked({node: 0}):
            said = differences(seen, row.labels)
            if said or row.labels == wanted:
                words = f"others changed its labels: {said}" if said else "nothing differs"
                return Outcome((), ((row, words),), None)
            done = (Changed(row, {"labels": row.labels}, {"labels": dict(wanted)}),)
            _write_labels(done)
            return Outcome(done, (), _stamp("labelled", done, by))
    return Outcome((), (), None)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """Return in words how two sets of labels differ; empty where they don't."""
    told = (
        f"{key}: {before.get(key, 'none')} → {after.get(key, 'none')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    )
    return ", ".join(told)


def release(node: UUID, field: str, *, seen: int, by: str) -> Outcome:
    """Give a field back to imports, whose next one may change it."""
    with transaction.atomic():
        lock_for_edit()
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
    states = (node.get_lifecycle_display(), node.get_admin_state_display())
    kept = f", reserved for {node.reserved_for}" if node.reserved_for else ""
    return f"it was changed meanwhile: it is {' and '.join(states)}{kept} now"


def _managed(node: Node, fields: Sequence[str], *, held: bool) -> dict[str, str]:
    kept = {key: who for key, who in node.managed_fields.items() if key not in fields}
    return kept | (dict.fromkeys(fields, BY_HAND) if held else {})


def _stamp(done: str, changed: Sequence[Changed], by: str) -> int | None:
    if not changed:
        return None
    counts = {f"nodes {done}": len(changed)}
    return stamp(InventoryVersion.Cause.EDIT, by, counts=counts)
