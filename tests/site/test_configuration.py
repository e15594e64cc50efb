"""A wrong setting stops the start with its name and what to write instead."""

from __future__ import annotations

import pytest

from controller.core.breaker import Thresholds
from heteroscale_site.configuration import (
    BASE_DIR,
    Broker,
    ConfigurationError,
    breaker_thresholds,
    declared,
    load,
)
from heteroscale_site.documentation import settings_page

KEY = "k" * 50


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        pytest.param("HETEROSCALE_TICK_S", "often", "seconds", id="a word for a number"),
        pytest.param("HETEROSCALE_TICK_S", "0", "1 or more", id="no time between two ticks"),
        pytest.param("HETEROSCALE_TICK_S", "1.5", "seconds", id="cron wants whole seconds"),
        pytest.param("HETEROSCALE_PORT", "65536", "1 to 65535", id="one above the last port"),
        pytest.param("HETEROSCALE_DEMO_SPEED", "nan", "above 0", id="no number at all"),
        pytest.param("HETEROSCALE_DEMO_SPEED", "inf", "above 0", id="no end"),
        pytest.param("DEBUG", "maybe", "1 for yes", id="neither yes nor no"),
        pytest.param("DATABASE_URL", "sqlite:///x.db", "postgres://", id="another engine"),
        pytest.param("DATABASE_URL", "postgres://", "postgres://", id="no database named"),
        pytest.param("REDIS_URL", "http://cache", "redis://", id="another protocol"),
        pytest.param("REDIS_URL", "redis://cache/one", "redis://", id="database by name"),
        pytest.param("REDIS_URL", "redis://cache:port/", "redis://", id="port by name"),
        pytest.param("SECRET_KEY", "short", "at least 50", id="5 of 50 characters"),
        pytest.param("TIME_ZONE", "Middle/Earth", "zone name", id="no such zone"),
        pytest.param("TIME_ZONE", "../../etc/passwd", "zone name", id="a path is no zone"),
        pytest.param("HETEROSCALE_PROCESS", "cook", "worker", id="no such kind of process"),
        pytest.param("HETEROSCALE_PROXIES", "proxy.lan", "10.0.0.5", id="a proxy by name"),
        pytest.param("HETEROSCALE_REMOVAL_FRAC", "10", "0 to 1", id="per cent for a share"),
        pytest.param("HETEROSCALE_REMOVAL_FRAC", "nan", "0 to 1", id="no share at all"),
        pytest.param("HETEROSCALE_MAX_GPUS", "-1", "0 for no limit", id="fewer GPUs than none"),
        pytest.param("HETEROSCALE_MAX_GPUS", "many", "GPUs", id="a word for GPUs"),
        pytest.param("HETEROSCALE_BREAKER_FAILED", "0", "1 to", id="stopped by no failure"),
        pytest.param("HETEROSCALE_BREAKER_LOAD_DROP_FRAC", "60", "0 to 1", id="per cent lost"),
        pytest.param("LOG_LEVEL", "LOUD", "DEBUG", id="no such level"),
    ],
)
def test_a_wrong_value_is_named_with_its_fix(name: str, value: str, fix: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({name: value})
    assert str(refused.value).startswith(f"{name}: ")
    assert fix in str(refused.value)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        pytest.param(
            {"HETEROSCALE_TICK_S": "60", "HETEROSCALE_LEASE_S": "60"},
            "HETEROSCALE_LEASE_S",
            id="a lease of one tick runs out before it is renewed",
        ),
        pytest.param(
            {"DATABASE_URL": "postgres://u:p@db/heteroscale"},
            "SECRET_KEY",
            id="machines that share a database share a key",
        ),
        pytest.param(
            {"HETEROSCALE_OWNER_URL": "postgres://u:p@db/heteroscale"},
            "HETEROSCALE_OWNER_URL",
            id="the owner of a database nobody named",
        ),
        pytest.param(
            {"DEBUG": "1", "HETEROSCALE_SECURE": "1"}, "DEBUG", id="tracebacks in production"
        ),
        pytest.param(
            {"HETEROSCALE_TICK_S": "50", "HETEROSCALE_MAX_AGE_S": "45"},
            "HETEROSCALE_MAX_AGE_S",
            id="every sample would be too old at the next tick",
        ),
        pytest.param(
            {"HETEROSCALE_BREAKER_FAILED": "6"},
            "HETEROSCALE_BREAKER_OF",
            id="six of five changes never fail",
        ),
        pytest.param(
            {"HETEROSCALE_BREAKER_FRESH_AFTER_FRAC": "0.9"},
            "HETEROSCALE_BREAKER_FRESH_AFTER_FRAC",
            id="nothing falls from 80 % to 90 %",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused(
    environment: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load(environment)


def test_a_secret_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load({"DATABASE_URL": "mysql://root:hunter2@db/x"})
    assert "hunter2" not in str(refused.value)


def test_a_secret_is_not_in_the_representation() -> None:
    shown = repr(
        load(
            {
                "DATABASE_URL": "postgres://u:hunter2@db/x",
                "REDIS_URL": "redis://:hunter3@cache",
                "SECRET_KEY": KEY,
                "RQ_API_TOKEN": "hunter4",
            }
        )
    )
    assert not [secret for secret in ("hunter", KEY) if secret in shown]


def test_nothing_has_to_be_set() -> None:
    found = load({})
    assert found.embedded_database
    assert found.embedded_broker
    assert (found.tick_s, found.lease_s, found.max_age_s, found.window_s) == (15, 60, 45, 60)
    assert not found.freeze
    assert not found.debug


@pytest.mark.parametrize(
    ("raw", "frozen"),
    [
        ("", False),
        ("0", False),
        ("false", False),
        ("No", False),
        ("off", False),
        ("1", True),
        ("flase", True),
        ("until Monday", True),
    ],
)
def test_only_a_clear_no_does_not_freeze(raw: str, frozen: bool) -> None:  # noqa: FBT001
    assert load({"HETEROSCALE_FREEZE": raw}).freeze is frozen


def test_the_broker_address_is_taken_apart() -> None:
    found = load({"REDIS_URL": "rediss://me:p%40ss@cache.example:6380/3"})
    assert found.broker == Broker("cache.example", 6380, 3, "me", "p@ss", encrypted=True)


def test_breakers_are_what_they_are_unless_a_setting_says_otherwise() -> None:
    assert Thresholds(**breaker_thresholds(load({}))) == Thresholds()
    strict = load({"HETEROSCALE_BREAKER_FAILED": "2", "HETEROSCALE_BREAKER_OF": "2"})
    assert Thresholds(**breaker_thresholds(strict)) == Thresholds(failed=2, of=2)


def test_every_setting_explains_itself() -> None:
    assert not [each.name for each in declared() if not each.help.endswith(".")]


def test_the_page_about_settings_is_up_to_date() -> None:
    page = BASE_DIR / "docs" / "configuration.md"
    assert page.read_text() == settings_page(), "run ./heteroscale document_settings"
