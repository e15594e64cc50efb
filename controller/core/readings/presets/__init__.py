"""Presets by name, the figures they make beside the signals, and what several make together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from controller.core.readings.presets import dcgm, dynamo, nixl, sglang, tgi, trtllm, vllm
from controller.core.readings.presets.parts import DECODE, PREFILL
from controller.core.readings.recipe import (
    First,
    Leaf,
    Less,
    Mean,
    Plus,
    Preset,
    Quantile,
    Recipe,
    Speaker,
    Term,
    Times,
    Written,
    placed,
)
from controller.core.types import SIGNALS, SignalKind

PRESETS: Final[Mapping[str, Preset]] = {
    module.PRESET.name: module.PRESET for module in (vllm, sglang, trtllm, dynamo, tgi, dcgm, nixl)
}

FIGURES: Final[tuple[SignalKind, ...]] = tuple(
    SignalKind(name, unit, role, linear=False, label=label)
    for name, unit, role, label in (
        ("ttft_avg_s", "s", PREFILL, "mean TTFT"),
        ("tbt_avg_s", "s", DECODE, "mean TBT"),
        ("prefill_running", "requests", PREFILL, "requests in prefill"),
        ("decode_running", "requests", DECODE, "requests in decode"),
        ("prefill_sending", "requests", PREFILL, "requests whose KV memory prefill sends"),
        ("decode_receiving", "requests", DECODE, "requests whose KV memory decode receives"),
        ("prefill_kv_frac", "share", PREFILL, "KV memory in use, prefill"),
        ("decode_kv_frac", "share", DECODE, "KV memory in use, decode"),
        ("prefill_dram_frac", "share", PREFILL, "prefill memory activity"),
        ("decode_dram_frac", "share", DECODE, "decode memory activity"),
        ("transfer_gbps", "GB/s", DECODE, "speed of KV transfers"),
        ("transfer_failures_rps", "1/s", DECODE, "failed KV transfers"),
        ("decode_rps", "req/s", DECODE, "requests that decode finished"),
        ("decode_prompt_tps", "tok/s", DECODE, "prompt tokens that decode took over"),
        ("decode_ttft_avg_s", "s", DECODE, "mean time to the first token in decode"),
        ("decode_ttft_p99_s", "s", DECODE, "time to the first token in decode, p99"),
        ("prefill_output_tps", "tok/s", PREFILL, "tokens that prefill generated"),
    )
)
"""What presets make beside ``SIGNALS``: people read it, no policy does."""

KINDS: Final[Mapping[str, SignalKind]] = {kind.name: kind for kind in (*SIGNALS, *FIGURES)}
"""Signals and figures by name."""

_E, _F, _X = Speaker.ENGINE, Speaker.FRONTEND, Speaker.EXPORTER


def _preferred(name: str) -> tuple[Speaker, ...]:
    """Return whose figure counts first.

    A frontend's latencies are what users feel, and it sees each request once. An engine knows its
    tokens and queues best, and what is measured at the GPU stands above what an engine believes.
    """
    if name == "request_rps" or name.startswith(("ttft_", "tbt_")):
        return (_F, _E, _X)
    if name.endswith(("_util", "_sm", "_dram_frac")):
        return (_X, _E, _F)
    return (_E, _F, _X)


def recipes_of(presets: Sequence[Preset]) -> Mapping[str, Recipe]:
    """Return the recipes of a service whose metrics come by several presets, in their order."""
    return recipes_at([(preset, "") for preset in presets])


def recipes_at(read: Sequence[tuple[Preset, str]]) -> Mapping[str, Recipe]:
    """Return the recipes of a service that reads presets at endpoints, in their order."""
    made: dict[str, Recipe] = {}
    for name in KINDS:
        order = _preferred(name)
        having = [each for each in read if name in each[0].recipes]
        having.sort(key=lambda each: order.index(each[0].speaker))
        found = tuple(_at(preset.recipes[name], source) for preset, source in having)
        if found:
            made[name] = found[0] if len(found) == 1 else First(found)
    return made


def _at(recipe: Recipe, source: str) -> Recipe:
    return placed(recipe, source) if source else recipe


def leaves_of(recipes: Iterable[Recipe]) -> tuple[Leaf, ...]:
    """Return every leaf of some recipes once, in their order."""
    return tuple(term for term in terms_of(recipes) if isinstance(term, Leaf))


def terms_of(recipes: Iterable[Recipe]) -> tuple[Term, ...]:
    """Return every leaf and written query of some recipes once, in their order."""
    return tuple(dict.fromkeys(term for recipe in recipes for term in _terms(recipe)))


def _terms(recipe: Recipe) -> Iterator[Term]:
    match recipe:
        case Leaf() | Written():
            yield recipe
        case Mean(total, count):
            yield from (total, count)
        case Quantile(buckets=leaf):
            yield leaf
        case Less(whole, part):
            yield from (*_terms(whole), *_terms(part))
        case Plus(parts) | First(parts):
            for part in parts:
                yield from _terms(part)
        case Times(inner):
            yield from _terms(inner)
