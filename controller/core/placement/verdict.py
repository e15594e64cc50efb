"""What a placement request comes to: placed, reduced or refused, as values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from controller.core.placement.tree import Placement


class RefusalCode(StrEnum):
    """Why a request isn't placed."""

    NO_FIT = "no_fit"
    BAD_REQUEST = "bad_request"
    NO_ELIGIBLE_DOMAIN = "no_eligible_domain"


@dataclass(frozen=True, slots=True)
class Placed:
    """All that was asked for has a place; ``best`` says that no better one exists."""

    placement: Placement
    best: bool = True


@dataclass(frozen=True, slots=True)
class Reduced:
    """``times`` the ratio have a place, the most that do unless ``best`` is false."""

    times: int
    placement: Placement
    best: bool = True


@dataclass(frozen=True, slots=True)
class Shortfall:
    """How much of one part would fit: ``fit`` ``of`` so many new units, pods or packs."""

    part: str
    fit: int
    of: int
    unit: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing is placed, and why.

    ``excluded`` counts the nodes that take no pod of the part at fault, each by its first
    reason, of ``nodes_seen``. ``would_fit_if`` is empty where nothing simple would help, and
    ``proved`` is false where the search ended at its budget before it was sure.
    """

    code: RefusalCode
    sentence: str
    shortfall: Shortfall | None = None
    nodes_seen: int = 0
    excluded: Mapping[str, int] | None = None
    would_fit_if: str = ""
    proved: bool = True


Verdict = Placed | Reduced | Refused


def verdict_plain(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as an answer holds it."""
    match verdict:
        case Placed():
            return {"placement": _plain(verdict.placement), "best": verdict.best}
        case Reduced():
            kept = {"times": verdict.times, "placement": _plain(verdict.placement)}
            return {"reduced": {**kept, "best": verdict.best}}
        case Refused():
            return {"refused": _refusal_plain(verdict)}


def _plain(placement: Placement) -> dict[str, dict[str, int]]:
    return {part: dict(nodes) for part, nodes in placement.items()}


def _refusal_plain(refused: Refused) -> dict[str, object]:
    plain: dict[str, object] = {"code": refused.code.value, "sentence": refused.sentence}
    if (short := refused.shortfall) is not None:
        plain |= {"part": short.part, "fit": short.fit, "of": short.of, "unit": short.unit}
    if refused.excluded is not None:
        plain |= {"nodes_seen": refused.nodes_seen, "excluded": dict(refused.excluded)}
    if refused.would_fit_if:
        plain["would_fit_if"] = refused.would_fit_if
    return plain | {"proved": refused.proved}
