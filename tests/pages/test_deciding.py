"""Everything else a person does about proposals: together, alone, several, and by hand."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.core.approval_rules import Rule
from controller.models import ApprovalRule, Proposal, ServiceStatus
from controller.selectors.approval_rules import tried
from controller.selectors.proposals import latencies
from inventory.models import Service
from tests import factories
from tests.pages.reading import reading, words
from tests.services.people import person, waiting
from tests.services.test_manual import served

pytestmark = pytest.mark.django_db
SEEN = "0" * 64
SHRINK = {"from_decode": 6, "to_decode": 2, "from_prefill": 2, "to_prefill": 2, "needs": 2}


def signed_in(name: str, role: str = "Approver") -> Client:
    client = Client()
    client.force_login(person(name, role))
    return client


def test_two_people_approve_and_the_first_reads_that_another_is_needed() -> None:
    proposal, ana, ben = waiting(needs=2, needs_why="it is large"), signed_in("ana"), Client()
    assert "needs 2 of 2 (you may) : it is large" in reading(ana, "/approvals/").replace(
        "(you may):", "(you may) :"
    )

    nothing_yet = "Yours is approval 1 of 2; nothing is asked of eu-1-a before the last"
    assert nothing_yet in reading(ana, "/approvals/")

    answer = ana.post(
        f"/approvals/{proposal.pk}/approve/", {"version": 1, "fingerprint": SEEN}, follow=True
    )

    page = words(answer.content.decode())
    assert "Your approval counts: one of 2." in page
    assert "you approved this: another person does too" in page
    assert "Nothing waits for you." in reading(ana, "/approvals/?tab=mine")
    ben.force_login(person("ben"))
    assert "needs 1 of 2 (you may); ana approved" in reading(ben, "/approvals/?tab=mine")
    assert "The controller asks eu-1-a for this at once" in reading(ben, "/approvals/?tab=mine")


def test_what_one_asked_for_is_under_my_requests_and_not_mine_to_decide() -> None:
    ana = person("ana")
    waiting(origin="person", requested_by=ana, requested_reason="launch at noon")
    client = Client()
    client.force_login(ana)

    assert "Nothing waits for you." in reading(client, "/approvals/?mine=1")
    page = reading(client, "/approvals/?tab=requests")
    assert "Asked by ana , a person: launch at noon" in page
    assert "you asked for this: another person approves it" in page


@pytest.mark.parametrize(
    ("more", "words_told"),
    [
        pytest.param({"typed": 7}, "Type the number of GPUs that change hands: 8.", id="4 x 2"),
        pytest.param({"typed": 8, "reason": ""}, "Give a reason", id="no reason"),
    ],
)
def test_a_large_step_that_takes_away_is_typed_out(
    more: dict[str, object], words_told: str
) -> None:
    proposal, ana = waiting(**SHRINK), signed_in("ana")
    ServiceStatus.objects.filter(service=proposal.service).update(decode_desired=6)
    form = {"version": 1, "fingerprint": SEEN, "reason": "quiet night"}

    answer = ana.post(f"/approvals/{proposal.pk}/approve/", form | more)

    assert answer.status_code == 400
    assert words_told in words(answer.content.decode())
    assert not proposal.verdicts.exists()
    assert ana.post(f"/approvals/{proposal.pk}/approve/", form | {"typed": 8}).status_code == 302
    assert proposal.verdicts.count() == 1


def test_breaking_the_glass_takes_a_reason_and_the_gpus_typed() -> None:
    proposal, ana = waiting(needs=2), signed_in("ana")
    path, form = f"/approvals/{proposal.pk}/break-glass/", {"version": 1, "fingerprint": SEEN}

    assert ana.post(path, form | {"reason": "outage", "typed": 5}).status_code == 400
    assert Proposal.objects.get().state == "pending"
    answer = ana.post(path, form | {"reason": "outage", "typed": 6}, follow=True)

    assert "the glass was broken by ana: outage" in words(answer.content.decode())
    assert Proposal.objects.get().is_break_glass


def test_a_comment_decides_nothing_and_stays() -> None:
    proposal, olga = waiting(), signed_in("olga", "Operator")
    olga.post(f"/approvals/{proposal.pk}/comment/", {"text": "wait for the batch job"})
    page = reading(olga, f"/approvals/{proposal.pk}/")
    assert "wait for the batch job" in page
    assert "needs Approver on chat" in page
    assert Proposal.objects.get().state == "pending"


def test_who_may_not_decide_reads_whom_to_ask() -> None:
    proposal = waiting()
    person("ana")
    vera = signed_in("vera", "Viewer")
    for path in ("/approvals/?tab=open", f"/approvals/{proposal.pk}/"):
        assert "needs Approver on chat — ask ana" in reading(vera, path)


def test_an_expired_proposal_offers_a_fresh_one() -> None:
    proposal = waiting(left_s=-5)
    page = signed_in("ana").get(f"/approvals/{proposal.pk}/").content.decode()
    assert "/services/chat/propose/?prefill=3&amp;decode=6" in page


def test_several_are_asked_about_one_by_one_and_each_has_its_outcome() -> None:
    small, large, ana = waiting("small"), waiting("large", **SHRINK), signed_in("ana")

    asked = ana.post("/approvals/bulk/", {"verb": "approve", "item": [small.pk, large.pk]})
    page = words(asked.content.decode())
    assert "small on eu-1-a: decode 4 → 6, prefill 2 → 3, 6 GPUs more" in page
    assert "it takes a typed confirmation" in page
    assert f'value="{small.pk}:1:{SEEN}" checked' in asked.content.decode()
    assert f'value="{large.pk}:1:{SEEN}" disabled' in asked.content.decode()

    items = [f"{one.pk}:1:{SEEN}" for one in (small, large)]
    done = ana.post("/approvals/bulk/", {"verb": "approve", "confirm": "1", "item": items})
    page = words(done.content.decode())
    assert "Approved." in page
    assert "It is decided on its own page" in page
    assert {one.state for one in Proposal.objects.filter(service__slug="small")} == {"approved"}
    assert not large.verdicts.exists()


def test_a_change_by_hand_is_looked_at_and_then_proposed() -> None:
    served()
    olga = signed_in("olga", "Operator")

    opened = reading(olga, "/services/chat/propose/")
    assert "chat stands at these counts now: change one" in opened
    assert "This can't be proposed" not in opened
    page = reading(olga, "/services/chat/propose/?prefill=3&decode=6")
    for said in ("decode 4 → 6, prefill 2 → 3 : 6 GPUs more", "1 other person", "In mode approve"):
        assert said in page, said
    form = {"prefill": 3, "decode": 9, "reason": "launch at noon"}
    refused = olga.post("/services/chat/propose/", form)
    assert refused.status_code == 400
    assert "as far as decode 8" in words(refused.content.decode())
    assert olga.post("/services/chat/propose/", form | {"look": "1"}).status_code == 200
    assert not Proposal.objects.exists()

    olga.post("/services/chat/propose/", form | {"decode": 6})

    made = Proposal.objects.get()
    assert (made.origin, made.to_decode, made.requested_reason) == ("person", 6, "launch at noon")


def test_other_counts_take_the_place_of_what_was_proposed() -> None:
    service, olga = served(), signed_in("olga", "Operator")
    soon = timezone.now() + timedelta(minutes=9)
    first = factories.make_proposal(service, expires_at=soon)
    assert 'value="6"' in olga.get(f"/approvals/{first.pk}/change/").content.decode()
    form = {"prefill": 2, "decode": 5, "reason": "less will do", "version": 1}

    answer = olga.post(f"/approvals/{first.pk}/change/", form, follow=True)

    assert "decode 4 → 5" in words(answer.content.decode())
    late = olga.post(f"/approvals/{first.pk}/change/", form)
    assert late.status_code == 409
    assert "A newer proposal took the place" in words(late.content.decode())


def test_a_change_is_rolled_back_by_a_proposal() -> None:
    service, olga = served(), signed_in("olga", "Operator")
    done = factories.make_action(
        service,
        state="ready",
        applied_at=timezone.now(),
        from_prefill=2,
        from_decode=3,
        to_prefill=2,
        to_decode=4,
    )
    path = f"/actions/{done.pk}/roll-back/"
    assert "Roll chat back: decode 4 → 3" in reading(olga, path)
    olga.post(path, {"reason": "it made it worse"})
    made = Proposal.objects.get()
    assert (made.origin, made.undoes_id, made.to_decode) == ("roll_back", done.pk, 3)


def test_without_rules_the_page_says_that_people_decide() -> None:
    assert "No rule approves by itself" in reading(signed_in("ana"), "/approvals/rules/")


RULE = {"name": "nights", "scope": "fleet", "direction": "out", "time_zone": "UTC", "opened": 0}


def test_a_rule_is_made_and_changed_in_revisions_and_the_slower_reads_so() -> None:
    root = signed_in("root", "Admin")
    form = RULE | {"most_gpus": 16, "most_percent": 25, "days": [0, 1], "is_enabled": "on"}

    made = root.post("/approvals/rules/", form | {"reason": "small steps"}, follow=True)

    page = words(made.content.decode())
    assert "scale-out, at most 16 GPUs, at most 25 % of a role" in page
    assert "at any time on Mon, Tue" in page
    assert ApprovalRule.objects.get().most_frac == 0.25
    late = root.post("/approvals/rules/nights/", form | {"reason": "again"})
    assert late.status_code == 409
    assert "root saved revision 1 of rule nights: look again." in words(late.content.decode())

    off = RULE | {"opened": 1, "reason": "too many at night"}
    told = words(root.post("/approvals/rules/nights/", off, follow=True).content.decode())
    assert "nights , revision 2 off" in told
    assert "nights , revision 1 superseded" in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        pytest.param({"from_time": "08:00"}, "Give both times of the day", id="one time alone"),
        pytest.param({"time_zone": "Mars/Base"}, "There is no time zone", id="unknown zone"),
        pytest.param({"most_percent": 0}, "greater than or equal to 0.1", id="0 %"),
        pytest.param({"reason": ""}, "Give a reason", id="no reason"),
    ],
)
def test_a_rule_that_can_not_be_says_so_beside_the_field(more: dict[str, str], said: str) -> None:
    root = signed_in("root", "Admin")
    answer = root.post("/approvals/rules/", RULE | {"reason": "why"} | more)
    assert answer.status_code == 400
    assert said in words(answer.content.decode())
    assert not ApprovalRule.objects.exists()


def test_latencies_of_one_card_are_in_one_unit() -> None:
    told = {"ttft_s": [1.2, 0.9], "tbt_s": [0.0352, None]}
    assert latencies(told) == "TTFT 1.2 s → 0.9 s, TBT 35.2 ms → no end of waiting"


def test_a_rule_of_any_size_is_confirmed_by_who_read_what_it_would_have_let_through() -> None:
    root = signed_in("root", "Admin")
    now = timezone.now()
    figures = {"from_prefill": 2, "from_decode": 4, "expires_at": now + timedelta(hours=1)}
    for slug, to, days in (("a", 5, 1), ("b", 3, 1), ("c", 3, 8)):
        service = factories.make_service(slug, mode="approve")
        made = now - timedelta(days=days)
        factories.make_proposal(
            service, to_prefill=2, to_decode=to, created_at=made, evidence_at=made, **figures
        )
    form = RULE | {"direction": "any", "is_enabled": "on", "reason": "quiet nights"}
    told = "would have let through 2 of 2 proposals, at most +{0} and −{0} GPUs at once"
    gpus = Service.objects.get(slug="a").roles.get(role="decode").gpus_per_instance

    asked = root.post("/approvals/rules/", form)
    assert asked.status_code == 400
    assert told.format(gpus) in words(asked.content.decode())
    tried = root.post("/approvals/rules/", form | {"most_gpus": 100, "verb": "try"})
    assert told.format(gpus) in words(tried.content.decode())
    assert not ApprovalRule.objects.exists()
    root.post("/approvals/rules/", form | {"is_unlimited": "on"})
    assert ApprovalRule.objects.get().most_gpus is None


@pytest.mark.parametrize("proposals", [1, 3])
def test_trying_a_rule_costs_the_same_for_any_number(
    django_assert_num_queries: DjangoAssertNumQueries, proposals: int
) -> None:
    for i in range(proposals):
        waiting(f"s-{i}")
    with django_assert_num_queries(2):
        assert tried(Rule(), None, timezone.now()).proposals == proposals


def test_a_proposal_says_which_rule_let_it_through() -> None:
    rule = ApprovalRule.objects.create(
        name="nights", reason="why", by_name="root", made_at=timezone.now()
    )
    proposal = waiting(state="applied", rule=rule, decided_at=timezone.now())
    page = reading(signed_in("ana"), f"/approvals/{proposal.pk}/")
    assert "Let through by rule nights, revision 1" in page
    assert "by rule nights" in reading(signed_in("ben"), "/approvals/?tab=decided")
