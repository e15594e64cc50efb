"""Policy suggestions as the person who decides reads them, and the answers to them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import PolicySuggestion
from inventory.models import Policy
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

CHANGE = "P/D ratio 0.5 → 0.62, target 1,000 → 1,200 tok/s per instance"


def suggested(slug: str = "chat", **fields: object) -> PolicySuggestion:
    """Return a suggestion for a new service."""
    service = factories.make_service(slug, policy={"adapt": "propose"})
    return factories.make_suggestion(service, **fields)


@pytest.fixture
def pia(client: Client) -> Client:
    """A policy editor who is signed in."""
    client.force_login(person("pia", "Policy editor"))
    return client


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/approvals/", "/services/chat/policy/"])
def test_the_card_says_what_why_and_what_adopting_does(pia: Client, path: str) -> None:
    suggested()
    page = reading(pia, path)
    for sentence in (
        CHANGE,
        "20.0 requests a second take 3.1 prefill and 5.0 decode instances.",
        "makes revision 2 of the policy, in force from the next tick on",
        "Reverting to revision 1 takes it back.",
        "the suggestion expires at",
        "confirmed 3 min ago",
        "Adopt…",
        "Dismiss…",
    ):
        assert sentence in page
    assert "No proposal is open" not in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        pytest.param({"at_s": 1_764_133_200.0}, True, id="2025-11-26 05:00 UTC"),
        pytest.param({}, False, id="one made before that was kept"),
    ],
)
def test_the_card_says_when_its_figures_were_measured(
    pia: Client, evidence: dict[str, float], said: object
) -> None:
    suggested(evidence=evidence)
    page = pia.get("/approvals/").content.decode()
    assert ('Measured <time datetime="2025-11-26T05:00:00+00:00">' in page) is said


@pytest.mark.django_db
def test_the_tab_offers_the_estimate_only_without_a_suggestion(pia: Client) -> None:
    row = suggested()
    factories.make_decision(row.service, forecast={"ratio": 0.62, "target": 1200.0})
    assert "Put it into the form" not in reading(pia, "/services/chat/policy/")
    row.delete()
    assert "Put it into the form" in reading(pia, "/services/chat/policy/")


@pytest.mark.django_db
@pytest.mark.parametrize("state", ["forming", "superseded"])
def test_what_does_not_stand_is_not_shown(pia: Client, state: str) -> None:
    suggested(state=state)
    assert "Policy suggestions" not in reading(pia, "/approvals/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("role", "count"), [("Policy editor", 'data-waiting="1"'), ("Approver", 'data-waiting="0"')]
)
def test_it_waits_for_those_who_may_edit_policies(client: Client, role: str, count: str) -> None:
    suggested()
    suggested("late", expires_at=timezone.now() - timedelta(seconds=1))
    suggested("soon", state="forming")
    client.force_login(person("kim", role))
    assert count in client.get("/approvals/").content.decode()


@pytest.mark.django_db
def test_others_read_it_without_its_buttons(client: Client) -> None:
    row = suggested()
    client.force_login(person("ana", "Approver"))
    assert "Policy suggestions" not in reading(client, "/approvals/?tab=mine")
    for path in ("/approvals/?tab=open", f"/approvals/suggestions/{row.pk}/"):
        page = client.get(path).content.decode()
        assert CHANGE in words(page)
        assert "needs Policy editor" in page
        assert "/adopt/" not in page
    assert (
        client.post(f"/approvals/suggestions/{row.pk}/adopt/", {"version": 1}).status_code == 403
    )


@pytest.mark.django_db
def test_adopting_ends_on_the_tab_with_its_revisions(pia: Client) -> None:
    row = suggested()
    answer = pia.post(f"/approvals/suggestions/{row.pk}/adopt/", {"version": 1}, follow=True)
    page = words(answer.content.decode())
    assert answer.redirect_chain == [("/services/chat/policy/", 302)]
    assert "Adopted: revision 2 is in force from the next tick on." in page
    assert "P/D ratio 0.5 prefill per decode → 0.62 prefill per decode" in page
    assert Policy.objects.get().pd_ratio == 0.62
    assert "Adopted by pia" in reading(pia, "/approvals/?tab=decided")


@pytest.mark.django_db
def test_dismissing_asks_why(pia: Client) -> None:
    row = suggested()
    path = f"/approvals/suggestions/{row.pk}/dismiss/"
    unsaid = pia.post(path, {"version": 1, "reason": ""})
    assert unsaid.status_code == 400
    assert "Give a reason" in unsaid.content.decode()
    said = pia.post(path, {"version": 1, "reason": "a load test"}, follow=True)
    assert "Dismissed by pia: a load test" in words(said.content.decode())
    assert Policy.objects.get().revision == 1


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["adopt", "dismiss"])
def test_who_was_faster_is_told(pia: Client, verb: str) -> None:
    row = suggested()
    PolicySuggestion.objects.update(
        state="adopted", decided_at=timezone.now() - timedelta(minutes=5), decided_by=person("ben")
    )
    sent = {"version": 1, "reason": "mine"}
    answer = pia.post(f"/approvals/suggestions/{row.pk}/{verb}/", sent)
    assert answer.status_code == 409
    assert "ben adopted this 5 min ago. Your answer changed nothing" in words(
        answer.content.decode()
    )


@pytest.mark.django_db
def test_a_revision_that_came_first_is_told(pia: Client) -> None:
    row = suggested()
    Policy.objects.update(revision=2)
    assert "made from revision 1, in force is 2" in reading(pia, "/approvals/")
    answer = pia.post(f"/approvals/suggestions/{row.pk}/adopt/", {"version": 1})
    assert answer.status_code == 409
    assert "Revision 1 is not in force any more" in answer.content.decode()


@pytest.mark.django_db
def test_without_a_version_nothing_is_answered(pia: Client) -> None:
    row = suggested()
    for verb in ("adopt", "dismiss"):
        answer = pia.post(f"/approvals/suggestions/{row.pk}/{verb}/", {"reason": "yes"})
        assert answer.status_code == 400
        assert "did not say which version" in answer.content.decode()
    assert pia.get(f"/approvals/suggestions/{row.pk}/adopt/").status_code == 302
    assert pia.get("/approvals/suggestions/999/").status_code == 404


@pytest.mark.django_db
def test_an_unchanged_list_is_not_sent_again(pia: Client) -> None:
    row = suggested()
    first = pia.get("/approvals/", headers={"HX-Request": "true"})
    again = {"HX-Request": "true", "If-None-Match": first.headers["ETag"]}
    assert pia.get("/approvals/", headers=again).status_code == 304
    PolicySuggestion.objects.filter(pk=row.pk).update(version=2)
    assert pia.get("/approvals/", headers=again).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("tab", ["mine", "open", "decided"])
def test_three_cards_cost_as_many_queries_as_one(
    pia: Client, tab: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    ended = {"state": "expired", "closed_at": timezone.now()} if tab == "decided" else {}
    suggested("a", **ended)
    pia.get("/approvals/")
    with CaptureQueriesContext(connection) as one:
        pia.get(f"/approvals/?tab={tab}")
    suggested("b", **ended)
    suggested("c", **ended)
    with django_assert_num_queries(len(one)):
        assert pia.get(f"/approvals/?tab={tab}").content.decode().count("P/D ratio 0.5") >= 3
