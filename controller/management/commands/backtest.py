"""Compare policies on recorded or generated load, from the command line, without a server."""

import argparse
import sys
import time
from typing import Any

from django.core.management.base import CommandError

from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.backtest_report import lines
from controller.management.loads import declare, in_words, question_of
from controller.simulator.backtest.answer import Answer, as_plain
from controller.simulator.backtest.run import run


class Command(AnsweringCommand):
    """Plays policies on one load and prints what each cost and kept."""

    help = "Compare policies on a recorded or generated load."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        declare(parser)
        parser.add_argument("--series", action="store_true", help="with --json: the courses too")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Play and print; exit 2 for an input that can't be used."""
        try:
            with in_words():
                answer = self._answer(options)
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        if options["json"]:
            self.stdout.write(document(as_plain(answer, series=options["series"])))
        else:
            self.stdout.write("\n".join(lines(answer)))

    def _answer(self, options: dict[str, Any]) -> Answer:
        usual = [] if options["policy_file"] else ["default"]
        question = question_of(options, options["policy"] or usual)
        return run(question, clock=time.process_time, progress=self._tell)

    def _tell(self, done_frac: float) -> None:
        """Show somebody who watches how far it is."""
        if self.stderr.isatty():
            self.stderr.write(f"\r{done_frac:4.0%}", ending="" if done_frac < 1 else "\r     \r")
            self.stderr.flush()
