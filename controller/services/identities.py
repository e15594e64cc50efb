"""Accounts of people who come through an identity provider, and the roles it gives them."""

from collections.abc import Collection

from django.contrib.auth.models import Group, User
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from controller.core.words import clean
from controller.models import Identity
from controller.services import audit
from controller.services.accounts import ROLES
from controller.services.errors import ConflictError

PROVIDER = "identity provider"


def find(issuer: str, subject: str) -> User | None:
    """Return the account of a subject, ``None`` for one that never came."""
    found = Identity.objects.select_related("user").filter(issuer=issuer, subject=subject)
    row = found.first()
    return None if row is None else row.user


def make(issuer: str, subject: str, *, name: str, roles: Collection[str]) -> User:
    """Make the account of a subject that comes for the first time, with these roles.

    It has no password. Raises :class:`ConflictError` where somebody else has the name: an account
    is never handed to whoever bears its name at the provider.
    """
    shown = clean(name).strip()
    try:
        with transaction.atomic():
            user = User.objects.create_user(shown)
            Identity.objects.create(user=user, issuer=issuer, subject=subject, first_at=Now())
            audit.record(
                actor=PROVIDER,
                verb="made an account",
                obj=user,
                after={"name": shown, "issuer": issuer, "subject": subject},
            )
            set_roles(user, roles)
    except (IntegrityError, ValueError) as fault:
        raise ConflictError(
            f"There is an account {shown} already, which no provider vouches for."
        ) from fault
    return user


def set_roles(user: User, roles: Collection[str]) -> None:
    """Give the account exactly these of our roles; groups that are none stay as they are."""
    with transaction.atomic():
        held = set(user.groups.filter(name__in=ROLES).values_list("name", flat=True))
        if held == set(roles):
            return
        user.groups.remove(*Group.objects.filter(name__in=held - set(roles)))
        user.groups.add(*Group.objects.filter(name__in=set(roles) - held))
        audit.record(
            actor=PROVIDER,
            verb="changed roles",
            obj=user,
            before={"roles": sorted(held)},
            after={"roles": sorted(roles)},
        )
