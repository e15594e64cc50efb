"""Which nodes report their GPUs, as exporters call their hosts."""

import pytest

from controller.core.readings.node_match import NodeMatch, matched, strangers

FLEET = [f"gpu-{at:04}" for at in range(1, 501)]


def test_two_of_five_hundred_that_do_not_report_are_named() -> None:
    told = [{"Hostname": name} for name in FLEET if name not in {"gpu-0003", "gpu-0417"}]
    assert matched(FLEET, told).sentence == (
        "498 of 500 nodes report DCGM by hostname; 2 unmatched: gpu-0003, gpu-0417."
    )


def test_of_many_ten_are_named_and_the_rest_is_counted() -> None:
    said = matched(FLEET, []).sentence
    assert said.startswith("0 of 500 nodes report DCGM; 500 unmatched: gpu-0001, gpu-0002, ")
    assert said.endswith(", gpu-0010 and 490 more.")


@pytest.mark.parametrize(
    ("node", "labels", "by"),
    [
        pytest.param("gpu-1", {"Hostname": "GPU-1"}, "Hostname", id="case"),
        pytest.param("gpu-1", {"hostname": "gpu-1.eu.lab"}, "hostname", id="a domain more"),
        pytest.param("gpu-1.eu.lab", {"node": "gpu-1"}, "node", id="a domain less"),
        pytest.param("Gpu-1.EU.lab", {"node": "gpu-1.eu.lab"}, "node", id="case of the node"),
        pytest.param("gpu-1", {"instance": "gpu-1:9400"}, "instance", id="a port"),
        pytest.param("10.0.0.7", {"instance": "10.0.0.7:9400"}, "instance", id="an address"),
        pytest.param(
            "gpu-1", {"Hostname": "dcgm-x7f2", "node": "gpu-1"}, "node", id="Hostname is the pod's"
        ),
        pytest.param("gpu-1.eu.lab", {"node": "gpu-1.us.lab"}, None, id="another domain"),
        pytest.param("gpu-1", {"node": "gpu-11"}, None, id="longer"),
        pytest.param("10.0.0.7", {"instance": "10.0.0.8:9400"}, None, id="another address"),
        pytest.param("gpu-1", {"pod": "gpu-1"}, None, id="a label that names no host"),
    ],
)
def test_a_host_is_a_node_whatever_its_case_port_and_domain(
    node: str, labels: dict[str, str], by: str | None
) -> None:
    found = matched([node], [labels])
    assert (found.matched, found.label) == (1 if by else 0, by or "")


def test_a_short_name_of_two_nodes_names_none_of_them() -> None:
    nodes = ["gpu-1.a", "gpu-1.b", "gpu-2.a"]
    found = matched(nodes, [{"node": "gpu-1"}, {"node": "gpu-1.b"}, {"node": "gpu-2"}])
    assert found == NodeMatch(3, ("gpu-1.a",), "node", ("gpu-1",))


def test_hosts_that_are_no_nodes_are_told_by_their_surest_label() -> None:
    found = matched(["gpu-1"], [{"node": "new-7", "instance": "10.0.0.9:9400"}])
    assert found.strange == ("new-7",)
    assert strangers(found.strange) == "1 host reports and is no node known here: new-7."
