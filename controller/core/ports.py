"""What the core needs from the outside, as protocols; adapters and the simulator answer them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from controller.core.kube.affinity import Wanted
from controller.core.kube.writes import Between
from controller.core.readings.standing import Outcome
from controller.core.registration import InStep
from controller.core.types import (
    Context,
    Instances,
    Observation,
    Recommendation,
    Role,
    ServiceSpec,
)

EFFECT_WITHIN_S: Final = 30.0
"""After this long an order takes no effect any more: meanwhile it may have been given up."""


@dataclass(frozen=True, slots=True)
class Pool:
    """GPUs of one hardware type in one cluster; the seven parts add up to ``total``."""

    cluster: str
    hardware: str
    total: int
    busy: int
    held_idle: int
    free: int
    reserved: int
    maintenance: int
    unhealthy: int
    unknown: int
    largest_free: int


@dataclass(frozen=True, slots=True)
class View:
    """One look at everything: an observation per service that answered, and the pools.

    ``endpoints`` is how each endpoint of metrics that was asked has answered, ``marks`` what is to
    be remembered of those that are scraped directly, both by name. ``rivals`` are others that
    scale a service, in words (K13).
    """

    observations: Mapping[str, Observation]
    pools: Sequence[Pool]
    failures: Mapping[str, str]
    endpoints: Mapping[str, Outcome] = field(default_factory=dict)
    marks: Mapping[str, bytes] = field(default_factory=dict)
    rivals: Mapping[str, Sequence[str]] = field(default_factory=dict)


class MetricsSource(Protocol):
    """Where signals and instance counts come from; one call serves all services."""

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Return what could be read by ``now_s``.

        Never raises for one bad service: it is named in ``View.failures`` with a sentence and
        absent from ``observations``.
        """
        ...


class Policy(Protocol):
    """How many: a pure function of one service's context (HeteroScale §4)."""

    def __call__(self, ctx: Context) -> Recommendation:
        """Return the wanted counts and why. Reads only signals whose quality allows it."""
        ...


@dataclass(frozen=True, slots=True)
class Spot:
    """Where one new instance goes: its deployment group, and the GPUs it takes of each node."""

    role: Role
    group: str
    nodes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class MoveTo:
    """An instance that is to serve elsewhere: a new one starts there, then the old one leaves."""

    instance: str
    spot: Spot


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class ScaleOrder:
    """One write to a cluster.

    ``action`` makes it idempotent, ``epoch`` fences old leaders, ``resource_version`` makes it a
    compare-and-set (S12, S13). ``in_step`` says which of the instances it starts are kept out of
    service discovery, and until when; without it all join as they come up. ``spots`` are where
    those it starts go, ``leave`` the names of those that go first, ``moves`` who changes place.
    Nodes are named as their cluster names them. ``between`` holds between two writes, where both
    roles are not written at once. With ``undo`` what was written of it is taken back. ``homes``
    are the labels of nodes that keep new instances of a group in its domain. ``may_go_on`` is
    asked before each write: a freeze may have come since it was claimed (S16).
    """

    action: str
    service: str
    epoch: int
    want: Instances
    resource_version: str
    in_step: InStep | None = None
    spots: tuple[Spot, ...] = ()
    leave: tuple[str, ...] = ()
    moves: tuple[MoveTo, ...] = ()
    between: Between | None = None
    undo: bool = False
    homes: Mapping[str, Wanted] = field(default_factory=dict, hash=False)
    may_go_on: Callable[[], bool] = field(default=_always, compare=False)


@dataclass(frozen=True, slots=True)
class ScaleView:
    """What the cluster holds for one service.

    ``actions`` are those that wrote what its objects hold, ``undone`` those that took it back;
    where it is one object, the last action is the only one. ``overwritten`` are those of which
    somebody else changed a count since, to whatever (S25).
    """

    desired: Instances
    ready: Instances
    resource_version: str
    last_action: str | None
    last_epoch: int
    actions: frozenset[str] = frozenset()
    undone: frozenset[str] = frozenset()
    overwritten: frozenset[str] = frozenset()

    def carries(self, action: str) -> bool:
        """Return whether something of an action arrived."""
        return action == self.last_action or action in self.actions or action in self.undone


class Actuator(Protocol):
    """Who carries an action out."""

    def read(self, service: str, *, now_s: float) -> ScaleView:
        """Return the present counts. Raises :class:`ActuatorError`."""
        ...

    def apply(self, order: ScaleOrder, *, now_s: float) -> None:
        """Ask the cluster for ``order.want``, to take effect before ``now_s`` + EFFECT_WITHIN_S.

        What goes over a network gives its request a time-out below what is left of that, and
        sends none that has no time left: an order given up must never take effect (S16, P02).
        Instances wait for ``order.in_step`` instead of whatever the order before said. Sending the
        same ``order.action`` again changes nothing. Raises :class:`ConflictError`
        when ``resource_version`` is no longer the cluster's, :class:`RefusedError` when the
        cluster says no (old epoch, no capacity, no right), :class:`UnreachableError` when the
        outcome is unknown, :class:`NotSentError` when no write was sent, or the next one was not.
        Where roles are written one after the other, the first may have been taken when one of
        these is raised: only a read tells.
        """
        ...


@dataclass(frozen=True, slots=True)
class Going:
    """Who serves and is to go by an order; ``said`` is who can't be taken out first, and why."""

    names: tuple[str, ...] = ()
    said: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Presence:
    """One instance as service discovery has it.

    ``is_up`` says that its start is over, ``is_in`` that it is in service discovery, ``is_coming``
    that it starts on a node it has. ``taken_by`` is the action that took it out.
    """

    name: str
    role: Role
    created_s: float
    is_up: bool
    is_in: bool
    is_coming: bool = False
    taken_by: str = ""


class Discovery(Protocol):
    """Who lets instances into service discovery and takes them out (HeteroScale §4.5, §9).

    Whatever is asked for twice is done once. Each call is over before an order's effect would be:
    it sends nothing that has no time left. Raises :class:`RefusedError` where the cluster says no
    and :class:`UnreachableError` where it is unknown what was done: then it is asked again.
    """

    def going(self, order: ScaleOrder, before: Instances, *, now_s: float) -> Going:
        """Return who goes by an order that takes instances of ``before`` away and serves now."""
        ...

    def take_out(
        self, service: str, names: Sequence[str], *, action: str, epoch: int, now_s: float
    ) -> None:
        """Take instances out of service discovery in the name of an action.

        One that is gone needs no taking. Refuses an epoch older than that of who did it last.
        """
        ...

    def put_back(self, service: str, *, action: str, now_s: float) -> None:
        """Let all that an action took out serve again; those that end already do not return."""
        ...

    def let_in(self, service: str, names: Sequence[str], *, now_s: float) -> None:
        """Register instances that nobody took out."""
        ...

    def serving(self, service: str, *, now_s: float) -> Sequence[Presence]:
        """Return the instances of a service, whether gated or not."""
        ...


class ActuatorError(Exception):
    """An action could not be carried out; the text is for the operator."""


class ConflictError(ActuatorError):
    """The object changed since it was read."""


class RefusedError(ActuatorError):
    """The cluster refused the write; nothing changed."""


class NotSentError(ActuatorError):
    """No write was sent: the cluster asked to wait, or could not even be read."""


class UnreachableError(ActuatorError):
    """No answer: whether the write happened is unknown."""
