"""The best placement there is: tables of counts, joined from the nodes up to the whole fleet.

A domain's cost depends on which parts have a pod in it and on nothing else, and levels and packs
can be checked from the counts in a domain. So the cheapest way to have a count of pods in a
domain is made of cheapest ways in its halves, and nothing has to be tried twice.
"""

from dataclasses import dataclass

import numpy as np

from controller.core.placement.ask import Ask
from controller.core.placement.counts import any_of, new_slots
from controller.core.placement.ground import IntArray
from controller.core.placement.quality import Cost, cost_of
from controller.core.placement.tables import Budget, Keys, Table, joined, keys_of, traced
from controller.core.placement.tree import NODE, Part, Tree, members_of, parts_of


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """What is checked and charged in each domain of a level, as masks of keys."""

    whole: tuple[int, ...]
    packs: tuple[tuple[int, int], ...]
    prices: tuple[tuple[int, IntArray], ...]


class _Search:
    """One request's tables; ``best`` runs it."""

    def __init__(self, ask: Ask, budget: Budget) -> None:
        self.ask = ask
        self.budget = budget
        self.keys: Keys = keys_of(ask.pods.tolist())
        self.parts = parts_of(ask.tree)
        self.cost: Cost = cost_of(ask)
        self.slots = new_slots(ask)
        self.shrinks = ask.shrinks
        self.slices = [ask.ground.slices(level) for level in range(len(ask.ground.levels))]
        self.levels = [self._level(level) for level in range(len(ask.ground.levels))]
        self.used = any_of(self.slots + ask.running > 0)
        self.nothing = Table(
            np.zeros(1, dtype=np.int64), np.zeros((1, self.cost.limbs), dtype=np.int64), node=0
        )
        self.nodes: dict[tuple[bytes, ...], Table] = {}

    def best(self) -> IntArray | None:
        """Return the best counts, of shape (P, N), or None where there are none."""
        everywhere = self._joined(0, range(len(self.ask.ground.starts[0])))
        rows = np.flatnonzero(everywhere.keys == self.keys.full)
        if not rows.size:
            return None
        pods = np.zeros_like(self.ask.running)
        nodes, keys = zip(*traced(everywhere, int(rows[0])), strict=True)
        for part in range(len(self.parts)):
            pods[part, list(nodes)] = self.keys.count(np.array(keys, dtype=np.int64), part)
        return pods

    def _level(self, level: int) -> _Level:
        name = self.ask.ground.levels[level]
        whole = [self._mask(m) for m in members_of(self.ask.tree) if m.require == name]
        packs = [
            (part, pack.size or 1)
            for part, each in enumerate(self.parts)
            for pack in each.packs
            if pack.level == name
        ]
        prices = [(self._mask(member), price) for member, price in self.cost.touch[level]]
        return _Level(tuple(whole), tuple(packs), tuple(prices))

    def _mask(self, member: Tree) -> int:
        under = {part.name for part in parts_of(member)}
        return self.keys.mask([n for n, part in enumerate(self.parts) if part.name in under])

    def _joined(self, level: int, domains: range) -> Table:
        found: Table | None = None
        for domain in domains:
            table = self._domain(level, domain)
            found = table if found is None else joined(found, table, self.keys, self.budget)
        if found is None:
            raise AssertionError("a domain without nodes")
        return found

    def _domain(self, level: int, domain: int) -> Table:
        starts = self.ask.ground.starts
        if not self.used[slice(*self.slices[level][domain])].any():
            return self.nothing
        if level == len(starts) - 1:
            table = self._node(domain)
        else:
            inner = np.searchsorted(starts[level + 1], self.slices[level][domain])
            table = self._joined(level + 1, range(int(inner[0]), int(inner[1])))
        return self._judged(table, self.levels[level], domain)

    def _judged(self, table: Table, rules: _Level, domain: int) -> Table:
        """Drop the counts that a level forbids in one domain, and charge for the others."""
        kept = np.ones(len(table.keys), dtype=np.bool_)
        for mask in rules.whole:
            inside = table.keys & mask
            kept &= (inside == 0) | (inside == self.keys.full & mask)
        for part, size in rules.packs:
            kept &= self.keys.count(table.keys, part) % size == 0
        table = table.only(kept)
        extra = np.zeros_like(table.costs)
        for mask, price in rules.prices:
            extra += ((table.keys & mask) != 0)[:, None] * price[domain][None, :]
        return table.dearer(extra)

    def _node(self, node: int) -> Table:
        """Return the counts one node can hold; nodes alike share the work."""
        ask = self.ask
        alike = (
            self.slots[:, node].tobytes(),
            ask.running[:, node].tobytes(),
            ask.free[node].tobytes(),
            self.cost.pod[:, node].tobytes(),
        )
        if alike not in self.nodes:
            self.nodes[alike] = self._counts(node)
        like = self.nodes[alike]
        return Table(like.keys, like.costs, node)

    def _counts(self, node: int) -> Table:
        ask = self.ask
        keys = np.zeros(1, dtype=np.int64)
        costs = np.zeros((1, self.cost.limbs), dtype=np.int64)
        used = np.zeros((1, len(ask.resources)), dtype=np.int64)
        for part in range(len(self.parts)):
            counts = self._range(part, node)
            self.budget.spend(len(keys) * len(counts))
            new = np.maximum(counts - ask.running[part, node], 0)
            taken = used[:, None, :] + new[None, :, None] * ask.each[part]
            taken = taken.reshape(len(keys) * len(counts), used.shape[1])
            fits = (taken <= ask.free[node]).all(axis=1)
            used = taken[fits]
            keys = (keys[:, None] + (counts << self.keys.shifts[part])[None, :]).ravel()[fits]
            price = counts[:, None] * self.cost.pod[part, node][None, :]
            costs = (costs[:, None, :] + price[None, :, :]).reshape(-1, costs.shape[1])[fits]
        order = np.argsort(keys)
        return Table(keys[order], costs[order], node)

    def _range(self, part: int, node: int) -> IntArray:
        """Return how many pods of a part a node may have, those that run among them."""
        runs = int(self.ask.running[part, node])
        low, high = (0, runs) if self.shrinks[part] else (runs, runs + int(self.slots[part, node]))
        self.budget.spend(high - low + 1)
        counts = np.arange(low, min(high, self.parts[part].pods) + 1, dtype=np.int64)
        size = _pack_on_node(self.parts[part])
        whole: IntArray = counts[counts % size == 0]
        return whole


def _pack_on_node(part: Part) -> int:
    return next((pack.size or 1 for pack in part.packs if pack.level == NODE), 1)


def best_counts(ask: Ask, budget: Budget) -> IntArray | None:
    """Return the best placement as counts of shape (P, N), or None where there is none.

    Raises :class:`~controller.core.placement.tables.TooLargeError` when the tables would outgrow
    the budget, which is not to say that there is none.
    """
    return _Search(ask, budget).best()
