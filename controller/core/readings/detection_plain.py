"""What was detected as JSON, for programs and for rows that keep it."""

from __future__ import annotations

from typing import Any

from controller.core.readings.attach_plain import attach_plain
from controller.core.readings.detection import (
    SNIPPET,
    Detection,
    Proposal,
    RoleFound,
    highest,
)
from controller.core.readings.goals import Goal
from controller.core.types import ROLES


def detection_plain(found: Detection) -> dict[str, Any]:
    """Return all of it; figures that nothing tells are None (docs/detection.md)."""
    return {
        "services": [proposal_plain(each) for each in found.proposals],
        "told": list(found.told),
    }


def proposal_plain(one: Proposal) -> dict[str, Any]:
    """Return one proposal; ``snippet`` is there where labels are missing."""
    return {
        "slug": one.slug,
        "known_as": one.known_as,
        "namespace": one.namespace,
        "models": list(one.models),
        "presets": list(one.presets),
        "attach": attach_plain(one.attach) if one.attach else None,
        "way": one.way,
        "roles": {role.value: _role(one.roles[role]) for role in ROLES if role in one.roles},
        "untold": _role(one.untold) if one.untold else None,
        "slo": {"ttft_s": _goal(one.ttft), "tbt_s": _goal(one.tbt)},
        "load": {
            what: {"mean": each.mean, "peak": each.peak} for what, each in (one.load or {}).items()
        },
        "target": one.target,
        "pd_ratio": one.pd_ratio,
        "confidence": one.confidence,
        "problems": list(one.problems),
        "blockers": list(one.blockers),
        "snippet": SNIPPET if one.attach is None else "",
        "evidence": [{"says": each.says, "rests_on": each.rests_on} for each in one.evidence],
    }


def _role(one: RoleFound) -> dict[str, Any]:
    return {
        "now": one.now,
        "least": one.least,
        "most": one.most,
        "minimum": max(1, one.least),
        "maximum": highest(one.most),
        "names": list(one.names),
        "reason": one.reason,
        "gpus": one.gpus,
        "gpu_model": one.gpu_model,
    }


def _goal(goal: Goal | None) -> dict[str, Any] | None:
    if goal is None:
        return None
    return {
        "goal": goal.value_s,
        "kept": goal.kept,
        "hours": goal.hours,
        "least": goal.least_s,
        "median": goal.median_s,
        "most": goal.most_s,
    }
