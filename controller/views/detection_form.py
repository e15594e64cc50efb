"""One proposal as a form: what a person may change before it becomes a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms

from controller.core.types import ROLES, Role
from controller.selectors.detected import Choice, Found
from controller.services.detecting import RoleWish, Wish

LARGEST: Final = 100_000
LONGEST_SLUG: Final = 63
MAKE_ONE: Final = ("", "a new one that only records")
COMMON: Final = ("slug", "cluster", "new_cluster", "priority", "ttft_s", "tbt_s", "target")


class ProposalForm(forms.Form):
    """A proposal with all that was found filled in; its fields are prefixed with its name."""

    accept = forms.BooleanField(required=False, label="Set it up")
    slug = forms.SlugField(max_length=LONGEST_SLUG, label="Name here")
    connect = forms.BooleanField(required=False)
    cluster = forms.ChoiceField(required=False)
    new_cluster = forms.SlugField(
        max_length=LONGEST_SLUG, required=False, label="Name of the new cluster"
    )
    priority = forms.IntegerField(min_value=-1000, max_value=1000)
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

    def __init__(self, found: Found, choice: Choice, first_cluster: str, data: Any = None) -> None:  # noqa: ANN401 - what a request holds
        """Take the proposal and what there is to choose of."""
        self.found = found
        proposal = found.proposal
        super().__init__(
            data, prefix=proposal["slug"], initial=_initial(found, choice, first_cluster)
        )
        self.is_known = proposal["slug"] in choice.services
        self.fields["connect"].label = f"The service {proposal['slug']} that is here is meant"
        self.fields["cluster"] = forms.ChoiceField(
            required=False, choices=[*choice.clusters, MAKE_ONE]
        )
        types = choice.hardware((found.models or {}).values())
        for role in ROLES:
            self.fields[f"{role}_hardware"] = forms.ChoiceField(
                choices=types, label="Hardware type"
            )
            for name, label, least in (
                ("gpus", "GPUs per instance", 1),
                ("minimum", "Minimum", 0),
                ("maximum", "Maximum", 1),
            ):
                self.fields[f"{role}_{name}"] = forms.IntegerField(
                    min_value=least, max_value=LARGEST, label=label
                )
        self.connects = bool(self.data.get(self.add_prefix("connect")))
        for name, field in self.fields.items():
            # Of a service that is there nothing else is asked.
            field.required = field.required and not (self.connects and name != "slug")
            field.widget.attrs |= {"autocomplete": "off"}

    @property
    def is_chosen(self) -> bool:
        """Whether a person ticked it."""
        return bool(self.data.get(self.add_prefix("accept")))

    @property
    def common(self) -> list[forms.BoundField]:
        """The fields of the whole service."""
        return [self[name] for name in (*COMMON, "pd_ratio")]

    @property
    def roles(self) -> list[tuple[str, list[forms.BoundField]]]:
        """The fields of each role."""
        names = ("hardware", "gpus", "minimum", "maximum")
        return [(role.value, [self[f"{role}_{name}"] for name in names]) for role in ROLES]

    def clean(self) -> dict[str, Any]:
        """Refuse a cluster that is neither chosen nor named, and a floor above the ceiling."""
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if self.connects:
            return given
        if not given.get("cluster") and not given.get("new_cluster"):
            self.add_error("new_cluster", "Choose a cluster, or name the new one.")
        for role in ROLES:
            low, high = given.get(f"{role}_minimum"), given.get(f"{role}_maximum")
            if low is not None and high is not None and low > high:
                said = f"The minimum {low} is above the maximum {high}."
                self.add_error(f"{role}_minimum", said)
        return given

    def wish(self) -> Wish:
        """Return what is wished for; the form is valid."""
        given: dict[str, Any] = dict.fromkeys(self.fields) | self.cleaned_data
        return Wish(
            proposed=self.found.proposal["slug"],
            roles={role: _role(given, role) for role in ROLES},
            **{name: given[name] for name in (*COMMON, "connect", "pd_ratio")},
        )


def _role(given: Mapping[str, Any], role: Role) -> RoleWish:
    return RoleWish(
        *(given[f"{role}_{name}"] for name in ("hardware", "gpus", "minimum", "maximum"))
    )


def _initial(found: Found, choice: Choice, first_cluster: str) -> dict[str, Any]:
    proposal = found.proposal
    goals = {name: (proposal["slo"][name] or {}).get("goal") for name in ("ttft_s", "tbt_s")}
    initial = {
        "slug": proposal["slug"],
        "cluster": choice.clusters[0][0] if choice.clusters else "",
        "new_cluster": "" if choice.clusters else first_cluster,
        "priority": 0,
        "target": proposal["target"],
        "pd_ratio": proposal["pd_ratio"],
        **goals,
    }
    models = found.models or {}
    for role in ROLES:
        told = proposal["roles"].get(role.value, {})
        initial |= {
            f"{role}_hardware": choice.hardware_for(models.get(role.value, "")),
            f"{role}_gpus": told.get("gpus"),
            f"{role}_minimum": told.get("minimum", 1),
            f"{role}_maximum": told.get("maximum", 2),
        }
    return initial
