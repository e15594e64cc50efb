"""The six states in which the overview is judged, and what it has to answer in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from controller.models import Freeze, Override, ServiceStatus, Tick
from inventory.models import Service
from tests import factories
from tests.services.people import waiting

STOPPED_S: Final = 600
STORM: Final = 9


@dataclass(frozen=True)
class Answers:
    """What the first look answers: the five questions of the first principle, in their order."""

    breaching: str
    acting: str
    waiting: str
    overriding: str
    trusted: str

    @property
    def texts(self) -> tuple[str, ...]:
        """The answers in the order of the questions."""
        return self.breaching, self.acting, self.waiting, self.overriding, self.trusted


FRESH: Final = "metrics 100 % fresh"
STATES: Final[Mapping[str, Answers]] = {
    "calm": Answers(
        "All 3 services are within SLO.", "ACTING", "nothing waits for you", "no override", FRESH
    ),
    "breach": Answers(
        "One service is over its SLO", "ACTING", "1 waits for you", "1 override, next ends", FRESH
    ),
    "frozen": Answers(
        "All 3 services are within SLO.",
        "FROZEN by bo",
        "nothing waits for you",
        "no override",
        FRESH,
    ),
    "stopped loop": Answers(
        "Whether 3 services keep their SLO is not known; 4 things need attention",
        "STOPPED",
        "nothing waits for you",
        "no override",
        "metrics not known now",
    ),
    "metrics down": Answers(
        "Whether 3 services keep their SLO is not known; 4 things need attention",
        "DEGRADED",
        "nothing waits for you",
        "no override",
        "metrics 0 % fresh",
    ),
    "approval storm": Answers(
        f"No service is over its SLO; {STORM} things need attention",
        "ACTING",
        f"{STORM} wait for you",
        "no override",
        FRESH,
    ),
}


def make_state(name: str) -> None:
    """Make the fleet of that state, by the clock of now."""
    now = timezone.now()
    slugs = [f"service-{i}" for i in range(STORM)] if name == "approval storm" else ["a", "b", "c"]
    for slug in slugs:
        if name == "approval storm":
            waiting(slug)
        else:
            factories.make_service(slug)
    seen = now - timedelta(seconds=STOPPED_S if name == "stopped loop" else 5)
    fresh = 0 if name == "metrics down" else len(slugs)
    Tick.objects.create(
        slot=1, at=seen, epoch=1, finished_at=seen, services=len(slugs), fresh=fresh
    )
    _measured(seen, has_metrics=name != "metrics down")
    if name == "breach":
        _breach(now)
    if name == "frozen":
        Freeze.objects.create(by_name="bo", reason="rack B overheats", since=now)


def _measured(at: datetime, *, has_metrics: bool) -> None:
    for status in ServiceStatus.objects.all():
        for signal in status.signals.values():
            signal["measured_at_s"] = at.timestamp()
            if not has_metrics:
                signal |= {"quality": "missing", "value": None, "reporting": 0}
        status.observed_at = at
        status.save()


def _breach(now: datetime) -> None:
    service = Service.objects.get(slug="b")
    status = ServiceStatus.objects.get(service=service)
    status.signals["ttft_s"]["value"] = 1.9
    status.ttft_breach_since = now - timedelta(minutes=5)
    status.save()
    factories.make_proposal(service, expires_at=now + timedelta(minutes=9))
    Override.objects.create(
        service=service,
        kind="in_only",
        reason="a load test",
        by_name="bo",
        made_at=now,
        starts_at=now,
        ends_at=now + timedelta(hours=1),
    )
