"""What a decision provided for and what each of its policies wanted, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.core.words import number, percent
from controller.models import Decision

UNKNOWN: Final = "—"


@dataclass(frozen=True, slots=True)
class ProvisionRow:
    """One figure of both roles."""

    word: str
    prefill: str
    decode: str


@dataclass(frozen=True, slots=True)
class Part:
    """What one policy of a composition wanted, and why."""

    policy: str
    wanted: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Provision:
    """The figures of both roles [instances, unrounded], and the facts behind them."""

    rows: Sequence[ProvisionRow]
    facts: Sequence[tuple[str, str]]


def provision_of(decision: Decision) -> Provision | None:
    """Return what was provided for; ``None`` where nothing was reckoned, or it can't be read."""
    kept: Any = decision.forecast
    if not isinstance(kept, Mapping):
        return None
    lead = kept.get("lead_s")
    start = f"{lead:.0f} s of start-up" if isinstance(lead, int | float) else "a start-up"
    rows = (
        _row("what the load needs", kept.get("needs"), "{:.1f}".format),
        _row("what the newest sample needs, beyond chance", kept.get("newest"), "{:.1f}".format),
        _row("highest need held", kept.get("peaks"), "{:.1f}".format),
        _row(f"forecast for the end of {start}", kept.get("ahead"), "{:.1f}".format),
        _row(f"margin for {start}", kept.get("margins"), percent),
        _row("to work off the queues", kept.get("backlog"), "{:.1f}".format),
    )
    return Provision(rows, tuple(_facts(kept)))


def parts_of(decision: Decision) -> tuple[Part, ...]:
    """Return what the policies of a composition wanted; of a single policy nothing."""
    kept: Any = decision.parts
    return tuple(
        Part(
            str(part.get("policy", "")),
            f"prefill {part.get('prefill', UNKNOWN)}, decode {part.get('decode', UNKNOWN)}",
            str(part.get("code", "")),
            str(part.get("text", "")),
        )
        for part in (kept if isinstance(kept, list) else ())
        if isinstance(part, Mapping)
    )


def _row(word: str, pair: object, shown: Any) -> ProvisionRow:  # noqa: ANN401 - a formatter
    figures = pair if isinstance(pair, Mapping) else {}
    prefill, decode = (
        shown(figure) if isinstance(figure := figures.get(role), int | float) else UNKNOWN
        for role in ("prefill", "decode")
    )
    return ProvisionRow(word, prefill, decode)


def _facts(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the mix that was measured and what it asks for, as far as they are known."""
    found = []
    mix = kept.get("mix")
    if isinstance(mix, Mapping):
        tokens = (
            ("prompt", mix.get("input_tokens")),
            ("computed", mix.get("uncached_tokens")),
            ("answer", mix.get("output_tokens")),
        )
        told = [f"{word} {number(n)}" for word, n in tokens if isinstance(n, int | float)]
        found.append(("tokens of a request", ", ".join(told)))
    found.extend(_forecasts(kept))
    for name, word in (("ratio", "ratio that fits"), ("target", "target that fits")):
        figure = kept.get(name)
        if isinstance(figure, int | float):
            found.append((word, f"{figure:.2f}" if name == "ratio" else number(figure)))
    return found


_METHODS: Final = {
    "flat": "as it is now",
    "trend": "by the trend of ten minutes",
    "season": "by yesterday's course",
}


def _forecasts(kept: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return how each role was forecast and how far that was off, once it was judged."""
    by, errors, flat = (
        found if isinstance(found := kept.get(name), Mapping) else {}
        for name in ("ahead_by", "ahead_errors", "flat_errors")
    )
    found = []
    for role in ("prefill", "decode"):
        error, as_now = errors.get(role), flat.get(role)
        if not isinstance(error, int | float):
            continue
        told = f"{_METHODS.get(str(by.get(role)), UNKNOWN)}, off by {_off(error)} on average"
        if by.get(role) != "flat" and isinstance(as_now, int | float):
            told += f" (the need of now by {_off(as_now)})"
        found.append((f"{role} forecast", told))
    return found


def _off(error: float) -> str:
    # One decimal: a twentieth less decides between two ways, which whole percents hide.
    return f"{100.0 * error:.1f} %"
