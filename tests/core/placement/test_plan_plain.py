"""A plan's part for one service as plain values, what is sent of it, and which change matters."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from controller.core.fleet import Level
from controller.core.placement.plan_plain import (
    NOWHERE,
    PlainPlacement,
    leaving,
    moves_of,
    nodes_of,
    placement_of,
    spots_of,
    what_matters,
)
from controller.core.placement.values import (
    Candidate,
    Placement,
    Plan,
    Removal,
    Unplaced,
    Where,
)
from controller.core.ports import MoveTo, Spot
from controller.core.reasons import Code
from controller.core.types import Instances, Role

S1 = Where(Level.S1, 0, "eu/s1-01")


def placed(instance: str, role: Role, *nodes: tuple[str, int], part: str = "") -> Placement:
    return Placement("chat", "chat-g1", False, role, instance, nodes, "h20", S1, part)  # noqa: FBT003


PLAN = Plan(
    placements=[
        placed("chat-p-1", Role.PREFILL, ("eu/n0", 4)),
        placed("chat-d-1", Role.DECODE, ("eu/n1", 8), ("eu/n2", 8)),
    ],
    removals=[
        Removal("chat", "chat-g2", Role.DECODE, "chat-d-9", (("eu/n3", 4),), "the youngest"),
        Removal("code", "code-g1", Role.DECODE, "code-d-9", (("eu/n3", 4),), "the youngest"),
    ],
    unplaced=[
        Unplaced("chat", Instances(2, 4), Instances(1, 2), Code.FRAGMENTED, "In pieces.", "x")
    ],
    looked_at={"chat": [Candidate(S1, 3, 1, 2.0, "chat-g1", "")]},
)


def test_a_plan_is_kept_without_the_cluster_in_its_names() -> None:
    kept = placement_of(PLAN, "chat", version=7, touched="abc")
    assert kept == {
        "inventory_version": 7,
        "touched": "abc",
        "places": [
            {
                "instance": "chat-p-1", "role": "prefill", "group": "chat-g1",
                "is_new_group": False, "nodes": {"n0": 4}, "cluster": "eu", "hardware": "h20",
                "level": "s1", "domain": "s1-01",
            },
            {
                "instance": "chat-d-1", "role": "decode", "group": "chat-g1",
                "is_new_group": False, "nodes": {"n1": 8, "n2": 8}, "cluster": "eu",
                "hardware": "h20", "level": "s1", "domain": "s1-01",
            },
        ],
        "removals": [
            {
                "instance": "chat-d-9", "role": "decode", "group": "chat-g2",
                "nodes": {"n3": 4}, "why": "the youngest",
            }
        ],
        "unplaced": {
            "prefill": 1, "decode": 2, "code": "FRAGMENTED", "sentence": "In pieces.",
            "would_fit_if": "x",
        },
        "candidates": [
            {
                "level": "s1", "domain": "s1-01", "units": 3, "scarcity": 1, "left_over": 2.0,
                "group": "chat-g1", "lost": "",
            }
        ],
    }  # fmt: skip
    assert nodes_of(kept) == ["eu/n0", "eu/n1", "eu/n2"]
    assert leaving(kept) == ("chat-d-9",)


def test_a_service_the_plan_does_not_name_goes_nowhere() -> None:
    kept = placement_of(PLAN, "other", version=0, touched="")
    assert kept == NOWHERE
    assert (spots_of(kept), leaving(kept), moves_of(kept), nodes_of(kept)) == ((), (), (), [])


def test_pods_of_one_instance_are_sent_as_one_spot() -> None:
    plan = Plan(
        placements=[
            placed("chat-d-1", Role.DECODE, ("eu/n0", 4), part="attention"),
            placed("chat-d-1", Role.DECODE, ("eu/n0", 2), part="ffn"),
            placed("chat-d-1", Role.DECODE, ("eu/n1", 2), part="ffn"),
            placed("chat-d-2", Role.DECODE, ("eu/n1", 2), part="ffn"),
        ]
    )
    kept = placement_of(plan, "chat", version=1, touched="")
    assert spots_of(kept) == (
        Spot(Role.DECODE, "chat-g1", (("n0", 6), ("n1", 2))),
        Spot(Role.DECODE, "chat-g1", (("n1", 2),)),
    )
    assert kept["places"][0]["part"] == "attention"


def test_moves_are_sent_with_where_they_go() -> None:
    kept: PlainPlacement = {
        **NOWHERE,
        "moves": [
            {
                "service": "chat", "instance": "chat-d-1", "role": "decode", "group": "chat-g1",
                "from_nodes": {"n0": 4}, "to_nodes": {"n5": 4}, "cluster": "eu",
            }
        ],
    }  # fmt: skip
    assert moves_of(kept) == (MoveTo("chat-d-1", Spot(Role.DECODE, "chat-g1", (("n5", 4),))),)
    assert nodes_of(kept) == ["eu/n5"], "what is left needs no GPU"


def changed(**fields: Any) -> PlainPlacement:
    """Return the plan with all its places changed."""
    kept = deepcopy(placement_of(PLAN, "chat", version=7, touched="abc"))
    for place in kept["places"]:
        place.update(fields)  # type: ignore[typeddict-item]
    return kept


BEFORE = changed()


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(BEFORE, id="the-same"),
        pytest.param(changed(nodes={"n7": 4}), id="other-nodes-of-the-same-kind"),
        pytest.param(changed(domain="s1-02"), id="another-S1"),
        pytest.param(changed(group="chat-g7", is_new_group=True), id="another-group"),
        pytest.param(changed() | {"removals": []}, id="others-go"),
        pytest.param(changed() | {"inventory_version": 9, "touched": "def"}, id="a-later-look"),
    ],
)
def test_what_nobody_needs_to_agree_to_anew(now: PlainPlacement) -> None:
    assert what_matters(BEFORE, now) == ""


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(
            changed() | {"places": BEFORE["places"][:1], "unplaced": None},
            "There is room for 0 of 1 decode instances now.",
            id="fewer",
        ),
        pytest.param(
            changed() | {"places": []},
            "There is room for 0 of 1 prefill instances now. In pieces.",
            id="none-and-why",
        ),
        pytest.param(
            changed(level="s2"),
            "It would share an S2 only, not an S1 as shown before.",
            id="farther-apart",
        ),
        pytest.param(
            changed(level="cluster"),
            "It would share a cluster only, not an S1 as shown before.",
            id="anywhere",
        ),
        pytest.param(
            changed(hardware="h800"),
            "It would run on decode h800, prefill h800, not on decode h20, prefill h20 as shown"
            " before.",
            id="other-hardware",
        ),
    ],
)
def test_what_matters(now: PlainPlacement, said: str) -> None:
    assert what_matters(BEFORE, now) == said


def test_nearer_than_agreed_is_fine() -> None:
    assert what_matters(changed(level="cluster"), changed(level="s1")) == ""


def test_as_near_as_the_service_prefers_is_no_news_whatever_was_shown() -> None:
    shown, found = changed(level="s1"), changed(level="s2")
    assert "It would share" in what_matters(shown, found)
    assert what_matters({**shown, "near": "s2"}, found) == ""
    assert "It would share" in what_matters({**shown, "near": "s1"}, found)
