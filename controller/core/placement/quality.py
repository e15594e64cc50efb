"""What makes a placement better than another: sums, of which the first that differs decides."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.eligible import label_score, scarcity
from controller.core.placement.ground import IntArray
from controller.core.placement.tree import READY, Group, Tree, counted_of, parts_of

LIMB_BITS: Final = 62
"""Bits of one number of a packed cost; costs that need more take several, first one first."""


@dataclass(frozen=True, slots=True, eq=False)
class Cost:
    """The price of a placement, as sums packed so that comparing numbers compares lists.

    ``pod`` has shape (P, N, K): what a pod of a part on a node costs. ``touch`` are, per level
    and member, what a domain costs the member that has a pod in it, of shape (domains, K).
    """

    pod: IntArray
    touch: tuple[tuple[tuple[Tree, IntArray], ...], ...]

    @property
    def limbs(self) -> int:
        """How many numbers a packed cost has."""
        return int(self.pod.shape[2])


@dataclass(frozen=True, slots=True, eq=False)
class _Term:
    """One sum of the list: prices of pods (P, N), or of domains touched by members."""

    most: int
    pod: IntArray | None = None
    level: int = 0
    price: IntArray | None = None
    members: tuple[Tree, ...] = ()


def cost_of(ask: Ask) -> Cost:
    """Return how placements of a request compare, least first.

    In this order: pods left on nodes that aren't ready (when shrinking); wished labels missed;
    pods on scarce nodes, high and then medium; domains touched by the members that count,
    outermost level first; what was free in them, outermost level first, since less is a better
    fit; for a request without any level its own domains; what was free on the nodes it uses.
    """
    return _packed(ask, [term for term in _terms(ask) if term.most > 0])


def outranks_nearness(ask: Ask) -> bool:
    """Return whether anything but levels decides first: labels that differ, or scarce nodes."""
    return bool(scarcity(ask.ground).any() or _label_loss(ask).any())


def main_resource(ask: Ask) -> str | None:
    """Return the resource by which fit is judged: GPUs, or the first by name."""
    return "gpu" if "gpu" in ask.resources else next(iter(ask.resources), None)


def price_of(ask: Ask, cost: Cost, pods: IntArray) -> tuple[int, ...]:
    """Return the price of counts of shape (P, N), to be compared with others by that cost."""
    price = np.einsum("pn,pnk->k", pods, cost.pod)
    names = [part.name for part in parts_of(ask.tree)]
    for level, prices in enumerate(cost.touch):
        for member, each in prices:
            rows = [names.index(part.name) for part in parts_of(member)]
            touched = ask.ground.total(level, pods[rows].sum(axis=0)) > 0
            price = price + each[touched].sum(axis=0)
    return tuple(price.tolist())


def _terms(ask: Ask) -> list[_Term]:
    ranks = scarcity(ask.ground)
    labels = _label_loss(ask)
    pods = np.ones((len(ask.each), 1), dtype=np.int64)
    total = int(ask.pods.sum())
    scarce = [
        _Term(most=total * int((ranks == rank).any()), pod=pods * (ranks == rank)[None, :])
        for rank in (2, 1)
    ]
    label = _Term(most=int(labels.max(axis=1, initial=0) @ ask.pods), pod=labels)
    return [*_sick(ask), label, *scarce, *_spread(ask), *_whole(ask)]


def _sick(ask: Ask) -> list[_Term]:
    sick = np.array([node.state != READY for node in ask.ground.nodes], dtype=np.int64)
    shrinks = ask.shrinks.astype(np.int64)
    most = int(ask.pods.sum()) * int(sick.any() and shrinks.any())
    return [_Term(most=most, pod=shrinks[:, None] * sick[None, :])]


def _label_loss(ask: Ask) -> IntArray:
    scores = np.array(
        [[label_score(node, part) for node in ask.ground.nodes] for part in parts_of(ask.tree)],
        dtype=np.int64,
    )
    loss: IntArray = scores.max(axis=1, keepdims=True) - scores
    return loss


def _spread(ask: Ask) -> list[_Term]:
    members = counted_of(ask.tree)
    levels = range(len(ask.ground.levels))
    near = [_touching(ask, level, members) for level in levels]
    return near + [_touching(ask, level, members, price=_free(ask, level)) for level in levels]


def _whole(ask: Ask) -> list[_Term]:
    """Return how near and how tight the request is as a whole, where it has no level itself."""
    root, last = (ask.tree,), len(ask.ground.levels) - 1
    wants_none = isinstance(ask.tree, Group) and not (ask.tree.require or ask.tree.prefer)
    levels = range(last + 1) if wants_none and not ask.tree.scatter else ()
    near = [_touching(ask, level, root) for level in levels]
    return [*near, _touching(ask, last, root, price=_free(ask, last))]


def _touching(
    ask: Ask, level: int, members: tuple[Tree, ...], *, price: IntArray | None = None
) -> _Term:
    each = np.ones(len(ask.ground.starts[level]), dtype=np.int64) if price is None else price
    return _Term(most=int(each.sum()) * len(members), level=level, price=each, members=members)


def _free(ask: Ask, level: int) -> IntArray:
    main = main_resource(ask)
    held = [node.free.get(main, 0) if main else 0 for node in ask.ground.nodes]
    return ask.ground.total(level, np.maximum(np.array(held, dtype=np.int64), 0))


def _packed(ask: Ask, terms: list[_Term]) -> Cost:
    places = _places([term.most.bit_length() for term in terms])
    limbs = max((limb for limb, _ in places), default=0) + 1
    pod = np.zeros((*ask.running.shape, limbs), dtype=np.int64)
    touch: list[list[tuple[Tree, IntArray]]] = [[] for _ in ask.ground.levels]
    for term, (limb, shift) in zip(terms, places, strict=True):
        if term.pod is not None:
            pod[:, :, limb] += np.broadcast_to(term.pod, ask.running.shape) << shift
        elif term.price is not None:
            price = np.zeros((len(term.price), limbs), dtype=np.int64)
            price[:, limb] = term.price << shift
            touch[term.level] += [(member, price) for member in term.members]
    return Cost(pod, tuple(_summed(prices) for prices in touch))


def _places(widths: list[int]) -> list[tuple[int, int]]:
    """Return the limb and the shift of each sum, the first sum on top of the first limb."""
    limbs: list[int] = []
    used = limb = 0
    for width in widths:
        if used + width > LIMB_BITS:
            limb, used = limb + 1, 0
        used += width
        limbs.append(limb)
    below = [
        sum(
            width
            for width, other in zip(widths[n + 1 :], limbs[n + 1 :], strict=True)
            if other == limb
        )
        for n, limb in enumerate(limbs)
    ]
    return list(zip(limbs, below, strict=True))


def _summed(prices: list[tuple[Tree, IntArray]]) -> tuple[tuple[Tree, IntArray], ...]:
    """Return one price per member where several sums touch it."""
    members = {id(member): member for member, _ in prices}
    return tuple(
        (member, np.sum([price for other, price in prices if other is member], axis=0))
        for member in members.values()
    )
