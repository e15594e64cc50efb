"""How one person likes the pages."""

from typing import Final
from zoneinfo import ZoneInfo

from django.contrib.auth.models import User
from django.db import transaction

from controller.models import Preference
from controller.services import audit

THEMES: Final = ("system", "light", "dark")


class UnknownPreferenceError(Exception):
    """A choice that is not offered; the text names it and nothing was changed."""


def save_preferences(
    user: User, *, theme: str | None = None, time_zone: str | None = None
) -> None:
    """Keep what is given and leave the rest; raises :class:`UnknownPreferenceError`."""
    given: dict[str, str] = {}
    if theme is not None:
        if theme not in THEMES:
            raise UnknownPreferenceError(f"the theme is one of {', '.join(THEMES)}")
        given["theme"] = theme
    if time_zone is not None:
        given["time_zone"] = _zone(time_zone)
    with transaction.atomic():
        before = Preference.objects.filter(user=user).values(*given).first() if given else None
        Preference.objects.update_or_create(user=user, defaults=given)
        audit.record(
            actor=user.get_username(),
            verb="changed preferences",
            obj=user,
            before=before,
            after=dict(given),
        )


def _zone(name: str) -> str:
    try:
        return str(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        raise UnknownPreferenceError(
            "the time zone is a name such as UTC or Europe/Zurich"
        ) from None
