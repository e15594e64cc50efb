"""Whatever is changed of who may do what is audited."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from controller.models import AuditEvent, Decision, Removal
from controller.services.accounts import ensure_roles
from tests import factories

NEW = "a long new password"


@pytest.fixture
def root(client: Client) -> Client:
    """An administrator who is signed in."""
    ensure_roles()
    client.force_login(User.objects.create_superuser("root", password="correct horse battery"))
    return client


def events() -> list[tuple[object, ...]]:
    fields = ("actor", "verb", "object_type", "before", "after")
    return list(AuditEvent.objects.order_by("pk").values_list(*fields))


@pytest.mark.django_db
def test_an_account_is_added_given_a_role_and_removed(root: Client) -> None:
    given = {"username": "ana", "usable_password": "true", "password1": NEW, "password2": NEW}
    assert root.post("/admin/auth/user/add/", given).status_code == 302
    ana = User.objects.get(username="ana")
    approver = Group.objects.get(name="Approver")
    changed = {
        "username": "ana",
        "is_active": "on",
        "groups": [approver.pk],
        "date_joined_0": "2026-01-01",
        "date_joined_1": "12:00:00",
    }
    assert root.post(f"/admin/auth/user/{ana.pk}/change/", changed).status_code == 302
    assert root.post(f"/admin/auth/user/{ana.pk}/delete/", {"post": "yes"}).status_code == 302
    added, given_role, removed = events()
    assert added == ("root", "added", "user", {}, {"username": "ana"})
    before, after = given_role[3], given_role[4]
    assert isinstance(before, dict)
    assert isinstance(after, dict)
    assert (before["groups"], after["groups"]) == ([], ["Approver"])
    assert removed == ("root", "removed", "user", {"name": "ana"}, {})
    assert NEW not in str(list(AuditEvent.objects.values()))


@pytest.mark.django_db
def test_a_new_password_is_told_without_it(root: Client) -> None:
    ana = User.objects.create_user("ana", password="correct horse battery")
    given = {"usable_password": "true", "password1": NEW, "password2": NEW}
    answer = root.post(f"/admin/auth/user/{ana.pk}/password/", given)
    assert answer.status_code == 302
    ana.refresh_from_db()
    assert ana.check_password(NEW)
    assert events() == [("root", "changed the password", "user", {}, {})]


@pytest.mark.django_db
def test_the_rights_of_a_role_are_told_before_and_after(root: Client) -> None:
    viewer = Group.objects.get(name="Viewer")
    answer = root.post(f"/admin/auth/group/{viewer.pk}/change/", {"name": "Viewer"})
    assert answer.status_code == 302
    ((actor, verb, kind, before, after),) = events()
    assert (actor, verb, kind) == ("root", "changed", "group")
    assert isinstance(before, dict)
    assert before["permissions"]
    assert after == {"permissions": []}


@pytest.mark.django_db
def test_a_service_with_decisions_is_not_removed_by_the_administration(root: Client) -> None:
    service = factories.make_service("chat")
    factories.make_decision(service)
    root.post(f"/admin/inventory/service/{service.pk}/delete/", {"post": "yes"})
    assert Decision.objects.exists()
    assert not Removal.objects.exists()
