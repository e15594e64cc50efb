"""What ``check --deploy`` warns of beside Django's own."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004 - Django's name


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
