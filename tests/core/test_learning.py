"""What ticks teach: start-up times, peaks, surprises, the mix, speeds, and the ratio that fits."""

from dataclasses import replace

import pytest

from controller.core import starts
from controller.core.decide import decide
from controller.core.learning import learn
from controller.core.outlook import OUTRAN, Foreseen, Learnt, Outlook, Peak, Started
from controller.core.reasons import Code
from controller.core.surprises import PRIOR, foreseen, margin, peaked, surprised
from controller.core.types import (
    Adapt,
    Context,
    History,
    Instances,
    Mode,
    Quality,
    RoleState,
    ServiceSpec,
    Wish,
)
from tests.core.build import NOW_S, context, graded, healthy, policy, valued
from tests.core.test_engine import ENGINE

EIGHT = Instances(8, 5)
ADAPTIVE: ServiceSpec = replace(
    policy(adapt=Adapt.AUTOMATIC, hold_s=3600.0, margin_frac=0.0, drain_s=120.0, pd_ratio=1.0),
    engine=ENGINE,
)


LIMIT_S = 300.0

# start-up times


def role(ready: int, starting: int, held: int = 0) -> RoleState:
    return RoleState(ready + starting + held, ready, starting, held=held)


def test_a_start_up_is_timed_from_the_first_sight_to_readiness() -> None:
    learnt = starts.counted(Learnt(), role(4, 0), 0.0, LIMIT_S)
    for at_s, ready, starting in ((15.0, 4, 2), (60.0, 4, 2), (75.0, 5, 1), (105.0, 6, 0)):
        learnt = starts.counted(learnt, role(ready, starting), at_s, LIMIT_S)
    assert learnt.took_s == (60.0, 90.0)
    assert learnt.waits == ()


def test_a_start_is_over_when_the_instance_is_up_though_it_waits_to_be_registered() -> None:
    learnt = starts.counted(Learnt(wished=4, ready=4), role(4, 2), 15.0, LIMIT_S)
    learnt = starts.counted(learnt, role(4, 1, held=1), 75.0, LIMIT_S)
    assert (learnt.took_s, learnt.waits) == ((60.0,), (Started(15.0, 1),))
    assert starts.counted(learnt, role(5, 1), 90.0, LIMIT_S) == learnt


def test_a_start_that_fails_is_forgotten() -> None:
    learnt = starts.counted(Learnt(wished=4, ready=4), role(4, 1), 15.0, LIMIT_S)
    assert learnt.waits == (Started(15.0, 1),)
    assert starts.counted(learnt, role(4, 0), 30.0, LIMIT_S) == Learnt(wished=4, ready=4)


def test_of_starts_taken_back_the_newest_are_forgotten() -> None:
    """Two start, the second 60 s later; one is taken back and the other takes 90 s."""
    learnt = Learnt(wished=4, ready=4)
    steps = ((15.0, 4, 1), (75.0, 4, 2), (90.0, 4, 1), (105.0, 5, 0), (120.0, 5, 1), (165.0, 6, 0))
    for at_s, ready, starting in steps:
        learnt = starts.counted(learnt, role(ready, starting), at_s, LIMIT_S)
    assert (learnt.took_s, learnt.waits) == ((90.0, 45.0), ())


def test_an_instance_that_starts_anew_is_timed() -> None:
    learnt = starts.counted(Learnt(wished=4, ready=4), role(3, 1), 15.0, LIMIT_S)
    assert learnt.waits == (Started(15.0, 1),)
    assert starts.counted(learnt, role(4, 0), 75.0, LIMIT_S).took_s == (60.0,)


def test_serving_instances_that_go_take_no_start_with_them() -> None:
    learnt = starts.counted(Learnt(wished=4, ready=4), role(4, 2), 15.0, LIMIT_S)
    assert starts.counted(learnt, role(3, 2), 30.0, LIMIT_S).waits == (Started(15.0, 2),)


@pytest.mark.parametrize(
    ("limit_s", "took_s"),
    [
        pytest.param(300.0, 300.0, id="3600 s count as the limit of 300"),
        pytest.param(4000.0, 3600.0, id="3600 s are within 4000"),
    ],
)
def test_a_wait_for_a_node_counts_as_a_start_up_up_to_the_limit(
    limit_s: float, took_s: float
) -> None:
    learnt = starts.counted(Learnt(wished=4, ready=4), role(4, 1), 0.0, limit_s)
    assert starts.counted(learnt, role(5, 0), 3600.0, limit_s).took_s == (took_s,)


def test_slow_starts_are_learnt_step_by_step() -> None:
    """Each start takes 1,000 s: limits of 300, 600 and 1,200 s, twice what was learnt before."""
    learnt, known_s = Learnt(wished=4, ready=4), starts.START_S
    for up, at_s in ((4, 0.0), (5, 2000.0), (6, 4000.0)):
        limit_s = starts.limit_s(known_s)
        learnt = starts.counted(learnt, role(up, 1), at_s, limit_s)
        learnt = starts.counted(learnt, role(up + 1, 0), at_s + 1000.0, limit_s)
        known_s = starts.slow_s(learnt) or 0.0
    assert learnt.took_s == (300.0, 600.0, 1000.0)


def test_the_slower_role_leads_and_a_new_service_assumes() -> None:
    ctx = context(EIGHT, 5000.0, spec=ADAPTIVE)
    assert starts.lead_s(ctx, Outlook()) == starts.START_S
    times = tuple(float(s) for s in range(1, 21))
    known = Outlook(prefill=Learnt(took_s=times), decode=Learnt(took_s=(7.0,)))
    # Of 1 to 20 s nine tenths are below 19.
    assert starts.lead_s(ctx, known) == 19.0
    given = replace(ADAPTIVE, policy=replace(ADAPTIVE.policy, lead_s=5.0))
    assert starts.lead_s(replace(ctx, spec=given), known) == 5.0


@pytest.mark.parametrize(
    ("own", "lead_s"),
    [
        pytest.param(Outlook(), 240.0, id="nothing seen: the slower of H800 90 s and H20 240 s"),
        pytest.param(Outlook(decode=Learnt(took_s=(40.0,))), 90.0, id="its 40 s, H800 90 s"),
        pytest.param(
            Outlook(prefill=Learnt(took_s=(10.0,)), decode=Learnt(took_s=(40.0,))),
            40.0,
            id="its own, 10 s and 40 s",
        ),
    ],
)
def test_what_starts_take_others_on_the_hardware_counts_until_its_own_are_seen(
    own: Outlook, lead_s: float
) -> None:
    seen = [
        ("H800", Learnt(took_s=(90.0,) * 3)),
        ("H20", Learnt(took_s=(200.0,) * 8)),
        ("H20", Learnt(took_s=(240.0,) * 2)),
        ("L40S", Learnt()),
    ]
    usual = starts.usual(seen)
    # Nine tenths of ten starts on H20: eight of 200 s and the first of 240 s.
    assert usual == {"H800": 90.0, "H20": 240.0}
    ctx = replace(context(EIGHT, 5000.0, spec=ADAPTIVE), usual_start_s=usual)
    assert starts.lead_s(ctx, own) == lead_s


# peaks and surprises


def test_the_highest_of_the_hold_counts_and_older_ones_go() -> None:
    outlook, top = peaked(Outlook(), (2.0, 5.0), 0.0, 3600.0)
    outlook, top = peaked(outlook, (3.0, 4.0), 1000.0, 3600.0)
    assert top == (3.0, 5.0)
    assert peaked(outlook, (1.0, 1.0), 4000.0, 3600.0)[1] == (3.0, 4.0)
    assert peaked(outlook, (1.0, 1.0), 1015.0, 0.0) == (replace(outlook, peaks=()), (1.0, 1.0))


def test_unknown_needs_leave_the_peaks_that_are_known() -> None:
    outlook, _ = peaked(Outlook(), (2.0, 5.0), 0.0, 3600.0)
    assert peaked(outlook, (None, None), 15.0, 3600.0) == (outlook, (2.0, 5.0))


def test_what_was_foreseen_is_judged_when_it_is_due() -> None:
    outlook = foreseen(Outlook(), (10.0, 4.0), 100.0)
    assert outlook.foreseen == (Foreseen(100.0, 10.0, 4.0),)
    assert foreseen(outlook, (10.0, 4.0), 115.0) is outlook
    assert surprised(outlook, (12.0, 4.0), 99.0) is outlook
    judged = surprised(outlook, (12.0, 4.0), 100.0)
    # Prefill outran its outlook by 12 / 10 = 1.2, decode by nothing.
    more = [now - before for now, before in zip(judged.prefill.outran, PRIOR, strict=True)]
    assert OUTRAN[max(range(len(more)), key=more.__getitem__)] == 1.2
    assert judged.decode.outran[0] > PRIOR[0]


@pytest.mark.parametrize(
    ("counts", "late", "expected"),
    [
        pytest.param((100.0, *[0.0] * 16), 0.01, 0.0, id="never outrun: no margin"),
        pytest.param((90.0, 0.0, 0.0, 10.0, *[0.0] * 13), 0.05, 0.065, id="half of 1.05 to 1.08"),
        pytest.param((*[0.0] * 16, 100.0), 0.01, 2.99, id="always thrice: 4 - 1 % of 3 to 4 - 1"),
    ],
)
def test_the_margin_is_a_quantile(counts: tuple[float, ...], late: float, expected: float) -> None:
    assert margin(Learnt(outran=counts), late) == pytest.approx(expected, abs=1e-9)


# the mix and what it needs


def loaded(rps: float, current: Instances = EIGHT, **values: float) -> Context:
    """Return requests of 1,000 computed tokens in and 200 out, all seen and nobody waiting."""
    signals = valued(
        healthy(200.0 * rps, current),
        request_rps=rps,
        prefill_tps=1000.0 * rps,
        prefill_tps_uncached=1000.0 * rps,
        **values,
    )
    seen = tuple(Wish(NOW_S - age, Instances(0, 0)) for age in range(300, 0, -15))
    return context(current, 0.0, spec=ADAPTIVE, signals=signals, history=History(wishes=seen))


def test_each_role_stands_at_its_own_need() -> None:
    # 60 req/s are 6 busy prefills; 12,000 tok/s at about 3,750 an instance are 3.2.
    found = decide(loaded(60.0))
    assert found.forecast is not None
    assert found.forecast.needs == (pytest.approx(6.5, rel=0.1), pytest.approx(3.4, rel=0.1))
    assert found.raw == Instances(7, 4)
    assert found.forecast.ratio == pytest.approx(6.5 / 3.4, rel=0.15)


def test_adopted_figures_provide_for_what_the_measured_needs_ask_and_no_margin_twice() -> None:
    ctx = loaded(60.0)
    config = replace(ctx.spec.policy, adapt=Adapt.PROPOSE, margin_frac=0.4)
    ctx = replace(ctx, spec=replace(ctx.spec, policy=config))
    found = learn(ctx)[1]
    assert found.ratio is not None
    assert found.target is not None
    adopted = replace(config, pd_ratio=found.ratio, target=found.target)
    needs = learn(replace(ctx, spec=replace(ctx.spec, policy=adopted)))[1].needs
    # The policy adds its 40 % to these itself.
    assert needs == (pytest.approx(found.measured[0]), pytest.approx(found.measured[1]))


def test_the_ratio_in_force_follows_slowly_within_its_band() -> None:
    ctx = loaded(60.0)
    past = replace(ctx.history.outlook, at_s=NOW_S - 15.0, ratio=1.0)
    slow = learn(replace(ctx, history=replace(ctx.history, outlook=past)))[1]
    # 10 % a minute are 2.5 % in 15 s.
    assert slow.ratio == pytest.approx(1.025)
    narrow = replace(ADAPTIVE, policy=replace(ADAPTIVE.policy, ratio_band=1.5))
    assert learn(replace(ctx, spec=narrow))[1].ratio == pytest.approx(1.5)


def test_a_queue_asks_for_what_drains_it_in_time() -> None:
    # 1,217 prompts wait, 17 of them as usual: 1,200 · 0.1 s in 120 s are one more prefill.
    outlook = Outlook(at_s=NOW_S - 15.0, waiting=1217.0)
    ctx = loaded(60.0, Instances(6, 5), prefill_waiting=1217.0)
    forecast = learn(replace(ctx, history=replace(ctx.history, outlook=outlook)))[1]
    assert forecast.backlog[0] == pytest.approx(1.0, rel=0.01)


def test_saturated_instances_show_what_they_can_do() -> None:
    """Four decode instances with a queue make 7,600 tok/s, half of what their figures say."""
    ctx = loaded(38.0, Instances(8, 4), decode_waiting=500.0)
    for _ in range(20):
        outlook, forecast = learn(ctx)
        outlook = replace(outlook, decode_waiting=500.0)
        ctx = replace(
            ctx,
            now_s=ctx.now_s + 15.0,
            history=replace(ctx.history, outlook=outlook),
            signals={k: replace(s, measured_at_s=ctx.now_s) for k, s in ctx.signals.items()},
        )
    assert outlook.decode.speed == pytest.approx(0.5, abs=0.1)
    assert forecast.needs[1] == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize("name", ["prefill_tps_uncached", "decode_tps"])
def test_without_throughput_of_a_role_the_pair_stays(name: str) -> None:
    ctx = loaded(600.0)
    found = decide(replace(ctx, signals=graded(ctx.signals, name, Quality.STALE)))
    assert (found.final, found.code) == (EIGHT, Code.METRIC_STALE)


def test_without_the_request_rate_nothing_shrinks() -> None:
    ctx = loaded(1.0, Instances(20, 20))
    assert decide(ctx).final.prefill < 20
    found = decide(replace(ctx, signals=graded(ctx.signals, "request_rps", Quality.MISSING)))
    assert found.final == Instances(20, 20)


def test_nobody_has_asked_yet_is_idleness_and_not_ignorance_l8() -> None:
    ctx = loaded(0.0, Instances(4, 4))
    assert decide(ctx).raw == Instances(1, 1)


def test_a_peak_outlasts_the_load_that_made_it() -> None:
    peak = Outlook(at_s=NOW_S - 15.0, peaks=(Peak(NOW_S - 1000.0, 7.0, 4.0),))
    ctx = loaded(1.0, Instances(8, 5))
    held = decide(replace(ctx, history=replace(ctx.history, outlook=peak)))
    assert held.raw == Instances(7, 4)


@pytest.mark.parametrize("adapt", list(Adapt))
def test_a_way_to_adapt_given_as_text_decides_as_the_value_does(adapt: Adapt) -> None:
    """A row or a document holds text, and it passes the check of the configuration."""
    signals = valued(healthy(20_000.0, EIGHT), request_rps=60.0, prefill_tps_uncached=50_000.0)
    ctx = context(EIGHT, 0.0, spec=replace(ADAPTIVE, mode=Mode.APPROVE), signals=signals)

    def under(given: object) -> Context:
        config = replace(ctx.spec.policy, adapt=given)  # type: ignore[arg-type]
        return replace(ctx, spec=replace(ctx.spec, policy=config))

    typed = decide(under(adapt))
    assert typed.forecast is not None
    assert typed.forecast.ratio is not None
    assert decide(under(adapt.value)) == typed


def test_the_text_automatic_stands_for_measured_needs() -> None:
    """By the driver, decode follows its 20,000 tok/s; by its engine it needs far fewer."""
    signals = valued(healthy(20_000.0, EIGHT), request_rps=60.0, prefill_tps_uncached=50_000.0)
    ctx = context(EIGHT, 0.0, spec=ADAPTIVE, signals=signals)
    raw = {}
    for text in ("off", "automatic"):
        config = replace(ctx.spec.policy, adapt=text)  # type: ignore[arg-type]
        raw[text] = decide(replace(ctx, spec=replace(ctx.spec, policy=config))).raw
    assert raw["off"] != raw["automatic"]


@pytest.mark.parametrize(
    ("away_s", "ratio"),
    [
        pytest.param(15.0, 1.025, id="15 s: 10 % a minute are 2.5 %"),
        pytest.param(60.0, 1.1, id="60 s: 10 %"),
        pytest.param(3600.0, 1.1, id="an hour unseen teaches no more than a minute"),
        pytest.param(-30.0, 1.0, id="a clock put back teaches nothing"),
    ],
)
def test_a_long_gap_moves_the_ratio_no_further_than_a_minute(away_s: float, ratio: float) -> None:
    signals = valued(healthy(20_000.0, EIGHT), request_rps=60.0, prefill_tps_uncached=100_000.0)
    past = Outlook(
        at_s=NOW_S - away_s,
        rps=60.0,
        input_tokens=1700.0,
        uncached_tokens=1667.0,
        output_tokens=333.0,
        ratio=1.0,
    )
    ctx = context(EIGHT, 0.0, spec=ADAPTIVE, signals=signals, history=History(outlook=past))
    found, _ = learn(ctx)
    assert found.ratio == pytest.approx(ratio)


def test_below_one_instance_nothing_is_short() -> None:
    """0.9 needed where 0.1 was foreseen: one instance is there anyhow, so it counts as in time."""
    past = Outlook(foreseen=(Foreseen(100.0, 0.1, 0.1),))
    found = surprised(past, (0.9, 2.0), 100.0)
    assert found.prefill.outran[0] > PRIOR[0]
    assert found.decode.outran[OUTRAN.index(2.0)] > PRIOR[OUTRAN.index(2.0)]


def test_within_one_stretch_each_role_keeps_its_highest_need_until_the_stretch_is_past() -> None:
    """A stretch of 300 s that began at 0 s matters to a hold of 3,600 s until 3,900 s."""
    outlook, _ = peaked(Outlook(), (2.0, 5.0), 0.0, 3600.0)
    outlook, _ = peaked(outlook, (1.0, 6.0), 100.0, 3600.0)
    assert outlook.peaks == (Peak(0.0, 2.0, 6.0),)
    assert peaked(outlook, (1.0, 1.0), 3899.0, 3600.0)[1] == (2.0, 6.0)
    assert peaked(outlook, (1.0, 1.0), 3900.0, 3600.0)[1] == (1.0, 1.0)


def test_what_is_judged_later_is_what_was_provided_for_with_its_forecast() -> None:
    """3.2 decode needed at a peak of 3.5; 1 more in 135 s by its trend, 4.2, is what to judge."""
    ctx = loaded(60.0)
    minutes = tuple(Peak(NOW_S - 60.0 * k, 6.0, 3.2 - k * 60.0 / 135.0) for k in range(7, 0, -1))
    trusted = Learnt(judged=100.0, errors=(0.2, 0.1, 0.2))
    past = Outlook(
        at_s=NOW_S - 15.0,
        minutes=minutes,
        peaks=(Peak(NOW_S - 1000.0, 6.0, 3.5),),
        prefill=Learnt(wished=8, ready=8),
        decode=replace(trusted, wished=5, ready=5),
    )
    outlook, found = learn(replace(ctx, history=replace(ctx.history, outlook=past)))
    assert found.ahead_by[1] == "trend"
    assert found.ahead[1] is not None
    assert found.peaks[1] is not None
    assert found.ahead[1] > found.peaks[1]
    assert outlook.foreseen[-1].decode == found.ahead[1]
    assert outlook.foreseen[-1].due_s == NOW_S + starts.START_S + 15.0
