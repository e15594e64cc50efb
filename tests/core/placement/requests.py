"""Small fleets and requests of every kind, for properties."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from controller.core.placement.tree import (
    Group,
    Kind,
    LabelWish,
    Node,
    Pack,
    Part,
    Question,
    Tree,
    parts_of,
)

LEVELS: Final = (("node",), ("s1", "node"), ("s2", "s1", "node"), ("dc", "s2", "s1", "node"))


@st.composite
def nodes(draw: st.DrawFn, levels: tuple[str, ...], most: int = 5) -> tuple[Node, ...]:
    """Nodes whose domains reuse names under different parents."""
    typed, sound = draw(st.integers(0, 3)) > 0, draw(st.booleans())
    found = []
    for index in range(draw(st.integers(2, most))):
        at = {level: f"{level}-{draw(st.integers(1, 2))}" for level in levels[:-1]}
        labels = {"zone": draw(st.sampled_from("xy"))}
        if typed or draw(st.booleans()):
            labels["hw"] = draw(st.sampled_from(("H20", "L20")))
        found.append(
            Node(
                name=f"n{index}",
                at=at,
                free={"gpu": draw(st.integers(0, 4)), "cpu": draw(st.integers(0, 3))},
                labels=labels,
                state="ok" if sound else draw(st.sampled_from(("ok", "ok", "ok", "cordoned"))),
                taints=() if sound else draw(st.sampled_from(((), (), (), ("gpu=yes",)))),
            )
        )
    return tuple(found)


@st.composite
def parts(draw: st.DrawFn, name: str, levels: tuple[str, ...], most: int) -> Part:
    packed = draw(st.integers(0, 3)) == 0
    pods = 2 * draw(st.integers(1, most // 2 + 1)) if packed else draw(st.integers(0, most))
    level = st.none() | st.sampled_from(levels)
    sizes = [size for size in (1, 2, 3) if pods % size == 0]
    require = draw(level)
    inner = levels[levels.index(require) :] if require else levels
    pack = st.builds(Pack, st.sampled_from(inner), st.sampled_from(sizes))
    some = st.lists(pack, max_size=1).map(tuple)
    return Part(
        name=name,
        pods=pods,
        each={
            "gpu": draw(st.sampled_from((0, 1, 1, 2, 3))),
            "cpu": draw(st.sampled_from((0, 0, 1))),
        },
        select=draw(st.sampled_from(({}, {}, {}, {}, {"hw": ("H20",)}, {"hw": ("H20", "L20")}))),
        tolerate=draw(st.sampled_from((frozenset[str](), frozenset({"gpu"})))),
        packs=(Pack(draw(st.sampled_from(inner)), 2),) if packed else draw(some),
        wishes=draw(st.sampled_from(((), (), (), (LabelWish(10, {"zone": ("x",)}),)))),
        require=require,
        prefer=draw(level),
        scatter=draw(st.sampled_from((False, False, False, True))),
    )


@st.composite
def trees(draw: st.DrawFn, levels: tuple[str, ...], most: int = 3) -> Tree:
    """One to three parts, alone or in groups one or two deep."""
    count = draw(st.sampled_from((1, 2, 2, 3)))
    made: list[Tree] = [
        draw(parts(f"p{n}", levels, max(1, most + 1 - count))) for n in range(count)
    ]
    level = st.none() | st.sampled_from(levels)
    if count == 3 and draw(st.booleans()):
        inner = Group("inner", tuple(made[:2]), require=draw(level), prefer=draw(level))
        made = [inner, made[2]]
    if len(made) == 1 and draw(st.booleans()):
        return made[0]
    return Group("all", tuple(made), require=draw(level), prefer=draw(level))


@st.composite
def questions(draw: st.DrawFn) -> Question:
    levels = draw(st.sampled_from(LEVELS))
    fleet = draw(nodes(levels))
    tree = draw(trees(levels))
    existing = {}
    if draw(st.integers(0, 3)) == 0:
        for part in parts_of(tree):
            spots = draw(st.lists(st.sampled_from([node.name for node in fleet]), max_size=2))
            existing[part.name] = {name: spots.count(name) for name in spots}
    return Question(Kind.PLACE, levels, fleet, tree, existing)
