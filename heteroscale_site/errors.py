"""What a page says when it could not be made."""

from __future__ import annotations

import sys

import structlog
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import get_template

RETRY_AFTER_S = 10

log = structlog.get_logger(__name__)


def server_error(_request: HttpRequest) -> HttpResponse:
    """Tell a database that does not answer (503) from a fault of our own (500).

    Both pages are whole in themselves: nothing they need could fail in the same way.
    """
    fault = sys.exc_info()[1]
    if isinstance(fault, OperationalError | InterfaceError):
        log.warning("the database does not answer", fault=str(fault).partition("\n")[0])
        answer = HttpResponse(get_template("503.html").render(), status=503)
        answer["Retry-After"] = str(RETRY_AFTER_S)
        return answer
    return HttpResponse(get_template("500.html").render(), status=500)
