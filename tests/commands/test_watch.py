"""The watcher as a process: it begins with the accesses there are and ends when told to."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command

from controller.management import watching
from controller.management.commands import watch
from controller.management.watching import Watcher
from controller.models import ClusterSight, ServiceSight
from controller.services import cluster_access
from controller.services.secrecy import encrypt
from tests.clusters_of_kubernetes import make_kube_service
from tests.factories import make_access
from tests.kube import Double

Handler = Callable[..., None]


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Watcher], bool]], None]:
    """Return what lets the command run until something holds, and sends SIGTERM then."""
    handlers: dict[signal.Signals, Handler] = {}
    monkeypatch.setattr(watch.signal, "signal", handlers.__setitem__)
    monkeypatch.setattr(watch, "POLL_S", 0.01)
    monkeypatch.setattr(watching, "NOTE_S", 0.0)
    monkeypatch.setattr(watching, "FEED_S", float("inf"))
    round_of = Watcher.round

    def until(holds: Callable[[Watcher], bool]) -> None:
        rounds = 0

        def one(self: Watcher) -> None:
            nonlocal rounds
            round_of(self)
            rounds += 1
            if holds(self) or rounds > 2_000:
                handlers[signal.SIGTERM](signal.SIGTERM, None)

        monkeypatch.setattr(Watcher, "round", one)
        call_command("watch")
        assert rounds <= 2_000, "it did not come to pass"

    return until


@pytest.mark.django_db
def test_it_watches_by_the_access_of_a_cluster(kube: Double, stopping: Any) -> None:
    told = {"token": kube.token, "certificate": "", "key": "", "exec": None}
    secret = encrypt(json.dumps(told), purpose=cluster_access.PURPOSE)
    make_access("k-1", server=kube.address, secret=secret)
    service = make_kube_service("chat")
    stopping(lambda _: ServiceSight.objects.filter(service=service).exists())
    sight = ClusterSight.objects.get()
    assert (sight.state, sight.nodes, sight.pods) == ("ok", 16, 6)


@pytest.mark.django_db
def test_an_access_that_can_not_be_used_is_told(stopping: Any) -> None:
    make_access("k-1", secret="gone")
    stopping(lambda _: ClusterSight.objects.exists())
    sight = ClusterSight.objects.get()
    assert sight.state == "failed"
    assert sight.told[0].startswith("It can't be reached: ")


def test_a_quiet_cluster_is_never_too_old_to_act_on() -> None:
    pace = watch._pace()
    longest_s = pace.watch_s * 1.25
    assert longest_s + pace.longest_wait_s <= settings.MAX_AGE_S
