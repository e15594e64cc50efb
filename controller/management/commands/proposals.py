"""List the proposals that are open."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from controller.management.answering import document
from controller.selectors import proposal_list


class Command(BaseCommand):
    """List the proposals that are open."""

    help = "List the proposals that are open, soonest expiry first."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the form of the answer."""
        parser.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Print each on a line of its own, or all as one document."""
        found = proposal_list.open_ones()
        if options["json"]:
            self.stdout.write(document({"proposals": found}))
            return
        for one in found:
            self.stdout.write(
                f"{one['proposal']} (version {one['version']}, {one['state']}) {one['service']}: "
                f"{one['sentence']}"
            )
        if not found:
            self.stdout.write("No proposal is open.")
