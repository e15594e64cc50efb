"""What is next with instances that are out of service discovery."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.soft import Soft, Step, is_over

ASKED = Soft(("d-1",), 100.0, window_s=60.0, drain_s=300.0)
OUT = replace(ASKED, out_s=110.0)


@pytest.mark.parametrize(
    ("soft", "now_s", "in_flight", "step"),
    [
        pytest.param(ASKED, 159.0, 0, Step.TAKE_OUT, id="59 of 60 s to take them out"),
        pytest.param(ASKED, 160.0, 0, Step.GIVE_UP, id="60 s: given up"),
        pytest.param(OUT, 169.0, 0, Step.WATCH, id="out for 59 of 60 s"),
        pytest.param(OUT, 170.0, 0, Step.SEND, id="out for 60 s, nothing in flight"),
        pytest.param(OUT, 170.0, 1, Step.DRAIN, id="out for 60 s, one in flight"),
        pytest.param(OUT, 469.0, None, Step.DRAIN, id="out for 359 of 60+300 s, unknown"),
        pytest.param(OUT, 470.0, None, Step.SEND, id="out for 360 s"),
        pytest.param(
            OUT.returning("bad", 120.0, failed=False), 470.0, 0, Step.RETURN, id="they return"
        ),
    ],
)
def test_what_is_next(soft: Soft, now_s: float, in_flight: int | None, step: Step) -> None:
    assert soft.step(now_s, in_flight) is step


times = st.floats(0.0, 2_000.0)
softs = st.builds(
    Soft,
    names=st.lists(st.text(), max_size=3).map(tuple),
    asked_s=times,
    window_s=st.floats(1.0, 600.0),
    drain_s=st.floats(1.0, 600.0),
    out_s=st.none() | times,
    over_s=st.none() | times,
    back=st.sampled_from(["", "frozen"]),
    back_s=st.none() | times,
    failed=st.booleans(),
    known=st.lists(st.sampled_from(["ttft_s", "tbt_s"])).map(tuple),
)


@given(softs)
def test_a_row_gives_back_what_was_written_s23(soft: Soft) -> None:
    assert Soft.from_plain(json.loads(json.dumps(soft.plain()))) == soft


@given(softs, times, st.none() | st.integers(1, 50))
def test_nothing_is_sent_early_while_requests_are_in_flight_or_unknown_s7(
    soft: Soft, now_s: float, in_flight: int | None
) -> None:
    if soft.step(now_s, in_flight) is Step.SEND:
        assert soft.out_s is not None
        assert now_s >= soft.out_s + soft.window_s + soft.drain_s


@given(softs, times)
def test_who_returns_is_never_sent_any_more(soft: Soft, now_s: float) -> None:
    back = replace(soft, over_s=1.0).returning("frozen", now_s, failed=False)
    assert back.step(now_s, 0) is Step.RETURN
    assert not is_over(back.plain())
