"""Labels that S1 and S2 are read from, so that a cluster keeps them once nodes are applied."""

import json

import pytest

from inventory.importers.kubernetes import levels_of

TOPOGRAPH = "network.topology.nvidia.com/"
AWS = "topology.k8s.aws/network-node-layer-"


def nodes(*labels: dict[str, str]) -> bytes:
    items = [
        {"kind": "Node", "metadata": {"name": f"n{at}", "labels": own}}
        for at, own in enumerate(labels)
    ]
    return json.dumps({"items": items}).encode()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        pytest.param(nodes({"zone": "a"}), (), id="no label of a fabric"),
        pytest.param(
            nodes({f"{TOPOGRAPH}leaf": "l1", f"{TOPOGRAPH}spine": "s1"}),
            (f"{TOPOGRAPH}leaf", f"{TOPOGRAPH}spine", f"{TOPOGRAPH}core"),
            id="of Topograph",
        ),
        pytest.param(
            nodes({f"{AWS}1": "a", f"{AWS}2": "b"}, {f"{AWS}1": "a", f"{AWS}2": "c"}),
            (f"{AWS}2", f"{AWS}1"),
            id="of AWS: the highest number is nearest",
        ),
        pytest.param(
            nodes({f"{AWS}1": "a", f"{AWS}2": "b"}, {f"{AWS}1": "a"}),
            (),
            id="of AWS with two and one levels: no list of keys says that",
        ),
    ],
)
def test_levels_of(listed: bytes, expected: tuple[str, ...]) -> None:
    assert levels_of(listed) == expected
