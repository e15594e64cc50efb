"""The views of the table of nodes that a person keeps: no one else sees or changes them."""

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from controller.core.words import clean
from controller.models import SavedView
from controller.services import audit
from controller.services.errors import ConflictError, InvalidError, MissingError

MOST = 50
LONGEST_NAME = 60
LONGEST_QUERY = 2000


def save(user: User, name: str, query: str) -> SavedView:
    """Keep a query string under a name; the same name again takes the place of the first.

    Raises :class:`InvalidError` for a bad name, too long a query, or too many views.
    """
    text = _name(name)
    if len(query) > LONGEST_QUERY:
        raise InvalidError("query", "These filters are too many for a saved view.")
    with transaction.atomic():
        # One lock a person, so that two forms sent at once don't pass the limit together.
        User.objects.select_for_update().get(pk=user.pk)
        row = SavedView.objects.filter(user=user, name__iexact=text).first()
        if row is None and SavedView.objects.filter(user=user).count() >= MOST:
            raise InvalidError("name", f"You keep {MOST} views already: remove one first.")
        row = row or SavedView(user=user)
        before = _plain(row) if row.pk else {}
        row.name, row.query = text, query
        row.save()
        _record(user, "kept a view", row, before)
    return row


def rename(user: User, pk: int, name: str) -> SavedView:
    """Give a view another name.

    Raises :class:`InvalidError`, :class:`ConflictError` when the person has one of that name, and
    :class:`MissingError`.
    """
    row, text = _own(user, pk), _name(name)
    before = _plain(row)
    row.name = text
    try:
        with transaction.atomic():
            row.save(update_fields=["name"])
            _record(user, "renamed a view", row, before)
    except IntegrityError as fault:
        raise ConflictError(f"You have a view named {text} already.") from fault
    return row


def remove(user: User, pk: int) -> str:
    """Remove a view and return its name. Raises :class:`MissingError`."""
    row = _own(user, pk)
    with transaction.atomic():
        audit.record(actor=user.get_username(), verb="removed a view", obj=row, before=_plain(row))
        row.delete()
    return row.name


def _record(user: User, verb: str, row: SavedView, before: dict[str, str]) -> None:
    audit.record(actor=user.get_username(), verb=verb, obj=row, before=before, after=_plain(row))


def _plain(row: SavedView) -> dict[str, str]:
    return {"name": row.name, "query": row.query}


def _own(user: User, pk: int) -> SavedView:
    row = SavedView.objects.filter(user=user, pk=pk).first()
    if row is None:
        raise MissingError("You keep no such view.")
    return row


def _name(given: str) -> str:
    text = " ".join(clean(given).split())
    if not text:
        raise InvalidError("name", "Give the view a name.")
    if len(text) > LONGEST_NAME:
        raise InvalidError("name", f"A name has at most {LONGEST_NAME} characters.")
    return text
