"""What ``import_fleet`` answers, for a program and for a person."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from controller.management.answering import AnswerError
from inventory.importers.found import Fault
from inventory.plan import OPERATIONS, Plan

SHOWN: Final = 20
"""Errors printed to a person; a program gets all that are kept."""
CHANGES_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class Done:
    """Whether a plan was applied, as which import, and the version that made."""

    is_applied: bool = False
    version: int = 0
    run: str = ""
    notes: tuple[str, ...] = ()


def plain(plan: Plan, done: Done) -> dict[str, Any]:
    """Return a plan and what became of it as a program reads it."""
    return {
        "format": plan.form,
        "plan": dict(plan.counts),
        "objects": [
            {
                "op": one.operation,
                "type": one.kind,
                "key": "/".join(one.key),
                "before": dict(one.before),
                "fields": dict(one.after),
                "held": dict(one.held),
                "at": one.at,
            }
            for one in plan.objects
        ],
        "errors": [asdict(fault) for fault in plan.errors],
        "further_errors": plan.further_errors,
        "warnings": list(plan.warnings),
        "notes": [*plan.notes, *done.notes],
        "impact": list(plan.impact),
        "shrink": {cluster: asdict(one) for cluster, one in plan.shrink.items()},
        "summary": list(plan.summary),
        "applied": done.is_applied,
        "inventory_version": done.version,
        "import": done.run,
    }


def lines(plan: Plan, done: Done) -> list[str]:
    """Return the plan as a person reads it: what it became, what is odd, what is wrong."""
    counted = ", ".join(f"{name} {plan.counts[name]:,}" for name in OPERATIONS)
    said = [*plan.summary, "", f"Plan: {counted}."]
    said += [f"  note: {sentence}" for sentence in (*plan.notes, *done.notes)]
    said += [f"  look: {sentence}" for sentence in plan.warnings]
    said += [f"  impact: {sentence}" for sentence in plan.impact]
    said += [
        f"  missing: {one.missing:,} of {one.of:,} nodes of {cluster}, with {one.gpus:,} GPUs"
        for cluster, one in plan.shrink.items()
    ]
    said += _changes(plan)
    if plan.errors:
        total = len(plan.errors) + plan.further_errors
        said += ["", f"{total:,} {'error' if total == 1 else 'errors'}:"]
        said += [f"  {where(fault)}: {fault.message}" for fault in plan.errors[:SHOWN]]
    if done.is_applied:
        what = f"Applied as import {done.run}" if done.run else "No changes"
        said += ["", f"{what}: inventory version {done.version}."]
    return said


def _changes(plan: Plan) -> list[str]:
    """Return what would become otherwise, field by field, as far as a screen goes."""
    changed = [one for one in plan.objects if one.operation == "change" and one.kind != "domain"]
    said = [
        f"  change {one.kind} {one.name}: {_fields(one.before, one.after)}"
        for one in changed[:CHANGES_SHOWN]
    ]
    more = len(changed) - CHANGES_SHOWN
    return said + ([f"  and {more:,} more changes"] if more > 0 else [])


def _fields(before: Mapping[str, object], after: Mapping[str, object]) -> str:
    told = (f"{name} {_word(before.get(name))} → {_word(value)}" for name, value in after.items())
    return ", ".join(told)


def _word(value: object) -> str:
    return "none" if value in (None, "", [], {}) else str(value)


def error_of(plan: Plan) -> AnswerError:
    """Return the first thing wrong with a plan."""
    first, more = plan.errors[0], len(plan.errors) - 1
    further = f" ({more} more)" if more else ""
    return AnswerError("bad_rows", f"{first.message}{further}", where(first))


def where(fault: Fault) -> str:
    """Return file, line and field of a fault."""
    place = fault.file if fault.line is None else f"{fault.file}:{fault.line}"
    return " ".join(filter(None, (place, fault.field)))
