"""Who stands in which rack units."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise

from inventory.kept import Values


def crowded(nodes: Iterable[Values]) -> Iterator[tuple[str, str]]:
    """Return (name, sentence) for each node that would stand where another does.

    Front and rear of a rack are apart; what fills both is in the way of either.
    """
    held: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    for values in nodes:
        low, height = values.get("u_position"), values.get("u_height") or 1
        if not values.get("rack") or not isinstance(low, int) or not isinstance(height, int):
            continue
        face = str(values.get("face") or "both")
        for side in ("front", "rear") if face == "both" else (face,):
            name = str(values["name"])
            held[str(values["rack"]).lower(), side].append((low, low + height - 1, name))
    said = set()
    for (rack, _), nodes_there in sorted(held.items()):
        for (_, top, below), (low, _, name) in pairwise(sorted(nodes_there)):
            if low <= top and (below, name) not in said:
                said.add((below, name))
                place = rack.rpartition("/")[2]
                yield (
                    name,
                    f"{name} would stand at U{low} of {place}, where {below} reaches U{top}",
                )
