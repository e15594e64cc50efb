"""The controller's side of policy suggestions: formed, opened, kept up to date, let go."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db.models import Q

from controller.core.lifecycle import LIVE_SUGGESTIONS, SuggestionState
from controller.core.suggestion import (
    FORMING_S,
    GAP_S,
    KEPT_FRAC,
    MATERIAL_FRAC,
    STANDS_S,
    Figures,
    Suggestion,
    in_force,
    is_judged,
    suggest,
)
from controller.core.types import Forecast, PolicyConfig, Role
from controller.models import PolicySuggestion
from controller.services.rows import Entry
from inventory.services import bulk

OPEN, FORMING = SuggestionState.OPEN, SuggestionState.FORMING
STANDS: Final = timedelta(seconds=STANDS_S)
COLUMNS: Final = (
    "state",
    "version",
    "pd_ratio",
    "target",
    "sentence",
    "evidence",
    "first_seen_at",
    "confirmed_at",
    "opened_at",
    "expires_at",
    "closed_at",
    "closed_reason",
)


@dataclass(slots=True)
class _Changes:
    made: list[PolicySuggestion] = field(default_factory=list)
    changed: list[PolicySuggestion] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    """Those that never opened: nobody saw them."""

    def end(self, row: PolicySuggestion, state: SuggestionState, why: str, now: datetime) -> None:
        """Close a suggestion, or let go of one that never opened."""
        if row.state == FORMING:
            self.dropped.append(row.pk)
            return
        row.state, row.closed_at, row.closed_reason = state, now, why
        self.changed.append(row)


def write(entries: Sequence[Entry], *, services: Mapping[str, UUID], now: datetime) -> None:
    """Bring suggestions in line with a tick's forecasts, at most one a service that isn't over.

    At most four statements whatever the size of the fleet. The rows are locked, so that what a
    person decides meanwhile waits for the tick, or the tick for it.
    """
    rows = list(
        PolicySuggestion.objects.select_for_update().filter(
            Q(state__in=LIVE_SUGGESTIONS)
            | Q(state=SuggestionState.DISMISSED, decided_at__gt=now - STANDS)
        )
    )
    live = {row.service_id: row for row in rows if row.state in LIVE_SUGGESTIONS}
    changes = _Changes()
    for entry in entries:
        service = services[entry.key]
        spec, forecast = entry.spec, entry.decision.forecast
        if spec is None:
            continue
        row = _still_live(live.get(service), spec.policy, now, changes)
        if forecast is None or not is_judged(forecast):
            continue
        is_open = row is not None and row.state == OPEN
        wanted = suggest(spec.policy, forecast, least_frac=KEPT_FRAC if is_open else MATERIAL_FRAC)
        if wanted is not None and not is_open and _is_refused(wanted, service, rows):
            wanted = None
        if wanted is None:
            if row is not None:
                changes.end(row, SuggestionState.SUPERSEDED, _no_longer(spec.policy), now)
        elif row is None:
            changes.made.append(_formed(service, spec.policy, forecast, wanted, now))
        else:
            _confirm(row, forecast, wanted, now)
            changes.changed.append(row)
    _apply(changes)


def _still_live(
    row: PolicySuggestion | None, config: PolicyConfig, now: datetime, changes: _Changes
) -> PolicySuggestion | None:
    """Return the row if it still speaks of the policy in force and its time is not over."""
    if row is None:
        return None
    if row.revision != config.version:
        text = f"It was made from revision {row.revision}; revision {config.version} is in force."
        changes.end(row, SuggestionState.SUPERSEDED, text, now)
        return None
    if row.expires_at is not None and row.expires_at <= now:
        changes.end(row, SuggestionState.EXPIRED, "Nobody decided within 24 hours.", now)
        return None
    return row


def _is_refused(wanted: Suggestion, service: UUID, rows: Sequence[PolicySuggestion]) -> bool:
    """Return whether a person dismissed about this much within the last day."""
    return any(
        row.service_id == service
        and row.state == SuggestionState.DISMISSED
        and not wanted.figures.differs(Figures(row.pd_ratio, row.target), MATERIAL_FRAC)
        for row in rows
    )


def _no_longer(config: PolicyConfig) -> str:
    return (
        f"No longer wanted: what is measured asks for no more than {KEPT_FRAC:.0%} beside the "
        f"ratio and target of revision {config.version}."
    )


def _formed(
    service: UUID, config: PolicyConfig, forecast: Forecast, wanted: Suggestion, now: datetime
) -> PolicySuggestion:
    before = in_force(config)
    return PolicySuggestion(
        service_id=service,
        revision=config.version,
        driver=config.driver,
        from_pd_ratio=before.pd_ratio,
        from_target=before.target,
        pd_ratio=wanted.figures.pd_ratio,
        target=wanted.figures.target,
        sentence=wanted.why,
        evidence=_evidence(forecast, now),
        first_seen_at=now,
        confirmed_at=now,
    )


def _confirm(row: PolicySuggestion, forecast: Forecast, wanted: Suggestion, now: datetime) -> None:
    """Note that it is wanted now; open it once it has stood, follow figures that moved."""
    if row.state == FORMING and now - row.confirmed_at > timedelta(seconds=GAP_S):
        row.first_seen_at = now
    moved = wanted.figures.differs(Figures(row.pd_ratio, row.target), KEPT_FRAC)
    if moved or row.state == FORMING:
        row.version += row.state == OPEN
        row.pd_ratio, row.target = wanted.figures
        row.sentence, row.evidence = wanted.why, _evidence(forecast, now)
    row.confirmed_at = now
    if row.state == FORMING and now - row.first_seen_at >= timedelta(seconds=FORMING_S):
        row.state, row.opened_at, row.expires_at = OPEN, now, now + STANDS


def _evidence(forecast: Forecast, now: datetime) -> dict[str, Any]:
    """Return what the figures and their sentence rest on: one look, and when it was."""
    return {
        "at_s": now.timestamp(),
        "mix": asdict(forecast.mix) if forecast.mix else None,
        "rps": forecast.rps,
        "needs": {role.value: need for role, need in zip(Role, forecast.measured, strict=True)},
    }


def _apply(changes: _Changes) -> None:
    if changes.dropped:
        PolicySuggestion.objects.filter(pk__in=changes.dropped).delete()
    cells = [(row.pk, *(getattr(row, column) for column in COLUMNS)) for row in changes.changed]
    bulk.update(PolicySuggestion, "id", COLUMNS, cells)
    PolicySuggestion.objects.bulk_create(changes.made, ignore_conflicts=True)
