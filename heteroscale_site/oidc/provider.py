"""The identity provider: what it says about itself, and what of it the library asks for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from django.conf import settings

from controller.adapters import http

DISCOVERY: Final = "/.well-known/openid-configuration"
KEPT_S: Final = 600.0
ANSWER_WITHIN_S: Final = 10.0
MOST_BYTES: Final = 256 * 1024
ALGORITHMS: Final = ("RS256", "ES256", "PS256", "RS384", "ES384", "RS512")


class ProviderError(Exception):
    """The identity provider can't be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Provider:
    """Where an identity provider listens, and how it signs."""

    issuer: str
    authorization: str
    token: str
    userinfo: str
    keys: str
    algorithm: str


def provider() -> Provider:
    """Return the provider of the settings, asked at most every ten minutes.

    Raises :class:`ProviderError` when it does not answer, or not as OpenID Connect Discovery 1.0
    says: the issuer it names must be the one it was asked as.
    """
    return _found(settings.OIDC_ISSUER, int(time.monotonic() // KEPT_S))


@lru_cache(maxsize=4)
def _found(issuer: str, _turn: int) -> Provider:
    until = time.monotonic() + ANSWER_WITHIN_S
    try:
        reply = http.get(issuer + DISCOVERY, headers={}, most=MOST_BYTES, until=until)
        told = orjson.loads(reply.body) if reply.status == http.OK else None
    except (http.HttpError, orjson.JSONDecodeError) as fault:
        raise ProviderError(f"The identity provider gives no answer: {fault}") from fault
    if not isinstance(told, dict) or told.get("issuer") != issuer:
        raise ProviderError(f"The identity provider does not call itself {issuer}.")
    try:
        return Provider(
            issuer=issuer,
            authorization=_address(told, "authorization_endpoint", issuer),
            token=_address(told, "token_endpoint", issuer),
            userinfo=_address(told, "userinfo_endpoint", issuer),
            keys=_address(told, "jwks_uri", issuer),
            algorithm=_algorithm(told),
        )
    except (KeyError, TypeError) as fault:
        raise ProviderError(f"The identity provider does not tell its {fault}.") from fault


def _address(told: dict[str, Any], name: str, issuer: str) -> str:
    """Return an address it names; one without TLS only where the issuer itself has none."""
    found = str(told[name])
    try:
        scheme = http.origin(found)[0]
    except http.HttpError as fault:
        raise ProviderError(f"{name} of the identity provider is no address: {fault}") from fault
    if scheme != "https" and issuer.startswith("https:"):
        raise ProviderError(f"{name} of the identity provider is not encrypted.")
    return found


def _algorithm(told: dict[str, Any]) -> str:
    offered = told["id_token_signing_alg_values_supported"]
    chosen = next((name for name in ALGORITHMS if name in offered), None)
    if chosen is None:
        raise ProviderError(f"The identity provider signs with none of {', '.join(ALGORITHMS)}.")
    return chosen


def setting(name: str, *default: object) -> Any:  # noqa: ANN401 - the library's signature
    """Return what the library calls a setting: from the provider, or as we have decided."""
    found = provider()
    known = {
        "OIDC_OP_AUTHORIZATION_ENDPOINT": found.authorization,
        "OIDC_OP_TOKEN_ENDPOINT": found.token,
        "OIDC_OP_USER_ENDPOINT": found.userinfo,
        "OIDC_OP_JWKS_ENDPOINT": found.keys,
        "OIDC_RP_SIGN_ALGO": found.algorithm,
        "OIDC_RP_CLIENT_ID": settings.OIDC_CLIENT_ID,
        "OIDC_RP_CLIENT_SECRET": settings.OIDC_CLIENT_SECRET,
        "OIDC_RP_SCOPES": settings.OIDC_SCOPES,
        "OIDC_AUTHENTICATION_CALLBACK_URL": "sign-in-provider-back",
        "OIDC_USE_PKCE": True,
        "OIDC_TIMEOUT": ANSWER_WITHIN_S,
        "LOGIN_REDIRECT_URL": settings.LOGIN_REDIRECT_URL,
        "LOGIN_REDIRECT_URL_FAILURE": settings.LOGIN_URL,
    }
    if name in known:
        return known[name]
    if default:
        return default[0]
    raise LookupError(f"The library asks for a setting we do not know: {name}")
