"""Engine profiles from the command line: fitted to measurements, listed, shown, removed."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from controller.management import profile_report, stopping
from controller.management.answering import (
    FAILED,
    AnswerError,
    AnsweringParser,
    document,
    error_document,
)
from controller.management.inputs import any_profile, read_file
from controller.selectors.profiles import every_profile, own_profiles
from controller.services import profiles
from controller.services.errors import SteeringError
from controller.simulator.own_engine import SPEC_FIGURES, Engine, fit_profile
from controller.simulator.points import PointsError, read_decode_points, read_prefill_points
from controller.simulator.profile_file import (
    ProfileError,
    profile_body,
    write_profile,
)
from controller.simulator.profile_table import left_out_table, profile_table
from controller.simulator.profiles import MAX_SEQS, PROFILES, Profile

# What an error about a field of a profile says the person gave it with.
OPTIONS: Final = {"gpus_per_instance": "--tp", "prefill_s": "--prefill", "decode_s": "--decode"}

NO_DATABASE: Final = (
    "What is kept in the product can't be read or changed, PostgreSQL does not answer: start"
    " ./heteroscale up in another terminal, or set DATABASE_URL."
)


class Command(BaseCommand):
    """Fits, lists, shows and removes engine profiles."""

    help = "Fit a profile of your own engine to measured points; list, show and remove profiles."
    # Only what is kept needs the database, and says so when it isn't there.
    requires_system_checks = ()

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the sub-commands."""
        whats = parser.add_subparsers(dest="what", required=True, parser_class=AnsweringParser)
        _add_fit(whats.add_parser("fit", help="fit a profile to measured points"))
        listing = whats.add_parser("list", help="list profiles")
        listing.add_argument("--own", action="store_true", help="also those kept in the product")
        listing.add_argument(
            "--markdown", action="store_true", help="as in the documentation, built-in ones alone"
        )
        showing = whats.add_parser("show", help="show one profile")
        showing.add_argument("name", metavar="NAME|FILE")
        removing = whats.add_parser("remove", help="forget a profile kept in the product")
        removing.add_argument("name")
        for each in whats.choices.values():
            each.add_argument("--json", action="store_true", help="answer with one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do one of them; exit 2 for an input that can't be used, 1 when refused."""
        acts: dict[str, Callable[[dict[str, Any]], None]] = {
            "fit": self._fit,
            "list": self._list,
            "show": self._show,
            "remove": self._remove,
        }
        try:
            with _database_named():
                acts[options["what"]](options)
        except AnswerError as fault:
            if options["json"]:
                self.stdout.write(error_document(fault))
                sys.exit(fault.status)
            raise CommandError(str(fault), returncode=fault.status) from fault

    def _fit(self, options: dict[str, Any]) -> None:
        files = {role: Path(options[role]) for role in ("prefill", "decode")}
        try:
            prefill = read_prefill_points(read_file(files["prefill"]), files["prefill"].name)
            decode = read_decode_points(read_file(files["decode"]), files["decode"].name)
            options["source"] = options["source"] or _sources(files.values())
            if options["kv_capacity_tokens"] is None and options["weights_gib"] is None:
                options["kv_capacity_tokens"] = decode.kv_capacity_tokens
            own = fit_profile(_engine(options), prefill, decode.points)
        except PointsError as fault:
            raise AnswerError("bad_points", fault.problem, fault.where) from fault
        except ProfileError as fault:
            raise AnswerError("bad_profile", fault.problem, _option(fault.field)) from fault
        if options["out"]:
            _write(Path(options["out"]), write_profile(own.profile))
        if options["save"]:
            self._save(own.profile)
        if options["json"]:
            answer = profile_report.fit_answer(own, prefill, decode)
            kept = {"out": options["out"], "saved": options["save"]}
            self.stdout.write(document(answer | kept))
            return
        self._tell(profile_report.fit_lines(own, prefill, decode), own.profile, options)

    def _tell(self, lines: list[str], profile: Profile, options: dict[str, Any]) -> None:
        """Print the report, and where the profile goes nowhere else, the profile itself."""
        if options["out"]:
            lines += ["", f"Written to {options['out']}."]
        if options["save"]:
            lines += ["", f"Kept as {profile.name}."]
        if options["out"] or options["save"]:
            self.stdout.write("\n".join(lines))
        else:
            self.stderr.write("\n".join(lines), str)
            self.stdout.write(write_profile(profile).decode(), ending="")

    def _save(self, profile: Profile) -> None:
        try:
            profiles.save_profile(profile, user=stopping.person())
        except SteeringError as refusal:
            raise AnswerError("refused", str(refusal), "--save", status=FAILED) from refusal

    def _list(self, options: dict[str, Any]) -> None:
        if options["markdown"]:
            self.stdout.write(f"{profile_table()}\n{left_out_table()}", ending="")
            return
        own = list(own_profiles()) if options["own"] else []
        found = list((every_profile() if options["own"] else PROFILES).values())
        if options["json"]:
            self.stdout.write(document({"profiles": profile_report.list_answer(found, own)}))
        else:
            self.stdout.write("\n".join(profile_report.list_lines(found, own)))

    def _show(self, options: dict[str, Any]) -> None:
        profile = any_profile(options["name"])
        if options["json"]:
            self.stdout.write(document({"profile": profile_body(profile)}))
        else:
            self.stdout.write("\n".join(profile_report.profile_lines(profile)))

    def _remove(self, options: dict[str, Any]) -> None:
        try:
            profiles.remove_profile(options["name"], user=stopping.person())
        except SteeringError as refusal:
            raise AnswerError("refused", str(refusal), "name", status=FAILED) from refusal
        if options["json"]:
            self.stdout.write(document({"removed": options["name"]}))
        else:
            self.stdout.write(f"Removed {options['name']}.")


@contextmanager
def _database_named() -> Iterator[None]:
    """Turn a database that isn't there into an answer; its own refusals keep their traceback."""
    try:
        yield
    except OperationalError as fault:
        if getattr(fault.__cause__, "sqlstate", None) is not None:
            raise
        problem = (
            "does not answer: start ./heteroscale up in another terminal, or set DATABASE_URL"
        )
        raise AnswerError("no_database", problem, "PostgreSQL", status=FAILED) from fault


def _add_fit(parser: argparse.ArgumentParser) -> None:
    for role in ("prefill", "decode"):
        parser.add_argument(f"--{role}", required=True, metavar="CSV", help=f"{role} points")
    parser.add_argument("--name", required=True, help="what the profile is called")
    parser.add_argument("--model", required=True, help="what the engine serves")
    parser.add_argument("--hardware", required=True, help="GPU type")
    parser.add_argument("--tp", type=_whole, default=1, metavar="N", help="GPUs per instance")
    parser.add_argument("--precision", default="unstated", help="of the weights")
    parser.add_argument("--engine", default="", help="software and version")
    parser.add_argument("--source", default="", help="who measured what, when")
    parser.add_argument(
        "--experts", type=_experts, default=(0, 0), metavar="ACTIVE/ALL", help="of a mixture"
    )
    parser.add_argument(
        "--max-seqs", type=_whole, default=MAX_SEQS, metavar="N", help="most sequences at once"
    )
    for name, kind, meaning in MEMORY:
        parser.add_argument(f"--{name}", type=kind, metavar="N", help=meaning)
    for name in SPEC_FIGURES:
        kind = _whole if name == "gpus_per_node" else _positive
        option = f"--{name.replace('_', '-')}"
        parser.add_argument(option, type=kind, metavar="N", help="of a GPU that is not known")
    parser.add_argument("--out", metavar="FILE", help="write the profile to this file")
    parser.add_argument("--save", action="store_true", help="keep the profile in the product")


def _sources(files: Iterable[Path]) -> str:
    return f"Fitted to {' and '.join(path.name for path in files)}."


def _engine(options: dict[str, Any]) -> Engine:
    given = (
        "name",
        "model",
        "hardware",
        "tp",
        "precision",
        "engine",
        "source",
        "max_seqs",
        "experts",
        "kv_bytes_per_token",
        "kv_capacity_tokens",
        "weights_gib",
    )
    gpu = {name: options[name] for name in SPEC_FIGURES if options[name] is not None}
    return Engine(**{name: options[name] for name in given}, gpu=gpu)


def _option(field: str) -> str:
    part = field.split(".")
    name = part[-1] if part[0] == "hardware_spec" else part[0]
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as fault:
        problem = fault.strerror or "can't be written"
        raise AnswerError("unwritable", problem, str(path), status=FAILED) from fault


def _whole(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number above 0")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is no number above 0")
    return value


def _experts(text: str) -> tuple[int, int]:
    active, slash, every = text.partition("/")
    if not (slash and active.isdecimal() and every.isdecimal() and 0 < int(active) <= int(every)):
        raise argparse.ArgumentTypeError(f"'{text}' is not written as ACTIVE/ALL, like 8/128")
    return int(active), int(every)


MEMORY: Final[tuple[tuple[str, Callable[[str], float], str], ...]] = (
    ("kv-bytes-per-token", _whole, "taken from the table for a model that is in it"),
    ("kv-capacity-tokens", _whole, "what the engine reports at its start"),
    ("weights-gib", _positive, "gives the capacity where the engine's is not known"),
)
