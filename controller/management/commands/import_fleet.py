"""Bring files of many formats into the inventory, or say what they would bring."""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

from django.core.management.base import CommandError
from django.db import DatabaseError, OperationalError
from django.utils import timezone

from controller.adapters.inventory import netbox
from controller.management.answering import FAILED, AnswerError, AnsweringCommand, document
from controller.management.import_answers import Done, error_of, lines, plain
from controller.management.inputs import read_file
from controller.management.stopping import person
from controller.selectors.node_use import holders
from controller.services import import_jobs, imports
from controller.services.errors import InvalidError, SteeringError
from controller.services.imports import Consent, Upload, Wanted
from inventory.export import write
from inventory.importers.checks import name_problem
from inventory.importers.detect import AUTO, FORMATS, MAX_BYTES
from inventory.importers.found import Found, RefusedError
from inventory.models import ImportRun
from inventory.plan import Plan, plan_for_empty
from inventory.selectors.exports import UnknownClusterError, exported
from inventory.services.importing import CHANGED_SINCE, DEFAULT_CLUSTER, found_in, plan_files
from inventory.summaries import Holders

UNREACHABLE: Final = (
    "No database is reachable: this is the plan for an inventory that holds nothing."
)
AWAY: Final = "the inventory's database is not reachable: start the product with up"
POLL_S: Final = 0.2
TOKEN: Final = "HETEROSCALE_NETBOX_TOKEN"  # noqa: S105 - a name, not a token


class Command(AnsweringCommand):
    """Imports, plans, reverts and exports."""

    help = "Bring nodes, switches and links from files into the inventory."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("files", metavar="FILE", nargs="*", help="- for standard input")
        parser.add_argument(
            "--format", choices=(AUTO, *FORMATS), default=AUTO, help="told by the content if auto"
        )
        parser.add_argument(
            "--cluster",
            help=f"of nodes whose file names no cluster, by default {DEFAULT_CLUSTER};"
            " with --export the one to write",
        )
        parser.add_argument(
            "--levels",
            default="",
            metavar="KEY,KEY",
            help="label keys of S1, S2 and further levels, nearest the node first",
        )
        parser.add_argument(
            "--netbox",
            metavar="URL",
            help=f"read NetBox at this address, with the token in {TOKEN}",
        )
        parser.add_argument(
            "--netbox-role",
            action="append",
            default=[],
            metavar="SLUG",
            help="only devices of this role; may be given again",
        )
        parser.add_argument("--node-name-map", metavar="FILE", help="names of InfiniBand GUIDs")
        parser.add_argument(
            "--part",
            action="store_true",
            help="the files list a part of the fleet: what they leave out is not missing",
        )
        parser.add_argument(
            "--yes-shrink",
            type=int,
            metavar="GPUS",
            help="go on although so many GPUs would be marked missing",
        )
        deed = parser.add_mutually_exclusive_group()
        deed.add_argument("--plan", action="store_true", help="say what would be done, do nothing")
        deed.add_argument("--revert", metavar="RUN", help="take back what an import changed")
        deed.add_argument(
            "--export", action="store_true", help="write the inventory as YAML that reads back"
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="answer with one JSON document")
        form.add_argument(
            "--yaml", action="store_true", help="answer with what was read, as YAML to keep"
        )

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it and print; exit 2 for an input that can't be used, 1 if it could not be done."""
        try:
            if options["export"]:
                self.stdout.write(_exported(options["cluster"]))
            elif options["revert"]:
                self._reverted(options)
            else:
                self._import(options)
        except AnswerError as fault:
            self._refuse(fault, {}, [], as_json=options["json"])

    def _import(self, options: dict[str, Any]) -> None:
        uploads, wanted = _asked(options)
        if options["yaml"]:
            self._yaml(uploads, wanted, options)
            return
        plan, done = _planned(uploads, wanted, needs_database=not options["plan"])
        fault = error_of(plan) if plan.errors else None
        if fault is None and not options["plan"]:
            try:
                done = _applied(uploads, wanted, plan, options["yes_shrink"])
            except AnswerError as refused:
                fault = refused
        if fault is not None:
            self._refuse(fault, plain(plan, done), lines(plan, done), as_json=options["json"])
        elif options["json"]:
            self.stdout.write(document(plain(plan, done)))
        else:
            self.stdout.write("\n".join(lines(plan, done)))

    def _yaml(self, uploads: list[Upload], wanted: Wanted, options: dict[str, Any]) -> None:
        found = _read(uploads, wanted)
        plan = plan_for_empty(found)
        if plan.errors:
            self._refuse(error_of(plan), {}, lines(plan, Done()), as_json=options["json"])
        self.stdout.write(write(found))

    def _reverted(self, options: dict[str, Any]) -> None:
        run = _revert(options["revert"])
        told = {"reverted": options["revert"], "import": str(run.pk), "notes": run.notes}
        told |= {"plan": run.counts, "inventory_version": run.inventory_version}
        if options["json"]:
            self.stdout.write(document(told))
        else:
            counted = ", ".join(f"{name} {count:,}" for name, count in run.counts.items())
            said = f"Reverted: {counted}; inventory version {run.inventory_version}."
            self.stdout.write("\n".join([said, *(f"  kept: {note}" for note in run.notes)]))

    def _refuse(
        self,
        fault: AnswerError,
        told: Mapping[str, Any],
        said: list[str],
        *,
        as_json: bool,
    ) -> None:
        """Say what is wrong, with all that could be read."""
        if as_json:
            error = {"code": fault.code, "message": fault.message, "where": fault.where}
            self.stdout.write(document({"error": error, **told}))
            sys.exit(fault.status)
        if said:
            self.stdout.write("\n".join(said))
        raise CommandError(str(fault), returncode=fault.status)


# What was asked.


def _asked(options: dict[str, Any]) -> tuple[list[Upload], Wanted]:
    """Return the files and how to read them. Raises :class:`AnswerError`."""
    if not options["files"] and not options["netbox"]:
        said = "name a file, - for standard input, or --netbox and its address"
        raise AnswerError("bad_usage", said, "command line")
    cluster = options["cluster"] or DEFAULT_CLUSTER
    if problem := name_problem(cluster):
        raise AnswerError("bad_usage", problem, "--cluster")
    names = options["node_name_map"]
    wanted = Wanted(
        form=options["format"],
        cluster=cluster,
        level_keys=tuple(key.strip() for key in options["levels"].split(",") if key.strip()),
        names=_bytes(names).decode("utf-8", "replace") if names else "",
        part=options["part"],
    )
    uploads = [Upload(_short(name), _bytes(name)) for name in options["files"]]
    if options["netbox"]:
        uploads.append(_netbox(options["netbox"], options["netbox_role"]))
    return uploads, wanted


def _netbox(base: str, roles: list[str]) -> Upload:
    """Return NetBox's pages. The token is no option: those are seen by all users of a host."""
    asking = netbox.Asking(base, os.environ.get(TOKEN, ""), tuple(roles))
    try:
        return netbox.read(asking)
    except netbox.NetBoxError as fault:
        raise AnswerError("netbox", str(fault), "--netbox", status=FAILED) from fault


def _short(name: str) -> str:
    return "standard input" if name == "-" else Path(name).name


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


# What is done.


def _planned(uploads: list[Upload], wanted: Wanted, *, needs_database: bool) -> tuple[Plan, Done]:
    """Return the plan against the inventory, or against an empty one where there is none."""
    try:
        plan = plan_files(uploads, wanted, holders(timezone.now()))
    except RefusedError as fault:
        raise _refused(fault) from fault
    except DatabaseError as fault:
        if needs_database:
            raise AnswerError("no_database", AWAY, status=FAILED) from fault
        return plan_for_empty(_read(uploads, wanted)), Done(notes=(UNREACHABLE,))
    return plan, Done(version=plan.base_version)


def _read(uploads: list[Upload], wanted: Wanted) -> Found:
    try:
        return found_in(uploads, wanted)
    except RefusedError as fault:
        raise _refused(fault) from fault


def _refused(fault: RefusedError) -> AnswerError:
    return AnswerError(fault.code, fault.message, fault.where)


def _applied(uploads: list[Upload], wanted: Wanted, plan: Plan, gpus: int | None) -> Done:
    """Apply what was planned, as an import that pages show and can revert."""
    if not plan.changes:
        return Done(is_applied=True, version=plan.base_version)
    services = holders(timezone.now())
    me = person()
    try:
        run = imports.ask(uuid4(), files=uploads, wanted=wanted, user=me, services=services)
        run = _finished(run, services)
        consent = Consent(digest=plan.digest, gpus=gpus)
        if run.state == ImportRun.State.PLANNED:
            try:
                run = imports.apply(run.pk, consent=consent, user=me, services=services)
            except SteeringError:
                imports.cancel(run.pk, user=me)
                raise
    except SteeringError as fault:
        raise _not_done(fault) from fault
    run = _finished(run, services)
    if run.state != ImportRun.State.APPLIED:
        raise AnswerError("not_applied", run.error or CHANGED_SINCE, str(run.pk), status=FAILED)
    return Done(is_applied=True, version=run.inventory_version or 0, run=str(run.pk))


def _not_done(fault: SteeringError) -> AnswerError:
    if isinstance(fault, InvalidError) and fault.field == "gpus":
        return AnswerError("shrink", f"{fault} (--yes-shrink, --part)", "--yes-shrink")
    if isinstance(fault, InvalidError):
        return AnswerError("bad_usage", str(fault), fault.field)
    return AnswerError("not_applied", str(fault), status=FAILED)


def _finished(run: ImportRun, services: Holders) -> ImportRun:
    """Carry out here what was left to a worker, or wait for the worker that has it."""
    while run.state in imports.WAITING:
        import_jobs.carry_out(run.pk, services)
        run.refresh_from_db()
        if run.state in imports.WAITING:
            time.sleep(POLL_S)
    return run


def _revert(name: str) -> ImportRun:
    """Revert an import and return what that became."""
    try:
        pk = UUID(name)
    except ValueError as fault:
        raise AnswerError("bad_usage", f"{name} is no import's id", "--revert") from fault
    try:
        services = holders(timezone.now())
        run = imports.revert(pk, key=uuid4(), user=person(), services=services)
        run = _finished(run, services)
    except SteeringError as fault:
        raise _not_done(fault) from fault
    except OperationalError as fault:
        raise AnswerError("no_database", AWAY, status=FAILED) from fault
    if run.state != ImportRun.State.APPLIED:
        raise AnswerError("not_reverted", run.error, name, status=FAILED)
    return run


def _exported(cluster: str | None) -> str:
    """Return the inventory, or one cluster of it, as YAML."""
    try:
        return exported(cluster or "")
    except UnknownClusterError as fault:
        text = f"there is no cluster {cluster}"
        raise AnswerError("no_such_cluster", text, "--cluster") from fault
    except OperationalError as fault:
        raise AnswerError("no_database", AWAY, status=FAILED) from fault
