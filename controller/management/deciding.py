"""What the commands about proposals share: what is decided on, the answer, the refusal."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controller.management import stopping
from controller.management.answering import FAILED, AnswerError, document
from controller.selectors import proposal_list
from controller.services.errors import SteeringError


class DecidingCommand(BaseCommand):
    """A command that decides or proposes as the person at the command line.

    Whoever types there is one person to the rules: they approve nothing they proposed themselves,
    and never count twice.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the reason, and the form of the answer."""
        parser.add_argument("--reason", required=True, help="what the next person reads")
        parser.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it and say what became of it; exit 1 with the reason when refused."""
        try:
            done = self.decide(options)
        except (AnswerError, SteeringError) as fault:
            raise stopping.refused(fault, options, self.stdout) from fault
        row = proposal_list.find(done)
        if row is None:
            raise stopping.refused(missing(done), options, self.stdout)
        if options["json"]:
            self.stdout.write(document(proposal_list.plain(row)))
        else:
            self.stdout.write(f"Proposal {row.pk} is {row.state}. {row.sentence}")

    def decide(self, options: dict[str, Any]) -> int:
        """Do what the command does; returns the number of the proposal."""
        raise NotImplementedError


def add_proposal(parser: CommandParser) -> None:
    """Add which proposal is decided on, and as it was seen."""
    parser.add_argument("proposal", type=int, help="its number, as proposals lists it")
    parser.add_argument(
        "--seen", type=int, required=True, metavar="VERSION", help="the version you read"
    )


def fingerprint_of(pk: int) -> str:
    """Return what an approval of the present body is bound to; raises :class:`AnswerError`."""
    row = proposal_list.find(pk)
    if row is None:
        raise missing(pk)
    return row.fingerprint


def missing(pk: int) -> AnswerError:
    """Return the answer for a proposal that does not exist."""
    return AnswerError("no_such_proposal", f"There is no proposal {pk}.", status=FAILED)
