"""Forms that could not be taken: what was typed is kept, and nothing happens by itself (A05)."""

from __future__ import annotations

import html
import re

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from controller.models import Freeze
from controller.views.kept import Kept
from tests.pages.reading import words
from tests.services.people import person
from tests.services.test_second_factor import code_of, enrolled

PASSWORD = "correct horse battery"
OURS = {"Sec-Fetch-Site": "same-origin"}
LATER_S = 301


def kept_in(page: str) -> str:
    """Return the form that a page carries along."""
    found = re.search(r'name="kept" value="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


def fields_of(page: str) -> dict[str, str]:
    """Return what the button of the page sends, without the token."""
    form = page.partition('<form method="post" action="/resume/?scope=fleet"')[2].partition(
        "</form>"
    )[0]
    return {
        name: html.unescape(value)
        for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
        if name != "csrfmiddlewaretoken"
    }


@pytest.fixture
def frozen(client: Client) -> Client:
    """An approver who froze the fleet, five minutes and a second ago."""
    client.force_login(person("ana"))
    client.post("/freeze/", {"reason": "incident"})
    return client


@pytest.mark.django_db
def test_resuming_asks_for_a_fresh_proof_and_keeps_the_reason(frozen: Client) -> None:
    with time_machine.travel(timezone.now().timestamp() + LATER_S, tick=False):
        assert "Resume the fleet" in frozen.get("/resume/").content.decode()
        asked = frozen.post("/resume/?scope=fleet", {"reason": 'it is "over"'})
        assert asked.status_code == 403
        kept = kept_in(asked.content.decode())
        wrong = frozen.post("/sign-in/confirm/", {"password": "wrong", "kept": kept})
        assert "not your password" in words(wrong.content.decode())
        kept = kept_in(wrong.content.decode())
        before = frozen.session.session_key
        proved = frozen.post("/sign-in/confirm/", {"password": PASSWORD, "kept": kept})

        page = proved.content.decode()
        assert "Nothing was sent yet" in words(page)
        assert Freeze.objects.filter(ended_at=None).exists()
        assert frozen.session.session_key != before
        assert fields_of(page) == {"reason": 'it is "over"'}
        frozen.post("/resume/?scope=fleet", fields_of(page))

    assert Freeze.objects.get().end_reason == 'it is "over"'


@pytest.mark.django_db
def test_a_proof_lasts_five_minutes(frozen: Client) -> None:
    with time_machine.travel(timezone.now().timestamp() + LATER_S - 3, tick=False):
        assert frozen.post("/resume/?scope=fleet", {"reason": "over"}).status_code == 302


@pytest.mark.django_db
def test_a_fresh_proof_takes_the_code_of_whoever_has_an_authenticator(client: Client) -> None:
    ana, _ = enrolled()
    client.force_login(ana)
    without = client.post("/sign-in/confirm/", {"password": PASSWORD})
    wrong = client.post("/sign-in/confirm/", {"password": PASSWORD, "code": "000-000"})
    right = client.post("/sign-in/confirm/", {"password": PASSWORD, "code": code_of(ana)})

    assert [one.status_code for one in (without, wrong, right)] == [403, 403, 302]


@pytest.mark.django_db
def test_wrong_proofs_shut_the_door_as_wrong_sign_ins_do(client: Client) -> None:
    client.force_login(person("ana"))
    for _ in range(5):
        client.post("/sign-in/confirm/", {"password": "wrong"})

    right = client.post("/sign-in/confirm/", {"password": PASSWORD})
    assert "Too many wrong answers" in words(right.content.decode())


@pytest.mark.django_db
def test_a_form_whose_session_ended_is_kept_over_the_sign_in(frozen: Client) -> None:
    frozen.post("/sign-out/")
    asked = frozen.post("/resume/?scope=fleet", {"reason": "over", "password": "a secret"})
    assert asked.status_code == 403
    assert "what you typed is kept" in words(asked.content.decode())
    form = {"username": "ana", "kept": kept_in(asked.content.decode())}
    wrong = frozen.post("/sign-in/", form | {"password": "wrong"})
    form["kept"] = kept_in(wrong.content.decode())

    page = frozen.post("/sign-in/", form | {"password": PASSWORD}).content.decode()

    assert "You are signed in as ana now" in words(page)
    assert fields_of(page) == {"reason": "over"}
    assert Freeze.objects.filter(ended_at=None).exists()


@pytest.mark.django_db
def test_it_is_kept_over_the_code_as_well(client: Client) -> None:
    ana, _ = enrolled()
    asked = client.post("/resume/?scope=fleet", {"reason": "over"})
    form = {"username": "ana", "password": PASSWORD, "kept": kept_in(asked.content.decode())}
    half = client.post("/sign-in/", form)
    code = {"code": code_of(ana), "kept": kept_in(half.content.decode())}

    assert fields_of(client.post("/sign-in/code/", code).content.decode()) == {"reason": "over"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        pytest.param(OURS, True, id="a page of ours with an old token"),
        pytest.param({"Origin": "http://testserver"}, True, id="our origin, an older browser"),
        pytest.param({}, False, id="nobody says who sent it"),
        pytest.param({"Origin": "http://evil.example"}, False, id="another origin"),
        pytest.param({"Sec-Fetch-Site": "same-site"}, False, id="a neighbouring sub-domain"),
        pytest.param({"Sec-Fetch-Site": "cross-site"}, False, id="another site"),
    ],
)
def test_only_our_own_pages_get_back_a_form_with_an_old_token(
    headers: dict[str, str], *, kept: bool
) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana"))

    answer = strict.post("/resume/?scope=fleet", {"reason": "over"}, headers=headers)

    assert answer.status_code == 403
    assert (fields_of(answer.content.decode()) == {"reason": "over"}) is kept
    assert ("Nothing was sent yet" in words(answer.content.decode())) is kept


@pytest.mark.django_db
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_sends_nothing_even_with_a_token(client: Client, site: str) -> None:
    client.force_login(person("ana"))

    answer = client.post("/freeze/", {"reason": "x"}, headers={"Sec-Fetch-Site": site})

    assert answer.status_code == 403
    assert not Freeze.objects.exists()
    assert client.get("/freeze/", headers={"Sec-Fetch-Site": site}).status_code == 200


@pytest.mark.django_db
def test_a_kept_form_that_somebody_wrote_is_ignored(client: Client) -> None:
    client.force_login(person("ana"))
    packed = Kept("/freeze/", (("reason", "x"),)).packed
    forged = packed[:-1] + ("A" if packed[-1] != "A" else "B")

    for kept in (forged, "nonsense", "a:b:c"):
        answer = client.post("/sign-in/confirm/", {"password": PASSWORD, "kept": kept})
        assert answer.headers["Location"] == "/"


@pytest.mark.django_db
def test_changing_people_in_the_administration_asks_for_a_fresh_proof(client: Client) -> None:
    root = User.objects.create_superuser("root", password=PASSWORD)
    client.force_login(root)
    form = {"name": "Night shift"}
    with time_machine.travel(timezone.now().timestamp() + LATER_S, tick=False):
        assert client.get("/admin/auth/group/add/").status_code == 200
        asked = client.post("/admin/auth/group/add/", form)
        assert asked.status_code == 403
        kept = kept_in(asked.content.decode())
        page = client.post("/sign-in/confirm/", {"password": PASSWORD, "kept": kept})
        assert 'action="/admin/auth/group/add/"' in page.content.decode()
        assert client.post("/admin/auth/group/add/", form).status_code == 302
