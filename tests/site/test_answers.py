"""What every answer tells the browser, and how long a person stays signed in."""

from __future__ import annotations

import datetime as dt

import pytest
import time_machine
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory

from heteroscale_site.middleware import ACTIVE_AT, NoStoreMiddleware
from tests.site.conftest import Product

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"


@pytest.fixture
def person(db: None) -> User:
    del db
    return User.objects.create_user("someone", password="correct-horse-battery")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/healthz", id="a page"),
        pytest.param("/no/such/page", id="an error"),
        pytest.param("/static/admin/css/base.css", id="a file"),
    ],
)
@pytest.mark.django_db
def test_every_answer_carries_the_policy(client: Client, path: str) -> None:
    answer = client.get(path)
    answer.close()
    policy = dict(
        part.strip().split(" ", 1)
        for part in answer.headers["Content-Security-Policy"].split(";")
        if part.strip()
    )
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "connect-src": "'self'",
        "font-src": "'self'",
        "style-src": f"'self' {EMPTY_STYLE}",
        "img-src": "'self' data: blob:",
        "object-src": "'none'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"


@pytest.mark.django_db
def test_plotly_is_served_from_its_package(client: Client) -> None:
    answer = client.get("/static/plotly/plotly.min.js")
    assert answer.status_code == 200
    assert b"plotly.js v" in b"".join(answer.streaming_content)[:200]  # type: ignore[attr-defined]
    answer.close()


def test_an_unknown_host_is_refused(client: Client) -> None:
    assert client.get("/healthz", headers={"host": "evil.example"}).status_code == 400


def test_the_administration_has_no_door_of_its_own(client: Client) -> None:
    answer = client.get("/admin/login/?next=/admin/")
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in/?next=/admin/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("is_staff", "is_superuser"), [(False, False), (True, False), (True, True)]
)
def test_the_queue_pages_are_for_administrators(
    client: Client, person: User, *, is_staff: bool, is_superuser: bool
) -> None:
    assert client.get("/queue/").status_code == 302
    User.objects.filter(pk=person.pk).update(is_staff=is_staff, is_superuser=is_superuser)
    client.force_login(person)
    assert client.get("/queue/").status_code == (200 if is_superuser else 404)
    emptied = client.post("/queue/queues/0/empty/", {"empty": "yes"})
    assert is_superuser or emptied.status_code == 404
    assert client.get("/queue/stats.json").status_code in ({200} if is_superuser else {404})


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/queue/", "/queue/stats.json", "/queue/queues/0/empty/"])
def test_a_token_opens_no_queue_page_for_staff(client: Client, person: User, path: str) -> None:
    User.objects.filter(pk=person.pk).update(is_staff=True)
    client.force_login(person)
    token = {"Authorization": "Bearer made-up"}
    assert client.get(path, headers=token).status_code == 404
    assert client.post(path, {"empty": "yes"}, headers=token).status_code == 404


def _answer(client: Client, headers: dict[str, str]) -> HttpResponse:
    request = RequestFactory().get("/")
    request.COOKIES = {name: morsel.value for name, morsel in client.cookies.items()}
    request.user = User.objects.get(username="someone")

    def view(_: HttpRequest) -> HttpResponse:
        return HttpResponse("x", headers=headers)

    response = NoStoreMiddleware(view)(request)
    assert isinstance(response, HttpResponse)
    return response


@pytest.mark.parametrize(
    ("headers", "kept"),
    [
        pytest.param({}, "no-store", id="a page of a signed-in person"),
        pytest.param({"ETag": '"1"'}, "private, no-cache", id="the browser may ask whether new"),
        pytest.param({"Cache-Control": "max-age=5"}, "max-age=5", id="the view knows better"),
    ],
)
def test_no_cache_keeps_the_pages_of_a_person(
    client: Client, person: User, headers: dict[str, str], kept: str
) -> None:
    client.force_login(person)
    assert _answer(client, headers).headers["Cache-Control"] == kept


def test_a_visitor_without_session_may_be_cached(client: Client, person: User) -> None:
    del person
    assert "Cache-Control" not in _answer(client, {}).headers


def _is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_session_ends_when_nobody_uses_it(
    client: Client, person: User, settings: LazySettings
) -> None:
    settings.IDLE_S, settings.SESSION_S = 3600, 43200
    with time_machine.travel(NOON, tick=False) as clock:
        client.force_login(person)
        client.get("/healthz")
        for _ in range(3):
            clock.shift(3500)
            client.get("/healthz")
            assert _is_signed_in(client)
        clock.shift(3601)
        client.get("/healthz")
        assert not _is_signed_in(client)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        pytest.param("/healthz", {"HX-Request": "true"}, id="a part of a page"),
        pytest.param("/api/v1/figures/fleet-trend", {}, id="a figure"),
    ],
)
def test_a_page_that_refreshes_itself_is_no_use(
    client: Client, person: User, settings: LazySettings, path: str, headers: dict[str, str]
) -> None:
    settings.IDLE_S = 3600
    with time_machine.travel(NOON, tick=False) as clock:
        client.force_login(person)
        client.get("/healthz")
        active_s = client.session[ACTIVE_AT]
        clock.shift(3000)
        client.get(path, headers=headers)
        assert client.session[ACTIVE_AT] == active_s
        clock.shift(700)
        client.get(path, headers=headers)
        assert not _is_signed_in(client)


def test_a_session_ends_after_its_longest_time_however_busy(
    client: Client, person: User, settings: LazySettings
) -> None:
    settings.IDLE_S, settings.SESSION_S = 7200, 10_000
    with time_machine.travel(NOON, tick=False) as clock:
        client.force_login(person)
        client.get("/healthz")
        clock.shift(6000)
        client.get("/healthz")
        assert _is_signed_in(client)
        clock.shift(4001)
        client.get("/healthz")
        assert not _is_signed_in(client)


PRODUCTION = {
    "HETEROSCALE_SECURE": "1",
    "HETEROSCALE_SECOND_FACTOR": "approvers",
    "SECRET_KEY": "".join(chr(ord("!") + number % 90) for number in range(64)),
    "ALLOWED_HOSTS": "scale.example.org",
}


SERVERS = {
    "HETEROSCALE_PRODUCTION": "1",
    "HETEROSCALE_PROXIES": "10.42.0.0/16",
    "DATABASE_URL": "postgres://app:x@db.example.org/scale?sslmode=verify-full",
    "REDIS_URL": "rediss://:x@redis.example.org/0",
}


def test_the_production_settings_pass_the_deployment_checks(product: Product) -> None:
    given = PRODUCTION | SERVERS
    said = product.manage("check", "--deploy", "--fail-level", "WARNING", **given)
    assert said.returncode == 0, said.stderr


ASKED = """
from django.test import Client
from django.conf import settings
answer = Client(SERVER_NAME="scale.example.org").get("/sign-in/", secure=True)
print(answer.cookies)
print(
    "Set-Cookie:",
    *("session", settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE),
    *(settings.SESSION_COOKIE_HTTPONLY, settings.SESSION_COOKIE_SAMESITE),
    *(settings.SESSION_COOKIE_PATH, settings.SESSION_COOKIE_DOMAIN),
)
plain = Client(SERVER_NAME="scale.example.org").get("/sign-in/")
print(plain.status_code, plain["Location"], plain.cookies)
"""


def test_behind_https_no_cookie_can_be_planted_by_a_neighbouring_sub_domain(
    product: Product,
) -> None:
    said = product.manage("shell", "--no-imports", "-c", ASKED, **PRODUCTION)
    assert said.returncode == 0, said.stderr
    token, session, plain = said.stdout.strip().splitlines()
    assert token.startswith("Set-Cookie: __Host-csrf=")
    parts = {part.strip() for part in token.split(";")[1:]}
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= parts
    assert not any(part.startswith("Domain") for part in parts)
    assert session == "Set-Cookie: session __Host-session True True Lax / None"
    assert plain.strip() == "301 https://scale.example.org/sign-in/"


@pytest.mark.django_db
def test_the_trial_over_http_has_cookies_that_scripts_and_other_sites_do_not_get(
    client: Client, person: User
) -> None:
    del person
    client.get("/sign-in/")
    client.post("/sign-in/", {"username": "someone", "password": "correct-horse-battery"})
    for name in ("csrftoken", "sessionid"):
        cookie = client.cookies[name]
        assert cookie["samesite"] == "Lax", name
        assert not cookie["secure"], name
        assert cookie["httponly"], name
