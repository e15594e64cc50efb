"""Approve a proposal as it was read."""

from typing import Any

from django.core.management.base import CommandParser

from controller.management import stopping
from controller.management.deciding import DecidingCommand, add_proposal, fingerprint_of
from controller.services import approvals


class Command(DecidingCommand):
    """Approve a proposal as it was read."""

    help = "Approve a proposal as it was read; of several approvals this is one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the proposal, and whether nobody is waited for."""
        add_proposal(parser)
        super().add_arguments(parser)
        parser.add_argument(
            "--break-glass", action="store_true", help="wait for nobody; it is announced"
        )
        parser.add_argument(
            "--gpus", type=int, help="GPUs that change hands: typed where much is taken away"
        )

    def decide(self, options: dict[str, Any]) -> int:
        """Approve it; returns its number."""
        pk: int = options["proposal"]
        approvals.approve(
            pk,
            user=stopping.person(),
            version=options["seen"],
            fingerprint=fingerprint_of(pk),
            reason=options["reason"],
            break_glass=options["break_glass"],
            typed_gpus=options["gpus"],
        )
        return pk
