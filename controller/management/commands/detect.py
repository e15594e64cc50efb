"""Services that a Prometheus shows, from the command line: proposals, and nothing is written."""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError
from django.utils import timezone

from controller.core.phrases import plural
from controller.core.reach import AddressError, Reach, origin
from controller.core.readings.attach import ByLabels
from controller.core.readings.detection import (
    SNIPPET,
    Detection,
    Proposal,
    UnansweredError,
)
from controller.core.readings.detection_plain import detection_plain
from controller.core.readings.sources import EndpointKind, Source
from controller.management.answering import (
    FAILED,
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.services import metrics_plan
from controller.services.metrics_plan import UnusableError
from controller.wiring import detected
from inventory.models import MetricsEndpoint


class Command(AnsweringCommand):
    """Prints what the last 24 h of a Prometheus propose, with the evidence."""

    help = "Propose services from what a Prometheus knows of the last 24 h; nothing is written."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        where = parser.add_mutually_exclusive_group(required=True)
        where.add_argument("--source", metavar="NAME", help="a metrics source that is set up here")
        where.add_argument("--url", help="the address of a Prometheus, before /api/v1")
        parser.add_argument("--at", type=float, help="as of then, in seconds since 1970")
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Ask and print; exit 1 when it does not answer, 2 for an input that can't be used."""
        at_s = timezone.now().timestamp() if options["at"] is None else options["at"]
        try:
            found = _found(options, at_s)
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        text = document(detection_plain(found)) if options["json"] else "\n".join(_lines(found))
        self.stdout.write(text)


def _found(options: dict[str, Any], at_s: float) -> Detection:
    source = _kept(options["source"]) if options["source"] else _given(options["url"])
    try:
        # Whoever may run commands on this host may ask anything from it.
        return detected(source, at_s, Reach())
    except UnansweredError as fault:
        raise AnswerError("no_answer", str(fault), source.name, status=FAILED) from None


def _given(url: str) -> Source:
    try:
        origin(url)
    except AddressError as fault:
        raise AnswerError("bad_usage", str(fault), "--url") from None
    return Source(url, EndpointKind.PROMETHEUS, url, ByLabels())


def _kept(slug: str) -> Source:
    row = MetricsEndpoint.objects.filter(slug=slug).first()
    if row is None:
        raise AnswerError("bad_usage", f"there is no metrics source {slug!r}", "--source")
    if row.kind != MetricsEndpoint.Kind.PROMETHEUS:
        said = f"{slug} is scraped directly: only a Prometheus knows the last 24 h"
        raise AnswerError("bad_usage", said, "--source")
    try:
        return metrics_plan.source_of(row)
    except UnusableError as fault:
        raise AnswerError("bad_usage", str(fault), "--source") from None


def _lines(found: Detection) -> Iterator[str]:
    yield f"{plural(len(found.proposals), 'service')} found."
    for each in found.proposals:
        yield from _proposal(each)
    yield from found.told
    if any(each.attach is None for each in found.proposals):
        yield f"\n{SNIPPET}"


def _proposal(each: Proposal) -> Iterator[str]:
    place = f" in {each.namespace}" if each.namespace else ""
    yield f"\n{each.slug}{place}: confidence {each.confidence}"
    yield from (f"  ! {text}" for text in (*each.blockers, *each.problems))
    yield from (f"  {one.says} ({one.rests_on})" for one in each.evidence)
