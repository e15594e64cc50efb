"""Runs the watcher of clusters."""

from __future__ import annotations

import signal
import threading
from typing import Any

import numpy as np
from django.core.management.base import BaseCommand

from controller import wiring
from controller.adapters.fleet.kubernetes.reflector import Pace
from controller.management.watching import Watcher

POLL_S = 0.5


class Command(BaseCommand):
    """Watches every cluster of Kubernetes that has an access."""

    help = "Watch the clusters of Kubernetes; of several watchers one has a cluster at a time."

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Watch until told to stop."""
        stopped = threading.Event()
        for sent in (signal.SIGTERM, signal.SIGINT):
            signal.signal(sent, lambda *_: stopped.set())
        rng = np.random.default_rng()
        watcher = Watcher(
            lambda about, pause: wiring.new_api(about.access, pause), Pace(jitter=rng.random)
        )
        while not stopped.is_set():
            watcher.round()
            stopped.wait(POLL_S)
        watcher.stop()
