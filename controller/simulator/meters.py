"""What each instance has counted since it began to serve, as a vLLM engine would export it.

All instances of one role of a service get equal shares of what it does. So one total is kept for
each role and figure, *what an instance that was there all along has counted*, and of each
instance what that total was when it began: its counters are the difference. That costs nothing
for instances that stay, and counters of one instance never fall.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from controller.core.types import Floats, Role
from controller.simulator.instances import Instance, Phase

TTFT_BOUNDS: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
TBT_BOUNDS: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0),
)
"""Upper bounds of vLLM 0.33's histograms [s]."""

TTFT: Final = "time_to_first_token_seconds"
TBT: Final = "inter_token_latency_seconds"
SECONDLY: Final[Mapping[Role, tuple[str, ...]]] = {
    Role.PREFILL: ("requests", "prompt", "computed"),
    Role.DECODE: ("prompt", "generated"),
}
"""What is counted in every bin."""

SAMPLED: Final[Mapping[Role, tuple[str, ...]]] = {Role.PREFILL: (), Role.DECODE: ("finished",)}
"""What is counted with the latencies, in every sample."""

_HISTOGRAMS: Final[Mapping[Role, Mapping[str, tuple[float, ...]]]] = {
    Role.PREFILL: {TTFT: TTFT_BOUNDS},
    Role.DECODE: {TTFT: TTFT_BOUNDS, TBT: TBT_BOUNDS},
}
_SERVES: Final = frozenset({Phase.READY, Phase.DRAINING})


@dataclass(frozen=True, slots=True)
class Histogram:
    """Upper bounds, how many values were at most each, how many in all, and their sum."""

    bounds: Sequence[float]
    below: Sequence[float]
    count: float
    total: float


@dataclass(frozen=True, slots=True)
class Counted:
    """What one instance has counted: figures by name, and histograms by vLLM's name."""

    figures: Mapping[str, float]
    histograms: Mapping[str, Histogram]


@dataclass(frozen=True, slots=True)
class Latencies:
    """Equally likely latencies of a sample [s] and how many there were, shape ``(n,)``.

    ``ttft_s`` has shape ``(n, values)``, ``tbt_s`` ``(values, n)``; ``measured_s`` are the TTFT of
    rows where every request was seen. ``decode_ttft_s`` is decode's mean part of it, ``admitted``
    how many it took in.
    """

    ttft_s: Floats
    measured_s: Mapping[int, Floats]
    decode_ttft_s: Floats
    tbt_s: Floats
    requests: Floats
    tokens: Floats
    admitted: Floats


class Meters:
    """Totals of each role, shape ``(figures, n)``, and where each instance's counting began."""

    def __init__(self, rows: int) -> None:
        """Start at nothing."""
        self.totals: dict[Role, Floats] = {role: np.zeros((_width(role), rows)) for role in Role}
        self._inside = np.zeros(rows)
        self._began: dict[tuple[int, Role, int], Floats] = {}
        self._new: list[tuple[int, Instance]] = []

    def note(self, row: int, instances: Iterable[Instance]) -> None:
        """Take note of who of a service serves; who serves no longer begins anew next time."""
        serving = [each for each in instances if each.phase in _SERVES]
        known = {(row, each.role, each.serial) for each in serving}
        for gone in [key for key in self._began if key[0] == row and key not in known]:
            del self._began[gone]
        self._new = [(at, each) for at, each in self._new if at != row]
        self._new += [
            (row, each) for each in serving if (row, each.role, each.serial) not in self._began
        ]

    def run(self, begin: int, done: Mapping[Role, Floats], sharing: Floats) -> None:
        """Count bins: ``done`` are the figures of ``SECONDLY``, shape ``(T, figures, n)``.

        ``sharing`` are the instances of each role that did it, shape ``(T, 2, n)``.
        """
        for at, role in enumerate(Role):
            each = done[role] / np.maximum(sharing[:, np.newaxis, at], 1.0)
            count = len(SECONDLY[role])
            # One after the other, so that the total doesn't depend on how time is cut.
            totals = np.cumsum(
                np.concatenate((self.totals[role][np.newaxis, :count], each)), axis=0
            )
            self._begin(role, begin, totals)
            self.totals[role][:count] = totals[-1]
        self._new.clear()
        # Who leaves prefill is inside decode from then on.
        joined = done[Role.PREFILL][:, :1, :].sum(axis=1)
        self._inside = np.cumsum(np.concatenate((self._inside[np.newaxis], joined)), axis=0)[-1]

    def _begin(self, role: Role, begin: int, totals: Floats) -> None:
        for row, instance in self._new:
            if instance.role is role:
                first = self.totals[role][:, row].copy()
                at = min(max(int(instance.since_s) - begin, 0), len(totals) - 1)
                first[: len(SECONDLY[role])] = totals[at, :, row]
                self._began[row, role, instance.serial] = first

    def sample(self, seen: Latencies, inside: Floats, sharing: Floats) -> None:
        """Count a sample's latencies, and who left decode: ``inside`` are those who haven't."""
        some = np.maximum(sharing, 1.0)
        finished = np.maximum(self._inside - inside, 0.0)
        self._inside = inside.copy()
        ttft = _equal(seen.ttft_s, TTFT_BOUNDS, seen.requests)
        for row, measured_s in seen.measured_s.items():
            ttft[:, row] = 0.0
            if len(measured_s):
                number = np.array([float(len(measured_s))])
                ttft[:, row] = _equal(measured_s[np.newaxis], TTFT_BOUNDS, number)[:, 0]
        own = _equal(seen.decode_ttft_s[:, np.newaxis], TTFT_BOUNDS, seen.admitted)
        tbt = _equal(seen.tbt_s.T, TBT_BOUNDS, seen.tokens)
        self.totals[Role.PREFILL][len(SECONDLY[Role.PREFILL]) :] += ttft / some[0]
        decode = np.concatenate((finished[np.newaxis], own, tbt))
        self.totals[Role.DECODE][len(SECONDLY[Role.DECODE]) :] += decode / some[1]

    def restart(self, row: int | None = None) -> None:
        """Have the instances of a row, or all, count from nothing, as engines that restart do."""
        for at, role, serial in list(self._began):
            if row in {None, at}:
                self._began[at, role, serial] = self.totals[role][:, at].copy()

    def of(self, row: int, instance: Instance) -> Counted:
        """Return what an instance has counted; nothing before it serves."""
        role = instance.role
        totals = self.totals[role][:, row]
        first = self._began.get((row, role, instance.serial), totals)
        counted = (totals - first).tolist()
        names = (*SECONDLY[role], *SAMPLED[role])
        figures = dict(zip(names, counted, strict=False))
        histograms, at = {}, len(names)
        for name, bounds in _HISTOGRAMS[role].items():
            *below, count, total = counted[at : at + len(bounds) + 2]
            histograms[name] = Histogram(bounds, below, count, total)
            at += len(bounds) + 2
        return Counted(figures, histograms)

    def dump(self, keys: Sequence[str]) -> tuple["Beginnings", dict[str, Floats]]:
        """Return whose beginnings there are and all totals, as plain values."""
        names: Beginnings = {}
        arrays: dict[str, Floats] = {"meters/inside": self._inside}
        for role in Role:
            mine = [(row, serial) for row, of, serial in self._began if of is role]
            names[role.value] = [(keys[row], serial) for row, serial in mine]
            arrays[f"meters/{role}"] = self.totals[role]
            began = [self._began[row, role, serial] for row, serial in mine]
            arrays[f"meters/{role}/began"] = np.array(began).reshape(len(began), _width(role))
        return names, arrays

    def load(
        self,
        names: "Beginnings",
        arrays: Mapping[str, Floats],
        rows: tuple[Mapping[str, int], Sequence[int], Sequence[int]],
    ) -> None:
        """Take over what :meth:`dump` returned.

        ``rows`` are those of the services there are now, and which of them were which rows then.
        What was counted by other figures is left: then engines count from nothing.
        """
        now, new, old = rows
        if any(
            (found := arrays.get(f"meters/{role}")) is None or len(found) != _width(role)
            for role in Role
        ):
            return
        self._inside[new] = arrays["meters/inside"][old]
        for role in Role:
            self.totals[role][:, new] = arrays[f"meters/{role}"][:, old]
            for (key, serial), first in zip(
                names[role.value], arrays[f"meters/{role}/began"], strict=True
            ):
                if key in now:
                    self._began[now[key], role, serial] = first


Beginnings = dict[str, list[tuple[str, int]]]
"""By role, the service and serial of each instance that has begun."""


def _width(role: Role) -> int:
    """Return how many figures a role counts; a histogram has its count and sum besides."""
    each = sum(len(bounds) + 2 for bounds in _HISTOGRAMS[role].values())
    return len(SECONDLY[role]) + len(SAMPLED[role]) + each


def _equal(values: Floats, bounds: Sequence[float], number: Floats) -> Floats:
    """Return buckets, count and sum of ``number`` ``(n,)`` values that spread as ``(n, values)``.

    Shape ``(bounds + 2, n)``; rows without a value, or with one that isn't known, are 0.
    """
    below = (values[:, :, np.newaxis] <= np.array(bounds)).mean(axis=1)
    mean = values.mean(axis=1, keepdims=True)
    parts = np.concatenate((below, np.ones_like(mean), mean), axis=1) * number[:, np.newaxis]
    parts[(number <= 0) | ~np.isfinite(mean[:, 0])] = 0.0
    found: Floats = parts.T
    return found
