"""Registration in step: who is ahead waits, for what is coming, and not for ever."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.registration import InStep, Starts, registered
from controller.core.types import Instances, Limits, Role
from tests.core.build import NOW_S, POLICY, SPEC
from tests.core.strategies import pairs

NONE = Instances(0, 0)
UNTIL_S = NOW_S + 240.0
TWO_DECODE_EACH = InStep(0.4, 0.5, 0.6, Instances(1, 1), UNTIL_S)

EIGHTHS = st.integers(1, 40).map(lambda n: n / 8.0)


@st.composite
def rules(draw: st.DrawFn) -> InStep:
    ratio, tolerance = draw(EIGHTHS), draw(st.integers(0, 7)) / 8.0
    least, most = ratio * (1 - tolerance), ratio * (1 + tolerance)
    return InStep(least, ratio, most, draw(pairs(0, 5)), UNTIL_S)


def starts() -> st.SearchStrategy[Starts]:
    return st.builds(Starts, pairs(0, 20), pairs(0, 20), pairs(0, 6))


def up(seen: Starts) -> Instances:
    return Instances(*(seen.serving.of(role) + seen.held.of(role) for role in Role))


@pytest.mark.parametrize(
    ("seen", "serve"),
    [
        pytest.param(
            Starts(Instances(4, 8), Instances(0, 4), Instances(2, 0)),
            Instances(4, 10),
            id="4 prefill allow floor(4 / 0.4) = 10 decode; 2 of 4 wait",
        ),
        pytest.param(
            Starts(Instances(4, 10), Instances(1, 2), Instances(1, 0)),
            Instances(5, 12),
            id="5 prefill allow floor(5 / 0.4) = 12: all join",
        ),
        pytest.param(
            Starts(Instances(4, 8), Instances(2, 0), Instances(0, 4)),
            Instances(4, 8),
            id="8 decode allow floor(8 x 0.6) = 4 prefill: both wait",
        ),
        pytest.param(
            Starts(Instances(4, 8), Instances(0, 4), NONE),
            Instances(4, 12),
            id="no prefill is coming any more: nobody waits",
        ),
        pytest.param(
            Starts(Instances(1, 2), Instances(0, 1), Instances(1, 0)),
            Instances(1, 2),
            id="1 prefill allows max(floor(1 / 0.4), ceil(1 / 0.5)) = 2",
        ),
        pytest.param(
            Starts(NONE, Instances(0, 3), Instances(1, 0)),
            Instances(0, 1),
            id="no prefill at all: the minimum of 1 joins all the same",
        ),
        pytest.param(
            Starts(Instances(1, 9), Instances(0, 1), Instances(3, 0)),
            Instances(1, 9),
            id="beyond the ratio already: who serves stays, who came waits",
        ),
    ],
)
def test_the_role_that_is_ahead_waits(seen: Starts, serve: Instances) -> None:
    assert registered(seen, TWO_DECODE_EACH, now_s=NOW_S) == serve


def test_at_the_ratio_a_pair_that_is_rounded_up_joins_whole() -> None:
    exact = replace(TWO_DECODE_EACH, least_ratio=0.7, ratio=0.7, most_ratio=0.7)
    # ceil(5 / 0.7) = 8 decode for 5 prefill, ceil(7 x 0.7) = 5 prefill for 7 decode.
    for pair in (Instances(5, 8), Instances(5, 7)):
        seen = Starts(NONE, pair, Instances(9, 9))
        assert registered(seen, exact, now_s=NOW_S) == pair


@given(seen=starts(), rule=rules())
def test_who_serves_stays_and_only_who_is_up_joins(seen: Starts, rule: InStep) -> None:
    serve = registered(seen, rule, now_s=NOW_S)
    for role in Role:
        assert seen.serving.of(role) <= serve.of(role) <= up(seen).of(role)
        assert serve.of(role) >= min(up(seen).of(role), rule.floor.of(role))


@given(seen=starts(), rule=rules())
def test_never_do_both_roles_wait(seen: Starts, rule: InStep) -> None:
    serve = registered(seen, rule, now_s=NOW_S)
    waiting = [role for role in Role if serve.of(role) < up(seen).of(role)]
    assert len(waiting) <= 1
    for role in waiting:
        other = Role.DECODE if role is Role.PREFILL else Role.PREFILL
        assert seen.coming.of(other) > 0


@given(seen=starts(), rule=rules(), late_s=st.floats(0.0, 1e6))
def test_a_pause_ends_whatever_happens(seen: Starts, rule: InStep, late_s: float) -> None:
    assert registered(seen, rule, now_s=UNTIL_S + late_s) == up(seen)
    assert registered(seen, None, now_s=NOW_S) == up(seen)


@given(seen=starts(), rule=rules(), more=pairs(0, 6))
def test_more_instances_up_never_mean_fewer_that_serve(
    seen: Starts, rule: InStep, more: Instances
) -> None:
    held = Instances(*(seen.held.of(role) + more.of(role) for role in Role))
    coming = Instances(*(max(seen.coming.of(role) - more.of(role), 0) for role in Role))
    before = registered(seen, rule, now_s=NOW_S)
    after = registered(replace(seen, held=held, coming=coming), rule, now_s=NOW_S)
    assert all(after.of(role) >= before.of(role) for role in Role)


@given(seen=starts(), rule=rules())
def test_who_was_told_to_join_is_never_told_to_wait_again(seen: Starts, rule: InStep) -> None:
    serve = registered(seen, rule, now_s=NOW_S)
    left = Instances(*(up(seen).of(role) - serve.of(role) for role in Role))
    again = Starts(serve, left, seen.coming)
    assert registered(again, rule, now_s=NOW_S) == serve


# The rule of an order


def rule(want: Instances, ready: Instances, lead_s: float = 120.0) -> InStep | None:
    spec = replace(
        SPEC,
        policy=replace(POLICY, ratio_tolerance=0.25),
        limits=Limits(Instances(2, 3), Instances(50, 100), 10_000),
    )
    return InStep.of(want, ready, spec, now_s=NOW_S, lead_s=lead_s)


def test_the_band_is_that_of_the_wished_pair() -> None:
    # 6 / 8 = 0.75, and a quarter of it to either side; two start-up times of 120 s.
    assert rule(Instances(6, 8), Instances(4, 6)) == InStep(
        0.5625, 0.75, 0.9375, Instances(2, 3), NOW_S + 240.0
    )


@pytest.mark.parametrize(
    ("want", "ready"),
    [
        pytest.param(Instances(4, 8), Instances(4, 6), id="decode alone grows"),
        pytest.param(Instances(6, 6), Instances(4, 6), id="prefill alone grows"),
        pytest.param(Instances(6, 4), Instances(4, 6), id="decode shrinks"),
        pytest.param(Instances(0, 4), Instances(0, 2), id="no ratio without prefill"),
    ],
)
def test_without_two_roles_to_come_nobody_waits(want: Instances, ready: Instances) -> None:
    assert rule(want, ready) is None


def test_a_role_that_grows_waits_for_one_that_still_starts() -> None:
    # 5 of 6 prefill serve since the order before; this one asks for two more decode.
    assert rule(Instances(6, 8), Instances(5, 6)) is not None


@pytest.mark.parametrize(
    ("lead_s", "wait_s"),
    [
        pytest.param(5.0, 60.0, id="2 x 5 s: at least 60"),
        pytest.param(90.0, 180.0, id="2 x 90 s"),
        pytest.param(1800.0, 900.0, id="2 x 1800 s: at most 900"),
    ],
)
def test_a_pause_lasts_two_starts_within_bounds(lead_s: float, wait_s: float) -> None:
    found = rule(Instances(6, 8), Instances(4, 6), lead_s)
    assert found is not None
    assert found.until_s - NOW_S == wait_s


@given(rule=rules())
def test_a_rule_survives_being_written_down(rule: InStep) -> None:
    assert InStep.from_plain(json.loads(json.dumps(rule.plain()))) == rule
