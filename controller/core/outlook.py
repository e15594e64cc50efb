"""What is learnt of a service from tick to tick: its peaks, its surprises, its start-up times."""

from dataclasses import dataclass
from typing import Final, NamedTuple

OUTRAN: Final = (
    *(1.0, 1.02, 1.05, 1.08, 1.12, 1.16, 1.2, 1.25, 1.3, 1.4),
    *(1.5, 1.6, 1.75, 2.0, 2.5, 3.0),
)
"""Upper edges of the bins that count by how much a load outran its outlook; one more is above."""


class Peak(NamedTuple):
    """The highest need in instances, unrounded, in the stretch that began at ``since_s``."""

    since_s: float
    prefill: float
    decode: float


class Foreseen(NamedTuple):
    """The need that was provided for, and when instances asked for then serve [s]."""

    due_s: float
    prefill: float
    decode: float


class Guess(NamedTuple):
    """What was forecast for a time by each method, (prefill, decode) one after the other."""

    due_s: float
    flat_prefill: float
    flat_decode: float
    trend_prefill: float
    trend_decode: float
    season_prefill: float
    season_decode: float


class Started(NamedTuple):
    """``instances`` of a role asked for at ``at_s`` and not seen ready yet."""

    at_s: float
    instances: int


@dataclass(frozen=True, slots=True)
class Learnt:
    """What is learnt of one role.

    ``outran`` counts, per bin of ``OUTRAN`` and with old counts fading, by how much the load
    outran its outlook within the start-up time. ``took_s`` are the newest start-up times [s];
    ``waits`` are starts under way, oldest first; ``wished`` and ``ready`` the last counts seen,
    where whoever is up counts as ready, and ``changed_s`` is when ``ready`` last changed.
    ``speed`` is what an instance was seen to sustain over what its engine's figures say.
    ``slope`` is the trend of the need [instances/s]; ``errors`` are mean relative errors of the
    ways to forecast it (see :mod:`controller.core.foresight`) over ``judged`` forecasts.
    """

    outran: tuple[float, ...] = ()
    took_s: tuple[float, ...] = ()
    waits: tuple[Started, ...] = ()
    wished: int = 0
    ready: int = 0
    speed: float = 1.0
    changed_s: float = 0.0
    slope: float = 0.0
    judged: float = 0.0
    errors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """Everything learnt of one service; small enough to be a column of its row (S23).

    ``at_s`` is when it was last brought up to date, 0 for never. ``ratio`` is the P/D ratio the
    present mix asks for, followed slowly; tokens per request are smoothed over some minutes.
    ``minutes`` and ``hours`` are the needs a forecast is made from, the highest of each hour.
    """

    at_s: float = 0.0
    rps: float = 0.0
    input_tokens: float = 0.0
    uncached_tokens: float = 0.0
    output_tokens: float = 0.0
    ratio: float | None = None
    waiting: float = 0.0
    decode_waiting: float = 0.0
    peaks: tuple[Peak, ...] = ()
    foreseen: tuple[Foreseen, ...] = ()
    minutes: tuple[Peak, ...] = ()
    hours: tuple[Peak, ...] = ()
    guesses: tuple[Guess, ...] = ()
    prefill: Learnt = Learnt()
    decode: Learnt = Learnt()


NOTHING_LEARNT: Final = Outlook()
