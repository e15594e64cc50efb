"""A person stops automatic change, and a person lets it go on."""

from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from controller.core import phrases
from controller.models import Freeze, holds
from controller.models.clock import database_now
from controller.models.scopes import About, keys_of, name_of
from controller.services import actions, audit, exchanges, overriding, people
from controller.services.errors import ConflictError
from controller.services.people import Person


def freeze(
    *, about: About, user: Person, reason: str, also: Callable[[], None] = lambda: None
) -> Freeze:
    """Stop new actions of a service, a cluster, a region, or with ``None`` of the whole fleet.

    What is recorded and not sent is cancelled; what was sent already is not called back. ``also``
    is done in the same transaction: both are there or neither. Raises :class:`ConflictError`
    naming who froze it already, :class:`ForbiddenError`, and :class:`InvalidError` without a
    reason.
    """
    people.require(user, people.FREEZE, about)
    reason = people.reason_text(reason, needed=True)
    try:
        with transaction.atomic():
            also()
            made = Freeze.objects.create(
                **keys_of(about),
                by=people.account_of(user),
                by_name=user.get_username(),
                reason=reason,
                since=Now(),
            )
            audit.record(
                actor=user.get_username(),
                verb="froze",
                obj=about,
                after={"frozen": True, "scope": made.scope},
                reason=reason,
            )
    except IntegrityError:
        raise ConflictError(_already(about)) from None
    # After the freeze is in force, and each on its own: no tick's locks can keep a freeze waiting.
    why = f"Frozen ({made.scope}) by {made.by_name}: {reason}"
    exchanges.end_within(about, why)
    actions.call_off_within(about, why)
    made.refresh_from_db()
    return made


def resume(*, about: About, user: Person, reason: str, watch_first: bool = True) -> Freeze:
    """End the freeze of exactly this scope; returns it as ended.

    With ``watch_first`` the scope is only observed for a while, from the same moment on (A09).
    Raises :class:`ConflictError` when somebody was faster, :class:`ForbiddenError`, and
    :class:`InvalidError` without a reason.
    """
    people.require(user, people.RESUME, about)
    reason = people.reason_text(reason, needed=True)
    found = Freeze.objects.filter(**keys_of(about), ended_at=None).first()
    if found is None:
        raise ConflictError(_not_frozen(about))
    with transaction.atomic():
        if Freeze.objects.filter(pk=found.pk, ended_at=None).update(
            ended_at=Now(), ended_by_name=user.get_username(), end_reason=reason
        ):
            audit.record(
                actor=user.get_username(),
                verb="resumed",
                obj=about,
                before={
                    "frozen": True,
                    "scope": found.scope,
                    "by": found.by_name,
                    "reason": found.reason,
                },
                after={"frozen": False, "scope": found.scope},
                reason=reason,
            )
            if watch_first:
                overriding.watch(about, after="Resumed", user=user, reason=reason)
            found.refresh_from_db()
            return found
    raise ConflictError(_not_frozen(about))


def let_flag_go(
    lower: Callable[[], bool], *, user: Person, reason: str, watch_first: bool = True
) -> None:
    """Let the file that freezes a host go, as a freeze of the fleet is let go: told and watched.

    ``lower`` removes it and returns whether there was one. What it said is kept with the event: so
    the audit has who froze while the database was away. Raises :class:`ConflictError` without a
    file and :class:`InvalidError` without a reason; nothing is removed then.
    """
    people.require(user, people.RESUME, None)
    reason, held = people.reason_text(reason, needed=True), holds.by_file()
    with transaction.atomic():
        audit.record(
            actor=user.get_username(),
            verb="removed the file FREEZE",
            obj=None,
            before={"frozen": True, "file": held.reason if held else ""},
            after={"frozen": False},
            reason=reason,
        )
        if watch_first:
            overriding.watch(None, after="resumed", user=user, reason=reason)
        # Last, so that nothing acts before it is watched.
        if not lower():
            raise ConflictError("There is no file FREEZE on this host.")


def _already(about: About) -> str:
    found = Freeze.objects.filter(**keys_of(about), ended_at__isnull=True).first()
    if found is None:
        return f"{name_of(about)} was frozen and resumed just now: look again."
    since_s = (database_now() - found.since).total_seconds()
    return f"{found.by_name} already froze {name_of(about)} {phrases.ago(since_s)}: {found.reason}"


def _not_frozen(about: About) -> str:
    last = Freeze.objects.filter(**keys_of(about)).order_by("-ended_at").first()
    if last is None or last.ended_at is None:
        return f"{name_of(about)} is not frozen."
    since_s = (database_now() - last.ended_at).total_seconds()
    return f"{last.ended_by_name} resumed {name_of(about)} {phrases.ago(since_s)}."
