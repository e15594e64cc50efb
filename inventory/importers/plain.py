"""JSON and YAML to plain values, without what either could do beyond that.

YAML here is mappings, lists and scalars: no aliases, no tags, no merge keys. ``no`` and ``on``
stay words and ``010`` stays text, as in YAML 1.2.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import orjson
import yaml

from inventory.importers.found import RefusedError

MAX_VALUES: Final = 3_000_000
MAX_DEPTH: Final = 40

Plain: TypeAlias = "Mapping[str, Plain] | Sequence[Plain] | str | int | float | bool | None"

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9]\d{0,17})\Z")
_DECIMAL: Final = re.compile(r"[-+]?\d{1,17}\.\d{1,17}\Z")
_WORDS: Final[dict[str, Plain]] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "false": False,
}
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Block(dict[str, Plain]):
    """A mapping that knows the line it begins on, and the line of each of its keys."""

    __slots__ = ("line", "lines")

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.lines: dict[str, int] = {}


def read_json(data: bytes) -> Plain:
    """Return a JSON document. Raises :class:`RefusedError` with the line of the first mistake."""
    # Counted before anything is built: an empty list of three bytes takes sixty in memory.
    if data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise RefusedError("too_large", f"more than {MAX_VALUES:,} values are not read at once")
    try:
        document: Plain = orjson.loads(data)
    except orjson.JSONDecodeError as fault:
        if "depth" in fault.msg or "recursion" in fault.msg:
            raise RefusedError("too_deep", "the JSON is nested too deeply") from fault
        message = f"this is no JSON: {fault.msg}"
        raise RefusedError("bad_json", message, fault.lineno) from fault
    return document


def read_yaml(text: str) -> list[Plain]:
    """Return the documents of a YAML file. Raises :class:`RefusedError` with a line."""
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 1 if fault.problem_mark else None
        raise RefusedError("bad_yaml", f"this is no YAML: {fault.problem}", line) from fault
    except yaml.YAMLError as fault:
        raise RefusedError("bad_yaml", f"this is no YAML: {fault}") from fault
    return builder.documents


class _Builder:
    """Builds values from events, so that nothing is built that was not written out."""

    def __init__(self) -> None:
        self.documents: list[Plain] = []
        self._open: list[Block | list[Plain]] = []
        self._keys: list[str | None] = []
        self._seen = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        self._seen += 1
        if self._seen > MAX_VALUES:
            raise RefusedError("too_large", f"more than {MAX_VALUES:,} values are not read", line)
        if isinstance(event, yaml.AliasEvent):
            raise RefusedError("alias", "aliases (*name) are not read: write it out", line)
        if isinstance(event, yaml.CollectionEndEvent):
            self._keys.pop()
            self._open.pop()
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line)

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        tag = getattr(event, "tag", None)
        if tag not in {None, "!"}:
            raise RefusedError("tag", f"tags like {tag} are not read", line)
        if isinstance(event, yaml.ScalarEvent):
            self._scalar(event, line)
            return
        if len(self._open) >= MAX_DEPTH:
            raise RefusedError("too_deep", f"more than {MAX_DEPTH} levels are not read", line)
        opened: Block | list[Plain] = (
            Block(line) if isinstance(event, yaml.MappingStartEvent) else []
        )
        self._put(opened, line)
        self._open.append(opened)
        self._keys.append(None)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        plain = event.style in {None, ""}
        inside = self._open[-1] if self._open else None
        if isinstance(inside, Block) and self._keys[-1] is None:
            self._key(inside, event.value, line)
            return
        self._put(_resolved(event.value) if plain else event.value, line)

    def _key(self, inside: Block, key: str, line: int) -> None:
        if key in inside:
            raise RefusedError("twice", f"{key[:60]!r} is there twice", line)
        inside[key] = None
        inside.lines[key] = line
        self._keys[-1] = key

    def _put(self, value: Plain, line: int) -> None:
        if not self._open:
            self.documents.append(value)
            return
        inside = self._open[-1]
        if isinstance(inside, list):
            inside.append(value)
            return
        key = self._keys[-1]
        if key is None:
            raise RefusedError("bad_yaml", "a key can't be a list or a mapping", line)
        inside[key] = value
        self._keys[-1] = None


def _resolved(text: str) -> Plain:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _DECIMAL.match(text) else text


def mapping(value: Plain) -> Mapping[str, Plain]:
    """Return a mapping, empty where the value is none."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Plain) -> Sequence[Plain]:
    """Return a list, empty where the value is none."""
    return value if isinstance(value, list) else ()


def texts(value: Plain) -> list[str]:
    """Return the scalars of a list as text; a lone scalar is a list of one."""
    items = value if isinstance(value, list) else [] if value is None else [value]
    return [text for text in map(text_of, items) if text is not None]


def text_of(value: Plain) -> str | None:
    """Return a scalar as text; ``None`` for nothing, an empty text, and what is no scalar."""
    if value is None or isinstance(value, bool | Mapping | list):
        return None
    return str(value).strip() or None


def inside(value: Plain, *path: str) -> Plain:
    """Return what a path of keys leads to, ``None`` where it ends early."""
    for key in path:
        value = mapping(value).get(key)
    return value


def blocks(value: Plain) -> Iterator[tuple[int, Mapping[str, Plain]]]:
    """Return the mappings of a list with their places in it."""
    return ((n, item) for n, item in enumerate(sequence(value)) if isinstance(item, Mapping))


def line_of(block: Mapping[str, Plain], key: str = "") -> int | None:
    """Return the line of a key, or of the mapping; ``None`` where the document has no lines."""
    return block.lines.get(key, block.line) if isinstance(block, Block) else None
