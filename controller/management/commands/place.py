"""Place requests of files, from the command line, without a server."""

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

from django.core.management.base import CommandError

from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.place_cases import answered_cases
from controller.management.place_file import answered_cycle
from controller.management.place_fleet import answered_fleet

FORMS: Final[Mapping[str, Callable[[str], object]]] = {
    "file": answered_cycle,
    "cases": answered_cases,
    "fleet": answered_fleet,
}


class Command(AnsweringCommand):
    """Prints where requests go, or why they go nowhere."""

    help = "Place the requests of a JSON file on the nodes of that file."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "file",
            nargs="?",
            metavar="FILE",
            help="nodes, services and requests: one placement cycle; - for standard input",
        )
        forms = parser.add_mutually_exclusive_group()
        forms.add_argument(
            "--cases",
            metavar="FILE",
            help="a list of placement cases, each with its nodes and a tree of parts and groups;"
            " - for standard input",
        )
        forms.add_argument(
            "--fleet",
            metavar="FILE",
            help="nodes and services: as many whole groups as can be placed; - for standard input",
        )
        parser.add_argument(
            "--json", action="store_true", help="report faults as JSON too; answers always are"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Place and print; exit 2 for an input that can't be used."""
        try:
            answer = _answer(options)
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        self.stdout.write(document(answer))


def _answer(options: dict[str, Any]) -> object:
    given = [form for form in FORMS if options[form] is not None]
    if len(given) != 1:
        raise AnswerError("bad_usage", "name one FILE, or one of --cases and --fleet", "FILE")
    return FORMS[given[0]](options[given[0]])
