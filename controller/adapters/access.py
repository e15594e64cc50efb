"""As whom an endpoint is asked, in headers and certificates."""

from __future__ import annotations

import base64

from controller.adapters.http import HttpError, Tls
from controller.core.readings.sources import Access


def headers_of(access: Access) -> dict[str, str]:
    """Return the headers. Raises :class:`HttpError` for what no header can hold."""
    found: dict[str, str] = {}
    if access.tenant:
        found["X-Scope-OrgID"] = access.tenant
    if access.token:
        found["Authorization"] = f"Bearer {access.token}"
    elif access.user:
        both = base64.b64encode(f"{access.user}:{access.password}".encode()).decode()
        found["Authorization"] = f"Basic {both}"
    if not all(value.isascii() and value.isprintable() for value in found.values()):
        raise HttpError("Token and tenant may only have characters that a header can hold.")
    return found


def tls_of(access: Access) -> Tls | None:
    """Return whom to trust and who we are, ``None`` where nothing of it is configured."""
    if not (access.ca or access.certificate):
        return None
    return Tls(access.ca, access.certificate, access.key)
