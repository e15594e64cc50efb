"""The command ``signals``: it gives the figures of recorded scrapes, and refuses in words."""

from __future__ import annotations

import json
import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from controller.core.readings.presets import KINDS

FIGURES = {
    "prefill": {
        "requests_per_s": "request_rps",
        "prompt_tps": "prefill_tps",
        "generation_tps": "prefill_output_tps",
        "cache_miss_prompt_tps": "prefill_tps_uncached",
        "ttft_avg_s": "ttft_avg_s",
        "ttft_p99_s_exact": "ttft_p99_s",
        "running": "prefill_running",
        "waiting": "prefill_waiting",
        "kv_usage": "prefill_kv_frac",
    },
    "decode": {
        "requests_per_s": "decode_rps",
        "prompt_tps": "decode_prompt_tps",
        "generation_tps": "decode_tps",
        "ttft_avg_s": "decode_ttft_avg_s",
        "ttft_p99_s_exact": "decode_ttft_p99_s",
        "itl_avg_s": "tbt_avg_s",
        "itl_p99_s_exact": "tbt_p99_s",
        "running": "decode_running",
        "waiting": "decode_waiting",
        "kv_usage": "decode_kv_frac",
    },
    "frontend": {
        "requests_per_s": "request_rps",
        "prompt_tps": "prefill_tps",
        "cache_miss_prompt_tps": "prefill_tps_uncached",
        "generation_tps": "decode_tps",
    },
}
ENGINES = {
    **{f"vllm_{role}_{i}": "vllm" for role in ("prefill", "decode") for i in (0, 1)},
    "sglang_prefill_0": "sglang",
    "sglang_decode_0": "sglang",
    "dynamo_frontend": "dynamo",
}
HISTOGRAMS = {"ttft": "time_to_first_token_seconds", "tbt": "inter_token_latency_seconds"}


def answer(*words: str) -> dict[str, dict[str, Any]]:
    said = StringIO()
    call_command("signals", *words, "--json", stdout=said, stderr=StringIO())
    found: dict[str, dict[str, Any]] = json.loads(said.getvalue())
    return found


def files(shared: Path, *names: str) -> list[str]:
    """Return what is scraped first and then, as the command takes it."""
    kept = shared / "data" / "metrics"
    return [
        ",".join(str(kept / f"{name}.{time}.prom") for name in names) for time in ("t0", "t15")
    ]


def roles(*names: str) -> list[str]:
    known = [f"{name}.t0.prom={role}" for name in names for role in FIGURES if role in name]
    return ["--roles", ",".join(known)]


@pytest.fixture(scope="session")
def expected(shared: Path) -> dict[str, dict[str, Any]]:
    text = (shared / "data" / "metrics" / "expected.json").read_text()
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def same(value: float, told: float) -> bool:
    """Whether a figure is the one told, which is rounded: latencies to six places, else three."""
    return value == pytest.approx(told, rel=1e-6, abs=6e-7 if told < 1.0 else 6e-4)


def bounds_around(text: str, name: str, value: float) -> tuple[float, float]:
    """Return between which bounds of a histogram a quantile of few samples may be.

    It lies in the bucket of the value, or in the next where the rank falls between two samples:
    of 96 the value between the 95th and the 96th is exact, and a histogram has the 96th alone.
    """
    found = re.findall(rf'^\w+:{name}_bucket\{{.*?le="([0-9.e+-]+)"', text, flags=re.MULTILINE)
    bounds = sorted({0.0, *(float(bound) for bound in found)})
    above = [bound for bound in bounds if bound >= value]
    return max(bound for bound in bounds if bound < value), above[:2][-1]


@pytest.mark.parametrize("name", ENGINES)
def test_one_instance_gives_its_expected_figures(
    name: str, shared: Path, expected: dict[str, dict[str, Any]]
) -> None:
    told = expected[name]
    role = told.pop("role", "frontend")
    words = roles(name) if role != "frontend" else []
    found = answer("--engine", ENGINES[name], "--service", "chat", *files(shared, name), *words)
    text = Path(files(shared, name)[1]).read_text()
    for key, value in told.items():
        figure = found[FIGURES[role][key]]
        assert figure["quality"] == "ok", key
        assert figure["reporting"] == figure["expected"] == 1, key
        if key.endswith("_exact"):
            # Of a histogram no more is known than between which bounds it lies.
            histogram = HISTOGRAMS["tbt" if key.startswith("itl") else "ttft"]
            lower, upper = bounds_around(text, histogram, value)
            assert lower <= figure["value"] <= upper, key
        else:
            assert same(figure["value"], value), key


def test_no_sample_is_left_out(expected: dict[str, dict[str, Any]]) -> None:
    assert set(expected) - {"interval_s", "note"} == {*ENGINES, "dcgm_node_h100_8gpu"}


def test_together_roles_stay_apart_and_instances_add_up(
    shared: Path, expected: dict[str, dict[str, Any]]
) -> None:
    names = [name for name in ENGINES if name.startswith("vllm")]
    kept = str(shared / "data" / "metrics" / "dcgm_node_h100_8gpu.prom")
    before, now = files(shared, *names)
    found = answer(
        *("--engine", "vllm,dcgm", "--service", "chat-32b"),
        *(f"{before},{kept}", f"{now},{kept}", *roles(*names)),
    )
    added = ("requests_per_s", "prompt_tps", "generation_tps", "running", "waiting")
    for role in ("prefill", "decode"):
        theirs = [expected[f"vllm_{role}_{i}"] for i in (0, 1)]
        for key in added:
            figure = found[FIGURES[role][key]]
            assert same(figure["value"], sum(one[key] for one in theirs)), (role, key)
            assert (figure["reporting"], figure["expected"]) == (2, 2)
        assert found[f"{role}_kv_frac"]["value"] == pytest.approx(theirs[0]["kv_usage"])
        gpus = expected["dcgm_node_h100_8gpu"][role]
        assert found[f"{role}_util"]["value"] == pytest.approx(gpus["gpu_util_pct"] / 100)
        assert found[f"{role}_sm"]["value"] == pytest.approx(gpus["sm_active"])
        assert found[f"{role}_dram_frac"]["value"] == pytest.approx(gpus["dram_active"])
        assert (found[f"{role}_sm"]["reporting"], found[f"{role}_sm"]["expected"]) == (2, 2)
    # The mean of all requests, not of two means: weighted by how many each instance finished.
    means = [(expected[f"vllm_prefill_{i}"], i) for i in (0, 1)]
    whole = sum(one["ttft_avg_s"] * one["requests_per_s"] for one, _ in means)
    assert found["ttft_avg_s"]["value"] == pytest.approx(whole / (6.4 + 7.4), rel=1e-4)


def test_gauges_need_one_scrape_alone(shared: Path, expected: dict[str, dict[str, Any]]) -> None:
    kept = str(shared / "data" / "metrics" / "dcgm_node_h100_8gpu.prom")
    found = answer("--engine", "dcgm", "--service", "chat", kept)
    assert found["decode_util"] == {
        "value": pytest.approx(expected["dcgm_node_h100_8gpu"]["decode"]["gpu_util_pct"] / 100),
        "unit": "share",
        "quality": "ok",
        "reporting": 2,
        "expected": 2,
    }
    assert found["decode_tps"]["quality"] == "missing"
    # A pod by its name, a pattern or a role of its own.
    one = answer(
        "--engine", "dcgm", "--service", "x", kept, "--roles", "chat-32b-prefill-1=prefill"
    )
    assert one["prefill_util"]["value"] == pytest.approx((0.61 + 0.62) / 2)
    assert (one["prefill_util"]["reporting"], one["decode_util"]["quality"]) == (1, "missing")


def test_every_signal_and_figure_is_answered_with_its_unit(shared: Path) -> None:
    found = answer("--engine", "dynamo", "--service", "chat", *files(shared, "dynamo_frontend"))
    assert list(found) == list(KINDS)
    assert {name: figure["unit"] for name, figure in found.items()} == {
        name: kind.unit for name, kind in KINDS.items()
    }


TEXT = """\
vllm:num_requests_running{engine="0"} 3
vllm:generation_tokens_total{engine="0"} 100
"""


def scraped(tmp_path: Path, text: str, name: str = "a.prom") -> str:
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_a_person_reads_lines_what_is_missing_and_a_new_name(tmp_path: Path) -> None:
    new = TEXT.replace("num_requests_running", "num_requests_running_now")
    both = ",".join([scraped(tmp_path, TEXT), scraped(tmp_path, new, "b.prom")])
    said = StringIO()
    words = ["--engine", "vllm", "--service", "chat", both, "--roles", "a=decode,b=decode"]
    call_command("signals", *words, stdout=said)
    lines = said.getvalue().splitlines()
    assert lines[0].split() == ["decode_running", "3", "requests", "partial", "1", "of", "2",
                                "requests", "in", "decode"]  # fmt: skip
    assert lines[1].startswith("Missing: decode_tps, prefill_tps,")
    assert lines[2] == (
        "b.prom (1 of 2 instances) does not export vllm:num_requests_running,"
        " but it exports vllm:num_requests_running_now."
    )


@pytest.mark.parametrize(
    ("text", "words", "code", "message"),
    [
        pytest.param(TEXT, ["--engine", "vlm"], "no_such_engine", "'vlm' is none of vllm, sglang",
                     id="unknown engine"),
        pytest.param(TEXT, ["--engine", "vllm"], "no_role", "name it with --roles",
                     id="vLLM doesn't say its role"),
        pytest.param(TEXT, ["--engine", "vllm", "--roles", "a.prom=both"], "bad_usage",
                     "'a.prom=both' is not NAME=prefill", id="unknown role"),
        pytest.param(TEXT, ["--engine", "vllm", "--interval-s", "0"], "bad_usage", "above 0",
                     id="no time between scrapes"),
        pytest.param("<html>", ["--engine", "vllm"], "bad_exposition", "line 1: it is no sample",
                     id="M16: a login page"),
        pytest.param(f"{TEXT}vllm:num_requests_running{{engine=\"1\"}} 0x10", ["--engine", "vllm"],
                     "bad_exposition", "line 3: it can't be read", id="M06: 0x10"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_words(
    text: str, words: list[str], code: str, message: str, tmp_path: Path
) -> None:
    said = StringIO()
    options = ["--service", "chat", scraped(tmp_path, text), *words, "--json"]
    with pytest.raises(SystemExit) as left:
        call_command("signals", *options, stdout=said, stderr=StringIO())
    error = json.loads(said.getvalue())["error"]
    assert (left.value.code, error["code"]) == (2, code)
    assert message in error["message"]
    with pytest.raises(CommandError, match=re.escape(message)):
        call_command("signals", *options[:-1], stdout=StringIO())


def test_each_instance_is_there_both_times() -> None:
    with pytest.raises(CommandError, match="as many files at both times"):
        call_command("signals", "--engine", "tgi", "--service", "x", "a.prom", "b.prom,c.prom")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"absent\.prom: No such file"):
        call_command("signals", "--engine", "tgi", "--service", "x", str(tmp_path / "absent.prom"))
