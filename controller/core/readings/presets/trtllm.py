"""TensorRT-LLM as a worker of Dynamo: latencies and memory; throughput is the frontend's."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER, DECODE, GAUGE, PREFILL, latency
from controller.core.readings.recipe import Fold, Leaf, Mean, Preset
from controller.core.types import Role

_APART: Final = ("model_name", "engine_type")
_FULL: Final = Leaf(
    ("trtllm_kv_cache_utilization",),
    GAUGE,
    PREFILL,
    apart=_APART,
    within=Fold.MEAN,
    over=Fold.MEAN,
)


def _requests(role: Role) -> Leaf:
    apart = (*_APART, "finished_reason")
    return Leaf(("trtllm_request_success_total",), COUNTER, role, apart=apart)


def _speed(of: str) -> Leaf:
    return Leaf((f"trtllm_kv_transfer_speed_gb_s_{of}",), COUNTER, None, apart=_APART)


PRESET: Final = Preset(
    name="trtllm",
    title="TensorRT-LLM under Dynamo",
    proof=("trtllm_request_success_total", "trtllm_kv_cache_utilization"),
    roles={
        "disaggregation_mode": {"prefill": PREFILL, "decode": DECODE},
        "dynamo_component": {"prefill": PREFILL, "decode": DECODE, "backend": DECODE},
    },
    recipes={
        **latency("ttft", ("trtllm_time_to_first_token_seconds",), PREFILL, _APART),
        **latency("tbt", ("trtllm_time_per_output_token_seconds",), DECODE, _APART),
        "request_rps": _requests(PREFILL),
        "decode_rps": _requests(DECODE),
        "prefill_kv_frac": _FULL,
        "decode_kv_frac": _FULL.of(DECODE),
        "transfer_gbps": Mean(_speed("sum"), _speed("count")),
    },
)
