"""What an overlay says of nodes: a few words, and the parts of a bar."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from controller.core.phrases import plural
from controller.core.words import number, percent
from controller.drawings.state import State, Tone, tally
from controller.drawings.tree import Node
from inventory.gpus import Parts, total_of


class Overlay(StrEnum):
    """What the right-hand word and the bar of a box say."""

    HEALTH = "health"
    UTILISATION = "utilisation"
    FREE = "free"
    SERVICE = "service"
    HARDWARE = "hardware"


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a bar, 0-1 of its length; what no part covers stays empty."""

    tone: Tone
    part: float


@dataclass(frozen=True, slots=True)
class Reading:
    """Words and the bar beside them."""

    words: str
    shares: tuple[Share, ...] = ()


def bar_words(overlay: Overlay, service: str = "") -> tuple[tuple[Tone, str], ...]:
    """Return what bars are made of; those of health are the states themselves."""
    if overlay is Overlay.HEALTH:
        return ()
    if overlay is Overlay.SERVICE:
        runs = f"runs {service or 'a service'}"
        return ((Tone.BUSY, runs), (Tone.UNKNOWN, "services unknown"))
    if overlay is Overlay.HARDWARE:
        return ((Tone.OK, "one type"), (Tone.WARN, "several types"), (Tone.UNKNOWN, "not known"))
    full = (Tone.BUSY, "in use") if overlay is Overlay.UTILISATION else (Tone.OK, "free")
    return (full, (Tone.UNKNOWN, "use unknown"))


def read(nodes: Sequence[Node], overlay: Overlay, service: str = "") -> Reading:
    """Return what an overlay says of nodes together."""
    if not nodes:
        return Reading("no nodes")
    if overlay is Overlay.SERVICE:
        return _service(nodes, service)
    return _READINGS[overlay](nodes)


def health_words(states: tuple[tuple[State, int], ...], nodes: int) -> str:
    """Return states in words: "2 unhealthy, 1 in maintenance"; "all healthy" where all are."""
    if len(states) <= 1:
        word = states[0][0].word if states else "no nodes"
        return word if nodes <= 1 else f"all {word}"
    told = [(state, count) for state, count in states if state.tone is not Tone.OK]
    return ", ".join(f"{number(count)} {state.word}" for state, count in told or states)


def _health(nodes: Sequence[Node]) -> Reading:
    states = tally(node.state for node in nodes)
    shares = ((state.tone, count) for state, count in reversed(states))
    return Reading(health_words(states, len(nodes)), _shares(shares, len(nodes)))


def _utilisation(nodes: Sequence[Node]) -> Reading:
    parts = total_of(node.parts for node in nodes)

    def known() -> str:
        return f"{percent(parts.in_use / parts.total)} in use"

    return _of_gpus(parts, known, Tone.BUSY, parts.in_use)


def _free(nodes: Sequence[Node]) -> Reading:
    parts = total_of(node.parts for node in nodes)
    return _of_gpus(parts, lambda: f"{number(parts.free)} free", Tone.OK, parts.free)


def _of_gpus(parts: Parts, known: Callable[[], str], tone: Tone, count: int) -> Reading:
    if not parts.total:
        return Reading("GPUs not counted" if parts.uncounted else "no GPUs")
    shares = _shares(((tone, count), (Tone.UNKNOWN, parts.unknown)), parts.total)
    if parts.unknown == parts.total:
        return Reading("use unknown", shares)
    more = f", {number(parts.unknown)} unknown" if parts.unknown else ""
    return Reading(known() + more, shares)


def _service(nodes: Sequence[Node], service: str) -> Reading:
    told = [node.services for node in nodes if node.services is not None]
    silent = len(nodes) - len(told)
    running = [names for names in told if (service in names if service else names)]
    counts = ((Tone.BUSY, len(running)), (Tone.UNKNOWN, silent))
    shares = _shares(counts, len(nodes))
    if not told:
        return Reading("unknown", shares)
    more = f", {number(silent)} unknown" if silent else ""
    if service:
        return Reading(_of_one(len(running), len(nodes)) + more, shares)
    return Reading(_names(sorted({name for names in running for name in names})) + more, shares)


def _hardware(nodes: Sequence[Node]) -> Reading:
    """Name the GPU types; several of them are what makes a domain scarce (HeteroScale, §6)."""
    names = sorted({node.hardware for node in nodes if node.hardware})
    silent = sum(not node.hardware for node in nodes)
    tone = Tone.OK if len(names) == 1 else Tone.WARN
    shares = _shares(((tone, len(nodes) - silent), (Tone.UNKNOWN, silent)), len(nodes))
    if not names:
        return Reading("type not known", shares)
    more = f", {number(silent)} unknown" if silent else ""
    return Reading(", ".join(names) + more, shares)


def _of_one(running: int, nodes: int) -> str:
    if nodes == 1:
        return "runs here" if running else "not here"
    return f"{number(running)} of {plural(nodes, 'node')}"


def _names(names: Sequence[str]) -> str:
    if not names:
        return "no service"
    return names[0] if len(names) == 1 else f"{len(names)} services"


def _shares(counts: Iterable[tuple[Tone, int]], total: int) -> tuple[Share, ...]:
    return tuple(Share(tone, count / total) for tone, count in counts if count)


_READINGS: Final[Mapping[Overlay, Callable[[Sequence[Node]], Reading]]] = {
    Overlay.HEALTH: _health,
    Overlay.UTILISATION: _utilisation,
    Overlay.FREE: _free,
    Overlay.HARDWARE: _hardware,
}
