"""Which recipe each service has for each signal, and so what every endpoint is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final

from controller.core.readings.cook import Recipes
from controller.core.readings.presets import PRESETS, recipes_at, terms_of
from controller.core.readings.recipe import First, Kind, Leaf, Recipe, Term, Written
from controller.core.readings.sources import Plan, Use
from controller.core.types import ROLES, SIGNALS, Role

UP: Final[Mapping[Role, Leaf]] = {role: Leaf(("up",), Kind.GAUGE, role) for role in ROLES}
"""Exporters of a role: those that are known report, and their sum are those that answer."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What one endpoint is asked: leaves, and services by key with their names there.

    A written query is asked for those services alone that ``written_for`` names, as named there.
    """

    leaves: tuple[Term, ...]
    services: Mapping[str, str]
    written_for: Mapping[Written, frozenset[str]] = field(default_factory=dict)


def recipes_for(uses: Sequence[Use], names: Sequence[str]) -> Recipes:
    """Return the recipes of a service for figures by name; the same object for the same uses.

    Of two endpoints that have a figure, counts first who should tell it, then the order of uses.
    A written query stands in the place of all presets: where it fails nothing else is taken.
    Raises ``KeyError`` for a preset that does not exist.
    """
    read = tuple((preset, use.source) for use in uses for preset in use.presets)
    written = tuple(
        (name, Written(text, use.source)) for use in uses for name, text in use.written.items()
    )
    return _recipes(read, written, tuple(names))


@lru_cache(maxsize=1024)
def _recipes(
    read: tuple[tuple[str, str], ...],
    written: tuple[tuple[str, Written], ...],
    names: tuple[str, ...],
) -> Recipes:
    found = recipes_at([(PRESETS[preset], source) for preset, source in read])
    own: dict[str, Recipe] = {}
    for name, each in written:
        own[name] = First((own[name], each)) if name in own else each
    either = {**found, **own}
    return {name: either[name] for name in names if name in either}


SIGNAL_NAMES: Final = tuple(kind.name for kind in SIGNALS)


def asked(
    plan: Plan, choices: Mapping[str, Recipes], *, counted: frozenset[str] = frozenset()
) -> dict[str, Asked]:
    """Return what each endpoint is asked for services with their choices, by its name.

    Instances of ``counted`` services are counted there as well, since nobody else does.
    """
    leaves: dict[str, dict[Term, None]] = {}
    for recipes in {id(each): each for each in choices.values()}.values():
        for leaf in terms_of(recipes.values()):
            leaves.setdefault(leaf.source, {})[leaf] = None
    services: dict[str, dict[str, str]] = {}
    for key in choices:
        for use in plan.uses[key]:
            services.setdefault(use.source, {})[key] = use.known_as
            if key in counted:
                up: dict[Term, None] = {
                    replace(UP[role], source=use.source): None for role in ROLES
                }
                leaves.setdefault(use.source, {}).update(up)
    written = _written_for(plan, choices)
    return {
        name: Asked(
            tuple(leaves[name]),
            services[name],
            {
                each: frozenset(written[each])
                for each in leaves[name]
                if isinstance(each, Written) and each in written
            },
        )
        for name in plan.sources
        if name in leaves
    }


def _written_for(plan: Plan, choices: Mapping[str, Recipes]) -> dict[Term, set[str]]:
    """Return the services of each written query, by the names they have where it is asked."""
    found: dict[Term, set[str]] = {}
    for key in choices:
        for use in plan.uses[key]:
            for text in use.written.values():
                found.setdefault(Written(text, use.source), set()).add(use.known_as)
    return found
