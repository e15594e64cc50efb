"""What people exclude: nodes that some services may not be placed on for a while."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from controller.core.fleet import NodeRow
from controller.core.overrides import Override, told
from controller.core.overrides_plain import EXCLUDED_BY
from controller.core.placement.layout import Facts
from controller.core.placement.values import RoleForm, Tenant


def excluding(
    rows: Sequence[NodeRow],
    tenants: Mapping[str, Tenant],
    facts: Facts,
    exclusions: Mapping[str, Sequence[Override]],
    now_s: float,
) -> tuple[dict[str, Tenant], Facts]:
    """Return services and facts under exclusions, which are given by the service they rule.

    An excluded node gets a taint that every other service tolerates, so nothing new of the
    services concerned goes there, what runs there stays, and nobody else notices.
    """
    known = {one.key: one for found in exclusions.values() for one in found}
    closed = {key: frozenset(_matching(rows, one.values)) for key, one in known.items()}
    taints: dict[str, set[str]] = defaultdict(set)
    words: dict[str, str] = {}
    for key, names in closed.items():
        for name in names:
            taints[name].add(_taint(key))
            words[name] = f"{EXCLUDED_BY} {told(known[key], now_s)}"
    merged = {name: facts.taints.get(name, frozenset()) | own for name, own in taints.items()}
    every = frozenset(map(_taint, known))
    found = {
        name: _tolerant(tenant, every - {_taint(one.key) for one in exclusions.get(name, ())})
        for name, tenant in tenants.items()
    }
    return found, replace(facts, taints={**facts.taints, **merged}, excluded=words)


def _matching(rows: Sequence[NodeRow], values: Mapping[str, Any]) -> list[str]:
    what, name = values["what"], values["name"]
    if what == "node":
        return [row.name for row in rows if name in {row.name, row.name.partition("/")[2]}]
    return [row.name for row in rows if getattr(row, what) == name]


def _taint(key: int) -> str:
    return f"override/{key}"


def _tolerant(tenant: Tenant, taints: frozenset[str]) -> Tenant:
    """Return a service that may be placed on nodes with the taints."""
    forms = {role: _tolerant_form(form, taints) for role, form in tenant.roles.items()}
    return replace(tenant, roles=forms)


def _tolerant_form(form: RoleForm, taints: frozenset[str]) -> RoleForm:
    need, parts = form.need, form.parts
    if need is not None:
        need = replace(need, tolerate=need.tolerate | taints)
    wide = (
        replace(one, need=replace(one.need, tolerate=one.need.tolerate | taints)) for one in parts
    )
    return replace(form, need=need, parts=tuple(wide))
