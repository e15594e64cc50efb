"""NetBox by its address: what is followed, what is refused, and what no error may tell."""

from __future__ import annotations

import json
from io import StringIO

import pytest
import responses
from django.core.management import CommandError, call_command

from controller.adapters.inventory import netbox
from inventory.importers.detect import read
from inventory.importers.found import Options

BASE = "https://netbox.example"
TOKEN = "0123456789abcdef"
EMPTY = {"count": 0, "next": None, "results": []}


def _url(name: str) -> str:
    return f"{BASE}/api/dcim/{name}/"


def _rest(*but: str) -> None:
    for name in netbox.ENDPOINTS:
        if name not in but:
            responses.get(_url(name), json=EMPTY)


def _device(number: int) -> dict[str, object]:
    return {
        "id": number,
        "url": f"{_url('devices')}{number}/",
        "name": f"gpu{number:03}",
        "role": {"slug": "gpu-node"},
        "device_type": {"slug": "hgx-h200", "model": "HGX H200"},
        "status": {"value": "active"},
        "site": {"slug": "eu-1"},
    }


def _read(most: int = 2**20) -> netbox.Upload:
    return netbox.read(netbox.Asking(BASE, TOKEN, seconds=10, most=most))


@responses.activate
def test_pages_are_followed_with_the_token_and_read_together() -> None:
    more = _url("devices") + "?offset=1"
    responses.get(_url("devices"), json={"next": more, "results": [_device(1)]})
    responses.get(more, json={"next": None, "results": [_device(2)]})
    _rest("devices")
    upload = _read()
    found = read(upload.body, upload.name, Options(cluster="eu-1-a"))
    assert [node.name for node in found.nodes] == ["gpu001", "gpu002"]
    sent = {call.request.headers["Authorization"] for call in responses.calls}
    assert sent == {f"Token {TOKEN}"}


@responses.activate
def test_the_command_plans_what_netbox_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HETEROSCALE_NETBOX_TOKEN", TOKEN)
    responses.get(_url("devices"), json={"next": None, "results": [_device(1)]})
    _rest("devices")
    out = StringIO()
    words = ("--netbox", BASE, "--netbox-role", "gpu-node", "--yaml")
    call_command("import_fleet", *words, stdout=out)
    assert "gpu001" in out.getvalue()
    asked = [call.request.url or "" for call in responses.calls]
    assert [one for one in asked if "role=gpu-node" in one] == [
        f"{_url('devices')}?limit=500&role=gpu-node"
    ]


@responses.activate
def test_the_command_says_what_netbox_refuses() -> None:
    responses.get(_url("regions"), status=403)
    with pytest.raises(CommandError, match="NetBox, regions: the token may not read this") as said:
        call_command("import_fleet", "--netbox", BASE, "--plan", stdout=StringIO())
    assert said.value.returncode == 1


@responses.activate
@pytest.mark.parametrize(
    ("status", "said"), [(401, "not accepted"), (403, "may not"), (404, "nothing"), (503, "503")]
)
def test_refusals_name_the_endpoint_and_no_token(status: int, said: str) -> None:
    responses.get(_url("racks"), status=status, body=TOKEN)
    _rest("racks")
    with pytest.raises(netbox.NetBoxError, match=f"racks: .*{said}") as caught:
        _read()
    assert TOKEN not in str(caught.value)


@responses.activate
@pytest.mark.parametrize("body", ["<html>", "[]", json.dumps({"results": 3})])
def test_what_is_no_page_is_refused(body: str) -> None:
    responses.get(_url("regions"), body=body)
    with pytest.raises(netbox.NetBoxError, match="regions: the answer is"):
        _read()


@responses.activate
def test_a_next_page_at_another_host_is_not_asked() -> None:
    responses.get(_url("regions"), json={"next": "https://evil.example/", "results": []})
    with pytest.raises(netbox.NetBoxError, match="another host"):
        _read()
    assert len(responses.calls) == 1


@responses.activate
@pytest.mark.parametrize("to", ["https://evil.example/", "/elsewhere/"])
def test_a_redirect_is_not_followed(to: str) -> None:
    responses.get(_url("regions"), status=302, headers={"Location": to})
    with pytest.raises(netbox.NetBoxError, match="redirects, which is not followed"):
        _read()
    assert len(responses.calls) == 1


@responses.activate
def test_too_much_is_refused() -> None:
    responses.get(_url("regions"), body="x" * 2000)
    with pytest.raises(netbox.NetBoxError, match="too large"):
        _read(most=1000)


@responses.activate
def test_endless_pages_end() -> None:
    responses.get(_url("regions"), json={"next": _url("regions"), "results": []})
    with pytest.raises(netbox.NetBoxError, match="more than 200 pages"):
        _read()


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("file:///etc/passwd", "must begin with https"),
        ("https://ana:secret@netbox.example", "no user name"),
        ("https://", "name a host"),
        ("https://x:99999999/", "can't be read"),
    ],
)
def test_addresses_that_are_none_are_refused(base: str, said: str) -> None:
    with pytest.raises(netbox.NetBoxError, match=said):
        netbox.read(netbox.Asking(base, TOKEN))


def test_a_token_that_is_none_is_refused() -> None:
    with pytest.raises(netbox.NetBoxError, match="no token has"):
        netbox.read(netbox.Asking(BASE, "a\nHost: evil"))
