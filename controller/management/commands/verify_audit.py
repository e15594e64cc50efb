"""Follow the chain over audit events and decisions, from the command line."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from controller.core.chain import told
from controller.management.answering import (
    FAILED,
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.services import verifying
from controller.services.anchoring import AnchorError
from controller.services.verifying import Outcome


class Command(AnsweringCommand):
    """Says whether the record is what was written, and names the first things that are not."""

    help = (
        "Recompute the chain over audit events and decisions. Exit 0: all is as it was written;"
        " 1: something was changed, removed or added; 2: the file of anchors can't be used."
    )

    def add_arguments(self, parser: Any) -> None:  # noqa: ANN401 - Django's parser or ours
        """Declare the options."""
        parser.add_argument(
            "--anchor",
            metavar="FILE",
            help="what was written down of the chain outside; by default HETEROSCALE_AUDIT_ANCHOR",
        )
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Verify, say the outcome and exit with it."""
        try:
            outcome = _outcome(options["anchor"])
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        self.stdout.write(document(_plain(outcome)) if options["json"] else _told(outcome))
        if outcome.fault is not None:
            sys.exit(FAILED)


def _outcome(given: str | None) -> Outcome:
    path = Path(given) if given is not None else settings.AUDIT_ANCHOR
    if given is not None and not path.is_file():
        raise AnswerError("no_such_file", f"{given} is not a file", "--anchor")
    try:
        return verifying.verify(path)
    except AnchorError as fault:
        raise AnswerError("bad_anchor", str(fault), "--anchor") from fault


def _plain(outcome: Outcome) -> dict[str, object]:
    return {
        "verified": outcome.fault is None,
        "records": outcome.seals,
        "verified_up_to": outcome.sealed_at.isoformat() if outcome.sealed_at else None,
        "waiting": outcome.waiting,
        "removed_with_their_service": outcome.removed,
        "anchors": outcome.anchors,
        "fault": asdict(outcome.fault) if outcome.fault else None,
        "faults": len(outcome.faults),
    }


def _told(outcome: Outcome) -> str:
    upto = f" up to {outcome.sealed_at:%Y-%m-%d %H:%M:%S} UTC" if outcome.sealed_at else ""
    parts = (
        f"{outcome.seals:,} records",
        f"{outcome.removed:,} of them removed with their service",
        f"{outcome.waiting:,} not sealed yet",
        f"{outcome.anchors:,} anchors",
    )
    counted = f"{', '.join(parts)}."
    if outcome.fault is not None:
        return f"Tampered with: {told(outcome.faults)} Right until then: {counted}"
    return f"The chain is verified{upto}: {counted}"
