"""Elevations of racks."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drawings import pips
from controller.drawings.looks import ColourBy
from controller.drawings.mounted import Entry, Face, Kind, Numbering, Pip, Rack, pips_of
from controller.drawings.rack import Elevation, draw, headline, sentence
from controller.drawings.slots import mount, units
from controller.drawings.state import UNKNOWN
from inventory.gpus import Parts
from tests.drawings.fleets import (
    HEALTHY,
    HOSTILE,
    UNHEALTHY,
    UPKEEP,
    boxes,
    links,
    parsed,
    racks,
    touching,
    unhurried,
)

FREE = (Pip.FREE,) * 8


def a_node(name: str, u_position: int | None = 1, u_height: int = 1, **more: object) -> Entry:
    told = {"state": HEALTHY, "pips": FREE, **more}
    return Entry(name, f"/n/{name}", Kind.NODE, u_position, u_height, **told)  # type: ignore[arg-type]


def _switch(name: str, u_position: int, face: Face = Face.BOTH) -> Entry:
    return Entry(name, f"/s/{name}", Kind.SWITCH, u_position, 1, face, HEALTHY)


def a_rack(*entries: Entry, height: int = 10, numbering: Numbering = Numbering.BOTTOM_UP) -> Rack:
    return Rack("r", "/r", height, entries, numbering)


def _drawn(rack: Rack, face: Face = Face.FRONT) -> Elevation:
    return draw([rack], face=face).racks[0]


@pytest.mark.parametrize(
    ("numbering", "top"),
    [
        pytest.param(Numbering.BOTTOM_UP, 5, id="10 - (2 + 4 - 1) = 5 units below the top"),
        pytest.param(Numbering.TOP_DOWN, 1, id="2 - 1 = 1 unit below the top"),
    ],
)
def test_the_position_is_the_lowest_number_of_an_entry(numbering: Numbering, top: int) -> None:
    slots = mount(a_rack(a_node("n", 2, 4), numbering=numbering), Face.FRONT).slots
    assert [slot.top for slot in slots] == [top]


def test_unit_numbers_are_on_both_sides() -> None:
    frame = parsed(_drawn(a_rack(height=3)).svg).find("g")
    assert frame is not None
    numbers = [one.text for one in frame.findall("text") if "units" in one.attrib["class"]]
    assert numbers == ["3", "3", "2", "2", "1", "1"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        pytest.param(a_node("n", None), "1 node without a position", id="nobody recorded it"),
        pytest.param(a_node("n", 10, 2), "1 node outside its 10 units", id="10 + 2 - 1 = 11 > 10"),
        pytest.param(a_node("n", 0), "1 node outside its 10 units", id="below U1"),
        pytest.param(_switch("s", 4, Face.REAR), "1 switch on the rear", id="not on this side"),
    ],
)
def test_what_cannot_be_drawn_is_listed(entry: Entry, words: str) -> None:
    drawn = _drawn(a_rack(entry))
    assert [(one.words, one.entries) for one in drawn.beneath] == [(words, (entry,))]
    assert not links(drawn.svg)


def test_three_nodes_without_a_position() -> None:
    lost = [a_node(f"n{at}", None) for at in range(3)]
    assert _drawn(a_rack(*lost)).beneath[0].words == "3 nodes without a position"


def test_overlapping_entries_are_beside_one_another_and_say_so() -> None:
    drawn = _drawn(a_rack(a_node("a", 1, 4), a_node("b", 3, 4), a_node("c", 7)))
    a, b, c = sorted(boxes(drawn.svg), key=lambda box: (-box[3], box[0]))
    assert not touching([a, b, c])
    assert (a[2] - a[0], b[2] - b[0], c[2] - c[0]) == (106, 106, 214)
    labels = {link.get("href"): link.get("aria-label") or "" for link in links(drawn.svg)}
    assert labels["/n/a"].endswith("shares its height with b")
    assert "shares" not in labels["/n/c"]


def test_more_than_eight_at_one_height_are_listed() -> None:
    drawn = _drawn(a_rack(*(a_node(f"n{at}") for at in range(11))))
    assert len(links(drawn.svg)) == 8
    assert drawn.beneath[0].words == "3 nodes at a height where others already are"


def test_what_is_seen_from_both_sides_is_one_link() -> None:
    rack = a_rack(a_node("both"), _switch("back", 2, Face.REAR), _switch("front", 2, Face.FRONT))
    drawn = parsed(_drawn(rack, Face.BOTH).svg)
    assert sorted(one.attrib["href"] for one in drawn.findall("a")) == [
        "/n/both",
        "/s/back",
        "/s/front",
    ]
    backs = [one for one in drawn.findall("g") if one.get("class") == "back"]
    assert [one.findtext("text") for one in backs] == ["both"]
    assert [one.get("aria-hidden") for one in backs] == ["true"]


@unhurried
@given(racks(), st.sampled_from(Face), st.sampled_from(ColourBy))
def test_every_entry_is_once_in_the_drawing_or_beneath(
    rack: Rack, face: Face, colour_by: ColourBy
) -> None:
    drawn = draw([rack], face=face, colour_by=colour_by).racks[0]
    shown = [link.get("href") for link in links(drawn.svg)]
    listed = [entry.href for those in drawn.beneath for entry in those.entries]
    assert sorted([*map(str, shown), *listed]) == sorted(entry.href for entry in rack.entries)
    places = boxes(drawn.svg)
    assert not touching(places)
    size = parsed(drawn.svg).attrib
    assert all(x > 0 and y > 0 for x, y, _, _ in places)
    assert all(x < float(size["width"]) and y < float(size["height"]) for _, _, x, y in places)


@unhurried
@given(st.integers(1, 72), st.floats(0, 220), st.floats(0, 400))
def test_squares_stay_in_their_place(count: int, width: float, height: float) -> None:
    laid = pips.grid(count, width, height)
    if laid is None:
        assert 9 * 9 * count > 0.2 * width * height
        return
    assert laid.columns * laid.rows >= count
    assert laid.width <= width
    assert laid.height <= height


@pytest.mark.parametrize(
    ("count", "width", "columns"),
    [
        pytest.param(8, 200.0, 8, id="8 in one row"),
        pytest.param(8, 170.0, 8, id="8 x 22 = 176 > 170: smaller ones"),
        pytest.param(72, 200.0, 8, id="72 in 9 rows of 8"),
    ],
)
def test_squares_are_in_rows_of_eight(count: int, width: float, columns: int) -> None:
    laid = pips.grid(count, width, 24.0 if count == 8 else 240.0)
    assert laid is not None
    assert laid.columns == columns


def test_squares_have_a_shape_per_state() -> None:
    said = {Pip.IN_USE: 3, Pip.FREE: 2, Pip.HELD: 1, Pip.FAILED: 1, Pip.UNKNOWN: 1}
    entry = a_node("n", 1, 4, pips=tuple(pip for pip, count in said.items() for _ in range(count)))
    paths = parsed(_drawn(a_rack(entry)).svg).findall("a/path")
    drawn = {one.attrib["class"]: one.attrib["d"].count("z") for one in paths}
    assert drawn == {
        "pip in-use": 3,
        "pip free": 2,
        "pip held": 1,
        "pip failed": 1,
        "pip unknown": 1,
    }


def test_counts_become_squares() -> None:
    parts = Parts(8, in_use=2, free=1, reserved=1, maintenance=1, unhealthy=1, unknown=2)
    assert pips.words(pips_of(parts)) == (
        "8 GPUs: 2 in use, 1 free, 2 held back, 1 failed, 2 unknown"
    )


TRAYS = tuple(
    a_node(f"t{at}", at + 1, state=UNHEALTHY if at == 3 else HEALTHY) for at in range(18)
)
SWITCHES = tuple(_switch(f"s{at}", at + 20) for at in range(9))


@pytest.mark.parametrize(
    ("rack", "words"),
    [
        pytest.param(
            replace(a_rack(*TRAYS, *SWITCHES, height=48), has_trays=True),
            "compute trays healthy 17/18, switch trays 9/9",
            id="NVL72: 18 - 1 of 18, 9 of 9",
        ),
        pytest.param(a_rack(a_node("n")), "nodes healthy 1/1", id="no switch"),
        pytest.param(
            a_rack(a_node("n", state=UNKNOWN)), "nodes healthy 0/1", id="unknown is not ok"
        ),
        pytest.param(a_rack(), "empty", id="nothing"),
    ],
)
def test_the_headline(rack: Rack, words: str) -> None:
    assert headline(rack) == words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        pytest.param(
            a_node("n", 12, 8, hardware="H100", services=("chat", "code"), words=("by ana",)),
            "n: U12–U19, 8 GPUs free, H100, healthy, by ana, runs chat, code",
            id="12 + 8 - 1 = 19",
        ),
        pytest.param(
            a_node("n", None, gpus_known=False, pips=(), state=UPKEEP),
            "n: GPUs not counted, in maintenance",
            id="not counted is not none",
        ),
        pytest.param(_switch("s", 3, Face.REAR), "s: U3, rear only, switch, healthy", id="switch"),
    ],
)
def test_an_entry_in_words(entry: Entry, words: str) -> None:
    assert sentence(entry) == words


def test_units_of_what_has_no_position() -> None:
    assert units(a_node("n", None)) == ""


MIXED = (
    a_node("free", services=("chat",), hardware="H100"),
    a_node("part", 2, pips=(Pip.FREE, Pip.IN_USE), services=("chat",), hardware="H100"),
    a_node("used", 3, pips=(Pip.IN_USE,), services=("code",), hardware="H20"),
    a_node("dark", 4, pips=(Pip.UNKNOWN,), state=UNKNOWN),
    a_node("held", 5, pips=(Pip.HELD,), state=UPKEEP, services=()),
    _switch("leaf", 6),
)


@pytest.mark.parametrize(
    ("colour_by", "words"),
    [
        pytest.param(ColourBy.HEALTH, ["healthy", "in maintenance", "unknown"], id="health"),
        pytest.param(
            ColourBy.USE,
            ["free", "in use", "held back", "use unknown", "partly in use", "switch"],
            id="use",
        ),
        pytest.param(
            ColourBy.SERVICE,
            ["services unknown", "chat", "code", "no service", "switch"],
            id="service: the most frequent first",
        ),
        pytest.param(ColourBy.HARDWARE, ["type unknown", "H100", "H20", "switch"], id="hardware"),
    ],
)
def test_the_legend_names_every_look(colour_by: ColourBy, words: list[str]) -> None:
    assert [key.word for key in draw([a_rack(*MIXED)], colour_by=colour_by).legend] == words


def test_more_than_eight_categories_share_the_last_look() -> None:
    many = [a_node(f"n{at}", at + 1, hardware=f"type-{at}") for at in range(9)]
    legend = draw([a_rack(*many)], colour_by=ColourBy.HARDWARE).legend
    assert [key.word for key in legend] == [*(f"type-{at}" for at in range(7)), "others"]


def test_racks_stand_on_one_floor() -> None:
    tall, low = draw([a_rack(a_node("a"), height=20), a_rack(a_node("b"), height=5)]).racks
    assert boxes(tall.svg)[0][3] == boxes(low.svg)[0][3]


def test_hostile_names_are_text() -> None:
    entry = a_node(HOSTILE, services=(HOSTILE,), hardware=HOSTILE)
    for colour_by in ColourBy:
        drawn = draw([replace(a_rack(entry), name=HOSTILE)], colour_by=colour_by)
        (link,) = links(drawn.racks[0].svg)
        assert (link.get("aria-label") or "").startswith("<b>&\"'</svg>")
        assert "style=" not in drawn.racks[0].svg
        for key in drawn.legend:
            parsed(key.swatch)


def test_no_racks() -> None:
    drawn = draw([])
    assert (drawn.racks, drawn.legend, drawn.pips) == ((), (), ())
