"""Clusters and racks to draw."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import settings
from hypothesis import strategies as st

from controller.drawings.mounted import Entry, Face, Kind, Numbering, Pip, Rack
from controller.drawings.state import UNKNOWN, State, Tone
from controller.drawings.tree import Cluster, Node, Place, Wiring, grow
from inventory.gpus import Parts

# Drawing takes as long as the machine is busy; the first examples take longest.
unhurried = settings(deadline=None, max_examples=50)
HEALTHY = State(Tone.OK, "healthy")
UNHEALTHY = State(Tone.CRIT, "unhealthy")
UPKEEP = State(Tone.MAINTENANCE, "in maintenance")
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<b>&\"'</svg>\u202e\x00"


def free(name: str, gpus: int = 8) -> Node:
    return Node(name, f"/n/{name}", Parts(gpus, free=gpus), HEALTHY, ())


def busy(name: str, *services: str) -> Node:
    return Node(name, f"/n/{name}", Parts(8, in_use=8), HEALTHY, services)


def broken(name: str) -> Node:
    return Node(name, f"/n/{name}", Parts(8, unhealthy=8), UNHEALTHY, ())


def silent(name: str) -> Node:
    return Node(name, f"/n/{name}", Parts(8, unknown=8), UNKNOWN, None)


def cluster(placed: list[tuple[Place, Node]], wiring: Wiring | None = None) -> Cluster:
    return grow("eu", placed, href=lambda key: f"?focus={key}", list_href="/list", wiring=wiring)


def regular(s2: int, s1: int, racks: int, nodes: int) -> Cluster:
    """Return a cluster of s2 x s1 x racks x nodes nodes."""
    return cluster(
        [
            (Place(f"c{a}", f"su{a}-{b}", f"r{a}-{b}-{c}"), free(f"n{a}-{b}-{c}-{d}"))
            for a in range(s2)
            for b in range(s1)
            for c in range(racks)
            for d in range(nodes)
        ]
    )


def parsed(svg: str) -> ET.Element:
    """Return a drawing as XML; raises where it isn't well formed."""
    return ET.fromstring(svg)  # noqa: S314 - our own


def links(svg: str) -> list[ET.Element]:
    return parsed(svg).findall(".//a")


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    """Return left, top, right and bottom of the ground of every link."""
    found = []
    for link in links(svg):
        ground = next(one for one in link if one.get("class") == "ground")
        x, y = float(ground.attrib["x"]), float(ground.attrib["y"])
        found.append((x, y, x + float(ground.attrib["width"]), y + float(ground.attrib["height"])))
    return found


def touching(places: list[tuple[float, float, float, float]]) -> list[object]:
    """Return the pairs that overlap."""
    return [
        (one, other)
        for at, one in enumerate(places)
        for other in places[at + 1 :]
        if one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
    ]


NAMES = st.one_of(
    st.from_regex(r"[a-z]{1,3}-[0-9]{1,3}", fullmatch=True), st.text(min_size=1, max_size=40)
)
STATES = st.sampled_from((HEALTHY, UNHEALTHY, UPKEEP, UNKNOWN, State(Tone.WARN, "degraded")))
_MAYBE = st.one_of(st.none(), st.from_regex(r"[a-c]", fullmatch=True))


@st.composite
def nodes(draw: st.DrawFn) -> list[tuple[Place, Node]]:
    names = draw(st.lists(NAMES, max_size=30, unique=True))
    return [
        (
            Place(draw(_MAYBE), draw(_MAYBE), draw(_MAYBE)),
            Node(
                name,
                f"/n/{index}",
                draw(st.sampled_from((Parts(8, 4, 4), Parts(8, unknown=8), Parts(uncounted=1)))),
                draw(STATES),
                draw(st.sampled_from((None, (), ("chat",), ("chat", name)))),
            ),
        )
        for index, name in enumerate(names)
    ]


@st.composite
def racks(draw: st.DrawFn) -> Rack:
    height = draw(st.integers(1, 60))
    entries = [
        Entry(
            name=name,
            href=f"/n/{index}",
            kind=draw(st.sampled_from(Kind)),
            u_position=draw(st.one_of(st.none(), st.integers(-1, 62))),
            u_height=draw(st.integers(1, 10)),
            face=draw(st.sampled_from(Face)),
            state=draw(STATES),
            pips=tuple(draw(st.lists(st.sampled_from(Pip), max_size=72))),
            services=draw(st.sampled_from((None, (), ("chat",), (name,)))),
            hardware=draw(st.sampled_from(("", "H100", name))),
        )
        for index, name in enumerate(draw(st.lists(NAMES, max_size=15)))
    ]
    return Rack("r", "/r", height, tuple(entries), draw(st.sampled_from(Numbering)))
