"""Rows for tests: a small fleet with a service that has decisions, samples and a proposal."""

import json
import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.backends.postgresql.psycopg_any import NumericRange
from django.utils import timezone

from controller.models import (
    Action,
    Decision,
    OutsideChange,
    PolicySuggestion,
    PoolSample,
    Proposal,
    Sample,
    ServiceStatus,
)
from controller.services.cluster_access import PURPOSE
from controller.services.secrecy import encrypt
from inventory.models import (
    Binding,
    Cluster,
    ClusterAccess,
    DeploymentGroup,
    HardwareType,
    LocalityDomain,
    MetricsEndpoint,
    Node,
    Policy,
    Rack,
    Region,
    RoleSpec,
    Service,
    ServiceMetrics,
    Site,
    Slo,
)

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LOAD_OF_NOW = {"hold_s": 0.0, "margin_frac": 0.0, "drain_s": 0.0}
"""Policy fields with which counts follow from the load of now alone, so that tests can reckon."""


def make_hardware(slug: str = "h800", **fields: Any) -> HardwareType:
    """Return a hardware type with eight GPUs a node."""
    figures = {
        "vendor": "NVIDIA",
        "gpu_model": slug.upper(),
        "gpus_per_node": 8,
        "gpu_memory_mib": 81920,
        "mem_bw_gb_s": 3352.0,
        "bf16_tflops": 989.0,
    }
    return HardwareType.objects.get_or_create(slug=slug, defaults=figures | fields)[0]


def make_cluster(slug: str = "eu-1-a", kind: str = "simulated") -> Cluster:
    """Return a cluster in region eu-1."""
    region = Region.objects.get_or_create(slug="eu-1", defaults={"name": "Europe 1"})[0]
    return Cluster.objects.get_or_create(
        slug=slug, defaults={"region": region, "name": slug, "kind": kind}
    )[0]


def make_access(slug: str = "k8s-1", **fields: Any) -> ClusterAccess:
    """Return how a cluster is reached where nobody listens."""
    secret = {"token": "t", "certificate": "", "key": "", "exec": None}
    given = {"way": "token", "server": "https://127.0.0.1:1", "account": "us", **fields}
    given.setdefault("secret", encrypt(json.dumps(secret), purpose=PURPOSE))
    return ClusterAccess.objects.create(cluster=make_cluster(slug, "kubernetes"), **given)


def make_nodes(cluster: Cluster, hardware: HardwareType, count: int = 4) -> list[Node]:
    """Return nodes in one S1 domain of one S2 domain, in one rack."""
    s2 = LocalityDomain.objects.get_or_create(
        cluster=cluster, level="S2", key="s2-01", defaults={"name": "s2-01"}
    )[0]
    s1 = LocalityDomain.objects.get_or_create(
        cluster=cluster, level="S1", key="s1-01", defaults={"name": "s1-01", "parent": s2}
    )[0]
    site = Site.objects.get_or_create(region=cluster.region, slug=cluster.slug)[0]
    rack = Rack.objects.get_or_create(site=site, name="r01")[0]
    return [
        Node.objects.create(
            cluster=cluster,
            name=f"{hardware.slug}-{i:03}",
            hardware=hardware,
            rack=rack,
            tiers=["s1-01", "s2-01"],
            s1_domain=s1,
            s2_domain=s2,
            gpus=8,
        )
        for i in range(count)
    ]


def make_service(slug: str = "chat", *, mode: str = "automatic", **fields: Any) -> Service:
    """Return a service with roles, SLO, policy and an empty status."""
    cluster = fields.pop("cluster", None) or make_cluster()
    hardware = fields.pop("hardware", None) or make_hardware()
    policy = fields.pop("policy", {})
    limits = {"minimum": 1, "maximum": 40} | fields.pop("limits", {})
    service = Service.objects.create(
        slug=slug,
        name=slug.replace("-", " ").title(),
        model_name="qwen3-32b-fp8",
        cluster=cluster,
        mode=mode,
        **{"max_gpus": 400, "priority": 0} | fields,
    )
    for role in ("prefill", "decode"):
        RoleSpec.objects.create(
            service=service, role=role, hardware=hardware, gpus_per_instance=2, **limits
        )
    Slo.objects.create(service=service, ttft_s=1.0, tbt_s=0.05)
    Policy.objects.create(
        service=service,
        **{"target": 1000.0, "pd_ratio": 0.5, "driver": "decode_tps"} | LOAD_OF_NOW | policy,
    )
    ServiceStatus.objects.create(
        service=service,
        observed_at=NOW,
        prefill_desired=2,
        prefill_ready=2,
        decode_desired=4,
        decode_ready=4,
        resource_version="1",
        signals={
            name: {
                "value": value,
                "unit": unit,
                "quality": "ok",
                "measured_at_s": NOW.timestamp(),
                "reporting": 4,
                "expected": 4,
            }
            for name, value, unit in (
                ("decode_tps", 3900.0, "tok/s"),
                ("ttft_s", 0.4, "s"),
                ("tbt_s", 0.03, "s"),
            )
        },
    )
    return service


def make_source(slug: str = "eu-1", *readers: Service, **fields: Any) -> MetricsEndpoint:
    """Return a Prometheus that services read from by the preset of vLLM."""
    given = {"url": f"http://{slug}.example:9090"} | fields
    source = MetricsEndpoint.objects.create(slug=slug, **given)
    for service in readers:
        ServiceMetrics.objects.create(service=service, endpoint=source, presets=["vllm"])
    return source


def make_group(service: Service, name: str = "", **fields: Any) -> DeploymentGroup:
    """Return the group of that name of a service, by default the one simulated clusters report."""
    return DeploymentGroup.objects.get_or_create(
        service=service, name=name or f"{service.slug}-g1", defaults={"made_at": NOW} | fields
    )[0]


def make_binding(
    service: Service, node: Node, begin: int = 0, end: int | None = None, **fields: Any
) -> Binding:
    """Return GPUs ``[begin, end)`` of a node, by default two, promised to a decode instance."""
    group = fields.pop("group", "")
    given = {
        "group": make_group(service, group) if isinstance(group, str) else group,
        "role": "decode",
        "place": "new-1",
        "bound_at": NOW,
    } | fields
    gpus = NumericRange(begin, begin + 2 if end is None else end)
    return Binding.objects.create(node=node, gpus=gpus, **given)


def make_decision(service: Service, **fields: Any) -> Decision:
    """Return a decision row: by default a hold inside the tolerance."""
    last = Decision.objects.filter(service=service).order_by("-seq").first()
    given = {
        "seq": last.seq + 1 if last else 1,
        "first_at": NOW,
        "last_at": NOW,
        "slot": 1,
        "mode": service.mode,
        "policy_revision": 1,
        "driver": "decode_tps",
        "load": 0.975,
        "current_prefill": 2,
        "current_decode": 4,
        "raw_prefill": 2,
        "raw_decode": 4,
        "final_prefill": 2,
        "final_decode": 4,
        "move": "hold",
        "gate": "none",
        "code": "WITHIN_TOLERANCE",
        "sentence": "No change. 975 tok/s per decode instance is within ±10 % of 1,000.",
        "steps": [
            {
                "name": "policy",
                "before": {"prefill": 2, "decode": 4},
                "after": {"prefill": 2, "decode": 4},
                "code": "WITHIN_TOLERANCE",
                "detail": "3,900 tok/s over 4 × 1,000 is 0.975.",
            }
        ],
        "inputs": [
            {
                "name": "decode_tps",
                "role": "decode",
                "value": 3900.0,
                "unit": "tok/s",
                "age_s": 3.0,
                "reporting": 4,
                "expected": 4,
                "quality": "ok",
            }
        ],
    } | fields
    decision = Decision.objects.create(service=service, **given)
    ServiceStatus.objects.filter(service=service).update(
        decision=decision, decision_seq=decision.seq
    )
    return decision


def make_proposal(service: Service, **fields: Any) -> Proposal:
    """Return a pending proposal of decode 4 → 6, prefill 2 → 3."""
    given = {
        "decision": fields.pop("decision", None)
        or make_decision(
            service,
            move="propose",
            gate="propose",
            code="AWAITING_APPROVAL",
            final_prefill=3,
            final_decode=6,
            sentence="Proposes decode 4 → 6, prefill 2 → 3. Decode throughput is over target.",
        ),
        "from_prefill": 2,
        "from_decode": 4,
        "to_prefill": 3,
        "to_decode": 6,
        "sentence": "Proposes decode 4 → 6, prefill 2 → 3. Decode throughput is over target.",
        "resource_version": "1",
        "policy_revision": 1,
        "fingerprint": "0" * 64,
        "created_at": NOW,
        "evidence_at": NOW,
        "expires_at": NOW + timedelta(minutes=10),
    } | fields
    return Proposal.objects.create(service=service, **given)


def make_suggestion(service: Service, **fields: Any) -> PolicySuggestion:
    """Return an open suggestion of ratio 0.5 → 0.62, target 1,000 → 1,200, fresh by the clock."""
    now = timezone.now()
    given = {
        "state": "open",
        "revision": 1,
        "driver": "decode_tps",
        "from_pd_ratio": 0.5,
        "from_target": 1000.0,
        "pd_ratio": 0.62,
        "target": 1200.0,
        "sentence": "20.0 requests a second take 3.1 prefill and 5.0 decode instances.",
        "evidence": {"mix": None, "rps": 20.0, "needs": {"prefill": 3.1, "decode": 5.0}},
        "first_seen_at": now - timedelta(minutes=15),
        "confirmed_at": now - timedelta(minutes=3),
        "opened_at": now - timedelta(minutes=5),
        "expires_at": now + timedelta(hours=23, minutes=55),
    } | fields
    return PolicySuggestion.objects.create(service=service, **given)


def observe(service: Service, *instances: dict[str, str], at: datetime | None = None) -> None:
    """Let the cluster report instances, by default just now."""
    ServiceStatus.objects.filter(service=service).update(
        observed_at=at or timezone.now(), instances=list(instances)
    )


def an_instance(name: str, node: str, **fields: str) -> dict[str, str]:
    """Return an instance as a status keeps it: ready, and decode unless its name has a "p"."""
    role = "prefill" if "-p" in name else "decode"
    return {
        "name": name,
        "role": role,
        "group": "chat-g1",
        "node": node,
        "state": "ready",
    } | fields


def a_placement(**fields: Any) -> dict[str, Any]:
    """Return a plan as an action keeps it: 1 prefill and 2 decode on two nodes join chat-g1."""
    place = {
        "group": "chat-g1",
        "is_new_group": False,
        "cluster": "eu-1-a",
        "hardware": "h800",
        "level": "s1",
        "domain": "s1-01",
    }
    return {
        "inventory_version": 7,
        "touched": "0" * 64,
        "places": [
            place | {"instance": "chat-p-9", "role": "prefill", "nodes": {"h800-000": 2}},
            place | {"instance": "chat-d-8", "role": "decode", "nodes": {"h800-000": 2}},
            place | {"instance": "chat-d-9", "role": "decode", "nodes": {"h800-001": 2}},
        ],
        "removals": [],
        "unplaced": None,
        "candidates": [
            {
                "level": "s1",
                "domain": "s1-01",
                "units": 3,
                "scarcity": 0,
                "left_over": 2.0,
                "group": "chat-g1",
                "lost": "",
            },
            {
                "level": "s1",
                "domain": "s1-02",
                "units": 5,
                "scarcity": 2,
                "left_over": 6.0,
                "group": "",
                "lost": "more scarce",
            },
        ],
    } | fields


def make_action(service: Service, **fields: Any) -> Action:
    """Return an action of decode 4 → 6, prefill 2 → 3, recorded and not sent."""
    given = {
        "id": uuid.uuid4(),
        "actor": "policy revision 1",
        "epoch": 1,
        "reason": "Decode throughput is over target.",
        "from_prefill": 2,
        "from_decode": 4,
        "to_prefill": 3,
        "to_decode": 6,
        "resource_version": "1",
        "recorded_at": NOW,
    } | fields
    return Action.objects.create(service=service, **given)


def make_outside(service: Service, **fields: Any) -> OutsideChange:
    """Return decode 5 → 4 of prefill 2, as somebody else wrote it and nobody answered."""
    given = {
        "seen_at": timezone.now() - timedelta(minutes=2),
        "from_prefill": 2,
        "from_decode": 5,
        "to_prefill": 2,
        "to_decode": 4,
        "resource_version": "1",
    } | fields
    return OutsideChange.objects.create(service=service, **given)


def make_samples(
    service: Service, *, until: datetime = NOW, count: int = 40, step_s: float = 15.0
) -> list[Sample]:
    """Return samples on a slow wave, the newest at ``until``."""
    rows = []
    for i in range(count):
        wave = math.sin(i / 6.0)
        rows.append(
            Sample(
                service=service,
                at=until - timedelta(seconds=step_s * (count - 1 - i)),
                prefill_desired=2,
                prefill_ready=2,
                prefill_starting=0,
                prefill_draining=0,
                decode_desired=4,
                decode_ready=4,
                decode_starting=0,
                decode_draining=0,
                prefill_reporting=2,
                prefill_expected=2,
                decode_reporting=4,
                decode_expected=4,
                decode_tps=4000 + 800 * wave,
                prefill_tps=20_000.0,
                prefill_tps_uncached=15_000.0,
                ttft_s=0.5 + 0.2 * wave,
                tbt_s=0.03,
                prefill_util=0.6,
                decode_util=0.98,
                prefill_sm=0.5,
                decode_sm=0.4,
                request_rps=18.0,
                prefill_waiting=0.0,
                decode_waiting=0.0,
                ttft_p50_s=0.3,
                ttft_p99_s=0.9,
                tbt_p50_s=0.025,
                tbt_p99_s=0.04,
            )
        )
    return Sample.objects.bulk_create(rows)


def make_pools(cluster: Cluster, hardware: HardwareType, *, at: datetime = NOW) -> PoolSample:
    """Return one pool of 32 GPUs."""
    return PoolSample.objects.create(
        cluster=cluster,
        hardware=hardware,
        at=at,
        total=32,
        busy=10,
        held_idle=4,
        free=10,
        reserved=0,
        maintenance=8,
        unhealthy=0,
        unknown=0,
        largest_free=8,
    )
