"""Fleets written as lines, and the verdicts on requests to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypedDict, Unpack

from controller.core.placement.answer import answer_to
from controller.core.placement.tree import Group, Kind, Node, Part, Placement, Question, Tree
from controller.core.placement.verdict import Placed, Reduced, Refused, Verdict

LEVELS: Final = ("s2", "s1", "node")


class Terms(TypedDict, total=False):
    """What a question has besides nodes and a request."""

    kind: Kind
    levels: tuple[str, ...]
    existing: Placement
    ratio: dict[str, int]
    times: int


def fleet(*lines: str) -> tuple[Node, ...]:
    """Return nodes of lines such as ``s2-1/s1-1/n1 H20 8``: place, type, free GPUs, state."""
    found = []
    for line in lines:
        place, hardware, gpus, *state = line.split()
        s2, s1, name = place.split("/")
        found.append(
            Node(
                name=name,
                at={"s2": s2, "s1": s1},
                free={"gpu": int(gpus)},
                labels={"hw": hardware},
                state=state[0] if state else "ok",
            )
        )
    return tuple(found)


def part(name: str, pods: int, gpus: int, **terms: object) -> Part:
    """Return a part whose pods take so many GPUs each."""
    return replace(Part(name, pods, {"gpu": gpus}), **terms)  # type: ignore[arg-type] - any field


def pair(prefill: Part, decode: Part, *, require: str | None = None) -> Group:
    """Return a group of two roles."""
    return Group("pair", (prefill, decode), require=require)


def verdict(nodes: tuple[Node, ...], request: Tree, **terms: Unpack[Terms]) -> Verdict:
    """Return the verdict on a request."""
    return answer_to(
        Question(
            kind=terms.get("kind", Kind.PLACE),
            levels=terms.get("levels", LEVELS),
            nodes=nodes,
            request=request,
            existing=terms.get("existing", {}),
            ratio=terms.get("ratio", {}),
            times=terms.get("times", 1),
        )
    )


def placed(nodes: tuple[Node, ...], request: Tree, **terms: Unpack[Terms]) -> Placement:
    """Return where a request went. Fails when it was refused."""
    found = verdict(nodes, request, **terms)
    assert isinstance(found, Placed), found
    return found.placement


def reduced(nodes: tuple[Node, ...], request: Tree, **terms: Unpack[Terms]) -> Reduced:
    """Return what was left of a request that asked for too much."""
    found = verdict(nodes, request, **terms)
    assert isinstance(found, Reduced), found
    return found


def refused(nodes: tuple[Node, ...], request: Tree, **terms: Unpack[Terms]) -> Refused:
    """Return why a request went nowhere."""
    found = verdict(nodes, request, **terms)
    assert isinstance(found, Refused), found
    return found
