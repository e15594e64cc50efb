"""How many pairs of a prefill and a decode instance share an S1 or an S2 (HeteroScale §6, §7)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from controller.core.types import Role

NO_PAIR = "no pair yet"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one ready instance is; an empty S1 or S2 is one nobody knows.

    ``node`` is its only node, empty for an instance over several: what is on one node is under
    one switch, whether or not anybody named it. The caller leaves a domain empty that not all
    nodes of the instance share.
    """

    group: str
    role: Role
    s1: str = ""
    s2: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Near:
    """Pairs of a prefill and a decode instance of one group, and how many share a domain.

    ``s2`` counts those under one S1 too; ``unknown`` are pairs of which nobody can tell whether
    they share an S1. They count as apart in the shares.
    """

    pairs: int = 0
    s1: int = 0
    s2: int = 0
    unknown: int = 0

    @property
    def s1_words(self) -> str:
        """The share of pairs under one S1 in words: "92 %"."""
        return share(self.s1, self.pairs)

    @property
    def s2_words(self) -> str:
        """The share of pairs under one S2 in words: "100 %"."""
        return share(self.s2, self.pairs)

    @property
    def short(self) -> str:
        """What a line has room for: "P and D share S1: 92 % of pairs"."""
        return f"P and D share S1: {self.s1_words} of pairs" if self.pairs else NO_PAIR

    @property
    def words(self) -> str:
        """Both levels: "P and D share S1: 92 % of pairs, S2: 100 %"."""
        return f"{self.short}, S2: {self.s2_words}" if self.pairs else NO_PAIR


def pairs_near(instances: Iterable[Standing]) -> Near:
    """Return how near the prefill and decode instances of the same groups are to each other.

    KV moves from any prefill to any decode instance of a group, so each of them with each of the
    other role is a pair, and the share under one S1 is the number of such pairs of ready
    instances over all of them (HeteroScale §7). Instances of other groups never make a pair.
    """
    groups: dict[str, list[Standing]] = defaultdict(list)
    for one in instances:
        groups[one.group].append(one)
    found = [_of_group(group) for group in groups.values()]
    return Near(
        pairs=sum(one.pairs for one in found),
        s1=sum(one.s1 for one in found),
        s2=sum(one.s2 for one in found),
        unknown=sum(one.unknown for one in found),
    )


def _of_group(group: Iterable[Standing]) -> Near:
    s1: dict[Role, Counter[str]] = {role: Counter() for role in Role}
    s2: dict[Role, Counter[str]] = {role: Counter() for role in Role}
    for one in group:
        s1[one.role][_nearest(one)] += 1
        s2[one.role][f"s2 {one.s2}" if one.s2 else _nearest(one)] += 1
    pairs = s1[Role.PREFILL].total() * s1[Role.DECODE].total()
    together = _sharing(s1)
    named = {role: sum(n for key, n in s1[role].items() if key.startswith("s1 ")) for role in Role}
    # Two that both have a named S1 are known to share it or not; so are two on one node.
    apart = named[Role.PREFILL] * named[Role.DECODE] - _sharing(_named(s1))
    return Near(pairs, together, _sharing(s2), pairs - together - apart)


def _nearest(one: Standing) -> str:
    if one.s1:
        return f"s1 {one.s1}"
    return f"node {one.node}" if one.node else ""


def _named(counted: Mapping[Role, Counter[str]]) -> dict[Role, Counter[str]]:
    return {
        role: Counter({key: n for key, n in found.items() if key.startswith("s1 ")})
        for role, found in counted.items()
    }


def _sharing(counted: Mapping[Role, Counter[str]]) -> int:
    prefill, decode = counted[Role.PREFILL], counted[Role.DECODE]
    return sum(count * decode[key] for key, count in prefill.items() if key)


def share(part: int, whole: int) -> str:
    """Return a share in whole per cent, and neither 0 nor 100 that is not exactly so."""
    if not whole:
        return NO_PAIR
    percent = Fraction(100 * part, whole)
    if 0 < percent < 1:
        return "under 1 %"
    nearest = round(percent)
    return f"{99 if nearest == 100 and part < whole else nearest} %"  # noqa: PLR2004 - all of it
