"""What a decision read, with the doubt each value carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from controller.core.types import SIGNALS, Quality
from controller.models import Decision
from inventory.models import Slo

LABELS: Final = {kind.name: kind.label for kind in SIGNALS}
# One icon a quality; the word always stands beside it.
TONES: Final[dict[str, str]] = {
    Quality.OK: "ok",
    Quality.STALE: "warn",
    Quality.PARTIAL: "warn",
    Quality.MISSING: "muted",
    Quality.INVALID: "crit",
}


@dataclass(frozen=True, slots=True)
class Input:
    """One signal as it was read; an absent ``value`` is unknown, never 0."""

    name: str
    label: str
    role: str
    value: float | None
    unit: str
    age_s: float | None
    reporting: int
    expected: int
    quality: str
    goal_s: float | None = None
    source: str = ""

    @property
    def tone(self) -> str:
        """The icon of the quality."""
        return TONES.get(self.quality, "muted")

    @property
    def is_over(self) -> bool:
        """Whether a latency is over its goal."""
        return self.value is not None and self.goal_s is not None and self.value > self.goal_s


def inputs_of(decision: Decision) -> tuple[Input, ...]:
    """Return the inputs of a decision in the order they were kept."""
    return tuple(_input(row) for row in decision.inputs if isinstance(row, dict))


def that_mattered(inputs: Sequence[Input], driver: str, slo: Slo | None) -> tuple[Input, ...]:
    """Return the driver and both latencies, the latter with their goals."""
    goals = {"ttft_s": slo.ttft_s, "tbt_s": slo.tbt_s} if slo else {}
    wanted = dict.fromkeys((driver, "ttft_s", "tbt_s"))
    by_name = {row.name: row for row in inputs}
    return tuple(_with_goal(by_name[name], goals.get(name)) for name in wanted if name in by_name)


def _with_goal(row: Input, goal_s: float | None) -> Input:
    return replace(row, goal_s=goal_s)


def _input(row: dict[str, Any]) -> Input:
    name = str(row.get("name", ""))
    return Input(
        name=name,
        label=LABELS.get(name, name),
        role=str(row.get("role", "")),
        value=row.get("value"),
        unit=str(row.get("unit", "")),
        age_s=row.get("age_s"),
        reporting=int(row.get("reporting") or 0),
        expected=int(row.get("expected") or 0),
        quality=str(row.get("quality", "missing")),
        source=str(row.get("source", "")),
    )
