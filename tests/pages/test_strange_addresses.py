"""Whatever stands in an address, no page breaks: every name that each reads, with rubbish."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlencode, urlsplit

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.http import QueryDict
from django.test import Client
from django.utils.datastructures import MultiValueDict

from controller.models import Freeze
from tests.everything import make_everything
from tests.pages.test_nothing_changes_by_get import NOWHERE, addresses
from tests.services.people import person

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("broker", "strip_read_once")]

SERVER_ERROR: Final = 500
VALUES: Final = ("service:\0", "x" * 10_000, "🦙", "-1", "1e400", "..", "%")


@contextmanager
def names_read(patch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Note every name that is looked for in an address meanwhile."""
    found: set[str] = set()
    with patch.context() as here:
        for reader in ("__getitem__", "__contains__", "get", "getlist"):
            here.setattr(QueryDict, reader, _noting(reader, found), raising=False)
        yield found


def _noting(reader: str, found: set[str]):  # noqa: ANN202 - one of a dictionary's methods
    plain = getattr(MultiValueDict, reader)

    def noted(self: QueryDict, name: str, *more: object, **named: object) -> object:
        if not self._mutable:  # what a view builds itself is no address
            found.add(name)
        return plain(self, name, *more, **named)

    return noted


def opened(client: Client, address: str) -> int:
    with transaction.atomic():
        response = client.get(address)
        if response.streaming:
            b"".join(response)
        transaction.set_rollback(True)
    return response.status_code


def test_nothing_that_an_address_may_say_breaks_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    ana = person("ana", "Admin")
    client = Client(raise_request_exception=False)
    client.force_login(ana)
    wrong, read = [], 0
    for number, address in enumerate(addresses(make_everything(ana), ana)):
        if address.startswith((*NOWHERE, "/admin/", "/api/v1/figures/")):
            continue
        with names_read(monkeypatch) as found:
            opened(client, address)
        names = sorted(found)
        read += len(names)
        # One kind for all names, then different ones, as one refusal may hide another fault.
        asks = [dict.fromkeys(names, VALUES[0])]
        asks += [{name: VALUES[(at + number) % len(VALUES)] for at, name in enumerate(names)}]
        for asked in asks if names else ():
            status = opened(client, _with(address, asked))
            wrong += [(address, asked, status)] if status >= SERVER_ERROR else []
    assert wrong == []
    assert read > 50, "the names are found"


def _with(address: str, asked: dict[str, str]) -> str:
    return f"{address}{'&' if urlsplit(address).query else '?'}{urlencode(asked)}"


@pytest.mark.parametrize("path", ["/freeze/", "/resume/"])
def test_a_scope_with_a_zero_byte_means_nothing_and_never_everything_s21(path: str) -> None:
    ana = person("ana", "Admin")
    client = Client(raise_request_exception=False)
    client.force_login(ana)
    Freeze.objects.create(by_name="bo", reason="why", since="2026-01-01T00:00Z")
    for scope in ("service:%00", "%00", "fleet%00"):
        assert client.post(f"{path}?scope={scope}", {"reason": "why"}).status_code == 404
    assert [row.ended_at for row in Freeze.objects.all()] == [None]


def test_a_door_with_a_zero_byte_is_not_there() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.create_superuser("root"))
    assert client.post("/people/doors/%00/lift/").status_code == 404


def test_an_override_in_the_last_minute_of_time_is_refused_at_its_field() -> None:
    client = Client(raise_request_exception=False)
    client.force_login(person("ana", "Admin"))
    sent = {"kind": "freeze", "scope": "fleet", "lasts": "30", "reason": "r", "step": "set"}
    answer = client.post("/overrides/new/", sent | {"starts": "9999-12-31T23:59"})
    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == ["starts"]
