"""NVIDIA's DCGM exporter: one per node, its series name the pod that owns a GPU."""

from __future__ import annotations

from typing import Final

from controller.core.readings.presets.parts import DECODE, GAUGE, PREFILL
from controller.core.readings.recipe import Fold, Leaf, Preset, Recipe, Speaker, Times

# Where a scrape does not honour labels, those of the owner are renamed.
_OWNER: Final = ("exported_pod", "pod")
# What can't be read is exported as 9223372036854775794 and its like.
_BLANK_FROM: Final = 2.0**53


def _both(
    figure: str, name: str, factor: float = 1.0, *, whole: bool = False
) -> dict[str, Recipe]:
    """Return a figure of both roles; of ``whole`` GPUs alone where a slice has no value."""
    leaf = Leaf(
        (name,),
        GAUGE,
        PREFILL,
        having=(("GPU_I_ID", ""),) if whole else (),
        apart=("UUID", "gpu", "GPU_I_ID"),
        within=Fold.MEAN,
        over=Fold.MEAN,
        owner=_OWNER,
        below=_BLANK_FROM,
    )
    leaves = {f"{role}_{figure}": leaf.of(role) for role in (PREFILL, DECODE)}
    if factor == 1.0:
        return dict(leaves)
    return {name: Times(leaf, factor) for name, leaf in leaves.items()}


PRESET: Final = Preset(
    name="dcgm",
    title="DCGM exporter",
    speaker=Speaker.EXPORTER,
    proof=("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_DRAM_ACTIVE"),
    recipes={
        **_both("util", "DCGM_FI_DEV_GPU_UTIL", 0.01, whole=True),
        **_both("sm", "DCGM_FI_PROF_SM_ACTIVE"),
        **_both("dram_frac", "DCGM_FI_PROF_DRAM_ACTIVE"),
    },
)
