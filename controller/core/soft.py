"""Soft scale-in: those that are to go leave service discovery first and are only watched (§9)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from controller.core.trust import label, scale_in_bar, signal_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from controller.core.types import Context

OUT_WITHIN_S: Final = 60.0
"""Whoever is not out of service discovery by then stays in, and so do the others."""

BACK_WITHIN_S: Final = 300.0
"""So long an action waits for those that return; then it ends, and they are still looked for."""


class Step(StrEnum):
    """What is to be done next with instances that are to go."""

    TAKE_OUT = "take out"
    GIVE_UP = "give up"
    WATCH = "watch"
    DRAIN = "drain"
    SEND = "send"
    RETURN = "return"


@dataclass(frozen=True, slots=True)
class Soft:
    """Who was taken out of service discovery for an action, and how far that is [s].

    ``asked_s`` is when that began, ``out_s`` when all were out, ``over_s`` when all that was to be
    waited for was over: the action is sent from then on. ``back`` is why they return, since
    ``back_s``. ``known`` are the latencies that were over their goals before.
    """

    names: tuple[str, ...]
    asked_s: float
    window_s: float
    drain_s: float
    out_s: float | None = None
    over_s: float | None = None
    back: str = ""
    back_s: float | None = None
    failed: bool = False
    known: tuple[str, ...] = ()

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what :meth:`plain` wrote down."""
        tuples = {key: tuple(plain[key]) for key in ("names", "known")}
        return cls(**{**plain, **tuples})

    def plain(self) -> dict[str, Any]:
        """Return it as plain values, as rows keep it."""
        return asdict(self)

    @property
    def until_s(self) -> float | None:
        """When the window ends; ``None`` while somebody is still to be taken out."""
        return None if self.out_s is None else self.out_s + self.window_s

    @property
    def latest_s(self) -> float | None:
        """When the action goes on though requests may be in flight."""
        return None if self.out_s is None else self.out_s + self.window_s + self.drain_s

    def returning(self, why: str, now_s: float, *, failed: bool) -> Self:
        """Return it once those that were taken out are to serve again."""
        return replace(self, back=why, back_s=now_s, failed=failed)

    def step(self, now_s: float, in_flight: int | None = None) -> Step:
        """Return what is to be done at ``now_s``.

        ``in_flight`` are the requests that those who are out still work on; ``None``, nobody
        knows, is never taken for none.
        """
        if self.back:
            return Step.RETURN
        if self.out_s is None:
            return Step.TAKE_OUT if now_s < self.asked_s + OUT_WITHIN_S else Step.GIVE_UP
        if now_s < self.out_s + self.window_s:
            return Step.WATCH
        is_idle = in_flight == 0
        return Step.SEND if is_idle or now_s >= (self.latest_s or 0.0) else Step.DRAIN


def is_over(plain: Mapping[str, Any] | None) -> bool:
    """Return whether what a row keeps says that the action may be sent."""
    return plain is not None and plain.get("over_s") is not None and not plain.get("back")


def over_goals(ctx: Context) -> tuple[str, ...]:
    """Return the latencies that are over their goals now."""
    return tuple(name for name, _ in _over(ctx))


def speaks_against(ctx: Context, known: tuple[str, ...], *, by_itself: bool) -> str:
    """Return why those who are out return: a latency over its goal, or a signal that is not ok.

    What was over before anybody was taken out does not count. Where a person or a schedule wanted
    it, no signal must be ok (S6): then only what is known to be bad speaks.
    """
    found = next((text for name, text in _over(ctx) if name not in known), "")
    if found:
        return found
    bar = scale_in_bar(ctx) if by_itself else None
    return "" if bar is None else bar.text


def _over(ctx: Context) -> Iterator[tuple[str, str]]:
    for name, goal_s in (("ttft_s", ctx.spec.slo.ttft_s), ("tbt_s", ctx.spec.slo.tbt_s)):
        signal = signal_of(ctx, name)
        if signal.value is not None and signal.value > goal_s:
            said = f"{label(signal)} of {signal.value:.3g} s is over its goal of {goal_s:.3g} s"
            yield name, said
