"""Who set which field: ``metadata.managedFields`` (Kubernetes, "Server-Side Apply").

A plain version over leaf paths: lists are one leaf, apart from those with a merge key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from tests.kube.kinds import Kind
from tests.kube.patches import KEYS
from tests.kube.status import ApiError, Cause, details

Object = dict[str, Any]
Path = tuple[str, ...]
SERVERS_OWN = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "generateName",
    }
)


@dataclass(frozen=True)
class Writer:
    """In whose name something is written."""

    manager: str
    account: str = ""
    operation: str = "Update"
    subresource: str = ""
    agent: str = ""


def leaves(found: Object) -> dict[Path, Any]:
    """Return what an object says, by field; what the server itself keeps is not among it."""
    said: dict[Path, Any] = {}
    for key, value in found.items():
        if key == "metadata":
            own = {name: each for name, each in value.items() if name not in SERVERS_OWN}
            said.update(_leaves(key, own, (f"f:{key}",)))
        elif key not in {"apiVersion", "kind"}:
            said.update(_leaves(key, value, (f"f:{key}",)))
    return said


def _leaves(name: str, value: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(key, each, (*path, f"f:{key}"))
    elif isinstance(value, list) and value and _keyed(name, value):
        for each in value:
            entry = json.dumps({KEYS[name]: each[KEYS[name]]}, separators=(",", ":"))
            for key, inner in each.items():
                yield from _leaves(key, inner, (*path, f"k:{entry}", f"f:{key}"))
    elif value not in ({}, None):
        yield path, value


def _keyed(name: str, entries: list[Any]) -> bool:
    key = KEYS.get(name)
    return key is not None and all(isinstance(each, dict) and key in each for each in entries)


def tree(paths: frozenset[Path]) -> dict[str, Any]:
    """Write paths as ``fieldsV1`` does."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        at = root
        for step in path:
            at = at.setdefault(step, {})
    return root


def paths(fields: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Read the leaves of ``fieldsV1``."""
    for step, inner in fields.items():
        if inner:
            yield from paths(inner, (*above, step))
        else:
            yield (*above, step)


def dotted(path: Path) -> str:
    """Write a path as conflicts do: ``.spec.replicas``."""
    words = (step[2:] for step in path)
    return "".join(f"[{word}]" if word.startswith("{") else f".{word}" for word in words)


def _entries(found: Object) -> list[dict[str, Any]]:
    return [dict(each) for each in found["metadata"].get("managedFields") or ()]


def _is(entry: Mapping[str, Any], writer: Writer) -> bool:
    return (entry["manager"], entry["operation"], entry.get("subresource", "")) == (
        writer.manager,
        writer.operation,
        writer.subresource,
    )


def owners(found: Object, path: Path) -> list[str]:
    """Return the managers of a field."""
    return [
        each["manager"] for each in _entries(found) if path in set(paths(each.get("fieldsV1", {})))
    ]


def owned(found: Object, writer: Writer) -> frozenset[Path]:
    """Return what one writer owns."""
    mine = (each for each in _entries(found) if _is(each, writer))
    return frozenset(path for each in mine for path in paths(each.get("fieldsV1", {})))


def credited(
    old: Object | None, new: Object, writer: Writer, *, time: str, wished: frozenset[Path]
) -> list[dict[str, Any]]:
    """Return managedFields after a write: what changed is the writer's and nobody else's.

    What is applied unchanged (``wished``) is shared; fields that are gone are nobody's.
    """
    was = old or {}
    touched = {part for part in was.keys() | new.keys() if was.get(part) != new.get(part)}
    touched |= {path[0][2:] for path in wished}
    before = leaves({part: was[part] for part in touched if part in was})
    after = leaves({part: new[part] for part in touched if part in new})
    moved = frozenset(p for p, value in after.items() if before.get(p, ...) != value)
    gone = frozenset(before.keys() - after.keys())
    applies = writer.operation == "Apply"
    kept: list[dict[str, Any]] = []
    mine, untouched = moved | wished, {}
    for entry in _entries(old or new):
        fields = entry.get("fieldsV1", {})
        others = {part: each for part, each in fields.items() if part[2:] not in touched}
        had = frozenset(paths({p: each for p, each in fields.items() if p not in others}))
        if _is(entry, writer) and applies:
            # What is no longer applied is no longer the writer's.
            continue
        if _is(entry, writer):
            mine |= had - gone
            untouched = others
            time = time if moved or gone else entry["time"]
        elif rest := tree(had - moved - gone) | others:
            kept.append({**entry, "fieldsV1": rest})
    if mine or untouched:
        kept.append(_entry(new, writer, time, tree(mine & after.keys()) | untouched))
    return kept


def _entry(new: Object, writer: Writer, time: str, mine: Object) -> dict[str, Any]:
    return {
        "manager": writer.manager,
        "operation": writer.operation,
        "apiVersion": new.get("apiVersion", ""),
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": mine,
        **({"subresource": writer.subresource} if writer.subresource else {}),
    }


def applied(
    kind: Kind, old: Object | None, wish: Object, writer: Writer, *, force: bool
) -> Object:
    """Return the object after a server-side apply; a field of another's refuses it.

    Kubernetes, "Server-Side Apply", "Conflicts": a field that another manager owns and whose value
    would change is a conflict unless forced; a field that is no longer applied and that nobody
    else owns is taken away.
    """
    if old is None:
        return wish
    have, want = leaves(old), leaves(wish)
    if not force:
        _refuse_conflicts(kind, old, writer, {p for p, v in want.items() if have.get(p, v) != v})
    result = json.loads(json.dumps(old))
    for path in owned(old, writer) - want.keys():
        if set(owners(old, path)) == {writer.manager}:
            _without(result, path)
    for path, value in want.items():
        _set(result, path, value)
    for key in ("resourceVersion", "uid"):
        if wish["metadata"].get(key):
            result["metadata"][key] = wish["metadata"][key]
    return result


def _refuse_conflicts(kind: Kind, old: Object, writer: Writer, changing: set[Path]) -> None:
    found = []
    for entry in _entries(old):
        if _is(entry, writer):
            continue
        who = f'conflict with "{entry["manager"]}"'
        if entry.get("subresource"):
            who += f' with subresource "{entry["subresource"]}"'
        told = f"{who} using {entry['apiVersion']}"
        theirs = changing & set(paths(entry.get("fieldsV1", {})))
        found += [Cause(dotted(path), told, "FieldManagerConflict") for path in sorted(theirs)]
    if not found:
        return
    causes = [{"reason": c.reason, "message": c.message, "field": c.field} for c in found]
    number = "1 conflict" if len(found) == 1 else f"{len(found)} conflicts"
    told = ", ".join(f"{cause.message}: {cause.field}" for cause in found)
    name = old["metadata"]["name"]
    raise ApiError(
        409,
        f"Apply failed with {number}: {told}",
        details=details(kind, name, causes=causes),
    )


def _step(at: Any, step: str, *, make: bool) -> Any:
    if step.startswith("k:"):
        ((key, value),) = json.loads(step[2:]).items()
        entry = next((each for each in at if each.get(key) == value), None)
        if entry is None and make:
            entry = {key: value}
            at.append(entry)
        return entry
    return at.get(step[2:])


def _set(root: Object, path: Path, value: Any) -> None:
    at: Any = root
    for step, following in pairwise(path):
        inner = _step(at, step, make=True)
        if not isinstance(inner, dict | list):
            inner = [] if following.startswith("k:") else {}
            at[step[2:]] = inner
        at = inner
    at[path[-1][2:]] = value


def _without(root: Object, path: Path) -> None:
    at: Any = root
    for step in path[:-1]:
        at = _step(at, step, make=False)
        if at is None:
            return
    at.pop(path[-1][2:], None)
