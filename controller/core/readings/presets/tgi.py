"""Text Generation Inference: one engine does both phases, so nothing has a role."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER, GAUGE, latency
from controller.core.readings.recipe import Leaf, Mean, Plus, Preset, Speaker


def _counter(name: str, method: str = "") -> Leaf:
    having = (("method", method),) if method else ()
    return Leaf((f"tgi_{name}",), COUNTER, None, having=having)


_QUEUED_S: Final = Mean(
    _counter("request_queue_duration_sum"), _counter("request_queue_duration_count")
)
_PREFILLED_S: Final = Mean(
    _counter("batch_inference_duration_sum", "prefill"),
    _counter("batch_inference_duration_count", "prefill"),
)

PRESET: Final = Preset(
    name="tgi",
    title="TGI",
    # It speaks for the whole service, as a frontend does.
    speaker=Speaker.FRONTEND,
    proof=("tgi_queue_size", "tgi_batch_current_size"),
    recipes={
        "decode_tps": _counter("request_generated_tokens_sum"),
        "prefill_tps": _counter("request_input_length_sum"),
        **latency("tbt", ("tgi_request_mean_time_per_token_duration",), None, ()),
        # The time to the first token is not exported; these come nearest.
        "ttft_avg_s": Plus((_QUEUED_S, _PREFILLED_S)),
        "request_rps": _counter("request_count"),
        "prefill_waiting": Leaf(("tgi_queue_size",), GAUGE, None),
        "decode_running": Leaf(("tgi_batch_current_size",), GAUGE, None),
    },
)
