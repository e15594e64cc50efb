"""Set, list, lengthen and end overrides from the host."""

import re
from datetime import timedelta
from typing import Any, Final

from django.core.management.base import CommandParser

from controller.core.overrides import (
    BOUND_FIELDS,
    EXCLUDED,
    PIN_FIELDS,
    RATIO_FIELDS,
    OverrideKind,
)
from controller.management import stopping
from controller.management.answering import AnswerError, AnsweringCommand, document
from controller.selectors import overriding as selected
from controller.selectors.scopes import FLEET
from controller.services import overriding
from controller.services.errors import InvalidError, SteeringError

LENGTH: Final = re.compile(r"(\d{1,6})([smhd])")
UNITS_S: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Command(AnsweringCommand):
    """Sets, lists, lengthens and ends overrides."""

    help = "Set something over the policy of services for a while, or list, extend and end it."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subcommand for each kind, and those that list, extend and end."""
        acts = parser.add_subparsers(dest="act", required=True)
        for kind in OverrideKind:
            _add_kind(acts.add_parser(kind.value, help=f"set an override: {kind}"), kind)
        listing = acts.add_parser("list", help="what is in force or still to begin")
        listing.add_argument("--json", action="store_true", help="answer one JSON document")
        for name in ("extend", "end"):
            one = acts.add_parser(name, help=f"{name} an override")
            one.add_argument("id", type=int)
            one.add_argument("--reason", required=True, help="what the next person reads")
            one.add_argument("--json", action="store_true", help="answer one JSON document")
            if name == "extend":
                one.add_argument("--for", dest="length", required=True, help="longer by: 30m, 2h")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 with the reason when refused, 2 for a value that can't be used.
        """
        try:
            answer = _answer(options)
        except InvalidError as fault:
            wrong = AnswerError("bad_value", str(fault), _option(fault.field, options))
            raise stopping.refused(wrong, options, self.stdout) from fault
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])


def _option(field: str, options: dict[str, Any]) -> str:
    """Return the option a field came from, several where it stands for all of them."""
    if field == "ends_at":
        return "--for"
    if field == "scope":
        named = [kind for kind in stopping.KINDS if options.get(kind) is not None]
        return f"--{named[0] if named else 'fleet'}"
    if field == "values":
        return ", ".join(map(_flag, _values_of(OverrideKind(options["act"]))))
    return _flag(field)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _answer(options: dict[str, Any]) -> dict[str, Any]:
    match options["act"]:
        case "list":
            rows = [selected.plain(row) for row in selected.not_over()]
            said = "\n".join(map(_line, rows)) or "No override is in force or still to begin."
            return {"overrides": rows, "sentence": said}
        case "end" | "extend" as act:
            return _told(_changed(act, options))
        case kind:
            return _told(_placed(OverrideKind(kind), options))


def _told(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row, which commands know by selectors
    """Return an override as it is now, with a sentence that says so."""
    plain = selected.plain(row)
    over = f" (ended by {row.ended_by_name})" if row.ended_at else ""
    return plain | {"sentence": f"Override {_line(plain)}{over}"}


def _line(one: dict[str, Any]) -> str:
    if "fault" in one:
        return f"{one['id']}: {one['fault']}"
    values = ", ".join(f"{name} {value}" for name, value in one["values"].items())
    what = f"{one['kind']} of {one['scope']}{f' ({values})' if values else ''}"
    return f"{one['id']}: {what} by {one['by']} until {one['until']}: {one['reason']}"


def _placed(kind: OverrideKind, options: dict[str, Any]) -> Any:  # noqa: ANN401 - a row
    if stopping.asked(options) == FLEET and not options["fleet"]:
        # Who names no scope must not reach everything (S21).
        text = "Say what it is for: --service, --cluster, --region or --fleet."
        raise AnswerError("no_scope", text, "--service")
    given = {name: options.get(name) for name in _values_of(kind)}
    return overriding.place(
        kind,
        stopping.scope(options).about,
        {name: value for name, value in given.items() if value is not None},
        ends_at=selected.from_now(_length(options["length"])),
        reason=options["reason"],
        user=stopping.person(),
    )


def _changed(act: str, options: dict[str, Any]) -> Any:  # noqa: ANN401 - a row
    found, who = selected.one(options["id"]), stopping.person()
    if found is None:
        raise AnswerError("unknown_override", f"There is no override {options['id']}.", "id")
    seen = {"version": found.version, "reason": options["reason"], "user": who}
    if act == "end":
        return overriding.end(found.pk, **seen)
    # As on the page: from its present end, not from now.
    until = found.ends_at + _length(options["length"])
    return overriding.extend(found.pk, ends_at=until, **seen)


def _add_kind(parser: CommandParser, kind: OverrideKind) -> None:
    stopping.add_arguments(parser)
    parser.add_argument("--fleet", action="store_true", help="the whole fleet")
    parser.add_argument("--for", dest="length", required=True, help="how long: 45s, 30m, 2h, 1d")
    for name in _values_of(kind):
        choices = EXCLUDED if name == "what" else None
        parser.add_argument(_flag(name), type=_TYPES[kind], choices=choices)


def _values_of(kind: OverrideKind) -> tuple[str, ...]:
    return {
        OverrideKind.PIN: PIN_FIELDS,
        OverrideKind.BOUNDS: BOUND_FIELDS,
        OverrideKind.RATIO: RATIO_FIELDS,
        OverrideKind.EXCLUDE: ("what", "name"),
    }.get(kind, ())


_TYPES: Final[dict[OverrideKind, type]] = {
    OverrideKind.PIN: int,
    OverrideKind.BOUNDS: int,
    OverrideKind.RATIO: float,
    OverrideKind.EXCLUDE: str,
}


def _length(text: str) -> timedelta:
    """Return a length of time; raises :class:`InvalidError` for anything else."""
    found = LENGTH.fullmatch(text.strip())
    if found is None:
        raise InvalidError("for", f"{text!r} is no length of time: give 45s, 30m, 2h or 1d.")
    return timedelta(seconds=int(found[1]) * UNITS_S[found[2]])
