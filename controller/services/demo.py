"""The demonstration fleet: made once, labelled simulated, removed with one command."""

from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Final

from django.db import transaction

from controller.core.types import Role
from controller.models import (
    Action,
    AuditEvent,
    Decision,
    PoolSample,
    Proposal,
    Sample,
    SimulatedFleet,
    SimulatedService,
)
from controller.services import audit
from controller.services.errors import InvalidError
from controller.simulator.demo import (
    DEMO_CLUSTERS,
    DEMO_NODES,
    DEMO_SERVICES,
    TRACED_SERVICE,
    DemoNode,
    DemoService,
    policy_for,
)
from controller.simulator.profiles import HARDWARE
from controller.simulator.workload import TraceError, Workload, read_trace
from inventory.models import (
    Cluster,
    HardwareType,
    Node,
    Policy,
    Rack,
    Region,
    RoleSpec,
    Service,
    Slo,
    Switch,
)
from inventory.services.policies import save_policy

REMOVED: Final = "removed the demo fleet"
REGION_NAME: Final = "Europe 1 (simulated)"
GENERATOR_FIELDS: Final = ("lengths", "recorded")


def is_wanted() -> bool:
    """Return whether this is a first start: no service yet, and no demo that was removed."""
    return not Service.objects.exists() and not AuditEvent.objects.filter(verb=REMOVED).exists()


def exists() -> bool:
    """Return whether there is a simulated fleet."""
    return SimulatedFleet.objects.exists()


def create(*, speed: float, trace: Path | None) -> None:
    """Make the fleet's rows; its history is produced afterwards.

    Raises :class:`InvalidError` naming the trace's line and column when it can't be read.
    """
    load = _read(trace)
    with transaction.atomic():
        fleet = SimulatedFleet(speed=speed)
        if trace is not None:
            fleet.trace_name, fleet.trace_body = trace.name, trace.read_bytes()
        fleet.save()
        clusters, hardware = _clusters(), _hardware()
        _nodes(clusters, hardware)
        for given in DEMO_SERVICES:
            _service(given, clusters[given.cluster], hardware, load)
        audit.record(
            actor="start command",
            verb="created the demo fleet",
            obj=None,
            after={"services": len(DEMO_SERVICES), "nodes": len(DEMO_NODES)},
        )


def change_load(*, speed: float | None, trace: Path | None) -> bool:
    """Give the fleet another speed or trace; returns whether anything changed.

    A new trace changes what the traced service needs, so its policy follows as a new revision,
    and the history is produced anew.
    """
    load = _read(trace)
    with transaction.atomic():
        fleet = SimulatedFleet.objects.select_for_update().get(pk=1)
        new_speed = speed is not None and speed != fleet.speed
        body = trace.read_bytes() if trace else None
        new_trace = body is not None and body != bytes(fleet.trace_body or b"")
        if speed is not None:
            fleet.speed = speed
        if trace is not None and load is not None and new_trace:
            fleet.trace_name, fleet.trace_body = trace.name, body
            _follow_trace(load)
            fleet.history = SimulatedFleet.History.WANTED
        fleet.save()
    return new_speed or new_trace


def remove() -> int:
    """Remove the fleet and everything measured or decided about it; returns its services."""
    with transaction.atomic():
        services = Service.objects.filter(simulated__isnull=False)
        count = services.count()
        hardware = set(
            Node.objects.filter(cluster__kind=Cluster.Kind.SIMULATED).values_list(
                "hardware", flat=True
            )
        )
        for model in (Action, Proposal, Sample, Decision):
            model.objects.filter(service__in=services).delete()
        services.delete()
        PoolSample.objects.filter(cluster__kind=Cluster.Kind.SIMULATED).delete()
        _remove_places()
        used = set(Node.objects.values_list("hardware", flat=True))
        HardwareType.objects.filter(pk__in=hardware - used).delete()
        SimulatedFleet.objects.all().delete()
        audit.record(actor="command line", verb=REMOVED, obj=None, before={"services": count})
    return count


def _remove_places() -> None:
    places = Cluster.objects.filter(kind=Cluster.Kind.SIMULATED)
    for model in (Node, Rack):
        model.objects.filter(cluster__in=places).delete()
    Switch.objects.filter(cluster__in=places, tier=Switch.Tier.S1).delete()
    Switch.objects.filter(cluster__in=places).delete()
    regions = set(places.values_list("region", flat=True))
    places.delete()
    Region.objects.filter(pk__in=regions, clusters__isnull=True).delete()


def _read(trace: Path | None) -> Workload | None:
    if trace is None:
        return None
    try:
        return read_trace(BytesIO(trace.read_bytes()), trace.name)
    except TraceError as fault:
        raise InvalidError("trace", str(fault)) from None
    except OSError as fault:
        raise InvalidError("trace", f"{trace}: {fault.strerror}.") from None


def _clusters() -> dict[str, Cluster]:
    made = {}
    for given in DEMO_CLUSTERS:
        region, _ = Region.objects.get_or_create(
            slug=given.region, defaults={"name": REGION_NAME, "time_zone": "Europe/Berlin"}
        )
        made[given.name] = Cluster.objects.create(
            region=region,
            slug=given.name,
            name=f"{given.name} (simulated)",
            kind=Cluster.Kind.SIMULATED,
        )
    return made


def _hardware() -> dict[str, HardwareType]:
    used = {node.hardware for node in DEMO_NODES}
    return {
        name: HardwareType.objects.get_or_create(
            slug=name,
            defaults={
                "vendor": spec.vendor,
                "gpu_model": spec.label,
                "gpus_per_node": spec.gpus_per_node,
                "gpu_memory_gib": spec.gpu_memory_gib,
                "mem_bw_gb_s": spec.mem_bw_gb_s,
                "bf16_tflops": spec.bf16_tflops,
                "source": spec.source[:300],
            },
        )[0]
        for name, spec in HARDWARE.items()
        if name in used
    }


def _nodes(clusters: dict[str, Cluster], hardware: dict[str, HardwareType]) -> None:
    places: dict[str, Switch] = {}
    racks: dict[str, Rack] = {}
    rows = []
    for node in DEMO_NODES:
        cluster = clusters[node.cluster]
        if node.s2 not in places:
            places[node.s2] = Switch.objects.create(
                cluster=cluster, name=node.s2, tier=Switch.Tier.S2
            )
        if node.s1 not in places:
            places[node.s1] = Switch.objects.create(
                cluster=cluster, name=node.s1, tier=Switch.Tier.S1, parent=places[node.s2]
            )
        if node.rack not in racks:
            racks[node.rack] = Rack.objects.create(
                cluster=cluster, name=node.rack, s1=places[node.s1]
            )
        rows.append(
            Node(
                cluster=cluster,
                name=node.name,
                hardware=hardware[node.hardware],
                rack=racks[node.rack],
                s1=places[node.s1],
                u_position=node.u,
                gpus=node.gpus,
                **_condition(node),
            )
        )
    Node.objects.bulk_create(rows)


def _condition(node: DemoNode) -> dict[str, str]:
    return {
        "maintenance": {"admin_state": Node.AdminState.MAINTENANCE},
        "unhealthy": {"health": Node.Health.FAILED, "health_reason": "XID 79 (simulated)"},
        "unknown": {"health": Node.Health.UNKNOWN, "health_reason": "no report (simulated)"},
        "reserved": {"admin_state": Node.AdminState.CORDONED},
    }.get(node.state, {})


def _service(
    given: DemoService, cluster: Cluster, hardware: dict[str, HardwareType], load: Workload | None
) -> None:
    service = Service.objects.create(
        slug=given.slug,
        name=given.name,
        model_name=given.model_name,
        purpose=given.character,
        cluster=cluster,
        mode=given.mode,
        priority=given.priority,
        max_gpus=given.limits.max_gpus,
    )
    for role in Role:
        RoleSpec.objects.create(
            service=service,
            role=role,
            hardware=hardware[given.hardware[role]],
            gpus_per_instance=given.gpus_per_instance.of(role),
            minimum=given.limits.minimum.of(role),
            maximum=given.limits.maximum.of(role),
        )
    Slo.objects.create(service=service, ttft_s=given.slo.ttft_s, tbt_s=given.slo.tbt_s)
    traced = given.slug == TRACED_SERVICE
    _policy(given, service, load if traced else None)
    SimulatedService.objects.create(
        service=service,
        prefill_profile=given.prefill.name,
        decode_profile=given.decode.name,
        load={k: v for k, v in asdict(given.load).items() if k not in GENERATOR_FIELDS},
        initial_prefill=given.initial.prefill,
        initial_decode=given.initial.decode,
        start_median_s=given.start_median_s,
        plays_trace=traced,
    )


def _policy(given: DemoService, service: Service, load: Workload | None) -> None:
    config = policy_for(given, load) if load else given.policy
    save_policy(
        Policy(
            service=service,
            name=config.name,
            driver=config.driver,
            target=config.target,
            pd_ratio=config.pd_ratio,
            ratio_tolerance=config.ratio_tolerance,
            stabilisation_s=config.stabilisation_s,
        ),
        user=None,
    )


def _follow_trace(load: Workload) -> None:
    given = next(given for given in DEMO_SERVICES if given.slug == TRACED_SERVICE)
    policy = Policy.objects.filter(service__slug=TRACED_SERVICE).first()
    if policy is not None:
        config = policy_for(given, load)
        policy.target, policy.pd_ratio = config.target, config.pd_ratio
        save_policy(policy, user=None)
