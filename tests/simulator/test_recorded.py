"""A service's own signals as a load: what is derived, what stays unknown, what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest

from controller.core.types import ROLE_INDEX, SIGNAL_INDEX, SIGNALS, Floats, Instances, Role
from controller.simulator.recorded import TooLittleRecordedError, workload_of
from controller.simulator.traces import WindowTrace
from controller.simulator.workload import Generator, facts
from tests.simulator.examples import SERVICE, START_S, world
from tests.simulator.loads import samples, signals
from tests.simulator.test_signals import followed

TIMES_S = samples(60)


def minute(load: WindowTrace, at_s: float) -> list[float]:
    """Return rate, tokens in and out, and cached share of the minute from ``at_s`` on."""
    found = load.rates(np.array([at_s]), 60.0)
    columns = (found.rps, found.input_tokens, found.output_tokens, found.cached_frac)
    return [float(column[0]) for column in columns]


def test_signals_become_rates_and_lengths_per_minute() -> None:
    load = workload_of(TIMES_S, signals(TIMES_S), name="chat")
    assert (load.width_s, load.span_s, len(load.t_s)) == (60.0, 3_600.0, 60)
    expected = float(signals(TIMES_S)["request_rps"][40:44].mean())
    assert minute(load, 600.0) == pytest.approx([expected, 1_000, 200, 0.4])
    said = facts(load)
    assert (said["kind"], said["known_frac"]) == ("recorded signals", 1.0)


@pytest.mark.parametrize(
    ("period_s", "width_s"),
    [
        pytest.param(15.0, 60.0, id="four samples of 15 s"),
        pytest.param(7.0, 63.0, id="nine samples of 7 s: 60 is no multiple of 7"),
        pytest.param(120.0, 120.0, id="samples two minutes apart"),
    ],
)
def test_a_window_is_whole_sample_periods(period_s: float, width_s: float) -> None:
    times_s = 1e9 + np.arange(0.0, 7_200.0, period_s)
    load = workload_of(times_s, signals(times_s), name="chat")
    assert load.width_s == width_s
    assert facts(load)["known_frac"] == 1.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("request_rps", np.nan, id="missing"),
        pytest.param("prefill_tps", np.inf, id="infinite"),
        pytest.param("prefill_tps_uncached", -1.0, id="negative"),
        pytest.param("decode_tps", 1e16, id="beyond any service"),
        pytest.param("decode_tps", -0.0, id="a broken subtraction"),
        pytest.param("prefill_reporting", 1.0, id="partial: one of two prefill instances"),
        pytest.param("decode_reporting", 3.0, id="partial: three of four decode instances"),
    ],
)
def test_an_unsound_sample_makes_its_time_unknown_not_idle(name: str, value: float) -> None:
    given = signals(TIMES_S)
    given[name][40:44] = value
    load = workload_of(TIMES_S, given, name="chat")
    assert np.isnan(minute(load, 600.0)).all()
    assert not np.isnan([*minute(load, 540.0), *minute(load, 660.0)]).any()


def test_a_service_without_instances_is_unknown() -> None:
    given = signals(TIMES_S)
    for name in ("prefill_reporting", "prefill_expected"):
        given[name][40:44] = 0
    given["request_rps"][40:44] = 0
    assert np.isnan(minute(workload_of(TIMES_S, given, name="chat"), 600.0)).all()


def test_a_measurement_read_again_is_stale() -> None:
    given = signals(TIMES_S)
    for name in ("request_rps", "prefill_tps", "prefill_tps_uncached", "decode_tps"):
        given[name][41:48] = given[name][40]
    load = workload_of(TIMES_S, given, name="chat")
    # One sample of four is left of the first minute, none of the second.
    assert np.isnan([*minute(load, 600.0), *minute(load, 660.0)]).all()


@pytest.mark.parametrize(
    ("lost", "known"),
    [
        pytest.param(slice(40, 42), True, id="two of four samples are there"),
        pytest.param(slice(40, 43), False, id="one of four is too few"),
    ],
)
def test_half_the_samples_of_a_minute_are_enough(lost: slice, known: bool) -> None:  # noqa: FBT001
    given = signals(TIMES_S)
    given["request_rps"][lost] = np.nan
    assert np.isnan(minute(workload_of(TIMES_S, given, name="chat"), 600.0)).all() != known


def test_a_hole_in_time_is_unknown() -> None:
    seen = (TIMES_S <= 600) | (TIMES_S > 900)
    load = workload_of(
        TIMES_S[seen], {name: given[seen] for name, given in signals(TIMES_S).items()}, name="chat"
    )
    assert np.isnan(load.rates(np.arange(600.0, 900.0, 60.0), 60.0).rps).all()
    assert facts(load)["known_frac"] == pytest.approx(55 / 60)


def test_a_zero_everyone_reports_is_a_zero() -> None:
    given = signals(TIMES_S)
    for name in ("request_rps", "prefill_tps", "prefill_tps_uncached", "decode_tps"):
        given[name][40:80] = 0.0
    rate, *lengths = minute(workload_of(TIMES_S, given, name="chat"), 900.0)
    # Nobody asked: the rate is 0, lengths are those of the rest.
    assert rate == 0.0
    assert lengths == pytest.approx([1_000, 200, 0.4])


def test_a_burst_and_its_late_tokens_are_in_one_average() -> None:
    given = signals(TIMES_S)
    given["request_rps"] = np.where((TIMES_S > 1_800) & (TIMES_S <= 1_860), 12.0, 6.0)
    for name, per_request in (("prefill_tps", 1_000), ("prefill_tps_uncached", 600)):
        given[name] = per_request * given["request_rps"]
    # The tokens come 30 s after their requests.
    given["decode_tps"] = 200 * np.roll(given["request_rps"], 2)
    given["decode_tps"] += np.arange(len(TIMES_S)) * 1e-6
    load = workload_of(TIMES_S, given, name="chat")
    outputs = load.rates(np.arange(1_500.0, 2_160.0, 60.0), 60.0).output_tokens
    # A minute alone would say 150 in the burst and 300 after it.
    assert outputs == pytest.approx(np.full(11, 200.0), rel=0.11)


def test_a_backlog_keeps_the_rate_and_takes_the_lengths_from_before() -> None:
    given = signals(TIMES_S)
    jam = (TIMES_S > 1_800) & (TIMES_S <= 2_400)
    given["prefill_waiting"][jam] = 500.0
    for name in ("prefill_tps", "prefill_tps_uncached", "decode_tps"):
        given[name][jam] *= 0.5
    rps = float(given["request_rps"][128:132].mean())
    load = workload_of(TIMES_S, given, name="chat")
    assert minute(load, 1_920.0) == pytest.approx([rps, 1_000, 200, 0.4])


def _lost(share: float) -> dict[str, Floats]:
    given = signals(TIMES_S)
    given["prefill_tps_uncached"][: round(share * len(TIMES_S))] = np.nan
    return given


@pytest.mark.parametrize(
    ("minutes", "lost", "says"),
    [
        pytest.param(9, 0.0, "known for 9 of 9 min, and 10 min", id="nine minutes"),
        pytest.param(60, 0.55, "27 of 60 min.*prefill_tps_uncached 45 %", id="a rate is missing"),
        pytest.param(60, 1.0, "0 of 60 min.*prefill_tps_uncached 0 %", id="never reported"),
    ],
)
def test_too_little_is_refused_with_the_numbers(minutes: int, lost: float, says: str) -> None:
    count = 4 * minutes
    given = {name: values[:count] for name, values in _lost(lost).items()}
    with pytest.raises(TooLittleRecordedError, match=f"^chat: .*{says}"):
        workload_of(TIMES_S[:count], given, name="chat")


def test_a_backlog_all_the_time_is_refused() -> None:
    given = signals(TIMES_S)
    given["prefill_waiting"][:] = 500.0
    with pytest.raises(TooLittleRecordedError, match=re.escape("for 60 min more the rate")):
        workload_of(TIMES_S, given, name="chat")


def test_one_sample_is_no_recording() -> None:
    with pytest.raises(TooLittleRecordedError, match="1 samples"):
        workload_of(TIMES_S[:1], signals(TIMES_S[:1]), name="chat")


@pytest.mark.parametrize(
    ("peak_rps", "instances", "waiting"),
    [
        pytest.param(8.0, Instances(2, 3), 0, id="plenty: nobody waits"),
        pytest.param(28.0, Instances(1, 4), 500, id="one prefill instance for 28/s: 700 wait"),
    ],
)
def test_played_and_recorded_again_a_load_is_the_same(
    peak_rps: float, instances: Instances, waiting: int
) -> None:
    load = Generator(
        "day", 1, 4.0, peak_rps, 800, 200, cached_frac=0.3, noise_frac=0.0, bursts_per_day=0
    )
    seen = followed(
        world(replace(SERVICE, workload=load, initial=instances)), SERVICE.key, hours=2.0
    )
    given: dict[str, Floats] = {
        kind.name: seen.values[SIGNAL_INDEX[kind.name]] for kind in SIGNALS
    }
    for role in Role:
        given[f"{role}_reporting"] = seen.reporting[ROLE_INDEX[role]].astype(np.float64)
        given[f"{role}_expected"] = seen.expected[ROLE_INDEX[role]].astype(np.float64)
    assert np.nanmax(given["prefill_waiting"]) >= waiting
    again = workload_of(seen.times_s, given, name="again")
    at = np.arange(0.0, again.span_s, 60.0)
    played = load.rates(at + seen.times_s[0] - 15.0 - START_S, 60.0)
    found = again.rates(at, 60.0)
    # Poisson: 60 s of 4 to 28 requests/s spread by 2 to 6 %; lengths of 240 and more by 5 %.
    assert np.nanmean(found.rps) == pytest.approx(played.rps.mean(), rel=0.02)
    for name, off in (("input_tokens", 0.01), ("output_tokens", 0.02), ("cached_frac", 0.01)):
        ratio = getattr(found, name) / getattr(played, name)
        assert np.nanmean(ratio) == pytest.approx(1.0, abs=off)
        assert np.nanpercentile(np.abs(ratio - 1), 95) < 0.12
    assert facts(again)["known_frac"] == 1.0
