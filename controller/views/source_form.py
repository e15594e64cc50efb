"""Where metrics are read, as a form: what it is, as whom it is asked, how its series are known."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from django import forms

from controller.core.readings.attach import ByInfo, ByLabels, ByPod
from controller.core.readings.attach_plain import (
    PlainError,
    attach_of,
    attach_plain,
    targets_of,
    targets_plain,
)
from controller.core.readings.target_lines import lines_of, targets_in
from controller.core.types import Role
from controller.forms import NO_REASON
from controller.services.endpoints import Draft
from inventory.models import MetricsEndpoint

LARGEST: Final = 2**31 - 1
LONGEST_TARGETS: Final = 400_000
LONGEST_PEM: Final = 200_000
LONGEST_TEXT: Final = 2_000
WAYS: Final = (
    ("labels", "by labels: the series say service and role themselves"),
    ("info", "by heteroscale_instance_info: joined on namespace and pod"),
    ("pod", "by the name of the pod"),
)
FIELD_OF: Final[Mapping[str, str]] = {
    "service": "service_label",
    "role": "role_label",
    "roles": "prefill_value",
    "namespace": "namespace_label",
    "pod": "pod_label",
    "instance": "instance_labels",
    "patterns": "decode_pattern",
    "key": "private_key",
    "attach": "by",
}
"""The fields of this form by what is kept."""
ABOUT_SERIES: Final = (
    "Which service and role a series is of. A direct scrape knows what its targets name; this "
    "is for targets that speak of many instances, such as DCGM."
)
GROUPS: Final[Sequence[tuple[str, str, Sequence[str]]]] = (
    (
        "What it is",
        "",
        ("slug", "kind", "url", "targets", "scrape_s", "enabled"),
    ),
    (
        "How its series are known",
        ABOUT_SERIES,
        (
            *("by", "service_label", "role_label", "prefill_value", "decode_value"),
            *("namespace_label", "pod_label", "prefill_pattern", "decode_pattern"),
            *("both_pattern", "instance_labels", "only"),
        ),
    ),
    (
        "As whom it is asked",
        "Secrets are encrypted, never shown again and kept when their field is left empty.",
        ("login", "user", "secret", "tenant", "ca", "certificate", "private_key"),
    ),
)


def _text(label: str, help_text: str = "", longest: int = 300, **more: Any) -> forms.CharField:  # noqa: ANN401 - Django's own
    given = {"required": False, "strip": True} | more
    return forms.CharField(label=label, help_text=help_text, max_length=longest, **given)


def _long(rows: int) -> forms.Textarea:
    return forms.Textarea(attrs={"rows": rows, "spellcheck": "false", "class": "mono"})


class Unshown(forms.Textarea):
    """A field of several lines whose value is never sent back, as that of a password isn't."""

    def format_value(self, value: object) -> str:
        """Return nothing."""
        del value
        return ""


class SourceForm(forms.Form):
    """An endpoint as people change it, with the version they saw and why."""

    version = forms.IntegerField(
        min_value=0, max_value=LARGEST, widget=forms.HiddenInput, required=False
    )
    slug = forms.SlugField(
        label="Name",
        max_length=63,
        help_text="Letters, digits and dashes, like eu-1. It is its address here, and the label of"
        " its figures.",
    )
    kind = forms.ChoiceField(label="Kind", choices=MetricsEndpoint.Kind.choices)
    url = _text("Address", "Of a Prometheus: what stands before /api/v1.", 500)
    targets = _text(
        "Targets",
        "Of a direct scrape, one a line: URL [service] [role] [instance], where - leaves one out. "
        "http://10.0.0.7:8000/metrics chat decode",
        LONGEST_TARGETS,
        strip=False,
        widget=_long(6),
    )
    scrape_s = forms.FloatField(
        label="Scrape interval [s]",
        min_value=1,
        max_value=120,
        initial=15,
        help_text="How often its samples come. Rates are over at least four of them.",
        widget=forms.NumberInput(attrs={"step": "any"}),
    )
    enabled = forms.BooleanField(
        label="It is asked", required=False, initial=True, help_text="Off: services hold."
    )
    by = forms.ChoiceField(label="Way", choices=WAYS, initial="labels")
    service_label = _text("Label of the service", "By labels.", initial="service")
    role_label = _text("Label of the role", "By labels.", initial="role")
    prefill_value = _text("Its value for prefill", "By labels.", initial="prefill")
    decode_value = _text("Its value for decode", "By labels.", initial="decode")
    namespace_label = _text(
        "Label of the namespace", "By instance info, or by pod.", initial="namespace"
    )
    pod_label = _text("Label of the pod", "By instance info, or by pod.", initial="pod")
    prefill_pattern = _text(
        "Pods of prefill", "By pod: matches the whole name, like (?P<service>.+)-prefill-\\d+."
    )
    decode_pattern = _text("Pods of decode", "By pod, as above.")
    both_pattern = _text("Pods that serve both", "By pod, such as a frontend. May be empty.")
    instance_labels = _text(
        "Labels of an instance", "Which labels tell instances apart.", initial="instance"
    )
    only = _text(
        "Only series with",
        "One a line: label=expression, like namespace=inference. Keeps out what has the same names"
        " elsewhere.",
        LONGEST_TEXT,
        strip=False,
        widget=_long(2),
    )
    login = forms.ChoiceField(label="Login", choices=MetricsEndpoint.Login.choices)
    user = _text("User", "Of user and password.", 200)
    secret = _text(
        "Token or password",
        longest=4000,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    tenant = _text("Tenant", "Sent as X-Scope-OrgID, for Mimir, Cortex and Thanos.", 200)
    ca = _text(
        "Certificate authority",
        "PEM. Empty: the public ones are trusted.",
        LONGEST_PEM,
        widget=_long(3),
    )
    certificate = _text("Client certificate", "PEM.", LONGEST_PEM, widget=_long(3))
    private_key = _text(
        "Key of the client certificate",
        "",
        LONGEST_PEM,
        widget=Unshown(attrs={"rows": 3, "spellcheck": "false", "class": "mono"}),
    )
    reason = forms.CharField(
        max_length=1000,
        strip=True,
        help_text="Kept in the audit.",
        error_messages={"required": NO_REASON},
    )

    def __init__(self, *args: Any, row: MetricsEndpoint | None = None, **kwargs: Any) -> None:  # noqa: ANN401 - Django's own
        kwargs |= {"initial": first(row) if row else None}
        super().__init__(*args, **kwargs)
        kept = row if row and not row._state.adding else None  # noqa: SLF001 - public by custom
        has_secret, has_key = bool(kept and kept.secret), bool(kept and kept.key)
        self.fields["secret"].help_text = _kept("token or password", is_kept=has_secret)
        self.fields["private_key"].help_text = f"PEM. {_kept('key', is_kept=has_key)}"
        self.fields["reason"].required = kept is not None
        for field in self.fields.values():
            field.widget.attrs.setdefault("autocomplete", "off")

    def clean(self) -> dict[str, Any]:
        """Read the lists, one error a field."""
        given = super().clean() or self.cleaned_data
        for name, read in (("targets", _targets), ("only", _only)):
            try:
                given[name] = read(given.get(name, ""))
            except PlainError as fault:
                self.add_error(name, str(fault))
        return given

    def draft(self) -> Draft:
        """Return what was typed, to be checked by who keeps it."""
        given = self.cleaned_data
        values = {
            name: given[name]
            for name in ("slug", "kind", "url", "enabled", "targets", "scrape_s", "login", "user")
        }
        values |= {name: given[name] for name in ("tenant", "ca", "certificate")}
        return Draft(values | {"attach": self._attach()}, given["secret"], given["private_key"])

    def refuse(self, field: str, text: str) -> None:
        """Tell at the field that shows it what can't be used."""
        name = FIELD_OF.get(field, field)
        self.add_error(name if name in self.fields else None, text)

    @property
    def seen(self) -> int:
        """The version that was shown, 0 where the form doesn't say."""
        return self.cleaned_data.get("version") or 0

    @property
    def groups(self) -> Iterable[tuple[str, str, list[forms.BoundField]]]:
        """The fields a person fills, by what they are about."""
        return [(title, about, [self[name] for name in names]) for title, about, names in GROUPS]

    def _attach(self) -> dict[str, Any]:
        given = self.cleaned_data
        labels = given["instance_labels"].replace(",", " ").split()
        common = {"by": given["by"], "instance": labels, "only": given["only"]}
        pod = {"namespace": given["namespace_label"], "pod": given["pod_label"]}
        match given["by"]:
            case "labels":
                roles = {role.value: given[f"{role.value}_value"] for role in Role}
                names = {"service": given["service_label"], "role": given["role_label"]}
                return common | names | {"roles": roles}
            case "info":
                return common | pod
            case _:
                names = {name: given[f"{name}_pattern"] for name in ("prefill", "decode", "both")}
                return common | pod | {"patterns": names}


def first(row: MetricsEndpoint) -> dict[str, Any]:
    """Return what the form of an endpoint begins with; nothing that is secret."""
    told: dict[str, Any] = {
        name: getattr(row, name)
        for name in ("version", "slug", "kind", "url", "enabled", "scrape_s", "login", "user")
    }
    told |= {name: getattr(row, name) for name in ("tenant", "ca", "certificate")}
    try:
        told["targets"] = lines_of(targets_of(row.targets))
        return told | _first_attach(row.attach)
    except PlainError:
        # What somebody wrote past the form is shown as nothing, and written anew.
        return told


def _first_attach(kept: object) -> dict[str, Any]:
    attach = attach_of(kept)
    told: dict[str, Any] = {
        "by": attach_plain(attach)["by"],
        "instance_labels": " ".join(attach.instance),
        "only": "\n".join(f"{name}={text}" for name, text in attach.only.items()),
    }
    match attach:
        case ByLabels():
            values = {f"{role.value}_value": attach.roles.get(role, "") for role in Role}
            return told | values | {"service_label": attach.service, "role_label": attach.role}
        case ByInfo():
            return told | {"namespace_label": attach.namespace, "pod_label": attach.pod}
        case ByPod():
            patterns = {
                f"{role.value if role else 'both'}_pattern": text
                for role, text in attach.patterns.items()
            }
            pod = {"namespace_label": attach.namespace, "pod_label": attach.pod}
            return told | patterns | pod


def _kept(word: str, *, is_kept: bool) -> str:
    return f"A {word} is kept: leave this empty to keep it." if is_kept else "None is kept."


def _targets(text: str) -> list[dict[str, str]]:
    return targets_plain(targets_in(text))


def _only(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for at, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            name, sign, expression = line.strip().partition("=")
            if not sign or not expression:
                raise PlainError("only", f"Line {at} is not label=expression.")
            found[name.strip()] = expression.strip().removeprefix("~")
    return found
