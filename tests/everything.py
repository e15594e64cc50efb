"""A fleet with a row of every kind, for tests that open every page."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.contrib.auth.models import User
from django.utils import timezone

from controller import models as controller
from controller.services import audit, simulated
from inventory import models as inventory
from tests import factories
from tests.backtests import make_backtest, make_trace
from tests.services.people import waiting

PROFILE = "qwen3-32b-fp8/h800"
LOAD = {"name": "steady", "seed": 1, "low_rps": 1.0, "peak_rps": 1.0}
LENGTHS = {"input_tokens": 800, "output_tokens": 200}
PLAYED = {
    "prefill_profile": PROFILE,
    "decode_profile": PROFILE,
    "load": {**LOAD, **LENGTHS},
}
COUNTS = {"from_prefill": 2, "from_decode": 4, "to_prefill": 2, "to_decode": 5}


@dataclass(frozen=True)
class Everything:
    """What addresses name: rows of the kinds that have pages of their own."""

    service: inventory.Service
    node: inventory.Node
    switch: inventory.Switch
    proposal: controller.Proposal
    decision: controller.Decision
    action: controller.Action
    moves: controller.Rearrangement
    outside: controller.OutsideChange
    suggestion: controller.PolicySuggestion
    override: controller.Override
    rule: controller.ApprovalRule
    breaker: controller.Breaker
    grant: controller.Grant
    run: inventory.ImportRun
    backtest: controller.Backtest
    trace: controller.Trace
    source: inventory.MetricsEndpoint
    access: inventory.ClusterAccess
    tries: controller.SignInTries
    simulated: str


def make_everything(user: User) -> Everything:
    """Return the rows; what is a person's own belongs to ``user``."""
    now = timezone.now()
    proposal = waiting()
    service = proposal.service
    node, switch = _machines(service)
    _configuration(service)
    _memory(service, node)
    _own(user)
    said: dict[str, Any] = {"user": user, "by_name": user.username, "at": now}
    approved = {"proposal": proposal, "version": 1, "fingerprint": proposal.fingerprint}
    controller.Verdict.objects.create(**approved, **said)
    controller.ProposalComment.objects.create(proposal=proposal, text="look", **said)
    controller.Freeze.objects.create(
        cluster=service.cluster, by_name="bo", reason="why", since=now
    )
    ruled: dict[str, Any] = {"reason": "why", "by_name": "bo"}
    lasts = {"made_at": now, "starts_at": now, "ends_at": now + timedelta(hours=1)}
    granted = {"user": user, "role": "Operator", "granted_at": now}
    return Everything(
        service=service,
        node=node,
        switch=switch,
        proposal=proposal,
        decision=factories.make_decision(service),
        action=factories.make_action(
            service,
            state="ready",
            applied_at=now,
            placement=factories.a_placement(),
            decision=proposal.decision,
        ),
        moves=_moves(service),
        outside=controller.OutsideChange.objects.create(
            service=service, seen_at=now, resource_version="7", **COUNTS
        ),
        suggestion=factories.make_suggestion(service),
        override=controller.Override.objects.create(
            service=service, kind="pin", values={"prefill": 2, "decode": 4}, **ruled, **lasts
        ),
        rule=controller.ApprovalRule.objects.create(name="small-steps", made_at=now, **ruled),
        breaker=controller.Breaker.objects.create(
            service=service, opened_at=now, cause="it changed its mind 4 times"
        ),
        grant=controller.Grant.objects.create(cluster=service.cluster, **ruled, **granted),
        run=_run(user),
        backtest=make_backtest(user, "done"),
        trace=make_trace(),
        source=_source(service),
        access=_access(service),
        tries=controller.SignInTries.objects.create(
            key="0" * 64, kind="address", address="10.0.0.9", failures=5, last_at=now
        ),
        simulated=_playing(service),
    )


def _machines(service: inventory.Service) -> tuple[inventory.Node, inventory.Switch]:
    now, cluster = timezone.now(), service.cluster
    hardware = factories.make_hardware()
    node = factories.make_nodes(cluster, hardware, 2)[0]
    inventory.HardwareAlias.objects.create(hardware=hardware, text="NVIDIA-H800")
    inventory.NvlinkDomain.objects.create(cluster=cluster, name="nvl-1")
    inventory.Gpu.objects.create(node=node, index=0, uuid="GPU-1")
    inventory.Nic.objects.create(node=node, name="mlx5_0")
    fabric = inventory.Fabric.objects.create(cluster=cluster)
    switch = inventory.Switch.objects.create(cluster=cluster, fabric=fabric, name="leaf-1", tier=0)
    inventory.Link.objects.create(cluster=cluster, switch=switch, port="1", node=node)
    inventory.HealthEvent.objects.create(node=node, code="XID 79", started=now)
    held = inventory.Reservation.objects.create(
        cluster=cluster, owner="ana", reason="why", begins=now
    )
    inventory.ReservedNode.objects.create(reservation=held, node=node, begins=now)
    factories.make_binding(service, node)
    factories.make_pools(cluster, hardware, at=now)
    return node, switch


def _configuration(service: inventory.Service) -> None:
    now, other = timezone.now(), factories.make_hardware("h20")
    role = service.roles.get(role="decode")
    inventory.RoleHardware.objects.create(role=role, hardware=other, gpus_per_instance=2)
    inventory.RolePart.objects.create(role=role, name="ffn", hardware=other, gpus_per_pod=2)
    inventory.PolicyRevision.objects.get_or_create(
        service=service, revision=1, defaults={"body": {}}
    )
    inventory.InventoryVersion.objects.create(at=now, cause="edit", by="bo")
    controller.EngineProfile.objects.create(
        name="own", body={"model": "m"}, created_at=now, created_by_name="bo"
    )
    controller.SimulatedFleet.objects.create()
    controller.SimulatedService.objects.create(
        service=service, initial_prefill=1, initial_decode=1, **PLAYED
    )


def _playing(service: inventory.Service) -> str:
    """Let the simulated fleet begin; returns one of its instances."""
    fleet = controller.SimulatedFleet.objects.get(pk=1)
    engines = simulated.restore(fleet, timezone.now().timestamp())
    simulated.keep(fleet, engines)
    return engines.world.exported(service.slug)[0].name


def _memory(service: inventory.Service, node: inventory.Node) -> None:
    now = timezone.now()
    expires_at = now + timedelta(minutes=1)
    controller.Tick.objects.create(slot=1, at=now, epoch=1, finished_at=now, services=1, fresh=1)
    controller.ControllerLease.objects.create(
        name="loop", holder="w", epoch=1, expires_at=expires_at
    )
    controller.DecisionTally.objects.create(move="hold", code="WITHIN_TOLERANCE", total=1)
    factories.make_samples(service, until=now)
    factories.observe(service, factories.an_instance("chat-d-1", node.name))
    audit.record(actor="bo", verb="froze", obj=service, reason="why")
    controller.Seal.objects.create(
        seq=1, kind="audit", object_id="1", digest="0" * 64, hash="0" * 64, at=now
    )
    controller.ChainCheck.objects.create(checked_to=1, checked_seal_at=now, checked_at=now)
    controller.Removal.objects.create(
        service_id=service.pk, service="gone", rows=1, last_id=1, at=now, role="r", transaction="1"
    )


def _own(user: User) -> None:
    now = timezone.now()
    controller.Preference.objects.create(user=user)
    controller.SavedView.objects.create(user=user, name="bad", query="health=failed")
    controller.Identity.objects.create(
        user=user, issuer="https://id.example", subject="1", first_at=now
    )
    controller.SecondFactor.objects.create(account=user, encrypted="x", made_at=now)
    controller.RecoveryCode.objects.create(account=user, digest="0" * 64)


def _moves(service: inventory.Service) -> controller.Rearrangement:
    now = timezone.now()
    return controller.Rearrangement.objects.create(
        kind="room",
        service=service,
        key="key",
        body={"moves": [], "shrinks": []},
        sentence="Make room.",
        inventory_version=1,
        touched="",
        created_at=now,
        evidence_at=now,
        expires_at=now + timedelta(minutes=9),
    )


def _access(service: inventory.Service) -> inventory.ClusterAccess:
    now = timezone.now()
    access = factories.make_access(
        checked_at=now, checks=[{"what": "answers", "found": "crit", "said": "Nobody listens."}]
    )
    controller.ClusterSight.objects.create(
        cluster=access.cluster, state="failed", since=now, told=["Nobody listens there."]
    )
    controller.ServiceSight.objects.create(
        service=service, changed_at=now, body={"workloads": [], "rivals": []}
    )
    inventory.Workload.objects.create(
        service=service,
        role="decode",
        api="apps/v1",
        plural="deployments",
        namespace="prod",
        name="chat-decode",
    )
    return access


def _source(service: inventory.Service) -> inventory.MetricsEndpoint:
    now = timezone.now()
    source = factories.make_source("eu-1", service)
    controller.EndpointStatus.objects.create(
        endpoint=source, state="failed", since=now, asked_at=now, told=["It can't be reached."]
    )
    controller.ScrapeMark.objects.create(endpoint=source, at=now, body=b"")
    controller.Detected.objects.create(
        endpoint=source, at=now, by_name="bo", took_ms=1.0, found={"services": [], "told": []}
    )
    inventory.WrittenQuery.objects.create(
        use=source.uses.get(), signal="decode_tps", query="sum(up)"
    )
    return source


def _run(user: User) -> inventory.ImportRun:
    now = timezone.now()
    run = inventory.ImportRun.objects.create(
        created_at=now,
        created_by=user,
        created_name=user.username,
        state="failed",
        format="csv",
        errors=[{"file": "a.csv", "line": 2, "field": "cluster", "message": "unknown"}],
    )
    body = zlib.compress(b"cluster,name\nx,n1\n")
    inventory.ImportFile.objects.create(run=run, name="a.csv", size=18, sha256="0", body=body)
    inventory.ImportChange.objects.create(
        run=run, seq=0, operation="create", kind="node", name="a"
    )
    return run
