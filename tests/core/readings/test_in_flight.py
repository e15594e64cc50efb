"""Requests that an instance still works on: what adds up to them, and what leaves them unknown."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, nan
from pathlib import Path

import pytest

from controller.adapters.exposition import read_exposition
from controller.core.readings.in_flight import Question, question, requests_of, total_of
from controller.core.readings.presets import PRESETS
from controller.core.readings.recipe import Leaf, Load
from controller.core.readings.scrapes import Instance, figures_of
from controller.core.readings.sources import Use
from tests.core.readings.exporters import NOW_S, Metrics, instance, one

VLLM, SGLANG = (f"{name}:num_" for name in ("vllm", "sglang"))
KV = "vllm:kv_cache_usage_perc"


def load_of(preset: str) -> Load:
    found = PRESETS[preset].load
    assert found is not None
    return found


def figures(preset: str, metrics: Metrics) -> Mapping[Leaf, float]:
    instances = [instance("a", metrics)]
    return figures_of(load_of(preset).leaves, instances, "chat").get("a", {})


def vllm(running: float | None, waiting: float | None, kv: float | None = 0.0) -> Metrics:
    values = {
        f"{VLLM}requests_running": running,
        f"{VLLM}requests_waiting": waiting,
        KV: kv,
    }
    return {name: one(value) for name, value in values.items() if value is not None}


def sglang(running: float, queue: float, **queues: float) -> Metrics:
    values = {"running_reqs": running, "queue_reqs": queue} | {
        f"{name}_queue_reqs": value for name, value in queues.items()
    }
    return {f"{SGLANG}{name}": one(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("preset", "metrics", "expect"),
    [
        pytest.param("vllm", vllm(2, 3, 0.4), 5, id="2 run + 3 wait"),
        pytest.param("vllm", vllm(0, 0), 0, id="idle"),
        pytest.param("vllm", vllm(0, 0, 0.02), 1, id="memory is kept: at least 1"),
        pytest.param("vllm", vllm(1, 0, 0.02), 1, id="memory of the one that runs"),
        pytest.param("vllm", vllm(0, None), None, id="who waits is not told"),
        pytest.param("vllm", vllm(None, 0), None, id="who runs is not told"),
        pytest.param("vllm", vllm(0, 0, None), None, id="memory is not told"),
        pytest.param("vllm", {}, None, id="nothing is told"),
        pytest.param("vllm", vllm(nan, 0), None, id="NaN"),
        pytest.param("vllm", vllm(0, 0, nan), None, id="NaN of memory"),
        pytest.param("vllm", vllm(inf, 0), None, id="infinite"),
        pytest.param("vllm", vllm(-1, 1), None, id="-1 + 1 is not 0"),
        pytest.param("vllm", vllm(0.2, 0), 1, id="a fifth of one is one"),
        pytest.param(
            "sglang",
            sglang(1, 4, prefill_bootstrap=2, prefill_inflight=3),
            10,
            id="prefill: 1 runs + 4 wait + 2 begin + 3 are sent",
        ),
        pytest.param(
            "sglang",
            sglang(74, 0, decode_prealloc=1, decode_transfer=2),
            77,
            id="decode: 74 run + 1 gets memory + 2 are received",
        ),
        pytest.param(
            "sglang",
            sglang(0, 0, decode_prealloc=0, decode_transfer=0),
            0,
            id="nothing in any queue",
        ),
        pytest.param("sglang", sglang(0, 0), None, id="no queue between the roles is told"),
        pytest.param(
            "sglang",
            sglang(0, 0, prefill_inflight=0, decode_transfer=0),
            None,
            id="half of each role's queues is none whole",
        ),
    ],
)
def test_gauges_add_up_or_leave_it_unknown(
    preset: str, metrics: Metrics, expect: int | None
) -> None:
    assert requests_of(load_of(preset), figures(preset, metrics)) == expect


def test_engines_behind_one_port_add_up_m12() -> None:
    ranks = [({"engine": at, "model_name": "m"}, value) for at, value in (("0", 1.0), ("1", 2.0))]
    metrics = vllm(0, 0, 0.1) | {f"{VLLM}requests_running": ranks}
    assert requests_of(load_of("vllm"), figures("vllm", metrics)) == 3


@pytest.mark.parametrize(
    ("labels", "expect"),
    [
        pytest.param([("0", "0"), ("1", "4")], 5, id="data-parallel ranks: 2 + 3"),
        pytest.param([("0", "0"), ("0", "1")], 3, id="ranks of one engine repeat it: the most"),
    ],
)
def test_every_rank_counts_whatever_its_number(labels: list[tuple[str, str]], expect: int) -> None:
    ranks = [
        ({"dp_rank": dp, "tp_rank": tp}, value)
        for (dp, tp), value in zip(labels, (2.0, 3.0), strict=True)
    ]
    metrics = sglang(0, 0, decode_prealloc=0, decode_transfer=0) | {f"{SGLANG}running_reqs": ranks}
    assert requests_of(load_of("sglang"), figures("sglang", metrics)) == expect


@pytest.mark.parametrize(
    ("preset", "file", "expect"),
    [
        pytest.param("vllm", "vllm_decode_0.t0", 40, id="vLLM decode: 40 run + 0 wait"),
        pytest.param("vllm", "vllm_prefill_0.t0", 1, id="vLLM prefill: 1 runs + 0 wait"),
        pytest.param("sglang", "sglang_decode_0.t0", 76, id="SGLang decode: 74 + 2 received"),
        pytest.param("sglang", "sglang_prefill_0.t0", 8, id="SGLang prefill: 1 + 4 + 3 sent"),
        pytest.param("vllm", "sglang_decode_0.t0", None, id="another engine"),
    ],
)
def test_of_what_engines_export(shared: Path, preset: str, file: str, expect: int | None) -> None:
    load = load_of(preset)
    names = {name for leaf in load.leaves for name in leaf.names}
    scrape = read_exposition(
        (shared / "data" / "metrics" / f"{file}.prom").read_bytes(), NOW_S, names
    )
    found = figures_of(load.leaves, [Instance("a", "chat", None, scrape)], "chat")
    assert requests_of(load, found.get("a", {})) == expect


@pytest.mark.parametrize("presets", [("trtllm",), ("tgi", "dcgm"), ()])
def test_of_engines_that_do_not_tell_nothing_is_asked(presets: tuple[str, ...]) -> None:
    assert question(Use("s", "chat", presets), ["a"], at_s=NOW_S, max_age_s=45.0) is None


def test_of_instances_of_two_engines_each_is_known_by_its_own() -> None:
    use = Use("s", "chat", ("vllm", "dcgm", "sglang"))
    asked = question(use, ["a", "b"], at_s=NOW_S, max_age_s=45.0)
    assert asked == Question("chat", ("a", "b"), (load_of("vllm"), load_of("sglang")), NOW_S, 45.0)
    of_b = figures("sglang", sglang(1, 0, decode_prealloc=0, decode_transfer=0))
    known = {"a": figures("vllm", vllm(2, 3)), "b": of_b, "c": of_b}
    assert asked.answer(known) == {"a": 5, "b": 1}
    half = {"a": {**known["a"], **figures("sglang", sglang(1, 0))}}
    assert asked.answer(half) == {}


@pytest.mark.parametrize(
    ("answers", "expect"),
    [
        pytest.param([{"a": 1, "b": 2}], 3, id="1 + 2"),
        pytest.param([{"a": 0, "b": 0}], 0, id="nothing"),
        pytest.param([{"a": 0}], None, id="b is not known"),
        pytest.param([{"a": 0}, {"b": 0}], 0, id="each by another endpoint"),
        pytest.param([{"a": 0, "b": 0}, {"a": 4}], 4, id="of two that know a, the more"),
        pytest.param([{"a": 0, "b": 0, "c": 9}], 0, id="c was not asked about"),
        pytest.param([], None, id="nobody answers"),
    ],
)
def test_one_unknown_leaves_all_unknown(answers: list[dict[str, int]], expect: int | None) -> None:
    assert total_of(["a", "b"], answers) == expect
