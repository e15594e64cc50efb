"""Signals of two scrapes kept in files, from the command line, without a server."""

import argparse
import sys
from collections.abc import Iterator
from math import isfinite
from pathlib import Path
from typing import Any, Final

from django.core.management.base import CommandError

from controller.core.readings.presets import KINDS, PRESETS
from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.reading import (
    Ask,
    Reading,
    presets_named,
    read_signals,
    roles_named,
)

_FORMS: Final = "T0.prom[,…] T1.prom[,…]"


class Command(AnsweringCommand):
    """Prints what the metrics of instances make of every signal."""

    help = "Make the signals of one service from two scrapes of its instances."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "files",
            nargs="+",
            metavar="FILES",
            help=f"{_FORMS}: what instances answered, the same instances in the same order; one"
            " list is enough for what needs no rate",
        )
        parser.add_argument(
            "--engine", required=True, help=f"of {', '.join(PRESETS)}; several with commas"
        )
        parser.add_argument("--service", required=True, help="whose instances they are")
        parser.add_argument(
            "--roles",
            default="",
            metavar="NAME=ROLE,…",
            help="prefill or decode, by file, or by pod for the exporter of a node",
        )
        parser.add_argument(
            "--interval-s", type=float, default=15.0, help="seconds between the scrapes"
        )
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Read and print; exit 2 for an input that can't be used."""
        try:
            reading = read_signals(_asked(options))
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        answer = document(reading.figures) if options["json"] else "\n".join(_lines(reading))
        self.stdout.write(answer)


def _asked(options: dict[str, Any]) -> Ask:
    lists = [[Path(name) for name in listed.split(",")] for listed in options["files"]]
    if len(lists) > 2 or len({len(paths) for paths in lists}) != 1:  # noqa: PLR2004 - two scrapes
        raise AnswerError("bad_usage", f"name as many files at both times: {_FORMS}", "FILES")
    interval_s = options["interval_s"]
    if not (isfinite(interval_s) and interval_s > 0.0):
        raise AnswerError("bad_usage", "it must be a number above 0", "--interval-s")
    now = lists[-1]
    before: list[Path] | list[None] = lists[0] if len(lists) > 1 else [None] * len(now)
    return Ask(
        presets_named(options["engine"]),
        options["service"],
        list(zip(before, now, strict=True)),
        roles_named(options["roles"]),
        interval_s,
    )


def _lines(reading: Reading) -> Iterator[str]:
    """Yield a line for each figure that is there, those that are not in one, and the hints."""
    missing = []
    for name, figure in reading.figures.items():
        if figure["quality"] == "missing":
            missing.append(name)
            continue
        value = "—" if figure["value"] is None else f"{figure['value']:,.6g}"
        yield (
            f"{name:<22} {value:>12} {figure['unit']:<9} {figure['quality']:<8}"
            f" {figure['reporting']} of {figure['expected']}  {KINDS[name].label}"
        )
    if missing:
        yield f"Missing: {', '.join(missing)}."
    yield from (f"{hint}." for hint in reading.hints)
