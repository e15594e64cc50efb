"""The rows of a schedule on the form of a policy: windows as they are typed, and as kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from django import forms

from controller.core.policy_fields import ALL_DAYS, DAYS
from controller.core.types import PeriodKind

PREFIX: Final = "window"
COUNT: Final = "windows"
DROP: Final = "drop"
MOST_WINDOWS: Final = 50
KINDS: Final = (
    (PeriodKind.FLOOR.value, "at least these counts"),
    (PeriodKind.TARGET.value, "exactly these counts"),
)
COUNTED: Final = ("prefill", "decode")
DATED: Final = ("dates", "except_dates")
TYPED: Final = ("name", "begin", "end", *COUNTED)
LARGEST_COUNT_DIGITS: Final = 9


def _text(label: str, longest: int, **shown: str) -> forms.CharField:
    widget = forms.TextInput(attrs={"autocomplete": "off", **shown})
    return forms.CharField(label=label, max_length=longest, required=False, widget=widget)


class WindowForm(forms.Form):
    """One window: when it is, and the counts it asks for."""

    name = _text("Name", 60, placeholder="office hours")
    kind = forms.ChoiceField(label="Asks for", choices=KINDS, required=False)
    begin = forms.CharField(
        label="From", max_length=8, required=False, widget=forms.TextInput(attrs={"type": "time"})
    )
    end = forms.CharField(
        label="to", max_length=8, required=False, widget=forms.TextInput(attrs={"type": "time"})
    )
    prefill = _text("Prefill [instances]", LARGEST_COUNT_DIGITS, inputmode="numeric")
    decode = _text("Decode [instances]", LARGEST_COUNT_DIGITS, inputmode="numeric")
    days = forms.TypedMultipleChoiceField(
        label="Begins on",
        coerce=int,
        choices=tuple(enumerate(DAYS)),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    dates = _text("Only on these dates", 400, placeholder="2026-12-24, 2026-12-31")
    except_dates = _text("Not on these dates", 400, placeholder="2026-12-25")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was typed into it: such a row counts for nothing."""
        return not any(str(self[name].value() or "").strip() for name in TYPED)

    def plain(self) -> dict[str, Any]:
        """Return the window as a policy keeps it; a count that is none stays a text."""
        typed = {name: str(self[name].value() or "").strip() for name in self.fields}
        given = self["days"].value()
        chosen = set(map(str, given)) if isinstance(given, list | tuple) else set()
        return {
            "name": typed["name"],
            "kind": typed["kind"] or PeriodKind.FLOOR.value,
            "begin": typed["begin"][:5],
            "end": typed["end"][:5],
            **{role: _count(typed[role]) for role in COUNTED},
            "days": [day for day in ALL_DAYS if str(day) in chosen],
            **{name: typed[name].replace(",", " ").split() for name in DATED},
        }


def _count(text: str) -> int | str:
    known = text.isascii() and text.isdecimal() and len(text) <= LARGEST_COUNT_DIGITS
    return int(text) if known else text


class WindowRows:
    """All windows of the form, from what was sent or from what is kept."""

    def __init__(self, data: Mapping[str, Any] | None, kept: object, *, more: int = 0) -> None:
        """Take the rows sent, without the dropped one, or those kept; and ``more`` empty ones."""
        self.stored_fault = ""
        rows = self._kept(kept) if data is None or COUNT not in data else _sent(data)
        empty = {"days": list(ALL_DAYS)}
        rows = [*rows, *([empty] * more)][: MOST_WINDOWS + 1]
        self.forms = [
            WindowForm(initial=row, prefix=f"{PREFIX}-{i}") for i, row in enumerate(rows)
        ]

    def _kept(self, kept: object) -> list[dict[str, Any]]:
        rows = kept if isinstance(kept, list | tuple) else []
        usable = [row for row in rows if isinstance(row, Mapping)]
        if len(usable) < len(rows) or (kept and not rows):
            self.stored_fault = (
                "The stored schedule can't be read in part: what is below replaces it."
            )
        return [_as_typed(row) for row in usable]

    @property
    def count(self) -> int:
        """How many rows the form has."""
        return len(self.forms)

    @property
    def may_add(self) -> bool:
        """Whether another row fits."""
        return self.count < MOST_WINDOWS

    @property
    def numbers(self) -> list[int]:
        """The number on the page of each window that counts."""
        return [i for i, form in enumerate(self.forms, 1) if not form.is_empty]

    def beyond(self, most: Mapping[str, int]) -> list[str]:
        """Return what windows ask for above the most instances of a role, window by window."""
        return [
            f"Window {i} asks for {count:,} {role}: the maximum of {most[role]:,} caps it."
            for i, form in enumerate(self.forms, 1)
            for role in COUNTED
            if isinstance(count := form.plain()[role], int) and count > most.get(role, count)
        ]

    def plain(self) -> list[dict[str, Any]]:
        """Return the windows as a policy keeps them, empty rows left out."""
        return [form.plain() for form in self.forms if not form.is_empty]


def _as_typed(row: Mapping[str, Any]) -> dict[str, Any]:
    lists = {
        name: ", ".join(map(str, given)) if isinstance(given := row.get(name), list) else ""
        for name in DATED
    }
    usual = {"days": list(ALL_DAYS)}
    return usual | {name: row[name] for name in WindowForm.base_fields if name in row} | lists


def _sent(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a sent form in their order, the one to drop left out."""
    count = str(data.get(COUNT, ""))
    many = min(int(count), MOST_WINDOWS + 1) if count.isdecimal() and len(count) < 4 else 0  # noqa: PLR2004
    kept = [i for i in range(many) if str(data.get(DROP, "")) != str(i)]
    return [_row(data, i) for i in kept]


def _row(data: Mapping[str, Any], i: int) -> dict[str, Any]:
    fields = WindowForm.base_fields
    return {
        name: field.widget.value_from_datadict(data, {}, f"{PREFIX}-{i}-{name}")
        for name, field in fields.items()
    }
