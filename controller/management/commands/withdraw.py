"""Take back what a person proposed."""

from typing import Any

from django.core.management.base import CommandParser

from controller.management import stopping
from controller.management.deciding import DecidingCommand, add_proposal
from controller.services import approvals


class Command(DecidingCommand):
    """Take back what a person proposed."""

    help = "Take back what a person proposed."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the proposal."""
        add_proposal(parser)
        super().add_arguments(parser)

    def decide(self, options: dict[str, Any]) -> int:
        """Withdraw it; returns its number."""
        pk: int = options["proposal"]
        approvals.withdraw(
            pk, user=stopping.person(), version=options["seen"], reason=options["reason"]
        )
        return pk
