"""How fast an engine is: hardware figures and fitted step times per (model, hardware, GPUs)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.types import Floats

MS: Final = 1e-3
MICRO: Final = 1e-6
NANO: Final = 1e-9
MAX_SEQS: Final = 256
"""Sequences one decode engine runs at once: the usual engine setting."""

GIB: Final = float(2**30)
USABLE_FRAC: Final = 0.9
RUNTIME_GIB: Final = 3.5


@dataclass(frozen=True, slots=True)
class HardwareSpec:
    """One GPU type as its vendor specifies it; bandwidths are per GPU and one way [GB/s].

    ``bf16_tflops`` is NaN where nobody said.
    """

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
_LLM_VIEWER_HARDWARE: Final = "LLM-Viewer hardware table; network cards as in A100 nodes"

HARDWARE: Final[Mapping[str, HardwareSpec]] = {
    spec.name: spec
    for spec in (
        HardwareSpec("h800", "H800 80 GB", "NVIDIA", 8, 80, 3352, 989, 50, _LMSYS_HARDWARE),
        HardwareSpec("h20", "H20 96 GB", "NVIDIA", 8, 96, 4000, 148, 25, _LMSYS_HARDWARE),
        HardwareSpec("l40s", "L40S 48 GB", "NVIDIA", 8, 45, 864, 362.05, 50, _AIC_HARDWARE),
        HardwareSpec("h100", "H100 SXM 80 GB", "NVIDIA", 8, 80, 3350, 989, 50, _AIC_HARDWARE),
        HardwareSpec("h200", "H200 SXM 141 GB", "NVIDIA", 8, 141, 4800, 989, 50, _AIC_HARDWARE),
        HardwareSpec("b200", "B200 SXM 180 GB", "NVIDIA", 8, 180, 7700, 2250, 100, _AIC_HARDWARE),
        HardwareSpec(
            "b300", "B300 SXM 269 GB", "NVIDIA", 8, 268.6, 7750, 2250, 100, _AIC_HARDWARE
        ),
        HardwareSpec("a100", "A100 SXM 80 GB", "NVIDIA", 8, 80, 2039, 312, 25, _AIC_HARDWARE),
        HardwareSpec("a800", "A800 80 GB", "NVIDIA", 8, 80, 2039, 312, 25, _LLM_VIEWER_HARDWARE),
    )
}


@dataclass(frozen=True, slots=True)
class Ranges:
    """What the points of a fit covered, each as (least, most); outside of it a time is a guess."""

    prefill_tokens: tuple[float, float]
    decode_batch: tuple[float, float]
    decode_context: tuple[float, float]


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
    engine: str = ""
    own_spec: HardwareSpec | None = None
    ranges: Ranges | None = None

    @property
    def spec(self) -> HardwareSpec:
        """The GPU it runs on."""
        return self.own_spec or HARDWARE[self.hardware]

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


def kv_capacity_tokens(
    spec: HardwareSpec, tp: int, *, weights_gib: float, kv_bytes_per_token: int
) -> int:
    """Return how many context tokens an instance of ``tp`` GPUs holds; below 1 nothing fits.

    0.9 of the memory, less the weights and 3.5 GiB per GPU for activations and the runtime: an
    estimate, engines differ.
    """
    free_gib = tp * (USABLE_FRAC * spec.gpu_memory_gib - RUNTIME_GIB) - weights_gib
    return int(free_gib * GIB / kv_bytes_per_token)


@dataclass(frozen=True, slots=True)
class _Model:
    """What is the same on every hardware: ``experts`` is (active, all), empty when dense."""

    slug: str
    name: str
    precision: str
    kv_bytes: int
    experts: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class _Source:
    """Where figures come from; ``suffix`` keeps two sources for the same engine apart."""

    kind: str
    engine: str
    provenance: str
    suffix: str = ""
    max_seqs: int = MAX_SEQS


_QWEN3_8B: Final = _Model("qwen3-8b", "Qwen/Qwen3-8B", "bf16", 147_456)
_QWEN3_8B_FP8: Final = _Model("qwen3-8b-fp8", "Qwen/Qwen3-8B-FP8", "fp8", 147_456)
_QWEN3_30B: Final = _Model("qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", "bf16", 98_304, (8, 128))
_QWEN3_32B: Final = _Model("qwen3-32b", "Qwen/Qwen3-32B", "bf16", 262_144)
_QWEN3_32B_FP8: Final = _Model("qwen3-32b-fp8", "Qwen/Qwen3-32B-FP8", "fp8", 262_144)
_LLAMA_70B: Final = _Model("llama-3.1-70b", "meta-llama/Meta-Llama-3.1-70B", "bf16", 327_680)
_LLAMA_70B_FP8: Final = _Model(
    "llama-3.1-70b-fp8", "nvidia/Llama-3.1-70B-Instruct-FP8", "fp8", 163_840
)
_LLAMA_8B_FP8: Final = _Model(
    "llama-3.1-8b-fp8", "nvidia/Llama-3.1-8B-Instruct-FP8", "fp8", 65_536
)
_LLAMA2_70B: Final = _Model("llama-2-70b", "meta-llama/Llama-2-70b", "fp16", 327_680)
_DEEPSEEK_V3: Final = _Model("deepseek-v3", "deepseek-ai/DeepSeek-V3", "fp8", 70_272, (8, 256))

_GRID: Final = (
    "static batching; prompts of 128 to 16,384 tokens, batches of 1 to 256, contexts of 528 to"
    " 32,784 tokens as far as they fit in memory."
)
_KERNELS: Final = _Source(
    "modelled",
    "TensorRT-LLM",
    "Computed from measured kernel times (aiconfigurator-core 0.12.0, TensorRT-LLM kernels),"
    f" {_GRID}",
)
_SGLANG_KERNELS: Final = _Source(
    "modelled",
    "SGLang",
    f"Computed from measured kernel times (aiconfigurator-core 0.12.0, SGLang kernels), {_GRID}",
)
_INFERSIM: Final = (
    "Computed from measured kernel utilisation (alibaba/InferSim f2293da), one GPU; KV capacity"
    " is 0.9 x memory less weights and 3.5 GiB."
)
_INFERSIM_8B: Final = _Source(
    "modelled", "InferSim", _INFERSIM + " Weights 8.8 GiB (embeddings stay bf16)."
)
_INFERSIM_30B: Final = _Source("modelled", "InferSim", _INFERSIM + " Weights 56.9 GiB.")
_DYNAMO: Final = _Source(
    "measured",
    "vLLM",
    "Fitted to stopwatch measurements of vLLM (ai-dynamo/dynamo planner test data).",
)
_AGGREGATED: Final = _Source(
    "derived",
    "TensorRT-LLM",
    "Regression on stopwatch measurements of aggregated serving with TensorRT-LLM 1.0.0rc3"
    " (ai-dynamo/aiconfigurator, silicon sample): rows that differ in output length alone tell"
    " prefill from decode. Prompts of 1,024 to 4,096 tokens, batches of 8 to 128. On 4 GPUs three"
    " prefill points give three figures, so that fit error of 0 says nothing. KV capacity is 0.9 x"
    " memory less 31.2 GiB of weights and 3.5 GiB per GPU.",
    suffix="-derived",
)
_SPLITWISE: Final = _Source(
    "measured",
    "unstated (2023)",
    "Fitted to stopwatch measurements (Mutinifni/splitwise-sim, perf_model.csv; Splitwise, ISCA"
    " 2024): single prompts of 128 to 8,192 tokens, batches up to 64 with 576 tokens each. Kernels"
    " of 2023: decode is slow by today's standard. KV capacity is 0.9 x memory less 128.5 GiB of"
    " weights and 3.5 GiB per GPU.",
    max_seqs=64,
)

# GPU, GPUs per instance; prefill a [ms], b [us/token], c [ns/token^2]; decode c0 [ms],
# c1 [us/sequence], c2 [ns/token], c3 [ms]; KV capacity [tokens]; fit errors of prefill, decode.
_FITS: Final[Mapping[tuple[_Model, _Source], str]] = {
    (_QWEN3_8B, _KERNELS): """
        h100 1 5.3191  19.5427  0.580788  6.9005  5.54061  48.5744  0       387569   0.0307 0.0157
        h200 1 4.1501  19.5668  0.526002  5.4607  8.04988  33.0444  0       787338   0.0292 0.0274
        b200 1 4.0527  10.1365  0.252033  3.734   4.82943  20.359   0       1042929  0.0274 0.0148
        a100 1 8.6582  56.3533  1.9883    11.5103 34.823   67.9936  0       387569   0.0069 0.0311
        l40s 1 12.9527 70.5561  2.0651    18.8765 38.4788  226.668  0       158116   0.0622 0.0187
    """,
    (_QWEN3_8B_FP8, _INFERSIM_8B): """
        h20  1 30.8636 50.8711  2.18194   7.5869  39.831   55.7736  0       539600   0.0132 0.0693
    """,
    (_QWEN3_30B, _SGLANG_KERNELS): """
        h100 1 23.0867 10.1286  0.619101  3.6126  31.0535  35.281   14.6714 126641   0.0171 0.0507
        h200 1 17.5188 9.90025  0.588852  3.2994  25.6771  22.3536  10.5534 726296   0.0168 0.0386
        b200 1 12.7138 5.13188  0.292461  2.4183  17.5962  14.0437  6.35421 1109681  0.0245 0.0412
        a100 1 41.4365 38.2017  1.78817   6.2879  81.6931  115.015  24.8709 126641   0.0322 0.0477
    """,
    (_QWEN3_30B, _INFERSIM_30B): """
        h20  1 43.2817 44.957   3.02924   21.7777 0        0        34.8831 284000   0.0576 0.0754
    """,
    (_QWEN3_32B_FP8, _AGGREGATED): """
        h100 1 1.5724  71.1656  0         15.8554 22.8205  26.3582  0       152776   0.0168 0.0622
        h100 2 0       41.1931  0.444967  9.7159  36.2608  17.9854  0       433345   0.0106 0.0177
        h100 4 5.8208  21.0333  0.529909  7.0269  31.5032  11.0971  0       994508   0      0.0249
    """,
    (_QWEN3_32B_FP8, _KERNELS): """
        h100 1 10.5711 63.7257  1.23118   14.5163 35.6934  42.9153  0       152776   0.0236 0.029
        h100 2 8.8716  37.2042  0.652702  8.9746  26.424   22.4945  0       433345   0.0143 0.0329
        h200 1 8.7563  61.448   1.30449   11.6095 40.2532  31.5878  0       377646   0.0213 0.0452
        h200 2 7.5592  35.9704  0.65803   7.5859  27.0491  16.1245  0       883085   0.0123 0.0434
        b200 1 8.7226  26.2735  0.702291  8.6117  13.6243  19.654   0       521416   0.0221 0.0086
        b200 2 7.9381  16.4661  0.351235  6.565   9.67896  9.84646  0       1170625  0.0162 0.0121
        l40s 1 12.7176 350.05   4.72819   49.2547 0        263.725  0       23709    0.0829 0.0542
        l40s 2 11.1794 248.143  2.31828   27.2003 101.269  105.889  0       175210   0.0672 0.094
    """,
    (_QWEN3_32B, _KERNELS): """
        h100 2 10.3474 47.8628  1.03405   14.2367 17.7685  44.8765  0       311274   0.0342 0.0151
        h100 4 9.5141  28.7975  0.459399  8.4367  24.8534  22.0857  0       872412   0.0084 0.019
        h200 2 8.024   47.3047  0.995116  10.9759 22.7544  30.6785  0       761015   0.0219 0.0231
        h200 4 7.955   27.9277  0.466996  6.9292  25.0571  15.3706  0       1771893  0.0144 0.0256
        b200 2 7.769   25.2371  0.457644  8.1599  10.7981  18.4249  0       1048554  0.0301 0.0172
        b200 4 7.4571  15.7661  0.208727  5.5954  8.6117   9.22765  0       2346972  0.0123 0.0266
        a100 2 19.8417 130.667  3.55671   24.1024 98.0827  54.0258  0       311274   0.0141 0.0358
        a100 4 13.8188 74.7846  1.73937   13.706  63.1237  29.5593  0       872412   0.0164 0.0222
        l40s 4 16.6248 481.678  1.58887   23.9685 414.889  104.146  0       356143   0.0068 0.0412
    """,
    (_LLAMA_8B_FP8, _DYNAMO): """
        h200 1 18.55   14.1098  0.491897  4.3874  38.5096  29.3179  0       945029   0.0259 0.0362
    """,
    (_LLAMA_70B_FP8, _KERNELS): """
        h100 4 10.8434 41.1635  0.42572   9.83    39.4001  14.0357  0       1351914  0.0126 0.0138
        h200 4 8.5015  39.5738  0.416243  8.0629  36.2946  9.90509  0       2791084  0.0116 0.0183
        b200 4 8.516   21.7639  0.198339  7.1435  18.2039  6.06856  0       3711210  0.0224 0.0259
        l40s 4 20.0691 900.061  1.54207   31.6546 707.62   87.9242  0       525884   0.0091 0.102
    """,
    (_LLAMA_70B, _KERNELS): """
        h100 8 12.3628 37.2066  0.278769  9.9366  48.9139  14.6591  0       1365036  0.0151 0.0291
        h200 8 10.1564 36.2601  0.279441  8.3033  48.1949  10.0712  0       2804207  0.0274 0.0417
        b200 8 10.0597 21.2169  0.139973  6.5236  29.3827  6.01511  0       3724332  0.0239 0.0243
        a100 8 17.8677 98.0893  0.943415  16.8465 108.929  20.5026  0       1365036  0.0306 0.0572
    """,
    (_LLAMA2_70B, _SPLITWISE): """
        h100 2 27.939  110.464  7.10878   36.7935 408.278  63.4315  0       27918    0.0499 0.0093
        h100 4 35.0722 53.372   8.40912   28.8252 265.971  92.8546  0       476839   0.0790 0.0173
        h100 8 43.7357 20.6761  10.8109   29.8797 209.018  162.225  0       1374683  0.0676 0.0181
        a100 2 38.883  304.364  7.78644   56.795  416.187  164.556  0       27918    0.0196 0.0395
        a100 4 43.7334 154.811  15.492    43.3476 191.733  354.678  0       476839   0.0226 0.0228
        a100 8 48.4504 83.5476  13.0034   44.0902 194.252  324.009  0       1374683  0.0308 0.0173
    """,
    (_DEEPSEEK_V3, _KERNELS): """
        h200 8 29.1374 31.3269  0.396125  6.7446  11.1293  11.4446  22.7407 660616   0.0222 0.0549
        b200 8 22.7553 13.7643  0.163692  7.0418  2.11019  5.54222  16.0366 1196937  0.0174 0.0609
    """,
}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An engine that is not offered though somebody published figures for it, and why not."""

    model: str
    hardware: str
    tp: int
    kind: str
    why: str


LEFT_OUT: Final = (
    LeftOut(
        "deepseek-ai/DeepSeek-V3",
        "h800",
        1,
        "modelled",
        "The formula misses its own decode points by 18 % on average, and the unit of scaling is"
        " 32 GPUs for prefill and 128 for decode, not one (alibaba/InferSim f2293da).",
    ),
    LeftOut(
        "Qwen/Qwen3-32B-FP8",
        "h100",
        8,
        "derived",
        "Three prefill points for three figures, and the curve through them makes prompts over"
        " 14,000 tokens slower than on 4 GPUs.",
    ),
    LeftOut(
        "DeepSeek-R1",
        "h20",
        16,
        "published",
        "Decode is known at five batches with different speculative settings, prefill at one"
        " length alone (LMSYS blog): too little for a formula.",
    ),
    LeftOut(
        "meta-llama/Llama-2-70b",
        "h100",
        2,
        "measured",
        "With a power cap (splitwise-sim, TP 2, 4 and 8): a setting of a GPU rather than a GPU.",
    ),
    LeftOut(
        "nvidia/Llama-3.1-8B-Instruct-FP8",
        "h200",
        1,
        "measured",
        "Ten vLLM rows of aggregated serving (aiconfigurator silicon sample) are twice as slow as"
        " every other source.",
    ),
    LeftOut(
        "any, with vLLM 0.24 and block-FP8 weights",
        "any",
        1,
        "modelled",
        "The kernel database (aiconfigurator-core 0.12.0) has steps near 32 ms whatever the batch:"
        " two to three times slower than every measurement.",
    ),
)

_AS_H100: Final = frozenset(
    {
        "qwen3-8b/h100",
        "qwen3-30b-a3b/h100",
        "qwen3-32b-fp8/h100",
        "qwen3-32b-fp8/h100-tp2",
        "qwen3-32b/h100-tp2",
        "qwen3-32b/h100-tp4",
        "llama-3.1-70b-fp8/h100-tp4",
    }
)
"""What H800 takes over. More GPUs than these per instance depend on NVLink too much."""


def _name(model: _Model, hardware: str, tp: int) -> str:
    return f"{model.slug}/{hardware}" + (f"-tp{tp}" if tp > 1 else "")


def _profile(model: _Model, source: _Source, row: str) -> Profile:
    hardware, gpus, *figures = row.split()
    a, b, c, c0, c1, c2, c3, capacity, *errors = map(float, figures)
    return Profile(
        name=_name(model, hardware, int(gpus)) + source.suffix,
        model=model.name,
        precision=model.precision,
        hardware=hardware,
        tp=int(gpus),
        a=a * MS,
        b=b * MICRO,
        c=c * NANO,
        c0=c0 * MS,
        c1=c1 * MICRO,
        c2=c2 * NANO,
        c3=c3 * MS,
        top_k=model.experts[0],
        experts=model.experts[1],
        kv_bytes_per_token=model.kv_bytes,
        kv_capacity_tokens=int(capacity),
        max_seqs=source.max_seqs,
        kind=source.kind,
        provenance=source.provenance,
        prefill_error_frac=errors[0],
        decode_error_frac=errors[1],
        engine=source.engine,
    )


def _h800(h100: Profile) -> Profile:
    """H800 is the H100 chip with the same memory and slower links between GPUs."""
    caveat = " NVLink at 400 instead of 900 GB/s makes the real one slower." if h100.tp > 1 else ""
    provenance = f"{h100.provenance} Taken from H100, the same chip and memory.{caveat}"
    name = h100.name.replace("/h100", "/h800")
    return replace(h100, name=name, hardware="h800", provenance=provenance)


def _built_in() -> dict[str, Profile]:
    fitted = [
        _profile(model, source, row)
        for (model, source), rows in _FITS.items()
        for row in rows.strip().splitlines()
    ]
    twins = [_h800(profile) for profile in fitted if profile.name in _AS_H100]
    return {profile.name: profile for profile in (*twins, *fitted)}


PROFILES: Final[Mapping[str, Profile]] = _built_in()
"""Every built-in profile by its name; of two for one engine the better trusted comes first."""
