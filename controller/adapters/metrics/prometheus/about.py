"""What a server says of itself."""

from __future__ import annotations

from typing import Final

import orjson
import requests

from controller.adapters import http
from controller.adapters.http import HttpError
from controller.adapters.metrics.prometheus.client import Endpoint, SourceError
from controller.adapters.turn import Turn

MOST_BYTES: Final = 2**16
LONGEST: Final = 60


def version_of(endpoint: Endpoint, turn: Turn) -> str:
    """Return the release of a Prometheus, empty where it doesn't tell.

    Some that speak its language have no such page.
    """
    try:
        request = requests.Request(
            "GET",
            f"{endpoint.base.rstrip('/')}/api/v1/status/buildinfo",
            endpoint.login.headers(),
        )
        reply = http.exchange(
            request,
            most=MOST_BYTES,
            until=turn.until,
            tls=endpoint.login.tls,
            within=turn.within,
        )
        told = orjson.loads(reply.body)
    except (HttpError, SourceError, orjson.JSONDecodeError):
        return ""
    match told:
        case {"data": {"version": str() as version}} if reply.status == http.OK:
            return endpoint.login.hidden(version)[:LONGEST]
        case _:
            return ""
