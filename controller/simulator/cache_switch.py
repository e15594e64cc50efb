"""Less of a prefix cache: cached tokens of a load scaled down, for good or from a time on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from controller.core.types import Counts, Floats
from controller.simulator.offered import About, Lengths, Offered, Requests, Workload, mixture


class CacheScaleError(ValueError):
    """Cached tokens can't be scaled so; the text says by what instead."""


def with_cache(workload: Workload, frac: float) -> Workload:
    """Return the same load with ``frac`` of its cached tokens: 0 is no cache, 1 as recorded.

    Raises :class:`CacheScaleError` for anything else: recorded hits are often those of an ideal
    cache, so a real one has fewer, never more.
    """
    _check(frac)
    if frac == 1:
        return workload
    return workload.cache_scaled(frac, f"{workload.name}, {frac:.4g} of its cached tokens")


def with_cache_steps(workload: Workload, cache_steps: Sequence[tuple[float, float]]) -> Workload:
    """Return the same load with cached tokens that change: pairs (from load time [s], share).

    Before the first time the cache is as recorded; the last share stays, however often a trace
    begins again. Raises :class:`CacheScaleError` for a share outside 0 to 1 and for times that
    are negative or don't ascend.
    """
    times = [from_s for from_s, _ in cache_steps]
    for before, after in pairwise([-np.inf, *times]):
        if not (before < after < np.inf and after >= 0):
            raise CacheScaleError(f"a step at {after:g} s: times ascend from 0 on")
    steps = list(cache_steps) if times and times[0] == 0 else [(0.0, 1.0), *cache_steps]
    shares = sorted({frac for _, frac in steps})
    parts = tuple(with_cache(workload, frac) for frac in shares)
    text = ", ".join(f"{frac:.4g} from {from_s:g} s" for from_s, frac in steps)
    return CacheSwitched(
        f"{workload.name}, share of its cached tokens {text}",
        np.array([from_s for from_s, _ in steps]),
        np.array([shares.index(frac) for _, frac in steps]),
        parts,
    )


def _check(frac: float) -> None:
    if not 0 <= frac <= 1:
        raise CacheScaleError(
            f"{frac:g} of the recorded cached tokens: choose 0 (no cache) to 1 (as recorded)"
        )


@dataclass(frozen=True, slots=True)
class CacheSwitched:
    """One load whose cached tokens change: from ``from_s[i]`` on it is ``parts[part[i]]``.

    The parts differ in cached tokens only; ``from_s`` starts at 0.
    """

    name: str
    from_s: Floats
    part: Counts
    parts: tuple[Workload, ...]
    recorded: bool = field(init=False)
    lengths: Lengths = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "recorded", self.parts[0].recorded)
        equal = np.ones(len(self.parts))
        inputs = np.stack([one.lengths.input for one in self.parts])
        shape = Lengths(mixture(inputs, equal), self.parts[0].lengths.output)
        object.__setattr__(self, "lengths", shape)

    @property
    def about(self) -> About:
        """What the load knows of itself."""
        return self.parts[0].about

    def shape(self, load_s: float) -> Lengths:
        """Return the shape of what has to be computed with the cache of that time."""
        return self._at(load_s).shape(load_s)

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the load of each step; a step with a switch in it has shares of both."""
        parts = [one.rates(load_s, step_s) for one in self.parts]
        time_s = self._until(load_s + step_s) - self._until(load_s)
        cached = np.stack([one.cached_frac for one in parts])
        return replace(parts[0], cached_frac=(cached * time_s).sum(axis=0) / step_s)

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Return the requests of the interval, each with the cache of its time."""
        inner = self.from_s[(self.from_s > start_s) & (self.from_s < end_s)]
        borders = [start_s, *inner.tolist(), end_s]
        pieces = [
            self._at(begin_s).requests(begin_s, until_s, keep_frac, rng)
            for begin_s, until_s in pairwise(borders)
        ]
        return Requests(
            *(
                np.concatenate([getattr(piece, column) for piece in pieces])
                for column in ("t_s", "input_tokens", "output_tokens", "cached_tokens")
            )
        )

    def cache_scaled(self, frac: float, name: str) -> "CacheSwitched":
        """Return the same switches with ``frac`` of the cached tokens of every part."""
        parts = tuple(one.cache_scaled(frac, f"{one.name}, {frac:.4g}") for one in self.parts)
        return replace(self, name=name, parts=parts)

    def _at(self, load_s: float) -> Workload:
        at = int(np.searchsorted(self.from_s, load_s, side="right")) - 1
        return self.parts[int(self.part[max(at, 0)])]

    def _until(self, load_s: Floats) -> Floats:
        """Return the seconds spent in each part from load time 0 on, shape ``(parts, n)``."""
        inside = self.part == np.arange(len(self.parts))[:, np.newaxis]
        sums = np.zeros(inside.shape)
        np.cumsum(inside[:, :-1] * np.diff(self.from_s), axis=1, out=sums[:, 1:])
        at = np.maximum(np.searchsorted(self.from_s, load_s, side="right") - 1, 0)
        until: Floats = sums[:, at] + inside[:, at] * (load_s - self.from_s[at])
        return until
