"""From configuration rows to what the core decides on: engines, kept profiles, bad rows."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

import pytest
from django.apps import apps
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from controller.core.types import Role
from controller.models import EngineProfile
from controller.selectors import profiles
from controller.services import demo
from controller.services.people import CommandLine
from controller.services.profiles import remove_profile, save_profile
from controller.simulator.demo import DEMO_SERVICES
from controller.simulator.profiles import PROFILES
from controller.simulator.speeds import engine_of
from inventory import snapshot
from inventory.models import RoleSpec
from inventory.snapshot import Snapshot
from tests.factories import make_service
from tests.pages.reading import reading
from tests.services.people import person

PREFILL, DECODE = PROFILES["qwen3-8b/h800"], PROFILES["qwen3-8b/l40s"]
OURS = replace(DECODE, name="ours/l40s", c0=0.011)


def read() -> Snapshot:
    """Read all services as the loop does."""
    return snapshot.read(profiles.readable)


def name(service: str, prefill: str, decode: str) -> None:
    """Give the roles of a service their profiles."""
    for role, profile in ((Role.PREFILL, prefill), (Role.DECODE, decode)):
        RoleSpec.objects.filter(service__slug=service, role=role).update(profile=profile)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("prefill", "decode", "known"),
    [
        pytest.param(PREFILL.name, DECODE.name, True, id="both roles name one"),
        pytest.param(PREFILL.name, "", False, id="decode names none"),
        pytest.param("", DECODE.name, False, id="prefill names none"),
        pytest.param("", "", False, id="nobody says"),
        pytest.param(PREFILL.name, "gone/h20", False, id="decode names one nobody has"),
    ],
)
def test_the_engine_is_known_where_both_roles_name_a_known_profile(
    prefill: str,
    decode: str,
    known: bool,  # noqa: FBT001 - a column of the table
) -> None:
    make_service("chat")
    name("chat", prefill, decode)

    assert read().specs[0].engine == (engine_of(PREFILL, DECODE) if known else None)


@pytest.mark.django_db
def test_a_kept_profile_costs_one_query_and_only_where_a_role_names_it(
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    save_profile(OURS, user=CommandLine("ana"))
    for slug in ("chat", "code", "search"):
        make_service(slug)
        name(slug, PREFILL.name, DECODE.name)
    with django_assert_num_queries(7):
        assert [spec.engine for spec in read().specs] == [engine_of(PREFILL, DECODE)] * 3

    name("code", PREFILL.name, OURS.name)
    name("search", OURS.name, OURS.name)
    with django_assert_num_queries(8):
        known = read()
    assert [spec.engine for spec in known.specs] == [
        engine_of(PREFILL, DECODE),
        engine_of(PREFILL, OURS),
        engine_of(OURS, OURS),
    ]

    remove_profile(OURS.name, user=CommandLine("ana"))
    assert [spec.engine is None for spec in read().specs] == [False, True, True]


@pytest.mark.django_db
def test_a_kept_profile_that_cannot_be_read_costs_only_who_names_it_s24() -> None:
    row = save_profile(OURS, user=CommandLine("ana"))
    EngineProfile.objects.filter(pk=row.pk).update(body={"format": "of another time"})
    for slug, decode in (("chat", OURS.name), ("code", DECODE.name)):
        make_service(slug)
        name(slug, PREFILL.name, decode)

    known = read()

    assert [spec.engine is None for spec in known.specs] == [True, False]
    assert known.broken == {}


@pytest.mark.django_db
def test_a_schedule_that_cannot_be_read_blocks_its_service_alone_s24() -> None:
    make_service("chat", policy={"schedule": [{"name": "day", "begin": "noon"}]})
    make_service("code")

    known = read()

    assert [spec.key for spec in known.specs] == ["code"]
    assert known.broken == {
        "chat": "The configuration can't be read: schedule[0].begin is 'noon'; "
        "give a time from 00:00 to 23:59."
    }


@pytest.mark.django_db
def test_the_page_of_a_service_says_whose_speeds_it_is_reckoned_with(client: Client) -> None:
    client.force_login(person("ana"))
    make_service("chat")
    assert "decode speed unknown: no engine profile is named" in reading(client, "/services/chat/")

    name("chat", PREFILL.name, "qwen3-8b/l40")
    said = reading(client, "/services/chat/")
    assert "prefill speed qwen3-8b/h800" in said
    assert "There is no engine profile qwen3-8b/l40. Did you mean qwen3-8b/l40s" in said


@pytest.mark.django_db
def test_the_demo_is_sized_by_its_own_engines_and_policies() -> None:
    demo.create(speed=1.0, trace=None)

    known = {spec.key: spec for spec in read().specs}

    assert {key: (spec.engine, spec.policy) for key, spec in known.items()} == {
        given.slug: (engine_of(given.prefill, given.decode), given.policy)
        for given in DEMO_SERVICES
    }


@pytest.mark.django_db
def test_a_demo_made_before_roles_named_profiles_gets_them() -> None:
    demo.create(speed=1.0, trace=None)
    before = dict(RoleSpec.objects.values_list("pk", "profile"))
    RoleSpec.objects.update(profile="")
    make_service("mine")

    import_module("controller.migrations.0006_outlook_and_forecast").name_profiles(apps, None)

    after = dict(RoleSpec.objects.exclude(service__slug="mine").values_list("pk", "profile"))
    assert after == before
    assert set(RoleSpec.objects.filter(service__slug="mine").values_list("profile")) == {("",)}
