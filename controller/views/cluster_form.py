"""How a cluster is reached, as a form; what is secret is never shown again."""

from __future__ import annotations

from typing import Any, Final

from django import forms

from controller.core.kube.access import Credentials
from controller.services import cluster_access, kubeconfig
from controller.services.cluster_access import Draft
from controller.views.source_form import Unshown
from inventory.limits import SLUG
from inventory.models import ClusterAccess

FIELD_OF: Final = {"kubeconfig": "secret_kubeconfig", "token": "secret_token"}
"""The fields of this form by what is kept."""
LONGEST_PEM: Final = 200_000
LONGEST_TOKEN: Final = 20_000
_WAY: Final = ClusterAccess.Way
_MONO: Final = {"spellcheck": "false", "class": "mono", "autocomplete": "off"}


class ClusterForm(forms.Form):
    """A cluster as people connect it."""

    slug = forms.CharField(
        label="Name",
        max_length=SLUG,
        help_text="What it is called here: letters, digits and dashes, like eu-1-a.",
    )
    region = forms.CharField(
        label="Region",
        required=False,
        max_length=SLUG,
        help_text="Of a cluster that is new here. Empty: default.",
    )
    way = forms.ChoiceField(label="Reached by", choices=_WAY.choices, initial=_WAY.KUBECONFIG)
    secret_kubeconfig = forms.CharField(
        label="Kubeconfig",
        required=False,
        max_length=kubeconfig.LONGEST,
        strip=False,
        help_text=f"Paste what this prints: {kubeconfig.INLINE}",
        widget=Unshown(attrs={"rows": 8, **_MONO}),
    )
    context = forms.CharField(
        label="Context",
        required=False,
        max_length=300,
        help_text="Which of its contexts. Empty: the current one.",
    )
    server = forms.CharField(
        label="Address of the API server",
        required=False,
        max_length=600,
        help_text="Without a kubeconfig: https://10.0.0.1:6443.",
    )
    ca = forms.CharField(
        label="Certificate authority",
        required=False,
        max_length=LONGEST_PEM,
        help_text="PEM. Empty: the authorities that this host trusts.",
        widget=forms.Textarea(attrs={"rows": 3, **_MONO}),
    )
    secret_token = forms.CharField(
        label="Token",
        required=False,
        max_length=LONGEST_TOKEN,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
    )
    namespaces = forms.CharField(
        label="Namespaces",
        required=False,
        max_length=10_000,
        help_text="Where pods and workloads are looked at, commas between. Empty: everywhere.",
    )
    reason = forms.CharField(label="Reason", required=False, max_length=1000)

    def __init__(self, data: Any = None, *, row: ClusterAccess | None = None) -> None:  # noqa: ANN401 - what a request holds
        """Take what was sent, or begin with how a cluster is reached now."""
        super().__init__(data, initial=_first(row) if row else None)
        self.row = row
        if row:
            del self.fields["slug"], self.fields["region"]
        for name, field in self.fields.items():
            field.widget.attrs.setdefault("autocomplete", "off")
            if field.help_text:
                field.widget.attrs["aria-describedby"] = f"id_{name}_helptext"

    @property
    def common(self) -> list[forms.BoundField]:
        """The fields of a cluster, whatever way it is reached."""
        return [self[name] for name in ("slug", "region") if name in self.fields]

    @property
    def pasted(self) -> list[forms.BoundField]:
        """The fields of a kubeconfig."""
        return [self["secret_kubeconfig"], self["context"]]

    @property
    def typed(self) -> list[forms.BoundField]:
        """The fields of an address and a token."""
        return [self["way"], self["server"], self["ca"], self["secret_token"]]

    @property
    def rest(self) -> list[forms.BoundField]:
        """What is asked of each."""
        return [self["namespaces"], self["reason"]]

    def draft(self) -> Draft:
        """Return what is wanted. Raises :class:`InvalidError` for a kubeconfig of no use."""
        given = self.cleaned_data
        namespaces = cluster_access.read_namespaces(given["namespaces"])
        credentials = None
        if given["way"] == _WAY.KUBECONFIG and (
            given["secret_kubeconfig"].strip() or not self.row
        ):
            credentials = kubeconfig.read(given["secret_kubeconfig"], given["context"].strip())
        if given["way"] == _WAY.TOKEN and (given["secret_token"] or not self.row):
            credentials = Credentials(given["server"], ca=given["ca"], token=given["secret_token"])
        return Draft(given["way"], credentials, namespaces)

    def refuse(self, field: str, text: str) -> None:
        """Tell at the field that shows it what can't be used."""
        name = FIELD_OF.get(field, field)
        self.add_error(name if name in self.fields else None, text)


def _first(row: ClusterAccess) -> dict[str, Any]:
    return {
        "way": row.way,
        "server": row.server if row.way == _WAY.TOKEN else "",
        "ca": row.ca if row.way == _WAY.TOKEN else "",
        "namespaces": ", ".join(row.namespaces),
    }
