"""Connect sources of metrics, test and list them."""

import sys
from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import CommandParser
from django.utils import timezone

from controller import wiring
from controller.core import phrases
from controller.core.readings.attach_plain import PlainError, targets_plain
from controller.core.readings.target_lines import targets_in
from controller.core.types import Role
from controller.management import stopping
from controller.management.answering import (
    FAILED,
    AnswerError,
    AnsweringCommand,
    document,
    text_file,
)
from controller.selectors import node_match, source_pages
from controller.services import endpoints
from controller.services.errors import InvalidError, SteeringError
from controller.services.metrics_plan import UnusableError
from inventory.models import MetricsEndpoint

FIELDS: Final = {
    "slug": "NAME",
    "url": "--url",
    "targets": "--targets",
    "user": "--user",
    "secret": "--token-file",
    "tenant": "--tenant",
    "ca": "--ca",
    "scrape_s": "--scrape-s",
}
"""What a refusal names: the option that gives a field."""

SILENT: Final = "does not answer"
_KIND: Final = MetricsEndpoint.Kind
_LOGIN: Final = MetricsEndpoint.Login


class Command(AnsweringCommand):
    """Adds, tests, matches, lists and removes sources of metrics."""

    help = "Connect a Prometheus or exporters, test whether they answer, list and remove them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add one subcommand for each thing to do."""
        acts = parser.add_subparsers(dest="act", required=True)
        _add(acts.add_parser("add", help="connect one"))
        testing = acts.add_parser("test", help="reach it, and see which services it knows")
        testing.add_argument("name", metavar="NAME")
        matching = acts.add_parser("match", help="which nodes report their GPUs to any of them")
        removing = acts.add_parser("remove", help="forget one that no service reads from")
        removing.add_argument("name", metavar="NAME")
        removing.add_argument("--reason", required=True, help="what the next person reads")
        listing = acts.add_parser("list", help="which there are, and how they answer")
        for each in (testing, matching, removing, listing):
            each.add_argument("--json", action="store_true", help="answer one JSON document")

    def handle(self, *_args: object, **options: Any) -> None:  # noqa: ANN401 - Django's signature
        """Do it as the person at the command line.

        Exit 1 when a source does not answer or the change was refused, 2 for a value that can't
        be used.
        """
        try:
            answer = _ACTS[options["act"]](options)
        except InvalidError as fault:
            wrong = AnswerError("bad_value", str(fault), FIELDS.get(fault.field, fault.field))
            raise stopping.refused(wrong, options, self.stdout) from fault
        except (AnswerError, SteeringError) as refusal:
            raise stopping.refused(refusal, options, self.stdout) from refusal
        self.stdout.write(document(answer) if options["json"] else answer["sentence"])
        if answer.get("answers") is False:
            sys.exit(FAILED)


def _add(parser: CommandParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what it is called here")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--url", help="of a Prometheus: what stands before /api/v1")
    what.add_argument(
        "--targets", metavar="FILE", help="exporters: lines of URL [service] [role] [instance]"
    )
    parser.add_argument("--token-file", metavar="FILE", help="a bearer token")
    parser.add_argument("--user", default="", help="with --password-file, instead of a token")
    parser.add_argument("--password-file", metavar="FILE")
    parser.add_argument("--tenant", default="", help="sent as X-Scope-OrgID")
    parser.add_argument("--ca", metavar="FILE", help="who signed its certificate")
    parser.add_argument("--scrape-s", type=float, default=15.0, help="how often samples come")
    parser.add_argument("--reason", default="", help="what the next person reads")
    parser.add_argument("--json", action="store_true", help="answer one JSON document")


def _added(options: dict[str, Any]) -> dict[str, Any]:
    login, secret = _login(options)
    draft = endpoints.Draft(
        {
            "slug": options["name"],
            "kind": _KIND.PROMETHEUS if options["url"] else _KIND.SCRAPE,
            "url": options["url"] or "",
            "enabled": True,
            "attach": {},
            "targets": _targets(options["targets"]),
            "scrape_s": options["scrape_s"],
            "login": login,
            "user": options["user"],
            "tenant": options["tenant"],
            "ca": text_file("--ca", options["ca"]) if options["ca"] else "",
            "certificate": "",
        },
        secret,
    )
    row = endpoints.add(draft, user=stopping.person(), reason=options["reason"])
    said = f"{row.slug} was added. Test it, then say which services read it."
    return {"source": row.slug, "sentence": said}


def _login(options: dict[str, Any]) -> tuple[str, str]:
    if options["token_file"]:
        return _LOGIN.BEARER, text_file("--token-file", options["token_file"]).strip()
    if options["password_file"]:
        return _LOGIN.BASIC, text_file("--password-file", options["password_file"]).strip("\n")
    if options["user"]:
        raise AnswerError("bad_value", "Give the password of that user too.", "--password-file")
    return _LOGIN.NONE, ""


def _targets(name: str | None) -> list[dict[str, str]]:
    if name is None:
        return []
    try:
        return targets_plain(targets_in(text_file("--targets", name)))
    except PlainError as fault:
        raise AnswerError("bad_value", str(fault), "--targets") from fault


def _tested(options: dict[str, Any]) -> dict[str, Any]:
    row = _source(options["name"])
    names = source_pages.names_at(row)
    try:
        trial = wiring.source_trial_of(row, list(names))
    except UnusableError as fault:
        raise AnswerError("unusable", str(fault), "NAME", status=FAILED) from fault
    known = {
        names[name]: {role.value: by[role] for role in Role}
        for name, by in sorted(trial.known.items())
    }
    answers = trial.answered.state != SILENT
    lines = [f"{row.slug} {trial.answered.state}.", *trial.answered.told]
    if trial.version:
        lines.append(f"It is version {trial.version}.")
    lines += [f"It knows {slug}: {_counts(by)}." for slug, by in known.items()]
    if answers and names and not known:
        lines.append(f"It knows none of {len(names)} services by its name.")
    return {
        "source": row.slug,
        "answers": answers,
        "version": trial.version,
        "known": known,
        "told": list(trial.answered.told),
        "sentence": "\n".join(lines),
    }


def _counts(by: dict[str, int]) -> str:
    return ", ".join(f"{count} {role}" for role, count in by.items())


def _matched(_options: dict[str, Any]) -> dict[str, Any]:
    asked = wiring.hosts_at(node_match.sources())
    found = node_match.lines(asked)
    lines = [f"{line.subject}: {line.said}" for line in found]
    none = "No cluster has nodes with GPUs yet." if asked else "No Prometheus is asked."
    return {
        "answers": not any(isinstance(told, str) for told in asked.values()),
        "match": [
            {"subject": line.subject, "said": line.said, "fine": line.is_fine} for line in found
        ],
        "sentence": "\n".join(lines) or none,
    }


def _listed(_options: dict[str, Any]) -> dict[str, Any]:
    found = source_pages.read_sources(timezone.now())
    rows = [
        {
            "source": each.row.slug,
            "kind": each.row.kind,
            "address": each.row.url,
            "state": each.word,
            "services": list(each.services),
        }
        for each in found
    ]
    lines = [f"{row['source']}: {row['state']}" + _readers(row["services"]) for row in rows]
    return {"sources": rows, "sentence": "\n".join(lines) or "No source is connected."}


def _readers(services: Sequence[str]) -> str:
    return f", read by {phrases.listed(list(services))}" if services else ""


def _removed(options: dict[str, Any]) -> dict[str, Any]:
    row = _source(options["name"])
    endpoints.remove(row.pk, seen=row.version, user=stopping.person(), reason=options["reason"])
    return {"source": row.slug, "sentence": f"{row.slug} was removed."}


def _source(name: str) -> MetricsEndpoint:
    found = source_pages.find(name)
    if found is None:
        raise AnswerError("unknown_source", f"There is no source {name!r}.", "NAME")
    return found


_ACTS: Final = {
    "add": _added,
    "test": _tested,
    "match": _matched,
    "list": _listed,
    "remove": _removed,
}
