"""Two scrapes of instances: what they make of signals, and what they must not (metrics §4)."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.core.readings.cook import windows
from controller.core.readings.presets import PRESETS, leaves_of, recipes_of
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.scrapes import (
    LONGEST_GAP_S,
    Instance,
    leaves_from,
    owned,
    renamed,
    told_role,
)
from controller.core.readings.tables import side_by_side
from controller.core.types import Quality, Role, Signal
from tests.core.readings.exporters import (
    NOW_S,
    STEP_S,
    Metrics,
    graded,
    instance,
    one,
    read,
    recipe,
    scrape,
    table,
    times,
    value,
)

OUTPUT = "vllm:generation_tokens_total"
DECODE_TPS = recipe("decode_tps")


def counted(name: str, before: float, now: float, **further: float) -> Instance:
    return instance(name, {OUTPUT: one(now)}, {OUTPUT: one(before)}, **further)  # type: ignore[arg-type]


def told(signal: str, instances: list[Instance], expected: int, preset: str = "vllm") -> Signal:
    """Return a signal as a decision would see it."""
    recipes = PRESETS[preset].recipes
    leaves = leaves_from(leaves_of(recipes.values()), instances, ["chat"])
    due = np.full((1, 2), expected)
    (window,) = windows([recipes], leaves, due, times(1), STEP_S)
    return graded(window, signal)


@pytest.mark.parametrize(
    ("counts", "tps"),
    [
        pytest.param([(100, 250)], 10.0, id="(250 - 100) / 15 s = 10"),
        pytest.param([(100, 250), (0, 75)], 15.0, id="150 / 15 + 75 / 15 = 15"),
        pytest.param([(900, 30)], 2.0, id="M11: restarted, 30 since then / 15 s = 2"),
        pytest.param([(100, 250), (9e9, 30)], 12.0, id="M11: 150 / 15 + 30 / 15 = 12"),
        pytest.param([(100, 100)], 0.0, id="idle: 0 / 15 s = 0"),
    ],
)
def test_trap_1_rates_are_of_each_series_and_then_added(
    counts: list[tuple[float, float]], tps: float
) -> None:
    instances = [counted(f"d{i}", *pair) for i, pair in enumerate(counts)]
    assert value(DECODE_TPS, instances) == pytest.approx(tps)


def test_trap_1_a_restart_is_a_doubt_in_that_instance_alone() -> None:
    signal = told("decode_tps", [counted("a", 100, 250), counted("b", 9e9, 30)], expected=2)
    assert (signal.quality, signal.reporting, signal.expected) == (Quality.PARTIAL, 1, 2)


def test_trap_1_an_instance_that_leaves_takes_its_rate_with_it_and_no_more() -> None:
    stays, leaves = counted("a", 100, 250), counted("b", 1000, 1150)
    assert value(DECODE_TPS, [stays, leaves]) == 20.0
    assert value(DECODE_TPS, [stays]) == 10.0


def test_trap_2_a_first_scrape_has_no_rate_and_does_not_report() -> None:
    new = instance("new", {OUTPUT: one(5_000)})
    signal = told("decode_tps", [counted("a", 100, 250), new], expected=2)
    assert (signal.value, signal.quality, signal.reporting) == (10.0, Quality.PARTIAL, 1)
    assert told("decode_tps", [new], expected=1).quality is Quality.MISSING


@pytest.mark.parametrize(
    ("elapsed_s", "tps"),
    [
        pytest.param(30.0, 5.0, id="a scrape was missed: 150 / 30 s = 5"),
        pytest.param(LONGEST_GAP_S, 0.5, id="150 / 300 s = 0.5"),
        pytest.param(LONGEST_GAP_S + 1.0, None, id="longer than the longest gap"),
        pytest.param(0.0, None, id="the same scrape again"),
        pytest.param(-15.0, None, id="the clock went back"),
    ],
)
def test_a_gap_counts_with_its_length_and_a_clock_that_went_back_not_at_all(
    elapsed_s: float, tps: float | None
) -> None:
    assert value(DECODE_TPS, [counted("a", 100, 250, elapsed_s=elapsed_s)]) == tps


def test_a_series_that_appears_has_no_rate_yet() -> None:
    requests = "vllm:request_success_total"
    before = {requests: one(100, finished_reason="stop")}
    now = {requests: [({"finished_reason": "stop"}, 130.0), ({"finished_reason": "abort"}, 9.0)]}
    assert value(recipe("decode_rps"), [instance("a", now, before)]) == 2.0


def test_trap_3_what_is_measured_every_30_s_is_no_older_than_it_is() -> None:
    """Of four samples 15 s apart two are there, each once; the newest says how old it is."""
    gauge = "DCGM_FI_PROF_SM_ACTIVE"
    leaves = leaves_of(PRESETS["dcgm"].recipes.values())
    seen = []
    for at_s in (NOW_S - 45.0, NOW_S - 45.0, NOW_S - 15.0, NOW_S - 15.0):
        node = replace(instance("d", {gauge: one(0.5)}), now=scrape({gauge: one(0.5)}, at_s))
        seen.append(leaves_from(leaves, [node], ["chat"]))
    due = np.ones((1, 2), dtype=np.int64)
    (window,) = windows([PRESETS["dcgm"].recipes], side_by_side(seen), due, times(4), STEP_S)
    signal = graded(window, "decode_sm")
    assert (signal.quality, signal.measured_at_s) == (Quality.OK, NOW_S - 15.0)
    assert window.present.sum(axis=1).max() == 2


def test_trap_4_idle_is_zero_and_dead_is_missing() -> None:
    idle = told("decode_tps", [counted("a", 100, 100)], expected=1)
    assert (idle.value, idle.quality) == (0.0, Quality.OK)
    dead = told("decode_tps", [], expected=1)
    assert (dead.value, dead.quality) == (None, Quality.MISSING)
    # An idle service has no latency: nothing over nothing is not 0.
    ttft = "vllm:time_to_first_token_seconds"
    same = {f"{ttft}_sum": one(3.0), f"{ttft}_count": one(10.0)}
    assert value(recipe("ttft_avg_s"), [instance("p", same, same, role=Role.PREFILL)]) is None


def latency(role: Role, fast: float, slow: float) -> Instance:
    """Return an instance with so many answers below 0.1 s and between 0.1 and 0.2 s, in 15 s."""
    name = "vllm:time_to_first_token_seconds_bucket"

    def buckets(below: float, all_of: float) -> Metrics:
        bounds = {"0.1": below, "0.2": all_of, "+Inf": all_of}
        return {name: [({"le": le}, count) for le, count in bounds.items()]}

    return instance(role.value, buckets(fast, fast + slow), buckets(0, 0), role=role)


def test_trap_5_the_quantiles_of_a_role_are_its_own() -> None:
    # Decode sees its part of a first token alone, and that is short.
    both = [latency(Role.PREFILL, 0, 10), latency(Role.DECODE, 1000, 0)]
    assert value(recipe("ttft_p50_s"), both) == pytest.approx(0.15)
    assert value(recipe("ttft_p50_s"), both[:1]) == pytest.approx(0.15)


def ranks(values: dict[str, float], label: str, name: str, **more: str) -> Metrics:
    return {name: [({label: rank, **more}, count) for rank, count in values.items()]}


@pytest.mark.parametrize(
    ("signal", "name", "figures", "expected"),
    [
        pytest.param("decode_running", "vllm:num_requests_running", (3, 5), 8, id="3 + 5 = 8"),
        pytest.param("decode_waiting", "vllm:num_requests_waiting", (2, 0), 2, id="2 + 0 = 2"),
        pytest.param(
            "decode_kv_frac", "vllm:kv_cache_usage_perc", (0.2, 0.6), 0.4, id="(0.2 + 0.6) / 2"
        ),
    ],
)
def test_trap_6_engines_on_one_port_add_up_and_shares_are_their_mean(
    signal: str, name: str, figures: tuple[float, float], expected: float
) -> None:
    metrics = ranks(dict(zip(("0", "1"), figures, strict=True)), "engine", name)
    found = table(recipe(signal), [instance("a", metrics)])
    assert found.values[0, 0] == pytest.approx(expected)
    assert found.reporting[0, 0] == 1


def test_trap_6_ranks_that_work_apart_add_up_in_sglang_too() -> None:
    name = "sglang:realtime_tokens_total"
    now = ranks({"0": 300.0, "1": 450.0}, "dp_rank", name, mode="decode", tp_rank="0")
    before = ranks({"0": 0.0, "1": 0.0}, "dp_rank", name, mode="decode", tp_rank="0")
    made = recipe("decode_tps", "sglang")
    assert value(made, [instance("a", now, before)]) == pytest.approx(750.0 / 15.0)


def test_trap_7_ranks_that_repeat_one_another_count_once() -> None:
    now = ranks({"0": 7.0, "1": 7.0, "2": 7.0, "3": 7.0}, "tp_rank", "sglang:num_running_reqs")
    assert value(recipe("decode_running", "sglang"), [instance("a", now)]) == 7.0


def test_trap_8_without_a_gpu_figure_the_engine_tells_how_busy_it_is() -> None:
    seconds = "sglang:forward_execution_seconds_total"
    made = recipes_of([PRESETS["sglang"], PRESETS["dcgm"]])["decode_util"]

    def engine(util: Metrics) -> Instance:
        def worked(extend: float, decode: float) -> Metrics:
            return {seconds: [({"category": "extend"}, extend), ({"category": "decode"}, decode)]}

        return instance("a", {**worked(1.5, 12.0), **util}, worked(0.0, 0.0))

    assert value(made, [engine({})]) == pytest.approx(13.5 / 15.0)
    whole = {"DCGM_FI_DEV_GPU_UTIL": one(40.0, UUID="GPU-1", GPU_I_ID="")}
    assert value(made, [engine(whole)]) == pytest.approx(0.40)
    # What is told of a slice of a GPU is not told of the GPU.
    part = {"DCGM_FI_DEV_GPU_UTIL": one(40.0, UUID="GPU-1", GPU_I_ID="7")}
    assert value(made, [engine(part)]) == pytest.approx(13.5 / 15.0)


def test_trap_9_the_model_may_have_any_name() -> None:
    engine = {"vllm:num_requests_running": one(3, model_name="Qwen/Qwen3-32B")}
    frontend = {"dynamo_frontend_requests_total": one(150, model="qwen/qwen3-32b")}
    began = {"dynamo_frontend_requests_total": one(0, model="qwen/qwen3-32b")}
    instances = [instance("a", engine), replace(instance("f", frontend, began), role=None)]
    assert value(recipe("decode_running"), instances) == 3.0
    assert value(recipe("request_rps", "dynamo"), instances) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("preset", "signal", "now", "expected"),
    [
        pytest.param("vllm", "decode_kv_frac", {"vllm:kv_cache_usage_perc": 0.63}, 0.63,
                     id="vLLM's _perc is of 1"),
        pytest.param("dcgm", "decode_util", {"DCGM_FI_DEV_GPU_UTIL": 85.0}, 0.85,
                     id="85 % / 100 = 0.85"),
        pytest.param("dcgm", "decode_sm", {"DCGM_FI_PROF_SM_ACTIVE": 0.45}, 0.45,
                     id="a ratio stays"),
        pytest.param("nixl", "transfer_gbps",
                     {"agent_rx_bytes_total": 6e10, "agent_xfer_time_total": 2e6}, 30.0,
                     id="60 GB / 2,000,000 us = 30 GB/s"),
        pytest.param("vllm", "transfer_gbps",
                     {"vllm:nixl_bytes_transferred_sum": 6e10,
                      "vllm:nixl_xfer_time_seconds_sum": 2.0}, 30.0, id="60 GB / 2 s = 30 GB/s"),
        pytest.param("sglang", "transfer_gbps",
                     {"sglang:kv_transfer_speed_gb_s_sum": 90.0,
                      "sglang:kv_transfer_speed_gb_s_count": 3.0}, 30.0, id="90 GB/s / 3 = 30"),
    ],
)  # fmt: skip
def test_trap_10_units_are_those_of_the_figure(
    preset: str, signal: str, now: dict[str, float], expected: float
) -> None:
    began = {name: one(0.0) for name in now}
    metrics = {name: one(count) for name, count in now.items()}
    found = value(recipe(signal, preset), [instance("a", metrics, began)])
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=["NaN", "+Inf", "-Inf"])
@pytest.mark.parametrize("signal", ["decode_tps", "decode_waiting", "decode_kv_frac", "tbt_avg_s"])
def test_m05_what_is_no_number_is_invalid_and_never_zero(signal: str, bad: float) -> None:
    tbt = "vllm:inter_token_latency_seconds"
    names = (OUTPUT, "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", f"{tbt}_sum")
    now = {**{name: one(bad) for name in names}, f"{tbt}_count": one(9.0)}
    before = {**{name: one(1.0) for name in names}, f"{tbt}_count": one(1.0)}
    found = value(recipe(signal), [instance("a", now, before)])
    assert found is not None
    assert not math.isfinite(found)
    if signal in {"decode_tps", "decode_waiting"}:
        signal_told = told(signal, [instance("a", now, before)], expected=1)
        assert (signal_told.quality, signal_told.value) == (Quality.INVALID, None)


@pytest.mark.parametrize(
    ("waiting", "quality"),
    [
        pytest.param(-1.0, Quality.INVALID, id="-1"),
        pytest.param(-0.0, Quality.INVALID, id="-0.0"),
        pytest.param(1e308, Quality.INVALID, id="1e308"),
        pytest.param(1e-320, Quality.INVALID, id="1e-320"),
        pytest.param(0.0, Quality.OK, id="0"),
    ],
)
def test_m06_a_value_no_reading_can_have_is_invalid(waiting: float, quality: Quality) -> None:
    engine = instance("a", {"vllm:num_requests_waiting": one(waiting)})
    assert told("decode_waiting", [engine], expected=1).quality is quality
    # Among others it doesn't hide in their sum.
    more = [engine, instance("b", {"vllm:num_requests_waiting": one(0.0 if waiting < 1 else 5.0)})]
    assert told("decode_waiting", more, expected=2).quality is quality


def test_m12_an_instance_scraped_by_two_jobs_is_one() -> None:
    first, again = counted("a", 100, 250), counted("a", 100, 250)
    found = table(DECODE_TPS, [first, again, counted("b", 0, 150)])
    assert (found.values[0, 0], found.reporting[0, 0]) == (20.0, 2)


def test_m13_what_another_service_exports_is_not_added() -> None:
    foreign = replace(counted("x", 0, 9_000), service="other")
    found = table(DECODE_TPS, [counted("a", 100, 250), foreign])
    assert (found.values[0, 0], found.reporting[0, 0]) == (10.0, 1)
    # Nor what an instance of the other role counts of the same metric.
    prefill = instance("p", {OUTPUT: one(900)}, {OUTPUT: one(0)}, role=Role.PREFILL)
    assert value(DECODE_TPS, [counted("a", 100, 250), prefill]) == 10.0


def test_m14_a_known_older_name_counts_where_the_new_one_is_not() -> None:
    new = instance("new", {"vllm:kv_cache_usage_perc": one(0.2)})
    old = instance("old", {"vllm:gpu_cache_usage_perc": one(0.6)})
    found = table(recipe("decode_kv_frac"), [new, old])
    assert (found.values[0, 0], found.reporting[0, 0]) == (pytest.approx(0.4), 2)


def test_m14_an_unknown_new_name_is_partial_and_told() -> None:
    old, new = counted("d0", 100, 250), instance("d1", {"vllm:generated_tokens_total": one(9)})
    signal = told("decode_tps", [old, new], expected=2)
    assert (signal.quality, signal.reporting) == (Quality.PARTIAL, 1)
    (leaf,) = leaves_of((DECODE_TPS,))
    assert renamed(leaf, [old, new]) == (
        "d1 (1 of 2 instances) does not export vllm:generation_tokens_total,"
        " but it exports vllm:generated_tokens_total"
    )
    assert renamed(leaf, [old]) is None
    assert renamed(leaf, [new]) is None


def test_an_exporter_of_a_node_speaks_of_each_pod_by_its_first_label() -> None:
    gauge = "DCGM_FI_PROF_SM_ACTIVE"
    node = scrape({
        gauge: [
            ({"exported_pod": "a", "pod": "dcgm-x", "gpu": "0"}, 0.2),
            ({"pod": "b", "gpu": "1"}, 0.4),
            ({"gpu": "2"}, 0.9),
        ]
    })  # fmt: skip
    pods = owned(node, ("exported_pod", "pod"))
    assert {pod: [s.value for s in found.samples[gauge]] for pod, found in pods.items()} == {
        "a": [0.2],
        "b": [0.4],
    }


def test_the_host_has_two_spellings_and_a_gpu_is_one_for_all_that() -> None:
    gauge = "DCGM_FI_PROF_SM_ACTIVE"
    twice = [({"UUID": "1", "Hostname": "n"}, 0.2), ({"UUID": "1", "hostname": "n"}, 0.2),
             ({"UUID": "2", "hostname": "n"}, 0.5)]  # fmt: skip
    made = recipe("decode_sm", "dcgm")
    assert value(made, [instance("a", {gauge: twice})]) == pytest.approx((0.2 + 0.5) / 2)


def test_a_blank_of_dcgm_is_no_value() -> None:
    gauge = "DCGM_FI_PROF_DRAM_ACTIVE"
    gpus = [({"gpu": "0"}, 0.3), ({"gpu": "1"}, 9223372036854775794.0)]
    made = recipe("decode_dram_frac", "dcgm")
    assert value(made, [instance("a", {gauge: gpus})]) == pytest.approx(0.3)
    assert value(made, [instance("a", {gauge: gpus[1:]})]) is None


@pytest.mark.parametrize(
    ("types", "role"),
    [
        pytest.param(["prefill"], Role.PREFILL, id="prefill"),
        pytest.param(["decode", "decode"], Role.DECODE, id="decode, twice"),
        pytest.param(["dynamic"], None, id="it may flip: not its labels know"),
        pytest.param(["prefill", "decode"], None, id="both: nobody knows"),
    ],
)
def test_sglang_tells_its_role(types: list[str], role: Role | None) -> None:
    series = [({"engine_type": kind}, 1.0) for kind in types]
    found = told_role(PRESETS["sglang"].roles, scrape({"sglang:num_running_reqs": series}))
    assert found is role


@pytest.mark.parametrize(
    ("older", "tps"),
    [
        pytest.param({"vllm:prompt_tokens_by_source_total": (0, 600)}, 40.0, id="600 / 15 = 40"),
        pytest.param({"vllm:prefix_cache_hits_total": (0, 900)}, 40.0, id="(1500 - 900) / 15"),
        pytest.param({"vllm:prefix_cache_hits_total": (0, 1800)}, 0.0, id="never below 0"),
        pytest.param({"vllm:gpu_prefix_cache_hits_total": (0, 90)}, None, id="blocks: not used"),
    ],
)
def test_uncached_prompts_of_new_and_old_vllm(
    older: dict[str, tuple[float, float]], tps: float | None
) -> None:
    counters = {"vllm:prompt_tokens_total": (0.0, 1500.0), **older}
    before, now = (
        {name: one(pair[at], source="local_compute") for name, pair in counters.items()}
        for at in (0, 1)
    )
    engine = instance("p", now, before, role=Role.PREFILL)
    assert value(recipe("prefill_tps_uncached"), [engine]) == tps


COUNTS = st.lists(st.floats(0.0, 1e12), min_size=2, max_size=6)


@given(histories=st.lists(COUNTS, min_size=1, max_size=4))
def test_no_restart_makes_a_rate_negative_or_giant(histories: list[list[float]]) -> None:
    pairs = [pairwise(history) for history in histories]
    for step in zip(*pairs, strict=False):
        instances = [counted(f"d{i}", *pair) for i, pair in enumerate(step)]
        found = value(DECODE_TPS, instances)
        # No instance can have counted more since the last look than it ever has.
        assert found is not None
        assert 0.0 <= found <= sum(now for _, now in step) / STEP_S * (1 + 1e-9)


ENGINES = st.dictionaries(
    st.sampled_from("0123"), st.tuples(st.floats(0, 1e9), st.floats(0, 1e9)), min_size=1
)


@given(
    pods=st.lists(ENGINES, min_size=1, max_size=3), again=st.integers(0, 2), random=st.randoms()
)
def test_neither_a_second_job_nor_the_order_of_series_changes_anything(
    pods: list[dict[str, tuple[float, float]]], again: int, random: object
) -> None:
    def pod(name: str, engines: dict[str, tuple[float, float]], job: str) -> Instance:
        order = list(engines)
        random.shuffle(order)  # type: ignore[attr-defined]
        series = [[({"engine": e, "job": job}, engines[e][at]) for e in order] for at in (0, 1)]
        return instance(name, {OUTPUT: series[1]}, {OUTPUT: series[0]})

    once = [pod(f"d{i}", engines, "a") for i, engines in enumerate(pods)]
    twice = [*once, pod(f"d{again % len(pods)}", pods[again % len(pods)], "b")]
    random.shuffle(twice)  # type: ignore[attr-defined]
    first, second = table(DECODE_TPS, once), table(DECODE_TPS, twice)
    assert second.values[0, 0] == pytest.approx(first.values[0, 0])
    assert second.reporting.tolist() == first.reporting.tolist()


def test_a_time_the_exporter_tells_is_the_time_of_the_sample() -> None:
    leaf = Leaf(("x",), Kind.GAUGE, None)
    old = replace(scrape({"x": one(1.0)}).samples["x"][0], at_s=NOW_S - 600.0)
    engine = instance("a", {})
    engine = replace(engine, now=replace(engine.now, samples={"x": [old]}))
    found = read(leaf, [engine])[leaf]
    assert found.at_s[0, 0] == NOW_S - 600.0
