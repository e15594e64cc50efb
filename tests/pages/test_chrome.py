"""The frame of every page: navigation, preferences, and times that name their zone."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.contrib.auth.models import User
from django.test import Client

from controller.core import wording
from controller.models import Preference
from controller.templatetags.heteroscale import ICONS, icon


@pytest.fixture
def person(db: None) -> User:  # noqa: ARG001 - the fixture opens the database
    return User.objects.create_user("ana", password="a long enough phrase")


@pytest.fixture
def signed_in(client: Client, person: User) -> Client:
    client.force_login(person)
    return client


def test_the_navigation_marks_where_one_is(signed_in: Client) -> None:
    page = signed_in.get("/services/").text
    assert '<a href="/services/" aria-current="page">Services' in page
    assert '<a href="/">Overview' in page
    assert "Admin" not in page


def test_staff_find_the_administration(signed_in: Client, person: User) -> None:
    User.objects.filter(pk=person.pk).update(is_staff=True)
    assert '<a href="/admin/">Admin</a>' in signed_in.get("/services/").text


@pytest.mark.parametrize("theme", ["light", "dark", "system"])
def test_the_theme_is_kept(signed_in: Client, person: User, theme: str) -> None:
    answer = signed_in.post(
        "/me/preferences/",
        {"theme": theme},
        headers={"Referer": "http://testserver/services/?a=1"},
    )
    assert answer["Location"] == "/services/?a=1"
    assert Preference.objects.get(user=person).theme == theme
    assert f'data-theme="{theme}"' in signed_in.get("/services/").text


def test_times_are_told_in_the_zone_of_the_reader(signed_in: Client) -> None:
    signed_in.post("/me/preferences/", {"time_zone": "Asia/Tokyo"})
    assert 'data-zone="Asia/Tokyo"' in signed_in.get("/services/").text


@pytest.mark.parametrize(
    "given", [{"theme": "purple"}, {"time_zone": "Mars/Olympus"}, {"time_zone": "../etc/passwd"}]
)
def test_what_does_not_exist_is_refused(
    signed_in: Client, person: User, given: dict[str, str]
) -> None:
    answer = signed_in.post("/me/preferences/", given, follow=True)
    assert "Nothing was changed" in answer.text
    assert not Preference.objects.filter(user=person).exists()


@pytest.mark.parametrize("referer", ["https://evil.example/x", "", "//evil.example", "nonsense"])
def test_the_way_back_stays_on_this_host(signed_in: Client, referer: str) -> None:
    answer = signed_in.post("/me/preferences/", {"theme": "dark"}, headers={"Referer": referer})
    assert answer["Location"] == "/"


def test_looking_changes_nothing(signed_in: Client) -> None:
    assert signed_in.get("/me/preferences/").status_code == 405


def test_no_page_carries_script_or_style_of_its_own(signed_in: Client) -> None:
    page = signed_in.get("/").text
    assert "<style" not in page
    assert " style=" not in page
    assert "<script>" not in page
    assert '"allowEval":false' in page


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (8, "8 s"),
        (61, "1 min 1 s"),
        (605, "10 min"),
        (3_600, "1 h"),
        (4_800, "1 h 20 min"),
        (97_200, "1 d 3 h"),
        (None, "—"),
    ],
)
def test_lengths_of_time_read_in_two_units(seconds: float | None, words: str) -> None:
    assert wording.duration(seconds) == words


@pytest.mark.parametrize(
    ("value_s", "goal_s", "words"),
    [
        (1.9, 1.5, "1.9 / 1.5 s"),
        (0.43, 1.0, "0.43 / 1.0 s"),
        (0.047, 0.05, "47 / 50 ms"),
        (None, 0.8, "— / 0.8 s"),
    ],
)
def test_a_latency_and_its_goal_share_a_unit(
    value_s: float | None, goal_s: float, words: str
) -> None:
    assert wording.against(value_s, goal_s) == words


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        ("UTC", "03:08:12 UTC"),
        ("Europe/Berlin", "04:08:12 CET"),
        ("America/Sao_Paulo", "00:08:12 UTC-03"),
        ("America/New_York", "28 Feb 22:08:12 EST"),
    ],
)
def test_every_time_names_its_zone(zone: str, words: str) -> None:
    at = datetime(2026, 3, 1, 3, 8, 12, tzinfo=UTC)
    now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    assert wording.clock(at, ZoneInfo(zone), now) == words


@pytest.mark.parametrize("name", sorted(ICONS))
def test_an_icon_is_drawn_in_lines_by_its_class(name: str) -> None:
    drawn = icon(name, 14)
    assert ' class="i"' in drawn
    assert 'width="14"' in drawn
    assert "stroke" not in drawn
