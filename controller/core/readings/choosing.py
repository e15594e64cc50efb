"""Which recipe each service has for each signal, and so what every endpoint is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from controller.core.readings.cook import Recipes
from controller.core.readings.presets import PRESETS, leaves_of, recipes_at
from controller.core.readings.recipe import Kind, Leaf
from controller.core.readings.sources import Plan, Use
from controller.core.types import ROLES, SIGNALS, Role

UP: Final[Mapping[Role, Leaf]] = {role: Leaf(("up",), Kind.GAUGE, role) for role in ROLES}
"""Exporters of a role: those that are known report, and their sum are those that answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one endpoint is asked: leaves, and services by key with their names there."""

    leaves: tuple[Leaf, ...]
    services: Mapping[str, str]


def recipes_for(uses: Sequence[Use], names: Sequence[str]) -> Recipes:
    """Return the recipes of a service for figures by name; the same object for the same uses.

    Of two endpoints that have a figure, counts first who should tell it, then the order of uses.
    Raises ``KeyError`` for a preset that does not exist.
    """
    read = tuple((preset, use.source) for use in uses for preset in use.presets)
    return _recipes(read, tuple(names))


@lru_cache(maxsize=1024)
def _recipes(read: tuple[tuple[str, str], ...], names: tuple[str, ...]) -> Recipes:
    found = recipes_at([(PRESETS[preset], source) for preset, source in read])
    return {name: found[name] for name in names if name in found}


SIGNAL_NAMES: Final = tuple(kind.name for kind in SIGNALS)


def asked(
    plan: Plan, choices: Mapping[str, Recipes], *, counted: frozenset[str] = frozenset()
) -> dict[str, Asked]:
    """Return what each endpoint is asked for services with their choices, by its name.

    Instances of ``counted`` services are counted there as well, since nobody else does.
    """
    leaves: dict[str, dict[Leaf, None]] = {}
    for recipes in {id(each): each for each in choices.values()}.values():
        for leaf in leaves_of(recipes.values()):
            leaves.setdefault(leaf.source, {})[leaf] = None
    services: dict[str, dict[str, str]] = {}
    for key in choices:
        for use in plan.uses[key]:
            services.setdefault(use.source, {})[key] = use.known_as
            if key in counted:
                up = {replace(UP[role], source=use.source): None for role in ROLES}
                leaves.setdefault(use.source, {}).update(up)
    return {
        name: Asked(tuple(leaves[name]), services[name]) for name in plan.sources if name in leaves
    }
