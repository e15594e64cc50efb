"""NetBox from stored pages."""

from __future__ import annotations

import json
from typing import Any

from tests.inventory.files import found, s1

API = "https://netbox.example/api/dcim"


def page(kind: str, *objects: dict[str, Any]) -> dict[str, Any]:
    results = [
        {"id": n, "url": f"{API}/{kind}/{n}/", **one} for n, one in enumerate(objects, start=1)
    ]
    return {"count": len(results), "next": None, "previous": None, "results": results}


def device(name: str, role: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "role": {"slug": role}, "status": {"value": "active"}, **more}


def cable(a: tuple[str, str], b: tuple[str, str]) -> dict[str, Any]:
    ends = [
        [{"object_type": "dcim.interface", "object": {"device": {"name": d}, "name": p}}]
        for d, p in (a, b)
    ]
    return {"a_terminations": ends[0], "b_terminations": ends[1]}


RACK = {"rack": {"name": "R1"}, "position": 10.0, "site": {"region": {"slug": "eu"}}}
PAGES = [
    page("cables", cable(("gpu1", "ib0"), ("leaf1", "p1")), cable(("pdu", "x"), ("gpu1", "y"))),
    page("interfaces", {"device": {"name": "gpu1"}, "name": "ib0", "speed": 400_000_000}),
    page(
        "devices",
        device("gpu1", "gpu-server", device_type={"slug": "dgx-h100"}, serial="S9", **RACK),
        device("leaf1", "leaf-switch", device_type={"model": "QM9700"}),
        device("gpu2", "gpu-server", status={"value": "decommissioning"}),
        device("pdu", "power"),
    ),
    page(
        "device-types",
        {
            "slug": "dgx-h100",
            "model": "DGX H100",
            "u_height": 8.0,
            "manufacturer": {"name": "NVIDIA"},
            "custom_fields": {"gpu_model": "H100", "gpus": 8},
        },
    ),
    page("racks", {"name": "R1", "u_height": 48, "site": {"slug": "dc1"}}),
    page("regions", {"slug": "eu", "name": "Europe"}),
    page("sites", {"slug": "dc1"}),
]


def test_pages_in_any_order_make_a_fleet() -> None:
    answer = found(json.dumps(PAGES))
    assert (answer.format, answer.faults) == ("netbox", ())
    one, two = answer.nodes
    assert (one.name, one.hardware, one.gpus, one.serial) == ("gpu1", "dgx-h100", 8, "S9")
    assert (one.rack, one.u_position, one.at) == ("R1", 10, "file device netbox:1")
    assert (two.name, two.lifecycle) == ("gpu2", "decommissioning")
    assert [(o.name, o.tier, o.model) for o in answer.switches] == [("leaf1", 0, "QM9700")]
    assert [(o.node, o.name, o.speed_gbps) for o in answer.nics] == [("gpu1", "ib0", 400)]
    assert [(o.slug, o.gpu_model, o.u_height) for o in answer.hardware] == [
        ("dgx-h100", "H100", 8)
    ]
    assert [(o.name, o.site, o.u_height) for o in answer.racks] == [("R1", "dc1", 48)]
    assert [(o.slug, o.region) for o in answer.clusters] == [("imported", "eu")]
    assert [(o.switch, o.port, o.peer, o.peer_port) for o in answer.links] == [
        ("leaf1", "p1", "gpu1", "ib0")
    ]
    assert s1(answer) == {"leaf1": 1}


def test_what_is_not_needed_is_named() -> None:
    assert found(json.dumps(PAGES)).notes == (
        "Devices of role power were left out.",
        "Objects of kind sites were left out: 1.",
    )


def test_one_page_alone_is_read() -> None:
    assert [one.slug for one in found(json.dumps(PAGES[-2])).regions] == ["eu"]


def test_a_device_without_a_name_is_a_fault() -> None:
    answer = found(json.dumps(page("devices", device("", "gpu"))))
    assert [one.message for one in answer.faults] == ["name is missing"]
