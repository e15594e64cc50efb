"""One decision explained, and the list of all: what the operator reads."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from controller.core.guards import STEP_NAMES
from controller.core.phrases import STEP_WORDS
from controller.core.registration import InStep
from controller.core.types import Instances
from controller.models import Action, Decision
from controller.selectors.decisions import PAGE
from inventory.models import PolicyRevision
from tests import factories
from tests.factories import NOW
from tests.pages.reading import reading
from tests.services.people import person

STEPS = [
    {
        "name": "policy",
        "before": {"prefill": 2, "decode": 4},
        "after": {"prefill": 4, "decode": 9},
        "code": "ABOVE_TARGET",
        "detail": "8,900 tok/s over 4 × 1,000 is 2.23",
    },
    {
        "name": "step",
        "before": {"prefill": 4, "decode": 9},
        "after": {"prefill": 4, "decode": 8},
        "code": "STEP_LIMITED",
        "detail": "one action may change decode by at most 4",
    },
]


@pytest.fixture
def vera(client: Client) -> Client:
    """A viewer who is signed in."""
    client.force_login(person("vera", "Viewer"))
    return client


@pytest.mark.django_db
def test_an_exchange_shows_both_halves(vera: Client) -> None:
    decision = factories.make_decision(
        factories.make_service("chat"),
        move="rebalance",
        gate="act",
        code="EXCHANGE",
        current_prefill=10,
        current_decode=2,
        final_prefill=6,
        final_decode=2,
        then_prefill=6,
        then_decode=6,
        sentence="Prefill 10 → 6 first, then decode 2 → 6 on the GPUs this frees.",
    )
    page = reading(vera, decision.get_absolute_url())
    assert "How prefill 10 → 6, then decode 2 → 6 came about" in page
    assert "second half decode 2, prefill 6 decode 6, prefill 6 EXCHANGE later" in page


@pytest.mark.django_db
def test_the_page_explains_each_step(vera: Client) -> None:
    service = factories.make_service("chat")
    # As the database keeps an object: by the length of its names.
    body = {"later": 1, "target": 1000.0, "theta_in": 0.1, "pd_ratio": 0.5, "drain_s": 120.0}
    PolicyRevision.objects.create(service=service, revision=1, body=body)
    decision = factories.make_decision(
        service,
        move="scale_out",
        gate="act",
        code="STEP_LIMITED",
        final_prefill=4,
        final_decode=8,
        sentence="Decode 4 → 8 (wanted 9).",
        steps=STEPS,
    )

    page = reading(vera, decision.get_absolute_url())

    for sentence in (
        "Decode 4 → 8 (wanted 9).",
        "policy decode 4, prefill 2 decode 9, prefill 4 ABOVE_TARGET",
        "largest step decode 9, prefill 4 decode 8, prefill 4 STEP_LIMITED",
        "one action may change decode by at most 4",
        "decode throughput driver decode 3,900 tok/s 3 s 4 of 4 ok",
        "Target 1,000 per instance Scale in below 0.1 share of the target P/D ratio 0.5",
        "Work off a backlog within 120 s later 1",
        "Record as JSON",
        "Previous",
        "No action was recorded.",
    ):
        assert sentence in page, sentence


@pytest.mark.django_db
def test_the_page_says_what_was_provided_for_and_what_each_policy_wanted(vera: Client) -> None:
    decision = factories.make_decision(
        factories.make_service("chat"),
        forecast={
            "lead_s": 105.0,
            "needs": {"prefill": 2.6, "decode": 3.8},
            "newest": {"prefill": None, "decode": None},
            "peaks": {"prefill": 3.6, "decode": 4.7},
            "margins": {"prefill": 0.39, "decode": 0.4},
            "backlog": {"prefill": 0.0, "decode": 0.2},
            "ahead_by": {"prefill": "flat", "decode": "trend"},
            "ahead_errors": {"prefill": None, "decode": 0.0764},
            "flat_errors": {"prefill": None, "decode": 0.0812},
            "mix": {"input_tokens": 900.0, "uncached_tokens": 800.0, "output_tokens": 200.0},
            "ratio": 0.75,
            "target": 164.0,
        },
        parts=[
            {"policy": "proportional", "prefill": 5, "decode": 7, "code": "ABOVE_TARGET",
             "text": "The load needs more"},
            {"policy": "latency", "prefill": 2, "decode": 4, "code": "WITHIN_TOLERANCE",
             "text": "TTFT is fine"},
        ],
    )  # fmt: skip
    page = reading(vera, decision.get_absolute_url())
    for words in (
        "what the load needs 2.6 3.8",
        "what the newest sample needs, beyond chance — —",
        "highest need held 3.6 4.7",
        "margin for 105 s of start-up 39 % 40 %",
        "to work off the queues 0.0 0.2",
        "by the trend of ten minutes, off by 7.6 % on average (the need of now by 8.1 %)",
        "tokens of a request prompt 900, computed 800, answer 200",
        "ratio that fits 0.75",
        "target that fits 164",
        "latency prefill 2, decode 4 TTFT is fine WITHIN_TOLERANCE",
    ):
        assert words in page, words


@pytest.mark.django_db
@pytest.mark.parametrize("odd", [[], "text", {"needs": 3, "lead_s": "x", "mix": 1}])
def test_a_forecast_edited_by_hand_does_not_break_the_page(vera: Client, odd: object) -> None:
    decision = factories.make_decision(
        factories.make_service("chat"), forecast=odd, parts=["x", {}]
    )
    assert "How" in reading(vera, decision.get_absolute_url())


@pytest.mark.django_db
def test_an_unreadable_value_is_a_dash_and_never_zero(vera: Client) -> None:
    decision = factories.make_decision(
        factories.make_service(),
        code="METRIC_MISSING",
        inputs=[
            {
                "name": "ttft_s",
                "role": "prefill",
                "value": None,
                "unit": "s",
                "age_s": None,
                "reporting": 0,
                "expected": 2,
                "quality": "missing",
            }
        ],
    )

    assert "TTFT p95 prefill — — 0 of 2 missing" in reading(vera, decision.get_absolute_url())


@pytest.mark.django_db
def test_coalesced_holds_tell_how_often_and_from_when_to_when(vera: Client) -> None:
    decision = factories.make_decision(
        factories.make_service(), count=37, last_at=NOW + timedelta(minutes=9)
    )

    page = reading(vera, decision.get_absolute_url())

    assert "held 37 times from 1 Mar 12:00:00 UTC to 1 Mar 12:09:00 UTC" in page


@pytest.mark.django_db
def test_previous_and_next_stay_with_the_service(vera: Client) -> None:
    chat, other = factories.make_service("chat"), factories.make_service("other")
    first = factories.make_decision(chat)
    factories.make_decision(other)
    second = factories.make_decision(chat)

    page = vera.get(first.get_absolute_url()).content.decode()

    assert f'rel="next" href="/decisions/{second.pk}/"' in page
    assert 'rel="prev"' not in page


@pytest.mark.django_db
def test_the_outcome_is_a_line_of_times(vera: Client) -> None:
    proposal = factories.make_proposal(
        factories.make_service(mode="approve"),
        created_at=NOW + timedelta(seconds=2),
        state="rejected",
        decided_at=NOW + timedelta(minutes=3),
        decided_by=person("ana"),
        decided_reason="a load test",
    )

    page = reading(vera, f"/decisions/{proposal.decision_id}/")

    assert "proposed 1 Mar 12:00:02 UTC after 2 s" in page
    assert "rejected 1 Mar 12:03:00 UTC after 2 min 58 s by ana: a load test" in page


@pytest.mark.django_db
def test_each_decision_of_a_proposal_leads_to_it_and_time_runs_forwards(vera: Client) -> None:
    service = factories.make_service(mode="approve")
    asks = {"move": "propose", "gate": "propose", "code": "AWAITING_APPROVAL"}
    counts = {"final_prefill": 3, "final_decode": 6}
    moments = [NOW + timedelta(seconds=15 * k) for k in range(4)]
    made, changed, confirmed, hold = (
        factories.make_decision(service, first_at=at, last_at=at, **fields)
        for at, fields in zip(
            moments, (asks | counts, asks | counts | {"final_decode": 9}, asks | counts, {}),
            strict=True,
        )
    )  # fmt: skip
    ended = {"state": "expired", "closed_at": NOW - timedelta(seconds=30)}
    times = {
        name: NOW - timedelta(seconds=60) for name in ("created_at", "evidence_at", "expires_at")
    }
    factories.make_proposal(service, decision=hold, **ended, **times)
    proposal = factories.make_proposal(service, decision=confirmed, evidence_at=moments[2])
    link = f'href="/approvals/{proposal.pk}/"'

    for row in (made, changed, confirmed):
        assert link in vera.get(row.get_absolute_url()).content.decode()
    assert link not in vera.get(hold.get_absolute_url()).content.decode()
    first, second, last = (
        reading(vera, row.get_absolute_url()) for row in (made, changed, confirmed)
    )
    assert "decided 1 Mar 12:00:00 UTC proposed 1 Mar 12:00:00 UTC after 0 s" in first
    assert "stood when this was decided; as it is now it asks for decode 4 → 6" in second
    assert "proposed 1 Mar 12:00:00 UTC decided 1 Mar 12:00:30 UTC after 30 s" in last
    assert "The proposal made at 1 Mar 12:00:00 UTC was confirmed by this decision." in last


@pytest.mark.django_db
def test_a_row_that_outlived_a_proposal_leads_to_both(vera: Client) -> None:
    service = factories.make_service(mode="approve")
    later = NOW + timedelta(minutes=11)
    ended = {"state": "expired", "evidence_at": NOW + timedelta(minutes=10)}
    old = factories.make_proposal(service, closed_at=NOW + timedelta(minutes=10), **ended)
    assert old.decision is not None
    Decision.objects.filter(pk=old.decision.pk).update(last_at=later, count=45)
    new = factories.make_proposal(
        service, decision=old.decision, created_at=later, evidence_at=later
    )
    page = vera.get(old.decision.get_absolute_url()).content.decode()
    assert f'href="/approvals/{new.pk}/"' in page
    assert f'href="/approvals/{old.pk}/"' in page


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("ticks", "more", "gate", "said"),
    [
        pytest.param((23, 5), 0, "none", "; they move while ticks decide the same.", id="goes on"),
        pytest.param(
            (1, 5), 0, "none", "; they move while ticks decide the same.", id="may go on"
        ),
        pytest.param((23, 5), 1, "none", "", id="another row followed"),
        pytest.param((23, 90), 0, "none", "", id="nobody watched for 90 s"),
        pytest.param((1, 5), 0, "act", "", id="what is carried out stands alone"),
    ],
)
def test_figures_say_of_which_tick_they_are_and_whether_they_move(
    vera: Client, ticks: tuple[int, int], more: int, gate: str, said: str
) -> None:
    (count, age_s), service = ticks, factories.make_service()
    last = timezone.now() - timedelta(seconds=age_s)
    first = last - timedelta(seconds=15 * (count - 1))
    row = factories.make_decision(service, first_at=first, last_at=last, count=count, gate=gate)
    for _ in range(more):
        factories.make_decision(service)
    clocks = [f"{at:%H:%M:%S} UTC" for at in (last, first)]
    alike = f", the last of {count} ticks since {clocks[1]}" if count > 1 else ""
    for page in (row.get_absolute_url(), f"{row.get_absolute_url()}replay/"):
        shown = re.sub(r" ([,;.])", r"\1", reading(vera, page))
        assert (f"Figures of {clocks[0]}{alike}{said or '.'}" in shown) is bool(alike or said)
        assert ("they move" in shown) is bool(said)
    noted = f"the first of {count} ticks alike"
    assert (noted in reading(vera, row.get_absolute_url())) is (count > 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        pytest.param("service=chat", "chat says", "other says", id="service"),
        pytest.param("move=scale_out", "other says", "chat says", id="move"),
        pytest.param("code=ABOVE_TARGET", "other says", "chat says", id="reason"),
        pytest.param("changes=1", "other says", "chat says", id="changes only"),
        pytest.param("service=chat,third", "chat says", "other says", id="several services"),
        pytest.param("cluster=us-1-a", "other says", "chat says", id="cluster"),
        pytest.param("gate=act", "other says", "chat says", id="outcome"),
        pytest.param("mode=observe", "other says", "chat says", id="mode"),
        pytest.param("text=OTHER", "other says", "chat says", id="text"),
        pytest.param("from=2026-03-01T13:00Z", "other says", "chat says", id="from"),
        pytest.param("to=2026-03-01T13:00Z", "chat says", "other says", id="to"),
    ],
)
def test_the_list_keeps_its_filters_in_the_address(
    vera: Client, query: str, shown: str, hidden: str
) -> None:
    factories.make_decision(factories.make_service("chat"), sentence="chat says")
    factories.make_decision(
        factories.make_service("other", mode="observe", cluster=factories.make_cluster("us-1-a")),
        sentence="other says",
        move="scale_out",
        gate="act",
        code="ABOVE_TARGET",
        final_decode=6,
        first_at=NOW + timedelta(hours=2),
        last_at=NOW + timedelta(hours=2),
    )

    page = reading(vera, f"/decisions/?{query}")

    assert shown in page
    assert hidden not in page


@pytest.mark.django_db
def test_three_kinds_of_nothing_are_worded_apart(vera: Client) -> None:
    assert "No decision yet." in reading(vera, "/decisions/")
    factories.make_decision(factories.make_service())
    assert "No decision matches: move scale-in." in reading(vera, "/decisions/?move=scale_in")
    assert "There is nothing older." in reading(vera, "/decisions/?after=1")


@pytest.mark.django_db
def test_pages_follow_each_other_without_a_gap(vera: Client) -> None:
    service = factories.make_service()
    first = factories.make_decision(service)
    Decision.objects.bulk_create(
        Decision(
            **{
                field.attname: getattr(first, field.attname)
                for field in Decision._meta.concrete_fields
                if field.attname not in {"id", "seq", "sentence"}
            },
            seq=i,
            sentence=f"number {i}.",
        )
        for i in range(2, PAGE + 4)
    )

    page = vera.get("/decisions/").content.decode()
    older = page.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")

    seen = [i for i in range(2, PAGE + 4) if f"number {i}." in page]
    rest = vera.get(f"/decisions/{older}").content.decode()
    assert len(seen) == PAGE
    assert [i for i in range(2, PAGE + 4) if f"number {i}." in rest] == [2, 3]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("after=x", "after"),
        ("after=99999999999999999999", "after"),
        ("after=%00", "after"),
        ("service=%00", "service"),
        ("service=%27", "service"),
        ("move=%27", "move"),
        ("move=scale_out&move=sideways", "move"),
        ("gate=open", "gate"),
        ("code=NONE", "code"),
        ("mode=manual", "mode"),
        ("cluster=a%20b", "cluster"),
        ("changes=yes", "changes"),
        ("text=" + 101 * "x", "text"),
        ("from=yesterday", "from"),
        ("to=9999-99-99", "to"),
        ("from=2026-03-02&to=2026-03-01", "to"),
        ("range=3w", "range"),
        ("range=3h&from=2026-03-01", "range"),
        ("tz=Mars", "tz"),
    ],
)
def test_a_bad_value_is_refused_and_its_field_named(vera: Client, query: str, field: str) -> None:
    factories.make_decision(factories.make_service())
    answer = vera.get(f"/decisions/?{query}")
    assert answer.status_code == 400
    assert f"<code>{field}</code>" in answer.content.decode()


@pytest.mark.django_db
def test_each_filter_is_cleared_on_its_own(vera: Client) -> None:
    factories.make_decision(factories.make_service("chat"))
    answer = vera.get("/decisions/?service=chat&service=code&move=hold&range=3h&tz=Asia/Tokyo")
    chips = re.findall(
        r'href="/decisions/(\??[^"]*)" aria-label="Clear ([^"]+)"', answer.content.decode()
    )
    rest = "move=hold&amp;range=3h&amp;tz=Asia%2FTokyo"
    assert chips == [
        (f"?service=code&amp;{rest}", "service chat"),
        (f"?service=chat&amp;{rest}", "service code"),
        ("?service=chat&amp;service=code&amp;range=3h&amp;tz=Asia%2FTokyo", "move hold"),
        ("?service=chat&amp;service=code&amp;move=hold", "the last 3h"),
    ]


@pytest.mark.django_db
def test_a_permalink_shows_the_same_times_for_ever(
    vera: Client, time_machine: time_machine.TimeMachineFixture
) -> None:
    time_machine.move_to(NOW, tick=False)
    factories.make_decision(factories.make_service("chat"))
    permalink = re.compile(r'href="([^"]*)" data-copy')
    relative = vera.get("/decisions/?range=3h&move=hold").content.decode()
    assert permalink.findall(relative) == [
        "?move=hold&amp;from=2026-03-01T09%3A00%3A00Z&amp;to=2026-03-01T12%3A00%3A00Z"
    ]
    endless = vera.get("/decisions/").content.decode()
    assert permalink.findall(endless) == ["?to=2026-03-01T12%3A00%3A00Z"]
    assert 'data-figure="/api/v1/figures/decision-counts?range=3h' not in endless
    assert "move=hold&amp;range=3h" in relative


@pytest.mark.django_db
def test_a_time_without_an_offset_is_in_the_zone_of_the_address(vera: Client) -> None:
    service = factories.make_service("chat")
    factories.make_decision(service, sentence="at noon")
    an_hour = {"last_at": NOW + timedelta(hours=1), "first_at": NOW + timedelta(hours=1)}
    factories.make_decision(service, sentence="an hour later", **an_hour)
    page = reading(vera, "/decisions/?from=2026-03-01T20:30&to=2026-03-01T21:30&tz=Asia/Tokyo")
    assert "at noon" in page
    assert "an hour later" not in page


@pytest.mark.django_db
def test_a_page_stays_where_it_is_while_holds_go_on(vera: Client) -> None:
    services = [factories.make_service(f"s{i:02}") for i in range(PAGE + 3)]
    rows = [factories.make_decision(one, sentence=f"of {one.slug}.") for one in services]
    older = vera.get("/decisions/").content.decode()
    address = older.split('rel="next" href="')[1].split('"')[0]
    Decision.objects.update(last_at=NOW + timedelta(minutes=5), count=21)
    factories.make_decision(services[0], sentence="new.")
    rest = reading(vera, f"/decisions/{address}")
    assert [row.service.slug for row in rows if f"of {row.service.slug}." in rest] == [
        "s00",
        "s01",
        "s02",
    ]
    assert "new." not in rest


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/decisions/",
        "/decisions/?service=a,b&range=7d&text=x",
        "/decisions/{pk}/",
        "/decisions/compare/?a={pk}&b={pk}",
    ],
)
def test_three_rows_cost_as_many_queries_as_one_and_looking_changes_nothing(
    vera: Client, path: str, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    service = factories.make_service("a")
    path = path.format(pk=factories.make_decision(service).pk)
    vera.get(path)
    with CaptureQueriesContext(connection) as one:
        vera.get(path)
    factories.make_decision(service)
    factories.make_decision(factories.make_service("b"))
    before = list(Decision.objects.values())

    with django_assert_num_queries(len(one)):
        vera.get(path)

    assert list(Decision.objects.values()) == before
    assert vera.post(path).status_code == 405


@pytest.mark.django_db
def test_an_unknown_decision_is_not_found(vera: Client) -> None:
    assert vera.get("/decisions/99999999999999999999/").status_code == 404
    assert "Nothing is here" in vera.get("/decisions/9/").content.decode()


def test_every_step_of_the_core_has_its_words() -> None:
    assert set(STEP_WORDS) == set(STEP_NAMES)


WAITS = (
    "The role that is up ahead waits to be registered until the other catches up (0.45 to 0.55 "
    "prefill per decode instance), at the latest until"
)
WAITED = (
    "The role that was up ahead waited to be registered until the other caught up (0.45 to 0.55 "
    "prefill per decode instance)."
)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("left_s", "ended", "said"),
    [
        pytest.param(190, False, WAITS, id="190 s are left"),
        pytest.param(-1, False, WAITED, id="its time is over"),
        pytest.param(190, True, WAITED, id="all of it is ready before"),
    ],
)
def test_who_waits_to_be_registered_is_told_until_when(
    vera: Client, left_s: float, said: str, *, ended: bool
) -> None:
    decision = factories.make_decision(factories.make_service())
    now = timezone.now()
    rule = InStep(0.45, 0.5, 0.55, Instances(1, 1), (now + timedelta(seconds=left_s)).timestamp())
    Action.objects.create(
        id=uuid.uuid4(), service=decision.service, decision=decision, actor="x", epoch=1,
        from_prefill=2, from_decode=4, to_prefill=3, to_decode=6, resource_version="1",
        recorded_at=now, in_step=rule.plain(), ended_at=now if ended else None,
    )  # fmt: skip

    assert said in reading(vera, f"/decisions/{decision.pk}/")


@pytest.mark.django_db
def test_two_decisions_stand_beside_each_other_and_words_say_what_differs(vera: Client) -> None:
    a = factories.make_decision(factories.make_service("chat"))
    b = factories.make_decision(
        factories.make_service("search"), steps=STEPS, code="STEP_LIMITED", final_decode=8
    )
    PolicyRevision.objects.create(service=a.service, revision=1, body={"target": 1000.0})
    PolicyRevision.objects.create(service=b.service, revision=1, body={"target": 900.0})
    page = reading(vera, f"/decisions/compare/?a={a.pk}&b={b.pk}")
    for words in (
        "service chat search differs",
        "cluster eu-1-a eu-1-a same",
        "reason WITHIN_TOLERANCE STEP_LIMITED differs",
        "decode throughput driver".removesuffix(" driver"),
        "largest step — decode 9, prefill 4 → decode 8, prefill 4; STEP_LIMITED;",
        "only b",
        "Target 1,000 per instance 900 per instance differs",
        "Different: 3 of 13 facts, 0 of 1 inputs, 2 of 2 steps, 1 of 1 policy fields.",
    ):
        assert words in page, words
    same = reading(vera, f"/decisions/compare/?a={a.pk}&b={a.pk}")
    assert "Nothing differs between the two." in same


@pytest.mark.django_db
def test_a_comparison_says_what_is_missing(vera: Client) -> None:
    row = factories.make_decision(factories.make_service())
    assert "Name two decisions" in reading(vera, "/decisions/compare/")
    assert "Name two decisions" in reading(vera, f"/decisions/compare/?a={row.pk}")
    gone = vera.get(f"/decisions/compare/?a={row.pk}&b=987654")
    assert gone.status_code == 404
    assert "There is no decision 987654." in gone.content.decode()
    odd = vera.get("/decisions/compare/?a=x")
    assert (odd.status_code, "<code>a</code>" in odd.content.decode()) == (400, True)


@pytest.mark.django_db
def test_a_decision_leads_to_comparisons(vera: Client) -> None:
    service = factories.make_service()
    first, second = factories.make_decision(service), factories.make_decision(service)
    page = vera.get(second.get_absolute_url()).content.decode()
    assert f'href="/decisions/compare/?a={first.pk}&amp;b={second.pk}"' in page
    assert f'name="a" value="{second.pk}"' in page
