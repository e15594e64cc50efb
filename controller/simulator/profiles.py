"""How fast an engine is: hardware figures and fitted step times per (model, hardware, GPUs)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.types import Floats

MS: Final = 1e-3
MAX_SEQS: Final = 256
"""Sequences one decode engine runs at once: the usual engine setting."""

GIB: Final = float(2**30)


@dataclass(frozen=True, slots=True)
class HardwareSpec:
    """One GPU type as its vendor specifies it; bandwidths are per GPU and one way [GB/s]."""

    name: str
    label: str
    vendor: str
    gpus_per_node: int
    gpu_memory_gib: float
    mem_bw_gb_s: float
    bf16_tflops: float
    nic_gb_s: float
    source: str


_AIC_HARDWARE: Final = "aiconfigurator-core 0.12.0 system file"
_LMSYS_HARDWARE: Final = "LMSYS blog on serving DeepSeek-R1 on H20, hardware table"

HARDWARE: Final[Mapping[str, HardwareSpec]] = {
    spec.name: spec
    for spec in (
        HardwareSpec("h800", "H800 80 GB", "NVIDIA", 8, 80, 3352, 989, 50, _LMSYS_HARDWARE),
        HardwareSpec("h20", "H20 96 GB", "NVIDIA", 8, 96, 4000, 148, 25, _LMSYS_HARDWARE),
        HardwareSpec("l40s", "L40S 48 GB", "NVIDIA", 8, 45, 864, 362.05, 50, _AIC_HARDWARE),
        HardwareSpec("h100", "H100 SXM 80 GB", "NVIDIA", 8, 80, 3350, 989, 50, _AIC_HARDWARE),
        HardwareSpec("h200", "H200 SXM 141 GB", "NVIDIA", 8, 141, 4800, 989, 50, _AIC_HARDWARE),
    )
}


@dataclass(frozen=True, slots=True)
class Profile:
    """Step times of one engine instance [s], linear in what a step must compute and read.

    A prefill of ``L`` computed tokens takes ``a + b*L + c*L**2``. A decode step of ``B``
    sequences with ``K`` context tokens in all takes ``c0 + c1*B + c2*K``, plus, for a mixture of
    experts, ``c3`` times the expected share of experts the batch touches. ``tp`` is GPUs per
    instance. The errors are mean absolute relative errors of the fit.
    """

    name: str
    model: str
    precision: str
    hardware: str
    tp: int
    a: float
    b: float
    c: float
    c0: float
    c1: float
    c2: float
    c3: float
    top_k: int
    experts: int
    kv_bytes_per_token: int
    kv_capacity_tokens: int
    max_seqs: int
    kind: str
    provenance: str
    prefill_error_frac: float
    decode_error_frac: float

    @property
    def miss_frac(self) -> float:
        """Share of experts one sequence leaves untouched; 0 for a dense model."""
        return 1 - self.top_k / self.experts if self.experts else 0.0

    def prefill_s(self, tokens: Floats | float) -> Floats:
        """Return the time to prefill prompts of ``tokens`` computed tokens, shape as given [s]."""
        length = np.asarray(tokens, dtype=np.float64)
        return self.a + length * (self.b + self.c * length)

    def step_s(self, batch: Floats | float, context: Floats | float) -> Floats:
        """Return the time of a step with ``batch`` sequences and ``context`` tokens in all [s].

        The two broadcast against each other.
        """
        seqs = np.asarray(batch, dtype=np.float64)
        touched = 1 - self.miss_frac**seqs
        return self.c0 + self.c1 * seqs + self.c2 * np.asarray(context) + self.c3 * touched


@dataclass(frozen=True, slots=True)
class _Model:
    """What is the same on every hardware: ``experts`` is (active, all), empty when dense."""

    slug: str
    name: str
    precision: str
    kv_bytes: int
    experts: tuple[int, int] = (0, 0)


_QWEN3_8B: Final = _Model("qwen3-8b", "Qwen/Qwen3-8B", "bf16", 147_456)
_QWEN3_8B_FP8: Final = _Model("qwen3-8b-fp8", "Qwen/Qwen3-8B-FP8", "fp8", 147_456)
_QWEN3_30B: Final = _Model("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", "bf16", 98_304, (8, 128))
_QWEN3_32B: Final = _Model("qwen3-32b", "Qwen/Qwen3-32B", "bf16", 262_144)
_QWEN3_32B_FP8: Final = _Model("qwen3-32b-fp8", "Qwen/Qwen3-32B-FP8", "fp8", 262_144)
_LLAMA_70B_FP8: Final = _Model(
    "llama-3.1-70b-fp8", "nvidia/Llama-3.1-70B-Instruct-FP8", "fp8", 163_840
)
_LLAMA_8B_FP8: Final = _Model(
    "llama-3.1-8b-fp8", "nvidia/Llama-3.1-8B-Instruct-FP8", "fp8", 65_536
)
_DEEPSEEK_V3: Final = _Model("deepseek-v3", "deepseek-ai/DeepSeek-V3", "fp8", 70_272, (8, 256))

_KERNELS: Final = (
    "Computed from measured kernel times (aiconfigurator-core 0.12.0, TensorRT-LLM kernels;"
    " SGLang for Qwen3-30B-A3B), static batching."
)
_INFERSIM: Final = (
    "Computed from measured kernel utilisation (alibaba/InferSim f2293da), one GPU; KV capacity"
    " is 0.9 x memory less weights and 3.5 GiB."
)
_DYNAMO: Final = "Fitted to stopwatch measurements of vLLM (ai-dynamo/dynamo planner test data)."


def _name(model: _Model, hardware: str, tp: int) -> str:
    return f"{model.slug}/{hardware}" + (f"-tp{tp}" if tp > 1 else "")


@dataclass(frozen=True, slots=True)
class _Fit:
    """One row of the table, in the unit of its sources [ms]."""

    model: _Model
    place: tuple[str, int]
    prefill_ms: tuple[float, float, float]
    decode_ms: tuple[float, float, float, float]
    kv_capacity_tokens: int
    errors: tuple[float, float]
    kind: str = "modelled"
    provenance: str = _KERNELS

    def profile(self) -> Profile:
        hardware, tp = self.place
        a, b, c = (value * MS for value in self.prefill_ms)
        c0, c1, c2, c3 = (value * MS for value in self.decode_ms)
        return Profile(
            name=_name(self.model, hardware, tp),
            model=self.model.name,
            precision=self.model.precision,
            hardware=hardware,
            tp=tp,
            a=a,
            b=b,
            c=c,
            c0=c0,
            c1=c1,
            c2=c2,
            c3=c3,
            top_k=self.model.experts[0],
            experts=self.model.experts[1],
            kv_bytes_per_token=self.model.kv_bytes,
            kv_capacity_tokens=self.kv_capacity_tokens,
            max_seqs=MAX_SEQS,
            kind=self.kind,
            provenance=self.provenance,
            prefill_error_frac=self.errors[0],
            decode_error_frac=self.errors[1],
        )


_H100: Final = (
    _Fit(
        _QWEN3_8B,
        ("h100", 1),
        (5.3191, 0.0195427, 5.80788e-07),
        (6.9005, 0.00554061, 4.85744e-05, 0.0),
        387_569,
        (0.0307, 0.0157),
    ),
    _Fit(
        _QWEN3_30B,
        ("h100", 1),
        (23.0867, 0.0101286, 6.19101e-07),
        (3.6126, 0.0310535, 3.5281e-05, 14.6714),
        126_641,
        (0.0171, 0.0507),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("h100", 1),
        (10.5711, 0.0637257, 1.23118e-06),
        (14.5163, 0.0356934, 4.29153e-05, 0.0),
        152_776,
        (0.0236, 0.029),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("h100", 2),
        (8.8716, 0.0372042, 6.52702e-07),
        (8.9746, 0.026424, 2.24945e-05, 0.0),
        433_345,
        (0.0143, 0.0329),
    ),
    _Fit(
        _QWEN3_32B,
        ("h100", 2),
        (10.3474, 0.0478628, 1.03405e-06),
        (14.2367, 0.0177685, 4.48765e-05, 0.0),
        311_274,
        (0.0342, 0.0151),
    ),
    _Fit(
        _QWEN3_32B,
        ("h100", 4),
        (9.5141, 0.0287975, 4.59399e-07),
        (8.4367, 0.0248534, 2.20857e-05, 0.0),
        872_412,
        (0.0084, 0.019),
    ),
    _Fit(
        _LLAMA_70B_FP8,
        ("h100", 4),
        (10.8434, 0.0411635, 4.2572e-07),
        (9.83, 0.0394001, 1.40357e-05, 0.0),
        1_351_914,
        (0.0126, 0.0138),
    ),
)

_OTHERS: Final = (
    _Fit(
        _QWEN3_8B_FP8,
        ("h20", 1),
        (30.8636, 0.0508711, 2.18194e-06),
        (7.5869, 0.039831, 5.57736e-05, 0.0),
        539_600,
        (0.0132, 0.0693),
        provenance=_INFERSIM + " Weights 8.8 GiB (embeddings stay bf16).",
    ),
    _Fit(
        _QWEN3_30B,
        ("h20", 1),
        (43.2817, 0.044957, 3.02924e-06),
        (21.7777, 0.0, 0.0, 34.8831),
        284_000,
        (0.0576, 0.0754),
        provenance=_INFERSIM + " Weights 56.9 GiB.",
    ),
    _Fit(
        _QWEN3_8B,
        ("l40s", 1),
        (12.9527, 0.0705561, 2.0651e-06),
        (18.8765, 0.0384788, 0.000226668, 0.0),
        158_116,
        (0.0622, 0.0187),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("l40s", 1),
        (12.7176, 0.35005, 4.72819e-06),
        (49.2547, 0.0, 0.000263725, 0.0),
        23_709,
        (0.0829, 0.0542),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("l40s", 2),
        (11.1794, 0.248143, 2.31828e-06),
        (27.2003, 0.101269, 0.000105889, 0.0),
        175_210,
        (0.0672, 0.094),
    ),
    _Fit(
        _QWEN3_32B,
        ("l40s", 4),
        (16.6248, 0.481678, 1.58887e-06),
        (23.9685, 0.414889, 0.000104146, 0.0),
        356_143,
        (0.0068, 0.0412),
    ),
    _Fit(
        _LLAMA_70B_FP8,
        ("l40s", 4),
        (20.0691, 0.900061, 1.54207e-06),
        (31.6546, 0.70762, 8.79242e-05, 0.0),
        525_884,
        (0.0091, 0.102),
    ),
    _Fit(
        _QWEN3_8B,
        ("h200", 1),
        (4.1501, 0.0195668, 5.26002e-07),
        (5.4607, 0.00804988, 3.30444e-05, 0.0),
        787_338,
        (0.0292, 0.0274),
    ),
    _Fit(
        _QWEN3_30B,
        ("h200", 1),
        (17.5188, 0.00990025, 5.88852e-07),
        (3.2994, 0.0256771, 2.23536e-05, 10.5534),
        726_296,
        (0.0168, 0.0386),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("h200", 1),
        (8.7563, 0.061448, 1.30449e-06),
        (11.6095, 0.0402532, 3.15878e-05, 0.0),
        377_646,
        (0.0213, 0.0452),
    ),
    _Fit(
        _QWEN3_32B_FP8,
        ("h200", 2),
        (7.5592, 0.0359704, 6.5803e-07),
        (7.5859, 0.0270491, 1.61245e-05, 0.0),
        883_085,
        (0.0123, 0.0434),
    ),
    _Fit(
        _LLAMA_70B_FP8,
        ("h200", 4),
        (8.5015, 0.0395738, 4.16243e-07),
        (8.0629, 0.0362946, 9.90509e-06, 0.0),
        2_791_084,
        (0.0116, 0.0183),
    ),
    _Fit(
        _DEEPSEEK_V3,
        ("h200", 8),
        (29.1374, 0.0313269, 3.96125e-07),
        (6.7446, 0.0111293, 1.14446e-05, 22.7407),
        660_616,
        (0.0222, 0.0549),
    ),
    _Fit(
        _LLAMA_8B_FP8,
        ("h200", 1),
        (18.55, 0.0141098, 4.91897e-07),
        (4.3874, 0.0385096, 2.93179e-05, 0.0),
        945_029,
        (0.0259, 0.0362),
        kind="measured",
        provenance=_DYNAMO,
    ),
)


def _h800(fit: _Fit) -> _Fit:
    """H800 is the H100 chip with the same memory and slower links between GPUs."""
    _, tp = fit.place
    caveat = " NVLink at 400 instead of 900 GB/s makes the real one slower." if tp > 1 else ""
    provenance = f"{fit.provenance} Taken from H100, the same chip and memory.{caveat}"
    return replace(fit, place=("h800", tp), provenance=provenance)


PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (fit.profile() for fit in (*map(_h800, _H100), *_OTHERS, *_H100))
}
