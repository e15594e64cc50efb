"""RDMA subgroups in words: how scarce what a domain offers is (HeteroScale, §6)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from inventory.domains import Subgroup

MEANINGS: Final[Mapping[Subgroup, str]] = {
    Subgroup.HIGH: "an S1 of several GPU types, and the S2 above it",
    Subgroup.MEDIUM: "an S2 of several GPU types, each of its S1 domains of one",
    Subgroup.LOW: "an S2 whose nodes are all of one GPU type, and its S1 domains",
}
NOT_KNOWN: Final = ("not known", "unknown", "nothing says of which GPU types its nodes are")


@dataclass(frozen=True, slots=True)
class SubgroupCount:
    """An RDMA subgroup in words, and how many domains are of it."""

    name: str
    priority: str
    meaning: str
    s2: int
    s1: int


def scarcity(subgroup: str) -> str:
    """Return an RDMA subgroup and its priority in words."""
    if not subgroup:
        return "RDMA subgroup not known"
    return f"{subgroup}: {Subgroup(subgroup).priority} priority to spare"


def count_subgroups(domains: Iterable[tuple[str, str]]) -> tuple[SubgroupCount, ...]:
    """Return the subgroups, the most scarce first; ``domains`` are pairs of level and subgroup."""
    counted = Counter(domains)
    known = [
        SubgroupCount(
            one.value, one.priority, meaning, counted["S2", one.value], counted["S1", one.value]
        )
        for one, meaning in MEANINGS.items()
    ]
    untold = counted["S2", ""] + counted["S1", ""]
    if untold:
        known.append(SubgroupCount(*NOT_KNOWN, counted["S2", ""], counted["S1", ""]))
    return tuple(known)
