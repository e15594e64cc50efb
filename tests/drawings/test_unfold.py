"""What of a tree is shown, and what its boxes say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.drawings.overlays import Overlay, Share, read
from controller.drawings.state import Tone
from controller.drawings.tree import Bundle, Node, Place, Wiring, key_of
from controller.drawings.unfold import MOST_NODES, Level, Row, View, cable_words, unfold
from inventory.gpus import Parts
from tests.drawings.fleets import (
    HEALTHY,
    broken,
    busy,
    cluster,
    free,
    nodes,
    regular,
    silent,
    unhurried,
)

SU = cluster(
    [
        (Place("S2-1", "SU-03", f"R{at % 4}"), broken(f"n-{at}") if at < 2 else free(f"n-{at}"))
        for at in range(32)
    ],
    Wiring(
        {key_of("S2-1", "SU-03"): 8, key_of("S2-1"): 1},
        {key_of("S2-1", "SU-03"): (Bundle(32, 400, 2),)},
    ),
)


def _names(rows: tuple[Row, ...]) -> list[str]:
    return [f"{'  ' * row.depth}{row.name}" for row in rows]


def test_a_closed_group_says_what_is_in_it() -> None:
    s1 = unfold(SU, View(hops=2)).rows[1]
    assert s1.counts == "8 leaves · 32 nodes · 256 GPUs"
    assert s1.sentence == (
        "S1 SU-03: 8 leaves, 32 nodes, 256 GPUs, 2 unhealthy, 32 × 400 Gb/s, 2 down up"
    )


def test_counts_above_have_the_noun_of_their_level() -> None:
    assert unfold(SU, View()).rows[0].counts == "1 spine · 1 S1 domain · 32 nodes · 256 GPUs"


TWO = regular(2, 2, 2, 1)


@pytest.mark.parametrize(
    ("view", "expect"),
    [
        pytest.param(View(hops=1), ["c0", "c1"], id="1 hop from the cluster: S2"),
        pytest.param(
            View(hops=2),
            ["c0", "  su0-0", "  su0-1", "c1", "  su1-0", "  su1-1"],
            id="2 hops: S2 and S1",
        ),
        pytest.param(
            View(focus=key_of("c1"), hops=1),
            ["c0", "c1", "  su1-0", "  su1-1"],
            id="1 hop from an S2: its S1, and the other S2 closed",
        ),
        pytest.param(
            View(focus=key_of("c0", "su0-1"), hops=2),
            [
                "c0",
                "  su0-0",
                "  su0-1",
                "    r0-1-0",
                "      n0-1-0-0",
                "    r0-1-1",
                "      n0-1-1-0",
                "c1",
            ],
            id="2 hops from an S1: racks and nodes",
        ),
        pytest.param(
            View(focus=key_of("c0", "su0-0", "r0-0-1"), hops=1),
            [
                "c0",
                "  su0-0",
                "    r0-0-0",
                "    r0-0-1",
                "      n0-0-1-0",
                "  su0-1",
                "c1",
            ],
            id="1 hop from a rack: its nodes, and the way to it",
        ),
        pytest.param(View(focus="not there", hops=0), ["c0", "c1"], id="neither is there"),
    ],
)
def test_focus_and_hops(view: View, expect: list[str]) -> None:
    assert _names(unfold(TWO, view).rows) == expect


def test_those_without_a_domain_or_rack_are_groups_that_say_so() -> None:
    fleet = cluster(
        [(Place("S2-1", "SU-1", None), free("n-1"))]
        + [(Place("S2-1", None, "R1"), free(f"stray-{at}")) for at in range(12)]
    )
    focused = unfold(fleet, View(focus=key_of("S2-1", "SU-1"), hops=1))
    assert _names(focused.rows) == [
        "S2-1",
        "  SU-1",
        "    1 node without a rack",
        "  12 nodes without S1",
    ]
    assert focused.rows[-1].sentence == "12 nodes without S1: 96 GPUs, all healthy"
    lone = unfold(cluster([(Place(), free("n"))]), View(focus=key_of(None), hops=3)).rows
    assert [row.name for row in lone] == [
        "1 node without S2",
        "1 node without S1",
        "1 node without a rack",
        "n",
    ]
    # An own address, not that of the whole cluster.
    assert lone[0].href != cluster([]).href


def test_nodes_are_in_the_order_people_count() -> None:
    fleet = cluster([(Place("a", "b", "c"), free(f"n-{at}")) for at in (10, 9, 2)])
    shown = unfold(fleet, View(focus=key_of("a", "b"), hops=2))
    assert [row.name for row in shown.rows[-3:]] == ["n-2", "n-9", "n-10"]


@pytest.mark.parametrize(
    ("per_rack", "drawn", "note"),
    [
        pytest.param(100, 400, "", id="4 x 100 = 400"),
        pytest.param(
            101,
            0,
            "404 nodes are more than 400: only groups are drawn. Open one to see its nodes.",
            id="4 x 101 = 404",
        ),
    ],
)
def test_above_400_nodes_only_groups(per_rack: int, drawn: int, note: str) -> None:
    shown = unfold(regular(1, 1, 4, per_rack), View(focus=key_of("c0", "su0-0"), hops=2))
    assert sum(row.level is Level.NODE for row in shown.rows) == drawn
    assert shown.note == note


def test_a_rack_of_more_than_400_nodes_stays_closed() -> None:
    focus = key_of("c0", "su0-0", "r0-0-0")
    shown = unfold(regular(1, 1, 1, 401), View(focus=focus, hops=1))
    assert [(row.name, row.nodes, row.is_focus) for row in shown.rows][-1] == ("r0-0-0", 401, True)
    assert shown.note


def test_many_siblings_become_one_box_that_leads_to_the_list() -> None:
    focus = key_of("c0", "su0-60")
    rows = unfold(regular(1, 67, 1, 1), View(focus=focus, hops=1)).rows
    s1 = [row for row in rows if row.level is Level.S1]
    assert len(s1) == 40
    assert (s1[-1].name, s1[-1].nodes, s1[-1].href) == ("28 more S1 domains", 28, "/list")
    assert focus in {row.key for row in s1}


@unhurried
@given(nodes(), st.integers(0, 4), st.data())
def test_every_node_is_in_exactly_one_box(
    placed: list[tuple[Place, Node]], hops: int, data: st.DataObject
) -> None:
    fleet = cluster(placed)
    keys = [row.key for row in unfold(fleet, View(hops=3)).rows]
    focus = data.draw(st.sampled_from([None, *keys]))
    rows = unfold(fleet, View(focus=focus, hops=hops)).rows
    closed = [row for row in rows if not row.is_open]
    assert sum(row.nodes for row in closed) == len(placed)
    assert sum(row.parts.total for row in closed) == sum(node.parts.total for _, node in placed)
    assert sum(row.level is Level.NODE for row in rows) <= MOST_NODES
    assert len({row.key for row in rows}) == len(rows)


MIXED = (busy("a", "chat"), busy("b", "chat", "search"), free("c"), silent("d"))


@pytest.mark.parametrize(
    ("overlay", "service", "words", "shares"),
    [
        pytest.param(
            Overlay.HEALTH,
            "",
            "1 unknown",
            ((Tone.OK, 0.75), (Tone.UNKNOWN, 0.25)),
            id="3 of 4 healthy",
        ),
        pytest.param(
            Overlay.UTILISATION,
            "",
            "50 % in use, 8 unknown",
            ((Tone.BUSY, 0.5), (Tone.UNKNOWN, 0.25)),
            id="16 of 32 in use, 8 of 32 unknown",
        ),
        pytest.param(
            Overlay.FREE,
            "",
            "8 free, 8 unknown",
            ((Tone.OK, 0.25), (Tone.UNKNOWN, 0.25)),
            id="8 of 32 free, 8 of 32 unknown",
        ),
        pytest.param(
            Overlay.SERVICE,
            "",
            "2 services, 1 unknown",
            ((Tone.BUSY, 0.5), (Tone.UNKNOWN, 0.25)),
            id="2 of 4 run any",
        ),
        pytest.param(
            Overlay.SERVICE,
            "search",
            "1 of 4 nodes, 1 unknown",
            ((Tone.BUSY, 0.25), (Tone.UNKNOWN, 0.25)),
            id="1 of 4 runs search",
        ),
    ],
)
def test_overlays(
    overlay: Overlay, service: str, words: str, shares: tuple[tuple[Tone, float], ...]
) -> None:
    reading = read(MIXED, overlay, service)
    assert reading.words == words
    assert reading.shares == tuple(Share(tone, part) for tone, part in shares)


@pytest.mark.parametrize(
    ("node", "overlay", "words"),
    [
        pytest.param(silent("n"), Overlay.FREE, "use unknown", id="unknown is not zero (I04)"),
        pytest.param(silent("n"), Overlay.UTILISATION, "use unknown", id="nor 0 %"),
        pytest.param(silent("n"), Overlay.SERVICE, "unknown", id="nor no service"),
        pytest.param(
            Node("n", "/", Parts(uncounted=1), HEALTHY),
            Overlay.FREE,
            "GPUs not counted",
            id="not counted is not none",
        ),
        pytest.param(Node("n", "/", Parts(), HEALTHY), Overlay.FREE, "no GPUs", id="none"),
        pytest.param(free("n"), Overlay.SERVICE, "no service", id="nothing runs"),
        pytest.param(broken("n"), Overlay.HEALTH, "unhealthy", id="its own word"),
    ],
)
def test_one_node(node: Node, overlay: Overlay, words: str) -> None:
    assert read((node,), overlay).words == words


@pytest.mark.parametrize(
    ("uplinks", "words"),
    [
        pytest.param((), "", id="none recorded"),
        pytest.param((Bundle(32, 400),), "32 × 400 Gb/s", id="one speed"),
        pytest.param((Bundle(1),), "1 cable", id="no speed"),
        pytest.param(
            (Bundle(32, 400, 1), Bundle(4, 200, 1)),
            "32 × 400 Gb/s + 4 × 200 Gb/s, 2 down",
            id="1 + 1 = 2 down",
        ),
    ],
)
def test_cables_in_words(uplinks: tuple[Bundle, ...], words: str) -> None:
    assert cable_words(uplinks) == words
