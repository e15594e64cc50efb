"""How many: latency over its goal adds fixed steps, and removes only where it is alone."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.core.config_check import validate_spec
from controller.core.policies.latency import latency
from controller.core.reasons import Code
from controller.core.types import (
    Context,
    Instances,
    Quality,
    Reason,
    Recommendation,
    ServiceSpec,
    Signals,
)
from tests.core.build import context, graded, healthy, limits, policy, valued, without

FOUR = Instances(2, 4)
ALONE = policy(name="latency")
BESIDE = policy(name="proportional+latency")


def at(
    ttft_s: float, tbt_s: float, current: Instances = FOUR, spec: ServiceSpec = ALONE
) -> Context:
    """Return a context with latencies; their goals are 1 s and 0.05 s."""
    signals = valued(healthy(4000.0, current), ttft_s=ttft_s, tbt_s=tbt_s)
    return context(current, 0.0, spec=spec, signals=signals)


@pytest.mark.parametrize(
    ("ttft_s", "tbt_s", "current", "want"),
    [
        pytest.param(1.1, 0.03, FOUR, FOUR, id="TTFT 1.1 of 1 is 1.1: on the edge"),
        pytest.param(1.11, 0.03, FOUR, Instances(3, 5), id="1.11: ceil(2.2)=3, ceil(4.4)=5"),
        pytest.param(1.5, 0.03, FOUR, Instances(3, 5), id="1.5 is not above 1.5: moderate"),
        pytest.param(
            1.51, 0.03, Instances(10, 20), Instances(12, 24), id="1.51: 1.2*10=12, 1.2*20=24"
        ),
        pytest.param(
            1.2, 0.03, Instances(10, 20), Instances(11, 22), id="1.2: 1.1*10=11, 1.1*20=22"
        ),
        pytest.param(
            1.2, 0.03, Instances(11, 30), Instances(13, 33), id="1.2: ceil(12.1)=13, 1.1*30=33"
        ),
        pytest.param(0.8, 0.1, Instances(5, 10), Instances(6, 12), id="TBT 2.0 severe, TTFT fine"),
        pytest.param(
            1.2, 0.1, Instances(5, 10), Instances(6, 12), id="TBT severe beats TTFT moderate"
        ),
        pytest.param(
            9.0, 0.06, Instances(5, 10), Instances(6, 12), id="TTFT severe beats TBT moderate"
        ),
        pytest.param(2.0, 0.03, Instances(0, 1), Instances(1, 2), id="at least 1: 0 is 1, 1 is 2"),
        pytest.param(
            2.0, 0.0, Instances(1, 100_000), Instances(2, 100_000), id="100000 is the most"
        ),
        pytest.param(0.5, 0.01, FOUR, FOUR, id="TTFT 0.5 is not below 0.5"),
        pytest.param(0.3, 0.026, FOUR, FOUR, id="TBT 0.52 is not below 0.5: both must be"),
        pytest.param(0.3, 0.01, FOUR, Instances(1, 3), id="idle: one of 2 and one of 4 go"),
        pytest.param(
            0.3, 0.01, Instances(20, 40), Instances(19, 38), id="idle: 0.95*20=19, 0.95*40=38"
        ),
        pytest.param(0.3, 0.01, Instances(1, 50), Instances(1, 48), id="idle: ceil(47.5)=48"),
        pytest.param(0.3, 0.01, Instances(0, 1), Instances(0, 1), id="idle: nothing below 1"),
    ],
)
def test_both_roles_move_by_a_fixed_step(
    ttft_s: float, tbt_s: float, current: Instances, want: Instances
) -> None:
    assert latency(at(ttft_s, tbt_s, current)).want == want


def test_a_breach_is_told_with_the_latency_that_decides() -> None:
    text = "TBT p95 of 0.07 s is 1.40 times its 0.05 s goal, so both roles grow by 10 %, at least"
    assert latency(at(1.2, 0.07)) == Recommendation(
        Instances(3, 5), Reason(Code.LATENCY_HIGH, f"{text} by 1"), "tbt_s", 0.07 / 0.05, "latency"
    )


def test_idle_latency_is_told_with_the_one_nearer_its_goal() -> None:
    text = "TTFT p95 of 0.3 s is 0.30 times its 1 s goal, the nearer of the two, so both roles"
    assert latency(at(0.3, 0.01)) == Recommendation(
        Instances(1, 3),
        Reason(Code.LATENCY_LOW, f"{text} shrink by 5 %, at least by 1"),
        "ttft_s",
        0.3,
        "latency",
    )


def test_thresholds_are_the_policys() -> None:
    spec = policy(name="latency", latency_severe=3.0, latency_moderate=2.0, latency_idle=0.9)
    assert latency(at(1.9, 0.03, spec=spec)).want == FOUR
    assert latency(at(0.8, 0.03, spec=spec)).want == Instances(1, 3)
    assert latency(at(2.5, 0.03, Instances(10, 10), spec)).want == Instances(11, 11)


def test_nothing_goes_below_the_minimum() -> None:
    spec = replace(limits(minimum=Instances(2, 39)), policy=ALONE.policy)
    found = latency(at(0.3, 0.01, Instances(2, 40), spec))
    assert (found.want, found.reason.code) == (Instances(2, 39), Code.LATENCY_LOW)
    still = latency(at(0.3, 0.01, Instances(2, 39), spec))
    assert still.want == Instances(2, 39)
    assert still.reason.text.endswith("but both roles are at their minimum")


def test_nothing_shrinks_beside_another_policy() -> None:
    found = latency(at(0.1, 0.001, spec=BESIDE))
    assert (found.want, found.reason.code) == (FOUR, Code.WITHIN_TOLERANCE)


def test_starting_instances_are_waited_for() -> None:
    ctx = at(2.0, 0.03)
    half = replace(ctx.state, decode=replace(ctx.state.decode, ready=1, starting=3))
    found = latency(replace(ctx, state=half))
    text = (
        "TTFT p95 of 2 s is 2.00 times its 1 s goal; "
        "3 instances are still starting, so no more are asked for yet"
    )
    assert (found.want, found.reason) == (FOUR, Reason(Code.LATENCY_HIGH, text))


@pytest.mark.parametrize("quality", [Quality.MISSING, Quality.INVALID, Quality.STALE])
def test_a_latency_that_cannot_be_read_asks_for_nothing_s7(quality: Quality) -> None:
    signals = graded(at(9.0, 0.03).signals, "ttft_s", quality)
    found = latency(context(FOUR, 0.0, spec=ALONE, signals=signals))
    assert (found.want, found.reason.code) == (FOUR, Code[f"METRIC_{quality.name}"])
    assert (found.driver, found.load) == ("tbt_s", pytest.approx(0.6))


def test_the_latency_that_can_be_read_may_ask_alone_s6() -> None:
    signals = graded(at(0.5, 0.1).signals, "ttft_s", Quality.MISSING)
    found = latency(context(FOUR, 0.0, spec=ALONE, signals=signals))
    assert (found.want, found.reason.code) == (Instances(3, 5), Code.LATENCY_HIGH)


@pytest.mark.parametrize("name", ["ttft_s", "tbt_s"])
@pytest.mark.parametrize("quality", sorted(set(Quality) - {Quality.OK}))
def test_nothing_shrinks_unless_both_are_ok_s6(name: str, quality: Quality) -> None:
    signals = graded(at(0.1, 0.001).signals, name, quality)
    found = latency(context(FOUR, 0.0, spec=ALONE, signals=signals))
    assert (found.want, found.reason.code) == (FOUR, Code[f"METRIC_{quality.name}"])


UNUSED = without(healthy(0.0, FOUR), "ttft_s", "tbt_s")


@pytest.mark.parametrize(
    ("current", "want"),
    [
        pytest.param(FOUR, Instances(1, 3), id="one of 2 and one of 4 go"),
        pytest.param(Instances(20, 40), Instances(19, 38), id="0.95*20=19, 0.95*40=38"),
        pytest.param(Instances(1, 1), Instances(1, 1), id="nothing below 1"),
    ],
)
def test_a_service_nobody_uses_shrinks_though_it_has_no_latencies_l8(
    current: Instances, want: Instances
) -> None:
    found = latency(context(current, 0.0, spec=ALONE, signals=UNUSED))
    assert (found.want, found.reason.code) == (want, Code.LATENCY_LOW)
    assert found.reason.text.startswith("No request comes and none waits, ")


@pytest.mark.parametrize(
    "signals",
    [
        pytest.param(valued(UNUSED, decode_waiting=1.0), id="1 waits for decode"),
        pytest.param(valued(UNUSED, prefill_waiting=1.0), id="1 waits for prefill"),
        pytest.param(valued(UNUSED, decode_tps=5.0), id="an answer is still being made"),
        pytest.param(
            {**UNUSED, "request_rps": replace(UNUSED["request_rps"], reporting=1)},
            id="1 of 2 report no requests",
        ),
    ],
)
def test_a_service_without_requests_has_no_latency_to_judge(signals: Signals) -> None:
    found = latency(context(FOUR, 0.0, spec=ALONE, signals=signals))
    text = "No request comes, so no latency is judged"
    assert found == Recommendation(
        FOUR, Reason(Code.WITHIN_TOLERANCE, text), "ttft_s", None, "latency"
    )


def test_beside_another_policy_no_requests_take_nothing_away() -> None:
    found = latency(context(FOUR, 0.0, spec=BESIDE, signals=UNUSED))
    assert (found.want, found.reason.code) == (FOUR, Code.WITHIN_TOLERANCE)


def test_a_request_rate_that_cannot_be_read_is_not_idleness() -> None:
    found = latency(context(FOUR, 0.0, spec=ALONE, signals=without(UNUSED, "request_rps")))
    assert (found.want, found.reason.code) == (FOUR, Code.METRIC_MISSING)


LATENCIES = st.floats(0.0, 20.0)
COUNTS = st.builds(Instances, st.integers(0, 500), st.integers(0, 500))


@settings(max_examples=80, deadline=None)
@given(LATENCIES, LATENCIES, COUNTS)
def test_it_never_shrinks_beside_another_policy(
    ttft_s: float, tbt_s: float, current: Instances
) -> None:
    assert validate_spec(BESIDE) == []
    want = latency(at(ttft_s, tbt_s, current, BESIDE)).want
    assert want.prefill >= current.prefill
    assert want.decode >= current.decode


@settings(max_examples=80, deadline=None)
@given(LATENCIES, st.floats(0.0, 5.0), LATENCIES, COUNTS)
def test_a_higher_latency_never_asks_for_fewer(
    ttft_s: float, more_s: float, tbt_s: float, current: Instances
) -> None:
    lower, higher = (
        latency(at(ttft_s, tbt_s, current)),
        latency(at(ttft_s + more_s, tbt_s, current)),
    )
    assert higher.want.prefill >= lower.want.prefill
    assert higher.want.decode >= lower.want.decode
