"""A decision made again with other values, as the operator reads it."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from controller import history
from controller.core.decide import decide
from controller.core.decision_plain import context_from
from controller.core.outlook import Learnt
from controller.core.surprises import margin
from controller.models import Action, AuditEvent, Decision, Freeze, Override, Proposal
from controller.models.clock import database_now
from controller.selectors import replay, replay_steps
from controller.selectors.replay_outlook import outran_of
from controller.services import demo
from inventory.models import Policy, PolicyRevision, RoleSpec, Service, Slo
from tests import factories
from tests.clusters import Cluster
from tests.loop.test_exchange import NARROW, WIDE, approved, quiet, scheduled
from tests.loop.test_tick import run
from tests.pages.reading import reading, words
from tests.services.people import person
from tests.sources import ArraySource
from tests.tampering import unguarded

SAME = "With nothing changed the replay gives the recorded decision, step by step."


@pytest.fixture
def vera(client: Client) -> Client:
    """A viewer who is signed in."""
    client.force_login(person("vera", "Viewer"))
    return client


def decided(**values: float) -> Decision:
    """Return what the loop decides for an observed service that reports these values."""
    if not Policy.objects.exists():
        factories.make_service("chat", mode="observe")
    run(ArraySource().now_reports("chat", **values))
    newest = Decision.objects.order_by("-seq").first()
    assert newest is not None
    return newest


def address(decision: Decision, query: str = "") -> str:
    """Return the address of a replay."""
    return f"/decisions/{decision.pk}/replay/?{query}"


# What is kept suffices.


@pytest.mark.django_db
def test_the_loops_own_decisions_come_out_again_but_for_what_is_not_kept() -> None:
    demo.create(speed=1.0, trace=None)
    history.produce(lambda _done: None, length=timedelta(minutes=20))

    parted = {}
    for row in Decision.objects.all():
        found = replay.replayable(row.pk, replay.THEN)
        assert found is not None
        both = replay_steps.beside(row, decide(context_from(found.document)))
        if both.first is not None:
            parted[row.pk] = both.first.word

    assert Decision.objects.count() > 20
    assert set(parted.values()) <= {"fleet budget", "service discovery"}


@pytest.mark.django_db
def test_what_was_learnt_comes_out_of_the_forecast(vera: Client) -> None:
    factories.make_service(
        "chat", policy={"hold_s": 1800.0, "margin_frac": None, "adapt": "automatic"}
    )
    RoleSpec.objects.update(profile="qwen3-32b-fp8/h800")
    for tps in (5000.0, 4000.0, 4200.0):
        decision = decided(decode_tps=tps)
        assert SAME in reading(vera, address(decision)), tps


@pytest.mark.parametrize("late_frac", [0.0, 0.005, 0.05])
@pytest.mark.parametrize("frac", [0.0, 0.02, 0.0201, 0.3999, 0.5, 1.0, 2.9])
def test_margins_are_read_back_as_they_were(frac: float, late_frac: float) -> None:
    if late_frac == 0.0 and frac not in {0.0, 0.02, 0.5, 1.0}:
        # Without any that may be late only whole bins are ever learnt.
        frac = 0.4
    learnt = Learnt(outran=outran_of(frac, late_frac))
    assert margin(learnt, late_frac) == pytest.approx(frac, abs=1e-9)


@pytest.mark.django_db
@pytest.mark.parametrize("mode", ["approve", "automatic"])
@pytest.mark.parametrize("tps", [4000.0, 8000.0])
def test_a_replay_names_who_lets_the_service_only_be_observed(
    vera: Client, mode: str, tps: float
) -> None:
    service, now = factories.make_service("chat", mode=mode), database_now()
    Override.objects.create(
        service=service, kind="advisory", values={}, reason="trial", by=person("otto", "Operator"),
        by_name="otto", made_at=now, starts_at=now, ends_at=now + timedelta(hours=1),
    )  # fmt: skip
    decision = decided(decode_tps=tps)

    page = reading(vera, address(decision, "decode_tps=7000"))

    assert SAME in page
    assert "Advisory only, set by otto" in page
    assert "Observing" not in page


# Other values.


@pytest.mark.django_db
def test_another_load_gives_another_decision_and_says_where_they_part(vera: Client) -> None:
    page = reading(vera, address(decided(), "decode_tps=8000"))

    for sentence in (
        "It would have decided otherwise",
        "Changed: decode throughput [tok/s] 4000 → 8000 .",
        "First difference: policy — recorded: decode 4, prefill 2, WITHIN_TOLERANCE",
        "replayed: decode 8, prefill 4, ABOVE_TARGET",
        "decode 4 → 8, prefill 2 → 4",
        SAME,
    ):
        assert sentence in page, sentence


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param("decode_tps=", "METRIC_MISSING", id="not reported is missing, not 0"),
        pytest.param("decode_tps=NaN", "METRIC_INVALID", id="no number is invalid"),
        pytest.param("decode_tps=-5", "METRIC_INVALID", id="nothing reports less than 0"),
        pytest.param("decode_tps=8000&policy_theta_out=2", "WITHIN_TOLERANCE", id="tolerance"),
        pytest.param("policy_target=500", "ADVISORY_ONLY", id="4,000 over 500 is 8 instances"),
        pytest.param("decode_desired=9", "FLAP_PREVENTED", id="nobody watched before the first"),
        pytest.param("ttft_s=&decode_tps=4000", "WITHIN_TOLERANCE", id="a hold reads no TTFT"),
    ],
)
def test_a_value_counts_as_the_loop_would_read_it(vera: Client, query: str, code: str) -> None:
    answer = vera.get(address(decided(), query))
    assert answer.status_code == 200
    assert answer.context["beside"].code == ("WITHIN_TOLERANCE", code)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("query", "said"),
    [
        pytest.param("decode_ready=-1", "give a whole number from 0", id="count below 0"),
        pytest.param("decode_ready=2.5", "give a whole number from 0", id="part of an instance"),
        pytest.param("policy_target=", "this is missing", id="no target"),
        pytest.param("policy_target=many", "give a number", id="target in words"),
        pytest.param("policy_driver=nothing", "nothing", id="no such driver"),
        pytest.param("decode_tps=fast", "give a number", id="signal in words"),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field(vera: Client, query: str, said: str) -> None:
    answer = vera.get(address(decided(), query))
    name = query.partition("=")[0]
    assert answer.status_code == 400
    assert said in " ".join(answer.context["form"].errors[name])
    assert "Nothing was replayed" in words(answer.content.decode())


@pytest.mark.django_db
def test_the_policy_in_force_now_can_take_the_place_of_the_one_of_then(vera: Client) -> None:
    decision = decided()
    then = Policy.objects.get()
    PolicyRevision.objects.create(
        service=then.service, revision=1, body={"driver": "decode_tps", "target": 1000.0}
        | {"name": "proportional", "pd_ratio": 0.5, "hold_s": 0.0, "margin_frac": 0.0},
    )  # fmt: skip
    Policy.objects.update(target=500.0, revision=2)

    page = reading(vera, address(decision))
    assert "With the policy in force now, revision 2" in page
    assert "Policy, revision 1" in page
    page = reading(vera, address(decision, "policy=now"))
    assert "revision 2 in place of 1" in page
    assert "replayed: decode 8, prefill 4" in page


@pytest.mark.django_db
def test_a_revision_that_was_not_kept_is_said(vera: Client) -> None:
    decision = decided()
    Policy.objects.update(target=500.0, revision=7)

    page = reading(vera, address(decision))

    assert "The text of the policy's revision was not kept: the one in force." in page
    assert "With nothing changed the replay gives decode 4 → 8, prefill 2 → 4" in page
    assert "What is not kept of that time makes the difference." in page


@pytest.mark.django_db
def test_what_is_empty_is_told_by_what_it_means(vera: Client) -> None:
    page = reading(
        vera, address(decided(), "decode_tps=&policy_margin_frac=&policy_adapt=propose")
    )
    for words_of_it in ("tok/s] 4000 → not reported", "0 → measured", "→ propose: "):
        assert words_of_it in page, words_of_it


# What else was in force then.


TERMS_UNKEPT = "SLO, limits, hardware, GPUs per instance and priority of that time were not kept"


@pytest.mark.django_db
def test_the_limits_and_slo_of_that_time_count_again(vera: Client) -> None:
    factories.make_service("chat", limits={"maximum": 6}, max_gpus=24)
    decision = decided(decode_tps=8000.0, ttft_s=0.9)
    Slo.objects.update(ttft_s=0.2)
    RoleSpec.objects.update(maximum=40, gpus_per_instance=8)
    Service.objects.update(max_gpus=400, priority=9)

    page = reading(vera, address(decision))

    assert SAME in page
    assert "decode 4 → 6" in page
    assert TERMS_UNKEPT not in page


@pytest.mark.django_db
def test_a_row_that_stands_for_many_keeps_what_was_in_force_at_the_last() -> None:
    first = decided()
    Slo.objects.update(ttft_s=0.7)
    last = decided()
    assert (last.pk, last.count) == (first.pk, 2)
    assert [row.terms["slo"]["ttft_s"] for row in (first, last)] == [1.0, 0.7]


@pytest.mark.django_db
@pytest.mark.parametrize("odd", [{}, [], {"slo": 3}, {"slo": {"ttft_s": 1.0, "tbt_s": "x"}}])
def test_older_rows_are_made_again_under_what_is_in_force_now(vera: Client, odd: object) -> None:
    decision = decided()
    with unguarded():
        Decision.objects.update(terms=odd)
    page = reading(vera, address(decision))
    assert SAME in page
    assert f"{TERMS_UNKEPT}: those of now." in page


@pytest.mark.django_db
def test_the_waiting_half_of_an_exchange_waits_again(vera: Client) -> None:
    scheduled()
    source, cluster = quiet(), Cluster(desired=WIDE)
    approved(source, cluster)
    source.counts, source.versions, source.draining = {"chat": NARROW}, {"chat": "2"}, {"chat": 4}
    run(source)
    waiting = Decision.objects.latest("seq")
    assert waiting.code == "EXCHANGE"
    assert waiting.terms["exchange"]["then"] == {"prefill": 6, "decode": 6}

    assert SAME in reading(vera, address(waiting))
    with unguarded():
        Decision.objects.update(terms={**waiting.terms, "exchange": None})
    assert SAME not in reading(vera, address(waiting))


@pytest.mark.django_db
def test_instances_held_from_service_discovery_can_be_tried(vera: Client) -> None:
    answer = vera.get(address(decided(), "decode_held=3"))
    assert answer.status_code == 200
    assert "Changed: decode held 0 → 3 ." in words(answer.content.decode())


@pytest.mark.django_db
def test_holds_and_rejections_of_that_time_count_again(vera: Client) -> None:
    service = factories.make_service("chat", mode="automatic")
    freeze = Freeze.objects.create(
        service=service, by_name="ana", reason="test", since="2020-01-01T00:00Z"
    )
    frozen = decided(decode_tps=8000.0)
    freeze.ended_at = frozen.last_at + timedelta(seconds=1)
    freeze.save()
    assert frozen.code == "FROZEN"
    assert SAME in reading(vera, address(frozen))

    factories.make_proposal(
        service,
        decision=frozen,
        state="rejected",
        to_decode=10,
        to_prefill=5,
        decided_at=frozen.last_at,
        decided_by=person("bo"),
        decided_reason="no",
    )
    Freeze.objects.all().delete()
    refused = decided(decode_tps=8000.0)
    assert refused.code == "REJECTED"
    assert SAME in reading(vera, address(refused))


@pytest.mark.django_db
def test_a_cooldown_is_counted_from_the_actions_before(vera: Client) -> None:
    service = factories.make_service("chat", mode="automatic", policy={"cooldown_out_s": 600.0})
    decision = decided(decode_tps=8000.0)
    Action.objects.create(
        id=uuid.UUID(int=1),
        service=service,
        actor="policy",
        epoch=1,
        state="ready",
        from_prefill=1,
        from_decode=2,
        to_prefill=2,
        to_decode=4,
        recorded_at=decision.last_at - timedelta(seconds=60),
        applied_at=decision.last_at - timedelta(seconds=50),
        ended_at=decision.last_at - timedelta(seconds=20),
    )

    answer = vera.get(address(decision))

    assert answer.context["beside"].code == (decision.code, "COOLDOWN")
    assert "550 s of the cooldown after a scale-out are left" in words(answer.content.decode())


# The page itself.


@pytest.mark.django_db
def test_the_link_names_the_changes_alone_and_nothing_is_stored(vera: Client) -> None:
    decision = decided()
    kept = [list(model.objects.values()) for model in (Decision, Action, AuditEvent, Proposal)]

    answer = vera.get(address(decision, "decode_tps=8000&decode_ready=4&ratio=1"))

    assert answer.context["permalink"] == "decode_tps=8000"
    assert kept == [
        list(model.objects.values()) for model in (Decision, Action, AuditEvent, Proposal)
    ]
    assert vera.post(address(decision)).status_code == 405
    assert "Replay with other values" in reading(vera, decision.get_absolute_url())


@pytest.mark.django_db
@pytest.mark.parametrize(
    "odd",
    [
        pytest.param({"inputs": ["x", {"name": "nothing"}, {"name": "ttft_s"}]}, id="inputs"),
        pytest.param({"steps": ["x", {}, {"name": "policy", "after": 3}]}, id="steps"),
        pytest.param({"forecast": {"mix": 1, "peaks": {"decode": "x"}}}, id="forecast"),
        pytest.param({"inputs": [], "steps": [], "forecast": []}, id="nothing"),
        pytest.param({"mode": "odd"}, id="mode"),
    ],
)
def test_rows_edited_by_hand_do_not_break_the_page(vera: Client, odd: dict[str, object]) -> None:
    decision = factories.make_decision(factories.make_service("chat"), **odd)
    page = reading(vera, address(decision))
    assert "No sample of that time is kept: all instances are taken as ready." in page
    assert "Free GPUs of that time are not kept" in page


@pytest.mark.django_db
def test_a_service_that_lost_its_configuration_is_said(vera: Client) -> None:
    decision = factories.make_decision(factories.make_service("chat"))
    Slo.objects.all().delete()
    answer = vera.get(address(decision))
    assert answer.status_code == 409
    assert "complete it first" in words(answer.content.decode())


@pytest.mark.django_db
def test_strangers_sign_in_and_unknown_decisions_are_not_found(client: Client) -> None:
    assert client.get("/decisions/1/replay/").status_code == 302
    client.force_login(person("vera", "Viewer"))
    assert client.get("/decisions/1/replay/").status_code == 404


@pytest.mark.django_db
def test_a_longer_history_costs_no_further_query(vera: Client) -> None:
    costs = []
    for load in (4000.0, 6000.0, 9000.0):
        decision = decided(decode_tps=load)
        vera.get(address(decision))
        with CaptureQueriesContext(connection) as queries:
            vera.get(address(decision))
        costs.append(len(queries))
    assert costs[0] == costs[1] == costs[2] <= 30
