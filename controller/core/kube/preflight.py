"""What was found when a cluster was asked what we may do in it, in words and as JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from controller.core.kube.rights import Excess, Right


MOST_SKEW_S: Final = 5.0
"""Dates of HTTP are whole seconds, and an answer takes some time."""


class Found(StrEnum):
    """How one thing that was looked at stands, as the icon that says it."""

    OK = "ok"
    LOOK = "warn"
    LACKS = "crit"
    UNKNOWN = "muted"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what, where, how it stands, what for, what it means.

    ``needed`` tells whether the product can't do its work without it.
    """

    what: str
    found: Found
    said: str
    where: str = ""
    why: str = ""
    needed: bool = True

    @property
    def lacks(self) -> bool:
        """Whether something that is needed is not there."""
        return self.needed and self.found is Found.LACKS

    @property
    def word(self) -> str:
        """How it stands in a word."""
        words = {Found.OK: "yes", Found.LOOK: "look", Found.LACKS: "no", Found.UNKNOWN: "unknown"}
        return words[self.found]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return asdict(self)


def checks_of(kept: object) -> tuple[Check, ...]:
    """Return what was kept of a look; what can't be read is left out."""
    rows = kept if isinstance(kept, list) else []
    return tuple(check for row in rows if (check := _check_of(row)) is not None)


def _check_of(row: Mapping[str, Any]) -> Check | None:
    try:
        return Check(**{**row, "found": Found(row["found"])})
    except (TypeError, KeyError, ValueError):
        return None


def of_right(right: Right, where: str, lacking: Iterable[str], *, needed: bool) -> Check:
    """Return how a right stands in a namespace, given the verbs that are refused there."""
    missing = tuple(lacking)
    if not missing:
        found, said = Found.OK, "Granted."
    else:
        found = Found.LACKS if needed else Found.LOOK
        said = f"Not granted: {', '.join(missing)}. {right.without}"
    what = f"{', '.join(right.verbs)} {right.words}"
    return Check(what, found, said, where, right.why, needed=needed)


def of_excess(excess: Excess, where: str) -> Check:
    """Return the warning that an account may do more than it needs."""
    what = f"{excess.verb} {excess.res.words}" + (
        f"/{excess.subresource}" if excess.subresource else ""
    )
    said = f"Whoever gets hold of our token could {excess.danger}: this is never needed."
    return Check(what, Found.LOOK, said, where, "Not needed.", needed=False)


def of_clock(skew_s: float | None) -> Check:
    """Return how far the server's clock is from ours, by its last answer."""
    if skew_s is None:
        return Check("clock", Found.UNKNOWN, "It tells no time.", needed=False)
    if abs(skew_s) <= MOST_SKEW_S:
        return Check("clock", Found.OK, "As here, within seconds.", needed=False)
    way = "ahead of" if skew_s > 0 else "behind"
    said = f"Its clock is {abs(skew_s):.0f} s {way} ours: ages of pods are off by as much."
    return Check("clock", Found.LOOK, said, needed=False)
