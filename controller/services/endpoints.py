"""Endpoints of metrics as people change them: checked, written at the version seen, recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.reach import AddressError, Reach, check_host, origin
from controller.core.readings.attach_plain import (
    PlainError,
    attach_of,
    attach_plain,
    targets_of,
    targets_plain,
)
from controller.core.readings.target_lines import lines_of
from controller.models import AuditEvent
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.certificates import PemError, read_authorities, read_pair
from controller.services.errors import ConflictError, InvalidError, MissingError
from controller.services.metrics_plan import KEY, SECRET
from controller.services.people import Person
from controller.services.secrecy import UnreadableError, decrypt, encrypt
from inventory.models import MetricsEndpoint

FIELDS: Final = (
    *("slug", "kind", "url", "enabled", "attach", "targets", "scrape_s"),
    *("login", "user", "tenant", "ca", "certificate"),
)
"""What people may change of an endpoint, beside its secret and its key."""
RESERVED: Final = frozenset({"new"})
"""What stands in addresses where the name of an endpoint does."""
MOST_LINES: Final = 50
"""So many targets are told one by one in the audit."""
_PEM: Final = ("ca", "certificate")
_KIND: Final = MetricsEndpoint.Kind
_LOGIN: Final = MetricsEndpoint.Login


@dataclass(frozen=True, slots=True)
class Draft:
    """What an endpoint is to be: ``values`` of ``FIELDS``; an empty secret or key stays."""

    values: Mapping[str, Any]
    secret: str = field(default="", repr=False)
    key: str = field(default="", repr=False)


def add(draft: Draft, *, user: Person, reason: str) -> MetricsEndpoint:
    """Return a new endpoint.

    Raises :class:`ForbiddenError`, and :class:`InvalidError` naming the field and how to mend it.
    """
    people.require(user, people.EDIT_SOURCES)
    reason = people.reason_text(reason, needed=False)
    row = MetricsEndpoint(**_ready(draft, MetricsEndpoint()))
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            told = {name: value for name, value in _told(row).items() if value not in ("", None)}
            _record(user, "added", row, ({}, told), reason)
    except IntegrityError:
        raise InvalidError("slug", f"There is an endpoint {row.slug} already.") from None
    return row


def edit(pk: UUID, draft: Draft, *, seen: int, user: Person, reason: str) -> bool:
    """Write what an endpoint is to be; returns False where nothing differs.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError` naming the field,
    and :class:`ConflictError` when somebody else changed it since version ``seen``.
    """
    people.require(user, people.EDIT_SOURCES)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        row = _locked(pk)
        if row.version != seen:
            raise ConflictError(overtaken(row))
        values = _ready(draft, row)
        changed = {name: now for name, now in values.items() if getattr(row, name) != now}
        if not changed:
            return False
        before = _told(row)
        try:
            with transaction.atomic():
                MetricsEndpoint.objects.filter(pk=pk).update(
                    **changed, version=F("version") + 1, updated=Now()
                )
        except IntegrityError:
            said = f"There is an endpoint {values['slug']} already."
            raise InvalidError("slug", said) from None
        row.refresh_from_db()
        after = _told(row)
        for name in ("secret", "key"):
            if name in changed and before[name] and after[name]:
                before[name], after[name] = "another", "replaced"
        differ = [name for name in after if before[name] != after[name]]
        change = tuple({name: each[name] for name in differ} for each in (before, after))
        _record(user, "changed", row, (change[0], change[1]), reason)
    return True


def remove(pk: UUID, *, seen: int, user: Person, reason: str) -> None:
    """Remove an endpoint that no service reads from.

    Raises :class:`ForbiddenError`, :class:`MissingError`, :class:`InvalidError` for a lacking
    reason, and :class:`ConflictError` naming who reads from it, or that it was changed since.
    """
    people.require(user, people.EDIT_SOURCES)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        row = _locked(pk)
        if row.version != seen:
            raise ConflictError(overtaken(row))
        readers = row.uses.order_by("service__slug").values_list("service__slug", flat=True)
        if readers:
            told = phrases.listed(list(readers))
            reads = "reads" if len(readers) == 1 else "read"
            raise ConflictError(f"{row.slug} is in use: {told} {reads} from it.")
        _record(user, "removed", row, (_told(row), {}), reason)
        row.delete()


def overtaken(row: MetricsEndpoint) -> str:
    """Return who changed an endpoint last, and when."""
    event = AuditEvent.objects.filter(object_type="metricsendpoint", object_id=str(row.pk))
    last = event.order_by("-at").first()
    if last is None:
        return f"{row.slug} was changed since this page was opened."
    since_s = (database_now() - last.at).total_seconds()
    return f"{last.actor} changed {row.slug} {phrases.ago(since_s)}."


def _locked(pk: UUID) -> MetricsEndpoint:
    row = MetricsEndpoint.objects.select_for_update().filter(pk=pk).first()
    if row is None:
        raise MissingError("This endpoint is not there any more.")
    return row


def _ready(draft: Draft, row: MetricsEndpoint) -> dict[str, Any]:
    """Return the columns of what is wanted, checked; what a kind does not have is emptied."""
    reach: Reach = settings.METRICS_REACH
    given = {name: draft.values[name] for name in FIELDS}
    if given["slug"] in RESERVED:
        raise InvalidError("slug", f"{given['slug']} is an address of its own: choose another.")
    try:
        given["attach"] = attach_plain(attach_of(given["attach"]))
        if given["kind"] == _KIND.PROMETHEUS:
            given |= {"url": _address(given["url"], reach), "targets": []}
        else:
            given |= {"url": "", "targets": _targets(given["targets"], reach)}
    except PlainError as fault:
        raise InvalidError(fault.field, str(fault)) from None
    given |= _login(given, draft, row)
    given |= _encryption(given, draft, row)
    return given


def _address(url: str, reach: Reach) -> str:
    url = url.strip().rstrip("/")
    if not url:
        raise InvalidError("url", "Give its address, like http://prometheus:9090.")
    try:
        check_host(origin(url)[1], reach)
    except AddressError as fault:
        raise InvalidError("url", str(fault)) from None
    if not url.isascii() or not url.isprintable() or set(" ?#") & set(url):
        said = "An address has no spaces, and here no query: end it before the ? or #."
        raise InvalidError("url", said)
    if "/api/v1" in url:
        said = f"Leave out /api/v1 and what follows: {url.partition('/api/v1')[0]}."
        raise InvalidError("url", said)
    return url


def _targets(plain: Sequence[Mapping[str, str]], reach: Reach) -> list[dict[str, str]]:
    targets = targets_of(plain)
    if not targets:
        raise InvalidError(
            "targets", "Name at least one target, like http://10.0.0.7:8000/metrics."
        )
    for each in targets:
        try:
            check_host(origin(each.url)[1], reach)
        except AddressError as fault:
            raise InvalidError("targets", f"{each.url}: {fault}") from None
    return targets_plain(targets)


def _login(given: Mapping[str, Any], draft: Draft, row: MetricsEndpoint) -> dict[str, Any]:
    """Return user and secret; one that is kept goes to no host it was not given for."""
    _header("tenant", given["tenant"])
    if given["login"] == _LOGIN.NONE:
        return {"user": "", "secret": ""}
    word = "token" if given["login"] == _LOGIN.BEARER else "password"
    user = given["user"] if given["login"] == _LOGIN.BASIC else ""
    if given["login"] == _LOGIN.BASIC and (not user or ":" in user):
        raise InvalidError("user", "Give the user's name, without a colon.")
    if draft.secret:
        if word == "token":
            _header("secret", draft.secret)
        return {"user": user, "secret": encrypt(draft.secret, purpose=SECRET)}
    if not row.secret or row.login != given["login"]:
        raise InvalidError("secret", f"Give the {word}.")
    if strange := _hosts(given["url"], given["targets"]) - _hosts(row.url, row.targets):
        where = ", ".join(f"{scheme}://{host}:{port}" for scheme, host, port in sorted(strange))
        said = f"The {word} that is kept was not given for {where}: type it again."
        raise InvalidError("secret", said)
    return {"user": user, "secret": row.secret}


def _header(field: str, text: str) -> None:
    if not text.isascii() or not text.isprintable():
        raise InvalidError(field, "It may only have characters that a header can hold.")


def _hosts(url: str, targets: Sequence[Mapping[str, str]]) -> set[tuple[str, str, int]]:
    return {origin(each) for each in (url, *(target["url"] for target in targets)) if each}


def _encryption(given: Mapping[str, Any], draft: Draft, row: MetricsEndpoint) -> dict[str, str]:
    """Return the certificates in one spelling, and the key that fits, encrypted."""
    ca, certificate = (given[name].strip() for name in _PEM)
    kept = _kept_key(row)
    key = draft.key.strip() or (kept if certificate else "")
    try:
        if ca:
            read_authorities(ca)
        if certificate or key:
            read_pair(certificate, key)
    except PemError as fault:
        raise InvalidError(fault.field, str(fault)) from None
    same = key == kept
    sealed = (row.key if same else encrypt(key, purpose=KEY)) if key else ""
    return {"ca": ca, "certificate": certificate, "key": sealed}


def _kept_key(row: MetricsEndpoint) -> str:
    """Return the key that is kept; one that nobody can read any more is none."""
    try:
        return decrypt(row.key, purpose=KEY) if row.key else ""
    except UnreadableError:
        return ""


def _told(row: MetricsEndpoint) -> dict[str, Any]:
    """Return what the audit keeps of an endpoint: no secret, and no long text."""
    told = {name: getattr(row, name) for name in FIELDS}
    told |= {name: _digest(told[name]) for name in _PEM}
    lines = lines_of(targets_of(row.targets))
    count = len(row.targets)
    told["targets"] = lines if count <= MOST_LINES else f"{count} targets, {_digest(lines)}"
    return told | {name: "kept" if getattr(row, name) else "" for name in ("secret", "key")}


def _digest(text: str) -> str:
    return f"sha256 {sha256(text.encode()).hexdigest()[:16]}" if text else ""


def _record(
    user: Person,
    verb: str,
    row: MetricsEndpoint,
    change: tuple[dict[str, Any], dict[str, Any]],
    reason: str,
) -> None:
    before, after = change
    audit.record(
        actor=user.get_username(), verb=verb, obj=row, before=before, after=after, reason=reason
    )
