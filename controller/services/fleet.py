"""Nodes as people steer them: who may, the change, and its record in one transaction."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID

from django.db import IntegrityError, transaction

from controller.core.words import clean
from controller.models import AuditEvent
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.people import Person
from inventory.importers.checks import label_problem
from inventory.models import Cluster, Node
from inventory.services import nodes, reservations
from inventory.services.nodes import Outcome
from inventory.transitions import LABEL, RESERVE, NodeChange

MOST_AT_ONCE = 2_000


def change(
    asked: NodeChange,
    seen: Mapping[UUID, int],
    *,
    barred: Mapping[UUID, str],
    user: Person,
    reason: str,
) -> Outcome:
    """Do what is asked to nodes, each for itself: what can't be changed is named with the reason.

    ``seen`` has the version of each node that the person saw, ``barred`` those that may not be
    changed for what runs on them. Raises :class:`ForbiddenError`, :class:`InvalidError` for
    no node, too many, a lacking reason or a bad label, and :class:`ConflictError` where the
    database keeps two reservations apart.
    """
    _require(user, right_for(asked), seen)
    if not seen:
        raise InvalidError("node", "Tick at least one node.")
    check_number(len(seen))
    text = people.reason_text(reason, needed=True)
    if asked.action == LABEL:
        _check_labels(asked.put, asked.drop)
    if asked.action == RESERVE and not asked.owner:
        raise InvalidError("owner", "Say who the nodes are reserved for.")
    try:
        with transaction.atomic():
            by = user.get_username()
            done = nodes.change(allowed(asked, user), seen, barred=barred, by=by, reason=text)
            _record(done, asked.done, user, text)
    except IntegrityError as fault:
        if asked.action != RESERVE:
            raise
        raise ConflictError(
            "Somebody reserved one of these nodes for that time a moment ago: look again."
        ) from fault
    return _with_who(done, seen)


def _require(user: Person, right: str, nodes_chosen: Collection[UUID]) -> None:
    """Raise :class:`ForbiddenError` unless the person may change the nodes of all clusters named.

    Without a node the right has to be one over the whole fleet.
    """
    if user.has_perm(right):
        return
    clusters = Cluster.objects.filter(nodes__in=list(nodes_chosen)).distinct()
    for cluster in clusters or (None,):
        people.require(user, right, cluster)


def check_number(count: int) -> None:
    """Raise :class:`InvalidError` for more nodes than change at once."""
    if count > MOST_AT_ONCE:
        raise InvalidError(
            "node", f"{count:,} nodes are chosen; at most {MOST_AT_ONCE:,} change at once."
        )


def relabel(node: Node, seen: Mapping[str, str], text: str, *, user: Person) -> Outcome:
    """Write the labels of one node, ``key=value`` with commas or lines between, over those seen.

    Raises :class:`ForbiddenError` and :class:`InvalidError` for a bad label.
    """
    people.require(user, people.EDIT_FLEET, node)
    wanted = labels_of(text)
    _check_labels({key: value for key, value in wanted.items() if seen.get(key) != value})
    with transaction.atomic():
        done = nodes.relabel(node.pk, seen, wanted, by=user.get_username())
        _record(done, "labelled", user, "")
    return done


def settle_reservations() -> int:
    """Begin and end reservations by the clock; returns how many nodes that changed."""
    with transaction.atomic():
        found = reservations.settle()
        for verb, begun in (("reserved", True), ("unreserved", False)):
            audit.record_each(
                [
                    (one.node, {"reserved_for": one.before}, {"reserved_for": one.after})
                    for one in found
                    if bool(one.after) == begun
                ],
                actor=reservations.BY_CLOCK,
                verb=verb,
                reason="its time began" if begun else "its time is over",
            )
    return len(found)


def labels_of(text: str) -> dict[str, str]:
    """Return labels written as ``key=value``, with commas or lines between."""
    pairs = [clean(one).partition("=") for one in text.replace("\n", ",").split(",")]
    return {key.strip(): value.strip() for key, _, value in pairs if key.strip()}


def allowed(asked: NodeChange, user: Person) -> NodeChange:
    """Return the change as far as a person may: an Operator returns no retired node."""
    return replace(asked, revives=user.has_perm(people.EDIT_FLEET))


def right_for(asked: NodeChange) -> str:
    """Return the right that a change of nodes needs."""
    return people.EDIT_FLEET if asked.action in {LABEL, "retire"} else people.CORDON


def _check_labels(put: Mapping[str, str], drop: tuple[str, ...] | None = None) -> None:
    if drop is not None and not put and not drop:
        raise InvalidError("labels", "Name a label to set, like team=search, or one to remove.")
    for key, value in put.items():
        if problem := label_problem(key, value):
            raise InvalidError("labels", f"{problem[0].upper()}{problem[1:]}.")


def _with_who(done: Outcome, seen: Mapping[UUID, int]) -> Outcome:
    """Return the outcome with who changed what was overtaken, where a person did; one query."""
    overtaken = {str(node.pk): node for node, _ in done.refused if node.version != seen[node.pk]}
    if not overtaken:
        return done
    rows = AuditEvent.objects.filter(object_type="node", object_id__in=list(overtaken))
    # What is audited is so in the transaction of its change, a moment after it began.
    newest = {event.object_id: event for event in rows.order_by("pk")}
    refused = []
    for node, said in done.refused:
        event = newest.get(str(node.pk))
        is_last = event is not None and event.at >= node.updated
        who = f" ({event.actor}: {event.verb})" if event and is_last else ""
        refused.append((node, said.replace("changed meanwhile", f"changed meanwhile{who}", 1)))
    return Outcome(done.changed, tuple(refused), done.inventory_version)


def release(node: UUID, field: str, *, seen: int, user: Person) -> Outcome:
    """Give a field that a person holds back to imports. Raises :class:`ForbiddenError`."""
    _require(user, people.EDIT_FLEET, [node])
    with transaction.atomic():
        done = nodes.release(node, clean(field), seen=seen, by=user.get_username())
        _record(done, "gave back to imports", user, "")
    return done


def _record(done: Outcome, verb: str, user: Person, reason: str) -> None:
    audit.record_each(
        [(one.node, one.before, one.after) for one in done.changed],
        actor=user.get_username(),
        verb=verb,
        reason=reason,
    )
