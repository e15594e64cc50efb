"""NIXL's own exporter, beside the engine that moves KV memory with it."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER, DECODE, PREFILL
from controller.core.readings.recipe import Leaf, Mean, Plus, Preset, Speaker, Times
from controller.core.types import Role

_APART: Final = ("agent_name",)


def _leaf(role: Role, name: str, *apart: str) -> Leaf:
    return Leaf((f"agent_{name}",), COUNTER, role, apart=(*_APART, *apart))


PRESET: Final = Preset(
    name="nixl",
    title="NIXL",
    speaker=Speaker.EXPORTER,
    proof=("agent_rx_bytes_total", "agent_tx_bytes_total"),
    recipes={
        # Times are in microseconds: bytes per microsecond are MB/s.
        "transfer_gbps": Times(
            Mean(_leaf(DECODE, "rx_bytes_total"), _leaf(DECODE, "xfer_time_total")), 1e-3
        ),
        "transfer_failures_rps": Plus(
            (
                _leaf(DECODE, "errors_total", "status"),
                _leaf(PREFILL, "errors_total", "status"),
            )
        ),
    },
)
