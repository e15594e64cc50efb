"""Passwords of people."""

from django.contrib.auth.models import User
from django.db import transaction

from controller.services import audit


def change(user: User, password: str) -> None:
    """Give the person the password they chose, which the validators passed."""
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=("password",))
        audit.record(
            actor=user.username,
            verb="changed their password",
            obj=user,
            after={"person": user.username},
        )
