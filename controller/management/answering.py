"""How a command answers a program: one JSON document, and exit statuses that mean something."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

from django.core.management.base import BaseCommand, CommandParser

FAILED: Final = 1
BAD_INPUT: Final = 2


class AnswerError(Exception):
    """Why a command has no answer: ``code`` is stable, ``where`` names the input at fault."""

    def __init__(
        self, code: str, message: str, where: str = "", *, status: int = BAD_INPUT
    ) -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.code = code
        self.message = message
        self.where = where
        self.status = status


class AnsweringParser(CommandParser):
    """A parser whose refusals are JSON too when ``--json`` was asked for."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong with the command line and exit 2."""
        if self.called_from_command_line and "--json" in sys.argv:
            option = re.match(r"argument (--[a-z-]+)", message)
            fault = AnswerError("bad_usage", message, option[1] if option else "command line")
            sys.stdout.write(f"{error_document(fault)}\n")
        else:
            super().error(message)
        # Django's parser has left by now, which its types don't say.
        sys.exit(BAD_INPUT)


class AnsweringCommand(BaseCommand):
    """A command that answers programs and needs no server."""

    # Nothing here needs a server, so nothing is asked whether it is there.
    requires_system_checks = ()

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:  # noqa: ANN401, ARG002 - Django's signature
        """Return a parser whose refusals are JSON too when that was asked for."""
        parser = super().create_parser("heteroscale", subcommand, **kwargs)
        # Django names the class of its parsers itself, and ours differs in how it refuses alone.
        parser.__class__ = AnsweringParser
        return parser


def text_file(option: str, name: str) -> str:
    """Return the text of a file that an option names, ``-`` being what is piped in.

    Raises :class:`AnswerError` that names the option.
    """
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        why = getattr(fault, "strerror", None) or "it is no text"
        raise AnswerError("unreadable_file", f"{name} can't be read: {why}", option) from fault


def error_document(fault: AnswerError) -> str:
    """Return the JSON document that reports a fault."""
    error = {"code": fault.code, "message": fault.message, "where": fault.where}
    return document({"error": error})


def document(answer: object) -> str:
    """Return an answer as a JSON document; raises :class:`ValueError` for NaN.

    What has no encoding, as half a pair of surrogates, is answered escaped as it came.
    """
    text = json.dumps(answer, ensure_ascii=False, allow_nan=False, indent=2)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(answer, allow_nan=False, indent=2)
    return text
