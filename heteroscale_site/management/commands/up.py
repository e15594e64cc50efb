"""Runs the whole product on this machine."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from controller.simulator.workload import TraceError, read_trace
from heteroscale_site.configuration import Configuration
from heteroscale_site.home import LaunchError
from heteroscale_site.launch.measuring import lines, scraped
from heteroscale_site.launch.run import Order, command_exists, existing_file, run

MOST_PORT = 65_535
MOST_TIMES = 1000.0


def port(text: str) -> int:
    """Return a port number; raises an argument error that says what is one."""
    if text.isdecimal() and 1 <= int(text) <= MOST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no port: give a number from 1 to {MOST_PORT}")


def times(text: str) -> float:
    """Return a factor above 0; raises an argument error that says so."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if 0 < number <= MOST_TIMES:
        return number
    raise argparse.ArgumentTypeError(f"{text}: give a number above 0, at most {MOST_TIMES:g}")


class Command(BaseCommand):
    """Starts the servers, the web server, the workers and the clock, and minds them."""

    help = "Run HeteroScale: servers unless others are configured, web, workers and clock."
    # There is no database yet to check anything against.
    requires_system_checks: tuple[str, ...] = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        configuration: Configuration = settings.CONFIGURATION
        parser.add_argument("--host", default=configuration.host, help="address to listen on")
        parser.add_argument("--port", type=port, default=configuration.port, help="port")
        parser.add_argument("--trace", metavar="FILE", help="trace the demonstration plays")
        parser.add_argument(
            "--trace-scale",
            type=times,
            metavar="K",
            help="how often each request of it counts",
        )
        parser.add_argument(
            "--speed", type=times, metavar="N", help="how many times faster its load runs"
        )
        parser.add_argument(
            "--prometheus",
            metavar="URL",
            help="read the demonstration's signals through this Prometheus",
        )
        parser.add_argument("--no-demo", action="store_true", help="start without demonstration")

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ANN401, ARG002 - Django's
        """Run until Ctrl-C or SIGTERM."""
        try:
            run(self._order(options), self._say)
        except LaunchError as error:
            raise CommandError(str(error)) from error

    def _order(self, options: dict[str, Any]) -> Order:
        trace = existing_file(options["trace"], "--trace")
        prepare = ["prepare"]
        prepare += ["--trace", str(trace)] if trace else []
        if trace:
            _check_trace(trace)
        scale = options["trace_scale"]
        prepare += ["--trace-scale", str(scale)] if scale else []
        prepare += ["--speed", str(options["speed"])] if options["speed"] else []
        prepare += ["--no-demo"] if options["no_demo"] else []
        url: str = (options["prometheus"] or "").rstrip("/")
        prepare += ["--prometheus", url] if url else []
        with_history = command_exists("demo") and not options["no_demo"]
        order = Order(
            configuration=settings.CONFIGURATION,
            host=options["host"],
            port=options["port"],
            prepare_words=tuple(prepare),
            history_words=("demo", "history") if with_history else (),
        )
        return replace(order, notes=_measured(url, order, options)) if url else order

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


def _measured(url: str, order: Order, options: dict[str, Any]) -> str:
    """Return what there is to say about the Prometheus that signals are read through.

    Refuses one that doesn't answer, before anything is started.
    """
    if options["no_demo"]:
        raise CommandError("--prometheus is for the demonstration: leave out --no-demo.")
    count = scraped(url, settings.METRICS_REACH, timezone.now().timestamp())
    return lines(url, count, order.address)


def _check_trace(trace: Path) -> None:
    """Refuse a trace before anything is started; the words name its line and column."""
    try:
        read_trace(trace.read_bytes(), trace.name)
    except (TraceError, OSError) as fault:
        raise CommandError(f"--trace: {fault}") from fault
