"""SGLang with its own disaggregation; the label ``engine_type`` is the role."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from controller.core.readings.presets.parts import COUNTER, DECODE, GAUGE, PREFILL, latency
from controller.core.readings.recipe import Fold, Kind, Leaf, Load, Mean, Plus, Preset
from controller.core.types import Role

# Where all ranks of an engine export, they repeat the same figures: the first one speaks. What
# has no rank is the engine's.
_FIRST_RANK: Final = (("tp_rank", "0?"), ("pp_rank", "0?"), ("moe_ep_rank", "0?"))
# Engines that run side by side behind one address, and classes of requests, add up.
_APART: Final = ("dp_rank", "priority", "model_name")
_BY_REQUEST: Final = (*_APART, "is_streaming")


def _leaf(
    kind: Kind, role: Role | None, name: str, having: tuple[tuple[str, str], ...] = ()
) -> Leaf:
    labels = (*_BY_REQUEST, *(label for label, _ in having))
    return Leaf((f"sglang:{name}",), kind, role, having=(*having, *_FIRST_RANK), apart=labels)


def _waiting(role: Role, *further: str) -> Plus:
    # What is being transferred has been served by one role and is on its way to the other.
    return Plus(tuple(_leaf(GAUGE, role, f"num_{of}_reqs") for of in ("queue", *further)))


_FULL: Final = replace(_leaf(GAUGE, PREFILL, "token_usage"), within=Fold.MEAN, over=Fold.MEAN)
# The seconds of all kinds of work add up to how busy a rank is; of several the busiest counts.
_BUSY: Final = Leaf(
    ("sglang:forward_execution_seconds_total",),
    COUNTER,
    PREFILL,
    having=_FIRST_RANK,
    apart=("category",),
    over=Fold.MEAN,
)
_REQUESTS: Final = _leaf(COUNTER, PREFILL, "num_requests_total")
_FIRST_TOKEN: Final = ("sglang:time_to_first_token_seconds",)


def _queue(name: str) -> Leaf:
    # Of every rank: those of a data-parallel engine have none of the first one's numbers.
    return Leaf((f"sglang:num_{name}_reqs",), GAUGE, None, apart=_APART)


_LOAD: Final = Load(
    always=(_queue("running"), _queue("queue")),
    either=(
        (_queue("prefill_bootstrap_queue"), _queue("prefill_inflight_queue")),
        (_queue("decode_prealloc_queue"), _queue("decode_transfer_queue")),
    ),
)


def _tokens(role: Role, mode: str) -> Leaf:
    # Live, where the counters of prompt and generated tokens wait for the end of a request.
    return _leaf(COUNTER, role, "realtime_tokens_total", (("mode", mode),))


PRESET: Final = Preset(
    name="sglang",
    title="SGLang",
    proof=("sglang:num_running_reqs", "sglang:realtime_tokens_total"),
    roles={"engine_type": {"prefill": PREFILL, "decode": DECODE}},
    load=_LOAD,
    recipes={
        "decode_tps": _tokens(DECODE, "decode"),
        "prefill_tps": _tokens(PREFILL, "prefill_.*"),
        "prefill_tps_uncached": _tokens(PREFILL, "prefill_compute"),
        **latency("ttft", _FIRST_TOKEN, PREFILL, _BY_REQUEST),
        **latency("tbt", ("sglang:inter_token_latency_seconds",), DECODE, _BY_REQUEST),
        "request_rps": _REQUESTS,
        "prefill_util": _BUSY,
        "decode_util": _BUSY.of(DECODE),
        "prefill_waiting": _waiting(PREFILL, "prefill_bootstrap_queue"),
        "decode_waiting": _waiting(DECODE, "decode_prealloc_queue"),
        "prefill_running": _leaf(GAUGE, PREFILL, "num_running_reqs"),
        "decode_running": _leaf(GAUGE, DECODE, "num_running_reqs"),
        "prefill_sending": _leaf(GAUGE, PREFILL, "num_prefill_inflight_queue_reqs"),
        "decode_receiving": _leaf(GAUGE, DECODE, "num_decode_transfer_queue_reqs"),
        "prefill_kv_frac": _FULL,
        "decode_kv_frac": _FULL.of(DECODE),
        "transfer_gbps": Mean(
            _leaf(COUNTER, None, "kv_transfer_speed_gb_s_sum"),
            _leaf(COUNTER, None, "kv_transfer_speed_gb_s_count"),
        ),
        "transfer_failures_rps": Plus(
            tuple(
                _leaf(COUNTER, None, f"num_{what}_failed_reqs_total")
                for what in ("transfer", "bootstrap")
            )
        ),
        "decode_rps": _REQUESTS.of(DECODE),
        "decode_prompt_tps": _leaf(COUNTER, DECODE, "prompt_tokens_total"),
        "decode_ttft_avg_s": latency("ttft", _FIRST_TOKEN, DECODE, _BY_REQUEST)["ttft_avg_s"],
        "decode_ttft_p99_s": latency("ttft", _FIRST_TOKEN, DECODE, _BY_REQUEST)["ttft_p99_s"],
        "prefill_output_tps": _leaf(COUNTER, PREFILL, "generation_tokens_total"),
    },
)
