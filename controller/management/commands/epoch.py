"""The epoch under which clusters are written, and the way out where the database fell behind."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.stopping import person
from controller.selectors.epochs import Epochs, read_epochs
from controller.services import leadership
from controller.services.errors import InvalidError


class Command(AnsweringCommand):
    """Shows the epochs, or raises that of the database."""

    help = "Show the epoch of the database and of each cluster, or raise the former."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add what to raise it to, who does, and why."""
        parser.add_argument(
            "--at-least", type=int, metavar="N", help="raise it: nothing before N writes again"
        )
        parser.add_argument("--by", metavar="NAME", help="who decided it (default: the account)")
        parser.add_argument("--reason", metavar="TEXT", help="why, for the audit")
        parser.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Exit 2 for what can't be raised so; nothing is changed then."""
        try:
            _raise(options)
        except AnswerError as refusal:
            if options["json"]:
                self.stdout.write(error_document(refusal))
            raise CommandError(str(refusal), returncode=refusal.status) from refusal
        found = read_epochs()
        self.stdout.write(document(_plain(found)) if options["json"] else _words(found))


def _raise(options: dict[str, Any]) -> None:
    """Raise the epoch if that was asked for; raises :class:`AnswerError`."""
    by, reason = options["by"] or person().get_username(), options["reason"] or ""
    if options["at_least"] is None and (options["by"] or reason):
        raise AnswerError("bad_usage", "Nothing to raise it to was given.", "--at-least")
    if options["at_least"] is None:
        return
    try:
        leadership.raise_epoch(options["at_least"], by=by, reason=reason)
    except InvalidError as fault:
        raise AnswerError("invalid", str(fault), f"--{fault.field}") from fault


def _plain(found: Epochs) -> dict[str, object]:
    return {
        "database": found.database,
        "clusters": [
            {"cluster": one.cluster, "epoch": one.epoch, "on": one.on} for one in found.stamped
        ],
        "needed": found.needed,
    }


def _words(found: Epochs) -> str:
    lines = [f"Database: epoch {found.database}."]
    lines += [
        f"Cluster {one.cluster}: epoch {one.epoch}, seen on {one.on}." for one in found.stamped
    ]
    if found.needed is None:
        lines += ["No cluster is ahead of the database."]
    else:
        lines += [
            "The database is behind: it was restored, or a replica took over.",
            "What it sends is refused. When nothing else acts on these clusters, go on with:",
            f"  ./heteroscale epoch --at-least {found.needed} --by NAME --reason TEXT",
        ]
    return "\n".join(lines)
