"""What the instances of a service would answer to a scrape."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.types import SIGNAL_INDEX, Floats, Role
from controller.simulator.instances import Instance, Phase
from controller.simulator.meters import Counted
from controller.simulator.model import Fault, ServiceModel

_SILENT: Final[Mapping[Phase, str]] = {
    Phase.STARTING: "it loads its model",
    Phase.FAILED: "its node has failed",
}
_UP: Final = frozenset({Phase.HELD, Phase.READY, Phase.DRAINING})
_DEAF: Final = frozenset({Fault.MISSING, Fault.STALE})
BROKEN: Final = "its metrics are broken"


@dataclass(frozen=True, slots=True)
class Engine:
    """What the engines of a service hold now, in sum; ``signals`` are those of the last sample."""

    waiting: Mapping[Role, float]
    sequences: float
    context: float
    signals: Floats | None
    fault: Fault


@dataclass(frozen=True, slots=True)
class Exported:
    """One instance: who and where it is, and what it counts, or why it doesn't answer.

    ``waiting`` and ``running`` are requests, ``kv_frac``, ``util`` and ``sm`` shares; the last two
    are NaN or absent where nobody has measured yet.
    """

    name: str
    key: str
    cluster: str
    model: str
    role: Role
    group: str
    node: str
    gpus: int
    silent: str = ""
    counted: Counted = field(default_factory=lambda: Counted({}, {}))
    waiting: int = 0
    running: int = 0
    kv_frac: float = 0.0
    util: float | None = None
    sm: float | None = None


def exported(
    service: ServiceModel,
    instances: Sequence[Instance],
    counted: Callable[[Instance], Counted],
    engine: Engine,
) -> list[Exported]:
    """Return every instance that has a node; requests are shared out in whole numbers."""
    found = []
    for role in Role:
        mine = [each for each in instances if each.role is role and each.nodes]
        ready = [each for each in mine if each.phase is Phase.READY]
        running = [each for each in mine if each.phase in {Phase.READY, Phase.DRAINING}]
        deaf = _deaf(ready, engine.fault)
        load = _running(role, len(ready), engine)
        for each in mine:
            silent = _SILENT.get(each.phase, "" if each.phase in _UP else each.phase.value)
            if not silent and (engine.fault in _DEAF or each in deaf):
                silent = BROKEN
            found.append(
                Exported(
                    each.name,
                    service.key,
                    service.cluster,
                    service.profile(role).model,
                    role,
                    each.group,
                    ",".join(each.nodes),
                    each.gpus,
                    silent=silent,
                    counted=counted(each),
                    waiting=_part(engine.waiting[role], each, ready),
                    running=_part(load, each, running),
                    kv_frac=_full(service, role, len(running), engine),
                    util=_signal(engine, f"{role}_util") if each in running else 0.0,
                    sm=_signal(engine, f"{role}_sm") if each in running else 0.0,
                )
            )
    return found


def _deaf(ready: Sequence[Instance], fault: Fault) -> Sequence[Instance]:
    """Return those of a role that are silent: with a partial fault a third of them."""
    return ready[: -(-len(ready) // 3)] if fault is Fault.PARTIAL else ()


def _running(role: Role, ready: int, engine: Engine) -> float:
    """Return the requests a role works on: prefill one at a time for its busy share."""
    if role is Role.DECODE:
        return engine.sequences
    busy = _signal(engine, "prefill_util")
    return 0.0 if busy is None else ready * busy


def _part(total: float, instance: Instance, among: Sequence[Instance]) -> int:
    """Return how many of ``total`` one of several has: their parts add up to it, rounded."""
    if instance not in among:
        return 0
    whole, at = round(total), among.index(instance)
    return whole * (at + 1) // len(among) - whole * at // len(among)


def _full(service: ServiceModel, role: Role, running: int, engine: Engine) -> float:
    """Return the share of KV memory in use; prefill hands its caches on at once."""
    if role is Role.PREFILL or not running:
        return 0.0
    return min(engine.context / (running * service.decode.kv_capacity_tokens), 1.0)


def _signal(engine: Engine, name: str) -> float | None:
    """Return a share of the last sample; absent where it has none."""
    if engine.signals is None:
        return None
    value = float(engine.signals[SIGNAL_INDEX[name]])
    return value if value == value else None  # noqa: PLR0124 - NaN is the one that differs
