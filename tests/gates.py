"""Service discovery for tests: gates that open and close, and fail on demand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.core.ports import Going, Presence, RefusedError, ScaleOrder, UnreachableError
from controller.core.types import Instances, Role
from inventory.models import Service


@dataclass
class Gates:
    """The instances of one service behind gates.

    ``inside`` says of each whether it serves, ``stamps`` which action took it out. ``trouble`` is
    what the next writes meet, in order: "refused", "lost" (done, and no answer), "dropped", "".
    """

    inside: dict[str, bool] = field(default_factory=dict)
    stamps: dict[str, str] = field(default_factory=dict)
    trouble: list[str] = field(default_factory=list)
    said: tuple[str, ...] = ()
    blind: str = ""
    coming: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    done: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of_decode(cls, count: int = 4) -> Gates:
        """Return decode instances that all serve, d-0 and so on."""
        return cls({f"d-{i}": True for i in range(count)})

    def of(self, _service: Service) -> Gates:
        """Return these gates for every service."""
        return self

    @property
    def out(self) -> set[str]:
        """Who does not serve."""
        return {name for name, inside in self.inside.items() if not inside}

    def going(self, order: ScaleOrder, before: Instances, *, now_s: float) -> Going:  # noqa: ARG002
        """Return the highest numbers, or those that are named."""
        if self.blind == "refused":
            raise RefusedError("get pods is not allowed")
        if self.blind:
            raise UnreachableError("no answer")
        many = before.decode - order.want.decode
        serving = sorted((name for name, inside in self.inside.items() if inside), reverse=True)
        named = [name for name in serving if name in order.leave]
        rest = [name for name in serving if name not in order.leave]
        return Going(() if self.said else tuple([*named, *rest][: max(many, 0)]), self.said)

    def take_out(
        self, service: str, names: Sequence[str], *, action: str, epoch: int, now_s: float
    ) -> None:
        """Take them out one after the other."""
        del service, epoch, now_s
        for name in names:
            if self.inside.get(name):
                self._write(name, "out", action)

    def put_back(self, service: str, *, action: str, now_s: float) -> None:
        """Let those of an action return."""
        del service, now_s
        for name in [name for name, by in self.stamps.items() if by == action]:
            if name not in self.ended:
                self._write(name, "back", "")

    def let_in(self, service: str, names: Sequence[str], *, now_s: float) -> None:
        """Register those that nobody took out."""
        del service, now_s
        for name in names:
            if name not in self.stamps:
                self._write(name, "in", "")

    def serving(self, service: str, *, now_s: float) -> Sequence[Presence]:
        """Return them in their order of names; those that begin with "p" are prefill."""
        del service, now_s
        if self.blind:
            raise UnreachableError("no answer")
        return [
            Presence(
                name,
                Role.PREFILL if name.startswith("p") else Role.DECODE,
                created_s=float(number),
                is_up=name not in self.coming | self.failed,
                is_in=inside,
                is_coming=name in self.coming,
                taken_by=self.stamps.get(name, ""),
            )
            for number, (name, inside) in enumerate(self.inside.items())
        ]

    def _write(self, name: str, what: str, action: str) -> None:
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "refused":
            raise RefusedError("patch pods is not allowed")
        if trouble == "dropped":
            raise UnreachableError("no answer")
        self.done.append((what, name))
        self.inside[name] = what != "out"
        if action:
            self.stamps[name] = action
        else:
            self.stamps.pop(name, None)
        if trouble == "lost":
            raise UnreachableError("the connection was reset")
