"""What commands that play a load are given: the load, engines, and what is refused in words."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.db import OperationalError

from controller.management.answering import AnswerError
from controller.management.inputs import any_profile, named_profile, read_file
from controller.simulator.backtest.ask import DEFAULT_PROFILE, MOST_SEED, Asked, question_from
from controller.simulator.backtest.question import FIDELITIES, Question, QuestionError
from controller.simulator.profiles import PROFILES, Profile
from controller.simulator.workload import (
    CacheScaleError,
    Generator,
    TraceError,
    Workload,
    companion_name,
    read_trace,
    with_cache,
)

GENERATED: Final = "generated:"
GENERATOR_FIELDS: Final = tuple(
    f.name for f in fields(Generator) if f.init and f.name not in {"name", "scale"}
)
NEEDED: Final = ("low_rps", "peak_rps", "input_tokens", "output_tokens")
MOST_SCALE: Final = 1e6
NUMBERS: Final = (
    (
        "--hours",
        "H",
        float,
        None,
        "how much of the load is played (default: one pass)",
    ),
    ("--from-hours", "H", float, 0.0, "how far into the load it begins"),
    ("--start-up-s", "S", float, 60.0, "median start-up of an instance [s]"),
    ("--ttft-slo-s", "S", float, 1.0, "goal of time to first token [s]"),
    ("--tbt-slo-s", "S", float, 0.05, "goal of time between tokens [s]"),
    ("--max-gpus", "N", int, None, "GPUs each policy may hold; without it several times the peak"),
    ("--seed", "N", int, 0, "of everything that is drawn"),
    ("--scale", "X", float, 1.0, "multiplies the rate of the load"),
    ("--rate-rps", "X", float, None, "requests/s for a file of lengths without times"),
    ("--cache", "X", float, None, "share of the recorded cache hits that is used, 0 to 1"),
)


def declare(parser: argparse.ArgumentParser) -> None:
    """Declare the options by which a load and its engines are given."""
    parser.add_argument(
        "--workload",
        required=True,
        metavar="FILE",
        help=f"a trace, or {GENERATED}low_rps=…,peak_rps=…,input_tokens=…,output_tokens=…",
    )
    for role in ("", "decode-"):
        parser.add_argument(
            f"--{role}profile",
            metavar="NAME|FILE",
            default=None if role else DEFAULT_PROFILE,
            help="engine of decode where it is another one" if role else "engine profile",
        )
    parser.add_argument(
        "--policy",
        action="append",
        metavar="NAME[:key=value,…]",
        help="a policy to play; may be given many times",
    )
    parser.add_argument(
        "--policy-file",
        action="append",
        metavar="FILE.json",
        default=[],
        help="a policy as decide takes it, its schedule too; may be given many times",
    )
    parser.add_argument(
        "--begins",
        metavar="TIME",
        help="wall time at which the load begins, such as 2026-11-23T00:00+01:00"
        " (default: midnight of a Monday, UTC)",
    )
    for option, metavar, kind, default, text in NUMBERS:
        parser.add_argument(option, metavar=metavar, type=kind, default=default, help=text)
    parser.add_argument("--fidelity", choices=FIDELITIES, default="auto")
    parser.add_argument("--json", action="store_true", help="answer with one JSON document")


def question_of(options: dict[str, Any], policies: list[str]) -> Question:
    """Return the question the options ask. Raises what :func:`in_words` puts into words."""
    names = [options["profile"], options["decode_profile"]]
    profiles = dict(PROFILES)
    for name, where in zip(names, ("--profile", "--decode-profile"), strict=True):
        if name and name not in profiles:
            profiles[name] = _profile(name, where)
    typed = {name: options[name] for name in Asked.__dataclass_fields__ if name in options}
    documents = {Path(name).stem: _document(name) for name in options["policy_file"]}
    typed |= {"documents": documents, "policies": [*policies, *documents]}
    if options["begins"] is not None:
        typed["begins_s"] = _wall_time(options["begins"])
    return question_from(Asked(**typed), workload_of(options), profiles)


def _document(name: str) -> dict[str, object]:
    try:
        plain = json.loads(read_file(Path(name)))
    except (ValueError, RecursionError) as fault:
        raise AnswerError("bad_json", str(fault), name) from fault
    if not isinstance(plain, dict):
        raise AnswerError("bad_document", "it is no object with fields of a policy", name)
    return plain


def _wall_time(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as fault:
        raise AnswerError("bad_time", f"'{text}' is no time in ISO form", "--begins") from fault
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _profile(name: str, where: str) -> Profile:
    """Return a profile; without a database there are those built in and those of files."""
    try:
        return any_profile(name, where)
    except OperationalError:
        return named_profile(name, {}, where)


def workload_of(options: dict[str, Any]) -> Workload:
    """Return the load of a file or of a generator, scaled, its cache as wanted."""
    given, scale = options["workload"], options["scale"]
    if not 0 < scale < MOST_SCALE:
        problem = f"{scale:g} is not above 0 and below {MOST_SCALE:,.0f}"
        raise AnswerError("out_of_range", problem, "--scale")
    if given.startswith(GENERATED):
        return _generated(given.removeprefix(GENERATED), scale)
    path = Path(given)
    beside = path.with_name(companion_name(path.name) or path.name)
    quantiles = read_file(beside) if beside != path and beside.is_file() else None
    workload = read_trace(
        read_file(path), path.name, scale, rate_rps=options["rate_rps"], quantiles=quantiles
    )
    return workload if options["cache"] is None else with_cache(workload, options["cache"])


def _generated(text: str, scale: float) -> Workload:
    """Return the generator written as ``key=value,…``."""
    figures: dict[str, float] = {"day_s": 86_400.0, "seed": 0.0}
    for part in text.split(","):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in GENERATOR_FIELDS:
            problem = f"'{part}' is none of {', '.join(GENERATOR_FIELDS)} with =value"
            raise AnswerError("bad_workload", problem, "--workload")
        try:
            figures[key] = float(value)
        except ValueError as error:
            problem = f"{key} is '{value}', a number is wanted"
            raise AnswerError("bad_workload", problem, "--workload") from error
    missing = [name for name in NEEDED if name not in figures]
    if missing:
        raise AnswerError("bad_workload", f"{', '.join(missing)} must be said", "--workload")
    seed = figures.pop("seed")
    if not (seed.is_integer() and 0 <= seed <= MOST_SEED):
        problem = f"seed is {seed:g}: enter a whole number from 0 to {MOST_SEED}"
        raise AnswerError("bad_workload", problem, "--workload")
    try:
        return Generator(name="generated", seed=int(seed), scale=scale, **figures)
    except ValueError as error:
        raise AnswerError("bad_workload", str(error), "--workload") from error


@contextmanager
def in_words() -> Iterator[None]:
    """Turn what the simulator refuses into an answer that names the option."""
    try:
        yield
    except QuestionError as fault:
        raise AnswerError(
            fault.code, fault.message, f"--{fault.where.replace('_', '-')}"
        ) from fault
    except TraceError as fault:
        where = fault.name if fault.line is None else f"{fault.name}, line {fault.line}"
        if fault.column:
            where += f", column {fault.column}"
        raise AnswerError("bad_trace", fault.problem, where) from fault
    except CacheScaleError as fault:
        raise AnswerError("out_of_range", str(fault), "--cache") from fault
