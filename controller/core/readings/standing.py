"""How an endpoint has answered so far: since when, when to ask again, from when samples count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

LONGEST_WAIT_S: Final = 60.0
FIRST_WAIT_S: Final = 15.0
JITTER_FRAC: Final = 0.2
OUTAGE_S: Final = 60.0
"""After a longer silence windows begin anew: what was before says nothing of now (M18)."""


class Answering(StrEnum):
    """Whether an endpoint answers."""

    OK = "ok"
    PARTIAL = "partial"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an endpoint answered one look.

    ``took_s`` is how long it took, ``newest_s`` when its newest sample was taken, ``services`` how
    many were asked for and ``answered`` of how many it had any figure; ``told`` are sentences.
    """

    state: Answering
    asked_at_s: float
    took_s: float
    told: tuple[str, ...] = ()
    newest_s: float | None = None
    services: int = 0
    answered: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What is remembered of an endpoint between two looks; times in s since the epoch.

    It is in ``state`` since ``since_s``, answered last at ``answered_s``, and is not asked before
    ``again_s``. Samples from before ``back_s`` don't count: it was silent for long until then.
    """

    state: Answering
    since_s: float
    answered_s: float | None = None
    back_s: float | None = None
    failures: int = 0
    again_s: float | None = None
    told: tuple[str, ...] = ()

    def rests(self, now_s: float) -> bool:
        """Return whether it is not asked now."""
        return self.again_s is not None and now_s < self.again_s


def after(before: Standing | None, outcome: Outcome, *, jitter: float) -> Standing:
    """Return the standing after one more look; ``jitter`` is in [0, 1).

    One failure is asked again at the next tick. From the second on there is a pause, which doubles
    up to ``LONGEST_WAIT_S`` and is up to a fifth longer or shorter, so that not every installation
    comes back at once (M01).
    """
    now_s = outcome.asked_at_s
    same = before is not None and before.state is outcome.state
    since_s = before.since_s if before is not None and same else now_s
    if outcome.state is Answering.FAILED:
        failures = (before.failures if before else 0) + 1
        wait_s = _wait_s(failures) * (1.0 + JITTER_FRAC * (2.0 * jitter - 1.0))
        return Standing(
            outcome.state,
            since_s,
            before.answered_s if before else None,
            before.back_s if before else None,
            failures,
            now_s + wait_s if wait_s else None,
            outcome.told,
        )
    back_s = before.back_s if before else None
    if before is not None and before.failures and now_s - _heard_s(before) > OUTAGE_S:
        back_s = now_s
    return Standing(outcome.state, since_s, now_s, back_s, told=outcome.told)


def _wait_s(failures: int) -> float:
    if failures < 2:  # noqa: PLR2004 - the first is asked again at once
        return 0.0
    return float(min(FIRST_WAIT_S * 2.0 ** min(failures - 2, 10), LONGEST_WAIT_S))


def _heard_s(before: Standing) -> float:
    return before.since_s if before.answered_s is None else before.answered_s
