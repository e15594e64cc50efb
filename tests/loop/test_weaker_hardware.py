"""Hardware in order of preference, from rows to bindings and to the next tick (HeteroScale §7)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import pytest

from controller.core.ports import Pool
from controller.core.reasons import Code
from controller.core.types import Instances, Role
from controller.models import Action, Decision, ServiceStatus
from controller.selectors.profiles import readable
from controller.selectors.situation import situation
from controller.services.placing import place_due
from inventory import snapshot
from inventory.models import Binding, RoleHardware, RoleSpec, Service
from tests.factories import make_cluster, make_hardware, make_nodes, make_service
from tests.loop.test_tick import run
from tests.sources import ArraySource

pytestmark = pytest.mark.django_db

POOLS = tuple(
    Pool("eu-1-a", kind, free, 0, 0, free, 0, 0, 0, 0, 8)
    for kind, free in (("h800", 4), ("h20", 16), ("l40s", 28))
)


@pytest.fixture
def chat() -> Service:
    """Return a service of 2 prefill on l40s and 4 decode on h800, where 2 more find room."""
    cluster = make_cluster()
    for slug, count in (("h800", 2), ("h20", 2), ("l40s", 4)):
        make_nodes(cluster, make_hardware(slug), count)
    service = make_service()
    RoleSpec.objects.filter(role="prefill").update(hardware=make_hardware("l40s"))
    RoleHardware.objects.create(
        role=RoleSpec.objects.get(role="decode"),
        hardware=make_hardware("h20"),
        gpus_per_instance=4,
        throughput=0.5,
    )
    # Two GPUs each; another service has what is left of the first node.
    other = make_service("other")
    reported(other, *(("other-d-1", "decode", "h800-000"), ("other-d-2", "decode", "h800-000")))
    stands(service)
    return service


def reported(service: Service, *instances: tuple[str, str, str]) -> None:
    ServiceStatus.objects.filter(service=service).update(
        instances=[
            {"name": name, "role": role, "group": f"{service.slug}-g1", "node": node}
            | {"state": "ready"}
            for name, role, node in instances
        ]
    )


def stands(chat: Service) -> None:
    """Let the cluster report what runs at first; each tick overwrites it by its source's own."""
    reported(
        chat,
        *((f"chat-prefill-{at}", "prefill", "l40s-000") for at in (1, 2)),
        *((f"chat-decode-{at}", "decode", f"h800-00{at // 3}") for at in (1, 2, 3, 4)),
    )


NOW: Final = Instances(2, 4)


def loaded(load: float, counts: Instances = NOW) -> ArraySource:
    source = ArraySource(pools=POOLS, counts={"chat": counts}, silent=frozenset({"other"}))
    return source.now_reports("chat", decode_tps=1000.0 * load)


@pytest.mark.usefixtures("chat")
def test_what_may_run_elsewhere_is_read_with_what_it_is_worth() -> None:
    chat = next(spec for spec in snapshot.read(readable).specs if spec.key == "chat")
    # 0.5 of the work by 4 GPUs instead of 2: a GPU there is a quarter of one here.
    assert chat.further == {Role.DECODE: {"h20": 0.25}}


def test_weaker_instances_are_placed_promised_and_kept(chat: Service) -> None:
    """7 are wanted of 4: 2 find room on h800, the third is 2 of 0.5 on h20, so 8 in all."""
    run(loaded(7.0))
    action = Action.objects.get()
    assert action.to_decode == 8
    assert action.placement["asked"]["decode"] == 3
    decision = Decision.objects.get(service=chat)
    (step,) = (one for one in decision.steps if one["name"] == "hardware")
    assert step["code"] == Code.WEAKER_HARDWARE
    assert "2 decode on h20 do the work of 1 on h800" in decision.sentence

    stands(chat)
    assert place_due(situation) == [action.pk]
    rows = Binding.objects.filter(role="decode", action=action.pk)
    taken = Counter(rows.values_list("node__hardware__slug", flat=True))
    assert taken == {"h800": 2, "h20": 2}

    # What was promised counts for what it does: at the same load nothing goes again.
    Action.objects.update(state="ready")
    ServiceStatus.objects.filter(service=chat).update(observed_at=None)
    stands(chat)
    after = Instances(action.to_prefill, action.to_decode)
    run(replace(loaded(7.0, after), versions={"chat": "2"}))
    last = Decision.objects.filter(service=chat).latest("seq")
    assert (last.final_decode, last.move) == (8, "hold")
    assert "8 decode count as 7" in last.sentence


def test_what_is_freed_meanwhile_is_decided_anew(chat: Service) -> None:
    run(loaded(7.0))
    stands(chat)
    ServiceStatus.objects.filter(service__slug="other").update(instances=[])
    assert place_due(situation) == []
    action = Action.objects.get()
    assert (action.state, action.is_bound) == ("cancelled", False)
    assert "There is room for 3 of 4 decode instances now." in action.error
