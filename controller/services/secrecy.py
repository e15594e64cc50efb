"""Secrets that the database keeps without being able to read them."""

import base64
from typing import Final

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

KEY_BYTES: Final = 32


class UnreadableError(Exception):
    """The text was changed, or SECRET_KEY is not the one it was encrypted with."""


def encrypt(text: str, *, purpose: str) -> str:
    """Return the text encrypted and authenticated under a key of its own for the purpose."""
    return _box(purpose).encrypt(text.encode()).decode()


def decrypt(kept: str, *, purpose: str) -> str:
    """Return what was encrypted for the purpose; raises :class:`UnreadableError`."""
    try:
        return _box(purpose).decrypt(kept.encode()).decode()
    except InvalidToken as error:
        raise UnreadableError(f"{purpose} was encrypted with another SECRET_KEY") from error


def _box(purpose: str) -> Fernet:
    # SECRET_KEY signs sessions as well: a key derived from it opens nothing else.
    derived = HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=f"heteroscale {purpose}".encode())
    return Fernet(base64.urlsafe_b64encode(derived.derive(settings.SECRET_KEY.encode())))
