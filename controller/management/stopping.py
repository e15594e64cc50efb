"""What the commands that freeze and resume share: the scope, the person, the flag file."""

import getpass
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import CommandError, CommandParser, OutputWrapper

from controller.management.answering import FAILED, AnswerError, error_document
from controller.selectors import scopes
from controller.selectors.scopes import Scope
from controller.services.errors import SteeringError
from controller.services.people import CommandLine

FLAG: Final = "FREEZE"
KINDS: Final = ("service", "cluster", "region")


def add_arguments(parser: CommandParser) -> None:
    """Add the scope and the reason."""
    one = parser.add_mutually_exclusive_group()
    for kind in KINDS:
        one.add_argument(
            f"--{kind}", metavar="SLUG", help=f"this {kind} alone, not the whole fleet"
        )
    parser.add_argument("--reason", required=True, help="what the next person reads")
    parser.add_argument("--json", action="store_true", help="answer one JSON document")


def person() -> CommandLine:
    """Return who runs the command."""
    try:
        return CommandLine(getpass.getuser())
    except (KeyError, OSError):
        return CommandLine("unknown user")


def asked(options: dict[str, Any]) -> str:
    """Return the key of the scope that was asked for; "fleet" where none was named."""
    named = [f"{kind}:{options[kind]}" for kind in KINDS if options[kind] is not None]
    return named[0] if named else scopes.FLEET


def scope(options: dict[str, Any]) -> Scope:
    """Return the scope that was asked for; raises :class:`AnswerError`."""
    key = asked(options)
    try:
        return Scope(scopes.find(key))
    except scopes.UnknownScopeError as fault:
        # An empty or unknown name must never widen the scope to everything (S21).
        where = f"--{key.partition(':')[0]}"
        raise AnswerError("unknown_scope", str(fault), where) from fault


def refused(
    fault: AnswerError | SteeringError, options: dict[str, Any], out: OutputWrapper
) -> CommandError:
    """Return what ends the command, after answering a program in its own way."""
    said = fault
    if not isinstance(said, AnswerError):
        said = AnswerError("refused", str(fault), status=FAILED)
    if options["json"]:
        out.write(error_document(said))
    return CommandError(str(said), returncode=said.status)


def flag() -> Path:
    """Return where the file lies that freezes everything on this host while it exists."""
    return Path(settings.HOME) / FLAG


def raise_flag(reason: str, by: str) -> Path:
    """Write the file; raises :class:`AnswerError` where that can't be done."""
    path = flag()
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{by}: {reason}\n")
    except OSError as fault:
        text = f"{path} can't be written: {fault.strerror}. Nothing was frozen."
        raise AnswerError("flag_unwritable", text, status=FAILED) from fault
    return path


def lower_flag() -> bool:
    """Remove the file; returns whether there was one. Raises :class:`AnswerError`."""
    path = flag()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as fault:
        text = f"{path} can't be removed: {fault.strerror}. It still freezes this host."
        raise AnswerError("flag_kept", text, status=FAILED) from fault
    return True
