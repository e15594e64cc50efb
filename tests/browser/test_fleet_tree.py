"""Arrow keys move along drawings of the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from controller.drawings import rack, topology
from controller.drawings.tree import key_of
from controller.drawings.unfold import View
from heteroscale_site.configuration import BASE_DIR
from tests.drawings.fleets import regular
from tests.drawings.test_rack import a_node, a_rack

if TYPE_CHECKING:
    from playwright.sync_api import Page

MODULE = BASE_DIR / "static" / "js" / "fleet-tree.js"


def _show(page: Page, *drawings: str) -> None:
    page.set_content("".join(f'<div class="drawing-box">{one}</div>' for one in drawings))
    page.add_script_tag(path=MODULE, type="module")


def _press(page: Page, *keys: str) -> str:
    for key in keys:
        page.keyboard.press(key)
    return page.evaluate("document.activeElement.getAttribute('aria-label').split(':')[0]")


@pytest.mark.parametrize(
    ("start", "keys", "expect"),
    [
        pytest.param(0, ["ArrowRight"], "S1 su0-0", id="right: into the first it holds"),
        pytest.param(0, ["ArrowRight", "ArrowDown"], "S1 su0-1", id="down: its next sibling"),
        pytest.param(0, ["ArrowDown"], "S2 c1", id="down: past what it holds"),
        pytest.param(1, ["ArrowLeft"], "S2 c0", id="left: what holds it"),
        pytest.param(2, ["ArrowRight", "ArrowLeft", "ArrowUp"], "S1 su0-0", id="and up again"),
        pytest.param(0, ["End"], "S2 c1", id="end"),
        pytest.param(3, ["ArrowDown", "ArrowDown"], "S2 c1", id="down: out of the last column"),
    ],
)
def test_arrows_move_along_the_tree(page: Page, start: int, keys: list[str], expect: str) -> None:
    _show(page, topology.draw(regular(2, 2, 2, 1), View(key_of("c0", "su0-1"), 1)).svg)
    page.locator("a").nth(start).focus()
    assert _press(page, *keys) == expect


def test_arrows_move_along_racks_and_between_them(page: Page) -> None:
    pair = [a_rack(a_node("a1", 5), a_node("a2", 2)), a_rack(a_node("b1", 1))]
    _show(page, *(one.svg for one in rack.draw(pair).racks))
    page.locator("a").first.focus()
    assert _press(page, "ArrowDown") == "a2"
    assert _press(page, "ArrowRight") == "b1"
    assert _press(page, "ArrowLeft") == "a1"
