"""Engine profiles: the table, its sources and its documentation."""

import csv
import gzip
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controller.core.types import Floats
from controller.simulator.fitting import DecodePoints, PrefillPoints, fit_decode, fit_prefill
from controller.simulator.profile_table import left_out_table, profile_table
from controller.simulator.profiles import (
    HARDWARE,
    LEFT_OUT,
    PROFILES,
    Profile,
    kv_capacity_tokens,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "engine-profiles.md"
GPUS = {
    "a100_sxm": "a100",
    "b200_sxm": "b200",
    "b300_sxm": "b300",
    "h100_sxm": "h100",
    "h200_sxm": "h200",
    "l40s": "l40s",
    "H20": "h20",
    "H800": "h800",
    "H20-96G": "h20",
    "H800-80G": "h800",
    "A800-80G": "a800",
}
# One source writes these models without their owner, and the FP8 one without its precision.
MODELS = {
    ("Qwen3-8B", "fp8"): "Qwen/Qwen3-8B-FP8",
    ("Qwen3-30B-A3B", "bf16"): "Qwen/Qwen3-30B-A3B",
    ("DeepSeek-V3", "fp8"): "deepseek-ai/DeepSeek-V3",
}
LONGEST_FITTED = 16_384
NUMBERS = ("prompt_size", "batch_size", "token_size", "prompt_ms", "token_ms")

Place = tuple[str, str, int, str]


@pytest.fixture(scope="module")
def fits(shared: Path) -> dict[Place, dict[str, Any]]:
    entries = json.loads((shared / "data/perf/fitted_params.json").read_text())["entries"]
    return {_place(entry): entry for entry in entries}


def _place(entry: dict[str, Any]) -> Place:
    model = MODELS.get((entry["model"], entry["precision"]), entry["model"])
    return model, GPUS[entry["gpu"]], entry["tp"], entry["kind"].split()[0]


def _figures(profile: Profile) -> tuple[float, ...]:
    p = profile
    return p.a, p.b, p.c, p.c0, p.c1, p.c2, p.c3


def _same(profile: Profile, fit: dict[str, Any]) -> None:
    prefill, decode = fit["prefill_ms"], fit["decode_ms"]
    ms = [
        *(prefill[name] for name in ("a", "b_per_token", "c_per_token2")),
        *(decode[name] for name in ("c0", "c1_per_seq", "c2_per_seq_token")),
        decode.get("c3_expert_load", 0.0),
    ]
    assert _figures(profile) == pytest.approx([figure * 1e-3 for figure in ms], rel=1e-12)
    assert (
        profile.precision,
        profile.top_k,
        profile.experts,
        profile.kv_bytes_per_token,
        profile.prefill_error_frac,
        profile.decode_error_frac,
    ) == (
        fit["precision"],
        decode.get("top_k", 0),
        decode.get("experts", 0),
        fit["kv_bytes_per_token"],
        prefill["mape"],
        decode["mape"],
    )
    if fit["kv_capacity_tokens_est"] is not None:
        assert profile.kv_capacity_tokens == fit["kv_capacity_tokens_est"]


def test_every_fit_is_built_in_as_it_is_or_left_out_with_a_reason(
    fits: dict[Place, dict[str, Any]],
) -> None:
    built_in = {(p.model, p.hardware, p.tp, p.kind): p for p in PROFILES.values()}
    left_out = {(out.model, out.hardware, out.tp, out.kind): out.why for out in LEFT_OUT}
    assert len(fits) == 44
    for place, fit in fits.items():
        if place in left_out:
            assert left_out[place]
        else:
            _same(built_in[place], fit)


def test_nothing_is_built_in_that_no_source_has(fits: dict[Place, dict[str, Any]]) -> None:
    without = [
        p.name
        for p in PROFILES.values()
        if (p.model, p.hardware, p.tp, p.kind) not in fits
        and not p.model.endswith("Llama-2-70b")
        and p.hardware != "h800"
    ]
    assert without == []


@pytest.fixture(scope="module")
def grid(shared: Path) -> dict[str, list[dict[str, str]]]:
    """Return the points kernels were added up for, by the name of the profile."""
    names = {
        (p.model, p.precision, p.hardware, p.tp): p.name
        for p in PROFILES.values()
        if p.kind == "modelled"
    }
    points: dict[str, list[dict[str, str]]] = defaultdict(list)
    with gzip.open(shared / "data/perf/modelled_gpu_grid.csv.gz", "rt") as file:
        for row in csv.DictReader(file):
            place = row["model"], row["precision"], GPUS[row["gpu"]], int(row["tp"])
            points[names[place]].append(row)
    return points


def _points(rows: list[dict[str, str]], phase: str, columns: tuple[str, ...]) -> list[Floats]:
    chosen = [row for row in rows if row["phase"] == phase and row["oom"] == "0"]
    return [np.array([float(row[column]) for row in chosen]) for column in columns]


def test_modelled_profiles_are_fitted_to_the_times_of_their_kernels(
    grid: dict[str, list[dict[str, str]]],
) -> None:
    assert len(grid) == 36
    for name, rows in grid.items():
        p = PROFILES[name]
        tokens, batch, took_ms = _points(rows, "prefill", ("input_len", "batch", "latency_ms"))
        near = tokens <= LONGEST_FITTED
        prefill = fit_prefill(PrefillPoints(tokens[near], batch[near], took_ms[near] * 1e-3))
        batch, context, step_ms = _points(rows, "decode", ("batch", "context_len", "latency_ms"))
        decode = fit_decode(DecodePoints(batch, context, step_ms * 1e-3), (p.top_k, p.experts))
        assert _figures(p) == pytest.approx([*prefill.figures, *decode.figures], rel=2e-5), name
        assert (*prefill.doubts, *decode.doubts) == (), name


def test_prompts_twice_as_long_as_those_fitted_are_off_by_up_to_an_eighth(
    grid: dict[str, list[dict[str, str]]],
) -> None:
    errors = []
    for name, rows in grid.items():
        tokens, took_ms = _points(rows, "prefill", ("input_len", "latency_ms"))
        far = tokens == 2 * LONGEST_FITTED
        errors += list(PROFILES[name].prefill_s(tokens[far]) * 1e3 / took_ms[far] - 1)
    assert (len(errors), min(errors) > -0.125, max(errors) < 0.055) == (36, True, True)


@pytest.mark.parametrize("hardware", ["a100", "h100"])
@pytest.mark.parametrize("tp", [2, 4, 8])
def test_llama_2_is_fitted_to_what_was_measured(hardware: str, tp: int, shared: Path) -> None:
    with (shared / "data/perf/measured_splitwise_llama2_70b.csv").open() as file:
        rows = [
            {name: float(row[name]) for name in NUMBERS}
            for row in csv.DictReader(file)
            if row["hardware"] == f"{hardware}-80gb"
            and row["tensor_parallel"] == str(tp)
            and row["suspect"] == "0"
        ]
    prompt, batch, output, prompt_ms, token_ms = (
        np.array([row[name] for row in rows]) for name in NUMBERS
    )
    single = batch == 1
    prefill = fit_prefill(
        PrefillPoints(prompt[single], batch[single], prompt_ms[single] * 1e-3),
    )
    decode = fit_decode(DecodePoints(batch, prompt + output / 2, token_ms * 1e-3))
    profile = PROFILES[f"llama-2-70b/{hardware}-tp{tp}"]
    assert _figures(profile) == pytest.approx([*prefill.figures, *decode.figures], rel=1e-5)
    assert (profile.prefill_error_frac, profile.decode_error_frac) == pytest.approx(
        (prefill.mean_error_frac, decode.mean_error_frac), abs=1e-4
    )


@pytest.mark.parametrize(
    ("name", "weights_gib"),
    [
        pytest.param("qwen3-32b-fp8/h100-tp4-derived", 31.2, id="4 x (72 - 3.5) - 31.2 GiB"),
        pytest.param("llama-2-70b/h100-tp2", 128.48, id="2 x (72 - 3.5) - 128.5 GiB"),
        pytest.param("llama-2-70b/a100-tp8", 128.48, id="8 x (72 - 3.5) - 128.5 GiB"),
        pytest.param("qwen3-8b-fp8/h20", 8.8, id="86.4 - 3.5 - 8.8 GiB"),
        pytest.param("qwen3-30b-a3b/h20", 56.9, id="86.4 - 3.5 - 56.9 GiB"),
    ],
)
def test_a_capacity_nobody_measured_is_what_the_weights_leave(
    name: str, weights_gib: float
) -> None:
    p = PROFILES[name]
    assert p.kv_capacity_tokens == pytest.approx(
        kv_capacity_tokens(
            p.spec, p.tp, weights_gib=weights_gib, kv_bytes_per_token=p.kv_bytes_per_token
        ),
        rel=1e-3,
    )


def test_an_h800_computes_like_an_h100_and_says_so() -> None:
    h800, h100 = PROFILES["llama-3.1-70b-fp8/h800-tp4"], PROFILES["llama-3.1-70b-fp8/h100-tp4"]
    assert _figures(h800) == _figures(h100)
    assert "NVLink" in h800.provenance


def test_of_two_profiles_of_one_engine_the_better_trusted_comes_first() -> None:
    names = list(PROFILES)
    assert names.index("qwen3-32b-fp8/h100-tp2-derived") < names.index("qwen3-32b-fp8/h100-tp2")


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_a_profile_runs_on_known_hardware_and_names_its_engine(profile: Profile) -> None:
    assert profile.spec is HARDWARE[profile.hardware]
    assert profile.engine
    assert profile.name.startswith(f"{profile.name.split('/')[0]}/{profile.hardware}")


def test_hardware_is_what_its_source_says(shared: Path) -> None:
    with (shared / "data/perf/hardware_specs.csv").open() as file:
        rows = {GPUS[row["gpu"]]: row for row in csv.DictReader(file) if row["gpu"] in GPUS}
    columns = ("mem_gib", "mem_bw_gb_s", "bf16_dense_tflops", "inter_node_gb_s_per_gpu_one_way")
    assert {
        name: (spec.gpu_memory_gib, spec.mem_bw_gb_s, spec.bf16_tflops, spec.nic_gb_s)
        for name, spec in HARDWARE.items()
    } == {name: tuple(float(row[column]) for column in columns) for name, row in rows.items()}
    assert all(spec.source for spec in HARDWARE.values())


@pytest.mark.parametrize(
    ("name", "tokens", "expect_s"),
    [
        pytest.param(
            "qwen3-32b-fp8/h100",
            1_000,
            0.0755,
            id="10.6 ms + 1000 x 0.0637 ms + 1e6 x 1.23e-6 ms = 75.5 ms",
        ),
        pytest.param("qwen3-8b/l40s", 0, 0.01295, id="no tokens: the fixed 12.95 ms"),
    ],
)
def test_prefill_time(name: str, tokens: int, expect_s: float) -> None:
    assert float(PROFILES[name].prefill_s(tokens)) == pytest.approx(expect_s, rel=1e-3)


def test_a_step_of_experts_costs_more_with_every_sequence_until_all_are_touched() -> None:
    moe = PROFILES["qwen3-30b-a3b/h20"]
    steps_s = moe.step_s(np.array([1.0, 16.0, 256.0]), 0.0)
    # 21.8 ms + 34.9 ms x (1 - (15/16)^B): 24.0, 44.2 and 56.7 ms.
    assert steps_s == pytest.approx([0.02396, 0.04424, 0.05666], rel=1e-3)


def test_the_documentation_has_the_tables() -> None:
    document = DOCUMENT.read_text()
    assert profile_table() in document
    assert left_out_table() in document
