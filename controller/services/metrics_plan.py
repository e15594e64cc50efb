"""What is read from which endpoint, out of the rows: with credentials, so for the loop alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from controller.core.readings.attach_plain import PlainError, attach_of, targets_of
from controller.core.readings.presets import PRESETS
from controller.core.readings.sources import Access, EndpointKind, Plan, Source, Use
from controller.core.readings.standing import Answering, Standing
from controller.models import EndpointStatus, ScrapeMark
from controller.services.secrecy import UnreadableError, decrypt
from inventory.models import MetricsEndpoint, ServiceMetrics

SECRET: Final = "metrics endpoint secret"  # noqa: S105 - what it is for, not a secret
KEY: Final = "metrics endpoint key"


class UnusableError(Exception):
    """An endpoint or a use can't be read as it is kept; the text says what and why."""


def plan() -> Plan:
    """Return all endpoints and uses, three queries; what can't be used breaks its services alone.

    A service all of whose endpoints are disabled reads from none.
    """
    sources: dict[str, Source] = {}
    unusable: dict[str, str] = {}
    for row in MetricsEndpoint.objects.filter(enabled=True):
        try:
            sources[row.slug] = source_of(row)
        except UnusableError as fault:
            unusable[row.slug] = f"{row.slug} can't be used: {fault}"
    uses: dict[str, list[Use]] = {}
    broken: dict[str, str] = {}
    taken: dict[tuple[str, str], str] = {}
    rows = ServiceMetrics.objects.filter(endpoint__enabled=True)
    for use in rows.select_related("service", "endpoint").prefetch_related("written"):
        key, name = use.service.slug, use.endpoint.slug
        if name in unusable:
            broken.setdefault(key, unusable[name])
            continue
        first = taken.setdefault((name, use.known_as or key), key)
        if first != key:
            broken.setdefault(key, f"At {name} it has the name of {first}: give it its own.")
            continue
        try:
            uses.setdefault(key, []).append(use_of(use))
        except UnusableError as fault:
            broken.setdefault(key, str(fault))
    return Plan(sources, {key: each for key, each in uses.items() if key not in broken}, broken)


def source_of(row: MetricsEndpoint) -> Source:
    """Return an endpoint as a value. Raises :class:`UnusableError`."""
    try:
        secret = decrypt(row.secret, purpose=SECRET) if row.secret else ""
        key = decrypt(row.key, purpose=KEY) if row.key else ""
        attach, targets = attach_of(row.attach), targets_of(row.targets)
    except UnreadableError as fault:
        raise UnusableError(f"{fault}. Enter it again.") from None
    except PlainError as fault:
        raise UnusableError(f"{fault.field}: {fault}") from None
    bearer = row.login == MetricsEndpoint.Login.BEARER
    basic = row.login == MetricsEndpoint.Login.BASIC
    return Source(
        row.slug,
        EndpointKind(row.kind),
        row.url,
        attach,
        Access(
            token=secret if bearer else "",
            user=row.user if basic else "",
            password=secret if basic else "",
            tenant=row.tenant,
            ca=row.ca,
            certificate=row.certificate,
            key=key,
        ),
        targets,
        row.scrape_s,
    )


def use_of(row: ServiceMetrics) -> Use:
    """Return what a service reads from an endpoint. Raises :class:`UnusableError`."""
    presets = row.presets if isinstance(row.presets, list) else []
    unknown = [name for name in presets if not isinstance(name, str) or name not in PRESETS]
    if unknown:
        said = f"There is no preset {unknown[0]!r}: choose of {', '.join(PRESETS)}."
        raise UnusableError(said)
    return Use(
        row.endpoint.slug,
        row.known_as or row.service.slug,
        tuple(presets),
        {each.signal: each.query for each in row.written.all()},
    )


def standings() -> dict[str, Standing]:
    """Return how each endpoint has answered so far, by its name; one query."""
    rows = EndpointStatus.objects.select_related("endpoint")
    return {row.endpoint.slug: standing_of(row) for row in rows}


def standing_of(row: EndpointStatus) -> Standing:
    """Return the standing that a row keeps."""
    return Standing(
        Answering(row.state),
        row.since.timestamp(),
        row.answered_at.timestamp() if row.answered_at else None,
        row.back_since.timestamp() if row.back_since else None,
        row.failures,
        row.again_at.timestamp() if row.again_at else None,
        tuple(row.told),
    )


def marks(sources: Iterable[Source]) -> Mapping[str, bytes]:
    """Return what direct scrapes remember, by the name of their endpoint; at most one query."""
    names = [each.name for each in sources if each.kind is EndpointKind.SCRAPE]
    if not names:
        return {}
    rows = ScrapeMark.objects.filter(endpoint__slug__in=names)
    return {name: bytes(body) for name, body in rows.values_list("endpoint__slug", "body")}
