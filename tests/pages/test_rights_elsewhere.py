"""The administration and what machines ask: nobody without the right gets through either."""

from __future__ import annotations

from typing import Final

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from controller import urls
from controller.models import Grant
from controller.services import people
from controller.services.accounts import ROLES
from inventory.models import ImportRun
from tests.everything import make_everything
from tests.services.people import person

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker", "strip_read_once")]

FORBIDDEN: Final = 403
NOT_ALLOWED: Final = 405
UNKNOWN: Final = "00000000-0000-4000-8000-000000000000"
CHANGING: Final = frozenset(
    {"api-imports", "api-import-apply", "api-import-cancel", "api-import-revert"}
)


def status(client: Client, path: str, method: str = "POST") -> int:
    """Return the answer to an empty change, which is undone."""
    with transaction.atomic():
        found = client.generic(method, path).status_code
        transaction.set_rollback(True)
    return found


def people_of_each_role() -> dict[str, User]:
    """Return one of each role everywhere, and one whose Admin is granted for the whole fleet."""
    found = {role: person(role.replace(" ", "-"), role) for role in ROLES}
    found["granted"] = User.objects.create_user("granted")
    row = {"role": "Admin", "reason": "why", "by_name": "ana", "granted_at": timezone.now()}
    Grant.objects.create(user=found["granted"], **row)
    return found


def signed_in(user: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


def test_of_what_machines_ask_only_imports_change_something() -> None:
    root = signed_in(User.objects.create_superuser("root"))
    takes = set()
    for route in urls.urlpatterns:
        name = getattr(route, "name", None) or ""
        if str(route.pattern).startswith("api/"):
            kwargs = dict.fromkeys(route.pattern.converters, UNKNOWN)
            path = reverse(name, kwargs=kwargs)
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                if status(root, path, method) != NOT_ALLOWED:
                    takes.add((name, method))
    assert takes == {(name, "POST") for name in CHANGING}


def test_only_who_may_change_the_inventory_imports_by_machine() -> None:
    everybody, wrong = people_of_each_role(), []
    for role, user in everybody.items():
        may = role == "granted" or people.EDIT_FLEET in ROLES[role]
        for owner in (user, everybody["Admin"]):
            run = ImportRun.objects.create(
                created_at=timezone.now(), created_by=owner, state="failed", format="csv"
            )
            for name in CHANGING:
                args = [] if name == "api-imports" else [run.pk]
                found = status(signed_in(user), reverse(name, args=args))
                if (found != FORBIDDEN) != may:
                    wrong.append(f"{role}, {name} of {owner}: {found}, may: {may}")
    assert wrong == []
    single = [reverse(name, args=[UNKNOWN]) for name in CHANGING - {"api-imports"}]
    assert {status(Client(), path) for path in [*single, reverse("api-imports")]} == {401}


def test_without_the_right_nobody_adds_changes_or_removes_in_the_administration() -> None:
    everybody, wrong = people_of_each_role(), []
    make_everything(everybody["Admin"])
    User.objects.update(is_staff=True)
    staff = {role: User.objects.get(pk=user.pk) for role, user in everybody.items()}
    clients, asked = {role: signed_in(user) for role, user in staff.items()}, set()
    for at, model in enumerate(admin.site._registry):
        app, name = model._meta.app_label, model._meta.model_name
        row = model._default_manager.first()
        assert row is not None, f"a {name} to ask about"
        for number, verb in enumerate(("add", "change", "delete")):
            lack = [role for role in staff if not staff[role].has_perm(f"{app}.{verb}_{name}")]
            role = lack[(at + number) % len(lack)]  # each page refuses one, in turn each role
            args = [] if verb == "add" else [row.pk]
            path = reverse(f"admin:{app}_{name}_{verb}", args=args)
            found = status(clients[role], path)
            asked.add(role)
            wrong += [f"{role}, {path}: {found}"] if found != FORBIDDEN else []
    assert wrong == []
    assert asked == staff.keys()
    add = reverse("admin:inventory_region_add")
    assert (status(clients["Admin"], add), status(Client(), add)) == (200, 302)
