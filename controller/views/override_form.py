"""The form of a new override: its kind's values, what it holds for, how long, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.http import QueryDict

from controller.core.override_words import EXCLUDED_WORDS
from controller.core.overrides import OverrideKind
from controller.forms import NO_REASON
from controller.services.errors import InvalidError

UNTIL: Final = "until"
LASTS: Final = (
    ("15", "15 min"),
    ("30", "30 min"),
    ("120", "2 h"),
    ("480", "8 h"),
    (UNTIL, "until"),
)
USUAL: Final = "30"
WALL: Final = "%Y-%m-%dT%H:%M"
MOST: Final = 1_000_000


def _count(label: str, *, required: bool = True) -> forms.IntegerField:
    help_text = "" if required else "Empty: as configured."
    return forms.IntegerField(
        label=label, min_value=1, max_value=MOST, required=required, help_text=help_text
    )


def _ratio(label: str) -> forms.FloatField:
    return forms.FloatField(
        label=label,
        min_value=0.001,
        max_value=1000,
        help_text="Prefill instances per decode instance.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )


VALUES: Final[Mapping[OverrideKind, Mapping[str, forms.Field]]] = {
    OverrideKind.PIN: {
        "decode": _count("Decode instances"),
        "prefill": _count("Prefill instances"),
    },
    OverrideKind.BOUNDS: {
        "decode_min": _count("Decode, at least", required=False),
        "decode_max": _count("Decode, at most", required=False),
        "prefill_min": _count("Prefill, at least", required=False),
        "prefill_max": _count("Prefill, at most", required=False),
    },
    OverrideKind.RATIO: {"min": _ratio("Ratio, at least"), "max": _ratio("Ratio, at most")},
    OverrideKind.EXCLUDE: {
        "what": forms.ChoiceField(label="What", choices=list(EXCLUDED_WORDS.items())),
        "name": forms.CharField(label="Its name", max_length=253),
    },
}


def _moment(label: str, help_text: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=label,
        required=False,
        help_text=help_text,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format=WALL),
        error_messages={"invalid": "Use a time such as 2026-03-01 03:40."},
    )


class LastsForm(forms.Form):
    """For how long, by a length or by an end."""

    lasts = forms.ChoiceField(
        label="How long", choices=LASTS, initial=USUAL, widget=forms.RadioSelect
    )
    ends = _moment("Ends at", "Only with “until”, in your time zone.")
    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        error_messages={"required": NO_REASON},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def clean(self) -> dict[str, Any]:
        """Ask for the end where no length is chosen."""
        given = super().clean() or {}
        if given.get("lasts") == UNTIL and not given.get("ends") and "ends" not in self.errors:
            self.add_error("ends", "Say when it ends.")
        return given

    def refuse(self, fault: InvalidError) -> None:
        """Tell at its field what a service found wrong."""
        name = {"starts_at": "starts", "ends_at": "ends"}.get(fault.field, fault.field)
        self.add_error(name if name in self.fields else None, str(fault))

    def end(self, begin: datetime) -> datetime:
        """Return when it ends, if it begins at ``begin``."""
        given = self.cleaned_data
        if given["lasts"] == UNTIL:
            ends: datetime = given["ends"]
            return ends
        try:
            return begin + timedelta(minutes=int(given["lasts"]))
        except OverflowError:  # later than the last year there is: refused as too far ahead
            return begin


class ExtendForm(LastsForm):
    """A later end of one version."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1, widget=forms.HiddenInput)


class EndForm(forms.Form):
    """An early end of one version."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = forms.CharField(max_length=1000, error_messages={"required": NO_REASON})


class OverrideForm(LastsForm):
    """A new override of one kind."""

    starts = _moment("Starts at", "Empty: now.")

    def __init__(
        self,
        kind: OverrideKind,
        scopes: Sequence[tuple[str, str]],
        sent: QueryDict | None = None,
        *,
        initial: dict[str, Any] | None = None,
    ) -> None:
        """Take the kind, what may be chosen as scope, and what was sent or it begins with."""
        super().__init__(sent, initial=initial)
        self.kind = kind
        strange = "There is no such scope: choose one of the list."
        if kind is OverrideKind.PIN:
            strange = "A pin names the counts of one service: choose one."
            scopes = [(key, name) for key, name in scopes if key.startswith("service:")]
        self.fields["scope"] = forms.ChoiceField(
            label="Holds for",
            choices=scopes,
            error_messages={"required": "Say what it holds for.", "invalid_choice": strange},
        )
        self.fields.update(VALUES.get(kind, {}))
        order = ("scope", *VALUES.get(kind, {}), "starts", "lasts", "ends", "reason")
        self.order_fields(order)

    @property
    def valued(self) -> list[forms.BoundField]:
        """The fields of the kind alone."""
        return [self[name] for name in VALUES.get(self.kind, {})]

    def values(self) -> dict[str, Any]:
        """Return the values of the kind that were given."""
        given = self.cleaned_data
        return {
            name: given[name]
            for name in VALUES.get(self.kind, {})
            if given.get(name) not in {None, ""}
        }

    def begin(self, now: datetime) -> datetime:
        """Return when it begins."""
        starts: datetime | None = self.cleaned_data["starts"]
        return starts or now

    def sent(self) -> list[tuple[str, str]]:
        """Return what was sent, for a second form that confirms it."""
        return [(name, str(self.data.get(name, ""))) for name in ("kind", *self.fields)]
