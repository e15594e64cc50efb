"""The topology as a drawing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drawings.overlays import Overlay
from controller.drawings.topology import draw
from controller.drawings.tree import Bundle, Node, Place, Wiring, key_of
from controller.drawings.unfold import View
from tests.drawings.fleets import (
    HOSTILE,
    boxes,
    broken,
    busy,
    cluster,
    free,
    links,
    nodes,
    parsed,
    regular,
    silent,
    touching,
    unhurried,
)

S1 = View(focus=key_of("c0", "su0-0"), hops=2)


def test_drawing_and_table_say_the_same() -> None:
    drawn = draw(regular(2, 2, 2, 3), S1)
    told = [
        (link.get("href"), link.get("aria-label"), link.get("data-depth"))
        for link in links(drawn.svg)
    ]
    assert told == [(row.href, row.sentence, str(row.depth)) for row in drawn.rows]
    assert [link.findtext("title") for link in links(drawn.svg)] == [
        row.sentence for row in drawn.rows
    ]


def test_the_group_in_focus_is_marked() -> None:
    marked = [one for one in links(draw(regular(1, 2, 1, 1), S1).svg) if one.get("aria-current")]
    assert [one.get("href") for one in marked] == [f"?focus={key_of('c0', 'su0-0')}"]


@unhurried
@given(nodes(), st.integers(1, 3), st.sampled_from(Overlay), st.data())
def test_no_box_touches_another(
    placed: list[tuple[Place, Node]], hops: int, overlay: Overlay, data: st.DataObject
) -> None:
    fleet = cluster(placed)
    keys = [row.key for row in draw(fleet, View(hops=3)).rows]
    focus = data.draw(st.sampled_from([None, *keys]))
    drawn = draw(fleet, View(focus, hops, overlay, "chat"))
    assert not touching(boxes(drawn.svg))
    assert len(links(drawn.svg)) == len(drawn.rows)
    height = float(parsed(drawn.svg).attrib["height"])
    assert all(right <= 1164 and bottom <= height for _, _, right, bottom in boxes(drawn.svg))


@unhurried
@given(nodes())
def test_bars_are_not_longer_than_their_track(placed: list[tuple[Place, Node]]) -> None:
    for link in links(draw(cluster(placed), View(hops=3, overlay=Overlay.FREE)).svg):
        bars = [one for one in link.findall("rect") if one.get("rx") != "4"]
        track = next((one for one in bars if one.get("class") == "track"), None)
        assert track is not None
        parts = [one for one in bars[bars.index(track) + 1 :] if "fill" in one.attrib["class"]]
        total = sum(float(one.attrib["width"]) for one in parts)
        assert total <= float(track.attrib["width"]) + 0.2


def test_one_node_of_a_thousand_is_seen() -> None:
    many = [(Place("c", "s", "r"), free(f"n{at}")) for at in range(999)]
    drawn = draw(cluster([*many, (Place("c", "s", "r"), broken("bad"))]), View(hops=1))
    widths = {one.get("fill"): one.get("width") for one in parsed(drawn.svg).findall(".//a/rect")}
    assert widths["url(#topology-fill-crit)"] == "2"


def test_bundles_are_drawn_once_with_count_and_speed() -> None:
    key = key_of("c", "s")
    two = [(Place("c", "s", "r"), free("n1")), (Place("c", "t", "r"), free("n2"))]
    drawn = draw(cluster(two, Wiring(uplinks={key: (Bundle(32, 400, 1),)})), View(hops=2))
    cables = next(one for one in parsed(drawn.svg) if one.get("class") == "cables")
    assert [one.text for one in cables.findall("text")] == ["32 × 400G", "✕ 1 down"]
    assert [one.get("class") for one in cables.findall("path")] == [
        "trunk",
        "cable crit",
        "cable unrecorded",
    ]


def test_cables_that_are_all_the_same_are_labelled_once() -> None:
    uplinks = {key_of("c", name): (Bundle(8, 200),) for name in "st"}
    two = [(Place("c", "s", "r"), free("n1")), (Place("c", "t", "r"), free("n2"))]
    drawn = draw(cluster(two, Wiring(uplinks=uplinks)), View(hops=2))
    cables = next(one for one in parsed(drawn.svg) if one.get("class") == "cables")
    assert [one.text for one in cables.findall("text")] == ["8 × 200G", "each"]


def test_hostile_names_are_text() -> None:
    fleet = cluster([(Place(HOSTILE, HOSTILE, HOSTILE), busy(HOSTILE, HOSTILE))])
    focus = key_of(HOSTILE, HOSTILE)
    drawn = draw(fleet, View(focus, 2, Overlay.SERVICE, HOSTILE))
    assert [row.depth for row in drawn.rows] == [0, 1, 2, 3]
    labels = [link.get("aria-label") or "" for link in links(drawn.svg)]
    assert all("<b>&\"'</svg>" in label and "\u202e" not in label for label in labels)
    for key in drawn.legend:
        parsed(key.swatch)


@pytest.mark.parametrize(
    ("overlay", "words"),
    [
        pytest.param(Overlay.HEALTH, ["healthy", "unknown", "unhealthy"], id="states only"),
        pytest.param(
            Overlay.FREE,
            ["healthy", "unknown", "unhealthy", "free", "use unknown"],
            id="and the bar",
        ),
    ],
)
def test_the_legend_names_what_is_drawn(overlay: Overlay, words: list[str]) -> None:
    fleet = cluster([(Place("c", "s", "r"), one) for one in (free("a"), broken("b"), silent("d"))])
    assert [key.word for key in draw(fleet, View(overlay=overlay)).legend] == words


def test_the_summary_counts_the_whole_cluster() -> None:
    assert draw(regular(2, 2, 2, 3), S1).summary == (
        "eu: 2 S2 domains, 4 S1 domains, 24 nodes, 192 GPUs; all healthy"
    )


def test_drawings_of_one_page_share_no_ids() -> None:
    ids = [
        one.attrib["id"]
        for uid in ("a", "b")
        for one in parsed(draw(regular(1, 1, 1, 1), S1, uid=uid).svg).iter()
        if "id" in one.attrib
    ]
    assert len(ids) == len(set(ids)) > 0


def test_the_page_policy_is_kept() -> None:
    # No style of its own and no script: the content security policy would refuse them.
    svg = draw(regular(1, 2, 2, 2), S1).svg
    assert "style=" not in svg
    assert "<script" not in svg


def test_an_empty_cluster_is_an_empty_drawing() -> None:
    drawn = draw(cluster([]), View())
    assert (drawn.rows, links(drawn.svg)) == ((), [])
    assert drawn.summary == "eu: 0 S2 domains, 0 S1 domains, 0 nodes, 0 GPUs; no nodes"
