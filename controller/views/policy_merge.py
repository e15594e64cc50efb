"""A form opened on one revision, sent when another is in force: whose change is whose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.http import QueryDict

from controller.core.policy_fields import (
    FIELDS,
    GROUPS,
    Difference,
    Kind,
    differences,
    plain_default,
    told,
)
from controller.views.policy_form import PolicyForm, as_sent, untouched
from controller.views.policy_windows import COUNT
from inventory.services.policies import KEPT


@dataclass(frozen=True, slots=True)
class Clash:
    """A field that both changed, otherwise: what it was, what is in force, and what was typed."""

    label: str
    was: str
    theirs: str
    yours: str


@dataclass(frozen=True, slots=True)
class Merged:
    """What was sent, with fields nobody touched here as they are in force now.

    ``theirs`` is everything that changed since the form was opened, ``clashes`` what was typed
    over one of these changes: it stays as it was typed.
    """

    sent: QueryDict
    theirs: Sequence[Difference] = ()
    clashes: Sequence[Clash] = ()


def merge(
    sent: QueryDict, *, opened: Mapping[str, Any] | None, in_force: Mapping[str, Any]
) -> Merged:
    """Return a sent form on top of the policy in force, field by field.

    ``opened`` is the body the form began with; where it wasn't kept nobody can tell whose change
    is whose, and everything stays as it was sent.
    """
    result = sent.copy()
    if opened is None:
        return Merged(result)
    began = {name: opened.get(name, plain_default(name)) for name in KEPT}
    form = PolicyForm(sent, body=began, opened=0)
    # Only a checked form knows what was typed as values.
    form.is_valid()
    typed, before, now = form.body(), untouched(began), untouched(in_force)
    clashes = []
    for name in (name for group in GROUPS for name in group.names if name in KEPT):
        if before[name] == now[name] or typed[name] == now[name]:
            continue
        if typed[name] == before[name]:
            _follow(result, name, in_force[name])
        else:
            words = (told(FIELDS[name], body[name]) for body in (before, now, typed))
            clashes.append(Clash(FIELDS[name].label, *words))
    return Merged(result, tuple(differences(opened, in_force)), tuple(clashes))


def _follow(sent: QueryDict, name: str, value: object) -> None:
    if FIELDS[name].kind is Kind.SCHEDULE:
        # Without a count of windows the form has those that are kept.
        sent.pop(COUNT, None)
    else:
        sent.setlist(name, as_sent(name, value))
        if not sent.getlist(name):
            del sent[name]
