"""Signals: what they follow, what they can't see, and what broken collectors make of them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from controller.core.types import SIGNAL_INDEX, Floats, Instances, Window
from controller.simulator.demo import DEMO_NODES, DEMO_SERVICES
from controller.simulator.model import Fault
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import read_trace
from controller.simulator.world import World
from tests.simulator.examples import SERVICE, START_S, world


def signal(window: Window, name: str) -> Floats:
    values: Floats = window.values[SIGNAL_INDEX[name]]
    return values


def correlation(first: Floats, second: Floats) -> float:
    known = ~np.isnan(first + second)
    return float(np.corrcoef(first[known], second[known])[0, 1])


def followed(made: World, key: str, hours: float) -> Window:
    """Advance and return every sample, one row per signal."""
    parts = []
    for at in range(int(hours * 120)):
        made.advance(START_S + 30 * (at + 1))
        parts.append(made.observe([key], made.now_s, 30)[key].window)
    return Window(
        *(
            np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in ("times_s", "values", "present", "reporting", "expected")
        )
    )


def test_signals_of_a_steady_service_are_those_of_its_load() -> None:
    made = world(SERVICE)
    seen = followed(made, "chat", 0.5)
    means = {
        name: float(np.nanmean(signal(seen, name)[8:]))
        for name in ("request_rps", "decode_tps", "prefill_tps", "prefill_util", "tbt_s")
    }
    # 5 requests/s of 800 and 200 tokens; a prefill takes 63 ms, two instances share them:
    # 5 x 0.063 / 2 = 0.16; about 5 sequences each decode in 15 ms a step.
    assert means["request_rps"] == pytest.approx(5.0, rel=0.05)
    assert means["decode_tps"] == pytest.approx(1_000, rel=0.05)
    assert means["prefill_tps"] == pytest.approx(4_000, rel=0.05)
    assert means["prefill_util"] == pytest.approx(0.16, rel=0.1)
    assert means["tbt_s"] == pytest.approx(0.0153, rel=0.05)
    for latency in ("ttft", "tbt"):
        names = (f"{latency}_p50_s", f"{latency}_s", f"{latency}_p99_s")
        p50, p95, p99 = (float(np.nanmean(signal(seen, name))) for name in names)
        assert 0 < p50 < p95 < p99


@pytest.mark.parametrize("slug", ["code-assistant", "reasoning", "vision-search", "agents-moe"])
def test_throughput_follows_the_load_and_decode_utilisation_does_not(slug: str) -> None:
    service = next(s for s in DEMO_SERVICES if s.slug == slug).model()
    # Enough instances for the peak: between the limits nothing but the load moves the signals.
    double = Instances(2 * service.initial.prefill, 2 * service.initial.decode)
    roomy = replace(service, initial=double)
    nodes = [replace(node.spec(), gpus=32) for node in DEMO_NODES]
    made = World([roomy], nodes, start_s=START_S, seed=5)
    seen = followed(made, slug, 2.0)
    load = service.workload.rates(seen.times_s - START_S - 7.5).rps
    # Four samples to a window, as policies read them.
    load, tps, prefill_util, decode_util = (
        np.nanmean(values.reshape(-1, 4), axis=1)
        for values in (
            load,
            signal(seen, "decode_tps"),
            signal(seen, "prefill_util"),
            signal(seen, "decode_util"),
        )
    )
    assert correlation(load, tps) > 0.95
    assert correlation(load, prefill_util) > 0.95
    assert decode_util.min() > 0.85
    assert decode_util.std() / decode_util.mean() < 0.05 < tps.std() / tps.mean()


def test_a_day_of_production_traffic_gives_the_published_signal_study(shared: Path) -> None:
    with (shared / "data/traces/servegen_m-large_10min.csv.gz").open("rb") as stream:
        trace = read_trace(stream, "m-large")
    engine = PROFILES["qwen3-32b-fp8/h800"]
    service = replace(
        SERVICE, prefill=engine, decode=engine, workload=trace, initial=Instances(30, 24)
    )
    nodes = [replace(node.spec(), cluster="here") for node in DEMO_NODES]
    made = World([service], nodes, start_s=START_S, seed=2, speed=4.0)
    seen = followed(made, "chat", 6.0)
    # Means over the time a 10-minute window of the recording lasts at four times the speed.
    tps, prefill_util, decode_util = (
        np.nanmean(signal(seen, name).reshape(-1, 10), axis=1)
        for name in ("decode_tps", "prefill_util", "decode_util")
    )
    at_s = 4 * (seen.times_s.reshape(-1, 10).mean(axis=1) - START_S)
    offered = trace.rates(at_s)
    load = offered.rps * offered.output_tokens
    work = offered.rps * offered.input_tokens
    assert correlation(load, tps) > 0.98
    assert correlation(work, prefill_util) > 0.95
    assert abs(correlation(load, decode_util)) < 0.3


# Faults


def window_with(fault: Fault, samples: int = 4) -> Window:
    made = world(SERVICE)
    made.advance(START_S + 120)
    made.inject("chat", fault)
    made.advance(START_S + 120 + 15 * samples)
    return made.observe(["chat"], made.now_s, 15 * samples)["chat"].window


def test_missing_samples_are_there_without_values() -> None:
    seen = window_with(Fault.MISSING)
    assert len(seen.times_s) == 4
    assert not seen.present.any()
    assert seen.reporting.max() == 0
    assert seen.expected.tolist() == [[2] * 4, [3] * 4]


def test_stale_samples_do_not_come() -> None:
    seen = window_with(Fault.STALE)
    assert seen.values.shape == (len(SIGNAL_INDEX), 0)


def test_partial_samples_lack_the_share_of_the_silent() -> None:
    whole, part = window_with(Fault.NONE), window_with(Fault.PARTIAL)
    assert part.reporting.tolist() == [[1] * 4, [2] * 4]
    share = signal(part, "decode_tps") / signal(whole, "decode_tps")
    assert share == pytest.approx([2 / 3] * 4)


def test_a_counter_reset_gives_one_sample_of_negative_rates_m11() -> None:
    seen = window_with(Fault.RESET)
    assert (signal(seen, "decode_tps") < 0).tolist() == [True, False, False, False]
    assert (signal(seen, "ttft_s") > 0).all()


def test_a_mended_service_reads_as_before() -> None:
    made = world(SERVICE)
    made.inject("chat", Fault.MISSING)
    made.advance(START_S + 60)
    made.inject("chat", Fault.NONE)
    made.advance(START_S + 120)
    assert made.observe(["chat"], made.now_s, 60)["chat"].window.present.all()


def test_without_ready_instances_nothing_is_reported() -> None:
    made = world(SERVICE)
    made.advance(START_S + 60)
    made.scale("chat", Instances(2, 0))
    made.advance(START_S + 120)
    seen = made.observe(["chat"], made.now_s, 30)["chat"].window
    decode = SIGNAL_INDEX["decode_tps"]
    assert not seen.present[decode].any()
    assert seen.present[SIGNAL_INDEX["prefill_tps"]].all()
    assert seen.expected[1].tolist() == [0, 0]


def test_old_samples_leave_the_window() -> None:
    made = world(SERVICE)
    made.advance(START_S + 600)
    assert len(made.observe(["chat"], made.now_s + 30, 60)["chat"].window.times_s) == 2
    assert len(made.observe(["chat"], made.now_s, 3_600)["chat"].window.times_s) == 12
    assert made.observe(["chat"], made.now_s + 90, 60)["chat"].window.values.shape[1] == 0


def test_no_percentile_is_below_a_smaller_one() -> None:
    services = [service.model() for service in DEMO_SERVICES]
    world = World(services, [node.spec() for node in DEMO_NODES], start_s=START_S, seed=5)
    keys = [service.key for service in services]
    for at in range(15, 1800, 15):
        world.advance(START_S + at)
        for seen in world.observe(keys, START_S + at, 60.0).values():
            for names in (
                ("ttft_p50_s", "ttft_s", "ttft_p99_s"),
                ("tbt_p50_s", "tbt_s", "tbt_p99_s"),
            ):
                low, mid, high = (seen.window.values[SIGNAL_INDEX[name]] for name in names)
                known = ~np.isnan(low + mid + high)
                assert (low[known] <= mid[known]).all()
                assert (mid[known] <= high[known]).all()
