"""What every page shows: the strip, the counters, the reader's preferences."""

from typing import Any

from django.http import HttpRequest


def context(_request: HttpRequest) -> dict[str, Any]:
    """Return what base.html needs."""
    return {}
