"""A profile of one's own engine takes from the table what the person did not say."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from controller.simulator.fitting import DecodePoints, PrefillPoints
from controller.simulator.own_engine import Engine, OwnProfile, fit_profile
from controller.simulator.profile_file import ProfileError, read_profile, write_profile
from controller.simulator.profiles import HARDWARE, PROFILES, Ranges

TRUE = PROFILES["qwen3-32b-fp8/h100"]
LENGTHS = np.array([128.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0])
BATCH, CONTEXT = (
    np.array(column)
    for column in zip(*product([1.0, 8.0, 64.0, 256.0], [256.0, 4096.0]), strict=True)
)
PREFILL = PrefillPoints(LENGTHS, np.ones(6), TRUE.prefill_s(LENGTHS))
DECODE = DecodePoints(BATCH, CONTEXT, TRUE.step_s(BATCH, BATCH * CONTEXT))
ENGINE = Engine("ours/x", TRUE.model, "h100", kv_capacity_tokens=1_000_000, source="bench")
OWN_GPU = {"gpu_memory_gib": 192.0, "mem_bw_gb_s": 5300.0, "nic_gb_s": 50.0, "gpus_per_node": 8}


def fitted(**changed: object) -> OwnProfile:
    return fit_profile(replace(ENGINE, **changed), PREFILL, DECODE)  # type: ignore[arg-type]


def test_the_profile_has_the_figures_of_the_points_and_what_they_covered() -> None:
    own = fitted()
    p = own.profile
    assert [p.a, p.b, p.c, p.c0, p.c1, p.c2, p.c3] == pytest.approx(
        [TRUE.a, TRUE.b, TRUE.c, TRUE.c0, TRUE.c1, TRUE.c2, 0], rel=1e-6
    )
    assert (p.kv_bytes_per_token, p.kind, p.provenance) == (262_144, "measured", "bench")
    assert p.ranges == Ranges((128, 8192), (1, 256), (256, 4096))
    assert own.doubts == ()
    assert read_profile(write_profile(p), "x") == p


def test_a_gpu_nobody_knows_is_described() -> None:
    spec = fitted(hardware="mi300x", gpu=OWN_GPU).profile.spec
    assert (spec.name, spec.gpus_per_node, spec.gpu_memory_gib) == ("mi300x", 8, 192)
    assert (spec.mem_bw_gb_s, spec.nic_gb_s) == (5300, 50)
    assert math.isnan(spec.bf16_tflops)


def test_one_figure_of_a_known_gpu_can_be_otherwise() -> None:
    spec = fitted(gpu={"nic_gb_s": 12.5}).profile.spec
    known = HARDWARE["h100"]
    assert spec == replace(known, nic_gb_s=12.5, source=f"{known.source}; nic_gb_s as given")


def test_the_weights_give_the_capacity_nobody_read_off() -> None:
    own = fitted(kv_capacity_tokens=None, weights_gib=31.2, tp=2)
    # 2 x (0.9 x 80 - 3.5) - 31.2 = 105.8 GiB of 256 KiB each.
    assert own.profile.kv_capacity_tokens == 433_356


@pytest.mark.parametrize(
    ("changed", "field", "problem"),
    [
        pytest.param(
            {"hardware": "mi300x", "gpu": {"nic_gb_s": 50.0}},
            "hardware",
            "gpu_memory_gib, mem_bw_gb_s, gpus_per_node missing",
            id="half a GPU",
        ),
        pytest.param({"model": "x/y"}, "kv_bytes_per_token", "'x/y'", id="unknown model"),
        pytest.param(
            {"kv_capacity_tokens": None}, "kv_capacity_tokens", "is in no file", id="no capacity"
        ),
        pytest.param(
            {"kv_capacity_tokens": None, "weights_gib": 70.0},
            "weights_gib",
            "no room for a KV cache on 1 x 80 GiB",
            id="72 - 3.5 - 70 GiB",
        ),
        pytest.param({"name": "Ours"}, "name", "small letters", id="name"),
        pytest.param({"experts": (9, 8)}, "experts", "9 active of 8", id="experts"),
    ],
)
def test_what_is_missing_or_can_not_be_is_named(
    changed: dict[str, object], field: str, problem: str
) -> None:
    with pytest.raises(ProfileError) as refusal:
        fitted(**changed)
    assert refusal.value.field == field
    assert problem in refusal.value.problem


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        pytest.param(
            {"max_seqs": 1024}, "up to 1,024 sequences and the points end at 256", id="batch"
        ),
        pytest.param(
            {"kv_capacity_tokens": 3_000_000},
            "holds 3,000,000 tokens and the points end at 1,048,576",
            id="256 x 4096 tokens",
        ),
    ],
)
def test_running_far_beyond_the_points_is_doubted(changed: dict[str, object], words: str) -> None:
    assert [doubt for doubt in fitted(**changed).doubts if words in doubt]
