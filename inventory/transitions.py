"""The named changes of a node's state, as one table: where each begins, what it sets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from inventory.models.base import AdminState, Lifecycle

_HERE: Final = (Lifecycle.ACTIVE, Lifecycle.DECOMMISSIONING)
_OUT: Final = (AdminState.CORDONED, AdminState.DRAINING, AdminState.MAINTENANCE)


@dataclass(frozen=True, slots=True)
class Transition:
    """One verb: from which states it may be done, and to which it leads.

    ``takes`` is whether the node's GPUs are lost to new instances; a ``lifecycle`` of ``None``
    stays as it is.
    """

    name: str
    word: str
    done: str
    admin_from: tuple[AdminState, ...]
    admin_to: AdminState
    lifecycle_from: tuple[Lifecycle, ...] = _HERE
    lifecycle_to: Lifecycle | None = None
    takes: bool = True

    def refusal(self, admin_state: str, lifecycle: str) -> str:
        """Return in words why it can't be done in these states; empty where it can."""
        if lifecycle not in self.lifecycle_from:
            return f"it is {Lifecycle(lifecycle).label}"
        if admin_state not in self.admin_from:
            return f"it is {AdminState(admin_state).label}"
        return ""


TRANSITIONS: Final[Mapping[str, Transition]] = {
    one.name: one
    for one in (
        Transition(
            "cordon",
            "Cordon",
            "cordoned",
            (AdminState.IN_SERVICE,),
            AdminState.CORDONED,
        ),
        Transition(
            "drain",
            "Drain",
            "set to drain",
            (AdminState.IN_SERVICE, AdminState.CORDONED, AdminState.MAINTENANCE),
            AdminState.DRAINING,
        ),
        Transition(
            "maintain",
            "Set in maintenance",
            "set in maintenance",
            (AdminState.IN_SERVICE, AdminState.CORDONED, AdminState.DRAINING),
            AdminState.MAINTENANCE,
        ),
        Transition(
            "return",
            "Return",
            "returned",
            _OUT,
            AdminState.IN_SERVICE,
            lifecycle_from=(*_HERE, Lifecycle.RETIRED),
            lifecycle_to=Lifecycle.ACTIVE,
            takes=False,
        ),
        Transition(
            "retire",
            "Retire",
            "retired",
            tuple(AdminState),
            AdminState.MAINTENANCE,
            lifecycle_from=(*_HERE, Lifecycle.PLANNED),
            lifecycle_to=Lifecycle.RETIRED,
        ),
    )
}

LABEL: Final = "label"
RESERVE: Final = "reserve"
UNRESERVE: Final = "unreserve"
_OTHERS: Final[Mapping[str, tuple[str, str]]] = {
    LABEL: ("Label", "labelled"),
    RESERVE: ("Reserve", "reserved"),
    UNRESERVE: ("End the reservation of", "unreserved"),
}
ACTIONS: Final = (*TRANSITIONS, *_OTHERS)


@dataclass(frozen=True, slots=True)
class NodeChange:
    """What a person wants done to nodes: a transition by name, labels, or a reservation.

    ``put`` and ``drop`` are labels to set and to remove, ``owner`` is who nodes are reserved for,
    until ``ends``; ``None`` is without an end. Whoever may not edit the inventory ``revives`` no
    retired node.
    """

    action: str
    put: Mapping[str, str] = field(default_factory=dict)
    drop: tuple[str, ...] = ()
    owner: str = ""
    ends: datetime | None = None
    revives: bool = True

    @property
    def transition(self) -> Transition | None:
        """The change of state it is; ``None`` where states stay."""
        return TRANSITIONS.get(self.action)

    @property
    def word(self) -> str:
        """The verb on the button."""
        named = self.transition
        return named.word if named else _OTHERS[self.action][0]

    @property
    def done(self) -> str:
        """What is said afterwards: "cordoned"."""
        named = self.transition
        return named.done if named else _OTHERS[self.action][1]

    @property
    def takes(self) -> bool:
        """Whether new instances lose the GPUs."""
        named = self.transition
        return named.takes if named else self.action == RESERVE

    def refusal(self, admin_state: str, lifecycle: str, reserved_for: str) -> str:
        """Return in words why it can't be done in these states; empty where it can."""
        named = self.transition
        if self.action == UNRESERVE:
            return "" if reserved_for else "nobody has reserved it"
        if reserved_for and self.action in {RESERVE, "retire"}:
            return f"it is reserved for {reserved_for}"
        gone = lifecycle not in _HERE
        if gone and (self.action == RESERVE or (self.action == "return" and not self.revives)):
            return f"it is {Lifecycle(lifecycle).label}"
        return named.refusal(admin_state, lifecycle) if named else ""
