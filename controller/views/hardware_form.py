"""The facts of a hardware type as a form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django import forms

from inventory.models import HardwareType
from inventory.services.hardware import FACTS

if TYPE_CHECKING:
    HardwareModelForm = forms.ModelForm[HardwareType]
else:
    # Django's class takes no parameter while the program runs.
    HardwareModelForm = forms.ModelForm

LARGEST: Final = 2**31 - 1


class HardwareForm(HardwareModelForm):
    """What people may change of a type, with the version they saw and why."""

    version = forms.IntegerField(
        min_value=1, max_value=LARGEST, widget=forms.HiddenInput, required=False
    )
    reason = forms.CharField(
        max_length=1000,
        strip=True,
        help_text="Kept in the audit.",
        error_messages={"required": "Give a reason: it is what the next person reads."},
    )

    class Meta:
        model = HardwareType
        fields = FACTS

    field_order = (*FACTS, "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - Django's signature
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            field.widget.attrs |= {"autocomplete": "off"}

    def facts(self) -> dict[str, Any]:
        """Return the checked facts."""
        return {name: self.cleaned_data[name] for name in FACTS}

    @property
    def seen(self) -> int:
        """The version of the type that was shown, 0 where the form doesn't say."""
        return self.cleaned_data.get("version") or 0
