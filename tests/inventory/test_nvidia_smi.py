"""GPUs as nvidia-smi prints them."""

from __future__ import annotations

import pytest

from inventory.importers.found import RefusedError
from tests.inventory.files import faults, found

TITLES = (
    "index, uuid, serial, name, pci.bus_id, memory.total [MiB], driver_version, "
    "fabric.clusterUuid, fabric.cliqueId"
)
FABRIC = "9f0c1c1e-0000-4000-8000-000000000001"


def row(index: int, host: int = 1, fabric: str = f"{FABRIC}, 4") -> str:
    return (
        f"{index}, GPU-{host}-{index}, 16{host}{index}, NVIDIA GB200, 0000000{index}:01:00.0, "
        f"189471 MiB, 570.86.15, {fabric}"
    )


def test_hosts_follow_each_other_in_one_file() -> None:
    text = "\n".join(
        f"### gpu{host}\n{TITLES}\n" + "\n".join(row(n, host) for n in range(4)) for host in (1, 2)
    )
    answer = found(text)
    assert (answer.format, answer.faults) == ("nvidia-smi", ())
    assert [(one.name, one.gpus, one.driver) for one in answer.nodes] == [
        ("gpu1", 4, "570.86.15"),
        ("gpu2", 4, "570.86.15"),
    ]
    assert {one.nvlink_domain for one in answer.nodes} == {f"{FABRIC}.4"}
    assert [(one.slug, one.gpu_memory_mib) for one in answer.hardware] == [("gb200-4", 189_471)]
    last = answer.gpus[-1]
    assert (last.node, last.index, last.uuid, last.serial) == ("gpu2", 3, "GPU-2-3", "1623")
    assert last.at == "file:12"


def test_columns_are_found_by_name_and_what_is_not_there_is_nothing() -> None:
    text = "uuid, extra, index, serial, memory.total\nGPU-1, x, 0, [N/A], 81559\n"
    (gpu,) = found(text, "gpu7.csv").gpus
    assert (gpu.node, gpu.uuid, gpu.serial, gpu.memory_mib) == ("gpu7", "GPU-1", None, 81_559)


def test_lines_of_pdsh_are_sorted_by_host() -> None:
    text = "g1: index, uuid\ng2: index, uuid\ng1: 0, GPU-1\ng2: 0, GPU-2\ng1: 1, GPU-3\n"
    assert [(one.name, one.gpus) for one in found(text).nodes] == [("g1", 2), ("g2", 1)]


@pytest.mark.parametrize(
    ("fabric", "domain", "why"),
    [
        pytest.param("N/A, N/A", None, None, id="no fabric"),
        pytest.param(
            "00000000-0000-0000-0000-000000000000, 0", None, None, id="zeros are no fabric"
        ),
        pytest.param(f"{FABRIC}, [N/A]", None, "without its clique", id="half a pair"),
    ],
)
def test_a_fabric_is_a_whole_pair(fabric: str, domain: str | None, why: str | None) -> None:
    answer = found(f"### g\n{TITLES}\n{row(0, fabric=fabric)}\n")
    assert answer.nodes[0].nvlink_domain == domain
    assert [why in one.message for one in answer.faults if why] == ([True] if why else [])


def test_gpus_of_one_host_in_two_domains_are_a_fault() -> None:
    text = f"### g\n{TITLES}\n{row(0)}\n{row(1, fabric=f'{FABRIC}, 5')}\n"
    assert faults(found(text)) == [(1, "fabric", "host g is in 2 NVLink domains at once")]


def test_what_ansible_prints_is_cut_by_host() -> None:
    table = "index, uuid\n0, GPU-{}\n"
    text = (
        f"g1 | CHANGED | rc=0 >>\n{table.format(1)}g2 | FAILED | rc=9 >>\nNVIDIA-SMI has failed\n"
        f'g3 | UNREACHABLE! => {{"x": 1}}\ng4 | CHANGED | rc=0 >>\n{table.format(4)}'
    )
    answer = found(text)
    assert [one.name for one in answer.nodes] == ["g1", "g4"]
    assert [one.field for one in answer.faults] == ["g2 index", "g3"]


def test_a_host_without_a_driver_does_not_hide_the_others() -> None:
    text = f"### bad\nNVIDIA-SMI has failed\n### none\n### good\n{TITLES}\n{row(0)}\n"
    answer = found(text)
    assert [one.name for one in answer.nodes] == ["good"]
    assert faults(answer) == [
        (2, "bad index", "no column is index: 'NVIDIA-SMI has failed'"),
        (3, "none", "nvidia-smi printed nothing"),
    ]


def test_more_than_72_gpus_are_a_fault() -> None:
    rows = "\n".join(f"{n}, GPU-{n}" for n in range(73))
    answer = found(f"### g\nindex, uuid\n{rows}\n")
    assert [one.message for one in answer.faults] == ["a node has 0 to 72 GPUs, not 73"]


def test_rows_without_end_are_no_gpus() -> None:
    answer = found("### g\nindex, uuid\n" + "0, GPU-1\n" * 2_000)
    assert answer.nodes == ()
    assert faults(answer) == [(1_003, "g", "more than 1,000 rows are no host's GPUs")]


XML = """\
<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>570.86.15</driver_version>
  <attached_gpus>1</attached_gpus>
  <gpu id="00000000:1B:00.0">
    <product_name>NVIDIA H100 80GB HBM3</product_name>
    <uuid>GPU-aaaa</uuid>
    <serial>165</serial>
    <mig_mode><current_mig>Enabled</current_mig></mig_mode>
    <fb_memory_usage><total>81559 MiB</total></fb_memory_usage>
    <fabric><state>N/A</state><cliqueId>N/A</cliqueId><clusterUuid>N/A</clusterUuid></fabric>
    <processes><process_info><pid>1</pid><name>x</name></process_info></processes>
  </gpu>
</nvidia_smi_log>
"""


def test_xml_says_the_same() -> None:
    answer = found(f"### g1\n{XML}### g2\n{XML.replace('GPU-aaaa', 'GPU-bbbb')}")
    assert answer.faults == ()
    assert [(one.name, one.gpus, one.hardware) for one in answer.nodes] == [
        ("g1", 1, "h100-80gb-hbm3-1"),
        ("g2", 1, "h100-80gb-hbm3-1"),
    ]
    gpu = answer.gpus[0]
    assert (gpu.uuid, gpu.pci_bus_id, gpu.memory_mib) == ("GPU-aaaa", "00000000:1B:00.0", 81_559)
    assert (gpu.serial, gpu.mig, gpu.model) == ("165", "on", "NVIDIA H100 80GB HBM3")


LAUGHS = """\
<?xml version="1.0"?>
<!DOCTYPE nvidia_smi_log [
 <!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">
]>
<nvidia_smi_log><gpu id="1"><uuid>&b;</uuid></gpu></nvidia_smi_log>
"""
OUTSIDE = """\
<?xml version="1.0"?>
<!DOCTYPE nvidia_smi_log [<!ENTITY x SYSTEM "file:///etc/passwd">]>
<nvidia_smi_log><gpu id="1"><uuid>&x;</uuid></gpu></nvidia_smi_log>
"""
UNDECLARED = (
    '<!DOCTYPE nvidia_smi_log SYSTEM "http://elsewhere/x.dtd">\n'
    '<nvidia_smi_log><gpu id="1"><uuid>&x;</uuid></gpu></nvidia_smi_log>\n'
)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(LAUGHS, 2, id="entities in entities"),
        pytest.param(OUTSIDE, 2, id="a file of this machine"),
        pytest.param("<nvidia_smi_log>" + "<a>" * 50, 1, id="50 levels"),
        pytest.param("<nvidia_smi_log><gpu>", 1, id="cut off"),
    ],
)
def test_xml_that_could_do_more_than_say_is_refused(text: str, line: int) -> None:
    with pytest.raises(RefusedError) as refused:
        found(text)
    assert (refused.value.code, refused.value.line) == ("bad_xml", line)


def test_an_entity_declared_elsewhere_is_not_fetched() -> None:
    # Nothing is known of it, so nothing of it is read: the GPU stays without UUID.
    assert [gpu.uuid for gpu in found(UNDECLARED, "g").gpus] == [None]
