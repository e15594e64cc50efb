"""Production refuses to start where that would not be safe (C02)."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Final

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.core.management.base import CommandError
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from controller.services import demo
from heteroscale_site import checks
from heteroscale_site.accounts import ensure_accounts
from heteroscale_site.configuration import Configuration, ConfigurationError, load
from heteroscale_site.management.commands import prepare
from heteroscale_site.middleware import ForwardedMiddleware

SAFE: Final = {
    "HETEROSCALE_PRODUCTION": "1",
    "DATABASE_URL": "postgres://app:secret@db.example:5432/scale?sslmode=verify-full",
    "HETEROSCALE_OWNER_URL": "postgres://owner:secret@db.example:5432/scale?sslmode=verify-full",
    "REDIS_URL": "rediss://:secret@cache.example:6379/0",
    "SECRET_KEY": "k" * 64,
    "ALLOWED_HOSTS": "scale.example.org,localhost",
    "CSRF_TRUSTED_ORIGINS": "https://scale.example.org",
    "HETEROSCALE_SECURE": "1",
    "HETEROSCALE_PROXIES": "10.42.0.0/16",
}
PLAIN: Final = "postgres://app:secret@db.example/scale"


def _refused(**changes: str) -> str:
    with pytest.raises(ConfigurationError) as refusal:
        load({**SAFE, **changes})
    return str(refusal.value)


def test_what_is_safe_starts() -> None:
    found = load(SAFE)
    assert found.production
    assert found.proxies == (ip_network("10.42.0.0/16"),)


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        pytest.param("SECRET_KEY", "", "at least 50 random", id="no key"),
        pytest.param("SECRET_KEY", "REPLACE-ME" * 6, "write your own", id="the example's key"),
        pytest.param("DATABASE_URL", PLAIN, "sslmode=verify-full", id="plain, as is usual"),
        *(
            pytest.param(
                "DATABASE_URL", f"{PLAIN}?sslmode={mode}", "sslmode=verify-full", id=f"ssl {mode}"
            )
            for mode in ("disable", "allow", "prefer")
        ),
        pytest.param("HETEROSCALE_OWNER_URL", PLAIN, "sslmode=verify-full", id="a plain owner"),
        pytest.param("REDIS_URL", "", "rediss://", id="the embedded Valkey"),
        pytest.param("REDIS_URL", "rediss://cache.example", "password", id="a broker for all"),
        pytest.param("REDIS_URL", "redis://:x@cache.example", "rediss://", id="a plain broker"),
        pytest.param("REDIS_URL", "redis://localhost", "password", id="for all of this machine"),
        pytest.param("HETEROSCALE_SECURE", "0", "write 1", id="no HTTPS"),
        pytest.param("ALLOWED_HOSTS", "scale.example.org,*", "names people type", id="any host"),
        pytest.param(
            "CSRF_TRUSTED_ORIGINS", "http://scale.example.org", "https://", id="a plain origin"
        ),
        pytest.param(
            "CSRF_TRUSTED_ORIGINS", "https://*.example.org", "whole origins", id="any neighbour"
        ),
        pytest.param("HETEROSCALE_PROXIES", "", "HTTPS ends at", id="no proxy"),
        pytest.param("HETEROSCALE_PROXIES", "0.0.0.0/0", "strangers", id="everybody is a proxy"),
        pytest.param("HETEROSCALE_PROXIES", "10.0.0.1,::/0", "strangers", id="or by IPv6"),
    ],
)
def test_what_is_not_safe_names_the_setting_and_the_fix(name: str, value: str, fix: str) -> None:
    said = _refused(**{name: value})
    assert said.startswith(f"{name}: ")
    assert fix in said
    assert "secret@" not in said


def test_tracebacks_are_refused_with_https_and_without() -> None:
    assert _refused(DEBUG="1").startswith("DEBUG: ")
    assert "\nDEBUG: " in f"\n{_refused(DEBUG='1', HETEROSCALE_SECURE='0')}"


def test_all_that_is_lacking_is_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as refusal:
        load({"HETEROSCALE_PRODUCTION": "1"})
    named = [line.partition(":")[0] for line in str(refusal.value).splitlines()]
    assert named == ["DATABASE_URL", "REDIS_URL", "HETEROSCALE_SECURE", "HETEROSCALE_PROXIES"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("DATABASE_URL", "postgres://app@%2Frun%2Fpostgresql/scale", id="a socket"),
        pytest.param("DATABASE_URL", "postgres://app:x@127.0.0.1/scale", id="a tunnel"),
        pytest.param("DATABASE_URL", f"{PLAIN}?sslmode=require", id="encrypted, not compared"),
        pytest.param("REDIS_URL", "redis://:x@[::1]:6379", id="the broker of this machine"),
    ],
)
def test_what_stays_on_the_machine_may_be_plain(name: str, value: str) -> None:
    assert load({**SAFE, name: value}).production


def test_files_are_collected_without_servers() -> None:
    found = load({"HETEROSCALE_PRODUCTION": "1", "HETEROSCALE_PROCESS": "static"})
    assert found.production


def test_without_the_setting_nothing_of_this_is_asked() -> None:
    assert not load({}).production


@pytest.mark.parametrize(
    ("changes", "ids"),
    [
        pytest.param({}, ["heteroscale.W001"], id="safe, with passwords alone"),
        pytest.param({"HETEROSCALE_SECOND_FACTOR": "approvers"}, [], id="nothing to warn of"),
        pytest.param(
            {"HETEROSCALE_SECOND_FACTOR": "everybody", "HETEROSCALE_PRODUCTION": "0"},
            ["heteroscale.W002"],
            id="not told that it is production",
        ),
        pytest.param(
            {
                "HETEROSCALE_SECOND_FACTOR": "everybody",
                "DATABASE_URL": f"{PLAIN}?sslmode=require",
            },
            ["heteroscale.W003"],
            id="encrypted, and with whom nobody looks",
        ),
    ],
)
def test_check_deploy_warns_of_the_rest(
    settings: LazySettings, changes: dict[str, str], ids: list[str]
) -> None:
    found: Configuration = load({**SAFE, **changes})
    settings.CONFIGURATION = found
    settings.SECOND_FACTOR = found.second_factor
    settings.PRODUCTION = found.production
    said = [*checks.second_factor(), *checks.production(), *checks.who_answers()]
    assert [one.id for one in said] == ids


@pytest.mark.django_db
def test_the_first_account_of_production_is_the_administrator(
    settings: LazySettings, tmp_path: Path
) -> None:
    settings.PRODUCTION, settings.HOME = True, tmp_path
    ensure_accounts()
    assert list(User.objects.values_list("username", flat=True)) == ["admin"]


@pytest.mark.parametrize(
    ("role", "has_demo", "words", "fix"),
    [
        pytest.param("", False, ["--no-demo"], "HETEROSCALE_OWNER_URL", id="owns its tables"),
        pytest.param("app", False, [], "--no-demo", id="a demonstration is asked for"),
        pytest.param("app", True, ["--no-demo"], "demo remove", id="and one is there"),
    ],
)
@pytest.mark.django_db
def test_prepare_refuses_what_is_for_trying_out(  # noqa: PLR0913 - a table and two fixtures
    settings: LazySettings,
    monkeypatch: pytest.MonkeyPatch,
    *,
    role: str,
    has_demo: bool,
    words: list[str],
    fix: str,
) -> None:
    settings.PRODUCTION, settings.APPLICATION_ROLE = True, role
    monkeypatch.setattr(demo, "exists", lambda: has_demo)
    monkeypatch.setattr(prepare, "call_command", lambda *_: pytest.fail("it went on"))
    with pytest.raises(CommandError, match=fix):
        call_command("prepare", *words)


def test_no_simulated_fleet_is_made_in_production(settings: LazySettings) -> None:
    settings.PRODUCTION = True
    with pytest.raises(CommandError, match="HETEROSCALE_PRODUCTION"):
        call_command("demo", "ensure")


@pytest.mark.parametrize(
    ("address", "said", "secure"),
    [
        pytest.param("10.42.0.7", "https", True, id="the proxy says so"),
        pytest.param("::ffff:10.42.0.7", "HTTPS", True, id="through a socket of both protocols"),
        pytest.param("10.42.0.7", "http", False, id="the proxy says it came in the clear"),
        pytest.param("10.42.0.7", "", False, id="the proxy says nothing"),
        pytest.param("10.43.0.7", "https", False, id="a stranger says so"),
        pytest.param("", "https", False, id="nobody knows who says so"),
    ],
)
def test_https_is_believed_of_proxies_only(
    settings: LazySettings, address: str, said: str, *, secure: bool
) -> None:
    settings.PROXIES = (ip_network("10.42.0.0/16"),)
    seen: list[bool] = []

    def answer(request: HttpRequest) -> HttpResponse:
        seen.append(request.is_secure())
        return HttpResponse()

    request = RequestFactory(REMOTE_ADDR=address).get("/", headers={"X-Forwarded-Proto": said})
    ForwardedMiddleware(answer)(request)
    assert seen == [secure]
