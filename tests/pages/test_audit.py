"""The page of all events: what was done, by whom, from where, and whether the record stands."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from django.contrib.auth.models import User
from django.test import Client, override_settings
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import ApprovalRule, AuditEvent, ChainCheck
from controller.selectors import audit_log
from controller.services import audit
from controller.services.preferences import save_preferences
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

PASSWORD = "correct horse battery"


@pytest.fixture
def vera(client: Client) -> Client:
    """A viewer who is signed in."""
    client.force_login(person("vera", "Viewer"))
    return client


def export(client: Client, query: str) -> tuple[str, str]:
    answer = client.get(f"/audit/export/?{query}")
    assert answer.status_code == 200
    assert answer["X-Content-Type-Options"] == "nosniff"
    text = b"".join(answer.streaming_content).decode()  # type: ignore[arg-type]
    return text, answer["Content-Disposition"]


@pytest.mark.django_db
def test_an_event_is_told_with_all_of_it(vera: Client) -> None:
    service = factories.make_service("chat")
    audit.record(
        actor="ana",
        verb="changed",
        obj=service,
        before={"mode": "observe"},
        after={"mode": "approve"},
        reason="ready for it",
        request_id="r-1",
    )
    page = reading(vera, "/audit/")
    assert "ana changed service chat mode: observe → approve ready for it r-1" in page
    assert "kept for ever" in page


@pytest.mark.django_db
def test_an_object_is_a_link_as_long_as_it_has_a_page(vera: Client) -> None:
    service = factories.make_service("chat")
    audit.record(actor="ana", verb="froze", obj=service)
    assert b'href="/services/chat/"' in vera.get("/audit/").content
    service.delete()
    page = vera.get("/audit/").content
    assert b'href="/services/chat/"' not in page
    assert "service chat" in words(page.decode())


@pytest.mark.django_db
def test_what_changed_is_told_in_words(vera: Client) -> None:
    until = "2026-11-27T04:02:37.626574+00:00"
    audit.record(
        actor="ana",
        verb="override set",
        obj=None,
        after={"ends_at": until, "left_at": "soon", "moves": [{"node": "n-1", "gpus": 4}]},
    )
    page = reading(vera, "/audit/")
    assert "ends at: — → 2026-11-27 04:02:37 UTC" in page
    assert "left at: — → soon" in page
    assert "moves: — → gpus=4, node=n-1" in page


@pytest.mark.django_db
def test_clusters_and_accounts_are_called_by_their_names(vera: Client) -> None:
    cluster = factories.make_service("chat").cluster
    audit.record(actor="ana", verb="froze", obj=cluster)
    audit.record(actor="ana", verb="signed in", obj=person("ana", "Viewer"))
    page = reading(vera, "/audit/")
    assert f"froze cluster {cluster.slug}" in page
    assert "signed in account ana" in page


@pytest.mark.django_db
def test_what_people_wrote_is_shown_as_text(vera: Client) -> None:
    audit.record(actor="<b>x</b>", verb="froze", obj=None, reason='"><img src=x onerror=y>')
    page = vera.get("/audit/").content
    assert b"<img src=x" not in page
    assert b"<b>x</b>" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "seen"),
    [
        ("", {"one", "two", "three"}),
        ("actor=an", {"one", "three"}),
        ("verb=froze", {"one"}),
        ("object=service", {"one", "two"}),
        ("service=code", {"two"}),
        ("from=2000-01-01T00:00", {"one", "two", "three"}),
        ("to=2000-01-01T00:00", set()),
        ("from=nonsense", {"one", "two", "three"}),
        ("verb=flew", set()),
    ],
)
def test_filters_stand_in_the_address(vera: Client, query: str, seen: set[str]) -> None:
    chat, code = factories.make_service("chat"), factories.make_service("code")
    audit.record(actor="ana", verb="froze", obj=chat, reason="one")
    audit.record(actor="bo", verb="resumed", obj=code, reason="two")
    audit.record(actor="ana", verb="changed", obj=None, reason="three")
    text, _ = export(vera, f"format=jsonl&{query}")
    assert {json.loads(line)["reason"] for line in text.splitlines()} == seen
    page = vera.get(f"/audit/?{query}").content.decode()
    assert all((f">{reason}<" in page) == (reason in seen) for reason in ("one", "two", "three"))


@pytest.mark.django_db
def test_times_are_those_of_the_readers_zone_and_links_carry_it(client: Client) -> None:
    ana = person("ana", "Viewer")
    save_preferences(ana, time_zone="Europe/Zurich")
    client.force_login(ana)
    audit.record(actor="ana", verb="froze", obj=None)
    page = client.get("/audit/?from=2026-01-01T00:30")
    assert page.context["filters"].begin == datetime(2025, 12, 31, 23, 30, tzinfo=UTC)
    assert b'value="2026-01-01T00:30"' in page.content
    assert b"from=2026-01-01T00%3A30%3A00%2B01%3A00" in page.content
    again = client.get("/audit/?from=2026-01-01T00%3A30%3A00%2B01%3A00")
    assert again.context["filters"] == page.context["filters"]


@pytest.mark.django_db
def test_one_object_is_followed_by_its_kind_and_number(vera: Client) -> None:
    chat, code = factories.make_service("chat"), factories.make_service("code")
    for service in (chat, code):
        audit.record(actor="ana", verb="froze", obj=service, reason=f"of {service.slug}")
    page = reading(vera, f"/audit/?object=service:{chat.pk}")
    assert "of chat" in page
    assert "of code" not in page


@pytest.mark.django_db
def test_pages_follow_each_other_without_gap_or_overlap(
    vera: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "PAGE", 2)
    for number in range(5):
        audit.record(actor="ana", verb="froze", obj=None, reason=f"reason {number}")
    seen, query = [], ""
    for _ in range(3):
        page = vera.get(f"/audit/?{query}")
        listing = page.context["listing"]
        seen += [row.event.reason for row in listing.rows]
        query = f"after={listing.after}"
    assert seen == [f"reason {number}" for number in (4, 3, 2, 1, 0)]
    assert "the oldest" in words(page.content.decode())


@pytest.mark.django_db
def test_nothing_found_says_why(vera: Client) -> None:
    AuditEvent.objects.exists()
    assert "Nothing was audited yet." in reading(vera, "/audit/")
    audit.record(actor="ana", verb="froze", obj=None)
    assert "No event matches: actor bo." in reading(vera, "/audit/?actor=bo")
    assert "There is nothing older." in reading(vera, "/audit/?after=1")


@pytest.mark.django_db
@pytest.mark.parametrize("events", [1, 9])
def test_the_queries_do_not_grow_with_the_events(
    vera: Client, django_assert_num_queries: DjangoAssertNumQueries, events: int
) -> None:
    service = factories.make_service("chat")
    for _ in range(events):
        audit.record(actor="ana", verb="froze", obj=service)
    with django_assert_num_queries(18):
        vera.get("/audit/")


@pytest.mark.django_db
def test_no_cell_of_the_export_is_a_formula(vera: Client) -> None:
    audit.record(
        actor='=HYPERLINK("http://x")', verb="froze", obj=None, reason="+1", after={"a": "=1"}
    )
    text, disposition = export(vera, "")
    head, row = csv.reader(io.StringIO(text))
    told = dict(zip(head, row, strict=True))
    assert told["actor"] == '\'=HYPERLINK("http://x")'
    assert told["reason"] == "'+1"
    assert json.loads(told["after"]) == {"a": "=1"}
    assert disposition.startswith('attachment; filename="audit-')
    assert disposition.endswith('.csv"')


@pytest.mark.django_db
def test_an_export_ends_at_its_cap(vera: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_log, "MOST_EXPORTED", 5)
    monkeypatch.setattr(audit_log, "AT_ONCE", 2)
    for number in range(7):
        audit.record(actor="ana", verb="froze", obj=None, reason=f"{number}")
    text, disposition = export(vera, "format=jsonl")
    assert [json.loads(line)["reason"] for line in text.splitlines()] == ["6", "5", "4", "3", "2"]
    assert disposition.endswith('.jsonl"')


@pytest.mark.django_db
def test_the_chain_is_told_as_verified_or_as_broken(vera: Client) -> None:
    assert "Chain not verified yet" in reading(vera, "/audit/")
    now = timezone.now()
    row = ChainCheck.objects.create(checked_to=7, checked_seal_at=now, checked_at=now)
    page = reading(vera, "/audit/")
    assert "(7 records)" in page
    assert "not yet all of it looked at again" in page
    ChainCheck.objects.filter(pk=row.pk).update(whole_at=now)
    assert "all of it looked at again since" in reading(vera, "/audit/")
    ChainCheck.objects.filter(pk=row.pk).update(
        problem="The audit 3 is missing.", problem_at=now - timedelta(minutes=2)
    )
    page = vera.get("/audit/").content.decode()
    assert "The record was tampered with. The audit 3 is missing." in words(page).replace(
        "  ", " "
    )
    assert 'class="note crit"' in page


@pytest.mark.django_db
def test_signing_in_out_and_in_vain_is_audited_without_the_password(client: Client) -> None:
    ana = User.objects.create_user("ana", password=PASSWORD)
    client.post("/sign-in/", {"username": "ana\n=1\x1b[31m", "password": "wrong guess"})
    client.post("/sign-in/", {"username": "ana", "password": PASSWORD})
    client.post("/sign-out/")
    fields = ("actor", "verb", "object_type", "object_id", "address")
    assert list(AuditEvent.objects.order_by("pk").values_list(*fields)) == [
        ("anonymous", "was refused sign-in", "name", "ana =1[31m", "127.0.0.1"),
        ("ana", "signed in", "user", str(ana.pk), "127.0.0.1"),
        ("ana", "signed out", "user", str(ana.pk), "127.0.0.1"),
    ]
    kept = json.dumps(list(AuditEvent.objects.values()), default=str)
    assert "guess" not in kept
    assert PASSWORD not in kept
    assert len(set(AuditEvent.objects.values_list("request_id", flat=True))) == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        pytest.param((), "203.0.113.9", "127.0.0.1", id="from nobody believed"),
        pytest.param(("127.0.0.1",), "203.0.113.9", "203.0.113.9", id="from the proxy"),
        pytest.param(
            ("127.0.0.1", "10.0.0.2"),
            "6.6.6.6, 203.0.113.9, 10.0.0.2",
            "203.0.113.9",
            id="the last stranger, whatever that one wrote before",
        ),
        pytest.param(("127.0.0.0/8",), "203.0.113.9", "203.0.113.9", id="from their network"),
        pytest.param(("10.0.0.0/8",), "203.0.113.9", "127.0.0.1", id="from another network"),
        pytest.param(("127.0.0.1",), "x'; DROP", "127.0.0.1", id="no address"),
        pytest.param(("127.0.0.1",), "", "127.0.0.1", id="not said"),
    ],
)
def test_the_address_is_that_of_the_connection_or_a_proxys_word(
    client: Client, proxies: tuple[str, ...], forwarded: str, address: str
) -> None:
    with override_settings(PROXIES=tuple(map(ip_network, proxies))):
        client.post(
            "/sign-in/",
            {"username": "ana", "password": "wrong guess"},
            headers={"X-Forwarded-For": forwarded},
        )
    assert AuditEvent.objects.get().address == address


@pytest.mark.django_db
def test_refusals_rules_and_days_are_told_in_words_and_digests_are_cut(vera: Client) -> None:
    rule = ApprovalRule.objects.create(
        name="nights", days=[], reason="x", by_name="root", made_at=timezone.now()
    )
    digest = "0123456789" * 6
    audit.record(
        actor="bo", verb="was refused approve_proposal", obj=None, after={"fingerprint": digest}
    )
    audit.record(
        actor="root", verb="made a rule", obj=rule, before={"days": [0, 5]}, after={"days": []}
    )
    page = reading(vera, "/audit/")
    assert "bo was refused: deciding on proposals" in page
    assert "root made a rule rule nights days: Mon, Sat → every day" in page
    assert digest not in page
    assert f'title="{digest}"' in vera.get("/audit/").text
