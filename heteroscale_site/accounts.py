"""The first accounts: one for each role, with passwords nobody else knows."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.contrib.auth.models import Group, User

from heteroscale_site.home import Home, write_private

# Five groups of four: 20 of 31 characters make 99 bits, and none looks like another.
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"
GROUPS_OF_LETTERS = 5
LETTERS = 4
GROUP_OF = {
    "admin": "Admin",
    "approver": "Approver",
    "operator": "Operator",
    "viewer": "Viewer",
}
# Where people rely on it everybody has an account of their own, made by the first one.
IN_PRODUCTION = ("admin",)


def ensure_accounts() -> list[str]:
    """Make the accounts when there is none at all, and return what to tell the person starting.

    Accounts are made once: one that was removed or renamed since does not come back.
    """
    lines: list[str] = []
    if not User.objects.exists():
        names = IN_PRODUCTION if settings.PRODUCTION else GROUP_OF
        passwords = {name: new_password() for name in names}
        _keep(passwords)
        for name, password in passwords.items():
            _make(name, password)
        lines = ["First accounts, shown once:"]
        lines += [f"  {name:<10}{password}" for name, password in passwords.items()]
    _join_groups()
    return lines


def new_password() -> str:
    """Return a random password."""
    return "-".join(
        "".join(secrets.choice(ALPHABET) for _ in range(LETTERS)) for _ in range(GROUPS_OF_LETTERS)
    )


def _make(name: str, password: str) -> None:
    if name == "admin":
        User.objects.create_superuser(name, password=password)
    else:
        User.objects.create_user(name, password=password)


def _keep(passwords: dict[str, str]) -> None:
    # Before the accounts are made: a password that was set and not kept would lock everybody out.
    text = "".join(f"{name}\t{password}\n" for name, password in passwords.items())
    write_private(Home(settings.HOME).accounts, text)


def _join_groups() -> None:
    for name, group_name in GROUP_OF.items():
        user = User.objects.filter(username=name, groups__isnull=True).first()
        group = Group.objects.filter(name=group_name).first()
        if user is not None and group is not None:
            user.groups.add(group)
