"""Proposals of moves as the person who decides reads them, and the answers to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.models import AuditEvent, Rearrangement
from inventory.models import Service
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person

pytestmark = pytest.mark.django_db
EVIL = '<svg onload=alert(1)>"><img src=x>'


def a_move(service: str = "code", instance: str = "code-d-1") -> dict[str, Any]:
    return {
        "service": service,
        "instance": instance,
        "role": "decode",
        "group": "code-g1",
        "from_nodes": {"h800-000": 2},
        "to_nodes": {"h800-001": 1, "h800-002": 1},
        "cluster": "eu-1-a",
    }


def a_shrink(service: str = "code") -> dict[str, Any]:
    return {
        "service": service,
        "before": {"prefill": 2, "decode": 4},
        "after": {"prefill": 2, "decode": 3},
        "removals": [
            {
                "instance": "code-d-9", "role": "decode", "group": "code-g1",
                "nodes": {"h800-000": 2}, "why": "the youngest",
            }
        ],
    }  # fmt: skip


def proposed(number: int = 0, **fields: Any) -> Rearrangement:
    """Return moves of code that make room for chat, waiting by the clock of now."""
    now = timezone.now()
    for slug in ("chat", "code"):
        if not Service.objects.filter(slug=slug).exists():
            factories.make_service(slug)
    given = {
        "kind": "room",
        "service": Service.objects.get(slug="chat"),
        "key": f"room:{number}",
        "body": {"moves": [a_move()], "shrinks": []},
        "gain": {"instances": 2, "whole_nodes": {"before": 0, "after": 1}},
        "cost": {"instances": 1, "gpus": 2, "gpu_s": 120.0},
        "sentence": "Move 1 decode instance of code, so that 2 more instances of chat fit.",
        "inventory_version": 7,
        "touched": "0" * 64,
        "created_at": now - timedelta(minutes=9),
        "evidence_at": now - timedelta(minutes=3, seconds=5),
        "expires_at": now + timedelta(minutes=20),
    } | fields
    return Rearrangement.objects.create(**given)


@pytest.fixture
def ana(client: Client) -> Client:
    """An approver who is signed in."""
    client.force_login(person("ana"))
    return client


@pytest.mark.parametrize("where", ["queue", "page"])
def test_the_card_says_what_gain_cost_and_what_otherwise(ana: Client, where: str) -> None:
    row = proposed()
    page = reading(ana, "/approvals/" if where == "queue" else row.get_absolute_url())
    for sentence in (
        "Make room for chat",
        "disturbs 1 of code",
        "Move 1 decode instance of code, so that 2 more instances of chat fit.",
        "2 instances ; whole nodes free 0 → 1".replace(" ;", ";"),
        "1 instance, 2 GPUs, 120 GPU-seconds of starting",
        "confirmed 3 min ago",
        "inventory version 7",
        "Nothing moves; the service stays as it is until there is room.",
        "Expires at",
    ):
        assert sentence in page, sentence
    assert "No proposal is open" not in page
    assert "the moves changed" not in page


def test_the_page_says_who_moves_from_where_to_where(ana: Client) -> None:
    page = reading(ana, proposed().get_absolute_url())
    assert "a new instance starts there before the old one leaves" in page
    assert "code-d-1 code code-g1 h800-000 2 GPUs h800-001 1 GPUs , h800-002 1 GPUs" in page


def test_the_page_says_who_gives_way_and_what_else_fits(ana: Client) -> None:
    shape = {
        "hardware": ["h800", "h20"], "gpus": 8, "nodes": 2,
        "fits": {"before": 3, "after": 4}, "largest": {"before": 1, "after": 2},
    }  # fmt: skip
    same = shape | {"gpus": 1, "fits": {"before": 9, "after": 9}, "largest": shape["largest"]}
    same["largest"] = {"before": 2, "after": 2}
    row = proposed(
        kind="shrink",
        body={"moves": [], "shrinks": [a_shrink()]},
        gain={"services": ["chat"], "instances": 2, "shapes": [shape, same]},
    )
    page = reading(ana, row.get_absolute_url())
    assert "Shrink lower priorities for chat" in page
    assert "2 instances of chat placed" in page
    assert "code prefill 2, decode 4 prefill 2, decode 3 code-d-9 the youngest" in page
    assert "never below its minimum; it grows again when there is room" in page
    assert "8 × h800 or h20 on 2 nodes 3 4 1 2" in page
    assert "1 × h800" not in page, "what stays the same is left out"


@pytest.mark.parametrize(
    ("kind", "title", "otherwise"),
    [
        ("together", "Bring P and D of chat together", "the pairs stay apart"),
        ("replace", "Replace instances of chat", "What is lost stays lost"),
        ("shrink", "Shrink lower priorities for chat", "Nobody shrinks"),
    ],
)
def test_each_kind_has_its_words(ana: Client, kind: str, title: str, otherwise: str) -> None:
    page = reading(ana, proposed(kind=kind).get_absolute_url())
    assert title in page
    assert otherwise in page


OVERDUE = timezone.now() - timedelta(hours=1)


@pytest.mark.parametrize(
    ("state", "fields", "said"),
    [
        ("approved", {}, "approved"),
        ("applying", {}, "being carried out"),
        ("applied", {}, "applied"),
        ("failed", {"closed_reason": "chat: quota."}, "chat: quota."),
        ("stale", {"closed_reason": "Nodes changed."}, "Nodes changed."),
        ("rejected", {"closed_reason": "Rejected by ben: x"}, "Rejected by ben: x"),
        ("superseded", {"closed_reason": "No longer needed."}, "No longer needed."),
        pytest.param("pending", {"expires_at": OVERDUE}, "expired", id="overdue"),
    ],
)
def test_what_is_decided_says_how_and_has_no_buttons(
    ana: Client, state: str, fields: dict[str, Any], said: str
) -> None:
    now = timezone.now()
    row = proposed(state=state, decided_at=now, closed_at=now, **fields)
    response = ana.get(row.get_absolute_url())
    page = response.content.decode()
    assert said in words(page)
    assert "Approve…" not in page
    assert 'class="primary"' not in page
    assert f"/approvals/moves/{row.pk}/approve/" not in page


def test_what_went_by_rule_says_so(ana: Client) -> None:
    row = proposed(
        state="applying", decided_at=timezone.now(), decided_reason="Carried out by rule."
    )
    assert "Decided by rule" in reading(ana, row.get_absolute_url())


def test_what_cannot_be_replaced_says_why_i08(ana: Client) -> None:
    now = timezone.now()
    why = "Nothing replaces what chat lost: s1-01 has 0 free GPUs."
    row = proposed(
        kind="replace", body={"moves": [], "shrinks": []}, state="withdrawn",
        gain={"instances": 0}, sentence=why, closed_reason=why, closed_at=now,
    )  # fmt: skip
    for path in ("/approvals/?tab=decided", row.get_absolute_url()):
        page = reading(ana, path)
        assert "Replace instances of chat" in page
        assert why in page
    assert "disturbs nobody" in page


def test_a_changed_body_is_pointed_out(ana: Client) -> None:
    page = reading(ana, proposed(version=3).get_absolute_url())
    assert "the moves changed since first proposed (version 3)" in page


def test_the_steps_show_how_far_it_is(ana: Client) -> None:
    row = proposed(state="applying", decided_at=timezone.now())
    step = factories.make_action(
        Service.objects.get(slug="code"), rearrangement=row, state="failed",
        ended_at=timezone.now(), error="The cluster refused: quota.",
    )  # fmt: skip
    page = reading(ana, row.get_absolute_url())
    assert f"code {step.state}" in page
    assert "The cluster refused: quota." in page


def test_the_tabs_show_what_waits_what_is_open_and_what_ended(ana: Client) -> None:
    for number, state in enumerate(("pending", "applying", "failed")):
        proposed(
            number, state=state, closed_at=timezone.now() if state == "failed" else None,
            closed_reason="chat: quota." if state == "failed" else "",
        )  # fmt: skip
    mine, everything = reading(ana, "/approvals/?tab=mine"), reading(ana, "/approvals/?tab=open")
    assert (mine.count("Make room for chat"), "being carried out" in mine) == (3, False)
    assert "being carried out" in everything
    decided = reading(ana, "/approvals/?tab=decided")
    assert "chat: quota." in decided
    assert "Approve…" not in decided


@pytest.mark.parametrize(("role", "count"), [("Approver", 1), ("Viewer", 0)])
def test_the_counter_counts_what_waits_for_this_person(
    client: Client, role: str, count: int
) -> None:
    client.force_login(person("ana", role))
    proposed()
    proposed(1, state="applying")
    proposed(2, expires_at=timezone.now() - timedelta(seconds=1))
    assert f'data-waiting="{count}"' in client.get("/approvals/").content.decode()


def test_without_the_right_the_buttons_say_what_is_needed(client: Client) -> None:
    client.force_login(person("vera", "Viewer"))
    row = proposed()
    for path in ("/approvals/?tab=open", row.get_absolute_url()):
        page = client.get(path).content.decode()
        assert "needs Approver" in page
        assert f"/approvals/moves/{row.pk}/approve/" not in page
    for act in ("approve", "reject"):
        answer = client.post(f"{row.get_absolute_url()}{act}/", {"version": 1, "reason": "x"})
        assert answer.status_code == 403
    row.refresh_from_db()
    assert row.state == "pending"


def test_signed_out_there_is_nothing_to_read_and_a_form_waits_for_the_sign_in_a05(
    client: Client,
) -> None:
    row = proposed()
    assert client.get(row.get_absolute_url()).status_code == 302
    asked = client.post(f"{row.get_absolute_url()}approve/", {"version": 1})
    assert asked.status_code == 403
    assert "what you typed is kept: sign in, then send it" in words(asked.content.decode())
    row.refresh_from_db()
    assert row.state == "pending"


def test_an_approval_is_kept_with_its_note(ana: Client) -> None:
    row = proposed()
    answer = ana.post(
        f"{row.get_absolute_url()}approve/",
        {"version": 1, "reason": "tonight", "state": "applied", "decided_by": 99},
        follow=True,
    )
    page = words(answer.content.decode())
    assert "Approved: the moves begin at once, one change a service at a time." in page
    assert "by ana" in page
    assert ": tonight" in page
    row.refresh_from_db()
    assert (row.state, row.decided_by.username) == ("approved", "ana")
    assert AuditEvent.objects.filter(verb="approved", actor="ana").count() == 1


def test_a_rejection_needs_a_reason(ana: Client) -> None:
    row = proposed()
    answer = ana.post(f"{row.get_absolute_url()}reject/", {"version": 1, "reason": ""})
    assert answer.status_code == 400
    assert 'aria-invalid="true"' in answer.content.decode()
    answer = ana.post(
        f"{row.get_absolute_url()}reject/", {"version": 1, "reason": "not now"}, follow=True
    )
    page = words(answer.content.decode())
    assert "Rejected: nothing moves. The same is not asked for an hour." in page
    assert "Rejected by ana: not now" in page


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_an_answer_without_a_version_changes_nothing(ana: Client, act: str) -> None:
    row = proposed()
    answer = ana.post(f"{row.get_absolute_url()}{act}/", {"reason": "x"})
    assert answer.status_code == 400
    assert "did not say which version it answers" in words(answer.content.decode())
    row.refresh_from_db()
    assert row.state == "pending"


@pytest.mark.parametrize("act", ["approve", "reject"])
@pytest.mark.parametrize(
    ("now", "words_of_it"),
    [
        ({"version": 2}, "The controller changed the moves: look again."),
        ({"state": "superseded", "closed_reason": "No longer needed."}, "No longer needed."),
    ],
)
def test_who_comes_too_late_reads_how_it_stands_now_a01(
    ana: Client, act: str, now: dict[str, Any], words_of_it: str
) -> None:
    row = proposed(**now)
    answer = ana.post(f"{row.get_absolute_url()}{act}/", {"version": 1, "reason": "x"})
    assert answer.status_code == 409
    page = words(answer.content.decode())
    assert words_of_it in page
    assert "Your answer changed nothing; below is how it stands now." in page


def test_no_look_changes_anything_w05(ana: Client) -> None:
    row = proposed()
    for act in ("", "approve/", "reject/"):
        answer = ana.get(f"{row.get_absolute_url()}{act}")
        assert answer.status_code == (302 if act else 200)
    row.refresh_from_db()
    assert row.state == "pending"
    assert ana.get("/approvals/moves/999/").status_code == 404
    assert ana.post("/approvals/moves/999/approve/", {"version": 1}).status_code == 404


def test_another_site_can_answer_nothing() -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(person("ana"))
    row = proposed()
    for act in ("approve", "reject"):
        answer = strict.post(f"{row.get_absolute_url()}{act}/", {"version": 1, "reason": "x"})
        assert answer.status_code == 403
    row.refresh_from_db()
    assert row.state == "pending"


def test_names_are_text_whatever_they_are_w03(ana: Client) -> None:
    named = a_move(instance=EVIL) | {"group": EVIL}
    shrunk = a_shrink()
    shrunk["removals"][0] |= {"instance": EVIL, "why": EVIL}
    shape = {
        "hardware": [EVIL], "gpus": 8, "nodes": 1,
        "fits": {"before": 3, "after": 4}, "largest": {"before": 1, "after": 2},
    }  # fmt: skip
    row = proposed(
        body={"moves": [named], "shrinks": [shrunk]},
        sentence=EVIL,
        gain={"instances": EVIL, "shapes": [shape]},
        version=2,
    )
    ended = proposed(1, state="failed", closed_at=timezone.now(), closed_reason=EVIL)
    for path in (
        "/approvals/",
        "/approvals/?tab=decided",
        row.get_absolute_url(),
        ended.get_absolute_url(),
    ):
        page = ana.get(path).content.decode()
        assert "<svg onload" not in page
        assert "<img src=x" not in page
    assert "&lt;svg onload" in ana.get(row.get_absolute_url()).content.decode()


def test_the_live_part_comes_again_only_when_it_differs(ana: Client) -> None:
    row = proposed()
    first = ana.get(row.get_absolute_url(), headers={"HX-Request": "true"})
    assert "<html" not in first.content.decode()
    assert "Move 1 decode instance of code" in first.content.decode()


def _queries(client: Client, path: str) -> int:
    client.get(path)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(path).status_code == 200
    return len(queries)


@pytest.mark.parametrize("tab", ["mine", "open", "decided"])
def test_the_queue_asks_as_often_for_three_as_for_one(ana: Client, tab: str) -> None:
    counts = []
    for rows in (1, 3):
        for number in range(Rearrangement.objects.count(), rows):
            row = proposed(
                number, state="failed" if tab == "decided" else "pending",
                closed_at=timezone.now() if tab == "decided" else None,
            )  # fmt: skip
            factories.make_action(
                factories.make_service(f"s{number}"), rearrangement=row, state="ready"
            )
        counts.append(_queries(ana, f"/approvals/?tab={tab}"))
    assert counts[0] == counts[1]


def test_the_page_asks_as_often_for_three_steps_as_for_one(
    ana: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    row = proposed(state="applying", decided_at=timezone.now())
    step = factories.make_action(factories.make_service("s0"), rearrangement=row)
    once = _queries(ana, row.get_absolute_url())
    for number in (1, 2):
        factories.make_action(factories.make_service(f"s{number}"), rearrangement=row)
    row.body["moves"] = [a_move(instance=f"code-d-{number}") for number in range(3)]
    row.save()
    assert step.pk
    with django_assert_num_queries(once):
        ana.get(row.get_absolute_url())


def test_the_overview_tells_moves_that_wait_and_losses_nothing_replaces(client: Client) -> None:
    client.force_login(User.objects.create_user("ria"))
    now = timezone.now()
    proposed()
    lost = proposed(
        1,
        kind="replace",
        state="withdrawn",
        evidence_at=now,
        closed_reason="Nothing replaces what chat lost: no S2 has room.",
    )
    page = client.get("/").content.decode()
    assert "asks for moves: Move 1 decode instance of code" in page
    assert "lost instances. Nothing replaces what chat lost: no S2 has room." in page
    Rearrangement.objects.filter(pk=lost.pk).update(evidence_at=now - timedelta(minutes=4))
    assert "lost instances." not in client.get("/").content.decode()
