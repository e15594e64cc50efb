"""The rules that approve by themselves: those in force, and what they were before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, QuerySet

from controller.core import phrases
from controller.core.approval_rules import DAYS, Facts, Rule, passes
from controller.core.reasons import Code
from controller.models import ApprovalRule, Proposal
from controller.models.scopes import About, key_of, within

SHOWN: Final = 200
TRIED: Final = timedelta(days=7)
MOST_TRIED: Final = 5_000
"""Proposals that a rule is held against before it is saved, the newest."""


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


@dataclass(frozen=True, slots=True)
class Tried:
    """What a rule would have let through of the proposals of some days past."""

    passed: int
    proposals: int
    most_gained: int
    most_lost: int

    @property
    def words(self) -> str:
        """It in a sentence: "12 of 40 …, at most −35 GPUs at once"."""
        asked = phrases.plural(self.proposals, "proposal")
        told = (
            f"Within the last {TRIED.days} days it would have let through {self.passed} of {asked}"
        )
        ends = ((self.most_gained, "+"), (self.most_lost, "−"))
        most = " and ".join(f"{sign}{gpus:,}" for gpus, sign in ends if gpus)
        return f"{told}, at most {most} GPUs at once." if most else f"{told}."


def tried(rule: Rule, about: About, now: datetime) -> Tried:
    """Hold a rule against what the controller asked for in its scope lately; three queries.

    Each proposal counts by its last body and when it was made. Whether the service was over its
    SLO or a breaker was open then is not kept with it, so fewer may have passed than are told.
    """
    asked = Proposal.objects.filter(
        within(about),
        origin=Proposal.Origin.CONTROLLER,
        requested_by=None,
        created_at__gt=now - TRIED,
    )
    rows = asked.select_related("service", "decision").prefetch_related("service__roles")
    found = list(rows.order_by("-pk")[:MOST_TRIED])
    passed = [row.change() for row in found if passes(rule, _facts(row), row.created_at)]
    ends = [one.gained_and_lost for one in passed]
    gained = max((one for one, _ in ends), default=0)
    return Tried(len(passed), len(found), gained, max((one for _, one in ends), default=0))


def _facts(row: Proposal) -> Facts:
    code = row.decision.code if row.decision else ""
    places = (row.placement or {}).get("places", ())
    return Facts(
        row.change(),
        needs=row.needs,
        is_beyond_budget=code == Code.REMOVAL_BUDGET,
        levels=tuple(one["level"] for one in places),
    )


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
