"""The frontend of NVIDIA Dynamo: it sees whole requests, as users do, and no role."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER, GAUGE, latency
from controller.core.readings.recipe import First, Kind, Leaf, Less, Preset, Speaker

_APART: Final = ("model", "endpoint", "request_type", "status")


def _leaf(kind: Kind, name: str, phase: str = "") -> Leaf:
    return Leaf(
        (f"dynamo_frontend_{name}",),
        kind,
        None,
        having=(("phase", phase),) if phase else (),
        apart=(*_APART, "stage") if phase else _APART,
    )


_INPUT: Final = _leaf(COUNTER, "input_sequence_tokens_sum")

PRESET: Final = Preset(
    name="dynamo",
    title="Dynamo frontend",
    speaker=Speaker.FRONTEND,
    proof=("dynamo_frontend_requests_total", "dynamo_frontend_output_tokens_total"),
    recipes={
        "decode_tps": First(
            (_leaf(COUNTER, "output_tokens_total"), _leaf(COUNTER, "output_sequence_tokens_sum"))
        ),
        "prefill_tps": _INPUT,
        "prefill_tps_uncached": Less(_INPUT, _leaf(COUNTER, "cached_tokens_sum")),
        **latency("ttft", ("dynamo_frontend_time_to_first_token_seconds",), None, _APART),
        **latency("tbt", ("dynamo_frontend_inter_token_latency_seconds",), None, _APART),
        "request_rps": _leaf(COUNTER, "requests_total"),
        "prefill_waiting": First(
            (_leaf(GAUGE, "stage_requests", "prefill"), _leaf(GAUGE, "queued_requests"))
        ),
        "decode_running": _leaf(GAUGE, "stage_requests", "decode"),
    },
)
