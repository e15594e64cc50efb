"""Offered load: the one shape of arrays every workload gives, whatever its source."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final, Protocol

import numpy as np

from controller.core.types import Floats

NODES: Final = 200
"""Equally likely points that stand for a distribution: the 99th percentile is the second last."""

LEVELS: Final[Floats] = (np.arange(NODES) + 0.5) / NODES
NORMAL: Final[Floats] = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


@dataclass(frozen=True, slots=True)
class Lengths:
    """Shape of request lengths: ``NODES`` equally likely multiples of the mean, ascending.

    ``input`` is the shape of what prefill computes, the prompt less its cached tokens. Both are
    marginals: they don't say whether a long prompt has a long answer.
    """

    input: Floats
    output: Floats


@dataclass(frozen=True, slots=True)
class Offered:
    """Load per bin, arrays of shape ``(n,)``: requests/s, mean tokens, share of cached input.

    All four are NaN where the source doesn't know: missing is never zero.
    """

    rps: Floats
    input_tokens: Floats
    output_tokens: Floats
    cached_frac: Floats


@dataclass(frozen=True, slots=True)
class Requests:
    """Single requests in order of arrival: load time [s] and tokens, arrays of one length."""

    t_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    cached_tokens: Floats


@dataclass(frozen=True, slots=True)
class About:
    """What only the source of a workload knows of itself.

    ``requests`` and ``lengths`` say in words where single requests and the spread of their
    lengths come from. ``span_s`` is the length of one pass [s], ``None`` for a source without
    times; ``cache_known`` is False where cached tokens are taken as none for want of a figure.
    """

    kind: str
    requests: str
    lengths: str
    span_s: float | None
    scale: float
    cache_known: bool


class Workload(Protocol):
    """Offered load; a pure function of load time, so a restart sees the same load."""

    @property
    def name(self) -> str:
        """What an operator calls it; another name is another workload."""
        ...

    @property
    def lengths(self) -> Lengths:
        """How single requests spread around the mean lengths of their time, over all times."""
        ...

    @property
    def recorded(self) -> bool:
        """Whether the single requests are known, not drawn."""
        ...

    @property
    def about(self) -> About:
        """What the source knows of itself."""
        ...

    def shape(self, load_s: float) -> Lengths:
        """Return how requests that arrive at ``load_s`` spread around the means of that time."""
        ...

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the average over ``[load_s, load_s + step_s)`` for each entry, shape ``(n,)``."""
        ...

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Return the requests of ``[start_s, end_s)``, each kept with chance ``keep_frac``.

        Above 1 a request comes more than once. Recorded requests are used as they are, others
        are drawn: Poisson arrivals, lengths from :meth:`shape` at their time. Tokens are whole,
        at least one in and one out, and cached tokens never exceed the input.
        """
        ...

    def cache_scaled(self, frac: float, name: str) -> "Workload":
        """Return the same load under another name with ``frac`` (0 to 1) of its cached tokens."""
        ...


Spread = Callable[[Floats, np.random.Generator], Floats]
"""Draws multiples of the mean (input, output), shape ``(2, n)``, for arrival times ``(n,)``."""


def lognormal(sigma: float) -> Floats:
    """Return a log-normal shape of mean 1, cut at the outermost nodes, shape ``(NODES,)``."""
    shape: Floats = np.exp(sigma * NORMAL)
    shape /= shape.mean()
    return shape


def empirical(values: Floats) -> Floats:
    """Return the shape of given lengths, mean 1, shape ``(NODES,)``."""
    shape: Floats = np.quantile(values, LEVELS)
    return shape / max(float(shape.mean()), 1e-9)


def mixture(shapes: Floats, weights: Floats) -> Floats:
    """Return the shape of requests of several shapes ``(k, NODES)`` in shares ``(k,)``, mean 1."""
    values, weight = shapes.ravel(), np.repeat(weights, NODES)
    order = np.argsort(values, kind="stable")
    until = np.cumsum(weight[order])
    shape: Floats = np.interp(LEVELS, (until - weight[order] / 2) / until[-1], values[order])
    return shape / float(shape.mean())


def drawn(
    workload: Workload,
    span_s: tuple[float, float],
    keep_frac: float,
    rng: np.random.Generator,
    spread: Spread | None = None,
) -> Requests:
    """Return Poisson arrivals at a workload's rates with lengths spread around its means."""
    seconds = np.arange(np.floor(span_s[0]), np.ceil(span_s[1]), dtype=np.float64)
    offered = workload.rates(seconds)
    # Nobody knows of requests at times without a figure, so none are drawn there.
    counts = rng.poisson(np.nan_to_num(offered.rps) * keep_frac)
    at = np.repeat(np.arange(len(seconds)), counts)
    t_s = np.sort(seconds[at] + rng.random(len(at)))
    multiples = spread(t_s, rng) if spread else spread_of(workload.lengths, len(at), rng)
    inputs = np.maximum(np.rint(offered.input_tokens[at] * multiples[0]), 1.0)
    outputs = np.maximum(np.rint(offered.output_tokens[at] * multiples[1]), 1.0)
    cached = np.floor(inputs * offered.cached_frac[at])
    inside = (t_s >= span_s[0]) & (t_s < span_s[1])
    return Requests(t_s[inside], inputs[inside], outputs[inside], cached[inside])


def spread_of(lengths: Lengths, count: int, rng: np.random.Generator) -> Floats:
    """Draw multiples of the mean (input, output) from one shape, shape ``(2, count)``."""
    pick = rng.integers(NODES, size=(2, count))
    return np.stack((lengths.input[pick[0]], lengths.output[pick[1]]))
