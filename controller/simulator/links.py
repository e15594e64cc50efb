"""KV transfers over shared links: how much longer they take for where instances are and at load.

A transfer leaves through the network cards of its prefill instance. Between different S1 switches
it climbs out of one and down into another, between different S2 switches through both tiers; up
and down are separate links of the same width. Its pace is that of its slowest link: the cache
streams through all of them at once, so queueing on several doesn't add up.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.types import Floats
from controller.simulator.fleet import Fleet, Spread, Where
from controller.simulator.model import Fabric, ServiceModel
from controller.simulator.profiles import HARDWARE

MOST_LOAD: Final = 0.97
"""A fuller link counts as this full: a transfer takes 33 times as long."""

MOST_UPLINKS: Final = 4

NON_BLOCKING: Final = Fabric()

Switch = tuple[str, ...]
"""S1 or S2, the cluster, the S2 and, for an S1, its name."""

Uplink = tuple[Switch, str]
"""All uplinks of a switch together, in one direction."""


class LineRateError(ValueError):
    """A switch with a node whose line rate isn't known; the text names the switch."""


def sent_bytes_per_token(service: ServiceModel) -> float:
    """Return the KV bytes a prompt token puts on the network."""
    return service.prefill.kv_bytes_per_token * service.transfer.copies


def line_bytes_s(service: ServiceModel) -> float:
    """Return what the network cards of one prefill instance can send under one S1 [bytes/s]."""
    rate = service.prefill.spec.nic_gb_s * service.prefill.tp * 1e9
    return rate * service.transfer.bandwidth_frac


@dataclass(frozen=True, slots=True)
class _Path:
    """A share of a service's pairs that uses the same uplinks, at 1 / bandwidth share each."""

    uplinks: tuple[Uplink, ...]
    pairs_frac: float
    cost: float


@dataclass(frozen=True, slots=True)
class _Route:
    """How the transfers of one service go while its instances stay where they are."""

    spread: Spread
    senders: int
    paths: tuple[_Path, ...]

    @classmethod
    def of(cls, spread: Spread, fabric: Fabric) -> "_Route":
        return cls(spread, sum(spread.prefill.values()), _paths(spread, fabric))

    @property
    def cost(self) -> float:
        """Mean of 1 / bandwidth share over the pairs."""
        return sum(path.pairs_frac * path.cost for path in self.paths)


class Links:
    """The links that the transfers of ``n`` services share, as long as no instance moves."""

    def __init__(
        self,
        services: Sequence[ServiceModel],
        fabric: Fabric,
        widths: Mapping[Switch, float],
        routes: Mapping[str, _Route],
    ) -> None:
        """Use :meth:`of` and :meth:`moved`."""
        self._services = services
        self._fabric = fabric
        self._widths = widths
        self._routes = routes
        own = [routes[service.key] for service in services]
        self._cost = np.array([route.cost for route in own])
        rates = np.array([line_bytes_s(service) for service in services])
        self._cards = rates * np.array([max(r.senders, 1) for r in own]) / self._cost
        paths = [(row, path) for row, route in enumerate(own) for path in route.paths]
        self.contended = any(path.uplinks for _, path in paths)
        if self.contended:
            self._share(paths)

    def _share(self, paths: Sequence[tuple[int, _Path]]) -> None:
        """Lay out paths (each with its service's row) and uplinks as arrays."""
        names = sorted({uplink for _, path in paths for uplink in path.uplinks})
        at = {name: index for index, name in enumerate(names)}
        self._capacity = np.array([_known_width(self._widths, switch) for switch, _ in names])
        self._through = np.zeros((len(names), len(self._services)))
        self._uplinks: NDArray[np.int64] = np.full((len(paths), MOST_UPLINKS), len(names))
        self._weights = np.zeros((len(self._services), len(paths)))
        self._rows = np.array([row for row, _ in paths])
        for index, (row, path) in enumerate(paths):
            used = [at[name] for name in path.uplinks]
            self._through[used, row] += path.pairs_frac
            self._uplinks[index, : len(used)] = used
            self._weights[row, index] = path.pairs_frac * path.cost

    @classmethod
    def of(
        cls, fleet: Fleet, services: Sequence[ServiceModel], fabric: Fabric = NON_BLOCKING
    ) -> "Links":
        """Return the links of ``services`` as their serving instances are placed now.

        All pairs of a prefill and a decode instance are equally likely. Uplinks that aren't
        oversubscribed can't be fuller than the cards below them and are left out. Raises
        :class:`LineRateError`.
        """
        routes = {s.key: _Route.of(fleet.spread(s.key), fabric) for s in services}
        return cls(services, fabric, _widths(fleet, fabric), routes)

    def moved(self, fleet: Fleet) -> "Links":
        """Return the links after instances of the same fleet came or went.

        Only services whose serving instances changed are looked at again.
        """
        routes = {}
        for key, route in self._routes.items():
            spread = fleet.spread(key)
            same = spread is route.spread
            routes[key] = route if same else _Route.of(spread, self._fabric)
        return Links(self._services, self._fabric, self._widths, routes)

    def delay_factor(self, bytes_s: Floats) -> Floats:
        """Return how many times its time on free cards under one S1 a transfer takes, ``(n,)``.

        ``bytes_s`` is what each service sends, shape ``(n,)``. A link at the share ``u`` of its
        rate delays by 1 / (1 - u); the mean over a service's pairs of 1 / bandwidth share of the
        way, times the worst delay on it.
        """
        own: Floats = 1 / (1 - np.minimum(bytes_s / self._cards, MOST_LOAD))
        if not self.contended:
            return self._cost * own
        load = self._through @ bytes_s / self._capacity
        delays = np.append(1 / (1 - np.minimum(load, MOST_LOAD)), 1.0)
        worst = np.maximum(delays[self._uplinks].max(axis=1), own[self._rows])
        factor: Floats = self._weights @ worst
        return factor


def _paths(spread: Spread, fabric: Fabric) -> tuple[_Path, ...]:
    """Return the ways of the pairs; one free way where there is no pair."""
    pairs: dict[tuple[tuple[Uplink, ...], float], int] = defaultdict(int)
    for source, here in spread.prefill.items():
        for target, there in spread.decode.items():
            way = _uplinks(source, target, fabric), 1 / _bandwidth_frac(source, target, fabric)
            pairs[way] += here * there
    total = sum(pairs.values())
    if not total:
        return (_Path((), 1.0, 1.0),)
    return tuple(_Path(uplinks, count / total, cost) for (uplinks, cost), count in pairs.items())


def _bandwidth_frac(source: Where, target: Where, fabric: Fabric) -> float:
    if source == target:
        return 1.0
    if source[0] != target[0]:
        return fabric.across_clusters_frac
    return fabric.same_s2_frac if source[2] == target[2] else fabric.across_s2_frac


def _uplinks(source: Where, target: Where, fabric: Fabric) -> tuple[Uplink, ...]:
    """Return the oversubscribed uplinks between two S1 switches."""
    used: list[Uplink] = []
    if source != target and fabric.s1_oversubscription > 1:
        used += [(_s1(source), "up"), (_s1(target), "down")]
    if _s2(source) != _s2(target) and fabric.s2_oversubscription > 1:
        used += [(_s2(source), "up"), (_s2(target), "down")]
    return tuple(used)


def _s1(where: Where) -> Switch:
    return "S1", where[0], where[2], where[1]


def _s2(where: Where) -> Switch:
    return "S2", where[0], where[2]


def _widths(fleet: Fleet, fabric: Fabric) -> Mapping[Switch, float]:
    """Return what the uplinks of every switch carry one way [bytes/s]; NaN where unknown."""
    widths: dict[Switch, float] = defaultdict(float)
    for node in fleet.nodes.values():
        spec = HARDWARE.get(node.hardware)
        rate = spec.nic_gb_s * node.gpus * 1e9 if spec else nan
        where = node.cluster, node.s1, node.s2
        widths[_s1(where)] += rate / fabric.s1_oversubscription
        widths[_s2(where)] += rate / fabric.s2_oversubscription
    return widths


def _known_width(widths: Mapping[Switch, float], switch: Switch) -> float:
    if isnan(widths[switch]):
        raise LineRateError(
            f"a node under {' '.join(switch)} is of a type without a line rate, so its uplinks"
            " can't be sized: add the type to the hardware table"
        )
    return widths[switch]
