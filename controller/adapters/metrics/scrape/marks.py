"""What direct scrapes remember between two looks, as bytes: checked when read, none if foreign."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import orjson

from controller.core.readings.scrapes import Sample, Scrape
from controller.core.readings.tables import Answer, Buckets, Table
from controller.core.types import Floats

MOST_BYTES: Final = 256 * 2**20
"""The longest that marks may be once unpacked."""
_BEGIN: Final = b"HSMARKS1"
_HEAD: Final = 8


@dataclass(frozen=True, slots=True)
class Column:
    """Leaves as they were at one look, at one time, by fingerprint of the leaf."""

    at_s: float
    services: Sequence[str]
    leaves: Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Marks:
    """The last scrape of each target by address; roles that metrics told; who did not answer.

    ``columns`` are earlier looks, the oldest first.
    """

    scrapes: Mapping[str, Scrape] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    columns: Sequence[Column] = ()


def fingerprint(*parts: object) -> str:
    """Return what stays the same as long as a leaf and where it is known from do."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:24]


def packed(marks: Marks) -> bytes:
    """Return marks as bytes; without scrapes and columns if they are too long to be kept."""
    body = _packed(marks)
    if len(body) > MOST_BYTES:
        body = _packed(Marks(roles=marks.roles, failed=marks.failed))
    return _BEGIN + zlib.compress(body, 1)


def unpacked(body: bytes | None) -> Marks:
    """Return the marks; what is no marks of ours, or not whole, is as none."""
    if body is None or bytes(body[: len(_BEGIN)]) != _BEGIN:
        return Marks()
    try:
        unpacking = zlib.decompressobj()
        whole = unpacking.decompress(bytes(body[len(_BEGIN) :]), MOST_BYTES)
        return _Unpacking(whole).marks() if unpacking.eof else Marks()
    except (zlib.error, ValueError, KeyError, IndexError, TypeError, AttributeError):
        return Marks()


def _packed(marks: Marks) -> bytes:
    packing = _Packing()
    head = orjson.dumps(
        {
            "scrapes": {url: packing.scrape(each) for url, each in marks.scrapes.items()},
            "roles": dict(marks.roles),
            "failed": sorted(marks.failed),
            "columns": [packing.column(each) for each in marks.columns],
            "labels": list(packing.labels),
        }
    )
    numbers = np.concatenate([np.zeros(0), *packing.numbers]).astype("<f8").tobytes()
    return len(head).to_bytes(_HEAD, "little") + head + numbers


class _Packing:
    """Numbers stand apart from text: JSON has neither NaN nor infinities."""

    def __init__(self) -> None:
        self.numbers: list[Floats] = []
        self.labels: dict[str, int] = {}
        self._at = 0
        self._known: dict[int, int] = {}

    def scrape(self, scrape: Scrape) -> dict[str, object]:
        found = {}
        for name, samples in scrape.samples.items():
            times = [scrape.at_s if s.at_s is None else s.at_s for s in samples]
            stated = any(s.at_s is not None for s in samples)
            found[name] = [
                [self._label(sample.labels) for sample in samples],
                self._put(np.array([sample.value for sample in samples], dtype=np.float64)),
                self._put(np.array(times, dtype=np.float64)) if stated else None,
            ]
        return {"at": scrape.at_s, "samples": found}

    def column(self, column: Column) -> dict[str, object]:
        leaves = {key: self._answer(each) for key, each in column.leaves.items()}
        return {"at": column.at_s, "services": list(column.services), "leaves": leaves}

    def _answer(self, answer: Answer) -> list[object]:
        main, le = (
            (answer.rates, self._put(answer.le))
            if isinstance(answer, Buckets)
            else (answer.values, None)
        )
        counts = answer.reporting.astype(np.float64)
        return [le, self._put(main), self._put(answer.at_s), self._put(counts)]

    def _label(self, labels: Mapping[str, str]) -> int:
        # Labels are shared objects mostly, and that is much cheaper to ask.
        known = self._known.get(id(labels))
        if known is None:
            text = orjson.dumps(dict(labels)).decode()
            known = self.labels.setdefault(text, len(self.labels))
            self._known[id(labels)] = known
        return known

    def _put(self, numbers: Floats) -> list[int]:
        begin, self._at = self._at, self._at + numbers.size
        self.numbers.append(numbers.ravel())
        return [begin, numbers.size]


class _Unpacking:
    """Takes apart what :class:`_Packing` put together. Raises for what is not."""

    def __init__(self, whole: bytes) -> None:
        end = _HEAD + int.from_bytes(whole[:_HEAD], "little")
        self._head: dict[str, Any] = orjson.loads(whole[_HEAD:end])
        self._numbers = np.frombuffer(whole, dtype="<f8", offset=end)
        self._labels = [_texts(orjson.loads(text)) for text in self._head["labels"]]

    def marks(self) -> Marks:
        head = self._head
        return Marks(
            {str(url): self._scrape(each) for url, each in head["scrapes"].items()},
            _texts(head["roles"]),
            frozenset(map(str, head["failed"])),
            [self._column(each) for each in head["columns"]],
        )

    def _scrape(self, plain: Mapping[str, Any]) -> Scrape:
        samples = {
            str(name): list(self._samples(*each)) for name, each in plain["samples"].items()
        }
        return Scrape(float(plain["at"]), samples, frozenset(samples))

    def _samples(
        self, labels: Sequence[int], values: Sequence[int], times: Sequence[int] | None
    ) -> Iterator[Sample]:
        numbers = self._got(values).tolist()
        dated = [None] * len(numbers) if times is None else self._got(times).tolist()
        for label, value, at_s in zip(labels, numbers, dated, strict=True):
            yield Sample(self._labels[label], value, at_s)

    def _column(self, plain: Mapping[str, Any]) -> Column:
        services = [str(each) for each in plain["services"]]
        leaves = {
            str(key): self._answer(each, len(services)) for key, each in plain["leaves"].items()
        }
        return Column(float(plain["at"]), services, leaves)

    def _answer(self, plain: Sequence[Any], services: int) -> Answer:
        le, main, at_s, counts = plain
        stamps = self._got(at_s).reshape(services, 1)
        reporting = self._got(counts).astype(np.int64).reshape(services, 1)
        if le is None:
            return Table(self._got(main).reshape(services, 1), stamps, reporting)
        bounds = self._got(le)
        rates = self._got(main).reshape(services, bounds.size, 1)
        return Buckets(bounds, rates, stamps, reporting)

    def _got(self, where: Sequence[int]) -> Floats:
        begin, size = where
        found: Floats = self._numbers[begin : begin + size].astype(np.float64)
        if found.size != size:
            raise ValueError("numbers are missing")
        return found


def _texts(plain: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(text) for name, text in plain.items()}
