"""The form of a what-if: it lives in the address, and becomes a question about what is there."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import urlencode

from django import forms

from controller.core.placement.fitting import unit_for
from controller.core.placement.values import (
    Affinity,
    Choice,
    Request,
    RoleForm,
    RoleNeed,
    Spread,
    Tenant,
)
from controller.core.placement.what_if import WhatIf
from controller.core.types import Instances, Role
from controller.core.words import clean
from controller.selectors.placing import LEVELS
from controller.selectors.what_if import KINDS, Ground
from inventory.models import Nearness

ASKS: Final = (
    ("", "nothing yet: how much fits"),
    ("grow", "more or less of a service"),
    ("new", "a new service"),
    ("gone", "something is gone"),
)
MOST_INSTANCES: Final = 1000
MOST_GPUS: Final = 1024
MOST_NODES: Final = 64
MOST_NAMES: Final = 64
LONGEST: Final = 4000
NEW: Final = "what-if"
"""What a service is called that does not exist."""
REQUIRED: Final = "required"
DEFAULTS: Final[Mapping[str, str]] = {
    "prefill_gpus": "8",
    "prefill_nodes": "1",
    "prefill_count": "1",
    "decode_gpus": "8",
    "decode_nodes": "1",
    "decode_count": "1",
    "level": Nearness.S2.value,
    "how": "preferred",
    "priority": "0",
    "kind": "node",
}
"""What counts where the address does not say."""
NEEDS: Final[Mapping[str, tuple[str, ...]]] = {
    "grow": ("service", "prefill", "decode"),
    "new": (
        *("cluster", "prefill_hardware", "prefill_gpus", "prefill_nodes", "prefill_count"),
        *("decode_hardware", "decode_gpus", "decode_nodes", "decode_count"),
        *("level", "how", "spread", "domains", "priority"),
    ),
    "gone": ("cluster", "kind", "names"),
}
"""What counts of a question while it is the chosen one."""


def _number(label: str, least: int, most: int, help_text: str = "") -> forms.IntegerField:
    widget = forms.NumberInput(attrs={"autocomplete": "off"})
    return forms.IntegerField(
        label=label,
        min_value=least,
        max_value=most,
        required=False,
        help_text=help_text,
        widget=widget,
    )


class WhatIfForm(forms.Form):
    """One question. Counts of ``grow`` are changes, those of ``new`` how many there are."""

    ask = forms.ChoiceField(
        label="What if", choices=ASKS, required=False, widget=forms.RadioSelect
    )
    service = forms.ChoiceField(label="Service", required=False)
    prefill = _number("Prefill instances", -MOST_INSTANCES, MOST_INSTANCES, "More: 2; fewer: -2.")
    decode = _number("Decode instances", -MOST_INSTANCES, MOST_INSTANCES, "More: 4; fewer: -4.")
    cluster = forms.ChoiceField(label="Cluster", required=False)
    prefill_hardware = forms.ChoiceField(label="Prefill runs on", required=False)
    prefill_gpus = _number("GPUs per instance", 1, MOST_GPUS)
    prefill_nodes = _number("Nodes per instance", 1, MOST_NODES, "Above 1: whole nodes.")
    prefill_count = _number("Prefill instances", 0, MOST_INSTANCES)
    decode_hardware = forms.ChoiceField(label="Decode runs on", required=False)
    decode_gpus = _number("GPUs per instance", 1, MOST_GPUS)
    decode_nodes = _number("Nodes per instance", 1, MOST_NODES, "Above 1: whole nodes.")
    decode_count = _number("Decode instances", 0, MOST_INSTANCES)
    level = forms.ChoiceField(label="A group shares one", choices=Nearness.choices, required=False)
    how = forms.ChoiceField(
        label="And that is",
        choices=(("preferred", "preferred"), (REQUIRED, "required")),
        required=False,
    )
    spread = forms.ChoiceField(
        label="Spread over",
        choices=(("", "no failure domains"), *Nearness.choices),
        required=False,
    )
    domains = _number("At least so many of them", 2, 64, "2 to 64.")
    priority = _number("Priority", -1000, 1000, "Higher numbers go first.")
    kind = forms.ChoiceField(label="What is gone", choices=list(KINDS.items()), required=False)
    names = forms.CharField(
        label="Called",
        max_length=LONGEST,
        required=False,
        help_text="Several: with commas between.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )

    def __init__(self, given: Mapping[str, Any], ground: Ground) -> None:
        """Take the query of an address, and what can be asked about."""
        self.ground = ground
        texts = {
            name: clean(str(given.get(name, ""))).strip()[: LONGEST + 1]
            for name in self.base_fields
        }
        super().__init__(_completed(texts, ground))
        services = [(name, name) for name in sorted(ground.tenants)]
        self._choices("service", [("", "choose…"), *services])
        self._choices("cluster", [(name, name) for name in ground.clusters])
        types = [(name, name) for name in ground.hardware]
        for role in Role:
            self._choices(f"{role.value}_hardware", types)
        for field in self.fields.values():
            if isinstance(field, forms.ChoiceField):
                field.error_messages["invalid_choice"] = "There is no %(value)s here to choose."
        self._gone: set[str] = set()

    def _choices(self, name: str, choices: list[tuple[str, str]]) -> None:
        field = self.fields[name]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type checker
        field.choices = choices

    def clean(self) -> dict[str, Any]:
        """Check what the chosen question needs; of the others nothing counts, not even a fault."""
        given = super().clean() or self.cleaned_data
        if "ask" not in given:
            return given
        mine = NEEDS.get(given["ask"], ())
        for name in list(self.errors):
            if name not in mine:
                del self.errors[name]
        checks = {"grow": self._check_growth, "new": self._check_new, "gone": self._check_gone}
        if given["ask"] and not self.errors:
            # A value with a fault is dropped from what is given, so they look at a copy.
            checks[given["ask"]](dict(given))
        return given

    def _check_growth(self, given: Mapping[str, Any]) -> None:
        tenant = self.ground.tenants.get(given["service"])
        if tenant is None:
            self.add_error("service", "Choose a service.")
            return
        if not any(given[role.value] for role in Role):
            self.add_error("prefill", "Say how many instances more or fewer.")
        for role in Role:
            change = given[role.value] or 0
            if change and role not in tenant.roles:
                self.add_error(role.value, f"{tenant.name} has no {role.value}.")
            elif -change > tenant.counts.of(role):
                there = tenant.counts.of(role)
                self.add_error(role.value, f"{tenant.name} has {there} {role.value} instances.")

    def _check_new(self, given: Mapping[str, Any]) -> None:
        if not any(given[f"{role.value}_count"] for role in Role):
            self.add_error("prefill_count", "Say how many instances of a role there are.")
        for role in Role:
            if given[f"{role.value}_count"]:
                self._check_role(role.value, given)
        if given["spread"] and not given["domains"]:
            self.add_error("domains", "Say over how many.")
        if given["spread"] and LEVELS[given["spread"]] < LEVELS[given["level"]]:
            self.add_error("spread", "Not nearer than what a group shares.")

    def _check_role(self, role: str, given: Mapping[str, Any]) -> None:
        for name in ("gpus", "nodes"):
            if not given[f"{role}_{name}"]:
                self.add_error(f"{role}_{name}", "Say how many.")
        slug, cluster = given[f"{role}_hardware"], given["cluster"]
        there = self.ground.hardware.get(slug, set())
        if not slug:
            self.add_error(f"{role}_hardware", "Choose a hardware type.")
        elif cluster not in there:
            self.add_error(f"{role}_hardware", _elsewhere(slug, cluster, there, []))
        gpus, nodes = given[f"{role}_gpus"], given[f"{role}_nodes"]
        if gpus and nodes and gpus % nodes:
            self.add_error(f"{role}_gpus", f"{gpus} GPUs are not the same on {nodes} nodes.")

    def _check_gone(self, given: Mapping[str, Any]) -> None:
        names = names_of(given["names"])
        if not names:
            self.add_error("names", "Name at least one.")
        if len(names) > MOST_NAMES:
            self.add_error("names", f"{len(names)} names; at most {MOST_NAMES} at once.")
            return
        kind, cluster = given["kind"], given["cluster"]
        for name in names:
            there = self.ground.find(kind, name)
            self._gone |= there.get(cluster, set())
            if cluster not in there:
                near = get_close_matches(name, self.ground.names(kind, cluster), 3)
                self.add_error("names", _elsewhere(name, cluster, set(there), near))
            elif not there[cluster]:
                self.add_error("names", f"No node hangs under {name}.")

    @property
    def is_asked(self) -> bool:
        """Whether there is a question, and it can be answered."""
        return self.is_valid() and bool(self.cleaned_data["ask"])

    @property
    def parts(self) -> dict[str, list[Any]]:
        """The fields by where they are shown."""
        found = {ask: [self[name] for name in NEEDS[ask] if name != "cluster"] for ask in NEEDS}
        shared = self["cluster"]
        place = [one for one in found["new"] if "_" not in one.name]
        roles = {
            role.value: [one for one in found["new"] if one.name.startswith(f"{role.value}_")]
            for role in Role
        }
        return found | roles | {"place": place, "cluster": [shared]}

    def question(self) -> WhatIf:
        """Return what a checked form asks."""
        given = self.cleaned_data
        if given["ask"] == "gone":
            return WhatIf(gone=frozenset(self._gone))
        if given["ask"] == "grow":
            change = Instances(*(given[role.value] or 0 for role in Role))
            return WhatIf(changes=(Request(given["service"], change),))
        new = _tenant(given, self.ground)
        change = Instances(*(given[f"{role.value}_count"] or 0 for role in Role))
        return WhatIf(added=(new,), changes=(Request(new.name, change),))

    @property
    def gone_words(self) -> str:
        """What is gone: "S2 s2-01 of eu-1"."""
        given = self.cleaned_data
        if given["ask"] != "gone":
            return ""
        kind = KINDS[given["kind"]]
        return f"{kind} {', '.join(names_of(given['names']))} of {given['cluster']}"

    @property
    def permalink(self) -> str:
        """The query with what counts of the question alone."""
        ask = self.data.get("ask", "")
        told = {"ask": ask} | {
            name: self.data[name]
            for name in NEEDS.get(ask, ())
            if self.data[name] and self.data[name] != DEFAULTS.get(name)
        }
        return urlencode(told) if ask else ""


def names_of(text: str) -> list[str]:
    """Return the names in a text, each once, in its order."""
    return list(dict.fromkeys(filter(None, (one.strip() for one in text.split(",")))))


def _completed(texts: dict[str, str], ground: Ground) -> dict[str, str]:
    """Return the texts with what counts where nothing is said."""
    found = {name: text or DEFAULTS.get(name, "") for name, text in texts.items()}
    first = next(iter(ground.clusters), "")
    found["cluster"] = found["cluster"] or first
    here = [slug for slug, clusters in ground.hardware.items() if found["cluster"] in clusters]
    for role in Role:
        name = f"{role.value}_hardware"
        found[name] = found[name] or next(iter(here), "")
    tenant = ground.tenants.get(found["service"])
    if tenant is not None and not found["prefill"] and not found["decode"]:
        found |= {role.value: str(unit_for(tenant).of(role) or "") for role in Role}
    return found


def _elsewhere(name: str, cluster: str, there: set[str], near: list[str]) -> str:
    said = f"{cluster} has no {name}"
    if there:
        return f"{said}; it is in {', '.join(sorted(there))}."
    return f"{said}. Is it {' or '.join(near)}?" if near else f"{said}."


def _tenant(given: Mapping[str, Any], ground: Ground) -> Tenant:
    """Return the service that a checked form describes."""
    counts = Instances(*(given[f"{role.value}_count"] or 0 for role in Role))
    roles = {
        role: RoleForm(
            RoleNeed(
                (Choice(given[f"{role.value}_hardware"], given[f"{role.value}_gpus"]),),
                given[f"{role.value}_nodes"],
            )
        )
        for role in Role
        if counts.of(role)
    }
    spread = Spread(LEVELS[given["spread"]], given["domains"]) if given["spread"] else None
    name, number = NEW, 1
    while name in ground.tenants:
        number += 1
        name = f"{NEW}-{number}"
    return Tenant(
        name,
        roles,
        priority=given["priority"] or 0,
        affinity=Affinity(LEVELS[given["level"]], given["how"] == REQUIRED),
        pd_ratio=counts.prefill / counts.decode if all(counts) else None,
        spread=spread,
        cluster=given["cluster"],
    )
