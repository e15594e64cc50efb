"""Propose other counts of a service, for another person to approve."""

from argparse import ArgumentTypeError
from typing import Any

from django.core.management.base import CommandParser

from controller.core.types import Instances
from controller.management import stopping
from controller.management.answering import AnswerError
from controller.management.deciding import DecidingCommand
from controller.selectors import by_hand
from controller.selectors.service_page import find
from controller.services import manual
from controller.services.manual import Asked


class Command(DecidingCommand):
    """Propose other counts of a service, for another person to approve."""

    help = "Propose other counts of a service, for another person to approve."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the service and the counts."""
        parser.add_argument("--service", metavar="SLUG", required=True)
        for role in ("prefill", "decode"):
            parser.add_argument(f"--{role}", type=_count, metavar="N", required=True)
        super().add_arguments(parser)

    def decide(self, options: dict[str, Any]) -> int:
        """Propose it; returns the number of the proposal."""
        service = find(options["service"])
        if service is None:
            text = f"There is no service {options['service']!r}."
            raise AnswerError("unknown_service", text, "--service")
        want = Instances(options["prefill"], options["decode"])
        made = manual.propose(
            service,
            Asked(want, options["reason"]),
            user=stopping.person(),
            look=by_hand.ground,
        )
        return made.pk


def _count(text: str) -> int:
    if not text.isdecimal():
        raise ArgumentTypeError(f"{text!r} is no count: give a whole number from 0 on")
    return int(text)
