"""Say what files of many formats would bring into the inventory, without a server."""

import argparse
import sys
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from controller.management.answering import AnswerError, AnsweringCommand, document
from controller.management.inputs import read_file
from inventory.export import write
from inventory.importers.checks import name_problem
from inventory.importers.detect import AUTO, FORMATS, MAX_BYTES, read
from inventory.importers.found import Fault, Found, Options, RefusedError
from inventory.importers.gathering import merge
from inventory.importers.ibnetdiscover import read_names
from inventory.plan import OPERATIONS, Plan, plan_for_empty

SHOWN = 20
"""Errors printed to a person; a program gets all that are kept."""


class Command(AnsweringCommand):
    """Prints the plan of an import into an empty inventory."""

    help = "Read nodes, switches and links from files and say what they would become."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("files", metavar="FILE", nargs="+", help="- for standard input")
        parser.add_argument(
            "--format", choices=(AUTO, *FORMATS), default=AUTO, help="told by the content if auto"
        )
        parser.add_argument(
            "--cluster", default="imported", help="of nodes whose file names no cluster"
        )
        parser.add_argument(
            "--levels",
            default="",
            metavar="KEY,KEY",
            help="label keys of S1, S2 and further levels, nearest the node first",
        )
        parser.add_argument("--node-name-map", metavar="FILE", help="names of InfiniBand GUIDs")
        parser.add_argument(
            "--plan", action="store_true", help="say what would be done, do nothing"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="answer with one JSON document")
        form.add_argument(
            "--yaml", action="store_true", help="answer with what was read, as YAML to keep"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Plan and print; exit 2 for an input that can't be used, in part or as a whole."""
        try:
            found = _found(options)
        except AnswerError as fault:
            self._refuse(fault, None, as_json=options["json"])
            return
        plan = plan_for_empty(found)
        if options["yaml"] and not plan.errors:
            self.stdout.write(write(found))
        else:
            self._answer(found, plan, as_json=options["json"])

    def _answer(self, found: Found, plan: Plan, *, as_json: bool) -> None:
        if plan.errors:
            self._refuse(_error_of(plan), (found, plan), as_json=as_json)
        else:
            self.stdout.write(
                document(_plain(found, plan)) if as_json else "\n".join(_lines(found, plan))
            )

    def _refuse(
        self, fault: AnswerError, said: tuple[Found, Plan] | None, *, as_json: bool
    ) -> None:
        """Say what is wrong, with all that could be read."""
        if as_json:
            error = {"code": fault.code, "message": fault.message, "where": fault.where}
            self.stdout.write(document({"error": error, **(_plain(*said) if said else {})}))
            sys.exit(fault.status)
        if said:
            self.stdout.write("\n".join(_lines(*said)))
        raise CommandError(str(fault), returncode=fault.status)


def _found(options: dict[str, Any]) -> Found:
    """Return what all files say together. Raises :class:`AnswerError`."""
    if not options["plan"]:
        raise AnswerError(
            "plan_only",
            "this command says what an import would do and changes nothing: add --plan",
            "command line",
        )
    if problem := name_problem(options["cluster"]):
        raise AnswerError("bad_usage", problem, "--cluster")
    names = options["node_name_map"]
    reading = Options(
        cluster=options["cluster"],
        level_keys=tuple(key.strip() for key in options["levels"].split(",") if key.strip()),
        node_names=read_names(_bytes(names)) if names else {},
    )
    parts = [_one(name, reading, options["format"]) for name in options["files"]]
    try:
        return merge(parts, reading)
    except RefusedError as fault:
        raise AnswerError(fault.code, fault.message) from fault


def _one(name: str, reading: Options, form: str) -> Found:
    short = "standard input" if name == "-" else Path(name).name
    try:
        return read(_bytes(name), short, reading, form)
    except RefusedError as fault:
        where = short if fault.line is None else f"{short}:{fault.line}"
        raise AnswerError(fault.code, fault.message, where) from fault


def _bytes(name: str) -> bytes:
    """Return what a file holds, a little over the limit at most, so that no file fills memory."""
    if name == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    path = Path(name)
    try:
        with path.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    except OSError:
        # For the words that every command has for it.
        return read_file(path)


def _error_of(plan: Plan) -> AnswerError:
    first, more = plan.errors[0], len(plan.errors) - 1
    further = f" ({more} more)" if more else ""
    return AnswerError("bad_rows", f"{first.message}{further}", _where(first))


def _where(fault: Fault) -> str:
    place = fault.file if fault.line is None else f"{fault.file}:{fault.line}"
    return " ".join(filter(None, (place, fault.field)))


def _plain(found: Found, plan: Plan) -> dict[str, Any]:
    return {
        "format": found.format,
        "plan": dict(plan.counts),
        "objects": [
            {
                "op": one.operation,
                "type": one.kind,
                "key": "/".join(one.key),
                "before": dict(one.before),
                "fields": dict(one.after),
                "at": one.at,
            }
            for one in plan.objects
        ],
        "errors": [
            {
                "line": fault.line,
                "field": fault.field,
                "message": fault.message,
                "file": fault.file,
            }
            for fault in plan.errors
        ],
        "further_errors": found.further_faults,
        "warnings": list(plan.warnings),
        "notes": list(plan.notes),
        "summary": list(plan.summary),
        "applied": False,
        "inventory_version": 0,
    }


def _lines(found: Found, plan: Plan) -> list[str]:
    """Return the plan as a person reads it: what it became, what is odd, what is wrong."""
    counted = ", ".join(f"{name} {plan.counts[name]:,}" for name in OPERATIONS)
    lines = [*plan.summary, "", f"Plan: {counted}."]
    lines += [f"  note: {sentence}" for sentence in plan.notes]
    lines += [f"  look: {sentence}" for sentence in plan.warnings]
    if plan.errors:
        total = len(plan.errors) + found.further_faults
        lines += ["", f"{total:,} {'error' if total == 1 else 'errors'}:"]
        lines += [f"  {_where(fault)}: {fault.message}" for fault in plan.errors[:SHOWN]]
    return lines
