"""What is known of a hardware type that a file only names."""

import math
import re
from typing import Final

from controller.simulator.profiles import HARDWARE, HardwareSpec
from inventory.importers.found import FoundHardware
from inventory.kept import Value

MIB_PER_GIB: Final = 1024
NEAR: Final = 0.1
"""How far a memory size may be from the vendor's for the GPU to be the same."""
OTHER_BOARDS: Final = frozenset(("pcie", "nvl"))
"""Boards whose figures differ from those of the modules of the same name."""


def known_figures(hardware: FoundHardware) -> dict[str, Value]:
    """Return fields that the file leaves out, from the figures of vendors; none if unsure."""
    spec = _spec(hardware)
    if spec is None:
        return {}
    figures: dict[str, Value] = {
        "vendor": spec.vendor,
        "gpu_model": spec.label,
        "gpu_memory_mib": round(spec.gpu_memory_gib * MIB_PER_GIB),
        "mem_bw_gb_s": spec.mem_bw_gb_s,
        "source": spec.source,
    }
    if math.isfinite(spec.bf16_tflops):
        figures["bf16_tflops"] = spec.bf16_tflops
    return {name: value for name, value in figures.items() if not getattr(hardware, name, None)}


def _spec(hardware: FoundHardware) -> HardwareSpec | None:
    words = re.split(r"[^a-z0-9]+", f"{hardware.slug} {hardware.gpu_model or ''}".lower())
    if OTHER_BOARDS & set(words):
        return None
    spec = next((HARDWARE[word] for word in words if word in HARDWARE), None)
    if spec is None:
        return None
    told = hardware.gpu_memory_mib or _memory(words)
    if told is None:
        # A bare name, as h200 or h200-8, is the usual board.
        return spec if len(set(filter(None, words))) <= _BARE else None
    wanted = spec.gpu_memory_gib * MIB_PER_GIB
    return spec if abs(told - wanted) <= NEAR * wanted else None


_BARE: Final = 2


def _memory(words: list[str]) -> int | None:
    sizes = (match for word in words if (match := re.match(r"(\d{2,3})gb\Z", word)))
    return next((int(match[1]) * MIB_PER_GIB for match in sizes), None)
