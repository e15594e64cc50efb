"""From which endpoints a service reads its metrics, as people change it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from controller.core import phrases
from controller.core.readings.presets import KINDS, PRESETS
from controller.core.readings.sources import Use
from controller.core.readings.written import WrittenError, check_written
from controller.models import AuditEvent
from controller.models.clock import database_now
from controller.services import audit, people
from controller.services.errors import ConflictError, InvalidError
from controller.services.people import Person
from inventory.models import MetricsEndpoint, Service, ServiceMetrics, WrittenQuery

MOST_RANK: Final = 100
LONGEST_NAME: Final = 253


@dataclass(frozen=True, slots=True)
class Wish:
    """That a service reads from an endpoint: its order, by which presets, its name there."""

    endpoint: str
    rank: int
    presets: tuple[str, ...]
    known_as: str = ""


def mark_of(service: Service) -> str:
    """Return what differs as soon as anybody changes what a service reads; two queries."""
    uses = _uses(service)
    queries = WrittenQuery.objects.filter(use__service=service).order_by("use", "signal")
    told = [_plain(use) for use in uses], list(queries.values_list("signal", "query"))
    return sha256(repr(told).encode()).hexdigest()[:16]


def uses_of(service: Service, wishes: Iterable[Wish]) -> list[Use]:
    """Return what would be read, the preferred first, with the queries that are written already.

    Raises :class:`InvalidError`, naming the endpoint in its field.
    """
    written = _written(service)
    return [
        Use(
            wish.endpoint,
            wish.known_as or service.slug,
            wish.presets,
            written.get(wish.endpoint, {}),
        )
        for wish in sorted(_checked(wishes), key=lambda wish: wish.rank)
    ]


def set_uses(
    service: Service, wishes: Sequence[Wish], *, seen: str, user: Person, reason: str
) -> bool:
    """Let a service read from exactly these endpoints; returns False where nothing differs.

    Queries written for one that stays are kept. Raises :class:`ForbiddenError`,
    :class:`InvalidError` naming the endpoint in its field, also one that is left and has such
    queries, and :class:`ConflictError` when somebody else changed it since ``seen``, the mark of
    then.
    """
    people.require(user, people.EDIT_SOURCES, service)
    reason = people.reason_text(reason, needed=True)
    wishes = _checked(wishes)
    with transaction.atomic():
        Service.objects.select_for_update(of=("self",)).get(pk=service.pk)
        if mark_of(service) != seen:
            raise ConflictError(_overtaken(service))
        before = {use.endpoint.slug: _plain(use) for use in _uses(service)}
        known = {row.slug: row for row in MetricsEndpoint.objects.all()}
        if gone := [wish.endpoint for wish in wishes if wish.endpoint not in known]:
            raise InvalidError(gone[0], f"{gone[0]} is not there any more.")
        after = {wish.endpoint: _wished(wish) for wish in wishes}
        if before == after:
            return False
        for slug in before.keys() - after.keys():
            _leave(service, known[slug])
        for slug, values in after.items():
            _write(service, known[slug], values, is_new=slug not in before)
        differ = [slug for slug in {**before, **after} if before.get(slug) != after.get(slug)]
        _record(
            service,
            user,
            "changed where metrics are read of",
            (
                {slug: _words(before.get(slug)) for slug in differ},
                {slug: _words(after.get(slug)) for slug in differ},
            ),
            reason,
        )
    return True


def _leave(service: Service, endpoint: MetricsEndpoint) -> None:
    """Let a service read from an endpoint no longer; queries people wrote are never lost so."""
    use = ServiceMetrics.objects.get(service=service, endpoint=endpoint)
    own = [KINDS[row.signal].label for row in use.written.all() if row.signal in KINDS]
    if own:
        said = f"It has a query of its own there for {', '.join(own)}: put that back first."
        raise InvalidError(endpoint.slug, said)
    use.delete()
    _touch(service)


def _touch(service: Service) -> None:
    """Note that what was read so far is not what is read now."""
    ServiceMetrics.objects.filter(service=service).update(updated=database_now())


def write_query(  # noqa: PLR0913 - the columns of one row
    service: Service, endpoint: str, signal: str, query: str, *, user: Person, reason: str
) -> None:
    """Let a query of one's own stand in the place of the presets' recipe for a figure.

    Raises :class:`ForbiddenError`, and :class:`InvalidError` naming the field.
    """
    people.require(user, people.EDIT_SOURCES, service)
    reason = people.reason_text(reason, needed=True)
    query = query.strip()
    check_query(signal, query)
    with transaction.atomic():
        use = _use(service, endpoint)
        before = use.written.select_for_update().filter(signal=signal).first()
        if before is not None and before.query == query:
            return
        WrittenQuery.objects.update_or_create(use=use, signal=signal, defaults={"query": query})
        was, now = (f"{endpoint}: {text}" for text in (before.query if before else "", query))
        change = ({signal: was if before else "by preset"}, {signal: now})
        _record(service, user, "replaced a metrics query of", change, reason)


def put_back(service: Service, signal: str, *, user: Person, reason: str) -> bool:
    """Take the queries of one's own for a figure away; returns False where there are none.

    Raises :class:`ForbiddenError`, and :class:`InvalidError` for a lacking reason.
    """
    people.require(user, people.EDIT_SOURCES, service)
    reason = people.reason_text(reason, needed=True)
    with transaction.atomic():
        rows = WrittenQuery.objects.select_for_update().filter(use__service=service, signal=signal)
        found = list(rows.select_related("use__endpoint"))
        if not found:
            return False
        told = "; ".join(f"{row.use.endpoint.slug}: {row.query}" for row in found)
        WrittenQuery.objects.filter(pk__in=[row.pk for row in found]).delete()
        _touch(service)
        change = ({signal: told}, {signal: "by preset"})
        _record(service, user, "put back a metrics query of", change, reason)
    return True


def check_query(signal: str, query: str) -> None:
    """Refuse a query that can't be used. Raises :class:`InvalidError` naming the field."""
    if signal not in KINDS:
        raise InvalidError("query", f"There is no figure {signal}.")
    if not all(letter.isprintable() or letter in "\t\r\n" for letter in query):
        raise InvalidError("query", "It holds a character that can't be seen: write it anew.")
    try:
        check_written(query)
    except WrittenError as fault:
        raise InvalidError("query", str(fault)) from None


def _use(service: Service, endpoint: str) -> ServiceMetrics:
    kind = MetricsEndpoint.Kind.PROMETHEUS
    rows = ServiceMetrics.objects.filter(service=service, endpoint__slug=endpoint)
    use = rows.filter(endpoint__kind=kind).first()
    if use is None:
        said = f"{service.slug} reads from no Prometheus {endpoint}: choose one that it reads."
        raise InvalidError("endpoint", said)
    return use


def _write(
    service: Service, endpoint: MetricsEndpoint, values: Mapping[str, Any], *, is_new: bool
) -> None:
    if is_new:
        ServiceMetrics.objects.create(service=service, endpoint=endpoint, **values)
        return
    rows = ServiceMetrics.objects.filter(service=service, endpoint=endpoint)
    rows.update(**values, version=F("version") + 1, updated=Now())


def _checked(wishes: Iterable[Wish]) -> list[Wish]:
    found = list(wishes)
    for wish in found:
        if not 1 <= wish.rank <= MOST_RANK:
            raise InvalidError(
                wish.endpoint, f"The order is a whole number from 1 to {MOST_RANK}."
            )
        if unknown := [name for name in wish.presets if name not in PRESETS]:
            raise InvalidError(wish.endpoint, f"There is no preset {unknown[0]}.")
        if not wish.presets:
            raise InvalidError(wish.endpoint, "Choose at least one preset.")
        if len(wish.known_as) > LONGEST_NAME or not wish.known_as.isprintable():
            said = f"Its name there has at most {LONGEST_NAME} characters, in one line."
            raise InvalidError(wish.endpoint, said)
    return found


def _uses(service: Service) -> Sequence[ServiceMetrics]:
    return list(service.metrics.select_related("endpoint").order_by("rank", "pk"))


def _written(service: Service) -> Mapping[str, Mapping[str, str]]:
    found: dict[str, dict[str, str]] = {}
    rows = WrittenQuery.objects.filter(use__service=service)
    for slug, signal, query in rows.values_list("use__endpoint__slug", "signal", "query"):
        found.setdefault(slug, {})[signal] = query
    return found


def _plain(use: ServiceMetrics) -> dict[str, Any]:
    return {"rank": use.rank, "presets": list(use.presets), "known_as": use.known_as}


def _wished(wish: Wish) -> dict[str, Any]:
    return {"rank": wish.rank, "presets": list(wish.presets), "known_as": wish.known_as}


def _words(values: Mapping[str, Any] | None) -> str:
    if values is None:
        return ""
    known = f", known as {values['known_as']}" if values["known_as"] else ""
    return f"{values['rank']}: {', '.join(values['presets'])}{known}"


def _overtaken(service: Service) -> str:
    event = AuditEvent.objects.filter(object_type="service", object_id=str(service.pk))
    last = event.filter(verb__contains="metrics").order_by("-at").first()
    if last is None:
        return "What it reads was changed since this page was opened."
    since_s = (database_now() - last.at).total_seconds()
    return f"{last.actor} changed what it reads {phrases.ago(since_s)}."


def _record(
    service: Service,
    user: Person,
    verb: str,
    change: tuple[dict[str, Any], dict[str, Any]],
    reason: str,
) -> None:
    before, after = change
    audit.record(
        actor=user.get_username(),
        verb=verb,
        obj=service,
        before=before,
        after=after,
        reason=reason,
    )
