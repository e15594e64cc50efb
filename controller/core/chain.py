"""A chain of hashes over records: what is changed, removed or put between shows.

A link's hash is SHA-256 over the hash before, the kind of the record, its name and its digest. The
digest is SHA-256 over the record as JSON: names sorted, no spaces, times in UTC with microseconds,
and without what is empty, so that a column added later changes no digest of before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

BEGINNING: Final = "0" * 64
"""What the first link follows."""

NOTHING: Final = "-" * 64
"""The digest of a record that was gone before it was sealed."""

TITLES: Final = {"audit": "audit event"}
NAMED: Final = 5
"""Faults that are named; of more only the number is told."""

WORDS: Final = {"changed": "was changed after it was sealed", "missing": "is missing"}


@dataclass(frozen=True, slots=True)
class Link:
    """One record's place in the chain."""

    seq: int
    kind: str
    name: str
    digest: str
    hash: str


@dataclass(frozen=True, slots=True)
class End:
    """How far a chain was followed."""

    seq: int = 0
    hash: str = BEGINNING


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong: ``what`` is changed, missing, unsealed or cut_off."""

    what: str
    kind: str
    name: str
    seq: int | None
    text: str


def told(faults: Sequence[Fault]) -> str:
    """Return the first faults in words, and how many more there are; empty without any."""
    words = " ".join(one.text for one in faults[:NAMED])
    more = len(faults) - NAMED
    return f"{words} And {more:,} more." if more > 0 else words


def digest(record: Mapping[str, object]) -> str:
    """Return the digest of a record, in hexadecimal."""
    told = {name: value for name, value in record.items() if not _is_empty(value)}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of(before: str, kind: str, name: str, record_digest: str) -> str:
    """Return the hash of the link that follows ``before``, in hexadecimal."""
    return hashlib.sha256("\n".join((before, kind, name, record_digest)).encode()).hexdigest()


def linked(end: End, records: Iterable[tuple[str, str, str]]) -> list[Link]:
    """Return the links of records, each a kind, a name and a digest, after ``end``."""
    links: list[Link] = []
    for kind, name, record_digest in records:
        end = End(end.seq + 1, hash_of(end.hash, kind, name, record_digest))
        links.append(Link(end.seq, kind, name, record_digest, end.hash))
    return links


def followed(
    end: End, links: Iterable[Link], found: Mapping[tuple[str, str], str | None]
) -> tuple[End, tuple[Fault, ...]]:
    """Follow links in order from ``end`` and past each fault; return the last and every fault.

    ``found`` has the digest of each record as it is now, ``None`` for one that went with leave;
    one that is not in it is missing.
    """
    faults: list[Fault] = []
    for link in links:
        fault = _fault(end, link, found)
        if fault is not None:
            faults.append(fault)
        end = End(link.seq, link.hash)
    return end, tuple(faults)


def _fault(end: End, link: Link, found: Mapping[tuple[str, str], str | None]) -> Fault | None:
    if link.seq != end.seq + 1:
        text = f"Seal {end.seq + 1} is missing: seal {link.seq} comes after seal {end.seq}."
        return Fault("missing", "seal", str(end.seq + 1), end.seq + 1, text)
    if link.hash != hash_of(end.hash, link.kind, link.name, link.digest):
        text = f"Seal {link.seq} does not follow from seal {end.seq}: one of them was changed."
        return Fault("changed", "seal", str(link.seq), link.seq, text)
    return _fault_of_record(link, found.get((link.kind, link.name), ""))


def _fault_of_record(link: Link, now: str | None) -> Fault | None:
    if now is None or now == link.digest:
        return None
    what = "changed" if now else "missing"
    title = TITLES.get(link.kind, link.kind)
    text = f"The {title} {link.name}, seal {link.seq}, {WORDS[what]}."
    return Fault(what, link.kind, link.name, link.seq, text)


def _is_empty(value: object) -> bool:
    return value is None or (isinstance(value, str | list | dict | tuple) and not value)


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value)
