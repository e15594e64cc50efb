"""Which engine profiles fit a workload: by its GPUs, and by its model where a name tells it."""

import pytest

from controller.simulator.fits import fitting
from controller.simulator.profiles import PROFILES

H100 = ("h100-80gb-hbm3-8", "NVIDIA-H100-80GB-HBM3")


@pytest.mark.parametrize(
    ("hardware", "gpus", "names", "first", "told"),
    [
        pytest.param(H100, 2, ["Qwen/Qwen3-32B"], "qwen3-32b/h100-tp2", True, id="by its model"),
        pytest.param(
            H100, 2, ["org/qwen3-32b-fp8"], "qwen3-32b-fp8/h100-tp2-derived", True, id="precision"
        ),
        pytest.param(
            H100, 1, ["", "qwen3-32b-decode"], "qwen3-32b-fp8/h100-derived", True, id="workload"
        ),
        pytest.param(H100, 2, ["Llama-2-70b-hf"], "llama-2-70b/h100-tp2", True, id="version"),
        pytest.param(
            ["h200"], 8, ["DeepSeek-V3-0324"], "deepseek-v3/h200-tp8", True, id="a family alone"
        ),
        pytest.param(["h200"], 8, ["DeepSeek-V2"], None, True, id="another version"),
        pytest.param(H100, 2, ["Qwen3-235B-A22B"], None, True, id="another size"),
        pytest.param(H100, 3, ["Qwen3-32B"], None, True, id="another number of GPUs"),
        pytest.param(["h100-pcie-8"], 2, ["Qwen3-32B"], None, True, id="a slower card"),
        pytest.param(["gh200-8"], 2, ["Qwen3-32B"], None, True, id="another card"),
        pytest.param(H100, 2, ["chat"], "qwen3-32b-fp8/h100-tp2-derived", False, id="untold"),
        pytest.param([], 2, ["chat"], None, False, id="no hardware is known"),
    ],
)
def test_a_profile_fits_by_gpus_and_by_the_model_that_is_told(
    hardware: list[str], gpus: int, names: list[str], first: str | None, *, told: bool
) -> None:
    found = fitting(PROFILES, hardware, gpus, names)
    assert (next(iter(found.names), None), found.told) == (first, told)


def test_every_built_in_profile_fits_its_own_model_and_hardware() -> None:
    lost = [
        name
        for name, one in PROFILES.items()
        if name not in fitting(PROFILES, [one.hardware], one.tp, [one.model]).names
    ]
    assert lost == []
