"""The queue and the card: what the approver reads, and what the answers are."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from controller.models import Action, AuditEvent, Proposal
from tests.pages.reading import reading, words
from tests.services.people import person, waiting

SEEN = "0" * 64


@pytest.fixture
def ana(client: Client) -> Client:
    """An approver who is signed in."""
    client.force_login(person("ana"))
    return client


@pytest.mark.django_db
def test_the_card_says_what_why_and_what_otherwise(ana: Client) -> None:
    waiting()
    page = reading(ana, "/approvals/")

    for sentence in (
        "decode 4 → 6, prefill 2 → 3",
        "+4 H800",
        "+2 H800",
        "0.50 → 0.50 prefill per decode inside the band 0.38–0.62",
        "Decode throughput is over target.",
        "6 GPUs more : 12 → 18 of at most 400.".replace(" :", ":"),
        "Latency afterwards is not predicted.",
        "and stays at decode 4, prefill 2",
        "unchanged since proposed",
        "expires in",
        "Approve…",
        "Reject…",
    ):
        assert sentence in page, sentence


@pytest.mark.django_db
def test_the_card_of_an_exchange_shows_what_else_is_approved(ana: Client) -> None:
    shown = {"from_prefill": 10, "from_decode": 2, "to_prefill": 6, "to_decode": 2}
    waiting(**shown, then_prefill=6, then_decode=6)
    page = reading(ana, "/approvals/")
    assert "prefill 10 → 6, then decode 2 → 6" in page
    assert "Second half decode 2 → 6, on the GPUs that the first gives back" in page
    assert "decode 2 → 6 later +8 H800" in page
    assert "prefill 10 → 6 −8 H800" in page
    assert "8 GPUs fewer: 24 → 16, then 24 of at most 400." in page
    assert "5.00 → 1.00 prefill per decode" in page


@pytest.mark.django_db
def test_a_role_that_grows_in_both_halves_is_told_twice(ana: Client) -> None:
    shown = {"from_prefill": 10, "from_decode": 2, "to_prefill": 6, "to_decode": 4}
    waiting(**shown, then_prefill=6, then_decode=6)
    assert "decode 2 → 4 +4 H800, then 6: +4 H800" in reading(ana, "/approvals/")


@pytest.mark.django_db
def test_the_tabs_are_mine_all_open_and_decided(ana: Client) -> None:
    waiting("mine")
    waiting("sent", state="applying")
    waiting("old", state="expired")

    assert "mine" in reading(ana, "/approvals/")
    assert "#proposal" not in reading(ana, "/approvals/?tab=mine")
    everything = reading(ana, "/approvals/?tab=open")
    assert "being carried out" in everything
    decided = reading(ana, "/approvals/?tab=decided")
    assert "expired" in decided
    assert "Approve…" not in decided


@pytest.mark.django_db
def test_nothing_waits_reads_calm(ana: Client) -> None:
    assert "Nothing waits for you." in reading(ana, "/approvals/")
    assert "No proposal is open." in reading(ana, "/approvals/?tab=open")
    assert "No proposal has been decided yet." in reading(ana, "/approvals/?tab=decided")


@pytest.mark.django_db
def test_without_the_right_the_buttons_say_what_is_needed(client: Client) -> None:
    client.force_login(person("vera", "Viewer"))
    proposal = waiting()

    for path in ("/approvals/?tab=open", f"/approvals/{proposal.pk}/"):
        page = client.get(path).content.decode()
        assert "needs Approver" in page
        assert "fingerprint" not in page


@pytest.mark.django_db
def test_an_overdue_proposal_has_no_buttons(ana: Client) -> None:
    page = reading(ana, f"/approvals/{waiting(left_s=-1).pk}/")

    assert "expired" in page
    assert "Approve" not in page.replace("Approvals", "")


@pytest.mark.django_db
def test_an_approval_shows_how_far_it_has_come(ana: Client) -> None:
    proposal = waiting()

    answer = ana.post(
        f"/approvals/{proposal.pk}/approve/",
        {"version": 1, "fingerprint": SEEN, "state": "applied", "decided_by": 99},
        follow=True,
    )

    page = words(answer.content.decode())
    assert "Approved decode 4 → 6, prefill 2 → 3 for chat." in page
    assert "by ana" in page
    for step in ("recorded", "sent", "applied", "ready"):
        assert f"{step} not yet" in page
    proposal.refresh_from_db()
    assert proposal.state == "approved"


@pytest.mark.django_db
def test_the_progress_follows_the_action(ana: Client) -> None:
    proposal = waiting(state="applying", decided_at="2026-03-01T12:00:00Z")
    Action.objects.create(
        id="6f1f1b9e-8f0b-4b52-8b6e-54f0a7b3a001",
        service=proposal.service,
        proposal=proposal,
        actor="ana",
        epoch=1,
        state="applied",
        reason="approved",
        from_prefill=2,
        from_decode=4,
        to_prefill=3,
        to_decode=6,
        resource_version="1",
        recorded_at="2026-03-01T12:00:01Z",
        sent_at="2026-03-01T12:00:03Z",
        applied_at="2026-03-01T12:00:04Z",
    )

    page = reading(ana, f"/approvals/{proposal.pk}/")

    assert "sent 1 Mar 12:00:03 UTC after 2 s" in page
    assert "starting" in page
    assert "ready not yet" in page


@pytest.mark.django_db
def test_sending_the_same_approval_twice_is_answered_kindly(ana: Client) -> None:
    proposal = waiting()
    form = {"version": 1, "fingerprint": SEEN}
    ana.post(f"/approvals/{proposal.pk}/approve/", form)

    again = ana.post(f"/approvals/{proposal.pk}/approve/", form, follow=True)

    assert again.status_code == 200
    assert "it counts once" in words(again.content.decode())
    assert AuditEvent.objects.filter(verb="approved").count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "form", "sentence"),
    [
        pytest.param({"left_s": -60}, {}, "This proposal expired at", id="expired"),
        pytest.param(
            {"version": 2}, {}, "The controller changed it to decode 4 → 6", id="changed"
        ),
        pytest.param({"fingerprint": "a" * 64}, {}, "look again", id="other fingerprint"),
        pytest.param({"state": "superseded"}, {}, "A newer proposal", id="superseded"),
    ],
)
def test_a_late_answer_reads_the_present_state(
    ana: Client, fields: dict[str, object], form: dict[str, object], sentence: str
) -> None:
    proposal = waiting(**fields)  # type: ignore[arg-type]

    answer = ana.post(
        f"/approvals/{proposal.pk}/approve/", {"version": 1, "fingerprint": SEEN} | form
    )

    assert answer.status_code == 409
    assert sentence in words(answer.content.decode())
    assert "Your answer changed nothing" in words(answer.content.decode())


@pytest.mark.django_db
def test_the_slower_of_two_reads_who_was_faster(ana: Client) -> None:
    proposal, form = waiting(), {"version": 1, "fingerprint": SEEN}
    ana.post(f"/approvals/{proposal.pk}/approve/", form)
    ben = Client()
    ben.force_login(person("ben"))

    answer = ben.post(f"/approvals/{proposal.pk}/reject/", {"version": 1, "reason": "no"})

    assert answer.status_code == 409
    assert "ana approved this " in words(answer.content.decode())


@pytest.mark.django_db
def test_a_rejection_without_a_reason_says_so_beside_the_field(ana: Client) -> None:
    proposal = waiting()

    answer = ana.post(f"/approvals/{proposal.pk}/reject/", {"version": 1, "reason": " "})

    assert answer.status_code == 400
    assert "Give a reason" in words(answer.content.decode())
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize("form", [{}, {"version": "x"}, {"version": 1, "fingerprint": "'--"}])
def test_a_form_without_its_binding_changes_nothing(ana: Client, form: dict[str, object]) -> None:
    proposal = waiting()

    assert ana.post(f"/approvals/{proposal.pk}/approve/", form).status_code == 400
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
@pytest.mark.parametrize("role", ["Viewer", "Operator"])
def test_a_forced_answer_without_the_right_is_refused_and_kept(client: Client, role: str) -> None:
    client.force_login(person("eve", role))
    proposal = waiting()

    for verb, form in (
        ("approve", {"version": 1, "fingerprint": SEEN}),
        ("reject", {"version": 1, "reason": "no"}),
    ):
        answer = client.post(f"/approvals/{proposal.pk}/{verb}/", form)
        assert answer.status_code == 403
        assert "needs the role Approver" in words(answer.content.decode())
    assert Proposal.objects.get().state == "pending"
    event = AuditEvent.objects.first()
    assert event is not None
    assert len(event.request_id) == 36


@pytest.mark.django_db
def test_the_answers_need_the_token_and_a_sign_in() -> None:
    proposal = waiting()
    strict = Client(enforce_csrf_checks=True)
    path = f"/approvals/{proposal.pk}/approve/"
    strict.force_login(person("ana"))

    refused = strict.post(path, {"version": 1, "fingerprint": SEEN})
    assert refused.status_code == 403
    assert "This form was not taken" in words(refused.content.decode())
    assert Client().post(path, {}).status_code == 403
    assert Proposal.objects.get().state == "pending"


@pytest.mark.django_db
def test_looking_changes_nothing(ana: Client) -> None:
    proposal = waiting()
    before = Proposal.objects.values().get()

    for path in ("", "?tab=open", "?tab=decided", f"{proposal.pk}/"):
        assert ana.get(f"/approvals/{path}").status_code == 200
    for verb in ("approve", "reject"):
        answer = ana.get(f"/approvals/{proposal.pk}/{verb}/")
        assert answer.headers["Location"] == f"/approvals/{proposal.pk}/"

    assert Proposal.objects.values().get() == before
    assert not AuditEvent.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("pk", ["999", "99999999999999999999999"])
def test_an_unknown_proposal_is_not_found(ana: Client, pk: str) -> None:
    assert ana.get(f"/approvals/{pk}/").status_code == 404


@pytest.mark.django_db
def test_an_unchanged_list_is_not_sent_again(ana: Client) -> None:
    proposal = waiting()
    first = ana.get("/approvals/", headers={"HX-Request": "true"})
    again = {"HX-Request": "true", "If-None-Match": first.headers["ETag"]}

    assert ana.get("/approvals/", headers=again).status_code == 304
    Proposal.objects.filter(pk=proposal.pk).update(version=2)
    assert ana.get("/approvals/", headers=again).status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("tab", ["mine", "open", "decided"])
def test_three_cards_cost_as_many_queries_as_one(
    ana: Client, tab: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    state = "rejected" if tab == "decided" else "pending"
    waiting("a", state=state)
    ana.get("/approvals/")
    with CaptureQueriesContext(connection) as one:
        ana.get(f"/approvals/?tab={tab}")
    waiting("b", state=state)
    waiting("c", state=state)
    with django_assert_num_queries(len(one)):
        ana.get(f"/approvals/?tab={tab}")


@pytest.mark.django_db
def test_what_others_wrote_is_shown_as_text(ana: Client) -> None:
    proposal = waiting(sentence="<script>alert(1)</script>", state="rejected")
    Proposal.objects.update(closed_reason='"><img src=x onerror=alert(1)>')

    page = ana.get(f"/approvals/{proposal.pk}/").content.decode()

    assert "<script>alert" not in page
    assert "<img src=x" not in page
