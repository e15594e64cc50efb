"""Placement questions from plain JSON."""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from controller.core.placement.tree import (
    NODE,
    READY,
    Group,
    Kind,
    LabelWish,
    Node,
    Pack,
    Part,
    Placement,
    Question,
    Tree,
)

MOST_PODS: Final = 1 << 20
"""Pods of a part, and times of a ratio, that are taken for meant."""

MOST_UNITS: Final = 1 << 42
"""Units of a resource, as bytes 4 TiB; products with pods stay within 64 bits."""

MOST_DEEP: Final = 32
"""Groups inside groups that a request may have."""

Value = TypeVar("Value")
Plain = Mapping[str, object]


class QuestionError(ValueError):
    """A value of a question that can't be read: ``where`` is its path, the text what is wrong."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(message)
        self.where = where


def questions_from(plain: object) -> dict[str, Question]:
    """Return the questions of a document by their id, in its order.

    The document is a list of cases, or an object with that list in ``cases``. Raises
    :class:`QuestionError` for the first value that can't be read, and for an id given twice.
    """
    cases = plain.get("cases") if isinstance(plain, Mapping) else plain
    found: dict[str, Question] = {}
    for index, case in enumerate(_list(cases, "cases")):
        where = f"cases[{index}]"
        values = _object(case, where)
        name = _text(values.get("id"), f"{where}.id")
        if name in found:
            raise QuestionError(f"{where}.id", f"{name!r} is the id of two cases")
        found[name] = question_from(values, where)
    return found


def question_from(plain: Plain, where: str = "case") -> Question:
    """Return one question. Raises :class:`QuestionError` for what can't be read."""
    levels = _each(plain.get("levels"), f"{where}.levels", _text)
    if not levels or levels[-1] != NODE or len(set(levels)) != len(levels):
        raise QuestionError(f"{where}.levels", 'name each level once, the last one "node"')
    nodes = _each(plain.get("nodes"), f"{where}.nodes", _node)
    if len({node.name for node in nodes}) != len(nodes):
        raise QuestionError(f"{where}.nodes", "two nodes have the same id")
    request = _object(plain.get("request"), f"{where}.request")
    ratio = request.get("ratio", plain.get("ratio"))
    times = request.get("times", plain.get("times", 1))
    return Question(
        kind=_kind(plain.get("kind", Kind.PLACE.value), f"{where}.kind"),
        levels=levels,
        nodes=nodes,
        request=_tree(request, f"{where}.request"),
        existing=_existing(plain.get("existing"), f"{where}.existing"),
        ratio=_map(ratio, f"{where}.request.ratio", _few),
        times=_few(times, f"{where}.request.times"),
    )


def _kind(value: object, where: str) -> Kind:
    try:
        return Kind(_text(value, where))
    except ValueError as fault:
        known = ", ".join(Kind)
        raise QuestionError(where, f"{value!r} is none of {known}") from fault


def _node(value: object, where: str) -> Node:
    plain = _object(value, where)
    return Node(
        name=_text(plain.get("id"), f"{where}.id"),
        at=_map(plain.get("at"), f"{where}.at", _text),
        free=_map(plain.get("free"), f"{where}.free", _whole),
        labels=_map(plain.get("labels"), f"{where}.labels", _text),
        state=_text(plain.get("state") or READY, f"{where}.state"),
        taints=_each(plain.get("taints") or (), f"{where}.taints", _text),
    )


def _tree(plain: Plain, where: str, depth: int = 0) -> Tree:
    if depth > MOST_DEEP:
        raise QuestionError(where, f"more than {MOST_DEEP} groups inside groups")
    if "children" not in plain:
        return _part(plain, where)
    children = _list(plain["children"], f"{where}.children")
    if not children:
        raise QuestionError(f"{where}.children", "a group needs a part or a group in it")
    return Group(
        name=_text(plain.get("name"), f"{where}.name"),
        children=tuple(
            _tree(_object(child, f"{where}.children[{n}]"), f"{where}.children[{n}]", depth + 1)
            for n, child in enumerate(children)
        ),
        require=_level(plain.get("require"), f"{where}.require"),
        prefer=_level(plain.get("prefer"), f"{where}.prefer"),
        scatter=_flag(plain.get("scatter"), f"{where}.scatter"),
    )


def _part(plain: Plain, where: str) -> Part:
    return Part(
        name=_text(plain.get("name"), f"{where}.name"),
        pods=_few(plain.get("pods"), f"{where}.pods"),
        each=_map(plain.get("each"), f"{where}.each", _count),
        select=_map(plain.get("select"), f"{where}.select", _texts),
        tolerate=frozenset(_each(plain.get("tolerate") or (), f"{where}.tolerate", _text)),
        packs=_each(plain.get("pack") or (), f"{where}.pack", _pack),
        wishes=_each(plain.get("prefer_labels") or (), f"{where}.prefer_labels", _wish),
        require=_level(plain.get("require"), f"{where}.require"),
        prefer=_level(plain.get("prefer"), f"{where}.prefer"),
        scatter=_flag(plain.get("scatter"), f"{where}.scatter"),
    )


def _pack(value: object, where: str) -> Pack:
    plain = _object(value, where)
    size = plain.get("size")
    return Pack(
        level=_text(plain.get("level"), f"{where}.level"),
        size=None if size is None else _few(size, f"{where}.size"),
    )


def _wish(value: object, where: str) -> LabelWish:
    plain = _object(value, where)
    return LabelWish(
        weight=_whole(plain.get("weight"), f"{where}.weight"),
        match=_map(plain.get("match"), f"{where}.match", _texts),
    )


def _existing(value: object, where: str) -> Placement:
    return _map(value, where, lambda nodes, place: _map(nodes, place, _few))


def _level(value: object, where: str) -> str | None:
    return None if value is None else _text(value, where)


def _flag(value: object, where: str) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise QuestionError(where, "must be true or false")


def _texts(value: object, where: str) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else _each(value, where, _text)


def _text(value: object, where: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise QuestionError(where, "must be a text that isn't empty")


def _whole(value: object, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST_UNITS:
        return value
    raise QuestionError(where, f"must be a whole number up to {MOST_UNITS}")


def _count(value: object, where: str) -> int:
    number = _whole(value, where)
    if number < 0:
        raise QuestionError(where, "must not be negative")
    return number


def _few(value: object, where: str) -> int:
    number = _count(value, where)
    if number > MOST_PODS:
        raise QuestionError(where, f"must be at most {MOST_PODS}")
    return number


def _list(value: object, where: str) -> list[object] | tuple[object, ...]:
    if isinstance(value, list | tuple):
        return value
    raise QuestionError(where, "must be a list")


def _object(value: object, where: str) -> Plain:
    if isinstance(value, Mapping):
        return value
    raise QuestionError(where, "must be an object")


def _each(value: object, where: str, read: Callable[[object, str], Value]) -> tuple[Value, ...]:
    return tuple(read(item, f"{where}[{n}]") for n, item in enumerate(_list(value, where)))


def _map(value: object, where: str, read: Callable[[object, str], Value]) -> dict[str, Value]:
    plain = _object({} if value is None else value, where)
    return {str(key): read(item, f"{where}.{key}") for key, item in plain.items()}
