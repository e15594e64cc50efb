"""Decide for one service from values in a file, from the command line, without a server."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from controller.core.decide import decide
from controller.core.decision_plain import (
    DocumentError,
    Sizing,
    context_from,
    record_of,
    sizing_of,
)
from controller.core.engine import Engine
from controller.core.types import Context, PolicyConfig
from controller.management.answering import (
    AnswerError,
    AnsweringCommand,
    document,
    error_document,
)
from controller.management.inputs import named_profile, read_file
from controller.simulator.capacity import (
    Demand,
    TooSlowError,
    default_policy,
    per_instance_capacity,
)
from controller.simulator.speeds import engine_of


class Command(AnsweringCommand):
    """Prints the decision record that follows from values."""

    help = "Decide for one service from values in a JSON file."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", metavar="FILE", help="a JSON document, - for standard input")
        parser.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Decide and print; exit 2 for an input that can't be used."""
        try:
            context = _context(options["file"])
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault
        record = record_of(decide(context), context.hold, context.spec.overrides)
        self.stdout.write(document(record) if options["json"] else "\n".join(_lines(record)))


def _context(name: str) -> Context:
    raw = sys.stdin.buffer.read() if name == "-" else read_file(Path(name))
    try:
        plain = json.loads(raw)
    except (ValueError, RecursionError) as fault:
        raise AnswerError("bad_json", str(fault), name) from fault
    try:
        sizing = sizing_of(plain)
        if sizing is None:
            return context_from(plain)
        engine, policy = _sized(sizing)
        return context_from(plain, engine=engine, policy=policy)
    except DocumentError as fault:
        raise AnswerError("bad_document", str(fault), fault.where) from fault


def _sized(sizing: Sizing) -> tuple[Engine, PolicyConfig | None]:
    """Return the engine of the profiles named and, where the request is said, their policy."""
    prefill = named_profile(sizing.prefill, {}, "service.profile")
    decode = named_profile(sizing.decode, {}, "service.decode_profile")
    engine = engine_of(prefill, decode)
    if sizing.input_tokens is None or sizing.output_tokens is None:
        return engine, None
    demand = Demand(sizing.input_tokens, sizing.output_tokens, sizing.cached_frac)
    try:
        capacity = per_instance_capacity(prefill, decode, demand, tbt_goal_s=sizing.tbt_s)
    except TooSlowError as fault:
        raise DocumentError("service.slo.tbt_s", str(fault)) from fault
    return engine, default_policy(capacity)


def _lines(record: dict[str, Any]) -> list[str]:
    """Return the record as a person reads it: the sentence, then every step."""
    rows = [
        f"{step['name']:<14} {_pair(step['before'])} → {_pair(step['after'])}"
        f"  {step['reason_code']}  {step['detail']}"
        for step in record["steps"]
    ]
    return [record["sentence"], "", *rows]


def _pair(counts: dict[str, int]) -> str:
    return f"prefill {counts['prefill']}, decode {counts['decode']}"
