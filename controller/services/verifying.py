"""Following the chain again: all of it for the command, a stretch at a time for the sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, LiteralString
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection

from controller.core.chain import TITLES, End, Fault, Link, followed, told
from controller.models import AuditEvent, ChainCheck, Decision, Removal, Seal, ToSeal
from controller.services import anchoring, sealing
from controller.services.anchoring import Anchor, AnchorError

log = structlog.get_logger(__name__)

AT_ONCE: Final = 500
NEW_AT_ONCE: Final = 1_000
"""Seals that one sweep reads for the first time."""

AGAIN_AT_ONCE: Final = 500
"""Older seals that one sweep reads again; 180,000 an hour at a sweep every ten seconds."""

MOST_FAULTS: Final = 1_000
"""Faults after which the command goes no further."""

NEWEST: Final = 5_000
"""Records among which one sweep looks for such without a seal."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What following the chain showed; ``sealed_at`` is when its last right seal was put on."""

    faults: tuple[Fault, ...]
    seals: int
    removed: int
    waiting: int
    sealed_at: datetime | None
    anchors: int

    @property
    def fault(self) -> Fault | None:
        """The first thing that is wrong."""
        return self.faults[0] if self.faults else None


@dataclass(slots=True)
class _Leave:
    """What may be missing: decisions whose removal was noted, so many of each service."""

    newest: dict[UUID, int] = field(default_factory=dict)
    left: Counter[UUID] = field(default_factory=Counter)
    spare: Counter[UUID] = field(default_factory=Counter)
    """Decisions that may have gone without a seal: the newest at each removal, and who waited."""
    taken: int = 0

    @classmethod
    def read(cls) -> _Leave:
        """Count the removals whose seal fits or that wait for one; no other says anything."""
        leave = cls()
        noted = list(Removal.objects.values_list("pk", "service_id", "rows", "last_id"))
        right = _believed([str(pk) for pk, *_ in noted]) if noted else frozenset()
        for pk, service, rows, last in noted:
            if str(pk) in right:
                leave.newest[service] = max(last, leave.newest.get(service, 0))
                leave.left[service] += rows
                leave.spare[service] += 1
        if right:
            waiting = ToSeal.objects.filter(kind="decision").values_list("object_id", flat=True)
            leave.spare.update(UUID(name.partition("/")[0]) for name in waiting)
        return leave

    def covers(self, kind: str, name: str) -> bool:
        """Tell whether a missing record went with its service, and count it."""
        if kind != "decision":
            return False
        service = UUID(name.partition("/")[0])
        if sealing.key_of(name) > self.newest.get(service, 0) or self.left[service] <= 0:
            return False
        self.left[service] -= 1
        self.taken += 1
        return True

    def unused(self) -> Fault | None:
        """Return the first service of which more went, as is noted, than the chain ever had."""
        for service, left in self.left.items():
            if left > self.spare[service]:
                text = (
                    f"Of service {service} {left} more decisions are noted as removed than were."
                )
                return Fault("changed", "removal", str(service), None, text)
        return None


def _believed(names: Sequence[str]) -> frozenset[str]:
    """Return the removals that are as they were sealed, and those that wait for their seal."""
    now = sealing.digests_of([("removal", name) for name in names])
    sealed = Seal.objects.filter(kind="removal").values_list("object_id", "digest")
    waiting = ToSeal.objects.filter(kind="removal").values_list("object_id", flat=True)
    return frozenset(
        name for name, digest in sealed if now.get(("removal", name)) == digest
    ).union(waiting)


def verify(anchor: Path) -> Outcome:
    """Follow the whole chain, in bounded memory, and hold it against every line of ``anchor``.

    Raises :class:`AnchorError` when the file is there and can't be read.
    """
    end = End()
    faults: tuple[Fault, ...] = ()
    leave = _Leave.read()
    while len(faults) < MOST_FAULTS and (links := _links(end.seq, AT_ONCE)):
        end, found = followed(end, links, _found(links, leave))
        faults += found
    right = _before(faults, end.seq)
    anchors, fault = 0, faults[0] if faults else None
    if fault is None:
        for some in anchoring.stretches(anchor, AT_ONCE):
            anchors += len(some)
            fault = fault or _against(some, sealing.end().seq)
    fault = fault or _without_seal(0) or leave.unused() or _left_behind() or _misnumbered()
    faults = faults or ((fault,) if fault else ())
    return Outcome(faults, right, leave.taken, _waiting(), _sealed_at(right), anchors)


def advance(now: datetime) -> None:
    """Follow what is new of the chain, read some of the old again, and keep the outcome.

    No place is passed where something is wrong, so a fault is told for as long as it lasts.
    """
    check, _ = ChainCheck.objects.get_or_create(pk=1)
    check.checked_to, new = _follow(check.checked_to, NEW_AT_ONCE)
    if check.again_from >= check.checked_to or check.round_at is None:
        check.again_from, check.round_at = 0, now
    most = min(AGAIN_AT_ONCE, check.checked_to - check.again_from)
    check.again_from, old = _follow(check.again_from, most)
    if check.again_from >= check.checked_to:
        check.whole_at = check.round_at
    fault = None if old or new else _cut_off() or _without_seal(NEWEST) or _left_behind()
    faults = (fault,) if fault else (*old, *new)
    if faults and not check.problem:
        first = faults[0]
        log.error("audit chain broken", what=first.what, kind=first.kind, name=first.name)
    check.problem = told(faults)
    check.problem_at = (check.problem_at or now) if faults else None
    check.checked_at = now
    check.checked_seal_at = _sealed_at(check.checked_to)
    check.save()


def _follow(after: int, most: int) -> tuple[int, tuple[Fault, ...]]:
    """Follow a stretch; return how far it is right, and every fault of the stretch."""
    leave = _Leave.read()
    begin = Seal.objects.filter(seq=after).values_list("seq", "hash").first()
    if begin is None and after > 0:
        return after, (_gone(after),)
    end = End(*begin) if begin else End()
    faults: tuple[Fault, ...] = ()
    while end.seq < after + most:
        links = _links(end.seq, min(AT_ONCE, after + most - end.seq))
        if not links:
            break
        end, found = followed(end, links, _found(links, leave))
        faults += found
    return _before(faults, end.seq), faults


def _before(faults: Sequence[Fault], end: int) -> int:
    """Return the last seal before the first fault, of a chain followed to ``end``."""
    return faults[0].seq - 1 if faults and faults[0].seq is not None else end


def _links(after: int, most: int) -> list[Link]:
    rows = Seal.objects.filter(seq__gt=after).order_by("seq")[:most]
    return [Link(*row) for row in rows.values_list("seq", "kind", "object_id", "digest", "hash")]


def _found(links: Sequence[Link], leave: _Leave) -> dict[tuple[str, str], str | None]:
    named = [(link.kind, link.name) for link in links]
    found: dict[tuple[str, str], str | None] = dict(sealing.digests_of(named))
    for one in named:
        if one not in found and leave.covers(*one):
            found[one] = None
    return found


def _cut_off() -> Fault | None:
    try:
        last = anchoring.newest(settings.AUDIT_ANCHOR)
    except AnchorError as fault:
        return Fault("unreadable", "anchor", str(settings.AUDIT_ANCHOR), None, f"{fault}.")
    return _against([last], sealing.end().seq) if last else None


def _against(anchors: Sequence[Anchor], end: int) -> Fault | None:
    """Return what is wrong with the chain by what was written down of it outside."""
    hashes = dict(
        Seal.objects.filter(seq__in=[one.seq for one in anchors]).values_list("seq", "hash")
    )
    for one in anchors:
        if one.seq > end:
            text = f"The chain ends at seal {end} and had {one.seq} at {one.at}: it was cut off."
            return Fault("cut_off", "seal", str(one.seq), end, text)
        if hashes.get(one.seq) != one.hash:
            text = f"Seal {one.seq} is not what was written down at {one.at}: it was made anew."
            return Fault("changed", "seal", str(one.seq), one.seq, text)
    return None


def _gone(seq: int) -> Fault:
    text = f"Seal {seq}, which was verified before, is missing: the chain was cut off."
    return Fault("cut_off", "seal", str(seq), seq, text)


UNSEALED_AUDIT: Final[LiteralString] = """
    SELECT event.id::text FROM controller_auditevent AS event
    WHERE event.id > %s
      AND NOT EXISTS (SELECT FROM controller_seal AS seal
                      WHERE seal.kind = 'audit' AND seal.object_id = event.id::text)
      AND NOT EXISTS (SELECT FROM controller_toseal AS waiting
                      WHERE waiting.kind = 'audit' AND waiting.object_id = event.id::text)
    ORDER BY event.id LIMIT 1"""
UNSEALED_DECISION: Final[LiteralString] = """
    SELECT format('%%s/%%s', closed.service_id, closed.id) FROM controller_decision AS closed
    WHERE closed.id > %s
      AND EXISTS (SELECT FROM controller_decision AS later
                  WHERE later.service_id = closed.service_id AND later.seq > closed.seq)
      AND NOT EXISTS (SELECT FROM controller_seal AS seal WHERE seal.kind = 'decision'
                      AND seal.object_id = format('%%s/%%s', closed.service_id, closed.id))
      AND NOT EXISTS (SELECT FROM controller_toseal AS waiting WHERE waiting.kind = 'decision'
                      AND waiting.object_id = format('%%s/%%s', closed.service_id, closed.id))
    ORDER BY closed.id LIMIT 1"""
UNSEALED_REMOVAL: Final[LiteralString] = """
    SELECT noted.id::text FROM controller_removal AS noted
    WHERE noted.id > %s
      AND NOT EXISTS (SELECT FROM controller_seal AS seal
                      WHERE seal.kind = 'removal' AND seal.object_id = noted.id::text)
      AND NOT EXISTS (SELECT FROM controller_toseal AS waiting
                      WHERE waiting.kind = 'removal' AND waiting.object_id = noted.id::text)
    ORDER BY noted.id LIMIT 1"""
LEFT_BEHIND: Final[LiteralString] = """
    SELECT noted.id::text, noted.service FROM controller_removal AS noted
    WHERE noted.last_id >= (SELECT kept.id FROM controller_decision AS kept
                            WHERE kept.service_id = noted.service_id ORDER BY kept.seq LIMIT 1)
    ORDER BY noted.id LIMIT 1"""


def _without_seal(newest: int) -> Fault | None:
    """Return the first record that neither is sealed nor waits, among the ``newest`` or all."""
    for kind, model, statement in (
        ("audit", AuditEvent, UNSEALED_AUDIT),
        ("decision", Decision, UNSEALED_DECISION),
        ("removal", Removal, UNSEALED_REMOVAL),
    ):
        last = model.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        with connection.cursor() as cursor:
            cursor.execute(statement, [last - newest if newest else 0])
            row: tuple[str] | None = cursor.fetchone()
        if row is not None:
            title = TITLES.get(kind, kind)
            text = f"The {title} {row[0]} has no seal: it was added around the guards."
            return Fault("unsealed", kind, row[0], None, text)
    return None


def _left_behind() -> Fault | None:
    """Return the first removal that left older decisions: they go all at once (S22)."""
    with connection.cursor() as cursor:
        cursor.execute(LEFT_BEHIND)
        row: tuple[str, str] | None = cursor.fetchone()
    if row is None:
        return None
    text = f"Removal {row[0]} took some decisions of {row[1]} and left older ones."
    return Fault("missing", "removal", row[0], None, text)


def _misnumbered() -> Fault | None:
    """Return the first service whose decisions are not numbered 1, 2, 3 (S22)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT service_id::text, count(*), max(seq) FROM controller_decision"
            " GROUP BY service_id HAVING count(*) <> max(seq) ORDER BY 1 LIMIT 1"
        )
        row: tuple[str, int, int] | None = cursor.fetchone()
    if row is None:
        return None
    text = f"The decisions of service {row[0]} are {row[1]} and numbered up to {row[2]}."
    return Fault("missing", "decision", row[0], None, text)


def _waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM controller_toseal")
        row: tuple[int] = cursor.fetchone()
    return row[0]


def _sealed_at(seq: int) -> datetime | None:
    return Seal.objects.filter(seq=seq).values_list("at", flat=True).first()
