"""F11: how full the nodes of the domains in use are, and who of the service is on them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.charts.clock import Clock
from controller.charts.placement_map import letters, placement_map
from controller.selectors.placement_map import Cell, PlacementMap, Row
from tests.charts.reading import texts, validated

UTC = Clock()
NODE = Cell("n-1", "/fleet/nodes/eu-1-a/n-1/", 8, 6, 1, 2, "")
FREE = replace(NODE, node="n-2", used=0, prefill=0, decode=0)
SILENT = replace(NODE, node="n-3", used=None, prefill=0, decode=1, word="unknown")
FOUND = PlacementMap("chat", (Row("su-1", (NODE, FREE)), Row("", (SILENT,))), 1, 0, None)


def test_a_row_is_a_domain_and_a_cell_its_share_in_use() -> None:
    known, unknown = placement_map(FOUND, UTC)["data"]
    assert known["y"] == ["no S1 named", "su-1"]
    assert known["z"] == [[None, None], [75.0, 0.0]]
    assert known["text"] == [["", ""], ["PDD<br>75 %", "0 %"]]
    assert unknown["text"] == [["D ?", ""], ["", ""]]
    assert known["customdata"][1][0] == "/fleet/nodes/eu-1-a/n-1/"


def test_what_is_not_known_has_no_colour_and_no_figure() -> None:
    plot = placement_map(FOUND, UTC)
    assert {colour for _, colour in plot["data"][1]["colorscale"]} == {"rgba(0,0,0,0)"}
    assert plot["table"]["rows"][-1] == ["no S1 named", 1, "n-3", 8, None, None, 0, 1]
    assert "their use is not known" in plot["data"][1]["hovertext"][0][0]


@pytest.mark.parametrize(
    ("prefill", "decode", "expect"),
    [
        pytest.param(0, 0, "", id="nobody"),
        pytest.param(2, 2, "PPDD", id="four letters fit"),
        pytest.param(2, 3, "2P 3D", id="five are counted"),
        pytest.param(0, 8, "8D", id="one role"),
    ],
)
def test_instances_are_letters_or_counts(prefill: int, decode: int, expect: str) -> None:
    assert letters(replace(NODE, prefill=prefill, decode=decode)) == expect


def test_many_columns_leave_the_figure_to_the_colour_and_the_table() -> None:
    wide = replace(FOUND, rows=(Row("su-1", (NODE,) * 17),))
    assert placement_map(wide, UTC)["data"][0]["text"][0][0] == "PDD"


def test_domains_left_out_are_counted() -> None:
    plot = placement_map(replace(FOUND, domains=52), UTC)
    assert plot["table"]["note"] == "The first 1 of 52 S1 domains, by name."
    assert plot["summary"].endswith("The first 1 of 52 S1 domains, by name.")


@pytest.mark.parametrize(
    ("unknown", "said"),
    [
        pytest.param(0, "No instance of chat is on a node", id="nothing runs"),
        pytest.param(1, "chat runs on 1 node that is not in the inventory", id="nobody knows it"),
        pytest.param(2, "chat runs on 2 nodes that are not in the inventory", id="nor these"),
    ],
)
def test_nothing_to_draw_says_why(unknown: int, said: str) -> None:
    assert placement_map(PlacementMap("chat", (), 0, unknown, None), UTC)["empty"].startswith(said)


def test_names_cannot_carry_markup_and_plotly_knows_every_part() -> None:
    evil = replace(FOUND, rows=(Row("<i>x", (replace(NODE, node="<b>n", word="<u>"),)),))
    plot = placement_map(evil, UTC)
    assert not [t for t in texts(plot["data"]) if "<i" in t or "<b>" in t or "<u" in t]
    assert {trace.type for trace in validated(plot).data} == {"heatmap"}
