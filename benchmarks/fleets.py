"""Random heterogeneous fleets with services on them, as files for ``./heteroscale place --fleet``.

The same number always gives the same fleet: 30 to 220 nodes under a few S2 of a few S1, some of
one hardware type and some mixed, part-used, and services that ask for less than there is or for
up to about twice as much.
"""

from typing import Any, Final

import numpy as np

TYPES: Final = {"h800": 8, "h20": 8, "l20": 4}
"""Hardware types and the GPUs of a node."""
MIXED_S1: Final = 0.35
"""Share of S1 with several types in an S2 that has several."""
WHOLE: Final = 0.6
"""Share of nodes that are free as a whole; of the others any number of GPUs is."""
DEMAND: Final = (0.5, 2.0)
"""Least and most GPUs asked for, as a multiple of those free."""
WISHES: Final = {
    ("s2", "s1"): 0.4,
    ("s2", None): 0.2,
    ("s1", None): 0.15,
    ("cluster", "s1"): 0.15,
    ("cluster", None): 0.1,
}
"""How many services require and prefer what; in half of the fleets all of them want the same."""


def fleet(number: int) -> dict[str, Any]:
    """Return the fleet of a number, in the form of a file for ``place --fleet``."""
    rng = np.random.default_rng(20_261_126 + number)
    nodes = _nodes(rng, int(rng.integers(30, 221)))
    return {"nodes": nodes, "services": _services(rng, nodes)}


def _nodes(rng: np.random.Generator, count: int) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = []
    s2 = 0
    while len(nodes) < count:
        types = list(rng.choice(list(TYPES), size=int(rng.choice((1, 2, 3), p=(0.4, 0.4, 0.2))),
                                replace=False))  # fmt: skip
        for s1 in range(int(rng.integers(2, 7))):
            is_mixed = len(types) > 1 and rng.random() < MIXED_S1
            here = types if is_mixed else [str(rng.choice(types))]
            for _ in range(int(rng.integers(3, 13))):
                if len(nodes) < count:
                    where = {"s2": f"s2-{s2}", "s1": f"s1-{s2}-{s1}"}
                    nodes.append(_node(rng, len(nodes), str(rng.choice(here)), where))
        s2 += 1
    return nodes


def _node(rng: np.random.Generator, at: int, hardware: str, where: dict[str, str]) -> Any:  # noqa: ANN401
    gpus = TYPES[hardware]
    free = gpus if rng.random() < WHOLE else int(rng.integers(0, gpus + 1))
    return {
        "id": f"n{at:03}",
        "at": where,
        "labels": {"hw": hardware},
        "gpus": gpus,
        "free": {"gpu": free},
    }


def _services(rng: np.random.Generator, nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    free = sum(node["free"]["gpu"] for node in nodes)
    types = sorted({node["labels"]["hw"] for node in nodes})
    count = int(rng.integers(4, 13))
    shares = rng.dirichlet(np.full(count, 3.0)) * free * rng.uniform(*DEMAND)
    same = _wish(rng) if rng.random() < 0.5 else None
    services = []
    for at, share in enumerate(shares):
        roles = {role: _role(rng, types) for role in ("prefill", "decode")}
        require, prefer = same or _wish(rng)
        group_gpus = sum(role["pods"] * role["gpu"] for role in roles.values())
        services.append({
            "id": f"service-{at}",
            "groups": max(2, round(share / group_gpus)),
            "roles": roles,
            "require": require,
            **({"prefer": prefer} if prefer else {}),
        })  # fmt: skip
    return services


def _role(rng: np.random.Generator, types: list[str]) -> dict[str, Any]:
    gpu = int(rng.choice((1, 2, 4, 8), p=(0.2, 0.3, 0.3, 0.2)))
    fitting = [name for name in types if TYPES[name] >= gpu] or types
    count = min(len(fitting), int(rng.choice((1, 2, 3), p=(0.5, 0.35, 0.15))))
    hardware = sorted(map(str, rng.choice(fitting, size=count, replace=False)))
    return {"pods": int(rng.integers(1, 5)), "gpu": gpu, "hw": hardware}


def _wish(rng: np.random.Generator) -> tuple[str, str | None]:
    return list(WISHES)[int(rng.choice(len(WISHES), p=list(WISHES.values())))]
