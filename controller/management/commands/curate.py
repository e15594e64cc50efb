"""Find the ratio, the targets and the policy that fit a load, without a server."""

import argparse
import sys
import time
from typing import Any, Final

from django.core.management.base import CommandError

from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.backtest_report import lines
from controller.management.loads import declare, in_words, question_of
from controller.simulator.curation import (
    Curation,
    CurationQuestion,
    Split,
    as_curation,
    curate,
)

MOST_GPUS: Final = 10_000


class Command(AnsweringCommand):
    """Prints which split of GPUs carries most, and which policy follows the load best."""

    help = "Find the P/D ratio, the targets and the policy that fit a load."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        declare(parser)
        parser.add_argument(
            "--gpus", metavar="N", type=int, required=True, help="GPUs to split between the roles"
        )
        parser.add_argument(
            "--goal",
            metavar="X",
            type=float,
            default=0.99,
            help="share of requests a policy must keep within both goals",
        )

        parser.add_argument(
            "--stress", action="store_true", help="simulate every split that is listed"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Curate and print; exit 2 for an input that can't be used."""
        try:
            with in_words():
                found = _curated(options)
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        if options["json"]:
            self.stdout.write(document(as_curation(found)))
        else:
            self.stdout.write("\n".join(_told(found)))


def _curated(options: dict[str, Any]) -> Curation:
    if not 1 <= options["gpus"] <= MOST_GPUS:
        problem = f"{options['gpus']} is not between 1 and {MOST_GPUS:,} GPUs"
        raise AnswerError("out_of_range", problem, "--gpus")
    if not 0.5 <= options["goal"] <= 1.0:  # noqa: PLR2004 - the range of an SLO's share
        raise AnswerError("out_of_range", f"{options['goal']:g} is not from 0.5 to 1", "--goal")
    asked = question_of(options, options["policy"] or [])
    question = CurationQuestion(asked, options["gpus"], options["goal"], options["stress"])
    return curate(question, clock=time.process_time, progress=lambda _: None)


def _told(found: Curation) -> list[str]:
    best, basis, drift = found.best, found.basis, found.basis.drift
    moving = f"{drift.lowest:.2f} to {drift.highest:.2f} over {drift.hours} hours"
    ratio = f"P/D ratio            {basis.cautious.pd_ratio:.2f} as answers vary"
    return [
        f"{ratio}, {basis.capacity.pd_ratio:.2f} by mean lengths; {moving}",
        f"best of {found.question.gpus} GPUs      {best.instances}: {best.goodput_rps:,.1f} req/s",
        *(f"{name:36} {value:,.0f} tok/s" for name, value in found.targets.items()),
        *([f"{found.note}."] if found.note else []),
        "",
        "prefill  decode  goodput [req/s]",
        *(_line(split) for split in found.sweep),
        "",
        *lines(found.answer),
        "",
        f"Chosen: {found.why}.",
    ]


def _line(split: Split) -> str:
    how = "simulated" if split.simulated else "computed"
    counts = f"{split.instances.prefill:7}  {split.instances.decode:6}"
    return f"{counts}  {split.goodput_rps:15,.1f}  {how}"
