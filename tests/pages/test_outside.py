"""Counts that somebody else changed: what is told where, and the three answers to it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import Freeze, OutsideChange, Override, Proposal, ServiceStatus
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def row() -> OutsideChange:
    """Somebody made decode 4 of decode 5 in chat, which was just seen."""
    service = factories.make_service("chat", mode="approve")
    now = timezone.now()
    ServiceStatus.objects.update(observed_at=now)
    factories.make_pools(service.cluster, factories.make_hardware(), at=now)
    return factories.make_outside(service)


@pytest.fixture
def olga(client: Client) -> Client:
    """An operator who is signed in."""
    client.force_login(person("olga", "Operator"))
    return client


def test_the_page_tells_what_changed_and_what_each_answer_does(
    olga: Client, row: OutsideChange
) -> None:
    page = reading(olga, row.get_absolute_url())
    for told in (
        "Somebody else changed chat: decode 5 → 4",
        "Prefill 2, unchanged Decode 5 → 4 Seen",
        "the cluster does not tell who",
        "Keep it Pins prefill 2, decode 4 for 1 h: the controller leaves the counts",
        "Go back Proposes decode 4 → 5: nothing is sent until another person approves it.",
        "Freeze Stops automatic change until a person resumes it. The counts stay.",
    ):
        assert told in page
    assert "refused" not in page


def test_it_is_told_on_the_overview_for_a_day_and_on_the_page_until_it_is_answered(
    olga: Client, row: OutsideChange
) -> None:
    link = f'href="{row.get_absolute_url()}"'
    assert link in olga.get("/").text
    assert "was changed by somebody else: decode 5 → 4." in reading(olga, "/")
    assert link in olga.get("/services/chat/").text
    OutsideChange.objects.update(seen_at=timezone.now() - timedelta(hours=25))
    assert link not in olga.get("/").text
    assert link in olga.get("/services/chat/").text
    OutsideChange.objects.update(answer="overtaken")
    assert link not in olga.get("/services/chat/").text


@pytest.mark.parametrize(
    ("answer", "model", "told"),
    [
        pytest.param("adopt", Override, "Pinned", id="keep it: an override"),
        pytest.param("restore", Proposal, "Proposed", id="go back: a proposal"),
        pytest.param("freeze", Freeze, "Frozen", id="freeze: a freeze"),
    ],
)
def test_an_answer_takes_effect_and_is_told_with_who_and_why(
    olga: Client, row: OutsideChange, answer: str, model: type[Override], told: str
) -> None:
    path = row.get_absolute_url()
    given = {"answer": answer, "reason": "a load test"}
    done = olga.post(path, given, follow=True)
    assert done.redirect_chain == [("/services/chat/", 302)]
    assert told in done.text
    assert model.objects.count() == 1
    page = reading(olga, path)
    assert "Answered" in page
    assert " by olga, " in page
    assert ": a load test" in page
    late = olga.post(path, given)
    assert late.status_code == 409
    assert "You " in words(late.text)
    assert "Nothing changed by this request" in words(late.text)
    assert model.objects.count() == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [
        pytest.param({"answer": "adopt", "reason": " "}, "Give a reason", id="no reason"),
        pytest.param({"reason": "why"}, "Choose one of the three", id="no answer"),
        pytest.param({"answer": "scale", "reason": "why"}, "Choose one", id="none of the three"),
    ],
)
def test_an_answer_that_lacks_something_is_told_so(
    olga: Client, row: OutsideChange, given: dict[str, str], told: str
) -> None:
    refused = olga.post(row.get_absolute_url(), given)
    assert refused.status_code == 400
    assert told in words(refused.text)
    row.refresh_from_db()
    assert row.answer == ""


def test_counts_outside_the_limits_are_kept_and_restored_by_nobody_a10(
    olga: Client, row: OutsideChange
) -> None:
    # 41 and 42 are above the maximum of 40.
    OutsideChange.objects.update(from_decode=42, to_decode=41)
    path = row.get_absolute_url()
    assert "It would be refused now: " in reading(olga, path)
    refused = olga.post(path, {"answer": "adopt", "reason": "a load test"})
    assert refused.status_code == 400
    page = words(refused.text)
    assert "41 decode is above 40 of chat" in page
    assert 'value="a load test"' in refused.text
    assert not Override.objects.exists()


def test_what_was_overtaken_asks_for_nothing_more(olga: Client, row: OutsideChange) -> None:
    OutsideChange.objects.update(
        answer="overtaken",
        answered_at=timezone.now(),
        answered_by_name="policy revision 1",
        answer_reason="A change was applied since: decode 4 → 6.",
    )
    page = reading(olga, row.get_absolute_url())
    assert "A change was applied since: decode 4 → 6." in page
    assert "What is to become of it?" not in page


def test_who_may_not_answer_reads_it_and_sees_who_may(client: Client, row: OutsideChange) -> None:
    client.force_login(person("vera", "Viewer"))
    path = row.get_absolute_url()
    shown = client.get(path).text
    assert 'class="primary"' not in shown
    assert "needs Operator on chat" in words(shown)
    for answer in ("adopt", "restore", "freeze"):
        refused = client.post(path, {"answer": answer, "reason": "why"})
        assert refused.status_code == 403
        assert "needs the role Operator" in words(refused.text)
    row.refresh_from_db()
    assert row.answer == ""


def test_there_is_no_such_change(olga: Client, row: OutsideChange) -> None:
    factories.make_service("code")
    assert olga.get(f"/services/code/outside/{row.pk}/").status_code == 404
    assert olga.get(f"/services/chat/outside/{row.pk + 1}/").status_code == 404


@pytest.mark.parametrize("services", [1, 3])
def test_the_page_costs_the_same_for_any_fleet(
    olga: Client,
    row: OutsideChange,
    services: int,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    for i in range(1, services):
        factories.make_outside(factories.make_service(f"service-{i}"))
    olga.get(row.get_absolute_url())
    # 20 for the frame of a page, the change, and what going back is judged by
    with django_assert_num_queries(53):
        olga.get(row.get_absolute_url())
