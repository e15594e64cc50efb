"""A backtest's page in words: what was asked, how to ask it again, and the page's own address."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from controller.core import wording
from controller.core.backtest_states import State
from controller.selectors import backtest_scores
from controller.selectors.backtests import MOST_TRIES
from controller.services import backtest_jobs
from controller.services.backtest_load import DOCUMENTS
from controller.services.backtests import CURATED
from controller.views.backtest_form import BacktestForm

if TYPE_CHECKING:
    from django.http import QueryDict

    from controller.models import Backtest, Trace

ORDINALS: Final = ("first", "second", "third")
UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Fact:
    """A word and its value in words; ``code`` is shown as something to copy."""

    word: str
    value: str
    code: bool = False


def _unit(unit: str) -> Callable[[Any], str]:
    return lambda value: f"{wording.number(value)} {unit}"


# What an answer says of itself, in the order of the page: its name, our words, its value in words.
FOUND: Final[Sequence[tuple[str, str, Callable[[Any], str]]]] = (
    ("fidelity.used", "simulated as", str),
    ("fidelity.rule", "that is", str),
    ("workload.kind", "load", str),
    ("workload.span_s", "time played", wording.duration),
    ("workload.known_frac", "of which the load is known", wording.percent),
    ("workload.mean_rps", "mean rate", _unit("requests/s")),
    ("workload.min_rps", "lowest rate of a minute", _unit("requests/s")),
    ("workload.max_rps", "highest rate of a minute", _unit("requests/s")),
    ("workload.input_tokens", "mean input", _unit("tokens")),
    ("workload.output_tokens", "mean output", _unit("tokens")),
    ("workload.cached_frac", "input found in caches", wording.percent),
    ("workload.requests", "requests", str),
    ("workload.lengths", "lengths of requests", str),
    ("profile.prefill.name", "engines of prefill", str),
    ("profile.prefill.gpus_per_instance", "GPUs of a prefill instance", wording.number),
    ("profile.prefill_rps_per_instance", "a prefill instance sustains", _unit("requests/s")),
    ("profile.decode.name", "engines of decode", str),
    ("profile.decode.gpus_per_instance", "GPUs of a decode instance", wording.number),
    ("profile.decode_tps_per_instance", "a decode instance sustains", _unit("tok/s")),
    ("profile.pd_ratio", "balanced prefill per decode", wording.ratio),
    ("profile.max_gpus", "GPUs each policy may hold", wording.number),
)


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
        Fact("most GPUs", _most(given["max_gpus"])),
        Fact("seed", str(given["seed"])),
        Fact("fidelity asked", given["fidelity"]),
    ]
    if curated := given.get(CURATED):
        kept = wording.percent(curated["goal_frac"])
        facts.append(Fact("curated for", f"{curated['gpus']:,} GPUs, {kept} within both goals"))
    return facts


def _most(gpus: int | None) -> str:
    return wording.number(gpus) if gpus else "several times what the load needs"


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
    flat = {
        **_flat("workload", answer["workload"]),
        **_flat("profile", answer["profile"]),
        **_flat("fidelity", answer["fidelity"]),
    }
    return [
        Fact(word, write(flat[name])) for name, word, write in FOUND if flat.get(name) is not None
    ]


def _flat(group: str, values: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in values.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        made |= {f"{group}.{name}{'.' if key else ''}{key}": one for key, one in inner}
    return made


def command(row: Backtest) -> str:
    """Return the command line that gives the same answer, empty where no words name the load."""
    load = _workload(row)
    # Nor are there words for a policy with a schedule: it is a file on the command line.
    if not load or row.asked.get(DOCUMENTS):
        return ""
    given = row.asked
    curated = given.get(CURATED)
    verb = "curate" if curated else "backtest"
    words = ["./heteroscale", verb, "--workload", load, "--profile", given["profile"]]
    for flag, value in (
        ("--decode-profile", given["decode_profile"]),
        ("--scale", None if given["rate_scale"] == 1 else given["rate_scale"]),
        ("--hours", given["hours"]),
        ("--start-up-s", given["start_up_s"]),
        ("--ttft-slo-s", given["ttft_slo_s"]),
        ("--tbt-slo-s", given["tbt_slo_s"]),
        ("--max-gpus", given["max_gpus"]),
        ("--seed", given["seed"]),
        ("--fidelity", given["fidelity"]),
        ("--gpus", curated and curated["gpus"]),
        ("--goal", curated and curated["goal_frac"]),
    ):
        if value not in {None, ""}:
            words += [flag, _exactly(value)]
    for label in given["policies"]:
        words += ["--policy", label]
    return shlex.join([*words, "--json"])


def _workload(row: Backtest) -> str:
    if row.trace is not None:
        return file_of(row.trace)
    if row.generator is None:
        return ""
    figures = {name: value for name, value in row.generator.items() if name != "name"}
    return "generated:" + ",".join(f"{name}={_exactly(figures[name])}" for name in figures)


def _exactly(value: str | float) -> str:
    """Return a value so that reading it again gives the very same one."""
    return str(value).removesuffix(".0")


def file_of(trace: Trace) -> str:
    """Return the name an uploaded trace is downloaded under."""
    name = UNSAFE.sub("-", trace.name.removesuffix(".gz").removesuffix(".csv")).strip(".-")
    return f"{name or 'trace'}.csv.gz"


def tries(row: Backtest) -> str:
    """Return why and how often it began again, empty while that is its first try."""
    died = row.attempts if row.state == State.QUEUED else row.attempts - 1
    if died < 1:
        return ""
    return (
        f"begun again: the worker of the {ORDINALS[min(died, len(ORDINALS)) - 1]} try died "
        f"(try {died + 1} of {MOST_TRIES})"
    )


def after_silence(row: Backtest) -> str:
    """Return what becomes of a run whose worker is not heard of, and after how long."""
    if row.cancel_requested_at:
        follows = "it is cancelled"
    elif row.attempts >= MOST_TRIES:
        follows = "it has failed"
    else:
        follows = "it begins again"
    return f"{follows} after {backtest_jobs.DEAD_AFTER.total_seconds():.0f} s"


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
