"""When endpoints are asked, until when, and which of them may be."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from controller.adapters.http import ANYWHERE
from controller.core.reach import Reach


@dataclass(frozen=True, slots=True)
class Turn:
    """When it is asked, by the clock and (monotonic s) until when, and what a second try needs.

    ``within`` is where requests may go.
    """

    now_s: float
    until: float
    rng: np.random.Generator
    sleep: Callable[[float], None]
    begun: float = field(default_factory=time.monotonic)
    within: Reach = ANYWHERE
