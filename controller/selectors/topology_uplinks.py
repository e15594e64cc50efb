"""Cables between switches, told by the S1 and S2 domains that these make."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from controller.selectors.topology_rows import (
    Cables,
    DomainRow,
    SwitchRow,
    Uplink,
    together,
)


@dataclass(frozen=True, slots=True)
class Uplinks:
    """By the key of an S1: its cables to its S2, and the switches above that it reaches."""

    cables: Mapping[int, tuple[Cables, ...]]
    reached: Mapping[int, set[str]]


def join(
    uplinks: Sequence[Uplink],
    switches: Mapping[str, SwitchRow],
    domains: Sequence[DomainRow],
) -> Uplinks:
    """Return the uplinks of domains, read once from those of switches.

    An end of the lower tier is below whichever way round the cable was written down.
    """
    tiers = {name: switch.tier or 0 for name, switch in switches.items()}
    s1s, s2s = (_made(switches, domains, level) for level in ("S1", "S2"))
    above = {domain.pk: domain.parent for domain in domains}
    found: dict[int, list[Cables]] = defaultdict(list)
    reached: dict[int, set[str]] = defaultdict(set)
    for one in uplinks:
        if one.switch not in tiers or one.peer not in tiers:
            continue
        low, high = one.switch, one.peer
        if tiers[low] > tiers[high]:
            low, high = high, low
        for s1 in s1s.get(low, ()):
            reached[s1].add(high)
            if above[s1] in s2s.get(high, ()):
                found[s1].append(one.cables)
    return Uplinks({s1: together(some) for s1, some in found.items()}, reached)


def _made(
    switches: Iterable[str], domains: Sequence[DomainRow], level: str
) -> Mapping[str, list[int]]:
    """Return the domains of a level that each switch helps to make."""
    names = {name.lower(): name for name in switches}
    found: dict[str, list[int]] = defaultdict(list)
    for domain in domains:
        for said in domain.switches if domain.level == level else ():
            if (name := names.get(said.lower())) is not None:
                found[name].append(domain.pk)
    return found
