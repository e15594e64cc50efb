"""Engine profiles: the table, its sources and its documentation."""

import json
from pathlib import Path

import numpy as np
import pytest

from controller.simulator.profile_table import profile_table
from controller.simulator.profiles import HARDWARE, PROFILES, Profile

DOCUMENT = Path(__file__).parents[2] / "docs" / "engine-profiles.md"
GPUS = {"h800": "h100_sxm", "h100": "h100_sxm", "h200": "h200_sxm", "l40s": "l40s", "h20": "H20"}


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_a_profile_is_one_of_the_fits(profile: Profile, shared: Path) -> None:
    entries = json.loads((shared / "data/perf/fitted_params.json").read_text())["entries"]
    names = {profile.model, profile.model.split("/")[-1].removesuffix("-FP8")}
    place = (GPUS[profile.hardware], profile.tp, profile.precision)
    fit = next(
        entry
        for entry in entries
        if entry["model"] in names and (entry["gpu"], entry["tp"], entry["precision"]) == place
    )
    prefill, decode = fit["prefill_ms"], fit["decode_ms"]
    ms = 1e-3
    found = (profile.a, profile.b, profile.c, profile.c0, profile.c1, profile.c2, profile.c3)
    assert found == pytest.approx(
        [prefill[name] * ms for name in ("a", "b_per_token", "c_per_token2")]
        + [decode[name] * ms for name in ("c0", "c1_per_seq", "c2_per_seq_token")]
        + [decode.get("c3_expert_load", 0.0) * ms]
    )
    assert (profile.top_k, profile.experts) == (decode.get("top_k", 0), decode.get("experts", 0))
    assert profile.kv_bytes_per_token == fit["kv_bytes_per_token"]
    if fit["kv_capacity_tokens_est"] is not None:
        assert profile.kv_capacity_tokens == fit["kv_capacity_tokens_est"]
    assert (profile.prefill_error_frac, profile.decode_error_frac) == (
        prefill["mape"],
        decode["mape"],
    )


def test_an_h800_computes_like_an_h100_and_says_so() -> None:
    h800, h100 = PROFILES["llama-3.1-70b-fp8/h800-tp4"], PROFILES["llama-3.1-70b-fp8/h100-tp4"]
    assert (h800.a, h800.c0, h800.c2) == (h100.a, h100.c0, h100.c2)
    assert "NVLink" in h800.provenance


def test_every_profile_runs_on_known_hardware() -> None:
    assert {profile.hardware for profile in PROFILES.values()} == set(HARDWARE)


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


def test_the_documentation_has_the_table() -> None:
    assert profile_table() in DOCUMENT.read_text()
