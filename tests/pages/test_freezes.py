"""Freeze and resume: a page that says what happens, and a POST that does it."""

from __future__ import annotations

import pytest
from django.test import Client

from controller.models import AuditEvent, Freeze
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person


@pytest.fixture
def ana(client: Client) -> Client:
    """An approver who is signed in."""
    client.force_login(person("ana"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/freeze/", "/services/chat/freeze/"])
def test_freezing_says_what_stops_and_what_does_not(ana: Client, path: str) -> None:
    factories.make_service("chat")

    page = reading(ana, path)
    assert "Stops new actions of" in page
    assert "Does not stop requests already sent to a cluster" in page
    assert 'value="incident"' in ana.get(path).content.decode()
    answer = ana.post(path, {"reason": "incident 8812"}, follow=True)

    assert "Frozen: no new action" in words(answer.content.decode())
    assert Freeze.objects.get().reason == "incident 8812"


@pytest.mark.django_db
def test_a_second_freeze_reads_whose_the_first_is(ana: Client) -> None:
    ana.post("/freeze/", {"reason": "incident 8812"})

    answer = ana.post("/freeze/", {"reason": "again"})

    assert answer.status_code == 409
    page = words(answer.content.decode())
    assert "ana already froze the fleet" in page
    assert "s ago: incident 8812" in page


@pytest.mark.django_db
def test_resuming_shows_what_the_next_tick_would_do(ana: Client) -> None:
    service = factories.make_service("chat")
    ana.post("/freeze/", {"reason": "incident"})
    step = {
        "name": "freeze",
        "before": {"prefill": 2, "decode": 6},
        "after": {"prefill": 2, "decode": 4},
        "code": "FROZEN",
        "detail": "ana froze the fleet",
    }
    factories.make_decision(service, move="blocked", code="FROZEN", steps=[step])

    page = reading(ana, "/resume/")
    assert "would change 1 of 1 service: it would scale out 2 decode. " in page
    assert "chat decode 4 → 6 carried out" in page
    answer = ana.post("/resume/", {"reason": "fixed"}, follow=True)

    assert "Resumed the fleet" in words(answer.content.decode())
    assert Freeze.objects.get().end_reason == "fixed"


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["freeze", "resume"])
def test_a_reason_is_needed_and_the_form_keeps_what_was_typed(ana: Client, verb: str) -> None:
    if verb == "resume":
        ana.post("/freeze/", {"reason": "incident"})

    answer = ana.post(f"/{verb}/", {"reason": " "})
    long = ana.post(f"/{verb}/", {"reason": "y" * 1001})

    assert answer.status_code == 400
    assert "Give a reason" in words(answer.content.decode())
    assert long.status_code == 400
    assert "y" * 1001 in long.content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "path", "needs"),
    [("Viewer", "/freeze/", "needs Operator"), ("Operator", "/resume/", "needs Approver")],
)
def test_without_the_right_the_page_says_so_and_the_post_is_refused(
    client: Client, role: str, path: str, needs: str
) -> None:
    client.force_login(person("eve", role))
    if path == "/resume/":
        client.post("/freeze/", {"reason": "incident"})
    frozen = Freeze.objects.filter(ended_at=None).count()

    assert needs in reading(client, path)
    assert client.post(path, {"reason": "x"}).status_code == 403
    assert Freeze.objects.filter(ended_at=None).count() == frozen
    assert AuditEvent.objects.filter(verb__startswith="was refused").count() == 1


@pytest.mark.django_db
def test_looking_changes_nothing_and_the_token_is_needed() -> None:
    factories.make_service("chat")
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana"))

    for path in ("/freeze/", "/resume/", "/services/chat/freeze/", "/services/chat/resume/"):
        assert strict.get(path).status_code == 200
        assert strict.post(path, {"reason": "x"}).status_code == 403
        assert Client().post(path, {"reason": "x"}).status_code == 403
    assert not Freeze.objects.exists()


@pytest.mark.django_db
def test_no_service_of_that_name_is_not_found(ana: Client) -> None:
    for verb in ("freeze", "resume"):
        assert ana.post(f"/services/nobody/{verb}/", {"reason": "x"}).status_code == 404
    assert not Freeze.objects.exists()
