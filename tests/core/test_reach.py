"""Which hosts may be asked: what is never, what only if it is listed, and what always."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from controller.core.reach import AddressError, Reach, check_address, check_host, reach_of

LISTED = reach_of(
    ["Prometheus.monitoring", ".lab.example", "10.1.0.0/16", "fd12::/16", "127.0.0.1"]
)
NOTHING = Reach(inside=False)


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "169.254.1.1", "fe80::1", "::ffff:169.254.169.254", "224.0.0.1"),
        *("64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "100.100.100.200", "168.63.129.16"),
        *("fd00:ec2::254", "255.255.255.255", "fe80::1%eth0"),
        *("metadata.google.internal", "METADATA", "instance-data", "metadata.google.internal."),
    ],
)
@pytest.mark.parametrize(
    "reach", [Reach(), reach_of(["0.0.0.0/0", "::/0", "metadata"])], ids=["inside", "all listed"]
)
def test_the_link_and_what_tells_credentials_is_never_asked(host: str, reach: Reach) -> None:
    with pytest.raises(AddressError, match="never asked"):
        check_host(host, reach)


@pytest.mark.parametrize("host", ["2852039166", "0xa9fea9fe", "169.254.43518", "0251.0376.1.1"])
def test_an_address_in_another_spelling_is_refused(host: str) -> None:
    with pytest.raises(AddressError, match="four numbers"):
        check_host(host, Reach())


@pytest.mark.parametrize(
    ("host", "where"),
    [
        ("127.0.0.1", "this machine itself"),
        ("127.8.9.1", "this machine itself"),
        ("::1", "this machine itself"),
        ("0.0.0.0", "this machine itself"),  # noqa: S104 - refused, not bound
        ("::ffff:127.0.0.1", "this machine itself"),
        ("localhost", "this machine itself"),
        ("db.localhost", "this machine itself"),
        ("10.0.0.7", "in a private network"),
        ("192.168.1.1", "in a private network"),
        ("100.64.0.1", "in a private network"),
        ("fd00::7", "in a private network"),
    ],
)
def test_inside_is_asked_only_if_it_is_allowed(host: str, where: str) -> None:
    with pytest.raises(AddressError, match=f"{where}: it is asked only if HETEROSCALE_METRICS_"):
        check_host(host, NOTHING)
    check_host(host, Reach())


@pytest.mark.parametrize("host", ["8.8.8.8", "2001:4860:4860::8888", "metrics.example.org"])
def test_public_hosts_need_no_list(host: str) -> None:
    check_host(host, NOTHING)


@pytest.mark.parametrize(
    ("host", "address", "allowed"),
    [
        ("prometheus.monitoring", "10.9.0.1", True),
        ("a.lab.example", "192.168.7.7", True),
        ("lab.example", "192.168.7.7", False),
        ("elsewhere", "10.1.200.3", True),
        ("elsewhere", "10.2.0.3", False),
        ("elsewhere", "fd12::9", True),
        ("elsewhere", "::ffff:10.1.0.1", True),
        ("elsewhere", "127.0.0.1", True),
        ("elsewhere", "127.0.0.2", False),
    ],
)
def test_a_name_or_what_it_resolves_to_may_be_listed(
    host: str, address: str, *, allowed: bool
) -> None:
    if allowed:
        check_address(host, ip_address(address), LISTED)
        return
    with pytest.raises(AddressError):
        check_address(host, ip_address(address), LISTED)


@pytest.mark.parametrize("entry", ["http://x", "10.0.0.0/99", "::zz", "."])
def test_what_is_neither_name_nor_network_is_no_entry(entry: str) -> None:
    with pytest.raises(AddressError, match="is no name, address or network"):
        reach_of([entry])
