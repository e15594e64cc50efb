"""What ``check --deploy`` warns of beside Django's own."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name

from heteroscale_site.production import PROVES_WHO, sslmode


@register(Tags.security, deploy=True)
def second_factor(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's signature
    """Warn where a stolen password is enough to approve changes."""
    if settings.SECOND_FACTOR != "off":
        return []
    return [
        Warning(
            "HETEROSCALE_SECOND_FACTOR is off: a password alone is enough to approve changes.",
            hint="Set HETEROSCALE_SECOND_FACTOR=approvers.",
            id="heteroscale.W001",
        )
    ]


@register(Tags.security, deploy=True)
def production(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's signature
    """Warn where a start that is not safe would not be refused."""
    if settings.PRODUCTION:
        return []
    return [
        Warning(
            "HETEROSCALE_PRODUCTION is not set: an unsafe start would not be refused.",
            hint="Set HETEROSCALE_PRODUCTION=1.",
            id="heteroscale.W002",
        )
    ]


@register(Tags.security, deploy=True)
def who_answers(**_: Any) -> list[CheckMessage]:  # noqa: ANN401 - Django's signature
    """Warn where anybody between could answer in PostgreSQL's place."""
    if sslmode(settings.CONFIGURATION.database or {}) in PROVES_WHO:
        return []
    return [
        Warning(
            "DATABASE_URL: the connection is encrypted, but nobody looks with whom.",
            hint="Write ?sslmode=verify-full and &sslrootcert=FILE.",
            id="heteroscale.W003",
        )
    ]
