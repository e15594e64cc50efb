"""vLLM, from 0.8 on. Its metrics don't say which role an engine has."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER, DECODE, GAUGE, PREFILL, latency
from controller.core.readings.recipe import (
    First,
    Fold,
    Kind,
    Leaf,
    Less,
    Load,
    Mean,
    Plus,
    Preset,
    Times,
)
from controller.core.types import Role

# One label per engine of a data-parallel instance.
_APART: Final = ("engine", "model_name")


def _leaf(kind: Kind, role: Role | None, name: str) -> Leaf:
    return Leaf((f"vllm:{name}",), kind, role, apart=_APART)


# Of 1, in spite of its name.
_FULL: Final = Leaf(
    ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
    GAUGE,
    PREFILL,
    apart=_APART,
    within=Fold.MEAN,
    over=Fold.MEAN,
)
_REQUESTS: Final = Leaf(
    ("vllm:request_success_total",), COUNTER, PREFILL, apart=(*_APART, "finished_reason")
)
_PROMPT: Final = _leaf(COUNTER, PREFILL, "prompt_tokens_total")
_COMPUTED: Final = Leaf(
    ("vllm:prompt_tokens_by_source_total",),
    COUNTER,
    PREFILL,
    having=(("source", "local_compute"),),
    apart=_APART,
)
# Its older name, gpu_prefix_cache_hits, counted blocks: no tokens can be made of it.
_HITS: Final = _leaf(COUNTER, PREFILL, "prefix_cache_hits_total")
_OUTPUT: Final = _leaf(COUNTER, DECODE, "generation_tokens_total")
# The reading side counts transfers, the sending one what was never fetched.
_MOVED: Final = _leaf(COUNTER, None, "nixl_bytes_transferred_sum")
_MOVING_S: Final = _leaf(COUNTER, None, "nixl_xfer_time_seconds_sum")
# Waiting has those too whose KV memory is still being fetched. What a prefill engine keeps for
# decode to fetch is in no queue of its own, but in its memory; what is merely cached is not.
_LOAD: Final = Load(
    always=(
        _leaf(GAUGE, None, "num_requests_running"),
        _leaf(GAUGE, None, "num_requests_waiting"),
    ),
    held=_FULL.of(None),
)
_FIRST_TOKEN: Final = ("vllm:time_to_first_token_seconds",)
_NEXT_TOKEN: Final = ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds")

PRESET: Final = Preset(
    name="vllm",
    title="vLLM",
    proof=("vllm:num_requests_running", "vllm:generation_tokens_total"),
    load=_LOAD,
    recipes={
        "decode_tps": _OUTPUT,
        "prefill_tps": _PROMPT,
        "prefill_tps_uncached": First((_COMPUTED, Less(_PROMPT, _HITS))),
        **latency("ttft", _FIRST_TOKEN, PREFILL, _APART),
        **latency("tbt", _NEXT_TOKEN, DECODE, _APART),
        "request_rps": _REQUESTS,
        "prefill_waiting": _leaf(GAUGE, PREFILL, "num_requests_waiting"),
        "decode_waiting": _leaf(GAUGE, DECODE, "num_requests_waiting"),
        "prefill_running": _leaf(GAUGE, PREFILL, "num_requests_running"),
        "decode_running": _leaf(GAUGE, DECODE, "num_requests_running"),
        "prefill_kv_frac": _FULL,
        "decode_kv_frac": _FULL.of(DECODE),
        "transfer_gbps": Times(Mean(_MOVED, _MOVING_S), 1e-9),
        "transfer_failures_rps": Plus(
            (
                _leaf(COUNTER, None, "nixl_num_failed_transfers_total"),
                _leaf(COUNTER, None, "nixl_num_kv_expired_reqs_total"),
            )
        ),
        "decode_rps": _REQUESTS.of(DECODE),
        "decode_prompt_tps": _PROMPT.of(DECODE),
        "decode_ttft_avg_s": latency("ttft", _FIRST_TOKEN, DECODE, _APART)["ttft_avg_s"],
        "decode_ttft_p99_s": latency("ttft", _FIRST_TOKEN, DECODE, _APART)["ttft_p99_s"],
        "prefill_output_tps": _OUTPUT.of(PREFILL),
    },
)
