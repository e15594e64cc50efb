"""Nodes of one hardware type that not every service may use."""

from controller.core.fleet import Level, NodeRow, Scarcity, view_of


def node(name: str, variant: str = "", hardware: str = "h20", s1: str = "s1-1") -> NodeRow:
    return NodeRow(name, "c", "s2-1", s1, "", hardware, gpus=8, free=8, variant=variant)


def test_a_variant_counts_apart_and_makes_nothing_scarce() -> None:
    topology = view_of([node("a"), node("b", "dedicated")]).topology
    plain, dedicated = topology.type_of("h20"), topology.type_of("h20", "dedicated")
    assert plain is not None
    assert dedicated is not None
    assert plain != dedicated
    assert topology.hardware_name(dedicated) == "h20"
    assert topology.base.tolist() == [0, 0]
    assert topology.scarcity.tolist() == [Scarcity.LOW]


def test_two_hardware_types_under_one_switch_are_scarce_whatever_their_variants() -> None:
    topology = view_of([node("a"), node("b", "dedicated", hardware="l20")]).topology
    assert topology.scarcity.tolist() == [Scarcity.HIGH]
    assert topology.domains[Level.S1] == ("s1-1",)
