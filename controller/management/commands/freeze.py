"""Stop automatic change of the fleet, a region, a cluster or a service."""

import time
from typing import Any, Final

from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError

from controller.management import stopping
from controller.management.answering import FAILED, AnswerError, AnsweringCommand, document
from controller.selectors import freezes as selectors
from controller.selectors.scopes import FLEET, Scope
from controller.selectors.stops import outstanding_words
from controller.services import freezes
from controller.services.actions import ANSWER_WITHIN_S
from controller.services.errors import SteeringError

POLL_S: Final = 0.5


class Command(AnsweringCommand):
    """Freezes, by the file of this host where the database is away."""

    help = "Stop automatic change of the fleet, a region, a cluster or a service."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the scope, the reason, and whether to wait until everything sent is answered."""
        stopping.add_arguments(parser)
        parser.add_argument(
            "--wait",
            action="store_true",
            help=f"until no request is outstanding, at most {ANSWER_WITHIN_S:.0f} s",
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 with the reason when refused, 2 when there is no such scope.
        """
        try:
            answer = _freeze(options)
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])
        if options["wait"] and answer["outstanding"]:
            text = f"Frozen, but not everything was answered in {ANSWER_WITHIN_S:.0f} s."
            raise CommandError(text, returncode=FAILED)


def _freeze(options: dict[str, Any]) -> dict[str, Any]:
    try:
        scope = stopping.scope(options)
        made = freezes.freeze(about=scope.about, user=stopping.person(), reason=options["reason"])
    except DatabaseError as fault:
        return _by_file(options, f"The database can't keep it ({_first_line(fault)}).")
    left = _wait(scope) if options["wait"] else _outstanding(scope)
    return {
        "frozen": scope.key,
        "by": made.by_name,
        "reason": made.reason,
        "since": made.since.isoformat(),
        "outstanding": left,
        "cancelled": [str(action.pk) for action in selectors.called_off(made)],
        "file": None,
        "sentence": f"Frozen: {made.scope}. {outstanding_words(left).capitalize()}.",
    }


def _wait(scope: Scope) -> int:
    until_s = time.monotonic() + ANSWER_WITHIN_S
    while (left := _outstanding(scope)) and time.monotonic() < until_s:
        time.sleep(POLL_S)
    return left


def _first_line(fault: DatabaseError) -> str:
    return (str(fault).splitlines() or [type(fault).__name__])[0]


def _outstanding(scope: Scope) -> int:
    return selectors.requests_outstanding(scope.about)


def _by_file(options: dict[str, Any], why: str) -> dict[str, Any]:
    """Freeze everything on this host by its file; a narrower scope can't be kept there."""
    if stopping.asked(options) != FLEET:
        text = (
            f"{why} Without it only everything on this host can be frozen:"
            " run freeze without a scope."
        )
        raise AnswerError("database_away", text, status=FAILED)
    path = stopping.raise_flag(options["reason"], stopping.person().get_username())
    return {
        "frozen": FLEET,
        "by": stopping.person().get_username(),
        "reason": options["reason"],
        "since": None,
        "outstanding": None,
        "cancelled": [],
        "file": str(path),
        "sentence": (
            f"{why} Everything on this host is frozen by the file {path}: other hosts are not."
            " Requests sent already are not called back. End it with: resume --file."
        ),
    }
