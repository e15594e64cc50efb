"""The first accounts have passwords of their own, kept where one person reads them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password

from heteroscale_site.accounts import GROUP_OF, ensure_accounts, new_password


@pytest.fixture
def kept(db: None, settings: LazySettings, tmp_path: Path) -> Path:
    del db
    settings.HOME = tmp_path
    return tmp_path / "accounts.txt"


def test_there_is_one_account_a_role(kept: Path) -> None:
    for name in GROUP_OF.values():
        Group.objects.get_or_create(name=name)
    said = ensure_accounts()
    passwords = dict(line.split("\t") for line in kept.read_text().splitlines())

    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert set(passwords) == set(GROUP_OF)
    assert len(set(passwords.values())) == len(GROUP_OF)
    for name, password in passwords.items():
        user = User.objects.get(username=name)
        assert user.check_password(password)
        assert user.is_superuser is (name == "admin")
        assert [group.name for group in user.groups.all()] == [GROUP_OF[name]]
        assert any(password in line for line in said)


def test_accounts_are_made_once(kept: Path) -> None:
    ensure_accounts()
    first = kept.read_text()
    User.objects.get(username="viewer").delete()
    assert ensure_accounts() == []
    assert kept.read_text() == first
    assert not User.objects.filter(username="viewer").exists()


def test_a_person_moved_to_another_group_stays_there(kept: Path) -> None:
    del kept
    for name in GROUP_OF.values():
        Group.objects.get_or_create(name=name)
    ensure_accounts()
    user = User.objects.get(username="operator")
    user.groups.set([Group.objects.get(name="Viewer")])
    ensure_accounts()
    assert [group.name for group in user.groups.all()] == ["Viewer"]


def test_a_generated_password_meets_the_rules() -> None:
    password = new_password()
    validate_password(password)
    assert password != new_password()
