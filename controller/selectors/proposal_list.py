"""Open proposals and moves as plain values, for commands and programs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.core import phrases
from controller.core.lifecycle import OPEN_PROPOSALS
from controller.models import Proposal, Rearrangement


def open_ones() -> list[dict[str, Any]]:
    """Return what is open, soonest expiry first; one query."""
    rows = Proposal.objects.filter(state__in=OPEN_PROPOSALS).order_by("expires_at", "pk")
    return [plain(row) for row in rows.select_related("service", "requested_by")]


def open_moves() -> list[dict[str, Any]]:
    """Return the moves that are open, soonest expiry first; one query."""
    rows = Rearrangement.objects.filter(state__in=OPEN_PROPOSALS).order_by("expires_at", "pk")
    return [
        {
            "moves": row.pk,
            "version": row.version,
            "service": row.service.slug if row.service else None,
            "state": row.state,
            "expires_at": row.expires_at.isoformat(),
            "sentence": row.sentence,
        }
        for row in rows.select_related("service")
    ]


def line(one: Mapping[str, Any]) -> str:
    """Return a document of either kind in a line: what, until when, by how many and why."""
    number = one.get("proposal") or f"moves {one['moves']}"
    needs = one.get("needs", 1)
    why = f" ({one['needs_why']})" if one.get("needs_why") else ""
    until = datetime.fromisoformat(one["expires_at"])
    return (
        f"{number} (version {one['version']}, {one['state']}) {one['service'] or 'the fleet'}: "
        f"{one['sentence']} Needs {phrases.plural(needs, 'approval')}{why}, "
        f"expires {until:%Y-%m-%d %H:%M} UTC."
    )


def find(pk: int) -> Proposal | None:
    """Return a proposal, ``None`` when there is none of that number."""
    return Proposal.objects.select_related("service", "requested_by").filter(pk=pk).first()


def plain(row: Proposal) -> dict[str, Any]:
    """Return one proposal as a document."""
    asked_by = row.requested_by.get_username() if row.requested_by else None
    return {
        "proposal": row.pk,
        "version": row.version,
        "service": row.service.slug,
        "state": row.state,
        "origin": row.origin,
        "requested_by": asked_by,
        "from": {"prefill": row.from_prefill, "decode": row.from_decode},
        "to": {"prefill": row.to_prefill, "decode": row.to_decode},
        "then": None if row.then is None else row.then._asdict(),
        "needs": row.needs,
        "needs_why": row.needs_why,
        "expires_at": row.expires_at.isoformat(),
        "sentence": row.sentence,
    }
