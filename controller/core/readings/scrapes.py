"""From what instances export to leaves: rates of each series first, then everything else."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import copysign, inf, nan
from typing import Final

import numpy as np

from controller.core.readings.recipe import Fold, Kind, Leaf
from controller.core.readings.tables import NOWHERE, Answer, Buckets, Leaves, Table
from controller.core.types import Counts, Floats, Role

LONGEST_GAP_S: Final = 300.0
"""Above it two scrapes say nothing of now: what lies between them is an average of long ago."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One series of a metric at one time; ``at_s`` only where the exporter said when that was."""

    labels: Mapping[str, str]
    value: float
    at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scrape:
    """What one exporter answered at ``at_s``: samples by the name of their metric.

    ``names`` are all names it exports, those too whose samples nobody wanted.
    """

    at_s: float
    samples: Mapping[str, Sequence[Sample]]
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance of a service and its last two scrapes; ``before`` is ``None`` at the first.

    Two of one name in a service are the same one, scraped by two jobs (M12).
    """

    name: str
    service: str
    role: Role | None
    now: Scrape
    before: Scrape | None = None


@dataclass(frozen=True, slots=True)
class _Point:
    """A number of one series. After a restart it is no less true, but it is not all of it."""

    labels: Mapping[str, str]
    value: float
    at_s: float
    restarted: bool = False


Key = tuple[str, ...]
_NO_POINT: Final[Sequence[_Point]] = ()


def leaves_from(
    leaves: Iterable[Leaf], instances: Sequence[Instance], services: Sequence[str]
) -> Leaves:
    """Return what the instances of services answer for leaves, at one time.

    A counter that fell was restarted (M11): what it counted since is its rate, and its instance is
    not among those that report. The first scrape of an instance, and one after a long gap or a
    clock that went back, has no rate (metrics: trap 2).
    """
    reader = _Reader(instances, {key: row for row, key in enumerate(services)})
    return {leaf: reader.read(leaf) for leaf in leaves}


def instances_behind(
    leaves: Iterable[Leaf], instances: Sequence[Instance], services: Sequence[str]
) -> Mapping[Leaf, Mapping[str, frozenset[str]]]:
    """Return, by service, the names of instances that export a leaf, with a rate or without."""
    reader = _Reader(instances, {key: row for row, key in enumerate(services)})
    found: dict[Leaf, Mapping[str, frozenset[str]]] = {}
    for leaf in leaves:
        names: dict[str, set[str]] = {}
        for row, name in reader.pods(replace(leaf, kind=Kind.GAUGE)):
            names.setdefault(services[row], set()).add(name)
        found[leaf] = {service: frozenset(theirs) for service, theirs in names.items()}
    return found


def figures_of(
    leaves: Iterable[Leaf], instances: Sequence[Instance], service: str
) -> Mapping[str, Mapping[Leaf, float]]:
    """Return the gauges of each instance of a service by its name, added up over its series."""
    reader = _Reader(instances, {service: 0})
    found: dict[str, dict[Leaf, float]] = {}
    for leaf in leaves:
        for (_, name), pod in reader.pods(leaf).items():
            found.setdefault(name, {})[leaf] = _folded(list(pod.series.values()), Fold.SUM)
    return found


def owned(scrape: Scrape, owner: Sequence[str]) -> Mapping[str, Scrape]:
    """Return what an exporter says of each pod, by the first of the labels that is there."""
    pods: dict[str, dict[str, list[Sample]]] = {}
    for name, samples in scrape.samples.items():
        for sample in samples:
            pod = next((sample.labels[key] for key in owner if sample.labels.get(key)), None)
            if pod is not None:
                pods.setdefault(pod, {}).setdefault(name, []).append(sample)
    return {pod: Scrape(scrape.at_s, theirs, scrape.names) for pod, theirs in pods.items()}


def told_role(roles: Mapping[str, Mapping[str, Role]], scrape: Scrape) -> Role | None:
    """Return the role an exporter's labels tell, ``None`` where they tell none or several."""
    for label, meaning in roles.items():
        seen = {
            meaning[sample.labels[label]]
            for samples in scrape.samples.values()
            for sample in samples
            if sample.labels.get(label) in meaning
        }
        if len(seen) == 1:
            return seen.pop()
    return None


def renamed(leaf: Leaf, instances: Sequence[Instance]) -> str | None:
    """Return, in words, what instances without a metric that others have may call it (M14)."""
    asked = [one for one in instances if leaf.role is None or one.role is leaf.role]
    without = [one for one in asked if not one.now.names.intersection(leaf.names)]
    if not without or len(without) == len(asked):
        return None
    usual = frozenset[str]().union(*(one.now.names for one in asked if one not in without))
    new = sorted(without[0].now.names - usual)
    near = get_close_matches(leaf.names[0], new, n=1)
    hint = f", but it exports {near[0]}" if near else ""
    share = f"{len(without)} of {len(asked)} instances"
    return f"{without[0].name} ({share}) does not export {leaf.names[0]}{hint}"


class _Reader:
    """Answers leaves from instances; a series' rate is computed once for all of them."""

    def __init__(self, instances: Sequence[Instance], rows: Mapping[str, int]) -> None:
        self._instances = [one for one in instances if one.service in rows]
        self._rows = rows
        self._rates: dict[tuple[int, str], Sequence[_Point]] = {}

    def read(self, leaf: Leaf) -> Answer:
        """Return the table of a leaf at one time."""
        pods = self.pods(leaf)
        shape = (len(self._rows), 1)
        return _buckets(pods, shape) if leaf.kind is Kind.BUCKETS else _table(pods, leaf, shape)

    def pods(self, leaf: Leaf) -> Pods:
        """Return the series of each instance that make a leaf, by row of its service and name."""
        match = [(label, re.compile(value)) for label, value in leaf.having]
        pods: dict[tuple[int, str], _Pod] = {}
        for at, instance in enumerate(self._instances):
            if leaf.role is not None and instance.role is not leaf.role:
                continue
            points = [
                point
                for point in self._points(at, leaf)
                if all(value.fullmatch(point.labels.get(label, "")) for label, value in match)
                and (leaf.below == inf or not point.value >= leaf.below)
            ]
            if points:
                key = (self._rows[instance.service], instance.name)
                pods.setdefault(key, _Pod()).add(points, leaf)
        return pods

    def _points(self, at: int, leaf: Leaf) -> Sequence[_Point]:
        instance = self._instances[at]
        samples = instance.now.samples
        name = next((name for name in leaf.names if samples.get(name)), None)
        if name is None:
            return _NO_POINT
        if leaf.kind is Kind.GAUGE:
            now_s = instance.now.at_s
            return [_Point(s.labels, s.value, _time(s, now_s)) for s in samples[name]]
        found = self._rates.get((at, name))
        if found is None:
            found = self._rates[at, name] = list(_rates(instance, name))
        return found


def _time(sample: Sample, scraped_s: float) -> float:
    return scraped_s if sample.at_s is None else sample.at_s


def _rates(instance: Instance, name: str) -> Iterator[_Point]:
    """Yield the rate [1/s] of each series that was there before."""
    if instance.before is None:
        return
    earlier = {
        frozenset(sample.labels.items()): sample
        for sample in instance.before.samples.get(name, ())
    }
    for sample in instance.now.samples[name]:
        old = earlier.get(frozenset(sample.labels.items()))
        if old is None:
            continue
        at_s = _time(sample, instance.now.at_s)
        elapsed_s = at_s - _time(old, instance.before.at_s)
        if not 0.0 < elapsed_s <= LONGEST_GAP_S:
            continue
        restarted = sample.value < old.value
        counted = sample.value if restarted else sample.value - old.value
        yield _Point(sample.labels, counted / elapsed_s, at_s, restarted)


class _Pod:
    """The series of one instance that a leaf is made of, each once."""

    def __init__(self) -> None:
        self.series: dict[tuple[Key, float], float] = {}
        self.at_s = -inf
        self.whole = False

    def add(self, points: Sequence[_Point], leaf: Leaf) -> None:
        """Take what one scrape job saw; of what two saw the greater counts."""
        for point in points:
            bound = _bound(point) if leaf.kind is Kind.BUCKETS else 0.0
            if bound is None:
                continue
            # Nothing here is below 0; among others it must not pass as a smaller sum (M06).
            number = nan if copysign(1.0, point.value) < 0.0 else point.value
            key = (tuple(point.labels.get(label, "") for label in leaf.apart), bound)
            self.series[key] = float(np.fmax(self.series.get(key, nan), number))
            self.at_s = max(self.at_s, point.at_s)
        self.whole = self.whole or not any(point.restarted for point in points)


def _bound(point: _Point) -> float | None:
    try:
        return float(point.labels["le"])
    except (KeyError, ValueError):
        return None


def _folded(values: Sequence[float], fold: Fold) -> float:
    # Not a number here is not a number there.
    with np.errstate(all="ignore"):
        match fold:
            case Fold.SUM:
                return float(np.sum(values))
            case Fold.MEAN:
                return float(np.mean(values))
            case Fold.MOST:
                return float(np.max(values))


Pods = Mapping[tuple[int, str], _Pod]


def _table(pods: Pods, leaf: Leaf, shape: tuple[int, int]) -> Table:
    values = np.full(shape, NOWHERE)
    parts: dict[int, list[float]] = {}
    for (row, _), pod in pods.items():
        parts.setdefault(row, []).append(_folded(list(pod.series.values()), leaf.within))
    for row, numbers in parts.items():
        values[row, 0] = _folded(numbers, leaf.over)
    return Table(values, *_behind(pods, shape))


def _buckets(pods: Pods, shape: tuple[int, int]) -> Buckets:
    bounds = {bound for pod in pods.values() for _, bound in pod.series}
    le: Floats = np.array(sorted(bounds), dtype=np.float64)
    place = {bound: at for at, bound in enumerate(le.tolist())}
    rates = np.full((shape[0], le.size, 1), NOWHERE)
    for (row, _), pod in pods.items():
        for (_, bound), rate in pod.series.items():
            cell = (row, place[bound], 0)
            rates[cell] = rate if np.isnan(rates[cell]) else rates[cell] + rate
    return Buckets(le, rates, *_behind(pods, shape))


def _behind(pods: Pods, shape: tuple[int, int]) -> tuple[Floats, Counts]:
    """Return when the newest sample of each service was taken, and how many instances report."""
    at_s, reporting = np.full(shape, NOWHERE), np.zeros(shape, dtype=np.int64)
    for (row, _), pod in pods.items():
        at_s[row, 0] = np.fmax(at_s[row, 0], pod.at_s)
        reporting[row, 0] += pod.whole
    return at_s, reporting
