"""List the proposals and moves that are open."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controller.management.answering import document
from controller.selectors import proposal_list


class Command(BaseCommand):
    """List the proposals and moves that are open."""

    help = "List the proposals and moves that are open, soonest expiry first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the form of the answer."""
        parser.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Print each on a line of its own, or all as one document."""
        found, moves = proposal_list.open_ones(), proposal_list.open_moves()
        if options["json"]:
            self.stdout.write(document({"proposals": found, "moves": moves}))
            return
        for one in (*found, *moves):
            self.stdout.write(proposal_list.line(one))
        if not found and not moves:
            self.stdout.write("No proposal is open.")
