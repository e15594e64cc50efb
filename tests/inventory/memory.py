"""An inventory in memory: plans applied to plain values, as the database would be after them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import uuid4

from inventory.importers.detect import AUTO, read
from inventory.importers.found import Found, Options
from inventory.importers.gathering import merge
from inventory.kept import Kept, Stored
from inventory.plan import Plan, PlanOptions, plan_against


def table(text: str, name: str = "fleet.csv", **options: Any) -> Found:
    form = AUTO if text.startswith("index") else "csv"
    return read(text.encode(), name, Options(**{"cluster": "c", **options}), form)


def together(*parts: Found) -> Found:
    return merge(list(parts), Options(cluster="c"))


def applied(stored: Stored, plan: Plan) -> Stored:
    """Return the inventory after a plan, which must be one that can be applied."""
    assert plan.errors == ()
    rows = {one.row: one for kind in stored.kept for one in stored.of(kind)}
    old = set(rows)
    renamed = {
        (one.kind, one.cluster, one.before["name"]): one.after["name"]
        for one in plan.changes
        if one.kind in {"node", "switch"} and "name" in one.before
    }
    for one in plan.changes:
        if one.kind == "domain":
            continue
        after = dict(one.after)
        missing, source = after.pop("missing", None), after.pop("source", None)
        if one.kind == "hardware" and source:
            after["source"] = source
        if one.row is None:
            made = Kept(
                kind=one.kind,
                row=uuid4(),
                cluster="" if one.kind == "rack" else one.cluster,
                values=after,
                source=str(source or ""),
            )
            rows[made.row] = made
            continue
        kept = rows[one.row]
        rows[one.row] = replace(
            kept,
            values={**kept.values, **after},
            missing=kept.missing if missing is None else bool(missing),
            source=str(source or kept.source),
        )
    kinds: dict[str, tuple[Kept, ...]] = {}
    for row in rows.values():
        kinds[row.kind] = (
            *kinds.get(row.kind, ()),
            _called(row, renamed) if row.row in old else row,
        )
    return Stored(kept=kinds, domains=plan.domains, version=stored.version + 1)


def _called(row: Kept, renamed: dict[tuple[str, str, Any], Any]) -> Kept:
    """Return a row whose references follow the names of what they are to."""
    values = dict(row.values)
    for name in ("node", "switch", "peer"):
        for kind in ("node", "switch"):
            if name in values and row.kind != kind:
                values[name] = renamed.get((kind, row.cluster, values[name]), values[name])
    return replace(row, values=values)


def held(stored: Stored, kind: str, name: str, *fields: str) -> Stored:
    """Return the inventory with fields of a thing that a person set."""
    kept = {
        one: tuple(
            replace(row, held=frozenset(fields))
            if one == kind and row.values.get("name") == name
            else row
            for row in rows
        )
        for one, rows in stored.kept.items()
    }
    return replace(stored, kept=kept)


def fleet(*founds: Found, **options: Any) -> Stored:
    """Return the inventory that imports make one after the other."""
    stored = Stored()
    for found in founds:
        stored = applied(stored, plan_against(stored, found, PlanOptions(**options)))
    return stored
