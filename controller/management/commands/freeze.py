"""Stop automatic change of the fleet, or of one service."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from controller.management import stopping
from controller.services import freezes
from controller.services.errors import SteeringError


class Command(BaseCommand):
    """Stop automatic change of the fleet, or of one service."""

    help = "Stop automatic change of the fleet, or of one service."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the scope and the reason."""
        stopping.add_arguments(parser)

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line; exit 1 with the reason when refused."""
        service = stopping.scope(options["service"])
        try:
            done = freezes.freeze(
                service=service, user=stopping.person(), reason=options["reason"]
            )
        except SteeringError as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(f"Frozen: {done.scope}.")
