"""Roles within scopes as a list, and the people they may be given to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from django.contrib.auth.models import Permission, User
from django.db.models import Q, QuerySet

from controller.models import Grant

SHOWN: Final = 200
MOST_NAMES: Final = 500


def _rows() -> QuerySet[Grant]:
    return Grant.objects.select_related(
        "user", "region", "cluster__region", "service__cluster__region"
    )


def in_force(now: datetime) -> Sequence[Grant]:
    """Return the roles that hold now, by person; one query."""
    alive = Q(expires_at=None) | Q(expires_at__gt=now)
    found = _rows().filter(alive, ended_at=None).order_by("user__username", "role", "pk")
    return list(found[:SHOWN])


def over(now: datetime) -> Sequence[Grant]:
    """Return the roles that ended or ran out, the newest first; one query."""
    gone = Q(ended_at__isnull=False) | Q(expires_at__lte=now)
    return list(_rows().filter(gone).order_by("-granted_at", "-pk")[:SHOWN])


def of_person(user: User, now: datetime) -> Sequence[Grant]:
    """Return the roles within scopes that a person has now; one query."""
    alive = Q(expires_at=None) | Q(expires_at__gt=now)
    return list(_rows().filter(alive, user=user, ended_at=None).order_by("role", "pk"))


def everywhere(user: User) -> Mapping[str, Sequence[str]]:
    """Return what gives a person each right everywhere, as the database has it; two queries.

    The group of a role may have been changed by hand, and there may be groups of other names.
    """
    found: dict[str, list[str]] = defaultdict(list)
    label, code = "content_type__app_label", "codename"
    groups = Permission.objects.filter(group__user=user).order_by("group__name")
    for app, right, name in groups.values_list(label, code, "group__name"):
        found[f"{app}.{right}"].append(f"group {name}")
    for app, right in Permission.objects.filter(user=user).values_list(label, code):
        found[f"{app}.{right}"].append("a permission given directly")
    return found


def find(pk: int) -> Grant | None:
    """Return one grant."""
    return _rows().filter(pk=pk).first()


def names() -> Sequence[str]:
    """Return the names of active people, for a list to choose from."""
    found = User.objects.filter(is_active=True).order_by("username")
    return list(found.values_list("username", flat=True)[:MOST_NAMES])


def person(name: str) -> User | None:
    """Return a person by name."""
    return User.objects.filter(username=name).first()
