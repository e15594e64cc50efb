"""The form of a new backtest: what may be asked, with what it begins, and what becomes of it."""

from __future__ import annotations

import contextlib
import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, cast

from django import forms
from django.core.exceptions import ObjectDoesNotExist
from django.http import QueryDict

from controller.core.backtest_states import Source
from controller.core.words import clean
from controller.selectors import backtests as selectors
from controller.selectors.backtests import TraceLine
from controller.services.backtests import Load
from controller.simulator.backtest.ask import (
    DEFAULT_PROFILE,
    LONGEST_START_S,
    MOST_GPUS,
    POLICY_NAMES,
    describe,
)
from controller.simulator.backtest.plan import MOST_CONTESTANTS
from controller.simulator.backtest.question import FIDELITIES, QuestionError, parse_candidate
from inventory.models import Service

MOST_HOURS: Final = 168.0
HOUR_S: Final = 3600.0
LATE: Final = datetime.max.replace(tzinfo=UTC)

SOURCES: Final = (
    (Source.TRACE.value, "a trace"),
    (Source.RECORDED.value, "the recorded signals of a service"),
    (Source.GENERATED.value, "a generated load"),
)
FIDELITY_WORDS: Final = {
    "auto": "chosen by the load",
    "exact": "request by request",
    "fluid": "by averages, fast",
}
NEEDS: Final[Mapping[str, Sequence[str]]] = {
    Source.RECORDED: ("service", "recorded_hours"),
    Source.GENERATED: ("low_rps", "peak_rps", "input_tokens", "output_tokens", "day_hours"),
}
# What counts of a load only while it is the chosen one.
LOAD_FIELDS: Final[Mapping[str, Sequence[str]]] = {
    Source.TRACE: ("trace", "upload"),
    Source.RECORDED: ("service", "recorded_hours", "recorded_until"),
    Source.GENERATED: NEEDS[Source.GENERATED],
}
FIRST_YEAR: Final = 1970
# Where the engine says something of a field that the form calls otherwise.
RENAMED: Final = {"policy": "policies"}


def _number(label: str, *, least: float, most: float, **parts: Any) -> forms.FloatField:  # noqa: ANN401
    return forms.FloatField(label=label, min_value=least, max_value=most, **parts)


class BacktestForm(forms.Form):
    """Load, engines, goals and policies; times in seconds and hours as the labels say."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    source = forms.ChoiceField(label="Load", choices=SOURCES, widget=forms.RadioSelect)
    trace = forms.TypedChoiceField(
        label="Uploaded trace", required=False, coerce=int, empty_value=None
    )
    upload = forms.FileField(
        label="or upload a file",
        required=False,
        help_text="CSV or .csv.gz, at most 16 MiB: t_s, input_tokens, output_tokens of each "
        "request (without t_s one comes a second), or t_s, rate_rps, mean_input_tokens, "
        "mean_output_tokens of windows.",
    )
    service = forms.ChoiceField(label="Service", required=False)
    recorded_hours = _number("Hours of it [h]", least=0.1, most=MOST_HOURS, required=False)
    recorded_until = forms.DateTimeField(
        label="until [UTC]",
        required=False,
        help_text="Empty: now.",
        widget=forms.TextInput(attrs={"placeholder": "2026-03-01 12:00"}),
    )
    low_rps = _number("Lowest rate [requests/s]", least=0, most=1e5, required=False)
    peak_rps = _number("Highest rate [requests/s]", least=0.01, most=1e5, required=False)
    input_tokens = _number("Input [tokens/request]", least=1, most=1e6, required=False)
    output_tokens = _number("Output [tokens/request]", least=1, most=1e6, required=False)
    day_hours = _number("One swing, low to low [h]", least=0.1, most=MOST_HOURS, required=False)
    rate_scale = _number("Rate multiplied by", least=0.001, most=1000)
    profile = forms.ChoiceField(label="Engines of prefill")
    decode_profile = forms.ChoiceField(label="Engines of decode", required=False)
    ttft_slo_s = _number("TTFT goal [s]", least=0.001, most=600)
    tbt_slo_s = _number("TBT goal [s]", least=0.001, most=10)
    policies = forms.MultipleChoiceField(
        label="Policies",
        required=False,
        choices=lambda: [(name, name) for name in POLICY_NAMES],
        widget=forms.CheckboxSelectMultiple,
    )
    more = forms.CharField(
        label="More, with parameters",
        required=False,
        max_length=4000,
        help_text="One a line: NAME:key=value,key=value",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    hours = _number(
        "Length [h]",
        least=0.05,
        most=MOST_HOURS,
        required=False,
        help_text="Empty: the whole load.",
    )
    start_up_s = _number("Start-up of an instance [s]", least=0, most=LONGEST_START_S)
    max_gpus = forms.IntegerField(
        label="Most GPUs",
        min_value=1,
        max_value=MOST_GPUS,
        required=False,
        help_text="Empty: several times what the load needs.",
    )
    seed = forms.IntegerField(label="Seed", min_value=0, max_value=2**31 - 1)
    fidelity = forms.ChoiceField(
        label="Fidelity",
        choices=[(name, f"{name}: {FIDELITY_WORDS[name]}") for name in FIDELITIES],
    )

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - Django's signature
        profiles: Sequence[str],
        kept: TraceLine | None = None,
        refused: str = "",
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Offer the profiles, and the traces and services that exist.

        ``kept`` came just now, ``refused`` says why an uploaded file could not be kept.
        """
        super().__init__(*args, **kwargs)
        self._refused = refused
        lines = selectors.traces()
        lines = [*([kept] if kept and kept not in lines else []), *lines]
        self._choices("trace", [(line.pk, line.words) for line in lines], "choose…")
        self._choices("service", [(slug, slug) for slug, _ in selectors.services()], "choose…")
        self._choices("profile", [(name, name) for name in profiles])
        self._choices("decode_profile", [(name, name) for name in profiles], "as prefill")

    def _choices(self, name: str, choices: Sequence[tuple[object, str]], none: str = "") -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = [*([("", none)] if none else []), *choices]

    def clean_more(self) -> list[str]:
        """Return the candidates written out, one a line."""
        lines = [clean(line).strip() for line in self.cleaned_data["more"].splitlines()]
        found = [line for line in lines if line]
        for line in found:
            try:
                parse_candidate(line)
            except QuestionError as fault:
                raise forms.ValidationError(fault.message) from fault
        return found

    def clean_recorded_until(self) -> datetime | None:
        """Return the end of the recording; one before there were clocks is refused."""
        until: datetime | None = self.cleaned_data["recorded_until"]
        if until is not None and until.year <= FIRST_YEAR:
            raise forms.ValidationError(f"Use a time after {FIRST_YEAR}.")
        return until

    def clean(self) -> dict[str, Any]:
        """Ask for what the chosen load needs, and for as many different policies as may be.

        Of the other loads nothing counts, neither a value nor a mistake: nobody sees them.
        """
        given = super().clean() or self.cleaned_data
        for source, names in LOAD_FIELDS.items():
            if "source" in given and source != given["source"]:
                given |= dict.fromkeys(names)
                for name in names:
                    self.errors.pop(name, None)
        if self._refused and given.get("source") == Source.TRACE:
            self.add_error("upload", self._refused)
        for name, sentence in self._missing(given):
            if name not in self.errors:
                self.add_error(name, sentence)
        if "policies" in given and "more" in given:
            self._check_policies([*given["policies"], *given["more"]])
        return given

    def _missing(self, given: Mapping[str, Any]) -> list[tuple[str, str]]:
        source = given.get("source")
        chosen = given.get("trace") or given.get("upload") or "upload" in self.errors
        if source == Source.TRACE and not chosen:
            return [("trace", "Choose a trace, or upload one.")]
        missing = [
            (name, "This load needs it.")
            for name in NEEDS.get(str(source), ())
            if given.get(name) in {None, ""}
        ]
        return missing + (_swapped(given) if source == Source.GENERATED else [])

    def _check_policies(self, labels: list[str]) -> None:
        if not labels:
            self.add_error("policies", "Choose at least one policy.")
        elif len(labels) > MOST_CONTESTANTS:
            self.add_error(
                "policies", f"{len(labels)} policies chosen; at most {MOST_CONTESTANTS} compare."
            )
        elif len(set(labels)) < len(labels):
            twice = next(label for label in labels if labels.count(label) > 1)
            self.add_error("more", f"'{twice}' is there twice.")

    def renew(self) -> None:
        """Give the form another key, so that sending it again asks for another backtest."""
        data = cast("QueryDict", self.data).copy()
        data["key"] = str(uuid.uuid4())
        self.data = data

    def refuse(self, field: str, sentence: str) -> None:
        """Say beside a field why it can't be used; one the form doesn't know is about all."""
        known = RENAMED.get(field, field)
        self.add_error(known if known in self.fields else None, sentence)

    def asked(self) -> dict[str, Any]:
        """Return the checked form as it is kept: plain values, no file."""
        given = self.cleaned_data
        left_out = {"key", "upload", "more"}
        until = given["recorded_until"]
        return {name: value for name, value in given.items() if name not in left_out} | {
            "policies": [*given["policies"], *given["more"]],
            "recorded_until": until.isoformat() if until else None,
        }

    def policy_boxes(self) -> list[tuple[Any, str]]:
        """Return each policy's check box with one sentence about it."""
        return [(box, describe(box.data["value"])) for box in self["policies"]]


def _swapped(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    low, peak = given.get("low_rps"), given.get("peak_rps")
    if low is None or peak is None or low <= peak:
        return []
    return [("peak_rps", f"The highest rate is below the lowest, {low:g}.")]


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a new form begins with."""

    has_traces: bool

    def values(self) -> dict[str, Any]:
        """Return a value for every field that needs one."""
        return {
            "key": uuid.uuid4(),
            "source": (Source.TRACE if self.has_traces else Source.GENERATED).value,
            "recorded_hours": 3,
            "low_rps": 2,
            "peak_rps": 20,
            "input_tokens": 2000,
            "output_tokens": 300,
            "day_hours": 24,
            "rate_scale": 1,
            "profile": DEFAULT_PROFILE,
            "ttft_slo_s": 1,
            "tbt_slo_s": 0.05,
            "policies": ["default", "static-peak", "hpa-util"],
            "start_up_s": 60,
            "seed": 0,
            "fidelity": "auto",
        }


def as_copied(asked: Mapping[str, Any], until: datetime | None) -> dict[str, Any]:
    """Return the form of an earlier backtest; a recording keeps its very hours."""
    policies = asked.get("policies", ())
    others = {name for names in LOAD_FIELDS.values() for name in names}
    kept = {
        name: value for name, value in asked.items() if value is not None or name not in others
    }
    return kept | {
        "policies": [label for label in policies if label in POLICY_NAMES],
        "more": "\n".join(label for label in policies if label not in POLICY_NAMES),
        "recorded_until": until.strftime("%Y-%m-%d %H:%M:%S") if until else None,
    }


def of_service(service: Service, profiles: Sequence[str]) -> dict[str, Any]:
    """Return what a service says about its backtest: its recording, goals and engines."""
    found: dict[str, Any] = {"source": Source.RECORDED.value, "service": service.slug}
    with contextlib.suppress(ObjectDoesNotExist):
        found |= {"ttft_slo_s": service.slo.ttft_s, "tbt_slo_s": service.slo.tbt_s}
    engines = {role.role: _engine(service, role, profiles) for role in service.roles.all()}
    if engines.get("prefill"):
        found |= {"profile": engines["prefill"], "decode_profile": engines.get("decode", "")}
    if service.max_gpus:
        found["max_gpus"] = service.max_gpus
    return found


def _engine(service: Service, role: Any, profiles: Sequence[str]) -> str:  # noqa: ANN401
    """Return the profile a role names, else that of its model, hardware and GPUs, or nothing."""
    name = f"{service.model_name}/{role.hardware.slug}"
    wanted = (role.profile, f"{name}-tp{role.gpus_per_instance}", name)
    return next((known for known in wanted if known in profiles), "")


def load_of(given: Mapping[str, Any], now: datetime) -> Load:
    """Return the load of a checked form; a trace is looked up by its number."""
    source = Source(given["source"])
    if source is Source.TRACE:
        trace = selectors.trace(given["trace"])
        return Load(source, trace.name if trace else "", trace=trace)
    if source is Source.RECORDED:
        service = selectors.service(given["service"])
        until = min(given["recorded_until"] or LATE, now)
        since = until - timedelta(hours=given["recorded_hours"])
        name = f"signals of {given['service']}, {given['recorded_hours']:g} h"
        return Load(source, name, service=service, since=since, until=until)
    return Load(source, _generated_name(given), generator=_generator(given))


def _generated_name(given: Mapping[str, Any]) -> str:
    return (
        f"generated {given['low_rps']:g}–{given['peak_rps']:g} requests/s, "
        f"{given['input_tokens']:g}/{given['output_tokens']:g} tokens"
    )


def _generator(given: Mapping[str, Any]) -> dict[str, str | float]:
    rates = ("low_rps", "peak_rps", "input_tokens", "output_tokens")
    day_s = given["day_hours"] * HOUR_S
    return {name: float(given[name]) for name in rates} | {
        "name": _generated_name(given),
        "seed": given["seed"],
        "day_s": day_s,
        # A burst of the same share of the day, at least four minutes.
        "burst_s": max(240.0, math.floor(day_s / 90)),
    }
