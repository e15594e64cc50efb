"""Runs the clock of the control loop."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from heteroscale_site.cron import Cron, beats


class Command(BaseCommand):
    """Asks for every regular task at its time."""

    help = "Run the clock that asks for the regular tasks; any number may run."
    # Checks are for tests: they take longer than all else of a start.
    requires_system_checks: tuple[str, ...] = ()

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Tick until told to stop."""
        cron = Cron()
        for beat in beats():
            cron.keep(beat)
        cron.start()
