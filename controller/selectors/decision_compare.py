"""Two decisions beside each other: what each read, how each came about, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from controller.core.words import capitalised, quantity
from controller.models import Decision
from controller.selectors.decision_filters import GATES
from controller.selectors.decisions import change_of, policy_text, step_rows
from controller.selectors.inputs import inputs_of
from inventory.models import PolicyRevision

ABSENT = "—"
Told = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing of both decisions in words."""

    name: str
    a: str
    b: str

    @property
    def differs(self) -> bool:
        """Whether the two are not the same."""
        return self.a != self.b

    @property
    def verdict(self) -> str:
        """What a reader who sees no colours is told."""
        if not self.differs:
            return "same"
        if ABSENT in (self.a, self.b):
            return "only a" if self.b == ABSENT else "only b"
        return "differs"


@dataclass(frozen=True, slots=True)
class Part:
    """One table of the comparison."""

    title: str
    lines: Sequence[Line]

    @property
    def heading(self) -> str:
        """The title as it stands above the table."""
        return capitalised(self.title)

    @property
    def differing(self) -> int:
        """How many lines differ."""
        return sum(line.differs for line in self.lines)


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison shows; ``missing`` are numbers that no decision has."""

    a: Decision | None = None
    b: Decision | None = None
    missing: tuple[int, ...] = ()
    parts: Sequence[Part] = ()

    @property
    def both(self) -> list[tuple[str, Decision | None]]:
        """Both with the letters by which the tables name them."""
        return [("a", self.a), ("b", self.b)]

    @property
    def summary(self) -> str:
        """What differs, in one sentence."""
        told = [f"{part.differing} of {len(part.lines)} {part.title}" for part in self.parts]
        if not any(part.differing for part in self.parts):
            return "Nothing differs between the two."
        return f"Different: {', '.join(told)}."


def compared(a: int | None, b: int | None) -> Compared:
    """Return two decisions beside each other; three queries at most.

    Without both numbers, or where one is missing, there is nothing to compare.
    """
    asked = [pk for pk in (a, b) if pk is not None]
    rows = Decision.objects.select_related("service__cluster").in_bulk(asked)
    left, right = (rows.get(pk) if pk is not None else None for pk in (a, b))
    missing = tuple(dict.fromkeys(pk for pk in asked if pk not in rows))
    if left is None or right is None:
        return Compared(left, right, missing)
    policies = _policies(left, right)
    pairs = (
        ("facts", _facts(left), _facts(right)),
        ("inputs", _inputs(left), _inputs(right)),
        ("steps", _steps(left), _steps(right)),
        ("policy fields", policies[left.pk], policies[right.pk]),
    )
    return Compared(left, right, (), [Part(title, _lines(one, two)) for title, one, two in pairs])


def _lines(a: Told, b: Told) -> list[Line]:
    """Return the lines of both in the order of the first, what only the second has after them."""
    return [Line(name, a.get(name, ABSENT), b.get(name, ABSENT)) for name in {**a, **b}]


def _facts(row: Decision) -> dict[str, str]:
    service = row.service
    return {
        "service": service.slug,
        "cluster": service.cluster.slug,
        "decision": change_of(row),
        "wanted": f"decode {row.raw_decode}, prefill {row.raw_prefill}",
        "move": row.move.replace("_", "-"),
        "outcome": GATES.get(row.gate, row.gate),
        "reason": row.code,
        "mode": row.mode,
        "policy revision": str(row.policy_revision),
        "inventory version": ABSENT
        if row.inventory_version is None
        else str(row.inventory_version),
        "driver": row.driver or ABSENT,
        "load": ABSENT if row.load is None else f"{row.load:.0%} of target",
        "ticks": str(row.count),
    }


def _inputs(row: Decision) -> dict[str, str]:
    told = {}
    for given in inputs_of(row):
        value = ABSENT if given.value is None else quantity(given.value, given.unit)
        name = f"{given.label} ({given.role})" if given.role else given.label
        told[name] = f"{value}, {given.quality}, {given.reporting} of {given.expected} report"
    return told


def _steps(row: Decision) -> dict[str, str]:
    told: dict[str, str] = {}
    for step in step_rows(row):
        name, again = step.word, 2
        while name in told:
            name, again = f"{step.word} {again}", again + 1
        moved = f"{step.before} → {step.after}" if step.is_moved else f"{step.after}, unchanged"
        told[name] = "; ".join(filter(None, (moved, step.code, step.detail)))
    return told


def _policies(a: Decision, b: Decision) -> dict[int, dict[str, str]]:
    """Return the fields of both policies by decision; one query."""
    wanted = {(row.service_id, row.policy_revision) for row in (a, b)}
    kept = {
        (revision.service_id, revision.revision): revision.body
        for revision in PolicyRevision.objects.filter(
            service__in={service for service, _ in wanted},
            revision__in={number for _, number in wanted},
        )
    }
    return {
        row.pk: dict(policy_text(kept.get((row.service_id, row.policy_revision), {})))
        for row in (a, b)
    }
