"""Peaks of the need, and by how much the load has outrun them within a start-up time."""

from dataclasses import replace
from math import exp
from typing import Final

from controller.core.outlook import OUTRAN, Foreseen, Learnt, Outlook, Peak
from controller.core.types import Context, Pair

PEAK_S: Final = 300.0
"""A stretch of which one peak is kept."""

MINUTE_S: Final = 60.0
FADE_S: Final = 2 * 86_400.0
"""Time in which what was counted of surprises fades to 1/e."""

PRIOR: Final = (
    *(120.0, 12.0, 10.0, 8.0, 7.0, 5.0, 4.0, 4.0, 3.0, 3.0),
    *(1.0, 0.5, 0.5, 0.2, 0.1, 0.0, 0.0),
)
"""Surprises of a service nobody has watched yet, in minutes.

One in a hundred is above 1.45, one in two hundred (half of what a goal of 99 % lets miss) above
1.58, one in four hundred above 1.71.
"""

BEYOND: Final = 4.0
"""Stands for everything above the last edge of the bins."""


def peaked(outlook: Outlook, needs: Pair, now_s: float, hold_s: float) -> tuple[Outlook, Pair]:
    """Return the outlook with these needs, and the highest of the last ``hold_s`` of each role.

    Peaks are kept by stretches of ``PEAK_S``; unknown needs leave those that are known.
    """
    if hold_s <= 0.0:
        return replace(outlook, peaks=()), needs
    prefill, decode = needs
    peaks = [peak for peak in outlook.peaks if peak.since_s + PEAK_S > now_s - hold_s]
    if prefill is not None and decode is not None:
        last = peaks[-1] if peaks else None
        if last is not None and now_s < last.since_s + PEAK_S:
            peaks[-1] = Peak(last.since_s, max(last.prefill, prefill), max(last.decode, decode))
        else:
            peaks.append(Peak(now_s, prefill, decode))
    if not peaks:
        return replace(outlook, peaks=()), (None, None)
    top = max(p.prefill for p in peaks), max(p.decode for p in peaks)
    return replace(outlook, peaks=tuple(peaks)), top


def foreseen(outlook: Outlook, peaks: Pair, due_s: float) -> Outlook:
    """Note once a minute what is provided for, to be judged when a start of now would serve."""
    prefill, decode = peaks
    # Starts that take less than before make what was noted for later out of date.
    noted = tuple(entry for entry in outlook.foreseen if entry.due_s <= due_s)
    last = noted[-1].due_s if noted else 0.0
    if prefill is None or decode is None or due_s - last < MINUTE_S:
        return outlook
    return replace(outlook, foreseen=(*noted, Foreseen(due_s, prefill, decode)))


def surprised(outlook: Outlook, needs: Pair, now_s: float) -> Outlook:
    """Count by how much the load outran what was foreseen for now."""
    due = [entry for entry in outlook.foreseen if entry.due_s <= now_s]
    if not due:
        return outlook
    kept = outlook.foreseen[len(due) :]
    prefill, decode = needs
    if prefill is None or decode is None:
        return replace(outlook, foreseen=kept)
    last = due[-1]
    return replace(
        outlook,
        foreseen=kept,
        prefill=_counted(outlook.prefill, prefill, last.prefill),
        decode=_counted(outlook.decode, decode, last.decode),
    )


def _counted(learnt: Learnt, need: float, provided: float) -> Learnt:
    # Below one instance nothing can be short: there is always one.
    outran = max(need, 1.0) / max(provided, 1.0)
    at = next((i for i, edge in enumerate(OUTRAN) if outran <= edge), len(OUTRAN))
    fade = exp(-MINUTE_S / FADE_S)
    counts = [count * fade for count in learnt.outran or PRIOR]
    counts[at] += 1.0
    return replace(learnt, outran=tuple(counts))


def margins_of(outlook: Outlook, ctx: Context) -> tuple[float, float]:
    """Return the margins of (prefill, decode): the operator's, or what was learnt.

    Each role may be short in half of the share of requests that the SLO lets miss.
    """
    config = ctx.spec.policy
    if config.margin_frac is not None:
        return config.margin_frac, config.margin_frac
    late = (1.0 - ctx.spec.slo.goal_frac) / 2.0
    return margin(outlook.prefill, late), margin(outlook.decode, late)


def margin(learnt: Learnt, late_frac: float) -> float:
    """Return the share by which needs exceed the outlook in all but ``late_frac`` of the time."""
    counts = learnt.outran or PRIOR
    left = late_frac * sum(counts)
    for at in range(len(counts) - 1, 0, -1):
        if counts[at] > left:
            upper = OUTRAN[at] if at < len(OUTRAN) else BEYOND
            lower = OUTRAN[at - 1]
            # Inside a bin what is above the quantile is taken as spread evenly.
            return upper - (upper - lower) * left / counts[at] - 1.0
        left -= counts[at]
    return 0.0
