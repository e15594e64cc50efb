"""People keep profiles of their own engines, and give them up again."""

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from controller.models import EngineProfile
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.people import Person
from controller.simulator.profile_file import ProfileError, check_profile, profile_body
from controller.simulator.profiles import PROFILES, Profile


def save_profile(profile: Profile, *, user: Person) -> EngineProfile:
    """Keep a profile under its name, with an entry in the audit.

    Raises :class:`InvalidError` for figures no engine has, and :class:`ConflictError` when the
    name is that of a built-in profile or of one somebody kept before.
    """
    try:
        check_profile(profile)
    except ProfileError as fault:
        raise InvalidError(fault.field, str(fault)) from fault
    if taken := who_has(profile.name):
        raise ConflictError(taken)
    try:
        with transaction.atomic():
            row = EngineProfile.objects.create(
                name=profile.name,
                body=profile_body(profile),
                provenance=profile.provenance,
                created_at=Now(),
                created_by=people.account_of(user),
                created_by_name=user.get_username()[:160],
            )
            audit.record(actor=user.get_username(), verb="added profile", obj=row, after=row.body)
    except IntegrityError:
        held = who_has(profile.name) or f"{profile.name} was taken a moment ago: try again."
        raise ConflictError(held) from None
    row.refresh_from_db()
    return row


def remove_profile(name: str, *, user: Person) -> None:
    """Forget a kept profile, with an entry in the audit.

    Raises :class:`ConflictError` for a built-in one and :class:`MissingError` for an unknown one.
    """
    if name in PROFILES:
        raise ConflictError(f"{name} is built in and can't be removed.")
    with transaction.atomic():
        row = EngineProfile.objects.select_for_update().filter(name__iexact=name).first()
        if row is None:
            raise MissingError(f"No profile {name!r} is kept here.")
        audit.record(actor=user.get_username(), verb="removed profile", obj=row, before=row.body)
        row.delete()


def is_known(name: str) -> bool:
    """Whether a profile of this name is built in or kept."""
    return name in PROFILES or EngineProfile.objects.filter(name=name).exists()


def who_has(name: str) -> str:
    """Return in a sentence what has this name already, empty when it is free."""
    if name.lower() in {built_in.lower() for built_in in PROFILES}:
        return f"{name} is built in: choose another name."
    holder = EngineProfile.objects.filter(name__iexact=name).first()
    if holder is None:
        return ""
    return (
        f"{holder.created_by_name} keeps a profile {holder.name} since"
        f" {holder.created_at:%Y-%m-%d %H:%M} UTC: remove it first, or choose another name."
    )
