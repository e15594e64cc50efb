"""Sessions: since when, by which proof, and how one ends before its time."""

from typing import Final

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from controller.models import Session
from controller.services import audit, people
from controller.services.errors import MissingError
from controller.services.people import Person

SIGNED_IN_AT: Final = "signed_in_at_s"
ACTIVE_AT: Final = "active_at_s"
PROVED_AT: Final = "proved_at_s"
FACTOR_AT: Final = "second_factor_at_s"
PROVIDED_AT: Final = "provider_proved_at_s"
ADDRESS: Final = "address"
BROWSER: Final = "browser"
LONGEST_BROWSER: Final = 200


def listen() -> None:
    """Note each sign-in of this process from now on."""
    user_logged_in.connect(_begin, dispatch_uid="session begins")


def _begin(request: HttpRequest, **_: object) -> None:
    """Note when, where from and with what a person signed in; that was a proof as well."""
    now_s = timezone.now().timestamp()
    marks = dict.fromkeys((SIGNED_IN_AT, ACTIVE_AT, PROVED_AT), now_s)
    places = {
        ADDRESS: audit.ADDRESS.get(),
        BROWSER: request.headers.get("User-Agent", "")[:LONGEST_BROWSER],
    }
    request.session.update(marks | places)


def prove(request: HttpRequest, *, by_factor: bool) -> None:
    """Note that the person proved again who they are; the session goes on under a new key."""
    now_s = timezone.now().timestamp()
    request.session[PROVED_AT] = now_s
    if by_factor:
        request.session[FACTOR_AT] = now_s
    request.session.pop(PROVIDED_AT, None)
    request.session.cycle_key()


def prove_elsewhere(session: SessionBase, at_s: float | None) -> None:
    """Note that the proof of this sign-in was given to the identity provider at ``at_s``.

    Its own session may be a day old, so coming in through it proves nothing of now; ``None`` is
    a provider that does not say.
    """
    session[PROVED_AT] = 0.0 if at_s is None else min(at_s, timezone.now().timestamp())


def provide(session: SessionBase) -> None:
    """Note that the identity provider has just seen the person prove who they are."""
    session[PROVIDED_AT] = timezone.now().timestamp()


def is_provided(session: SessionBase, *, within_s: float) -> bool:
    """Return whether the identity provider saw a proof that still waits for the code."""
    at_s = float(session.get(PROVIDED_AT, -float("inf")))
    return timezone.now().timestamp() - at_s <= within_s


def proof_age_s(session: SessionBase) -> float:
    """Return how long ago the person last proved who they are [s], infinite without a proof."""
    return timezone.now().timestamp() - float(session.get(PROVED_AT, -float("inf")))


def end(account: User, handle: str, *, user: Person) -> None:
    """End one session of the account.

    Another person's takes the right to change people. Raises :class:`ForbiddenError`,
    :class:`MissingError` for one that ended already.
    """
    rows = Session.objects.filter(account=account)
    keys = [row.session_key for row in rows if row.handle == handle]
    if not _end(account, keys, user=user):
        raise MissingError("That session ended already.")


def end_all(account: User, *, user: Person, but: str | None = None) -> int:
    """End the account's sessions, except the one with the key ``but``; returns how many.

    Raises :class:`ForbiddenError`.
    """
    found = Session.objects.filter(account=account).values_list("session_key", flat=True)
    return _end(account, [key for key in found if key != but], user=user)


def _end(account: User, keys: list[str], *, user: Person) -> int:
    if user != account:
        people.require(user, people.PEOPLE, account)
    with transaction.atomic():
        ended, _ = Session.objects.filter(account=account, session_key__in=keys).delete()
        if ended:
            audit.record(
                actor=user.get_username(),
                verb="ended sessions",
                obj=account,
                after={"person": account.username, "ended": ended},
            )
    return ended
