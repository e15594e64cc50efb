"""What a page says when it could not be made."""

from __future__ import annotations

import sys
from collections.abc import Mapping

import structlog
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, TooManyFilesSent
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import get_template
from psycopg import errors

RETRY_AFTER_S = 10
KNOWN: Mapping[type[Exception], str] = {
    errors.ReadOnlySqlTransaction: "read only",
    errors.DiskFull: "full",
    errors.SerializationFailure: "at once",
    errors.DeadlockDetected: "at once",
}
"""What 503.html has words for."""

log = structlog.get_logger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Say what of a request can't be read; what is too large names its limit and the way out."""
    text = ""
    if isinstance(exception, RequestDataTooBig):
        most = settings.DATA_UPLOAD_MAX_MEMORY_SIZE // 2**20
        text = f"Its text has more than {most} MiB: no form of ours takes as much."
        if request.path.startswith("/imports/"):
            text = (
                f"Without scripts at most {most} MiB can be pasted. Save the text as a file and"
                " choose that file, which may have 64 MiB, or give it to"
                " ./heteroscale import_fleet FILE. Going back shows the form as you left it."
            )
    elif isinstance(exception, TooManyFilesSent):
        most = settings.DATA_UPLOAD_MAX_NUMBER_FILES
        text = f"It has more than {most} files: send them in parts, or one file with all of them."
    return HttpResponse(get_template("400.html").render({"text": text}), status=400)


def server_error(_request: HttpRequest) -> HttpResponse:
    """Tell a database that does not answer (503) from a fault of our own (500).

    Both pages are whole in themselves: nothing they need could fail in the same way.
    """
    fault = sys.exc_info()[1]
    cause = getattr(fault, "__cause__", None)
    why = next((word for kind, word in KNOWN.items() if isinstance(cause, kind)), "")
    if why or isinstance(fault, OperationalError | InterfaceError):
        log.warning("the database does not answer", fault=str(fault).partition("\n")[0])
        text = get_template("503.html").render({"why": why})
        answer = HttpResponse(text, status=503)
        answer["Retry-After"] = str(RETRY_AFTER_S)
        return answer
    return HttpResponse(get_template("500.html").render(), status=500)
