"""Step times fitted to measured points, and in words what makes a fit doubtful."""

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from controller.core.types import Floats

DOUBTFUL_FRAC: Final = 0.15
"""Mean error of a fit above which the formula does not describe the points."""

SPARE_POINTS: Final = 2
"""Points needed beyond the number of figures before a fit error says anything."""

SMALL_BATCH: Final = 8
SHORT_PROMPT: Final = 4096
COLLINEAR: Final = 1e-4
"""Smallest share of the largest singular value at which columns still count as distinct."""

PREFILL_FIGURES: Final = ("a", "b", "c")
DECODE_FIGURES: Final = ("c0", "c1", "c2", "c3")


@dataclass(frozen=True, slots=True)
class PrefillPoints:
    """Measured prefills, shape ``(n,)``: ``batch`` prompts of ``tokens`` each took ``seconds``."""

    tokens: Floats
    batch: Floats
    seconds: Floats


@dataclass(frozen=True, slots=True)
class DecodePoints:
    """Measured steps, shape ``(n,)``: ``batch`` sequences of ``context`` tokens each [s]."""

    batch: Floats
    context: Floats
    seconds: Floats

    @property
    def kv_tokens(self) -> Floats:
        """Context tokens of all sequences of a step."""
        return self.batch * self.context


@dataclass(frozen=True, slots=True)
class Fit:
    """Figures that describe measured points; ``errors`` are (ours - measured) / measured."""

    figures: Floats
    errors: Floats
    doubts: tuple[str, ...]

    @property
    def mean_error_frac(self) -> float:
        """Mean absolute relative error."""
        return float(np.mean(np.abs(self.errors)))

    @property
    def p95_error_frac(self) -> float:
        """Absolute relative error that 95 % of the points stay below."""
        return float(np.percentile(np.abs(self.errors), 95))

    def worst(self, count: int) -> list[int]:
        """Return the indices of the points that fit worst, the worst first."""
        return [int(at) for at in np.argsort(-np.abs(self.errors), kind="stable")[:count]]


def non_negative_least_squares(matrix: Floats, target: Floats) -> Floats:
    """Return the ``x >= 0`` that minimises ``|matrix @ x - target|``, shape ``(columns,)``.

    The solution is an ordinary least-squares solution on the columns it uses, so with the few
    columns of a step time each choice of them is tried and the best kept; a tie goes to fewer.
    """
    columns = matrix.shape[1]
    scale = np.linalg.norm(matrix, axis=0)
    scaled = matrix / np.where(scale > 0, scale, 1.0)
    best = np.zeros(columns)
    least = float(np.linalg.norm(target))
    for size in range(1, columns + 1):
        for used in map(list, combinations(range(columns), size)):
            found = np.linalg.lstsq(scaled[:, used], target, rcond=None)[0]
            left = float(np.linalg.norm(scaled[:, used] @ found - target))
            if np.all(found >= 0) and left < least * (1 - 1e-9):
                best = np.zeros(columns)
                best[used] = found
                least = left
    return best / np.where(scale > 0, scale, 1.0)


def fit_prefill(points: PrefillPoints) -> Fit:
    """Return ``a, b, c`` of ``a + b * sum(L) + c * sum(L^2)`` [s, s/token, s/token^2].

    Least squares of the relative error, no figure below 0.
    """
    tokens, batch = points.tokens, points.batch
    columns = (np.ones_like(tokens), batch * tokens, batch * tokens**2)
    figures, errors, doubts = _fitted(np.stack(columns, axis=1), points.seconds, PREFILL_FIGURES)
    longest = float(np.max(tokens))
    if longest < SHORT_PROMPT:
        doubts.append(f"no prompt is longer than {longest:,.0f} tokens: longer ones are a guess")
    return Fit(figures, errors, tuple(doubts))


def fit_decode(points: DecodePoints, experts: tuple[int, int] = (0, 0)) -> Fit:
    """Return ``c0, c1, c2, c3`` of the step time [s] with ``experts`` as (active, all).

    ``c3`` multiplies the expected share of experts a batch touches, and is 0 for a dense model.
    Least squares of the relative error, no figure below 0.
    """
    active, every = experts
    columns = [np.ones_like(points.batch), points.batch, points.kv_tokens]
    if every:
        columns.append(1 - (1 - active / every) ** points.batch)
    names = DECODE_FIGURES[: len(columns)]
    figures, errors, doubts = _fitted(np.stack(columns, axis=1), points.seconds, names)
    doubts.extend(_decode_doubts(points))
    padded = np.zeros(len(DECODE_FIGURES))
    padded[: len(figures)] = figures
    return Fit(padded, errors, tuple(doubts))


def _fitted(
    columns: Floats, seconds: Floats, names: tuple[str, ...]
) -> tuple[Floats, Floats, list[str]]:
    # Divided by what was measured, every residual is a relative error.
    relative = columns / seconds[:, None]
    figures = non_negative_least_squares(relative, np.ones(len(seconds)))
    errors = relative @ figures - 1
    doubts = []
    if len(seconds) < len(names) + SPARE_POINTS:
        doubts.append(
            f"{len(seconds)} points for {len(names)} figures: the fit error says little,"
            f" measure at least {len(names) + SPARE_POINTS}"
        )
    spread = np.linalg.svd(relative / np.linalg.norm(relative, axis=0), compute_uv=False)
    if len(seconds) < len(names) or spread[-1] < COLLINEAR * spread[0]:
        doubts.append(
            f"{', '.join(names)} can't be told apart with these points: vary what was measured"
        )
    mean = float(np.mean(np.abs(errors)))
    if mean > DOUBTFUL_FRAC:
        doubts.append(
            f"the formula misses its own points by {mean:.0%} on average:"
            f" over {DOUBTFUL_FRAC:.0%} it doesn't describe this engine"
        )
    return figures, errors, doubts


def _decode_doubts(points: DecodePoints) -> list[str]:
    doubts = []
    largest = float(np.max(points.batch))
    if largest <= SMALL_BATCH:
        doubts.append(f"the batch is never over {largest:g}: larger ones are a guess")
    if np.ptp(points.context) == 0:
        doubts.append(
            f"every context has {points.context[0]:,.0f} tokens: the cost of a sequence and that"
            " of its context can't be told apart"
        )
    return doubts
