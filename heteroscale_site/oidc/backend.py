"""Who comes back from the identity provider: the token's claims, the account, its roles."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import SuspiciousOperation
from django.http import HttpRequest
from jwt import PyJWTError
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from controller.core.words import clean
from controller.services import identities
from controller.services.errors import SteeringError
from heteroscale_site.oidc.provider import ProviderError, provider, setting

log = structlog.get_logger(__name__)

LONGEST_NAME = 150


class OidcBackend(OIDCAuthenticationBackend):
    """Accounts are found by issuer and subject: names and addresses change hands."""

    get_settings = staticmethod(setting)

    def __init__(self) -> None:
        # Every sign-in makes every backend: the provider is asked only when somebody comes back.
        self.UserModel = User

    def authenticate(
        self,
        request: HttpRequest | None,
        *,
        nonce: str | None = None,
        code_verifier: str | None = None,
    ) -> User | None:
        """Return the account, ``None`` where the provider or its answer can't be trusted."""
        if request is None or nonce is None or not settings.OIDC_ISSUER:
            return None
        try:
            super().__init__()
            found: User | None = super().authenticate(
                request, nonce=nonce, code_verifier=code_verifier
            )
        except (
            ProviderError,
            PyJWTError,
            OSError,
            SteeringError,
            SuspiciousOperation,
            LookupError,
            ValueError,
        ) as fault:
            log.warning("sign-in through the provider failed", fault=clean(str(fault))[:300])
            return None
        return found

    def verify_token(self, token: str, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return the claims of a token that was made for us, by this issuer, for this request.

        The library looks at signature, time and nonce; issuer and audience are looked at here
        (OpenID Connect Core 1.0 §3.1.3.7).
        """
        claims: dict[str, Any] = super().verify_token(token, **kwargs)
        audience = claims.get("aud")
        meant = audience if isinstance(audience, list) else [audience]
        if claims.get("iss") != provider().issuer:
            raise SuspiciousOperation("The token is of another issuer.")
        if settings.OIDC_CLIENT_ID not in meant:
            raise SuspiciousOperation("The token was made for somebody else.")
        if len(meant) > 1 and claims.get("azp") != settings.OIDC_CLIENT_ID:
            raise SuspiciousOperation("The token was made for several, and not asked for by us.")
        if not claims.get("sub") or "exp" not in claims:
            raise SuspiciousOperation("The token names nobody, or has no end.")
        self.request.proved_at_s = _time(claims.get("auth_time"))
        return claims

    def get_user(self, user_id: int) -> User | None:
        """Return who a session is of; a disabled account's counts no more, as with a password."""
        return User.objects.filter(pk=user_id, is_active=True).first()

    def get_userinfo(
        self, access_token: str, id_token: str, payload: dict[str, Any]
    ) -> dict[str, Any]:
        """Return the claims of the token and what the provider adds about the same person."""
        more: dict[str, Any] = super().get_userinfo(access_token, id_token, payload)
        if more.get("sub") != payload["sub"]:
            raise SuspiciousOperation("The provider tells of somebody else (§5.3.2).")
        return more | payload

    def verify_claims(self, claims: dict[str, Any]) -> bool:
        """Return whether a role follows from the claims: nobody without one comes in."""
        return bool(_roles(claims))

    def filter_users_by_claims(self, claims: dict[str, Any]) -> list[User]:
        """Return the account of this subject of this issuer."""
        found = identities.find(provider().issuer, claims["sub"])
        return [] if found is None else [found]

    def create_user(self, claims: dict[str, Any]) -> User:
        """Make the account of somebody who comes for the first time."""
        name = str(claims.get("preferred_username") or claims.get("email") or claims["sub"])
        return identities.make(
            provider().issuer, claims["sub"], name=name[:LONGEST_NAME], roles=_roles(claims)
        )

    def update_user(self, user: User, claims: dict[str, Any]) -> User:
        """Give the account the roles the provider names today."""
        identities.set_roles(user, _roles(claims))
        return user


def _time(told: object) -> float | None:
    """Return when the person proved it to the provider, ``None`` where that is not told."""
    return float(told) if isinstance(told, int) and told > 0 else None


def _roles(claims: dict[str, Any]) -> frozenset[str]:
    """Return the roles that the groups of the claims stand for."""
    told = claims.get(settings.OIDC_ROLES_CLAIM, [])
    groups = told if isinstance(told, list) else [told]
    return frozenset(
        settings.OIDC_ROLES[group]
        for group in groups
        if isinstance(group, str) and group in settings.OIDC_ROLES
    )
