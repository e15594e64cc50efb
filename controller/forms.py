"""What operators may send: exactly these fields, anything else is ignored."""

from __future__ import annotations

from typing import Final

from django import forms

LONGEST_REASON: Final = 1000
NO_REASON: Final = "Give a reason: it is what the next person reads."


def _reason(*, required: bool) -> forms.CharField:
    return forms.CharField(
        max_length=LONGEST_REASON,
        required=required,
        error_messages={
            "required": NO_REASON,
            "max_length": "The reason has %(show_value)s characters; at most %(limit_value)s fit.",
        },
    )


class ApproveForm(forms.Form):
    """An approval of one version, bound to what was shown."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    fingerprint = forms.RegexField(r"^[0-9a-f]{64}\Z")
    reason = _reason(required=False)


class RejectForm(forms.Form):
    """A rejection or dismissal of one version, with its reason."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = _reason(required=True)


class AdoptForm(forms.Form):
    """An adoption of one version of a policy suggestion."""

    version = forms.IntegerField(min_value=1, max_value=2**31 - 1)
    reason = _reason(required=False)


class FreezeForm(forms.Form):
    """Why automatic change stops, or goes on."""

    reason = _reason(required=True)
