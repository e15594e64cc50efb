"""Decisions as symbols: the same in every figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from controller.charts.plot import Trace, escape, token
from controller.core.types import Move, Role
from controller.core.words import counts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controller.charts.clock import Clock
    from controller.charts.panels import Panel
    from controller.selectors.series import DecisionMark

# Word -> (Plotly symbol, glyph, colour, size [px]). Direction is shape, never green or red.
SYMBOLS: Final = {
    "out": ("triangle-up", "▲", "accent", 11),
    "in": ("triangle-down", "▼", "accent", 11),
    "rebalance": ("diamond-wide", "⬌", "accent", 11),
    "hold": ("circle", "·", "muted-fill", 4),
    "blocked": ("square", "■", "warn-fill", 6),
    "proposed": ("diamond", "◆", "fourth", 11),
    "failed": ("x", "✕", "crit-fill", 9),
}

# Moves that say the same of both roles.
FIXED: Final[dict[str, str]] = {
    Move.BLOCKED: "blocked",
    Move.PROPOSE: "proposed",
    Move.HOLD: "hold",
}


def word_of(mark: DecisionMark, role: Role | None = None) -> str:
    """Return what a decision did, in words; for one role, what it did to that role."""
    if mark.failed:
        return "failed"
    if mark.move in FIXED:
        return FIXED[mark.move]
    if role is None:
        return mark.move.removeprefix("scale_")
    change = mark.final.of(role) - mark.current.of(role)
    return "out" if change > 0 else "in" if change < 0 else "hold"


def lane_marks(
    panel: Panel,
    marks: Sequence[DecisionMark],
    clock: Clock,
    role: Role | None = None,
    y: float = 0,
) -> Trace:
    """Return the decisions as symbols at height ``y`` of a panel; each opens its page."""
    # Waits first, so that changes are drawn over them.
    marks = sorted(marks, key=lambda mark: word_of(mark, role) not in ("hold", "blocked"))
    words = [word_of(mark, role) for mark in marks]
    looks = [SYMBOLS[word] for word in words]
    return {
        "type": "scatter",
        "mode": "markers",
        "name": role.value if role else "decision",
        "x": clock.axes(mark.first_s for mark in marks),
        "y": [y] * len(marks),
        "xaxis": "x",
        "yaxis": panel.axis,
        "marker": {
            "symbol": [look[0] for look in looks],
            "color": [token(look[2]) for look in looks],
            "size": [look[3] for look in looks],
            "opacity": 1,
            "line": {"width": 0},
        },
        "text": [_hover(mark, word, role) for mark, word in zip(marks, words, strict=True)],
        "hovertemplate": "%{text}",
        "customdata": [mark.url for mark in marks],
        "cliponaxis": False,
    }


def legend(words: Sequence[str]) -> str:
    """Return the symbols of ``words`` with their meaning, for a panel's title."""
    return " ".join(f"{SYMBOLS[word][1]}{word}" for word in SYMBOLS if word in words)


def _hover(mark: DecisionMark, word: str, role: Role | None) -> str:
    if role is None:
        moved = f"{counts(mark.current)} → {counts(mark.final)}"
        return f"{word} {escape(mark.service, longest=24)}: {moved}"
    before, after = mark.current.of(role), mark.final.of(role)
    wanted = mark.raw.of(role)
    moved = f" {before} → {after}" if before != after else f" at {after}"
    asked = f", wanted {wanted}" if word != "hold" and wanted != after else ""
    often = f" ×{mark.count}" if mark.count > 1 else ""
    return f"{word}{moved}{asked}{often}"
