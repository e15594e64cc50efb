"""The form of a replay: recorded values to be changed, and the document they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Final

from django import forms

from controller.core.policy_fields import ADAPT_WORDS, FIELDS, plainly
from controller.core.types import SIGNAL_INDEX, SIGNALS, Quality, Role
from controller.selectors.replay import UNREAD, Replayable
from controller.views.policy_form import LONGEST_NUMBER, NUMBER, WHOLE

READ: Final = (
    *("decode_tps", "prefill_tps_uncached", "prefill_tps", "request_rps"),
    *("prefill_waiting", "decode_waiting", "ttft_s", "tbt_s", "prefill_util"),
)
"""What a decision reads besides its driver."""

COUNTS: Final = {"desired": "wished", "ready": "ready", "starting": "starting", "held": "held"}
POLICY: Final = (
    *("driver", "target", "pd_ratio", "adapt", "theta_out", "theta_in", "hold_s", "margin_frac"),
    *("lead_s", "step_abs", "step_out_frac", "step_frac", "cooldown_out_s", "cooldown_in_s"),
    "stabilisation_s",
)


@dataclass(frozen=True, slots=True)
class Knob:
    """One value that can be changed: where it is in the document, and how it is told."""

    name: str
    path: tuple[str, ...]
    label: str
    recorded: str
    empty: str = "unknown"
    choices: Sequence[tuple[str, str]] = ()

    @property
    def where(self) -> str:
        """The path as a fault names it."""
        return ".".join(self.path)

    def told(self, text: str) -> str:
        """Return a value in words."""
        return dict(self.choices).get(text, text) or self.empty


@dataclass(frozen=True, slots=True)
class Change:
    """A value that was changed, for the page that compares."""

    label: str
    recorded: str
    used: str


def knobs_of(found: Replayable) -> dict[str, tuple[Knob, ...]]:
    """Return what can be changed by heading."""
    plain = found.document
    driver = plain["service"]["policy"]["driver"]
    names = [name for name in dict.fromkeys((driver, *READ)) if name in SIGNAL_INDEX]
    return {
        "Signals": tuple(_signal(plain["signals"], name) for name in names),
        "Instances": tuple(
            Knob(
                f"{role.value}_{count}",
                ("state", count, role.value),
                f"{role.value} {word}",
                str(plain["state"][count][role.value]),
            )
            for role in (Role.DECODE, Role.PREFILL)
            for count, word in COUNTS.items()
        ),
        f"Policy, revision {found.revision}": tuple(
            _policy(plain["service"]["policy"], name) for name in POLICY
        ),
    }


def _signal(signals: Mapping[str, Any], name: str) -> Knob:
    kind = SIGNALS[SIGNAL_INDEX[name]]
    value = signals.get(name, {}).get("value")
    shown = "" if value is None else f"{value:.6g}"
    return Knob(
        name, ("signals", name, "value"), f"{kind.label} [{kind.unit}]", shown, "not reported"
    )


def _policy(policy: Mapping[str, Any], name: str) -> Knob:
    field, value = FIELDS[name], policy[name]
    choices: Sequence[tuple[str, str]] = ()
    if name == "driver":
        choices = [(kind.name, f"{kind.label} [{kind.unit}]") for kind in SIGNALS]
    elif name == "adapt":
        choices = [(adapt.value, words) for adapt, words in ADAPT_WORDS.items()]
    shown = "" if value is None else value if choices else plainly(value)
    label = f"{field.label} [{field.unit}]" if field.unit else field.label
    return Knob(
        f"policy_{name}", ("service", "policy", name), label, str(shown), "measured", choices
    )


class ReplayForm(forms.Form):
    """The knobs as fields; what the address does not name is as recorded."""

    def __init__(self, given: Mapping[str, Any], knobs: Mapping[str, Sequence[Knob]]) -> None:
        """Take the query of the address."""
        self.knobs = {knob.name: knob for group in knobs.values() for knob in group}
        texts = {
            name: str(given.get(name, knob.recorded)).strip()[:LONGEST_NUMBER]
            for name, knob in self.knobs.items()
        }
        super().__init__(texts)
        for name, knob in self.knobs.items():
            self.fields[name] = _field(knob)
        self.groups = {
            title: [self[knob.name] for knob in group] for title, group in knobs.items()
        }
        self.changed = {
            name: text for name, text in texts.items() if text != self.knobs[name].recorded
        }
        self.full_clean()

    @property
    def changes(self) -> list[Change]:
        """What differs from the record."""
        return [
            Change(knob.label, knob.told(knob.recorded), knob.told(text))
            for knob, text in ((self.knobs[name], text) for name, text in self.changed.items())
        ]

    def refuse(self, where: str, sentence: str) -> None:
        """Say beside the field whose value can't be used why; above the form for any other."""
        name = next((knob.name for knob in self.knobs.values() if knob.where == where), None)
        self.add_error(name, sentence if name else f"{where}: {sentence}")

    def document(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        """Return the document with what was changed."""
        plain: dict[str, Any] = deepcopy(dict(recorded))
        for name, text in self.changed.items():
            path = self.knobs[name].path
            if path[0] == "signals":
                _read_as(plain, name, text)
            else:
                part = plain
                for step in path[:-1]:
                    part = part[step]
                part[path[-1]] = text if self.knobs[name].choices else _figure(text)
        return plain


def _field(knob: Knob) -> forms.Field:
    shown = {"inputmode": "decimal", "autocomplete": "off"}
    widget = forms.Select(choices=knob.choices) if knob.choices else forms.TextInput(attrs=shown)
    told = f"recorded {knob.told(knob.recorded)}"
    return forms.CharField(label=knob.label, required=False, widget=widget, help_text=told)


def _figure(text: str) -> float | int | str | None:
    """Return the number of a text; a text that is none stays one, and is refused where used."""
    if not text:
        return None
    if WHOLE.fullmatch(text):
        return int(text)
    return float(text) if NUMBER.fullmatch(text) else text


def _read_as(plain: dict[str, Any], name: str, text: str) -> None:
    """Put another value of a signal into the document; an empty one is missing, never 0.

    Its quality stays, unless the signal had no value or has none now.
    """
    kind = SIGNALS[SIGNAL_INDEX[name]]
    ready = plain["state"]["ready"][kind.role.value]
    one = plain["signals"].setdefault(
        name,
        {"unit": kind.unit, "reporting": 0, "expected": ready, "quality": Quality.MISSING.value},
    )
    was_unread, value = one["quality"] in UNREAD, _figure(text)
    one |= {"value": value, "newest": None}
    if value is None:
        one["quality"] = Quality.MISSING.value
    elif not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        # Graded as the loop would: not a number, or one no service reports.
        del one["quality"]
        one["measured_at_s"] = plain["now_s"]
    elif was_unread:
        expected = max(one["expected"], ready)
        one |= {"reporting": expected, "expected": expected, "measured_at_s": plain["now_s"]}
        one["quality"] = Quality.OK.value
