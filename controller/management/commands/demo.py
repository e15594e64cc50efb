"""The demonstration fleet from the command line."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from controller import history
from controller.services import demo, demo_metrics
from controller.services.errors import InvalidError

BAR = 30
MOST_SPEED = 1000.0


class Command(BaseCommand):
    """Makes, fills and removes the simulated fleet."""

    help = "Make the simulated demo fleet, produce its history, or remove it."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare what can be done."""
        parser.add_argument("what", choices=["ensure", "history", "remove"])
        parser.add_argument("--trace", metavar="FILE", help="load recorded elsewhere")
        parser.add_argument(
            "--trace-scale", type=float, metavar="K", help="how often each request of it counts"
        )
        parser.add_argument("--speed", type=float, help="how fast the load's clock runs")
        parser.add_argument("--prometheus", metavar="URL", help="whom its signals are read from")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Do one of the three."""
        what = options["what"]
        if settings.PRODUCTION and what != "remove":
            raise CommandError("HETEROSCALE_PRODUCTION: there is no simulated fleet there.")
        if what == "ensure":
            self._ensure(options["trace"], options["speed"], options["trace_scale"])
            self._measure(options["prometheus"])
        elif what == "history":
            self._history()
        else:
            self._remove()

    def _ensure(self, trace: str | None, speed: float | None, scale: float | None) -> None:
        if speed is not None and not 0 < speed <= MOST_SPEED:
            raise CommandError(f"--speed {speed:g}: give a number above 0, at most 1000.")
        if scale is not None and not 0 < scale <= MOST_SPEED:
            raise CommandError(f"--trace-scale {scale:g}: give a number above 0, at most 1000.")
        path = Path(trace) if trace else None
        try:
            if demo.exists():
                demo.change_load(speed=speed, trace=path, trace_scale=scale)
            elif demo.is_wanted():
                demo.create(speed=speed or settings.DEMO_SPEED, trace=path, trace_scale=scale)
        except InvalidError as fault:
            raise CommandError(f"--{fault.field}: {fault}") from None

    def _measure(self, url: str | None) -> None:
        """Let what there is be read through a Prometheus, or directly again."""
        if url and not demo.exists():
            raise CommandError("--prometheus: there is no simulated fleet to be read through it.")
        try:
            changed = demo_metrics.read_through(url)
        except InvalidError as fault:
            raise CommandError(f"--{fault.field}: {fault}") from None
        if changed:
            how = f"through the Prometheus at {url}" if url else "from the simulator directly"
            self.stdout.write(f"The demonstration is read {how} from now on.")

    def _history(self) -> None:
        if not history.is_wanted():
            return
        ticks = history.produce(self._progress)
        self.stdout.write(f"\rThe last 24 hours are there: {ticks:,} ticks.{' ' * BAR}")

    def _progress(self, done_frac: float) -> None:
        filled = round(BAR * done_frac)
        bar = "█" * filled + "░" * (BAR - filled)
        end = "" if sys.stdout.isatty() else "\n"
        self.stdout.write(
            f"\rProducing the last 24 hours {bar} {100 * done_frac:3.0f} %", ending=end
        )
        self.stdout.flush()

    def _remove(self) -> None:
        if not demo.exists():
            self.stdout.write("There is no simulated fleet.")
            return
        self.stdout.write(f"Removed the simulated fleet with {demo.remove()} services.")
