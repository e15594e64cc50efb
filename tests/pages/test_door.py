"""Sign-in with a second factor, locks, and sessions that people and administrators end."""

from __future__ import annotations

import re
from ipaddress import ip_network

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, RecoveryCode, SecondFactor, Session, SignInTries
from tests.pages.reading import reading, words
from tests.services.people import person
from tests.services.test_second_factor import code_of, enrolled

PASSWORD = "correct horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


def sign_in(client: Client, name: str, password: str = PASSWORD, **more: str) -> str:
    """Send the sign-in form; returns the words of the answer, or where it leads."""
    answer = client.post("/sign-in/", {"username": name, "password": password} | more)
    return answer.headers.get("Location") or words(answer.content.decode())


def is_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["ana", "nobody"])
def test_the_sixth_try_is_told_to_wait_whether_the_name_exists_or_not(
    client: Client, name: str
) -> None:
    person("ana")
    told = [sign_in(client, name, "wrong") for _ in range(6)]

    assert not any("wait" in page for page in told[:4])
    assert re.search(r"do not match an account.* wait (29|30) s, then try again", told[4])
    assert re.search(r"Too many wrong answers: wait (29|30) s", told[5])
    assert "do not match" not in told[5]
    assert re.search("Too many wrong answers", sign_in(client, name))
    assert not is_in(client)


@pytest.mark.django_db
def test_others_cannot_lock_an_account(client: Client) -> None:
    person("ana")
    stranger = Client(REMOTE_ADDR="203.0.113.5")
    for _ in range(6):
        sign_in(stranger, "ana", "wrong")

    assert sign_in(client, "ana") == "/"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("header", "counted"),
    [
        pytest.param("198.51.100.9", "198.51.100.9", id="the proxy names the client"),
        pytest.param("192.0.2.99, 198.51.100.9", "198.51.100.9", id="what stands before is typed"),
        pytest.param("198.51.100.9, 10.0.0.8", "198.51.100.9", id="two proxies of ours"),
        pytest.param("2001:db8::1:2", "2001:db8::/64", id="a network of IPv6"),
        pytest.param("::ffff:198.51.100.9", "198.51.100.9", id="IPv4 written as IPv6"),
        pytest.param("nonsense", "10.0.0.7", id="no address at all"),
        pytest.param("", "10.0.0.7", id="nothing"),
    ],
)
def test_tries_are_counted_by_the_address_the_proxy_tells(
    settings: LazySettings, header: str, counted: str
) -> None:
    settings.PROXIES = (ip_network("10.0.0.7"), ip_network("10.0.0.8"))
    sign_in(Client(REMOTE_ADDR="10.0.0.7", HTTP_X_FORWARDED_FOR=header), "ana", "wrong")

    assert SignInTries.objects.get(kind="address").address == counted


@pytest.mark.django_db
def test_a_header_of_a_stranger_is_no_disguise() -> None:
    sign_in(Client(REMOTE_ADDR="192.0.2.7", HTTP_X_FORWARDED_FOR="10.9.9.9"), "ana", "wrong")

    assert SignInTries.objects.get(kind="address").address == "192.0.2.7"


@pytest.mark.django_db
def test_a_password_alone_is_half_the_way_for_whoever_has_an_authenticator(client: Client) -> None:
    ana, _ = enrolled()

    assert "Code of your authenticator" in sign_in(client, "ana", next="/decisions/")
    assert not is_in(client)
    wrong = client.post("/sign-in/code/", {"code": "abc", "next": "/decisions/"})
    assert "not a code of now" in words(wrong.content.decode())
    answer = client.post("/sign-in/code/", {"code": code_of(ana), "next": "/decisions/"})

    assert answer.headers["Location"] == "/decisions/"
    assert is_in(client)
    assert client.get("/sign-in/code/").headers["Location"] == "/sign-in/"


@pytest.mark.django_db
def test_a_used_code_does_not_open_again_and_a_recovery_code_does_once() -> None:
    ana, codes = enrolled()
    used = code_of(ana)
    for code, opens in ((used, True), (used, False), (codes[0], True), (codes[0], False)):
        other = Client()
        sign_in(other, "ana")
        other.post("/sign-in/code/", {"code": code})
        assert is_in(other) is opens


@pytest.mark.django_db
def test_wrong_codes_shut_the_door_although_the_password_is_right(client: Client) -> None:
    ana, _ = enrolled()
    for _ in range(5):
        sign_in(client, "ana")
        client.post("/sign-in/code/", {"code": "000-000"})

    assert "Too many wrong answers" in sign_in(client, "ana")
    shut = client.post("/sign-in/code/", {"code": code_of(ana)})
    assert "Too many wrong answers" in words(shut.content.decode())
    assert not is_in(client)


@pytest.mark.django_db
def test_half_the_way_ends_with_a_new_password_or_a_disabled_account() -> None:
    ana, _ = enrolled()
    clients = [Client(), Client()]
    for each in clients:
        sign_in(each, "ana")
    ana.set_password("another horse battery")
    ana.save()
    assert clients[0].get("/sign-in/code/").headers["Location"] == "/sign-in/"
    third = Client()
    sign_in(third, "ana", "another horse battery")
    User.objects.update(is_active=False)
    assert third.get("/sign-in/code/").headers["Location"] == "/sign-in/"


@pytest.mark.django_db
def test_setting_up_an_authenticator_ends_with_codes_that_are_shown_once(client: Client) -> None:
    ana = person("ana")
    client.force_login(ana)
    assert "none Set up" in reading(client, "/me/")
    assert not SecondFactor.objects.exists()

    client.post("/me/second-factor/")
    page = client.get("/me/second-factor/").content.decode()
    assert "<svg" in page
    assert "style=" not in page.partition("<main")[2]
    assert "otpauth://totp/HeteroScale:ana?secret=" in page
    wrong = client.post("/me/second-factor/confirm/", {"code": "1"})
    assert wrong.status_code == 400
    done = words(
        client.post("/me/second-factor/confirm/", {"code": code_of(ana)}).content.decode()
    )

    assert len(re.findall(r"\b(?:[a-z2-9]{4}-){3}[a-z2-9]{4}\b", done)) == 10
    assert RecoveryCode.objects.count() == 10
    assert "10 of 10 recovery codes left" in reading(client, "/me/second-factor/")
    assert "otpauth" not in client.get("/me/second-factor/").content.decode()


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/approvals/", "/admin/"])
def test_an_approver_without_one_is_sent_to_set_it_up(
    client: Client, settings: LazySettings, path: str
) -> None:
    settings.SECOND_FACTOR = "approvers"
    ana = person("ana")
    client.force_login(ana)
    assert client.get(path).headers["Location"] == "/me/second-factor/"
    assert client.post("/freeze/", {"reason": "x"}).headers["Location"] == "/me/second-factor/"
    assert client.get("/api/v1/backtests/").status_code == 403

    client.post("/me/second-factor/")
    client.post("/me/second-factor/confirm/", {"code": code_of(ana)})

    assert client.get("/approvals/").status_code == 200


@pytest.mark.django_db
def test_a_session_from_before_the_factor_is_asked_for_the_code(
    client: Client, settings: LazySettings
) -> None:
    ana, _ = enrolled()
    client.force_login(ana)
    settings.SECOND_FACTOR = "approvers"

    assert "Confirm it is you" in reading(client, "/decisions/?changes=1")
    proof = {"password": PASSWORD, "code": code_of(ana), "next": "/decisions/?changes=1"}
    assert client.post("/sign-in/confirm/", proof).headers["Location"] == "/decisions/?changes=1"
    assert "Confirm it is you" not in reading(client, "/decisions/")


@pytest.mark.django_db
def test_a_new_password_takes_the_old_one_and_ends_the_other_sessions(client: Client) -> None:
    person("ana")
    other = Client(headers={"user-agent": FIREFOX})
    sign_in(client, "ana")
    sign_in(other, "ana")
    before = client.session.session_key
    new = dict.fromkeys(("new_password1", "new_password2"), "a much better one 7")

    short = client.post("/me/password/", {"old_password": "wrong"} | new)
    assert "not your password" in words(short.content.decode())
    done = client.post("/me/password/", {"old_password": PASSWORD} | new, follow=True)

    assert "1 other session ended with it" in words(done.content.decode())
    assert client.session.session_key != before
    assert not is_in(other)
    assert sign_in(Client(), "ana", "a much better one 7") == "/"
    assert AuditEvent.objects.get(verb="changed their password").actor == "ana"


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("new", "why"),
    [
        pytest.param("short", "at least 12 characters", id="5 of 12 characters"),
        pytest.param("1234567890123456", "entirely numeric", id="digits alone"),
        pytest.param("password123456", "too common", id="one of the usual ones"),
    ],
)
def test_a_weak_password_is_refused_with_why(client: Client, new: str, why: str) -> None:
    client.force_login(person("ana"))
    given = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}

    assert why in words(client.post("/me/password/", given).content.decode())


@pytest.mark.django_db
def test_a_password_of_128_characters_is_taken_whole(client: Client) -> None:
    ana = person("ana")
    ana.set_password("x1" * 64)
    ana.save()

    assert "do not match" in sign_in(Client(), "ana", "x1" * 63)
    assert sign_in(client, "ana", "x1" * 64) == "/"


@pytest.mark.django_db
def test_a_person_sees_their_sessions_and_ends_one(client: Client) -> None:
    person("ana")
    person("eve")
    phone, eve = Client(headers={"user-agent": FIREFOX}), Client()
    for each, name in ((client, "ana"), (phone, "ana"), (eve, "eve")):
        sign_in(each, name)

    page = client.get("/me/").content.decode()
    assert "Firefox on Linux" in page
    (end,) = re.findall(r"/me/sessions/\w{24}/end/", page)
    assert phone.session.session_key not in page
    eve.post(end)
    assert is_in(phone)
    client.post(end)

    assert not is_in(phone)
    assert is_in(client)
    assert is_in(eve)
    assert AuditEvent.objects.get(verb="ended sessions").actor == "ana"


@pytest.mark.django_db
def test_leaving_ends_the_session_at_the_server(client: Client) -> None:
    person("ana")
    sign_in(client, "ana")
    key = client.cookies["sessionid"].value
    client.post("/sign-out/")

    client.cookies["sessionid"] = key
    assert client.get("/me/").status_code == 302
    assert not Session.objects.filter(session_key=key).exists()


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["disabled", "removed", "demoted"])
def test_rights_that_are_gone_count_at_once(client: Client, change: str) -> None:
    ana = person("ana")
    sign_in(client, "ana")
    if change == "disabled":
        User.objects.update(is_active=False)
    elif change == "removed":
        ana.delete()
    else:
        ana.groups.clear()

    assert client.get("/me/").status_code == (200 if change == "demoted" else 302)
    assert client.post("/freeze/", {"reason": "x"}).status_code == 403


@pytest.mark.django_db
def test_an_administrator_sees_locks_and_people_and_helps(client: Client) -> None:
    ana, _ = enrolled()
    phone = Client()
    phone.force_login(ana)
    for _ in range(6):
        sign_in(Client(REMOTE_ADDR="203.0.113.5"), "ana", "wrong")
    client.force_login(person("root", "Admin"))

    page = client.get("/people/doors/").content.decode()
    assert "203.0.113.5" in page
    (lift,) = re.findall(r"/people/doors/\w{64}/lift/", page)
    client.post(lift)
    assert "No door is shut" in reading(client, "/people/doors/?q=an")
    client.post("/people/ana/reset-second-factor/")

    assert not SecondFactor.objects.exists()
    assert not is_in(phone)
    phone.force_login(ana)
    client.post("/people/ana/end-sessions/")
    assert not is_in(phone)
    assert is_in(client)


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Approver"])
def test_others_see_and_do_none_of_that(client: Client, role: str) -> None:
    client.force_login(person("eve", role))
    person("ana")

    assert client.get("/people/doors/").status_code == 403
    for path in ("doors/x/lift", "ana/end-sessions", "ana/reset-second-factor"):
        assert client.post(f"/people/{path}/").status_code == 403
        assert client.get(f"/people/{path}/").status_code == 405


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "queries"), [("/me/", 15), ("/people/doors/", 15), ("/me/second-factor/", 13)]
)
@pytest.mark.parametrize("others", [1, 3])
def test_the_pages_ask_the_same_however_many_there_are(
    client: Client,
    django_assert_num_queries: DjangoAssertNumQueries,
    path: str,
    queries: int,
    others: int,
) -> None:
    root = person("root", "Admin")
    for i in range(others):
        Client().force_login(root)
        Client().force_login(person(f"ana{i}"))
    client.force_login(root)
    client.get(path)

    with django_assert_num_queries(queries):
        client.get(path)
