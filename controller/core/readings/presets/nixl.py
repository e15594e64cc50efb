"""NIXL's own exporter, beside the engine that moves KV memory with it."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import COUNTER
from controller.core.readings.recipe import Leaf, Mean, Preset, Speaker, Times


def _leaf(name: str, *apart: str) -> Leaf:
    # Either side may be the one that moves: nothing here has a role.
    return Leaf((f"agent_{name}",), COUNTER, None, apart=("agent_name", *apart))


PRESET: Final = Preset(
    name="nixl",
    title="NIXL",
    speaker=Speaker.EXPORTER,
    proof=("agent_rx_bytes_total", "agent_tx_bytes_total"),
    recipes={
        # Times are in microseconds: bytes per microsecond are MB/s.
        "transfer_gbps": Times(Mean(_leaf("rx_bytes_total"), _leaf("xfer_time_total")), 1e-3),
        "transfer_failures_rps": _leaf("errors_total", "status"),
    },
)
