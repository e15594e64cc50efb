"""What a look over a day of a Prometheus brings back, before anybody said what is served there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Kind, Leaf, Preset
from controller.core.types import Floats

DAY_S: Final = 86_400
HOUR_S: Final = 3600
QUARTER_S: Final = 900
"""Instances are looked for this often."""

PODS: Final = ("pod", "pod_name", "kubernetes_pod_name", "exported_pod")
NAMESPACES: Final = ("namespace", "kubernetes_namespace", "exported_namespace")
INSTANCE: Final = "instance"
MODELS: Final = ("model_name", "model", "model_id")
SERVICES: Final = (
    *("service", "llm_service", "heteroscale_service", "app", "app_kubernetes_io_instance"),
    *("app_kubernetes_io_name", "release", "deployment", "dynamo_namespace"),
    *("model_name", "model", "job", "namespace"),
)
"""Labels that may name a service, the likeliest first."""
ROLES_BY: Final = (
    *("role", "pd_role", "disagg_role", "engine_role", "worker_type", "llm_d_ai_role"),
    *("engine_type", "disaggregation_mode", "dynamo_component", "component"),
    *("app_kubernetes_io_component", "group"),
)
"""Labels whose value may be a role, the likeliest first."""
FURTHER: Final = ("container",)
COARSE: Final = tuple(dict.fromkeys((*ROLES_BY, *SERVICES, *MODELS, *NAMESPACES, *FURTHER)))
"""What is kept of labels where instances are not told apart."""
KEPT: Final = (*COARSE, *PODS, INSTANCE)
SOURCE: Final = "source"
BOUND: Final = "le"

OUTPUT, PREFILLED, REQUESTS, SOURCES = "output", "prefilled", "requests", "sources"
GENERATED: Final = "generated"
TTFT, TBT = "ttft_s", "tbt_s"
_OF: Final[Mapping[str, str]] = {
    OUTPUT: "decode_tps",
    PREFILLED: "prefill_tps",
    REQUESTS: "request_rps",
    GENERATED: "prefill_output_tps",
    TTFT: "ttft_s",
    TBT: "tbt_s",
}
"""What is asked of each preset, by the signal or figure of which it is the first leaf."""
_SOURCES: Final = Leaf(("vllm:prompt_tokens_by_source_total",), Kind.COUNTER, None)

DCGM: Final = "dcgm"
GPU_METRICS: Final = ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_USED", "DCGM_FI_PROF_DRAM_ACTIVE")
SM_ACTIVE: Final = "DCGM_FI_PROF_SM_ACTIVE"
GPU_OWNER: Final = ("exported_pod", "pod", "exported_namespace", "namespace")
GPU_MODEL: Final = "modelName"
INFO: Final = "heteroscale_instance_info"


@dataclass(frozen=True, slots=True)
class Row:
    """A series of an answer: its labels, and values (T,) which are NaN where it was not there."""

    labels: Mapping[str, str]
    values: Floats


@dataclass(frozen=True, slots=True)
class Survey:
    """What a day looked like.

    ``names`` are metrics that are there. ``instances`` are by preset, a value where one was seen,
    each ``QUARTER_S``. ``figures`` are rates [1/s] over ``over_s`` at each full hour before now,
    by preset and what they count; rows of a histogram have their bound as label ``le``. ``gpus``
    are counts of GPUs by owner and model, ``infos`` what the controller itself says of pods.
    ``scrape_s`` is how often engines of a preset are scraped [s]. ``told`` is what failed.
    """

    names: frozenset[str]
    instances: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    figures: Mapping[tuple[str, str], Sequence[Row]] = field(default_factory=dict)
    gpus: Sequence[Row] = ()
    infos: Sequence[Row] = ()
    scrape_s: Mapping[str, float] = field(default_factory=dict)
    over_s: int = HOUR_S
    told: tuple[str, ...] = ()


def surveyed() -> tuple[Preset, ...]:
    """Return the presets of engines and frontends, whose instances are looked for."""
    return tuple(preset for preset in PRESETS.values() if preset.name not in {DCGM, "nixl"})


def proofs() -> tuple[str, ...]:
    """Return every metric of which it is asked whether it is there."""
    engines = [name for preset in PRESETS.values() for name in preset.proof]
    return tuple(dict.fromkeys((*engines, *GPU_METRICS, SM_ACTIVE, INFO)))


def asked_of(preset: Preset) -> dict[str, Leaf]:
    """Return what is asked of a preset: a leaf for each thing it counts, roles left open."""
    found = {
        what: leaves_of((preset.recipes[name],))[0].of(None)
        for what, name in _OF.items()
        if name in preset.recipes
    }
    if preset.name == "vllm":
        found[SOURCES] = _SOURCES
    return found
