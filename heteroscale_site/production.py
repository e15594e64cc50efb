"""What must be so where people rely on it; each refusal names the setting and what to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from heteroscale_site.configuration import Configuration

PLACEHOLDER: Final = "REPLACE-ME"
"""Stands in the examples of ``deploy/`` where a value of one's own belongs."""

ENCRYPTED: Final = frozenset({"require", "verify-ca", "verify-full"})
PROVES_WHO: Final = ENCRYPTED - {"require"}
EVERY_HOST: Final = frozenset({"*", "."})
WIDEST_NETWORK: Final = {4: 8, 6: 32}
"""Shortest prefix of a network of proxies: 10.0.0.0/8 is one, half of the internet is none."""


def refusals(configuration: Configuration) -> Iterator[str]:
    """Yield why production must not start like this; nothing when it may."""
    yield from _of_servers(configuration)
    yield from _of_pages(configuration)


def _of_servers(configuration: Configuration) -> Iterator[str]:
    if configuration.database is None:
        yield (
            "DATABASE_URL: not set, and the embedded PostgreSQL is for trying out; write "
            "postgres://user:password@host:5432/name?sslmode=verify-full."
        )
    for name, given in (
        ("DATABASE_URL", configuration.database),
        ("HETEROSCALE_OWNER_URL", configuration.owner_database),
    ):
        if given is not None and sslmode(given) not in ENCRYPTED:
            yield (
                f"{name}: passwords and decisions would cross the network unencrypted; add "
                "?sslmode=verify-full and, if needed, &sslrootcert=FILE."
            )
    yield from _of_broker(configuration)


def _of_broker(configuration: Configuration) -> Iterator[str]:
    broker = configuration.broker
    if broker is None:
        yield (
            "REDIS_URL: not set, and the embedded Valkey is for trying out; write "
            "rediss://:password@host:6379/0."
        )
        return
    if not broker.password:
        yield (
            "REDIS_URL: without a password whoever reaches the broker can hand work to the "
            "workers; write rediss://:password@host:6379/0."
        )
    if not broker.encrypted and not is_here(broker.host):
        yield "REDIS_URL: its password would cross the network unencrypted; write rediss://…."


def _of_pages(configuration: Configuration) -> Iterator[str]:
    if configuration.debug:
        yield "DEBUG: tracebacks show settings and rows to whoever asks, unset it."
    if not configuration.secure:
        yield (
            "HETEROSCALE_SECURE: passwords and sessions would be sent in the clear; end HTTPS in "
            "front of the web server and write 1."
        )
    if EVERY_HOST & set(configuration.allowed_hosts):
        yield "ALLOWED_HOSTS: any name is allowed, write the names people type, comma between."
    loose = [one for one in configuration.trusted_origins if _is_loose(one)]
    if loose:
        yield (
            f"CSRF_TRUSTED_ORIGINS: {', '.join(loose)} lets others send our forms; write whole "
            "origins such as https://scale.example.org."
        )
    yield from _of_proxies(configuration.proxies)


def _of_proxies(proxies: tuple[IPv4Network | IPv6Network, ...]) -> Iterator[str]:
    if not proxies:
        yield (
            "HETEROSCALE_PROXIES: not set, so nobody is believed that a request came by HTTPS; "
            "write the addresses or networks of what HTTPS ends at."
        )
    wide = [str(one) for one in proxies if one.prefixlen < WIDEST_NETWORK[one.version]]
    if wide:
        yield (
            f"HETEROSCALE_PROXIES: {', '.join(wide)} has strangers in it, who could say where "
            "they come from; write the proxies' own networks."
        )


def sslmode(database: Mapping[str, Any]) -> str:
    """Return how a connection to PostgreSQL is encrypted, in its own words; empty: not said.

    One that stays on this machine needs no encryption and counts as the best of them.
    """
    if is_here(database.get("HOST", "")):
        return "verify-full"
    return str(database.get("OPTIONS", {}).get("sslmode", ""))


def is_here(host: str) -> bool:
    """Tell whether nothing leaves this machine: a socket or a loopback address."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_loose(origin: str) -> bool:
    return not origin.startswith("https://") or "*" in origin
