"""A configured endpoint as the client asks it."""

from __future__ import annotations

from controller.adapters.http import Tls
from controller.adapters.metrics.prometheus.client import Endpoint, Login
from controller.adapters.metrics.prometheus.reader import read
from controller.adapters.turn import Turn
from controller.core.readings.asking import Reading, Wanted
from controller.core.readings.sources import Source


def endpoint_of(source: Source) -> Endpoint:
    """Return the endpoint with its credentials."""
    access = source.access
    tls = Tls(access.ca, access.certificate, access.key)
    login = Login(access.token, access.user, access.password, access.tenant, tls)
    return Endpoint(source.name, source.url, login)


def read_source(source: Source, wanted: Wanted, turn: Turn) -> Reading:
    """Return what a Prometheus answers by ``turn.until``. Raises nothing for what it says."""
    return read(endpoint_of(source), wanted, turn)
