"""A profile file comes back exactly, and what can't be an engine is refused with its field."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from controller.simulator.profile_file import (
    ProfileError,
    profile_body,
    read_profile,
    write_profile,
)
from controller.simulator.profiles import HARDWARE, PROFILES, HardwareSpec, Profile, Ranges

DENSE = PROFILES["qwen3-32b-fp8/h100"]
OWN_GPU = HardwareSpec("mi300x", "MI300X", "AMD", 8, 192, 5300, 1307.4, 50, "data sheet")
RANGES = Ranges((100, 16_372), (1, 787), (350, 13_585))


@pytest.mark.parametrize(
    "profile",
    [
        *PROFILES.values(),
        replace(DENSE, name="own/mi300x", hardware="mi300x", own_spec=OWN_GPU),
        replace(DENSE, name="own/h100-slow", own_spec=replace(HARDWARE["h100"], nic_gb_s=12.5)),
        replace(DENSE, name="own/ranges", ranges=RANGES, a=0.1 + 0.2),
    ],
    ids=lambda p: p.name,
)
def test_a_profile_comes_back_exactly(profile: Profile) -> None:
    assert read_profile(write_profile(profile), "file.json") == profile


def test_what_is_unknown_is_null_in_the_file_and_nan_in_the_profile() -> None:
    unknown = replace(
        DENSE,
        hardware="mi300x",
        own_spec=replace(OWN_GPU, bf16_tflops=math.nan),
        decode_error_frac=math.nan,
    )
    body = json.loads(write_profile(unknown))
    assert (body["hardware_spec"]["bf16_tflops"], body["fit_error_frac"]["decode"]) == (None, None)
    back = read_profile(write_profile(unknown), "file.json")
    assert math.isnan(back.spec.bf16_tflops)
    assert math.isnan(back.decode_error_frac)


def changed(**values: object) -> Callable[[dict[str, Any]], object]:
    return lambda body: body.update(values)


def inside(part: str, **values: object) -> Callable[[dict[str, Any]], object]:
    return lambda body: body[part].update(values)


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        pytest.param(lambda b: b.pop("model"), "model", "is missing", id="missing"),
        pytest.param(changed(colour="red"), "colour", "is not known", id="unknown field"),
        pytest.param(changed(format="x"), "format", "heteroscale-profile/1", id="format"),
        pytest.param(changed(model=7), "model", "7 is no text", id="number for text"),
        pytest.param(changed(name="Ä"), "name", "small letters", id="name"),
        pytest.param(changed(kind="guessed"), "kind", "none of measured", id="kind"),
        pytest.param(changed(model=" "), "model", "is empty", id="empty"),
        pytest.param(changed(hardware="h9000"), "hardware", "known: a100, a800", id="hardware"),
        pytest.param(changed(max_seqs=0), "max_seqs", "0 is not between 1", id="no sequences"),
        pytest.param(changed(max_seqs=1.5), "max_seqs", "no whole number", id="half a sequence"),
        pytest.param(changed(gpus_per_instance=True), "gpus_per_instance", "no whole", id="true"),
        pytest.param(inside("prefill_s", a=-1), "prefill_s.a", "at least 0", id="negative"),
        pytest.param(
            inside("decode_s", c1_per_seq="1"), "decode_s.c1_per_seq", "no number", id="text"
        ),
        pytest.param(
            inside("decode_s", c1_per_seq=10**400), "decode_s.c1_per_seq", "large", id="1e400"
        ),
        pytest.param(
            inside("prefill_s", b_per_token=0, c_per_token2=0), "prefill_s", "no longer", id="flat"
        ),
        pytest.param(
            inside("decode_s", c0=0), "decode_s", "no batch is ever faster", id="never faster"
        ),
        pytest.param(
            inside("decode_s", c1_per_seq=0, c2_per_token=0),
            "decode_s",
            "the same",
            id="flat step",
        ),
        pytest.param(inside("decode_s", c0=14.5), "decode_s", "seconds, not ms", id="in ms"),
        pytest.param(
            inside("decode_s", c3_experts=0.01), "experts", "0 active of 0", id="c3 alone"
        ),
        pytest.param(
            changed(experts={"active": 9, "all": 8}), "experts", "9 active of 8", id="experts"
        ),
        pytest.param(
            changed(
                fitted_on={
                    "prefill_tokens": [5, 1],
                    "decode_batch": [1, 2],
                    "decode_context": [1, 2],
                }
            ),
            "fitted_on.prefill_tokens",
            "5 to 1 is no range",
            id="range",
        ),
        pytest.param(changed(prefill_s=None), "prefill_s", "is null", id="null"),
        pytest.param(changed(prefill_s=[1]), "prefill_s", "no JSON object", id="list"),
    ],
)
def test_a_field_that_can_not_be_is_named(
    change: Callable[[dict[str, Any]], object], field: str, problem: str
) -> None:
    body = dict(profile_body(DENSE))
    change(body)
    with pytest.raises(ProfileError) as refusal:
        read_profile(json.dumps(body).encode(), "file.json")
    assert refusal.value.field == field
    assert problem in refusal.value.problem


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"\xff", "file.json: is no UTF-8 JSON document", id="no text"),
        pytest.param(b"{\n,", "file.json, line 2: no JSON", id="no JSON"),
        pytest.param(b"[" * 100_000, "file.json: is no UTF-8 JSON document", id="deep"),
        pytest.param(b"[]", "file.json: is no JSON object", id="list"),
        pytest.param(b'{"x": NaN}', "NaN is no figure: write null", id="NaN"),
        pytest.param(b'{"x": -Infinity}', "-Infinity is no figure", id="infinite"),
    ],
)
def test_what_is_no_profile_file_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ProfileError) as refusal:
        read_profile(data, "file.json")
    assert said in str(refusal.value)


def test_a_profile_that_would_be_refused_is_not_written() -> None:
    with pytest.raises(ProfileError, match=r"prefill_s\.a"):
        write_profile(replace(DENSE, a=math.nan))


def test_a_described_gpu_needs_its_figures() -> None:
    with pytest.raises(ProfileError) as refusal:
        write_profile(replace(DENSE, hardware="mi300x", own_spec=replace(OWN_GPU, nic_gb_s=0)))
    assert refusal.value.field == "hardware_spec.nic_gb_s"
