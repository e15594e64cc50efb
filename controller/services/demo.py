"""The demonstration fleet: made once, labelled simulated, removed with one command."""

from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Final

from django.db import transaction
from django.db.models import Q

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
from controller.services import audit, demo_fleet, demo_metrics
from controller.services.errors import InvalidError
from controller.simulator.demo import (
    DEMO_NODES,
    DEMO_SERVICES,
    TRACED_SERVICE,
    DemoService,
    policy_for,
    scale_for,
)
from controller.simulator.workload import TraceError, Workload, read_trace
from inventory.models import (
    Cluster,
    HardwareType,
    InventoryVersion,
    Node,
    Policy,
    Rack,
    Region,
    RoleSpec,
    Service,
    Site,
    Slo,
)
from inventory.services.locks import lock_for_edit
from inventory.services.policies import save_policy, values_of
from inventory.services.versions import stamp

REMOVED: Final = "removed the demo fleet"
GENERATOR_FIELDS: Final = ("lengths", "recorded")


def is_wanted() -> bool:
    """Return whether this is a first start: no service yet, and no demo that was removed."""
    return not Service.objects.exists() and not AuditEvent.objects.filter(verb=REMOVED).exists()


def exists() -> bool:
    """Return whether there is a simulated fleet."""
    return SimulatedFleet.objects.exists()


@dataclass(frozen=True, slots=True)
class Load:
    """A trace to play: its name, its bytes, what they say, and how often a request counts."""

    name: str
    body: bytes
    workload: Workload
    scale: float


def create(*, speed: float, trace: Path | None, trace_scale: float | None = None) -> None:
    """Make the fleet's rows; its history is produced afterwards.

    ``trace_scale`` is how often each request of the trace counts; by default 1, or less when the
    trace is more than the traced service can take.

    Raises :class:`InvalidError` naming the trace's line and column when it can't be read.
    """
    load = _read(trace, trace_scale)
    with transaction.atomic():
        fleet = SimulatedFleet(speed=speed)
        _take(fleet, load)
        fleet.save()
        clusters, hardware = demo_fleet.make()
        for given in DEMO_SERVICES:
            _service(given, clusters[given.cluster], hardware, load.workload if load else None)
        audit.record(
            actor="start command",
            verb="created the demo fleet",
            obj=None,
            after={"services": len(DEMO_SERVICES), "nodes": len(DEMO_NODES)},
        )


def change_load(
    *, speed: float | None, trace: Path | None, trace_scale: float | None = None
) -> bool:
    """Give the fleet another speed or trace; returns whether anything changed.

    A new trace changes what the traced service needs, so its policy follows as a new revision,
    and the history is produced anew.
    """
    load = _read(trace, trace_scale)
    with transaction.atomic():
        fleet = SimulatedFleet.objects.select_for_update().get(pk=1)
        new_speed = speed is not None and speed != fleet.speed
        playing = (bytes(fleet.trace_body or b""), fleet.trace_scale)
        new_trace = load is not None and (load.body, load.scale) != playing
        if speed is not None:
            fleet.speed = speed
        if new_trace and load is not None:
            _take(fleet, load)
            _follow_trace(load.workload)
            fleet.history = SimulatedFleet.History.WANTED
        fleet.save()
    return new_speed or new_trace


def _take(fleet: SimulatedFleet, load: Load | None) -> None:
    if load is not None:
        fleet.trace_name, fleet.trace_body = load.name, load.body
        fleet.trace_scale = load.scale


def remove() -> int:
    """Remove the fleet and everything measured or decided about it; returns its services."""
    with transaction.atomic():
        lock_for_edit()
        demo_metrics.read_through(None)
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
        stamp(InventoryVersion.Cause.EDIT, "command line")
        audit.record(actor="command line", verb=REMOVED, obj=None, before={"services": count})
    return count


def _remove_places() -> None:
    places = Cluster.objects.filter(kind=Cluster.Kind.SIMULATED)
    racks = set(
        Rack.objects.filter(
            Q(nodes__cluster__in=places) | Q(switches__cluster__in=places)
        ).values_list("pk", flat=True)
    )
    regions = set(places.values_list("region", flat=True))
    # Nodes, switches and what hangs on them go with their cluster.
    places.delete()
    Rack.objects.filter(pk__in=racks, nodes=None, switches=None).delete()
    Site.objects.filter(region__in=regions, racks=None).delete()
    Region.objects.filter(pk__in=regions, clusters=None, sites=None).delete()


def _read(trace: Path | None, scale: float | None) -> Load | None:
    if trace is None:
        return None
    try:
        body = trace.read_bytes()
        workload = read_trace(BytesIO(body), trace.name)
    except TraceError as fault:
        raise InvalidError("trace", str(fault)) from None
    except OSError as fault:
        raise InvalidError("trace", f"{trace}: {fault.strerror}.") from None
    return Load(trace.name, body, workload, scale or scale_for(_traced(), workload))


def _traced() -> DemoService:
    return next(given for given in DEMO_SERVICES if given.slug == TRACED_SERVICE)


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
            profile=(given.prefill if role is Role.PREFILL else given.decode).name,
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
    save_policy(Policy(service=service, **values_of(config)), user=None)


def _follow_trace(load: Workload) -> None:
    policy = Policy.objects.filter(service__slug=TRACED_SERVICE).first()
    if policy is not None:
        config = policy_for(_traced(), load)
        policy.target, policy.pd_ratio = config.target, config.pd_ratio
        save_policy(policy, user=None)
