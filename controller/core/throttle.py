"""How long a door stays shut after wrong answers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Rule:
    """So many wrong answers are free; then the door shuts, each time ``growth`` as long [s]."""

    free: int
    first_s: float
    growth: float
    most_s: float

    def shut_s(self, failures: int) -> float:
        """Return how long the door is shut after so many wrong answers in a row [s]."""
        if failures < self.free:
            return 0.0
        doublings = min(failures - self.free, 64)
        return min(self.first_s * self.growth**doublings, self.most_s)


FORGET_S: Final = 86_400.0
"""Wrong answers are forgotten when none came for a day."""

WELCOME_S: Final = 30 * 86_400.0
"""An address a person signed in from within 30 days is not slowed by strangers' tries."""

PAIR: Final = Rule(free=5, first_s=30.0, growth=2.0, most_s=3600.0)
"""One name from one address: nobody elsewhere can shut this door."""

ADDRESS: Final = Rule(free=50, first_s=60.0, growth=2.0, most_s=900.0)
"""One address whatever the name: wide, as an office may share one."""

ACCOUNT: Final = Rule(free=100, first_s=5.0, growth=1.0, most_s=5.0)
"""One name from everywhere: it slows guessing and never shuts for longer."""
