"""Runs the watcher of clusters."""

from __future__ import annotations

import signal
import threading
from dataclasses import replace
from typing import Any

import numpy as np
from django.conf import settings
from django.core.management.base import BaseCommand

from controller import wiring
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.management.watching import Watcher

POLL_S = 0.5


class Command(BaseCommand):
    """Watches every cluster of Kubernetes that has an access."""

    help = "Watch the clusters of Kubernetes; of several watchers one has a cluster at a time."
    # Checks are for tests: they take longer than all else of a start.
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Watch until told to stop."""
        stopped = threading.Event()
        for sent in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sent, lambda *_: stopped.set())
        watcher = Watcher(lambda about, pause: wiring.new_api(about.access, pause), _pace())
        while not stopped.is_set():
            watcher.round()
            stopped.wait(POLL_S)
        watcher.stop()


def _pace() -> Pace:
    """Return a pace at which a quiet cluster is never older than what is too old to act on."""
    usual = Pace(jitter=np.random.default_rng().random)
    return replace(usual, watch_s=min(usual.watch_s, settings.MAX_AGE_S / 3))
