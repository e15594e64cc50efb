"""Where requests may go: what is never asked, and what only where an administrator listed it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final
from urllib.parse import urlsplit

SETTING: Final = "HETEROSCALE_METRICS_HOSTS"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SCHEMES: Final = {"http": 80, "https": 443}
_METADATA_NAMES: Final = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data"}
    | {"instance-data.ec2.internal"}
)
# Where clouds answer for a machine's credentials, apart from the link-local networks.
_METADATA: Final = frozenset(
    map(ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"))
)
# Other spellings of an address: 2852039166 is 169.254.169.254 for whoever connects.
_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}")
_LOOPBACK: Final = IPv4Address("127.0.0.1")
_NAT64: Final = IPv6Network("64:ff9b::/96")
_SHARED: Final = IPv4Network("100.64.0.0/10")


class AddressError(ValueError):
    """An address is none, or may not be asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Reach:
    """Which hosts of this machine and of private networks may be asked.

    ``hosts`` are names; one that begins with a dot stands for all that end so. ``inside`` allows
    all of them without a list. Public hosts need none, and what belongs to the link or tells a
    machine's credentials is never asked.
    """

    hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()
    inside: bool = True

    def names(self, host: str) -> bool:
        """Return whether a name is listed."""
        parts = host.split(".")
        below = {"." + ".".join(parts[at:]) for at in range(1, len(parts))}
        return host in self.hosts or bool(below & self.hosts)


def reach_of(entries: Iterable[str]) -> Reach:
    """Return what may be asked of a list of names, addresses and networks.

    Raises :class:`AddressError` naming the entry that is none of them.
    """
    hosts: set[str] = set()
    networks: list[Network] = []
    for entry in entries:
        text = entry.strip().lower()
        try:
            networks.append(ip_network(text.strip("[]"), strict=False))
        except ValueError:
            if "/" in text or ":" in text or not text.strip("."):
                raise AddressError(f"{entry!r} is no name, address or network") from None
            hosts.add(text.removeprefix("*"))
    return Reach(frozenset(hosts), tuple(networks), inside=False)


def origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises :class:`AddressError` for anything but HTTP."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise AddressError("The address can't be read.") from None
    if parts.scheme not in _SCHEMES or not parts.hostname:
        raise AddressError("The address must begin with https:// or http:// and name a host.")
    if parts.username is not None or parts.password is not None:
        raise AddressError("The address must hold no user name and no password.")
    return parts.scheme, parts.hostname.lower(), port or _SCHEMES[parts.scheme]


def check_host(host: str, reach: Reach) -> None:
    """Refuse a host that may not be asked, as far as its name tells.

    What a name resolves to is told by :func:`check_address` when it is asked. Raises
    :class:`AddressError`.
    """
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES:
        raise AddressError(f"{host} tells the credentials of a machine: it is never asked.")
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        if _NUMBERS.fullmatch(name):
            raise AddressError(f"Write {host} as four numbers with dots between.") from None
        if name == "localhost" or name.endswith(".localhost"):
            check_address(name, _LOOPBACK, reach)
        return
    check_address(host, address, reach)


def check_address(host: str, address: Address, reach: Reach) -> None:
    """Refuse an address that a host is or resolves to. Raises :class:`AddressError`."""
    real = _real(address)
    if real.is_link_local or real in _METADATA or real.is_multicast or _is_broadcast(real):
        what = host if host == str(address) else f"{host} ({address})"
        raise AddressError(f"{what} belongs to the machine's own link: it is never asked.")
    if reach.inside or reach.names(host) or any(real in each for each in reach.networks):
        return
    if real.is_loopback or real.is_unspecified:
        raise AddressError(_unlisted(host, "this machine itself"))
    if real.is_private or real in _SHARED:
        raise AddressError(_unlisted(host, "in a private network"))


def _unlisted(host: str, where: str) -> str:
    return f"{host} is {where}: it is asked only if {SETTING} lists it."


def _is_broadcast(address: Address) -> bool:
    return isinstance(address, IPv4Address) and int(address) == 2**32 - 1


def _real(address: Address) -> Address:
    """Return the address of version 4 that one of version 6 stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
