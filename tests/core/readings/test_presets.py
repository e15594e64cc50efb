"""Presets: what they name, whose figure counts first, and what the docs say of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controller.core.readings.plain import recipe_text
from controller.core.readings.presets import KINDS, PRESETS, leaves_of, recipes_of
from controller.core.readings.recipe import First, Kind
from controller.core.types import SIGNALS

DOCS = Path(__file__).parents[3] / "docs" / "metrics.md"


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_figures_that_exist_of_metrics_that_are_named(name: str) -> None:
    preset = PRESETS[name]
    assert set(preset.recipes) <= set(KINDS)
    assert preset.proof
    for leaf in leaves_of(preset.recipes.values()):
        assert all(metric.endswith("_bucket") == (leaf.kind is Kind.BUCKETS)
                   for metric in leaf.names)  # fmt: skip
        for _, having in leaf.having:
            re.compile(having)


def test_what_an_instance_works_on_is_told_by_gauges_of_engines_alone() -> None:
    loads = {name: preset.load for name, preset in PRESETS.items() if preset.load is not None}
    assert set(loads) == {"vllm", "sglang"}
    for load in loads.values():
        assert {leaf.kind for leaf in load.leaves} == {Kind.GAUGE}
        assert {(leaf.role, leaf.having, leaf.owner) for leaf in load.leaves} == {(None, (), ())}


def test_every_signal_is_made_by_some_preset() -> None:
    assert {kind.name for kind in SIGNALS} <= set(recipes_of(list(PRESETS.values())))


@pytest.mark.parametrize(
    ("figure", "first", "then"),
    [
        pytest.param("ttft_s", "dynamo", "vllm", id="what users feel: the frontend's"),
        pytest.param("tbt_avg_s", "dynamo", "vllm", id="mean TBT: the frontend's"),
        pytest.param("request_rps", "dynamo", "vllm", id="each request once: the frontend's"),
        pytest.param("decode_tps", "vllm", "dynamo", id="tokens: the engine's"),
        pytest.param("prefill_waiting", "vllm", "dynamo", id="queues: the engine's"),
        pytest.param("decode_util", "dcgm", "sglang", id="utilisation: the GPU's"),
        pytest.param("transfer_gbps", "vllm", "nixl", id="transfers: the engine's"),
    ],
)
def test_of_two_presets_one_counts_first_in_whatever_order(
    figure: str, first: str, then: str
) -> None:
    one, other = PRESETS[first], PRESETS[then]
    expected = First((one.recipes[figure], other.recipes[figure]))
    assert recipes_of([one, other])[figure] == expected
    assert recipes_of([other, one])[figure] == expected
    assert recipes_of([other])[figure] == other.recipes[figure]


def told(name: str) -> dict[str, str]:
    """Return the recipes of a preset as the docs have them, by figure."""
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition(f"### {PRESETS[name].title}\n")[2].partition("\n#")[0]
    return dict(re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE))


@pytest.mark.parametrize("name", PRESETS)
def test_the_docs_have_every_recipe(name: str) -> None:
    recipes = PRESETS[name].recipes
    assert told(name) == {figure: recipe_text(recipe) for figure, recipe in recipes.items()}


def test_the_docs_have_every_figure_with_its_unit() -> None:
    text = DOCS.read_text(encoding="utf-8")
    section = text.partition("## Signals and figures\n")[2].partition("\n##")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|", section, flags=re.MULTILINE)
    assert rows == [(kind.name, kind.unit, kind.label) for kind in KINDS.values()]
