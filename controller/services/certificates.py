"""Certificates and keys that people paste: whether they can be used, before they are kept."""

from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

LONGEST: Final = 200_000
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"


class PemError(ValueError):
    """A text is no certificate or key of ours; ``field`` is which, the text what to paste."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def read_authorities(text: str) -> int:
    """Return how many certificates a text holds. Raises :class:`PemError`."""
    return len(_certificates("ca", text))


def read_pair(certificate: str, key: str) -> None:
    """Check that a client certificate and its key belong together. Raises :class:`PemError`."""
    if not certificate:
        raise PemError("certificate", "A key needs its certificate: paste it too.")
    first = _certificates("certificate", certificate)[0]
    if not key:
        raise PemError("key", "A certificate needs its key: paste it too.")
    try:
        known = load_pem_private_key(key.encode(), password=None)
    except TypeError:
        said = "The key is encrypted with a password: paste it decrypted, it is encrypted here."
        raise PemError("key", said) from None
    except (ValueError, UnsupportedAlgorithm):
        said = "This is no private key in PEM, from -----BEGIN to -----END."
        raise PemError("key", said) from None
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if known.public_key().public_bytes(*form) != first.public_key().public_bytes(*form):
        raise PemError("key", "The key is not that of the certificate.")


def _certificates(field: str, text: str) -> list[x509.Certificate]:
    if len(text) > LONGEST:
        raise PemError(field, f"It has {len(text):,} characters; at most {LONGEST:,} fit.")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        said = f"This is no certificate in PEM: paste all of it from {_BEGIN} on."
        raise PemError(field, said) from None
