"""Let automatic change of the fleet, a region, a cluster or a service go on."""

from typing import Any

from django.core.management.base import CommandParser
from django.db import DatabaseError

from controller.management import stopping
from controller.management.answering import FAILED, AnswerError, AnsweringCommand, document
from controller.selectors import freezes as selectors
from controller.selectors.breakers import open_of
from controller.selectors.scopes import Scope
from controller.services import breakers, freezes
from controller.services.errors import ConflictError, SteeringError
from controller.services.overriding import WATCH


class Command(AnsweringCommand):
    """Ends what a person froze, and the file of this host if asked."""

    help = "Let automatic change of the fleet, a region, a cluster or a service go on."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the scope, the reason, and whether the file is meant."""
        stopping.add_arguments(parser)
        parser.add_argument(
            "--breaker", action="store_true", help="reset the circuit breaker of the scope instead"
        )
        parser.add_argument(
            "--act-at-once",
            action="store_true",
            help="without watching first: else it decides and shows for 10 min, then acts",
        )
        parser.add_argument(
            "--file", action="store_true", help="remove the file FREEZE of this host, nothing else"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 with the reason when refused, 2 when there is no such scope.
        """
        try:
            answer = _lower(options) if options["file"] else _resume(options)
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])


def _lower(options: dict[str, Any]) -> dict[str, Any]:
    """Remove the file; it freezes everything here, so a narrower scope makes no sense with it."""
    if stopping.asked(options) != "fleet":
        raise AnswerError("bad_usage", "it freezes everything, name no scope with it", "--file")
    said = _watched(options)
    try:
        freezes.let_flag_go(stopping.lower_flag, user=stopping.person(), **_how(options))
    except DatabaseError:
        # Whoever may not reach the database may still end what was begun without it.
        stopping.lower_flag()
        said = " The database did not answer: the audit does not have it, and it acts at once."
    still = "What people froze in the database stays frozen."
    sentence = f"Removed {stopping.flag()}.{said} {still}"
    return {"resumed": None, "file": str(stopping.flag()), "sentence": sentence}


def _reset(scope: Scope, options: dict[str, Any]) -> dict[str, Any]:
    found = open_of(scope.about)
    if found is None:
        raise ConflictError(f"No breaker of {scope.name} is open.")
    done = breakers.reset(found.pk, user=stopping.person(), **_how(options))
    sentence = f"Reset the breaker of {done.scope}.{_watched(options)}"
    return {"resumed": scope.key, "file": None, "sentence": sentence}


def _how(options: dict[str, Any]) -> dict[str, Any]:
    return {"reason": options["reason"], "watch_first": not options["act_at_once"]}


def _watched(options: dict[str, Any]) -> str:
    if options["act_at_once"]:
        return ""
    return f" It is only watched for {WATCH.total_seconds() / 60:.0f} min, then it acts."


def _resume(options: dict[str, Any]) -> dict[str, Any]:
    try:
        scope = stopping.scope(options)
        if options["breaker"]:
            return _reset(scope, options)
        done = freezes.resume(about=scope.about, user=stopping.person(), **_how(options))
    except DatabaseError as fault:
        text = f"The database can't keep it ({fault}): nothing was resumed."
        raise AnswerError("database_away", text.strip(), status=FAILED) from fault
    path, frozen = stopping.flag(), selectors.still_frozen(scope.about)
    still = f" The file {path} still freezes everything on this host." if path.exists() else ""
    after = f" {frozen}" if frozen else _watched(options)
    sentence = f"Resumed: {done.scope}.{after}{still}"
    return {"resumed": scope.key, "file": str(path) if still else None, "sentence": sentence}
