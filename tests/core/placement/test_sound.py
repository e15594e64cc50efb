"""A row that makes no sense holds its own service and no other (S24)."""

from __future__ import annotations

from math import inf, nan

import pytest

from controller.core.fleet import Level
from controller.core.placement.sound import fault_of
from controller.core.placement.values import Choice, PartNeed, RoleForm, RoleNeed, Spread, Tenant
from controller.core.types import Role
from tests.core.placement.tenants import need, tenant

PLAIN = (2, 2)


def of_need(*hardware: Choice, nodes: int = 1) -> Tenant:
    return tenant("chat", PLAIN, roles={Role.DECODE: RoleForm(RoleNeed(hardware, nodes))})


def of_part(pods: int, gpus: int) -> Tenant:
    part = PartNeed("ffn", pods, RoleNeed((Choice("H20", gpus),)))
    return tenant("chat", PLAIN, roles={Role.DECODE: RoleForm(parts=(part,))})


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (tenant("chat", PLAIN, pd_ratio=nan), "its P/D ratio is nan"),
        (tenant("chat", PLAIN, pd_ratio=inf), "its P/D ratio is inf"),
        (tenant("chat", PLAIN, pd_ratio=-0.5), "its P/D ratio is -0.5"),
        (tenant("chat", PLAIN, spread=Spread(Level.S2, 0)), "it is to be spread over 0 domains"),
        (of_need(Choice("H20", 0)), "an instance is to take 0 H20 GPUs"),
        (of_need(Choice("H20", 2), Choice("H800", -1)), "an instance is to take -1 H800 GPUs"),
        (of_need(Choice("H20", 2, nan)), "the throughput of its H20 instances is nan"),
        (of_need(Choice("H20", 2, 0.0)), "the throughput of its H20 instances is 0.0"),
        (of_need(Choice("H20", 2), nodes=0), "an instance is to take 0 nodes"),
        (of_part(0, 2), "its part ffn has 0 pods"),
        (of_part(2, 0), "an instance is to take 0 H20 GPUs"),
    ],
)
def test_what_makes_no_sense_is_named_with_its_figure(one: Tenant, said: str) -> None:
    assert fault_of(one) == said


@pytest.mark.parametrize(
    "one",
    [
        tenant("chat", PLAIN),
        tenant("chat", PLAIN, pd_ratio=0.0),
        tenant("chat", PLAIN, pd_ratio=0.5, spread=Spread(Level.S2, 2)),
        tenant("chat", PLAIN, roles={Role.DECODE: need(16, nodes=2)}),
        of_need(Choice("H20", 2), Choice("H800", 1, 2.0)),
        of_part(2, 4),
        tenant("chat", PLAIN, roles={}),
    ],
)
def test_everything_else_is_placed(one: Tenant) -> None:
    assert fault_of(one) == ""
