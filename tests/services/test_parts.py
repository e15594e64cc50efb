"""Roles that consist of parts, from rows to bindings: two ratios at once (HeteroScale §8)."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

import pytest

from controller.core.fleet import Level
from controller.core.placement.preview import parts_of
from controller.core.placement.values import Choice, PartNeed, Request, RoleForm, RoleNeed
from controller.core.types import Instances, Role
from controller.models import Action
from controller.models.clock import database_now
from controller.selectors.placing import rows_of, tenants_of
from controller.selectors.situation import situation
from controller.services.placing import place_due
from inventory.holdings import Instance, Report
from inventory.models import Binding, LocalityDomain, Node, RolePart, RoleSpec, Service
from inventory.services.settling import settle
from tests.factories import make_action, make_cluster, make_hardware, make_nodes, make_service

pytestmark = pytest.mark.django_db

FLEET = {
    "h800": ("s2-1/s1-1", "s2-1/s1-2", "s2-2/s1-4"),
    "h20": ("s2-1/s1-1", "s2-1/s1-3", "s2-2/s1-4"),
    "l40s": ("s2-1/s1-2", "s2-2/s1-5"),
}
"""Nodes of eight GPUs by type: only s2-1/s1-1 and s2-2/s1-4 have what a prefill instance needs."""


def place_at(node: Node, path: str) -> None:
    above, near = path.split("/")
    s2 = LocalityDomain.objects.get_or_create(
        cluster=node.cluster, level="S2", key=above, defaults={"name": above}
    )[0]
    s1 = LocalityDomain.objects.get_or_create(
        cluster=node.cluster, level="S1", key=near, defaults={"name": near, "parent": s2}
    )[0]
    Node.objects.filter(pk=node.pk).update(s1_domain=s1, s2_domain=s2)


@pytest.fixture
def moe() -> Service:
    """Return a service: prefill is 2 attention pods of 4 GPUs and an FFN pod of 8, decode 4."""
    cluster = make_cluster()
    for slug, paths in FLEET.items():
        for node, path in zip(
            make_nodes(cluster, make_hardware(slug), len(paths)), paths, strict=True
        ):
            place_at(node, path)
    service = make_service("moe", affinity_level="s2", affinity_required=True)
    prefill, decode = (RoleSpec.objects.get(role=role) for role in ("prefill", "decode"))
    RoleSpec.objects.filter(pk=prefill.pk).update(gpus_per_instance=16)
    RoleSpec.objects.filter(pk=decode.pk).update(
        gpus_per_instance=4, hardware=make_hardware("l40s")
    )
    for name, pods, slug, gpus in (("attention", 2, "h800", 4), ("ffn", 1, "h20", 8)):
        RolePart.objects.create(
            role=prefill, name=name, pods=pods, hardware=make_hardware(slug), gpus_per_pod=gpus
        )
    return service


@pytest.mark.usefixtures("moe")
def test_a_role_of_parts_is_as_it_is_configured() -> None:
    (tenant,) = tenants_of(rows_of()).readable
    assert tenant.roles[Role.PREFILL] == RoleForm(
        parts=(
            PartNeed("attention", 2, RoleNeed((Choice("h800", 4),))),
            PartNeed("ffn", 1, RoleNeed((Choice("h20", 8),))),
        ),
        level=Level.S1,
    )
    assert tenant.roles[Role.DECODE] == RoleForm(RoleNeed((Choice("l40s", 4),)))


def promised(service: Service) -> Action:
    """Let one prefill and two decode instances be placed and promised their GPUs."""
    now = situation()
    plan = now.plan([Request("moe", Instances(1, 2))])
    action = make_action(
        service,
        from_prefill=0,
        from_decode=0,
        to_prefill=1,
        to_decode=2,
        placement=parts_of(plan, ["moe"], now.version)["moe"],
    )
    assert place_due(situation) == [action.pk]
    return action


def test_attention_and_ffn_share_an_s1_and_the_pair_an_s2(moe: Service) -> None:
    promised(moe)
    held: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    near, far = set(), set()
    for row in Binding.objects.select_related("node__hardware", "node__s1_domain__parent"):
        pods = held[row.role, row.place]
        kind = row.node.hardware.slug
        pods[kind] = pods.get(kind, 0) + row.gpus.upper - row.gpus.lower
        near |= {row.node.s1_domain.name} if row.role == "prefill" else set()
        far.add(row.node.s1_domain.parent.name)
    # 2 attention pods of 4 to 1 FFN pod of 8 in one instance, and 1 prefill to 2 decode.
    assert held == {
        ("prefill", "moe-prefill-1"): {"h800": 8, "h20": 8},
        ("decode", "moe-decode-1"): {"l40s": 4},
        ("decode", "moe-decode-2"): {"l40s": 4},
    }
    assert (len(near), len(far)) == (1, 1)


def test_an_instance_of_parts_is_known_again_by_all_its_nodes(moe: Service) -> None:
    promised(moe)
    later = database_now() + timedelta(minutes=1)
    nodes = tuple(
        Binding.objects.filter(role="prefill").values_list("node__name", flat=True).distinct()
    )
    assert len(nodes) == 2
    seen = Instance("moe-p-0", "prefill", "moe-g1", "ready", nodes)
    found = settle([Report("moe", "eu-1-a", later, (seen,))], frozenset(), later)
    assert (found.claimed, found.bound, found.conflicts) == (1, 0, [])
    names = set(Binding.objects.filter(role="prefill").values_list("instance", flat=True))
    assert names == {"moe-p-0"}


def test_parts_without_a_common_s1_find_no_room(moe: Service) -> None:
    for node in Node.objects.filter(hardware__slug="h20"):
        place_at(node, f"{node.s1_domain.parent.name}/only-h20-{node.name}")
    plan = situation().plan([Request("moe", Instances(1, 2))])
    assert plan.placements == []
    assert plan.unplaced[0].placed == Instances(0, 0)
    assert moe.roles.count() == 2
