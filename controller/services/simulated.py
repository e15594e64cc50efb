"""The simulated fleet between two looks: engines out of a row, and back into it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO

from django.db import transaction

from controller.core.ports import EFFECT_WITHIN_S, RefusedError
from controller.core.types import Instances
from controller.models import SimulatedFleet, SimulatedService
from controller.models.clock import database_now
from controller.simulator.engines import Engines, Receipt
from controller.simulator.model import NodeSpec, NodeState, ServiceModel
from controller.simulator.profiles import PROFILES
from controller.simulator.workload import Generator, Workload, read_trace
from controller.simulator.world import Setup, World
from inventory.models import Cluster, Node

PAUSED_AFTER_S = 120.0
"""A longer gap than this means the product was off; the engines rested meanwhile."""

METERED = Setup(metered=True)
"""Whoever scrapes the instances reads on where the row was kept."""


@contextmanager
def lend(now_s: float) -> Iterator[Engines]:
    """Lend the engines as they are at ``now_s`` [s]; they are kept when the block ends well.

    The row is locked meanwhile: a tick and an action never see different engines. Raises
    :class:`RefusedError` for a time long past.
    """
    with transaction.atomic():
        fleet = SimulatedFleet.objects.select_for_update().get(pk=1)
        late_s = database_now().timestamp() - now_s
        if late_s > EFFECT_WITHIN_S:
            raise RefusedError(f"the request is {late_s:.0f} s old.")
        engines = restore(fleet, now_s)
        world = engines.world
        if now_s - world.now_s > PAUSED_AFTER_S:
            world.skip(now_s)
        else:
            world.advance(now_s)
        yield engines
        keep(fleet, engines)


def restore(fleet: SimulatedFleet, now_s: float) -> Engines:
    """Return the engines of the row at the time they were kept; new ones start at ``now_s``."""
    services, nodes = service_models(fleet), node_specs()
    seed, speed = fleet.seed, fleet.speed
    if fleet.state is None:
        world = World(services, nodes, start_s=now_s, seed=seed, speed=speed, setup=METERED)
        return Engines(world)
    state = bytes(fleet.state)
    world = World.restore(services, nodes, state, seed=seed, speed=speed, setup=METERED)
    receipts = {
        key: Receipt(given["action"], given["epoch"]) for key, given in fleet.receipts.items()
    }
    return Engines(world, receipts)


def keep(fleet: SimulatedFleet, engines: Engines) -> None:
    """Put the engines back into their row."""
    fleet.state = engines.world.dump()
    fleet.at = datetime.fromtimestamp(engines.world.now_s, UTC)
    fleet.receipts = {
        key: {"action": receipt.action, "epoch": receipt.epoch}
        for key, receipt in engines.receipts.items()
    }
    fleet.save(update_fields=["state", "at", "receipts"])


def service_models(fleet: SimulatedFleet) -> list[ServiceModel]:
    """Return what plays each simulated service; its faults are part of the row."""
    rows = SimulatedService.objects.select_related("service__cluster").order_by("service__slug")
    trace = load_trace(fleet)
    return [
        ServiceModel(
            key=row.service.slug,
            cluster=row.service.cluster.slug,
            prefill=PROFILES[row.prefill_profile],
            decode=PROFILES[row.decode_profile],
            workload=trace if trace and row.plays_trace else Generator(**row.load),
            initial=Instances(row.initial_prefill, row.initial_decode),
            start_median_s=row.start_median_s,
            seed=index,
        )
        for index, row in enumerate(rows)
    ]


def load_trace(fleet: SimulatedFleet) -> Workload | None:
    """Return the recorded load the fleet plays, if it was given one."""
    if fleet.trace_body is None:
        return None
    return read_trace(BytesIO(bytes(fleet.trace_body)), fleet.trace_name, fleet.trace_scale)


def node_specs(kind: str = Cluster.Kind.SIMULATED) -> list[NodeSpec]:
    """Return the nodes of all clusters of a kind as the simulator knows them."""
    rows = (
        Node.objects.filter(cluster__kind=kind)
        .exclude(lifecycle__in=(Node.Lifecycle.PLANNED, Node.Lifecycle.RETIRED))
        .select_related("cluster", "hardware", "s1_domain", "s2_domain")
        .order_by("name")
    )
    return [
        NodeSpec(
            name=row.name,
            cluster=row.cluster.slug,
            hardware=row.hardware.slug if row.hardware else "",
            s1=row.s1_domain.name if row.s1_domain else "",
            s2=row.s2_domain.name if row.s2_domain else "",
            gpus=row.gpus or 0,
            usable=row.schedulable,
            state=_state(row),
        )
        for row in rows
    ]


def _state(row: Node) -> NodeState:
    if row.health == Node.Health.UNKNOWN or row.missing_since:
        return "unknown"
    if row.health != Node.Health.OK:
        return "unhealthy"
    if row.reserved_for:
        return "reserved"
    return "ok" if row.schedulable else "maintenance"
