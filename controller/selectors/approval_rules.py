"""The rules that approve by themselves: those in force, and what they were before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import Count, QuerySet

from controller.core import phrases
from controller.models import ApprovalRule
from controller.models.scopes import key_of

SHOWN: Final = 200
DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, slots=True)
class Line:
    """One revision of a rule, and how many proposals it let through."""

    rule: ApprovalRule
    passed: int

    @property
    def limits(self) -> str:
        """What it lets through: "scale-out, at most 16 GPUs, at most 20 % of a role"."""
        rule = self.rule
        found = [rule.get_direction_display()]
        if rule.most_gpus is not None:
            found.append(f"at most {phrases.plural(rule.most_gpus, 'GPU')}")
        if rule.most_frac is not None:
            found.append(f"at most {100 * rule.most_frac:.3g} % of a role")
        if rule.within:
            found.append(f"within one {rule.within.upper()} domain")
        return ", ".join(found)

    @property
    def hours(self) -> str:
        """When it does: "08:00 to 18:00 Europe/Berlin on Mon and Tue"."""
        rule = self.rule
        found = ["at any time"]
        if rule.from_time is not None and rule.until_time is not None:
            found = [f"{rule.from_time:%H:%M} to {rule.until_time:%H:%M} {rule.time_zone}"]
        if rule.days:
            found.append(f"on {', '.join(DAYS[day] for day in sorted(rule.days))}")
        return " ".join(found)

    @property
    def plain(self) -> dict[str, object]:
        """What a form begins with; without the reason, which is of this revision alone."""
        rule = self.rule
        names = ("name", "direction", "most_gpus", "days", "time_zone", "is_enabled", "within")
        frac = rule.most_frac
        return {name: getattr(rule, name) for name in names} | {
            "scope": key_of(rule.about),
            "most_percent": None if frac is None else round(100 * frac, 6),
            "from_time": rule.from_time and f"{rule.from_time:%H:%M}",
            "until_time": rule.until_time and f"{rule.until_time:%H:%M}",
            "opened": rule.revision,
        }


def in_force() -> Sequence[Line]:
    """Return the present revision of each rule; one query."""
    return _lines(ApprovalRule.objects.filter(superseded_at=None).order_by("name"))


def revisions(name: str) -> Sequence[Line]:
    """Return every revision of a rule, the newest first; one query."""
    return _lines(ApprovalRule.objects.filter(name=name).order_by("-revision"))


def _lines(rows: QuerySet[ApprovalRule]) -> Sequence[Line]:
    found = rows.select_related("region", "cluster__region", "service__cluster__region")
    counted = found.annotate(passed=Count("proposals"))[:SHOWN]
    return [Line(row, row.passed) for row in counted]
