"""Certificates for an hour, as PEM texts."""

from __future__ import annotations

import ipaddress
from datetime import timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from django.utils import timezone

Pair = tuple[str, str]


def authority() -> Pair:
    """Return the certificate and the key of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    return _signed("authority", key, _name("authority"), key)


def certificate(by: Pair, name: str) -> Pair:
    """Return the certificate and the key of a server (by its address) or a client."""
    signing = load_pem_private_key(by[1].encode(), None)
    assert isinstance(signing, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(by[0].encode()).subject
    return _signed(name, ec.generate_private_key(ec.SECP256R1()), issuer, signing)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def _signed(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    signing: ec.EllipticCurvePrivateKey,
) -> Pair:
    now = timezone.now()
    built = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=key is signing, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()),
            critical=False,
        )
    )
    if name[0].isdigit():
        address = x509.IPAddress(ipaddress.ip_address(name))
        built = built.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    signed = built.sign(signing, SHA256())
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return signed.public_bytes(Encoding.PEM).decode(), secret.decode()
