"""As many whole groups as a fleet in a file holds, for comparison with an exact optimum."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from controller.core.fleet import FleetView, Level, NodeRow, view_of
from controller.core.placement.choose import Ask
from controller.core.placement.slots import Option, Part, Size
from controller.core.placement.whole import pack_groups
from controller.management.answering import AnswerError
from controller.management.fields import a_count, a_list, a_text, an_object, read_document

LEVELS: Final[Mapping[str, Level]] = {
    "s1": Level.S1,
    "s2": Level.S2,
    "cluster": Level.CLUSTER,
}
MOST_GPUS: Final = 1024
SEED: Final = 20_250_828
"""The same file has the same answer."""


def answered_fleet(name: str) -> dict[str, object]:
    """Return the groups placed of a file, or of standard input for a dash.

    Raises :class:`~controller.management.answering.AnswerError` for a file that can't be read.
    """
    plain = read_document(name)
    view = view_of(_node(one, f"nodes[{at}]") for at, one in enumerate(a_list(plain, "nodes")))
    asks = [
        ask
        for at, one in enumerate(a_list(plain, "services"))
        if (ask := _ask(one, view, f"services[{at}]")) is not None
    ]
    found = pack_groups(view, asks, np.random.default_rng(SEED))
    names = view.topology.names
    groups = [
        {
            "service": group.service,
            **{
                role: dict(
                    Counter(names[pod.nodes[0][0]] for pod in group.pods if pod.role == role)
                )
                for role in sorted({pod.role for pod in group.pods}, reverse=True)
            },
        }
        for group in found
    ]
    return {"groups": groups}


def _node(told: Any, where: str) -> NodeRow:  # noqa: ANN401 - what a file holds
    at, labels, free = (an_object(told, key, where) for key in ("at", "labels", "free"))
    gpus = a_count(told, "gpus", where, most=MOST_GPUS)
    left = a_count(free, "gpu", f"{where}.free", most=MOST_GPUS, default=gpus)
    return NodeRow(
        name=a_text(told, "id", where),
        cluster=str(at.get("cluster", "")),
        s2=str(at.get("s2", "")),
        s1=str(at.get("s1", "")),
        rack=str(at.get("rack", "")),
        hardware=a_text(labels, "hw", f"{where}.labels"),
        gpus=max(gpus, left),
        free=left,
    )


def _ask(told: Any, view: FleetView, where: str) -> Ask | None:  # noqa: ANN401
    """Return what a service asks for; ``None`` when one of its roles has no node at all."""
    parts = []
    for role, one in an_object(told, "roles", where).items():
        here = f"{where}.roles.{role}"
        size = Size(max(1, a_count(one, "gpu", here, most=MOST_GPUS)))
        types = (view.topology.type_of(str(name)) for name in a_list(one, "hw", here))
        options = tuple(Option(kind, size) for kind in types if kind is not None)
        pods = a_count(one, "pods", here)
        if pods and not options:
            return None
        if pods:
            parts.append(Part(role, pods, options))
    require, prefer = (told.get(key) for key in ("require", "prefer"))
    for key, level in (("require", require), ("prefer", prefer)):
        if level is not None and level not in LEVELS:
            raise AnswerError("bad_document", f"use {', '.join(LEVELS)}", f"{where}.{key}")
    if not parts:
        return None
    return Ask(
        service=a_text(told, "id", where),
        parts=tuple(parts),
        units=a_count(told, "groups", where, default=1),
        require=LEVELS[require or "cluster"],
        prefer=LEVELS[prefer] if prefer else None,
        ranked=False,
    )
