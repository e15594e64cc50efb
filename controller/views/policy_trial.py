"""Trying a policy before it is adopted: what is played, against what, as a backtest asks it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms

from controller.core.backtest_states import Source
from controller.core.policy_fields import parameters
from controller.core.policy_names import PERIODIC, policy_names
from controller.core.types import Slo
from controller.selectors import backtests, policy_page
from controller.selectors.policy_page import EDITED, IN_FORCE, InForce
from controller.services.backtests import CURATED
from controller.simulator.backtest.ask import MOST_GPUS, POLICY_NAMES
from controller.simulator.backtest.contestants import PARAMETERS
from controller.simulator.backtest.question import QuestionError
from controller.views import backtest_form
from controller.views.backtest_form import BacktestForm
from inventory.snapshot import config_of

PLAYED_BY: Final = "proportional"
HOURS: Final = 24.0
BESIDE: Final = tuple(name for name in POLICY_NAMES if name != PLAYED_BY)
USUAL: Final = ("default", "static-peak")
TIMED: Final = {IN_FORCE: "in-force", EDITED: "edited"}
NO_ENGINES: Final = "Choose the engines to simulate: no profile is known for this service's own."
# Where the backtest's form calls something otherwise than this one.
SAID_AT: Final = {
    "max_gpus": "gpus",
    "tbt_slo_s": "profile",
    "recorded_hours": "hours",
    "service": "hours",
    "policies": "beside",
    "policy": "beside",
    "policy_file": "beside",
    "more": "beside",
}


class TrialForm(forms.Form):
    """The load, the engines and the other policies of a simulation."""

    key = forms.UUIDField(widget=forms.HiddenInput)
    source = forms.ChoiceField(
        label="Load",
        choices=(
            (Source.RECORDED.value, "what this service recorded"),
            (Source.TRACE.value, "an uploaded trace"),
        ),
    )
    hours = forms.FloatField(
        label="The last [h]", min_value=0.1, max_value=backtest_form.MOST_HOURS, required=False
    )
    trace = forms.TypedChoiceField(label="Trace", required=False, coerce=int, empty_value=None)
    profile = forms.ChoiceField(
        label="Engines of prefill", error_messages={"required": NO_ENGINES}
    )
    decode_profile = forms.ChoiceField(label="Engines of decode", required=False)
    start_up_s = forms.FloatField(label="Start-up of an instance [s]", min_value=0, max_value=3600)
    gpus = forms.IntegerField(
        label="To curate: GPUs", min_value=1, max_value=MOST_GPUS, required=False
    )
    beside = forms.MultipleChoiceField(
        label="Beside in force and edited",
        required=False,
        choices=[(name, name) for name in BESIDE],
        widget=forms.CheckboxSelectMultiple,
    )

    def __init__(
        self, data: Mapping[str, Any] | None, *, now: InForce, profiles: Sequence[str]
    ) -> None:
        """Offer what exists, beginning with what the service says about its backtest."""
        asked = backtests.service(now.service.slug)
        usual = backtest_form.of_service(asked, profiles) if asked else {}
        self._usual = backtest_form.Defaults(has_traces=False).values() | usual
        first = {
            "key": uuid.uuid4(),
            "source": Source.RECORDED.value,
            "hours": int(HOURS),
            "profile": usual.get("profile", ""),
            "decode_profile": usual.get("decode_profile", ""),
            "start_up_s": 60,
            "gpus": now.service.max_gpus,
            "beside": USUAL,
        }
        # A form sent without these fields, by a page that only checks, keeps what it begins with.
        sent = data if data is not None and "try-key" in data else None
        super().__init__(sent, initial=first, prefix="try")
        self._names = list(profiles)
        traces = [(line.pk, line.words) for line in backtests.traces()]
        engines = [(name, name) for name in profiles]
        for name, choices in (
            ("trace", [("", "choose…"), *traces]),
            ("profile", [("", "choose…"), *engines]),
            ("decode_profile", [("", "as prefill"), *engines]),
        ):
            field = self.fields[name]
            assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
            field.choices = choices

    def asking(self, policies: Sequence[str]) -> BacktestForm | None:
        """Return the checked form of a backtest with these candidates beside the chosen others.

        It is ``None`` where that form refuses something, which is then said beside the fields.
        """
        given = self.cleaned_data
        sent = self._usual | {
            "key": given["key"],
            "source": given["source"],
            "recorded_hours": given["hours"],
            "trace": given["trace"] or "",
            "profile": given["profile"],
            "decode_profile": given["decode_profile"],
            "start_up_s": given["start_up_s"],
            "policies": given["beside"],
            "more": "\n".join(policies),
        }
        asking = BacktestForm(sent, profiles=self._names)
        for field, errors in asking.errors.items():
            self.refuse(field, " ".join(map(str, errors)))
        return asking if asking.is_valid() else None

    def refuse(self, field: str, sentence: str) -> None:
        """Say beside a field why nothing was started; one the form doesn't know is about all."""
        known = SAID_AT.get(field, field)
        self.add_error(known if known in self.fields else None, sentence)


def labels(in_force: Mapping[str, Any], edited: Mapping[str, Any]) -> Mapping[str, str]:
    """Return both policies as a backtest is asked for them, every parameter written out.

    Raises :class:`QuestionError` for one that can't be read.
    """
    made = {}
    for name, body in ((IN_FORCE, in_force), (EDITED, edited)):
        try:
            config = config_of(body, revision=0)
        except ValueError as fault:
            text = f"The policy {name} can't be read: {fault}"
            raise QuestionError("bad_policy", text, "policy") from fault
        is_timed = PERIODIC in policy_names(config.name)
        made[name] = TIMED[name] if is_timed else f"{PLAYED_BY}:{parameters(config, PARAMETERS)}"
    return made


def label_in_force(now: InForce) -> Mapping[str, str]:
    """Return what is in force as a curation compares it, nothing where there is no policy.

    Raises :class:`QuestionError` for one that can't be read.
    """
    if not now.revision:
        return {}
    return {IN_FORCE: labels(now.body, now.body)[IN_FORCE]}


def documents(in_force: Mapping[str, Any], edited: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the policies with a schedule, which no parameter can hold, by their labels."""
    named = {TIMED[IN_FORCE]: in_force, TIMED[EDITED]: edited}
    return {
        label: dict(body)
        for label, body in named.items()
        if PERIODIC in policy_names(str(body.get("name", "")))
    }


def curation_of(now: InForce, gpus: int) -> dict[str, Any]:
    """Return what makes a backtest a curation: for how many GPUs, and what is to be kept."""
    slo = getattr(now.service, "slo", None)
    return {CURATED: {"gpus": gpus, "goal_frac": slo.goal_frac if slo else Slo(1, 1).goal_frac}}


def remembered(
    now: InForce, edited: Mapping[str, Any], asked_labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a backtest keeps of the tab that asked for it."""
    return {
        policy_page.ASKED_BY: {
            "service": now.service.slug,
            "revision": now.revision,
            "body": dict(edited),
            "labels": dict(asked_labels),
        }
    }
