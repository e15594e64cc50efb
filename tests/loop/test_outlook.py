"""What is learnt of a service is in its row: a restart forgets nothing, a bad row stops nobody."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from math import inf

import pytest

from controller import history
from controller.core import cycle
from controller.core import types as core
from controller.core.memory import Memory
from controller.core.outlook import NOTHING_LEARNT, Outlook
from controller.core.reasons import Code
from controller.models import Decision, ServiceStatus, SimulatedFleet
from controller.models.clock import database_now
from controller.selectors import memory
from controller.services import demo
from controller.services.ledger import Ledger
from controller.services.rows import forecast_of
from inventory.models import RoleSpec
from tests.factories import make_service
from tests.loop.test_tick import run
from tests.sources import HEALTHY, ArraySource

PROFILE = "qwen3-32b-fp8/h800"
BUSY = {**HEALTHY, "prefill_waiting": 12.0, "decode_tps": 4321.7}


def learnt() -> Mapping[str, Outlook]:
    """Return what the rows say is learnt, by service."""
    read = memory.read(database_now(), keep_s=3600.0)
    return {slug: known.history.outlook for slug, known in read.by_service.items()}


@pytest.fixture
def decided(monkeypatch: pytest.MonkeyPatch) -> list[core.Decision]:
    """Every decision as it was made, before it became a row."""
    made: list[core.Decision] = []
    decide: Callable[[core.Context], core.Decision] = cycle.decide

    def noting(ctx: core.Context) -> core.Decision:
        made.append(decide(ctx))
        return made[-1]

    monkeypatch.setattr(cycle, "decide", noting)
    return made


@pytest.mark.django_db
def test_the_rows_hold_what_was_learnt_to_the_last_digit_s23(
    decided: list[core.Decision],
) -> None:
    make_service("chat", policy={"hold_s": 1800.0, "margin_frac": None})
    RoleSpec.objects.update(profile=PROFILE)
    for tps in (4000.0, 4100.1, 3900.3, 4321.7):
        run(ArraySource().now_reports("chat", decode_tps=tps))
        assert learnt() == {"chat": decided[-1].outlook}
    assert decided[-1].outlook.ratio is not None, "the engines' speeds are known"


@pytest.mark.django_db
def test_a_look_that_teaches_nothing_forgets_nothing(decided: list[core.Decision]) -> None:
    service = make_service("chat")
    run(ArraySource())
    known = decided[-1].outlook
    assert known != NOTHING_LEARNT

    run(ArraySource(silent=frozenset({"chat"})))
    assert learnt() == {"chat": known}, "the cluster did not answer"

    service.policy.schedule = ["no window"]
    service.policy.save()
    run(ArraySource())
    assert learnt() == {"chat": known}, "the policy can't be read"

    service.policy.schedule, service.policy.target = [], -1.0
    service.policy.save()
    run(ArraySource())
    assert learnt() == {"chat": known}, "the policy can't be used"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "edited",
    [
        pytest.param([1, 2, 3], id="a list"),
        pytest.param({"rps": "many"}, id="words for a number"),
        pytest.param({"peaks": [[0, -1, 2]]}, id="a negative peak"),
    ],
)
def test_a_row_edited_by_hand_stops_nobody_s24(edited: object) -> None:
    make_service("chat")
    make_service("code")
    run(ArraySource())
    ServiceStatus.objects.filter(service__slug="chat").update(outlook=edited)
    assert learnt()["chat"] == NOTHING_LEARNT

    run(ArraySource())

    assert set(Decision.objects.values_list("service__slug", "move")) == {
        ("chat", "hold"),
        ("code", "hold"),
    }
    assert learnt()["chat"].at_s > 0


@pytest.mark.django_db
def test_equal_holds_keep_the_forecast_of_the_newest(decided: list[core.Decision]) -> None:
    make_service("chat")
    RoleSpec.objects.update(profile=PROFILE)
    run(ArraySource(values={"chat": {**HEALTHY, "prefill_waiting": 0.0}}))
    run(ArraySource(values={"chat": {**HEALTHY, "request_rps": 18.5}}))

    row, newest = Decision.objects.get(), decided[-1].forecast

    assert row.count == 2
    assert newest is not None
    assert newest.mix is not None
    assert row.forecast["rps"] == newest.rps == 18.5
    assert row.forecast["lead_s"] == newest.lead_s
    assert row.forecast["mix"]["output_tokens"] == newest.mix.output_tokens
    for name in ("needs", "peaks", "margins", "measured"):
        prefill, decode = getattr(newest, name)
        assert row.forecast[name] == {"prefill": prefill, "decode": decode}, name


@pytest.mark.django_db
def test_a_decision_without_a_forecast_holds_null_in_its_row() -> None:
    make_service("chat")
    run(ArraySource(silent=frozenset({"chat"})))
    assert Decision.objects.filter(forecast__isnull=True).count() == 1


@pytest.mark.django_db
def test_an_infinite_figure_of_a_forecast_is_none_in_its_row(
    decided: list[core.Decision],
) -> None:
    """JSON has no infinity, and PostgreSQL refuses the word."""
    make_service("chat")
    run(ArraySource())
    odd = core.Forecast(120.0, (inf, 4.0), (2.0, 4.0), (0.0, 0.0), ratio=inf)
    kept = forecast_of(replace(decided[-1], forecast=odd))
    assert kept is not None
    assert (kept["needs"], kept["ratio"]) == ({"prefill": None, "decode": 4.0}, None)


@pytest.mark.django_db
def test_a_composition_keeps_what_each_policy_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    make_service("chat")
    decide: Callable[[core.Context], core.Decision] = cycle.decide
    asked = core.Recommendation(
        core.Instances(3, 6),
        core.Reason(Code.LATENCY_HIGH, "TTFT p95 is 1.4 of its goal"),
        "ttft_s",
        1.4,
        policy="latency",
    )
    monkeypatch.setattr(cycle, "decide", lambda ctx: replace(decide(ctx), parts=(asked,)))
    kept = {"policy": "latency", "prefill": 3, "decode": 6, "code": "LATENCY_HIGH"}
    run(ArraySource())
    assert Decision.objects.get().parts == [kept | {"text": "TTFT p95 is 1.4 of its goal"}]

    calmer = replace(asked, reason=core.Reason(Code.LATENCY_HIGH, "TTFT p95 is 1.2 of its goal"))
    monkeypatch.setattr(cycle, "decide", lambda ctx: replace(decide(ctx), parts=(calmer,)))
    run(ArraySource())
    row = Decision.objects.get()
    assert (row.count, row.parts) == (2, [kept | {"text": "TTFT p95 is 1.2 of its goal"}])


@pytest.mark.django_db
def test_the_live_loop_goes_on_with_what_the_produced_history_learnt_s23(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    demo.create(speed=1.0, trace=None)
    kept: dict[str, Memory] = {}
    write = Ledger.write_statuses

    def noting(self: Ledger, entries: object, known: Mapping[str, Memory], now: object) -> None:
        kept.update(known)
        write(self, entries, known, now)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "write_statuses", noting)
    history.produce(lambda _done: None, length=timedelta(minutes=20))

    assert SimulatedFleet.objects.get().history == SimulatedFleet.History.DONE
    assert learnt() == {slug: known.history.outlook for slug, known in kept.items()}
    assert learnt()["chat"].ratio is not None, "it names its engines"
