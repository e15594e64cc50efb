"""Overrides: the list, one with its history, setting, extending and ending, and the chrome."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.core.overrides_plain import plain_of
from controller.models import AuditEvent, Freeze, Grant, Override, Preference
from controller.models.orders import value_of
from controller.selectors.strip import read_strip
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db

PREVIEW = 27
PIN = {
    "kind": "pin",
    "scope": "service:chat",
    "decode": "6",
    "prefill": "2",
    "lasts": "30",
    "reason": "load test",
}


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator who is signed in; there is one service."""
    factories.make_service("chat", mode="approve")
    client.force_login(person("olga", "Operator"))
    return client


def an_override(kind: str = "pin", **fields: Any) -> Override:
    """Return an override by ana that began an hour ago and lasts an hour more."""
    now = timezone.now()
    values = {"decode": 6, "prefill": 2} if kind == "pin" else {}
    given = {
        "kind": kind,
        "values": values,
        "reason": "load test",
        "by_name": "ana",
        "made_at": now - timedelta(hours=1),
        "starts_at": now - timedelta(hours=1),
        "ends_at": now + timedelta(hours=1),
    } | fields
    return Override.objects.create(**given)


def chat() -> Any:
    """Return the service."""
    return factories.Service.objects.get(slug="chat")


def felt(override: Override, **fields: Any) -> None:
    """Let the last decision of chat tell what the override did."""
    effect = {"id": override.pk, "binding": True, "wanted": None, "held": None} | fields
    factories.make_decision(chat(), terms={"overrides": [effect]})


def test_the_list_says_who_holds_what_and_what_it_does_now(olga: Client) -> None:
    row = an_override(service=chat())
    felt(row, wanted={"prefill": 2, "decode": 31}, held={"prefill": 2, "decode": 24})
    page = reading(olga, "/overrides/")
    assert "chat Pin decode 6, prefill 2 ana load test" in page
    assert "binding: decode wanted 31, held 24" in page
    assert "Active (1) Upcoming (0) Past (0)" in page.replace("  ", " ")
    assert "Kill switch, then freeze, then pin" in page


@pytest.mark.parametrize(
    ("hours", "said"),
    [(3, "not binding for 3 h — end it?"), (0.5, "not binding for 30 min")],
    ids=["3 h is over 1 h", "half an hour is not"],
)
def test_what_no_tick_felt_for_long_asks_to_be_ended(
    olga: Client, hours: float, said: str
) -> None:
    row = an_override(service=chat(), bound_at=timezone.now() - timedelta(hours=hours))
    felt(row, binding=False)
    page = reading(olga, "/overrides/")
    assert said in page
    assert ("end it?" in page) == (hours > 1)


def test_three_kinds_of_nothing_are_worded_differently(olga: Client) -> None:
    assert "No override yet" in reading(olga, "/overrides/")
    an_override(service=chat(), ended_at=timezone.now(), ended_by_name="ana", end_reason="done")
    assert "No override is in force: the policies decide" in reading(olga, "/overrides/")
    none = reading(olga, "/overrides/?tab=past&kind=ratio&scope=service:chat")
    assert "No past override is like that" in none
    assert "Filtered by kind: P/D ratio, for chat." in none
    assert "ended by ana: done" in reading(olga, "/overrides/?tab=past")


def test_a_filter_finds_what_covers_the_scope(olga: Client) -> None:
    an_override(service=chat())
    an_override("out_only", cluster=chat().cluster)
    an_override("advisory", service=factories.make_service("code"))
    page = reading(olga, "/overrides/?scope=service:chat")
    assert "cluster eu-1-a Scale-out only" in page
    assert "chat Pin" in page
    assert "code Advisory" not in page
    assert "code Advisory" in reading(olga, "/overrides/?scope=service:nobody")


def test_the_kill_switch_stands_on_top(olga: Client) -> None:
    assert "Nothing is frozen." in reading(olga, "/overrides/")
    Freeze.objects.create(
        cluster=chat().cluster, by_name="ana", reason="incident", since=timezone.now()
    )
    an_override("freeze", service=chat())
    answer = olga.get("/overrides/").content.decode()
    page = words(answer)
    assert "Cluster eu-1-a is frozen by ana" in page
    assert "chat is frozen by ana" in page
    assert "/resume/?scope=cluster%3Aeu-1-a" in answer


def test_setting_one_says_first_what_changes(olga: Client) -> None:
    answer = olga.post("/overrides/new/", PIN)
    page = words(answer.content.decode())
    assert (
        "chat Pinned to decode 6, prefill 2: decode 4 → 6 in one step, prefill stays 2; proposed"
        " for approval because the service is in mode approve."
    ) in page
    assert not Override.objects.exists()

    done = olga.post("/overrides/new/", PIN | {"step": "set"}, follow=True)

    row = Override.objects.get()
    assert (row.values, row.by_name, row.scope) == ({"decode": 6, "prefill": 2}, "olga", "chat")
    lasts_s = (row.ends_at - row.starts_at).total_seconds()
    assert round(lasts_s) == 1800
    page = words(done.content.decode())
    assert "Set: Pin of chat" in page
    assert "olga override set" in page


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": ""}, "Give a reason"),
        ({"decode": ""}, "This field is required"),
        ({"lasts": "until"}, "Say when it ends."),
        ({"lasts": "until", "ends": "2020-01-01T10:00"}, "That is in the past"),
        ({"decode": "400"}, "400 decode is above 40 of chat"),
        ({"scope": "cluster:eu-1-a"}, "A pin names the counts of one service"),
        ({"scope": ""}, "Say what it holds for."),
    ],
)
def test_what_cannot_be_set_is_told_and_the_input_kept(
    olga: Client, change: dict[str, str], said: str
) -> None:
    answer = olga.post("/overrides/new/", PIN | {"step": "set"} | change)
    assert answer.status_code == 400
    assert said in words(answer.content.decode())
    assert 'value="2"' in answer.content.decode()
    assert not Override.objects.exists()


@pytest.mark.parametrize(
    ("change", "said", "field"),
    [
        ({"decode": "9999", "prefill": "1"}, "9999 decode is above 40 of chat", "decode"),
        ({"kind": "bounds"}, "No bound is given; give at least one.", ""),
        ({"starts": "33 days"}, "Give a beginning within 30 days.", "starts"),
        ({"kind": "exclude", "what": "rack", "name": "R99"}, "There is no rack 'R99'", "name"),
    ],
)
def test_the_first_step_refuses_what_setting_refuses_a10(
    olga: Client, change: dict[str, str], said: str, field: str
) -> None:
    if "starts" in change:
        begin = timezone.now() + timedelta(days=33)
        change = {"starts": begin.strftime("%Y-%m-%dT%H:%M")}
    for step in ("look", "set"):
        answer = olga.post("/overrides/new/", PIN | change | {"step": step})
        html = answer.content.decode()
        assert answer.status_code == 400, step
        assert said in words(html)
        assert "What changes now" not in html
        assert not field or answer.context["form"].errors.keys() == {field}


def test_the_first_step_names_what_stands_against_it(olga: Client) -> None:
    other = an_override("ratio", service=chat(), values={"min": 1.0, "max": 2.0})
    answer = olga.post("/overrides/new/", PIN)
    assert answer.status_code == 409
    page = words(answer.content.decode())
    assert f"The pin is outside the ratio: override {other.pk}" in page
    assert "What changes now" not in page


@pytest.mark.parametrize("services", [pytest.param(0, id="1"), pytest.param(2, id="3")])
def test_the_first_step_takes_the_same_queries_and_says_who_lets_it_only_watch_s17(
    olga: Client, django_assert_num_queries: DjangoAssertNumQueries, services: int
) -> None:
    an_override("advisory")
    for at in range(services):
        factories.make_service(f"s{at}")
    wide = PIN | {"kind": "bounds", "scope": "fleet", "decode_min": "6"}
    with django_assert_num_queries(PREVIEW):
        page = words(olga.post("/overrides/new/", wide).content.decode())
    assert "recorded only: it is advisory only, set by ana until" in page
    assert "proposed for approval" not in page
    begin = timezone.now() + timedelta(days=2)
    later = PIN | {"starts": begin.strftime("%Y-%m-%dT%H:%M")}
    assert "What would change if it began now" in words(
        olga.post("/overrides/new/", later).content.decode()
    )


def test_a_person_who_proposes_is_told_which_override_lets_it_only_watch_s17(
    olga: Client,
) -> None:
    row = an_override("advisory", cluster=chat().cluster)
    page = words(olga.get("/services/chat/propose/").content.decode())
    assert f"Override {row.pk} lets cluster eu-1-a only be observed, set by ana until" in page
    assert "nothing is sent until it is approved" not in page


def test_the_service_page_shows_the_band_in_force_and_who_set_it(olga: Client) -> None:
    values = {"min": 0.25, "max": 0.4}
    row = an_override("ratio", service=chat(), values=values)
    effect = plain_of(value_of(row)) | {"binding": True, "wanted": None, "held": None}  # type: ignore[arg-type]
    decision = factories.make_decision(chat(), terms={"overrides": [effect]})
    seen = factories.ServiceStatus.objects.filter(service=chat())
    seen.update(decision=decision, observed_at=timezone.now())
    page = words(olga.get("/services/chat/").content.decode())
    assert "band 0.25–0.40, set by ana until" in page
    assert "in force 0.25–0.40, set by ana until" in page


def test_in_a_freeze_it_is_not_said_to_hold(olga: Client) -> None:
    felt(an_override(service=chat()), binding=False, frozen=True)
    page = words(olga.get("/overrides/").content.decode())
    assert "in force; what it asks for is frozen" in page
    assert "end it?" not in page


def test_an_end_is_read_in_the_zone_of_the_reader(olga: Client) -> None:
    user = User.objects.get(username="olga")
    Preference.objects.create(user=user, time_zone="Asia/Tokyo")
    ends = (timezone.now() + timedelta(hours=3)).replace(second=0, microsecond=0)
    wall = (ends + timedelta(hours=9)).strftime("%Y-%m-%dT%H:%M")
    olga.post("/overrides/new/", PIN | {"step": "set", "lasts": "until", "ends": wall})
    assert Override.objects.get().ends_at == ends


def test_a_contradiction_names_the_other_and_keeps_the_input(olga: Client) -> None:
    other = an_override(service=chat())
    answer = olga.post("/overrides/new/", PIN | {"step": "set"})
    page = words(answer.content.decode())
    assert answer.status_code == 409
    assert f"override {other.pk}, pin of chat by ana" in page
    assert 'value="load test"' in answer.content.decode()


@pytest.mark.parametrize("kind", ["freeze", "bounds", "ratio", "out_only", "advisory", "exclude"])
def test_every_kind_has_its_form(olga: Client, kind: str) -> None:
    page = reading(olga, f"/overrides/new/?kind={kind}&service=chat")
    assert "See what changes" in page
    assert "of chat" in page


def test_one_may_be_repeated(olga: Client) -> None:
    row = an_override(service=chat())
    form = olga.get(f"/overrides/new/?from={row.pk}").content.decode()
    assert '<option value="service:chat" selected>' in form
    assert 'name="decode" value="6"' in form


def test_one_is_extended_and_ended_with_its_history(olga: Client) -> None:
    row = an_override(service=chat())
    assert "In force" in reading(olga, f"/overrides/{row.pk}/")
    longer = {"version": 1, "lasts": "120", "reason": "still testing"}
    assert olga.post(f"/overrides/{row.pk}/extend/", longer).status_code == 302
    stale = olga.post(f"/overrides/{row.pk}/extend/", longer)
    assert stale.status_code == 409
    assert "It was changed since you looked" in words(stale.content.decode())
    row.refresh_from_db()
    assert row.version == 2

    ended = olga.post(f"/overrides/{row.pk}/end/", {"version": 2, "reason": "done"}, follow=True)

    page = words(ended.content.decode())
    assert "a step at a time" in page
    assert "ended by olga: done" in page
    assert "override extended" in page
    late = olga.post(f"/overrides/{row.pk}/end/", {"version": 2, "reason": "done"})
    assert late.status_code == 409
    assert "olga ended it" in words(late.content.decode())


def test_without_the_right_actions_are_shown_and_not_offered(client: Client) -> None:
    factories.make_service("chat")
    row = an_override(service=chat())
    client.force_login(person("vera", "Viewer"))
    assert "needs Operator on chat" in reading(client, f"/overrides/{row.pk}/")
    assert "needs Operator" in reading(client, "/overrides/new/?service=chat")
    sent = {"version": 1, "lasts": "30", "reason": "why"}
    assert client.post(f"/overrides/{row.pk}/end/", sent).status_code == 403
    assert client.post(f"/overrides/{row.pk}/extend/", sent).status_code == 403
    assert client.post("/overrides/new/", PIN | {"step": "set"}).status_code == 403
    assert AuditEvent.objects.filter(verb__startswith="was refused").count() == 3


def test_a_role_within_a_scope_opens_its_own_overrides_only(client: Client) -> None:
    factories.make_service("chat")
    other = factories.make_service("code")
    vera = person("vera", "Viewer")
    Grant.objects.create(
        user=vera,
        role="Operator",
        service=chat(),
        reason="on call",
        by_name="root",
        granted_at=timezone.now(),
    )
    client.force_login(vera)
    own, foreign = an_override(service=chat()), an_override(service=other)
    assert "End now…" in reading(client, f"/overrides/{own.pk}/")
    assert "needs Operator" not in reading(client, f"/overrides/{own.pk}/")
    assert "needs Operator on code" in reading(client, f"/overrides/{foreign.pk}/")
    sent = {"version": 1, "reason": "why"}
    assert client.post(f"/overrides/{own.pk}/end/", sent).status_code == 302
    assert client.post(f"/overrides/{foreign.pk}/end/", sent).status_code == 403


def test_to_end_a_timed_freeze_is_to_resume(olga: Client) -> None:
    row = an_override("freeze", service=chat())
    assert "needs Approver on chat" in reading(olga, f"/overrides/{row.pk}/")
    sent = {"version": 1, "reason": "why"}
    assert olga.post(f"/overrides/{row.pk}/end/", sent).status_code == 403


def test_the_strip_counts_what_is_in_force_and_says_when_the_next_ends(olga: Client) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    an_override(service=chat(), ends_at=soon)
    an_override("out_only")
    an_override("in_only", starts_at=soon)
    state = read_strip(User.objects.get(username="olga"), timezone.now()).fleet.overrides
    assert (state.count, state.ends_at) == (2, soon)
    page = reading(olga, "/overrides/")
    assert "2 overrides, next ends" in page
    assert "Overrides 2 in force" in page


def test_nobody_is_not_found(olga: Client) -> None:
    assert olga.get("/overrides/77/").status_code == 404
    assert olga.post("/overrides/77/end/", {"version": 1, "reason": "x"}).status_code == 404
    assert olga.post("/overrides/new/", {"kind": "whim"}).status_code == 404


@pytest.mark.parametrize("count", [1, 3])
def test_the_list_takes_the_same_queries_for_any_number(
    olga: Client, count: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for at in range(count):
        row = an_override(service=factories.make_service(f"s{at}"))
        felt(row)
    olga.get("/overrides/")
    with django_assert_num_queries(19):
        olga.get("/overrides/")


def test_the_service_page_tells_what_is_in_force_and_offers_more(olga: Client) -> None:
    row = an_override("out_only", cluster=chat().cluster)
    an_override(service=factories.make_service("code"))
    answer = olga.get("/services/chat/").content.decode()
    page = words(answer)
    assert "Active overrides All for chat Scale-out only of cluster eu-1-a, ends in" in page
    assert f'href="/overrides/{row.pk}/"' in answer
    assert "Pin…" in page
    assert "/overrides/new/?kind=bounds&amp;service=chat" in answer


def test_the_overview_tells_of_one_that_ends_soon(olga: Client) -> None:
    an_override(service=chat(), ends_at=timezone.now() + timedelta(minutes=20))
    assert "ends within 15 min" not in reading(olga, "/")
    an_override("advisory", cluster=chat().cluster, ends_at=timezone.now() + timedelta(minutes=9))
    assert (
        "Cluster eu-1-a is under an override by ana that ends within 15 min: Advisory."
        in reading(olga, "/")
    )


def test_the_figure_of_a_service_shades_what_was_in_force(olga: Client) -> None:
    now = timezone.now()
    factories.make_samples(chat(), until=now)
    factories.make_decision(chat(), first_at=now, last_at=now)
    an_override(service=chat())
    answer = olga.get("/api/v1/figures/service?service=chat").json()
    told = [note["text"] for note in answer["layout"]["annotations"]]
    assert "Pin decode 6, prefill 2 b…" in told
