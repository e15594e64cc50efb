"""What a run leaves behind: figures of every contestant at every tick, and its changes."""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from controller.core.types import SIGNAL_INDEX, Floats, Instances
from controller.simulator.world import World

FIGURES: Final = (
    *("prefill_ready", "decode_ready", "prefill_desired", "decode_desired", "gpus"),
    *("ttft_p95_s", "tbt_p95_s", "prefill_util", "decode_util"),
    *("asked", "ttft_kept", "tbt_kept", "both_kept", "tokens", "tokens_kept"),
)
_SIGNALS: Final = [
    SIGNAL_INDEX[name] for name in ("ttft_s", "tbt_s", "prefill_util", "decode_util")
]
_FIRST_SIGNAL: Final = FIGURES.index("ttft_p95_s")
_FIRST_KEPT: Final = FIGURES.index("asked")


@dataclass(frozen=True, slots=True)
class Change:
    """One action: when, counted in ticks, and the counts before and after."""

    tick: int
    before: Instances
    after: Instances


@dataclass(slots=True)
class Record:
    """Ticks of a run. Single precision: a fortnight of ten contestants stays under 60 MB.

    ``figures`` has shape ``(ticks, len(FIGURES), n)`` and the state after each tick; the kept
    shares are of the tick's requests. ``offered``, shape ``(ticks, 4)``, is what came in each
    tick: requests, input, uncached and output tokens, the same for all.
    """

    ticks: int
    rows: int
    figures: NDArray[np.float32] = field(init=False)
    offered: Floats = field(init=False)
    changes: list[list[Change]] = field(init=False)
    decided_s: list[float] = field(init=False)
    _asked: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.figures = np.zeros((self.ticks, len(FIGURES), self.rows), dtype=np.float32)
        self.offered = np.zeros((self.ticks, 4))
        self.changes = [[] for _ in range(self.rows)]
        self.decided_s = [0.0] * self.rows
        self._asked = np.zeros(4)

    def of(self, name: str) -> Floats:
        """Return one figure, shape ``(ticks, n)``."""
        return self.figures[:, FIGURES.index(name)].astype(np.float64)

    def take(self, tick: int, world: World) -> None:
        """Take down the state of the world after a tick."""
        row = self.figures[tick]
        row[0:2], row[2:4], row[4] = world.serving, world.wished, world.gpus
        row[_FIRST_SIGNAL:_FIRST_KEPT] = world.newest.values[:, _SIGNALS].T
        row[_FIRST_KEPT:] = world.kept
        asked = world.asked[:, 0]
        self.offered[tick] = asked - self._asked
        self._asked = asked.copy()
