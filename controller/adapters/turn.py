"""When endpoints are asked, and until when."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, slots=True)
class Turn:
    """When it is asked, by the clock and (monotonic s) until when, and what a second try needs."""

    now_s: float
    until: float
    rng: np.random.Generator
    sleep: Callable[[float], None]
    begun: float = field(default_factory=time.monotonic)
