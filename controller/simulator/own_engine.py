"""A profile of one's own engine, from its measured points and what is known about it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.types import Floats
from controller.simulator.fitting import (
    DecodePoints,
    Fit,
    PrefillPoints,
    fit_decode,
    fit_prefill,
)
from controller.simulator.profile_file import ProfileError, check_profile
from controller.simulator.profiles import (
    HARDWARE,
    MAX_SEQS,
    PROFILES,
    HardwareSpec,
    Profile,
    Ranges,
    kv_capacity_tokens,
)

SPEC_FIGURES: Final = ("gpu_memory_gib", "mem_bw_gb_s", "nic_gb_s", "gpus_per_node")
"""What describes a GPU that isn't known."""

FAR: Final = 2.0
"""How many times beyond the points an engine may run before that is worth a word."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What a person knows about an engine; None where the files or the table must say.

    ``gpu`` holds figures of the GPU by the names in ``SPEC_FIGURES``, for one that isn't known or
    is otherwise than known. ``experts`` is (active, all), zeros for a dense model.
    """

    name: str
    model: str
    hardware: str
    tp: int = 1
    precision: str = "unstated"
    engine: str = ""
    source: str = ""
    max_seqs: int = MAX_SEQS
    experts: tuple[int, int] = (0, 0)
    kv_bytes_per_token: int | None = None
    kv_capacity_tokens: int | None = None
    weights_gib: float | None = None
    gpu: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OwnProfile:
    """A fitted profile with both fits and, in words, all that makes it doubtful."""

    profile: Profile
    prefill: Fit
    decode: Fit
    doubts: tuple[str, ...]


def fit_profile(engine: Engine, prefill: PrefillPoints, decode: DecodePoints) -> OwnProfile:
    """Return the profile that describes the points best.

    Raises :class:`ProfileError` naming what is unknown about the engine or can't be.
    """
    own_spec = _own_spec(engine)
    kv_bytes = engine.kv_bytes_per_token
    if kv_bytes is None:
        kv_bytes = _known_kv_bytes(engine)
    spec = own_spec or HARDWARE[engine.hardware]
    prefills, steps = fit_prefill(prefill), fit_decode(decode, engine.experts)
    a, b, c = map(float, prefills.figures)
    c0, c1, c2, c3 = map(float, steps.figures)
    profile = Profile(
        name=engine.name,
        model=engine.model,
        precision=engine.precision,
        hardware=engine.hardware,
        tp=engine.tp,
        a=a,
        b=b,
        c=c,
        c0=c0,
        c1=c1,
        c2=c2,
        c3=c3,
        top_k=engine.experts[0],
        experts=engine.experts[1],
        kv_bytes_per_token=kv_bytes,
        kv_capacity_tokens=_capacity(engine, spec, kv_bytes),
        max_seqs=engine.max_seqs,
        kind="measured",
        provenance=engine.source,
        prefill_error_frac=prefills.mean_error_frac,
        decode_error_frac=steps.mean_error_frac,
        engine=engine.engine,
        own_spec=own_spec,
        ranges=Ranges(_span(prefill.tokens), _span(decode.batch), _span(decode.context)),
    )
    check_profile(profile)
    doubts = (
        *(f"prefill: {doubt}" for doubt in prefills.doubts),
        *(f"decode: {doubt}" for doubt in (*steps.doubts, *_beyond(profile, decode))),
    )
    return OwnProfile(profile, prefills, steps, doubts)


def _span(values: Floats) -> tuple[float, float]:
    return float(np.min(values)), float(np.max(values))


def _own_spec(engine: Engine) -> HardwareSpec | None:
    known = HARDWARE.get(engine.hardware)
    if known and not engine.gpu:
        return None
    if known is None:
        missing = [name for name in SPEC_FIGURES if name not in engine.gpu]
        if missing:
            raise ProfileError(
                engine.name,
                "hardware",
                f"'{engine.hardware}' is not known; known: {', '.join(sorted(HARDWARE))}. Describe"
                f" it instead: {', '.join(missing)} missing",
            )
        known = HardwareSpec(
            engine.hardware, engine.hardware, "", 0, 0.0, 0.0, float("nan"), 0.0, ""
        )
    figures = {name: engine.gpu.get(name, getattr(known, name)) for name in SPEC_FIGURES}
    given = f"{', '.join(name for name in SPEC_FIGURES if name in engine.gpu)} as given"
    return replace(
        known,
        gpus_per_node=int(figures["gpus_per_node"]),
        gpu_memory_gib=figures["gpu_memory_gib"],
        mem_bw_gb_s=figures["mem_bw_gb_s"],
        nic_gb_s=figures["nic_gb_s"],
        source=f"{known.source}; {given}" if known.source else given,
    )


def _known_kv_bytes(engine: Engine) -> int:
    for profile in PROFILES.values():
        if profile.model == engine.model:
            return profile.kv_bytes_per_token
    raise ProfileError(
        engine.name,
        "kv_bytes_per_token",
        f"is not known for '{engine.model}': give 2 x layers x KV heads x head size x bytes each",
    )


def _capacity(engine: Engine, spec: HardwareSpec, kv_bytes: int) -> int:
    if engine.kv_capacity_tokens is not None:
        return engine.kv_capacity_tokens
    if engine.weights_gib is None:
        raise ProfileError(
            engine.name,
            "kv_capacity_tokens",
            "is in no file: give what the engine reports at its start, or the size of the weights",
        )
    capacity = kv_capacity_tokens(
        spec, engine.tp, weights_gib=engine.weights_gib, kv_bytes_per_token=kv_bytes
    )
    if capacity < 1:
        raise ProfileError(
            engine.name,
            "weights_gib",
            f"{engine.weights_gib:g} GiB leave no room for a KV cache on {engine.tp} x"
            f" {spec.gpu_memory_gib:g} GiB",
        )
    return capacity


def _beyond(profile: Profile, decode: DecodePoints) -> list[str]:
    """Return what the engine may run that no point is near to."""
    doubts = []
    batch, tokens = float(np.max(decode.batch)), float(np.max(decode.kv_tokens))
    if profile.max_seqs > FAR * batch:
        doubts.append(
            f"the engine runs up to {profile.max_seqs:,} sequences and the points end at"
            f" {batch:,.0f}: measure larger batches, or lower the most sequences"
        )
    if profile.kv_capacity_tokens > FAR * tokens:
        doubts.append(
            f"the KV cache holds {profile.kv_capacity_tokens:,} tokens and the points end at"
            f" {tokens:,.0f}: measure longer contexts at large batches"
        )
    return doubts
