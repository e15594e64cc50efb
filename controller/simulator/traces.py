"""Recorded load: single requests, lengths without times, and rates per window."""

from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from controller.core.types import Counts, Flags, Floats
from controller.simulator.offered import (
    NODES,
    About,
    Lengths,
    Offered,
    Requests,
    drawn,
    empirical,
    lognormal,
    mixture,
)

LEAST_KNOWN_FRAC: Final = 1e-6
"""A step of which less is known is unknown: the rest is rounding at the edge of a window."""


def _shape_of(rows: Requests) -> Lengths:
    uncached = np.maximum(rows.input_tokens - rows.cached_tokens, 1.0)
    return Lengths(empirical(uncached), empirical(rows.output_tokens))


def _less_cached(rows: Requests, frac: float) -> Requests:
    return replace(rows, cached_tokens=np.floor(rows.cached_tokens * frac))


@dataclass(frozen=True, slots=True)
class RequestTrace:
    """Recorded requests; begins again when it ends, one mean gap after the last arrival."""

    name: str
    arrivals: Requests
    scale: float = 1.0
    cache_known: bool = True
    recorded: bool = field(init=False, default=True)
    lengths: Lengths = field(init=False, compare=False, repr=False)
    _sums: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        seen = self.arrivals
        object.__setattr__(self, "lengths", _shape_of(seen))
        rows = (np.ones_like(seen.t_s), seen.input_tokens, seen.output_tokens, seen.cached_tokens)
        sums = np.concatenate((np.zeros((4, 1)), np.cumsum(rows, axis=1)), axis=1)
        object.__setattr__(self, "_sums", sums)

    @property
    def span_s(self) -> float:
        """Length of one pass [s]."""
        t_s = self.arrivals.t_s
        return float(t_s[-1]) + max(float(t_s[-1]) / max(len(t_s) - 1, 1), 1e-3)

    @property
    def about(self) -> About:
        """What the trace knows of itself."""
        return About("requests", "recorded", "recorded", self.span_s, self.scale, self.cache_known)

    def shape(self, load_s: float) -> Lengths:
        """Return :attr:`lengths`: the requests themselves are used, whenever they come."""
        del load_s
        return self.lengths

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return what arrived in each step; mean lengths are the trace's where nothing did."""
        count, inputs, outputs, cached = self._until(load_s + step_s) - self._until(load_s)
        whole = self._sums[:, -1]
        some = np.maximum(count, 1.0)
        return Offered(
            self.scale * count / step_s,
            np.where(count > 0, inputs / some, whole[1] / whole[0]),
            np.where(count > 0, outputs / some, whole[2] / whole[0]),
            np.where(inputs > 0, cached / np.maximum(inputs, 1.0), whole[3] / max(whole[1], 1.0)),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Return the recorded requests of the interval (see :class:`Workload`).

        A second copy of a request arrives at another time of the interval, so that copies don't
        form clumps.
        """
        index, t_s = self._between(start_s, end_s)
        copies = np.floor(keep_frac * self.scale + rng.random(len(index))).astype(np.int64)
        first = np.repeat(np.cumsum(copies) - copies, copies)
        again = np.arange(len(first)) > first
        shift = np.where(again, rng.random(len(first)) * (end_s - start_s), 0.0)
        t_s = start_s + (np.repeat(t_s, copies) - start_s + shift) % (end_s - start_s)
        order = np.argsort(t_s, kind="stable")
        index = np.repeat(index, copies)[order]
        seen = self.arrivals
        return Requests(
            t_s[order],
            seen.input_tokens[index],
            seen.output_tokens[index],
            seen.cached_tokens[index],
        )

    def cache_scaled(self, frac: float, name: str) -> "RequestTrace":
        """Return the same requests with ``frac`` of their cached tokens, rounded down."""
        return replace(self, name=name, arrivals=_less_cached(self.arrivals, frac))

    def _between(self, start_s: float, end_s: float) -> tuple[Counts, Floats]:
        span_s = self.span_s
        rows: list[Counts] = []
        times: list[Floats] = []
        for turn in range(int(start_s // span_s), int(end_s // span_s) + 1):
            begin_s = turn * span_s
            low, high = np.searchsorted(self.arrivals.t_s, (start_s - begin_s, end_s - begin_s))
            rows.append(np.arange(low, high))
            times.append(begin_s + self.arrivals.t_s[low:high])
        return np.concatenate(rows), np.concatenate(times)

    def _until(self, load_s: Floats) -> Floats:
        turn, rest_s = np.divmod(load_s, self.span_s)
        seen = np.searchsorted(self.arrivals.t_s, rest_s)
        sums: Floats = self._sums[:, seen] + turn * self._sums[:, -1:]
        return sums


@dataclass(frozen=True, slots=True)
class LengthTrace:
    """Recorded lengths without times: Poisson arrivals at ``rate_rps``, for ever.

    Each request takes the lengths of one row, so a long prompt keeps its own answer. ``rows``
    have no meaningful ``t_s``.
    """

    name: str
    rows: Requests
    rate_rps: float
    scale: float = 1.0
    cache_known: bool = True
    recorded: bool = field(init=False, default=False)
    lengths: Lengths = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lengths", _shape_of(self.rows))

    @property
    def about(self) -> About:
        """What the trace knows of itself."""
        arrivals = f"resampled: Poisson arrivals at {self.rate_rps:g} req/s, lengths of a row"
        return About("lengths", arrivals, "recorded", None, self.scale, self.cache_known)

    def shape(self, load_s: float) -> Lengths:
        """Return :attr:`lengths`, the same at any time."""
        del load_s
        return self.lengths

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the constant rate and the mean lengths of all rows (see :class:`Workload`)."""
        del step_s
        rows = self.rows
        inputs = float(rows.input_tokens.mean())
        return Offered(
            np.full(load_s.shape, self.scale * self.rate_rps),
            np.full(load_s.shape, inputs),
            np.full(load_s.shape, float(rows.output_tokens.mean())),
            np.full(load_s.shape, float(rows.cached_tokens.mean()) / inputs),
        )

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Draw the requests of the interval; each has the lengths of one row."""
        count = rng.poisson(self.scale * self.rate_rps * keep_frac * (end_s - start_s))
        pick = rng.integers(len(self.rows.input_tokens), size=count)
        return Requests(
            np.sort(start_s + (end_s - start_s) * rng.random(count)),
            self.rows.input_tokens[pick],
            self.rows.output_tokens[pick],
            self.rows.cached_tokens[pick],
        )

    def cache_scaled(self, frac: float, name: str) -> "LengthTrace":
        """Return the same rows with ``frac`` of their cached tokens, rounded down."""
        return replace(self, name=name, rows=_less_cached(self.rows, frac))


@dataclass(frozen=True, slots=True)
class LengthShapes:
    """Shapes of lengths that change with trace time; ``source`` says in words where from.

    ``start_s`` has shape ``(k,)``, ascending; ``input`` and ``output`` ``(k, NODES)``, mean 1.
    A shape holds until the next one starts; the first one also before its start.
    """

    start_s: Floats
    input: Floats
    output: Floats
    source: str

    def index(self, t_s: Floats) -> Counts:
        """Return which shape holds at each trace time, shape as given."""
        at: Counts = np.maximum(np.searchsorted(self.start_s, t_s, side="right") - 1, 0)
        return at


ASSUMED: Final = LengthShapes(
    np.zeros(1),
    lognormal(1.0)[np.newaxis],
    lognormal(0.9)[np.newaxis],
    "log-normal (assumed: no length quantiles)",
)


@dataclass(frozen=True, slots=True)
class WindowTrace:
    """Rates and mean lengths per window of a recording; begins again when it ends.

    A window without a figure, and the time between windows that don't touch, is unknown (NaN).
    How requests spread around the means isn't in such files: ``shapes`` come from a table of
    length quantiles, or a log-normal is assumed. Input and output lengths are drawn apart, since
    how they go together is unknown. ``lengths`` is the mixture of the shapes by requests.
    """

    name: str
    t_s: Floats
    offered: Offered
    width_s: float = 600.0
    scale: float = 1.0
    shapes: LengthShapes = ASSUMED
    kind: str = "windows"
    cache_known: bool = False
    recorded: bool = field(init=False, default=False)
    lengths: Lengths = field(init=False, compare=False, repr=False)
    _edges: Floats = field(init=False, compare=False, repr=False)
    _figures: Floats = field(init=False, compare=False, repr=False)
    _flow: Floats = field(init=False, compare=False, repr=False)
    _sums: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        ends_s = np.minimum(self.t_s + self.width_s, np.append(self.t_s[1:], np.inf))
        # Every window is followed by a gap, mostly one of no length, in which all is unknown.
        edges = np.stack((self.t_s, ends_s), axis=1).ravel() - self.t_s[0]
        flow = np.zeros((5, len(edges)))
        flow[:, ::2] = _flow_of(self.offered, self.scale)
        sums = np.zeros_like(flow)
        np.cumsum(flow[:, :-1] * np.diff(edges), axis=1, out=sums[:, 1:])
        object.__setattr__(self, "_edges", edges)
        object.__setattr__(self, "_flow", flow)
        object.__setattr__(self, "_sums", sums)
        object.__setattr__(self, "_figures", _figures(flow, flow[0] > 0, sums[:, -1]))
        object.__setattr__(self, "lengths", self._mixed())

    @property
    def span_s(self) -> float:
        """Length of one pass [s]."""
        return float(self._edges[-1])

    @property
    def about(self) -> About:
        """What the trace knows of itself."""
        drawn_how = "resampled: Poisson arrivals, input and output lengths drawn apart"
        return About(
            self.kind, drawn_how, self.shapes.source, self.span_s, self.scale, self.cache_known
        )

    def shape(self, load_s: float) -> Lengths:
        """Return the shape of lengths in the table's window that ``load_s`` falls into."""
        at = int(self.shapes.index(self.t_s[0] + np.array([load_s % self.span_s]))[0])
        return Lengths(self.shapes.input[at], self.shapes.output[at])

    def rates(self, load_s: Floats, step_s: float = 1.0) -> Offered:
        """Return the average over the known part of each step (see :class:`Workload`).

        Lengths are weighted by requests, cached shares by input tokens; the trace's own means
        stand where the rate is known to be zero.
        """
        rest_s = load_s % self.span_s
        at = np.searchsorted(self._edges, rest_s, side="right") - 1
        figures = self._figures[:, at]
        # Short steps mostly lie in one window, whose figures are there already.
        across = np.flatnonzero(rest_s + step_s > np.append(self._edges[1:], 0.0)[at])
        if len(across):
            begin_s = load_s[across]
            amount = self._until(begin_s + step_s) - self._until(begin_s)
            known: Flags = amount[0] > LEAST_KNOWN_FRAC * step_s
            figures[:, across] = _figures(amount, known, self._sums[:, -1])
        return Offered(*figures)

    def requests(
        self, start_s: float, end_s: float, keep_frac: float, rng: np.random.Generator
    ) -> Requests:
        """Draw the requests of the interval; none where the rate is unknown."""
        return drawn(self, (start_s, end_s), keep_frac, rng, self._spread)

    def cache_scaled(self, frac: float, name: str) -> "WindowTrace":
        """Return the same windows with ``frac`` of their cached share."""
        offered = replace(self.offered, cached_frac=self.offered.cached_frac * frac)
        return replace(self, name=name, offered=offered)

    def _spread(self, load_s: Floats, rng: np.random.Generator) -> Floats:
        at = self.shapes.index(self.t_s[0] + load_s % self.span_s)
        pick = rng.integers(NODES, size=(2, len(at)))
        return np.stack((self.shapes.input[at, pick[0]], self.shapes.output[at, pick[1]]))

    def _mixed(self) -> Lengths:
        if len(self.shapes.start_s) == 1:
            return Lengths(self.shapes.input[0], self.shapes.output[0])
        at = self.shapes.index(self.t_s + self.width_s / 2)
        count = len(self.shapes.start_s)
        weight: Floats = np.zeros(count)
        np.add.at(weight, at, np.nan_to_num(self.offered.rps))
        if not weight.any():
            weight[:] = 1.0
        return Lengths(mixture(self.shapes.input, weight), mixture(self.shapes.output, weight))

    def _until(self, load_s: Floats) -> Floats:
        """Return known seconds, requests and tokens from load time 0 on, shape ``(5, n)``."""
        turn, rest_s = np.divmod(load_s, self.span_s)
        at = np.searchsorted(self._edges, rest_s, side="right") - 1
        inside = self._flow[:, at] * (rest_s - self._edges[at])
        sums: Floats = self._sums[:, at] + inside + turn * self._sums[:, -1:]
        return sums


def _flow_of(offered: Offered, scale: float) -> Floats:
    """Return what flows per second: known time, requests, tokens in, out and cached, (5, n)."""
    known: Flags = ~np.isnan(offered.rps)
    rps = np.where(known, offered.rps, 0.0) * scale
    asked = rps > 0
    inputs = rps * np.where(asked, offered.input_tokens, 0.0)
    outputs = rps * np.where(asked, offered.output_tokens, 0.0)
    cached = inputs * np.where(asked, offered.cached_frac, 0.0)
    return np.stack((known.astype(np.float64), rps, inputs, outputs, cached))


def _figures(amount: Floats, known: Flags, whole: Floats) -> Floats:
    """Return rate, tokens in and out and cached share out of amounts ``(5, n)``, shape (4, n).

    ``whole`` ``(5,)`` is the amount of a whole pass, whose means stand where nobody asked.
    """
    known_s, count, inputs, outputs, cached = amount
    one = np.maximum(whole, 1e-9)
    asked, read = count > 0, inputs > 0
    count_or_one = np.where(asked, count, 1.0)
    figures: Floats = np.stack(
        (
            count / np.where(known, known_s, 1.0),
            np.where(asked, inputs / count_or_one, whole[2] / one[1]),
            np.where(asked, outputs / count_or_one, whole[3] / one[1]),
            np.where(read, cached / np.where(read, inputs, 1.0), whole[4] / one[2]),
        )
    )
    figures[:, ~known] = np.nan
    return figures
