"""A tick that is killed, as for want of memory, leaves all of what it decided or nothing (P06)."""

from __future__ import annotations

import pytest
from django.test import TransactionTestCase

from controller import loop
from controller.models import Action, ControllerLease, Decision, Sample, ServiceStatus, Tick
from controller.services import leadership
from tests import killing
from tests.factories import make_service
from tests.loop.test_tick import SETTINGS
from tests.sources import HEALTHY, ArraySource

pytestmark = pytest.mark.django_db(transaction=True)
BUSY = {**HEALTHY, "decode_tps": 6000.0}


def ticked() -> None:
    """Run one tick of two busy services, a period after the last."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    ControllerLease.objects.update(expires_at="2000-01-01T00:00:00Z")
    lease = leadership.take("tick", seconds=60)
    assert lease is not None
    source = ArraySource(values={"chat": BUSY, "code": BUSY})
    loop.run(lease, source_of=lambda _: source, settings=SETTINGS)


def left() -> tuple[int, ...]:
    """Return what ticks have left: themselves, decisions, samples, statuses and actions."""
    return (
        Tick.objects.filter(finished_at__isnull=False).count(),
        Decision.objects.count(),
        Sample.objects.count(),
        ServiceStatus.objects.filter(decision__isnull=False).count(),
        Action.objects.count(),
    )


def test_a_killed_tick_leaves_all_of_it_or_nothing_p06() -> None:
    def anew() -> None:
        TransactionTestCase._fixture_teardown(None)
        for slug in ("chat", "code"):
            make_service(slug)

    anew()
    points = killing.points(ticked)
    assert left() == (1, 2, 2, 2, 2)
    ends = []
    for point in (*range(1, len(points), 9), len(points) - 1):
        anew()
        killing.killed_at(point, ticked)
        ends.append(left())
    assert set(ends) == {(0, 0, 0, 0, 0), (1, 2, 2, 2, 2)}
    assert ends == sorted(ends), "nothing before the commit, all of it after"
