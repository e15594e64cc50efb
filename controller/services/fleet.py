"""Nodes as people steer them: who may, the change, and its record in one transaction."""

from collections.abc import Mapping
from uuid import UUID

from django.db import transaction

from controller.core.words import clean
from controller.services import audit, people
from controller.services.errors import InvalidError
from controller.services.people import Person
from inventory.importers.checks import label_problem
from inventory.services import nodes
from inventory.services.nodes import Outcome
from inventory.transitions import LABEL, NodeChange

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
    changed for what runs on them. Raises :class:`ForbiddenError`, and :class:`InvalidError` for
    no node, too many, a lacking reason or a bad label.
    """
    people.require(user, right_for(asked))
    if not seen:
        raise InvalidError("node", "Tick at least one node.")
    if len(seen) > MOST_AT_ONCE:
        raise InvalidError(
            "node", f"{len(seen):,} nodes are chosen; at most {MOST_AT_ONCE:,} change at once."
        )
    text = people.reason_text(reason, needed=True)
    if asked.action == LABEL:
        _check_labels(asked)
    with transaction.atomic():
        done = nodes.change(asked, seen, barred=barred, by=user.get_username(), reason=text)
        _record(done, asked.done, user, text)
    return done


def right_for(asked: NodeChange) -> str:
    """Return the right that a change of nodes needs."""
    return people.EDIT_FLEET if asked.action in {LABEL, "retire"} else people.CORDON


def _check_labels(asked: NodeChange) -> None:
    if not asked.put and not asked.drop:
        raise InvalidError("labels", "Name a label to set, like team=search, or one to remove.")
    for key, value in asked.put.items():
        if problem := label_problem(key, value):
            raise InvalidError("labels", f"{problem[0].upper()}{problem[1:]}.")


def release(node: UUID, field: str, *, seen: int, user: Person) -> Outcome:
    """Give a field that a person holds back to imports. Raises :class:`ForbiddenError`."""
    people.require(user, people.EDIT_FLEET)
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
