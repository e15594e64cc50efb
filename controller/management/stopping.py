"""What the commands that freeze and resume share: the scope, the person, the answer."""

import getpass

from django.core.management.base import CommandError, CommandParser

from controller.selectors.freezes import service_of
from controller.services.people import CommandLine
from inventory.models import Service


def add_arguments(parser: CommandParser) -> None:
    """Add the scope and the reason."""
    parser.add_argument("--service", metavar="SLUG", help="this service alone, not the fleet")
    parser.add_argument("--reason", required=True, help="what the next person reads")


def person() -> CommandLine:
    """Return who runs the command."""
    try:
        return CommandLine(getpass.getuser())
    except (KeyError, OSError):
        return CommandLine("unknown user")


def scope(slug: str | None) -> Service | None:
    """Return the service, or ``None`` for the fleet; raises :class:`CommandError`."""
    if slug is None:
        return None
    found = service_of(slug)
    if found is None:
        # An empty or unknown name must never widen the scope to everything (S21).
        raise CommandError(f"There is no service {slug!r}.", returncode=2)
    return found
