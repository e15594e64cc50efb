"""Two ways a decision came about beside one another: as recorded, and as replayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from controller.core import phrases
from controller.core.decision_plain import record_of
from controller.core.guards import STEP_NAMES
from controller.core.types import Decision as Decided
from controller.models import Decision
from controller.selectors.decisions import change_of

PLACES: Final = {name: at for at, name in enumerate(STEP_NAMES)}
NOTHING: Final = "changed nothing"


@dataclass(frozen=True, slots=True)
class Side:
    """What one step made of the counts on one side."""

    after: str
    code: str
    title: str
    detail: str

    @property
    def told(self) -> str:
        """The step in words."""
        return f"{self.after}, {self.code}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Pair:
    """One step on both sides; a side on which it changed nothing is ``None``."""

    word: str
    recorded: Side | None
    replayed: Side | None

    @property
    def differs(self) -> bool:
        """Whether counts or reason differ; figures in the detail may."""
        return _essence(self.recorded) != _essence(self.replayed)

    @property
    def told(self) -> str:
        """Where the sides part, in words."""
        recorded, replayed = (
            each.told if each else NOTHING for each in (self.recorded, self.replayed)
        )
        return f"{self.word} — recorded: {recorded}; replayed: {replayed}"


@dataclass(frozen=True, slots=True)
class Beside:
    """Both decisions, step by step."""

    pairs: Sequence[Pair]
    change: tuple[str, str]
    code: tuple[str, str]
    sentence: tuple[str, str]

    @property
    def same(self) -> bool:
        """Whether both decide the same for the same reason."""
        return self.change[0] == self.change[1] and self.code[0] == self.code[1]

    @property
    def first(self) -> Pair | None:
        """The first step that differs."""
        return next((pair for pair in self.pairs if pair.differs), None)


def beside(recorded: Decision, replayed: Decided) -> Beside:
    """Return a decision's row and what was decided again, step by step in the guards' order."""
    one, two = _numbered(recorded.steps), _numbered(record_of(replayed)["steps"])
    keys = sorted(one.keys() | two.keys(), key=lambda key: (PLACES.get(key[0], 99), *key))
    return Beside(
        pairs=[
            Pair(phrases.STEP_WORDS.get(key[0], key[0]), one.get(key), two.get(key))
            for key in keys
        ],
        change=(change_of(recorded), phrases.counts(replayed.current, replayed.final)),
        code=(recorded.code, replayed.code.value),
        sentence=(recorded.sentence, replayed.sentence),
    )


def _numbered(steps: Iterable[object]) -> dict[tuple[str, int], Side]:
    """Return steps by name and how many of that name came before: limits may take two."""
    seen: Counter[str] = Counter()
    found = {}
    for step in steps:
        if isinstance(step, Mapping):
            name = str(step.get("name", ""))
            found[name, seen[name]] = _side(step)
            seen[name] += 1
    return found


def _side(step: Mapping[str, Any]) -> Side:
    after = step.get("after")
    counts = after if isinstance(after, Mapping) else {}
    code = str(step.get("code", step.get("reason_code", "")))
    return Side(
        after=f"decode {counts.get('decode', '—')}, prefill {counts.get('prefill', '—')}",
        code=code,
        title=phrases.CODE_TITLES.get(code, ""),
        detail=str(step.get("detail", "")),
    )


def _essence(side: Side | None) -> tuple[str, str] | None:
    return (side.after, side.code) if side else None
