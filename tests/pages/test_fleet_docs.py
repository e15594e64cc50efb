"""What docs/fleet.md says of the table of nodes is what there is."""

from __future__ import annotations

from typing import Final

import pytest
from django.conf import settings

from controller.forms import MOST_NODES
from controller.selectors.fleet_change import MANY_GPUS
from controller.selectors.fleet_export import TOLD
from controller.selectors.fleet_filters import FACETS, ORDERS, WORDS
from controller.selectors.saved_views import BUILT_IN
from controller.services.fleet import MOST_AT_ONCE
from inventory.transitions import TRANSITIONS

PAGE: Final = (settings.BASE_DIR / "docs" / "fleet.md").read_text()
NODES: Final = PAGE.partition("## Nodes")[2].partition("## Topology")[0]


@pytest.mark.parametrize("name", ["text", *FACETS, "sort"])
def test_every_way_to_narrow_is_there(name: str) -> None:
    assert f"`{name}=" in NODES


@pytest.mark.parametrize(
    "word", sorted({*ORDERS, *WORDS["use"], *WORDS["health"], *WORDS["gpus"]})
)
def test_every_value_is_there(word: str) -> None:
    assert f"`{word}`" in NODES


def test_every_verb_and_view_and_limit_is_there() -> None:
    for transition in TRANSITIONS.values():
        assert f"| {transition.word} | " in NODES
    for view in BUILT_IN:
        assert f"*{view.name}*" in NODES
    assert f"at most {MOST_AT_ONCE:,} at once" in NODES
    assert f"{MANY_GPUS} GPUs or more" in NODES
    assert MOST_NODES == MOST_AT_ONCE + 1


def test_the_columns_that_are_named_are_there() -> None:
    named = NODES.partition("## Exports")[2]
    assert {"s1_domain", "s2_domain", "gpus_in_use", "services"} <= set(TOLD)
    assert "`gpus_in_use`" in named
