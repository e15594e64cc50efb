"""Take away the second factor of somebody who lost it, where no administrator can."""

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandParser

from controller.management import stopping
from controller.management.answering import AnswerError, AnsweringCommand, document
from controller.selectors import doors
from controller.services import second_factor
from controller.services.errors import SteeringError


class Command(AnsweringCommand):
    """Resets a second factor; the person's sessions end and the password alone opens."""

    help = "Take away the second factor of somebody who lost it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to do, whose it is, and the reason."""
        parser.add_argument("what", choices=["reset"], help="take it away; recovery codes too")
        parser.add_argument("user", help="the person's name at sign-in")
        parser.add_argument("--reason", required=True, help="what the next person reads")
        parser.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 with the reason when there is none to take away, 2 when there is no such person.
        """
        name: str = options["user"]
        try:
            second_factor.remove(_account(name), user=stopping.person(), reason=options["reason"])
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        sentence = f"{name} signs in with the password alone now; their sessions ended."
        answer = {"reset": name, "sentence": sentence}
        self.stdout.write(document(answer) if options["json"] else sentence)


def _account(name: str) -> User:
    found = doors.account_named(name)
    if found is None:
        raise AnswerError("unknown_user", f"There is nobody called {name}.", "user")
    return found
