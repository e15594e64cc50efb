"""What a load teaches when it stops, when it can be read in part, and when figures contradict."""

from dataclasses import replace

import pytest

from controller.core.decide import decide
from controller.core.learning import learn
from controller.core.measuring import DOUBT_S, STEADY_S
from controller.core.outlook import Outlook
from controller.core.reasons import Code
from controller.core.surprises import foreseen
from controller.core.trust import contradicted_rps, scale_in_bar
from controller.core.types import Adapt, Context, History, Instances, Quality, RoleState, Signals
from tests.core.build import NOW_S, context, graded, healthy, policy, valued
from tests.core.test_engine import ENGINE

CURRENT = Instances(8, 5)
ADAPTIVE = replace(policy(adapt=Adapt.AUTOMATIC, margin_frac=0.0), engine=ENGINE)


def rates(rps: float, answered_rps: float | None = None) -> Signals:
    """Return requests of 1,000 tokens in, half of them cached, and 200 out."""
    made = rps if answered_rps is None else answered_rps
    return valued(
        healthy(200.0 * made, CURRENT),
        request_rps=rps,
        prefill_tps=1000.0 * rps,
        prefill_tps_uncached=500.0 * rps,
        decode_tps=200.0 * made,
    )


def first() -> Context:
    """Return a service that has been at 60 requests/s for long."""
    return after(context(CURRENT, 0.0, spec=ADAPTIVE, signals=rates(60.0)), rates(60.0), 40)


def after(ctx: Context, signals: Signals, ticks: int) -> Context:
    """Return the context after so many looks at the same signals."""
    for _ in range(ticks):
        now_s = ctx.now_s + 15.0
        seen = {name: replace(one, measured_at_s=now_s) for name, one in signals.items()}
        ctx = replace(ctx, now_s=now_s, signals=seen)
        ctx = replace(ctx, history=replace(ctx.history, outlook=learn(ctx)[0]))
    return ctx


def needs(ctx: Context) -> tuple[float, float]:
    prefill, decode = learn(ctx)[1].needs
    assert prefill is not None
    assert decode is not None
    return prefill, decode


@pytest.mark.parametrize("ticks", [1, 4, 12])
def test_answers_that_outlast_the_requests_are_no_longer_answers(ticks: int) -> None:
    """60 req/s end and 1 in 20 s comes; a minute on 12,000 tok/s would be 240,000 a request."""
    usual = needs(first())
    fallen = after(first(), rates(0.05, answered_rps=60.0), ticks)
    assert fallen.history.outlook.output_tokens == pytest.approx(200.0)
    gone = after(fallen, rates(0.05), 20)
    assert gone.history.outlook.output_tokens == pytest.approx(200.0, rel=0.01)
    back = after(gone, rates(60.0), 1)
    assert needs(back) == (pytest.approx(usual[0], rel=0.05), pytest.approx(usual[1], rel=0.05))


def test_fewer_requests_teach_less_of_what_a_request_takes() -> None:
    """60 req/s of 200 tokens, then 40 of 400: 200 + 0.118 · 0.694 · 200 = 216.3.

    A tick weighs 1 - exp(-15 / 120) = 0.118, and of that 40 over the smoothed 57.6.
    """
    ctx = first()
    after_one = after(ctx, rates(40.0, answered_rps=80.0), 1)
    assert after_one.history.outlook.output_tokens == pytest.approx(216.3, abs=0.1)


def test_requests_that_the_tokens_contradict_hold_and_say_so_m15() -> None:
    ctx = after(first(), rates(6.0, answered_rps=60.0), 1)
    assert contradicted_rps(ctx) == 6.0
    idle = replace(ctx, state=context(Instances(80, 50), 0.0).state)
    found = decide(idle)
    assert (found.final, found.code) == (Instances(80, 50), Code.METRIC_INVALID)
    assert "requests fell to 6 req/s and throughput did not" in found.sentence


def test_what_is_contradicted_for_long_is_believed_in_the_end() -> None:
    """29 of 60 req/s with answers of 414 tokens: 900 s · ln(60 / 58) = 31 s, then it is learnt."""
    ctx = after(first(), rates(29.0, answered_rps=60.0), 2)
    assert contradicted_rps(ctx) is not None
    assert DOUBT_S == 900.0
    ctx = after(ctx, rates(29.0, answered_rps=60.0), 60)
    assert contradicted_rps(ctx) is None
    assert ctx.history.outlook.output_tokens == pytest.approx(200.0 * 60.0 / 29.0, rel=0.02)


@pytest.mark.parametrize("quality", [q for q in Quality if q is not Quality.OK])
@pytest.mark.parametrize("adapt", [Adapt.AUTOMATIC, Adapt.OFF])
def test_prompts_that_cannot_be_read_whole_stay_as_long_as_they_were_s6(
    adapt: Adapt, quality: Quality
) -> None:
    """Half of 1,000 tokens are cached: read as 500, decode would look faster than it is."""
    ctx = first()
    spec = replace(ctx.spec, policy=replace(ctx.spec.policy, adapt=adapt))
    lost = graded(rates(60.0), "prefill_tps", quality)
    ctx = after(replace(ctx, spec=spec), lost, 20)
    assert ctx.history.outlook.input_tokens == pytest.approx(1000.0)
    idle = replace(ctx, state=context(Instances(80, 50), 0.0).state)
    assert decide(idle).final == Instances(80, 50)


def test_a_source_that_never_tells_of_cached_tokens_may_shrink_all_the_same_l8() -> None:
    lost = graded(rates(60.0), "prefill_tps", Quality.MISSING)
    ctx = after(context(Instances(80, 50), 0.0, spec=ADAPTIVE, signals=lost), lost, 20)
    assert ctx.history.outlook.input_tokens == pytest.approx(500.0)
    assert decide(ctx).raw.prefill < 80
    assert scale_in_bar(ctx) is None


@pytest.mark.parametrize("name", ["request_rps", "prefill_tps_uncached", "decode_tps"])
def test_what_is_read_in_part_teaches_nothing_and_asks_for_no_more(name: str) -> None:
    ctx = first()
    part = after(ctx, graded(rates(60.0), name, Quality.PARTIAL), 20)
    for of in ("input_tokens", "uncached_tokens", "output_tokens", "ratio"):
        assert getattr(part.history.outlook, of) == getattr(ctx.history.outlook, of)
    whole, half = needs(ctx), needs(part)
    assert half[0] <= whole[0] + 1e-9
    assert half[1] <= whole[1] + 1e-9
    assert learn(part)[1].measured == (None, None)


@pytest.mark.parametrize(
    ("wait_s", "speed"),
    [
        pytest.param(15.0, 1.0, id="15 s after two came"),
        pytest.param(STEADY_S - 15.0, 1.0, id="not all of the last minute"),
        pytest.param(STEADY_S, 0.7, id="a minute and a tick: 1 - 0.4 · 0.77"),
    ],
)
def test_speed_is_learnt_only_of_instances_that_were_there_all_the_while(
    wait_s: float, speed: float
) -> None:
    """12,000 tok/s with a queue are 0.23 of what fourteen instances of 3,750 tok/s could do."""
    ctx = first()
    state = replace(ctx.state, decode=RoleState(14, 14))
    past = ctx.history.outlook
    grown = replace(past.decode, wished=14, ready=14, changed_s=ctx.now_s - wait_s)
    outlook = replace(past, at_s=ctx.now_s - 15.0, decode=grown, decode_waiting=500.0)
    queued = valued(rates(60.0), decode_waiting=500.0)
    ctx = replace(ctx, state=state, signals=queued, history=History(outlook=outlook))
    assert learn(ctx)[0].decode.speed == pytest.approx(speed, abs=0.05)


def test_the_ratio_in_force_never_leaves_the_band() -> None:
    """At 1.0 the operator raises 1.0 to 96 with a band of 8: 96 / 8 = 12 at once, not 1.025."""
    ctx = first()
    config = replace(ctx.spec.policy, pd_ratio=96.0)
    past = replace(ctx.history.outlook, ratio=1.0)
    ctx = replace(ctx, spec=replace(ctx.spec, policy=config), history=History(outlook=past))
    assert learn(ctx)[1].ratio == pytest.approx(12.0)


def test_starts_that_take_less_make_what_was_noted_for_later_out_of_date() -> None:
    """Noted for 600 s from now, then starts take 60 s: only what is due by then is kept."""
    outlook = Outlook()
    for minute in range(5):
        outlook = foreseen(outlook, (1.0, 2.0), NOW_S + 60.0 * minute + 600.0)
    outlook = foreseen(outlook, (1.0, 3.0), NOW_S + 300.0 + 60.0)
    assert [entry.due_s - NOW_S for entry in outlook.foreseen] == [360.0]
