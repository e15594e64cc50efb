"""A backtest's page in words: what was asked, how to ask it again, and the page's own address."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from controller.core import wording
from controller.selectors import backtest_scores
from controller.views.backtest_form import BacktestForm

if TYPE_CHECKING:
    from django.http import QueryDict

    from controller.models import Backtest, Trace

UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Fact:
    """A word and its value in words; ``code`` is shown as something to copy."""

    word: str
    value: str
    code: bool = False


def asked(row: Backtest) -> list[Fact]:
    """Return everything that was asked, in the order of the form."""
    given = row.asked
    rate = f" × {given['rate_scale']:g}" if given["rate_scale"] != 1 else ""
    facts = [Fact("load", f"{row.load_name}{rate}"), *_load_facts(row)]
    facts += [
        Fact("engines of prefill", given["profile"]),
        Fact("engines of decode", given["decode_profile"] or "as prefill"),
        Fact("TTFT goal", f"{given['ttft_slo_s']:g} s"),
        Fact("TBT goal", f"{given['tbt_slo_s']:g} s"),
        Fact("policies", "; ".join(given["policies"])),
        Fact("length", f"{given['hours']:g} h" if given["hours"] else "the whole load"),
        Fact("start-up of an instance", f"{given['start_up_s']:g} s"),
        Fact("most GPUs", wording.number(given["max_gpus"]) if given["max_gpus"] else "no limit"),
        Fact("seed", str(given["seed"])),
        Fact("fidelity asked", given["fidelity"]),
    ]
    return facts


def _load_facts(row: Backtest) -> list[Fact]:
    if row.trace is not None:
        return [Fact("SHA-256 of the CSV, unpacked", row.trace.sha256, code=True)]
    if row.generator is not None:
        return [Fact("one swing, low to low", f"{row.asked['day_hours']:g} h")]
    if row.recorded_since is None or row.recorded_until is None:
        return []
    form = "%Y-%m-%d %H:%M:%S"
    return [Fact("recorded", f"{row.recorded_since:{form}} to {row.recorded_until:{form}} UTC")]


def found(answer: Mapping[str, Any]) -> list[Fact]:
    """Return what the answer says about its load, its engines and how it was simulated."""
    return [
        Fact(f"{group}: {name.replace('_', ' ')}", _plain(value))
        for group in ("workload", "profile", "fidelity")
        for name, value in answer.get(group, {}).items()
        if not isinstance(value, dict | list)
    ]


def _plain(value: object) -> str:
    if value is None:
        return wording.UNKNOWN
    if isinstance(value, bool):
        return "yes" if value else "no"
    return wording.number(value) if isinstance(value, int | float) else str(value)


def command(row: Backtest) -> str:
    """Return the command line that gives the same answer, empty where there is no file to name."""
    if row.trace is None or row.asked["rate_scale"] != 1:
        return ""
    given = row.asked
    words = ["./heteroscale", "backtest", "--workload", file_of(row.trace)]
    words += ["--profile", given["profile"]]
    for flag, value in (
        ("--decode-profile", given["decode_profile"]),
        ("--hours", given["hours"]),
        ("--start-up-s", given["start_up_s"]),
        ("--ttft-slo-s", given["ttft_slo_s"]),
        ("--tbt-slo-s", given["tbt_slo_s"]),
        ("--max-gpus", given["max_gpus"]),
        ("--seed", given["seed"]),
        ("--fidelity", given["fidelity"]),
    ):
        if value not in {None, ""}:
            words += [flag, f"{value:g}" if isinstance(value, float) else str(value)]
    for label in given["policies"]:
        words += ["--policy", label]
    return shlex.join([*words, "--json"])


def file_of(trace: Trace) -> str:
    """Return the name an uploaded trace is downloaded under."""
    name = UNSAFE.sub("-", trace.name.removesuffix(".gz").removesuffix(".csv")).strip(".-")
    return f"{name or 'trace'}.csv.gz"


def field_label(name: str) -> str:
    """Return what the form calls a field, empty for one it does not have."""
    known = BacktestForm.base_fields.get(name)
    return str(known.label) if known is not None else ""


@dataclass(frozen=True, slots=True)
class Heading:
    """A column's heading: its words, the address that sorts by it, and how it is sorted now."""

    word: str
    meaning: str
    query: str
    order: str


@dataclass(frozen=True, slots=True)
class Choice:
    """A policy that the figures may show."""

    label: str
    shown: bool


@dataclass(frozen=True, slots=True)
class View:
    """What the address asks of the page: an order, and the policies in the figures."""

    sort: str
    labels: tuple[str, ...]
    chosen: tuple[str, ...]

    @classmethod
    def of(cls, given: QueryDict, answer: Mapping[str, Any]) -> View:
        """Return the view of an address; words it does not know are left out."""
        labels = tuple(run["label"] for run in answer["runs"])
        sort = given.get("sort", "")
        known = sort if sort.removeprefix("-") in backtest_scores.BY_NAME else ""
        return cls(known, labels, tuple(one for one in labels if one in given.getlist("policy")))

    def query(self, sort: str) -> str:
        """Return the query string with another order."""
        given = [("policy", label) for label in self.chosen]
        return urlencode([*([("sort", sort)] if sort else []), *given])

    def columns(self) -> list[Heading]:
        """Return the headings: a click sorts by the better end first, a second the other way."""
        made = []
        for column in backtest_scores.COLUMNS:
            first = f"-{column.name}" if column.better == "high" else column.name
            second = column.name if column.better == "high" else f"-{column.name}"
            order = {column.name: "ascending", f"-{column.name}": "descending"}.get(self.sort, "")
            asks = self.query(second if self.sort == first else first)
            made.append(Heading(column.word, column.meaning, asks, order))
        return made

    def choices(self) -> Sequence[Choice]:
        """Return every policy and whether the figures show it."""
        return [Choice(one, not self.chosen or one in self.chosen) for one in self.labels]

    def params(self, pk: str) -> str:
        """Return the query string of the figures."""
        places = [str(i) for i, label in enumerate(self.labels) if label in self.chosen]
        return urlencode({"backtest": pk} | ({"runs": ",".join(places)} if places else {}))
