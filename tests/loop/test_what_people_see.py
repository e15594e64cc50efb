"""From a tick to the page an operator reads: nothing lost, nothing told that nobody measured."""

from __future__ import annotations

from collections.abc import Mapping

import django_rq
import pytest
from django.test import Client

from controller import loop, tasks
from controller.models import Action, Decision, Proposal, Tick
from controller.services import approvals, leadership
from tests.clusters import Cluster
from tests.factories import make_service
from tests.pages.reading import reading
from tests.services.people import person
from tests.sources import HEALTHY, ArraySource

SETTINGS = loop.LoopSettings(tick_s=15, max_age_s=45)
BUSY = {**HEALTHY, "decode_tps": 8000.0}
"""4 decode instances become 8, as far as a step allows."""


def tick(**values: Mapping[str, float]) -> None:
    """Run one tick, a period after the last, in which services report ``values``."""
    Tick.objects.update(at="2000-01-01T00:00:00Z")
    lease = leadership.take("test", seconds=60)
    assert lease is not None
    loop.run(lease, source_of=lambda _: ArraySource(values=dict(values)), settings=SETTINGS)


@pytest.mark.django_db
def test_without_metrics_nothing_shrinks_and_pages_say_so_until_they_are_back_s6_m18() -> None:
    # Product, acceptance check 6.
    make_service("chat", mode="automatic", policy={"step_abs": 1, "step_out_frac": 0.25})
    client = Client()
    client.force_login(person("vera", "Viewer"))
    tick(chat={})
    blind = Decision.objects.latest("seq")
    assert (blind.code, blind.final_prefill, blind.final_decode) == ("METRIC_MISSING", 2, 4)
    overview, service = reading(client, "/"), reading(client, "/services/chat/")
    assert "DEGRADED 0 of 1 services have fresh metrics" in overview
    assert "TTFT —" in overview
    assert "No metrics yet. Expected decode_tps from 4 instances" in service
    assert "METRIC_MISSING" in reading(client, blind.get_absolute_url())

    tick(chat=BUSY)
    back = Decision.objects.latest("seq")
    # 8 are wanted; a step is a quarter of 4.
    assert (back.raw_decode, back.final_decode) == (8, 5)
    assert "DEGRADED" not in reading(client, "/")
    assert Action.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("broker")
def test_a_broker_that_forgets_loses_no_decision_and_no_approval(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Product, acceptance check 2.
    make_service("chat", mode="approve")
    make_service("code", mode="observe")
    cluster, ticks = Cluster(), 3
    monkeypatch.setattr("controller.wiring.actuator_of", cluster.of)
    for _ in range(ticks):
        tick(chat=BUSY)
        django_rq.get_connection("default").flushdb()
    for slug in ("chat", "code"):
        counts = Decision.objects.filter(service__slug=slug).values_list("count", flat=True)
        assert sum(counts) == ticks

    asked = Proposal.objects.get()
    seen = {"version": asked.version, "fingerprint": asked.fingerprint}
    approvals.approve(asked.pk, user=person("ana"), **seen)
    assert django_rq.get_queue("actions").count == 1
    django_rq.get_connection("default").flushdb()
    tasks.sweep()
    asked.refresh_from_db()
    assert asked.state == "applied"
    assert (cluster.desired.prefill, cluster.desired.decode) == (
        asked.to_prefill,
        asked.to_decode,
    )
