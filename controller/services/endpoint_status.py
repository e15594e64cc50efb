"""How endpoints answered a tick, written with everything else the tick leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from controller.core.readings.standing import Outcome, after
from controller.models import EndpointStatus, ScrapeMark
from controller.services.metrics_plan import standings
from inventory.models import MetricsEndpoint


def note(
    outcomes: Mapping[str, Outcome], marks: Mapping[str, bytes], *, jitters: Mapping[str, float]
) -> None:
    """Write the standing of each endpoint after a look, and what scrapes are to remember.

    ``jitters`` in [0, 1) spread the next tries. One that was removed meanwhile is left.
    """
    if not outcomes and not marks:
        return
    known = standings()
    # Locked, so that none goes before its standing is written.
    held = MetricsEndpoint.objects.select_for_update(no_key=True).order_by("pk")
    rows = dict(held.filter(slug__in={*outcomes, *marks}).values_list("slug", "pk"))
    for name, outcome in outcomes.items():
        if name in rows:
            found = after(known.get(name), outcome, jitter=jitters[name])
            EndpointStatus.objects.update_or_create(
                endpoint_id=rows[name],
                defaults={
                    "state": found.state.value,
                    "since": _at(found.since_s),
                    "asked_at": _at(outcome.asked_at_s),
                    "answered_at": _moment(found.answered_s),
                    "back_since": _moment(found.back_s),
                    "failures": found.failures,
                    "again_at": _moment(found.again_s),
                    "took_ms": round(1000 * outcome.took_s, 1),
                    "newest_at": _moment(outcome.newest_s),
                    "services": outcome.services,
                    "answered": outcome.answered,
                    "told": list(outcome.told),
                },
            )
    now = _at(max((each.asked_at_s for each in outcomes.values()), default=0.0))
    for name, body in marks.items():
        if name in rows:
            ScrapeMark.objects.update_or_create(
                endpoint_id=rows[name], defaults={"at": now, "body": body}
            )


def _at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment(seconds: float | None) -> datetime | None:
    try:
        return None if seconds is None else _at(seconds)
    except (OverflowError, ValueError, OSError):
        # What an endpoint says of its samples' time may be no time at all (M06).
        return None
