"""The door: a clear error, the way back to the page that was asked for, and nobody else's."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.pages.reading import reading, words
from tests.services.people import person

GOOD = {"username": "ana", "password": "correct horse battery"}


@pytest.mark.django_db
def test_the_page_says_where_the_first_passwords_are(client: Client) -> None:
    page = reading(client, "/sign-in/?next=/decisions/")

    assert "Sign in to open /decisions/" in page
    assert "keeps them in accounts.txt of its data directory" in page


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ana", "nobody"])
def test_a_wrong_answer_reads_the_same_for_every_name(client: Client, name: str) -> None:
    person("ana")

    answer = client.post("/sign-in/", {"username": name, "password": "wrong"})

    assert "do not match an account" in words(answer.content.decode())


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("wanted", "went"),
    [
        ("/decisions/?changes=1", "/decisions/?changes=1"),
        ("https://elsewhere.example/", "/"),
        ("//elsewhere.example/", "/"),
        ("javascript:alert(1)", "/"),
    ],
)
def test_after_signing_in_only_our_own_pages_open(client: Client, wanted: str, went: str) -> None:
    person("ana")

    answer = client.post("/sign-in/", GOOD | {"next": wanted})

    assert (answer.status_code, answer.headers["Location"]) == (302, went)


@pytest.mark.django_db
def test_leaving_takes_a_post(client: Client) -> None:
    client.force_login(person("ana"))

    assert client.get("/sign-out/").status_code == 405
    assert client.get("/approvals/").status_code == 200
    assert client.post("/sign-out/").headers["Location"] == "/sign-in/"
    assert client.get("/approvals/").status_code == 302


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    ["/approvals/", "/approvals/1/", "/decisions/", "/decisions/1/", "/freeze/", "/resume/"],
)
def test_every_page_asks_strangers_to_sign_in(client: Client, path: str) -> None:
    assert client.get(path).headers["Location"] == f"/sign-in/?next={path}"


@pytest.mark.django_db
def test_a_stranger_who_gets_lost_sees_no_more_than_that(client: Client) -> None:
    answer = client.get("/no/such/page/")

    assert answer.status_code == 404
    assert "Nothing is here" in words(answer.content.decode())
    assert "Approvals" not in words(answer.content.decode())
