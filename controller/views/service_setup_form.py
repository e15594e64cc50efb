"""A service out of two workloads as a form, with all that is known filled in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from django import forms

from controller.core.readings.presets import PRESETS
from controller.core.types import ROLES, Role
from controller.selectors.service_proposal import Choices, Proposed
from controller.services.service_setup import RoleWish, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from controller.core.kube.offers import Offer
    from controller.selectors.service_sizing import Engines

LARGEST: Final = 100_000
COMMON: Final = ("slug", "model", "ttft_s", "tbt_s", "target", "pd_ratio", "source", "presets")
GOALS: Final = ("ttft_s", "tbt_s", "target", "pd_ratio")
PER_ROLE: Final = (
    ("gpus", "GPUs per instance", 1),
    ("minimum", "Minimum", 0),
    ("maximum", "Maximum", 1),
)


class ServiceForm(forms.Form):
    """A new service; ``found`` is the proposal at its source that it was filled in from."""

    slug = forms.SlugField(max_length=63, label="Name")
    model = forms.CharField(max_length=120, label="Model")
    ttft_s = forms.FloatField(min_value=0.001, max_value=3600, label="TTFT p95 [s]")
    tbt_s = forms.FloatField(min_value=0.001, max_value=60, label="TBT p95 [s]")
    target = forms.FloatField(
        min_value=0.001,
        label="Target [tokens/s]",
        help_text="Generated, for each decode instance.",
    )
    pd_ratio = forms.FloatField(
        min_value=0.001,
        max_value=1000,
        label="P/D ratio",
        help_text="Prefill to decode instances.",
    )
    source = forms.ChoiceField(label="Metrics from", required=False)
    presets = forms.MultipleChoiceField(
        label="Its engines",
        required=False,
        choices=[(name, name) for name in PRESETS],
        widget=forms.CheckboxSelectMultiple,
    )
    found = forms.CharField(required=False, max_length=63, widget=forms.HiddenInput)

    def __init__(
        self,
        choices: Choices,
        engines: Engines,
        proposed: Proposed,
        data: Any = None,  # noqa: ANN401 - what a request holds
    ) -> None:
        """Take what there is to choose of, and what is filled in."""
        super().__init__(data, initial=dict(proposed.values))
        self.fields["source"].choices = [("", "none yet"), *choices.sources]  # type: ignore[attr-defined]
        for role in ROLES:
            self.fields[f"{role}_hardware"] = forms.ChoiceField(
                choices=choices.hardware or [("", "none: bring in nodes first")],
                label="Hardware type",
            )
            for name, label, least in PER_ROLE:
                self.fields[f"{role}_{name}"] = forms.IntegerField(
                    min_value=least, max_value=LARGEST, label=label
                )
            self.fields[f"{role}_profile"] = forms.ChoiceField(
                choices=[("", "none"), *engines.groups(role)],
                label="Engine profile",
                required=False,
            )
        for name, field in self.fields.items():
            field.widget.attrs["autocomplete"] = "off"
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"id_{name}_helptext"

    @property
    def about(self) -> list[forms.BoundField]:
        """The fields of what it is."""
        return [self["slug"], self["model"], self["source"]]

    @property
    def goals(self) -> list[forms.BoundField]:
        """The fields of its goals and target."""
        return [self[name] for name in GOALS]

    @property
    def roles(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields of each role."""
        names = ("hardware", *(name for name, _, _ in PER_ROLE), "profile")
        return [(role.value, [self[f"{role}_{name}"] for name in names]) for role in ROLES]

    def clean(self) -> dict[str, Any]:
        """Refuse a floor above the ceiling."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        for role in ROLES:
            low, high = given.get(f"{role}_minimum"), given.get(f"{role}_maximum")
            if low is not None and high is not None and low > high:
                said = f"The minimum {low} is above the maximum {high}."
                self.add_error(f"{role}_minimum", said)
        return given

    def wish(self, offers: Mapping[Role, Offer]) -> Wish:
        """Return what is wished for; the form is valid."""
        given = self.cleaned_data
        return Wish(
            roles={role: _role(given, role, offers[role]) for role in ROLES},
            found=given["found"] if given["source"] == self.initial.get("source") else "",
            **{name: given[name] for name in COMMON[:-1]},
            presets=tuple(given["presets"]),
        )

    def over(self, proposed: Proposed) -> Proposed:
        """Return what is proposed with all that is typed in its place; the form is valid."""
        return replace(proposed, values={**proposed.values, **self.cleaned_data})

    def refuse(self, field: str, text: str) -> None:
        """Tell at the field what can't be used."""
        self.add_error(field if field in self.fields else None, text)


def _role(given: Mapping[str, Any], role: Role, offer: Offer) -> RoleWish:
    names = ("hardware", *(name for name, _, _ in PER_ROLE), "profile")
    return RoleWish(offer, *(given[f"{role}_{name}"] for name in names))
