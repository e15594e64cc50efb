"""Propose to go back to the counts an action found, for another person to approve."""

from typing import Any
from uuid import UUID

from django.core.management.base import CommandParser

from controller.management import stopping
from controller.management.deciding import DecidingCommand
from controller.selectors import by_hand
from controller.services import manual


class Command(DecidingCommand):
    """Propose to go back to the counts an action found, for another person to approve."""

    help = "Propose to go back to the counts an action found, for another person to approve."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the action."""
        parser.add_argument("action", type=UUID, help="the id of the action")
        parser.add_argument(
            "--anyway", action="store_true", help="also over what was applied since"
        )
        super().add_arguments(parser)

    def decide(self, options: dict[str, Any]) -> int:
        """Propose it; returns the number of the proposal."""
        made = manual.roll_back(
            options["action"],
            user=stopping.person(),
            reason=options["reason"],
            look=by_hand.ground,
            anyway=options["anyway"],
        )
        return made.pk
