"""The form of a policy: what was typed, what the controller would say of it, and its body."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from zoneinfo import ZoneInfo

from django import forms

from controller.core.config_check import DRIVERS, Problem, validate_policy
from controller.core.policies import POLICIES
from controller.core.policy_fields import (
    ADAPT_WORDS,
    DEFAULTS,
    FIELDS,
    GROUPS,
    Group,
    Kind,
    PolicyField,
    in_form_words,
    plainly,
)
from controller.core.policy_names import JOINT, PERIODIC
from controller.core.schedule import schedule_problems
from controller.core.types import SIGNALS, Adapt
from controller.views.policy_windows import MOST_WINDOWS, WindowRows
from inventory.services.policies import KEPT
from inventory.snapshot import config_of

NUMBER: Final = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
WHOLE: Final = re.compile(r"[+-]?\d{1,18}", re.ASCII)
PLACE: Final = re.compile(r"schedule\[(\d+)\][.]?\s*")
LONGEST_NUMBER: Final = 40
NUMERIC: Final = frozenset({Kind.NUMBER, Kind.WHOLE, Kind.MEASURED})
CHOSEN: Final = frozenset({Kind.ADAPT, Kind.DRIVER})
"""Kinds that a browser sends a choice of whatever a person does."""
POLICY_WORDS: Final = {
    "proportional": "sizes both roles in proportion to the driver",
    "latency": "adds instances when TTFT or TBT is over its goal",
    "periodic": "asks for the counts of the windows below",
}


def _number(field: PolicyField) -> forms.Field:
    step = "1" if field.kind is Kind.WHOLE else "any"
    shown = {"inputmode": "decimal", "step": step, "autocomplete": "off"}
    if field.kind is Kind.MEASURED:
        shown["placeholder"] = "measured"
    return forms.CharField(max_length=LONGEST_NUMBER, widget=forms.TextInput(attrs=shown))


def _policies(_field: PolicyField) -> forms.Field:
    choices = [(name, POLICY_WORDS.get(name, name)) for name in POLICIES]
    return forms.MultipleChoiceField(choices=choices, widget=forms.CheckboxSelectMultiple)


def _driver(_field: PolicyField) -> forms.Field:
    labels = [(kind.name, f"{kind.label} [{kind.unit}], {kind.name}") for kind in SIGNALS]
    groups = [
        ("grow with the load", [pair for pair in labels if pair[0] in DRIVERS]),
        ("advised against", [pair for pair in labels if pair[0] not in DRIVERS]),
    ]
    return forms.CharField(max_length=40, widget=forms.Select(choices=groups))


def _adapt(_field: PolicyField) -> forms.Field:
    choices = [(adapt.value, words) for adapt, words in ADAPT_WORDS.items()]
    fix = {"required": f"Nothing is chosen; choose from {', '.join(Adapt)}"}
    return forms.ChoiceField(choices=choices, error_messages=fix)


def _zone(_field: PolicyField) -> forms.Field:
    shown = {"placeholder": "UTC", "spellcheck": "false", "autocomplete": "off"}
    return forms.CharField(max_length=63, widget=forms.TextInput(attrs=shown))


MAKERS: Final = {
    Kind.NUMBER: _number,
    Kind.WHOLE: _number,
    Kind.MEASURED: _number,
    Kind.CHECK: lambda _field: forms.BooleanField(),
    Kind.DRIVER: _driver,
    Kind.ADAPT: _adapt,
    Kind.POLICIES: _policies,
    Kind.ZONE: _zone,
}


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """One group of the form: its heading and its fields."""

    group: Group
    rows: Sequence[tuple[forms.BoundField, PolicyField]]
    has_windows: bool


class PolicyForm(forms.Form):
    """Every kept field of a policy, the revision it was opened at, and why it is saved."""

    opened = forms.IntegerField(min_value=0, max_value=2**31 - 1, widget=forms.HiddenInput)
    reason = forms.CharField(
        label="Reason", required=False, widget=forms.Textarea(attrs={"rows": 2})
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        body: Mapping[str, Any],
        opened: int,
        more_windows: int = 0,
    ) -> None:
        """Begin with ``body``, or with what was typed where ``data`` has it."""
        self.first = dict(body)
        initial = {name: _shown(FIELDS[name], body.get(name)) for name in KEPT}
        super().__init__(data, initial=initial | {"opened": opened})
        for name in KEPT:
            self._add(FIELDS[name])
        self.windows = WindowRows(data, body.get("schedule"), more=more_windows)

    def _add(self, field: PolicyField) -> None:
        if field.kind is Kind.SCHEDULE:
            return
        made = MAKERS[field.kind](field)
        # What no body may lack has no text to stand for it: a number left out is an empty one.
        made.required = field.kind is Kind.ADAPT
        made.label = f"{field.label} [{field.unit}]" if field.unit else field.label
        made.help_text = f"{field.meaning}{_usual(field)}"
        # Named whether or not there is an error: one that comes while typing is in its place.
        at = f"id_{field.name}"
        made.widget.attrs["aria-describedby"] = f"{at}_helptext {at}_error"
        self.fields[field.name] = made

    @property
    def groups(self) -> list[ShownGroup]:
        """The groups that have fields, in the order of the page."""
        found = []
        for group in GROUPS:
            rows = [(self[name], FIELDS[name]) for name in group.names if name in self.fields]
            windows = "schedule" in group.names and self.keeps_windows
            if rows or windows:
                found.append(ShownGroup(group, rows, windows))
        return found

    @property
    def keeps_windows(self) -> bool:
        """Whether a policy keeps a schedule."""
        return "schedule" in KEPT

    @property
    def is_whole(self) -> bool:
        """Whether what was sent has a choice for every field that a browser sends one of."""
        chosen = [name for name in KEPT if FIELDS[name].kind in CHOSEN]
        return not self.is_bound or all(name in self.data for name in chosen)

    @property
    def wrong(self) -> Sequence[str]:
        """The names on the page of the fields that can't be used, in its order."""
        if not self.is_bound:
            return []
        names = [name for group in GROUPS for name in group.names if name in self.errors]
        return [FIELDS[name].label for name in names]

    @property
    def schedule_errors(self) -> Sequence[str]:
        """What is wrong with the windows."""
        return [str(each) for each in self.errors.get("schedule", ())] if self.is_bound else []

    def clean(self) -> dict[str, Any]:
        """Check the values as the controller does before it uses them."""
        given = super().clean() or self.cleaned_data
        body = self.body()
        for sentence in _windows_wrong(body.get("schedule", ()), self.windows.numbers):
            self._say_of_windows(sentence)
        if PERIODIC in body["name"].split(JOINT) and self.windows.count and not body["schedule"]:
            self._say_of_windows("The window has nothing in it yet; give its name, times, counts")
        usable = {
            name: value
            for name, value in body.items()
            if name not in self.errors or name not in DEFAULTS
        }
        for problem in _problems(usable):
            self.refuse(problem.field, in_form_words(problem.message))
        return given

    def refuse(self, name: str, sentence: str) -> None:
        """Say beside a field why it can't be used, unless something is said there already."""
        if name in self.errors:
            return
        if name == "schedule":
            self._say_of_windows(sentence)
        else:
            self.add_error(name if name in self.fields else None, sentence)

    def _say_of_windows(self, sentence: str) -> None:
        # The windows are forms of their own, so no field of this one can carry what is wrong.
        self.errors.setdefault("schedule", self.error_class()).append(sentence)

    def body(self) -> dict[str, Any]:
        """Return what was typed as a body; a text that is no number stays a text."""
        body: dict[str, Any] = {}
        for name in KEPT:
            field = FIELDS[name]
            if field.kind is Kind.SCHEDULE:
                body[name] = self.windows.plain()
            else:
                body[name] = _typed(field, self.cleaned_data.get(name, self._raw(name)))
        return body

    def _raw(self, name: str) -> Any:  # noqa: ANN401 - what a browser may send
        field = self.fields[name]
        return field.widget.value_from_datadict(self.data, {}, name)


def _usual(field: PolicyField) -> str:
    """Return the default in words, where one value is usual; new services follow the mix."""
    default = DEFAULTS.get(field.name)
    if default is None or field.kind in {Kind.ADAPT, Kind.CHECK}:
        return ""
    return f" Usually {plainly(default)}."


def _shown(field: PolicyField, value: object) -> object:
    if field.kind is Kind.POLICIES:
        return str(value or "").split("+")
    if field.kind in {Kind.CHECK, Kind.SCHEDULE}:
        return value
    return "" if value is None else plainly(value)


def as_sent(name: str, value: object) -> list[str]:
    """Return a value of a body as the field of a browser's form sends it."""
    shown = _shown(FIELDS[name], value)
    if isinstance(shown, list):
        return shown
    if isinstance(shown, bool):
        return ["on"] if shown else []
    return [str(shown)]


def untouched(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body as the form gives it back when nobody types anything."""
    fields = {name: FIELDS[name] for name in KEPT}
    return {
        name: WindowRows(None, body.get(name)).plain()
        if field.kind is Kind.SCHEDULE
        else _typed(field, _shown(field, body.get(name)))
        for name, field in fields.items()
    }


def _typed(field: PolicyField, value: Any) -> Any:  # noqa: ANN401 - what a browser may send
    if field.kind is Kind.POLICIES:
        chosen = value or ()
        return "+".join(name for name in POLICIES if name in chosen)
    if field.kind in NUMERIC:
        return _figure(str(value or "").strip(), whole=field.kind is Kind.WHOLE)
    if field.kind is Kind.ZONE:
        return str(value or "").strip() or DEFAULTS[field.name]
    return value


def _figure(text: str, *, whole: bool) -> float | int | str | None:
    if not text:
        return None
    if whole and WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _windows_wrong(windows: Sequence[Mapping[str, Any]], numbers: Sequence[int]) -> Iterator[str]:
    """Yield what can't be used of the windows, each by its number on the form."""
    if len(windows) > MOST_WINDOWS:
        yield f"At most {MOST_WINDOWS} windows fit."
    for fault in schedule_problems(windows):
        yield PLACE.sub(lambda found: f"Window {numbers[int(found[1])]}: ", str(fault), count=1)


def _problems(body: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what the controller would refuse, then what can't even be kept."""
    yield from validate_policy(config_of(body, revision=0))
    for name, value in body.items():
        kind = FIELDS[name].kind
        if kind in NUMERIC and not _is_number(value):
            yield Problem(name, f"{name} is {str(value)[:LONGEST_NUMBER]!r}; give a number")
        if kind is Kind.ZONE and not _is_zone(value):
            yield Problem(name, f"{name} is {value[:63]!r}; give a name such as Europe/Berlin")


def _is_number(value: object) -> bool:
    # An empty field is named by the check of the policy, which knows whether it may be empty.
    return value is None or (isinstance(value, int | float) and math.isfinite(value))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return False
    return True
