"""What a simulated world is made of: services, nodes and the faults that can be put into it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from controller.core.types import Instances, Role
from controller.simulator.profiles import Profile
from controller.simulator.workload import Workload

NodeState = Literal["ok", "maintenance", "unhealthy", "unknown", "reserved"]


class Fault(StrEnum):
    """What can be wrong with the figures of a service.

    ``MISSING``: samples without values. ``STALE``: no new samples. ``PARTIAL``: a third of the
    instances is silent. ``RESET``: counters started again, so the next sample's rates come out
    negative; it passes by itself.
    """

    NONE = "none"
    MISSING = "missing"
    STALE = "stale"
    PARTIAL = "partial"
    RESET = "reset"


@dataclass(frozen=True, slots=True)
class Transfer:
    """How the KV cache travels from prefill to decode.

    ``setup_s`` is per transfer; ``bandwidth_frac`` the share of the network cards' line rate that
    arrives (146-171 of 200 GB/s measured per node); ``overlap_frac`` the share hidden behind the
    prefill itself. ``copies`` is how often each byte is sent: above 1 where more GPUs share an
    engine than the model has KV heads (4 KV heads on 8 GPUs: 2).
    """

    setup_s: float = 0.001
    bandwidth_frac: float = 0.8
    overlap_frac: float = 0.5
    copies: float = 1.0


@dataclass(frozen=True, slots=True)
class Fabric:
    """The network between nodes: what a transfer has of its line rate, and how thin uplinks are.

    The shares are of bandwidth, within one S2 and across; within one S1 it is 1. An
    oversubscription is the line rates of the network cards below a switch over its uplinks. At
    1, the default, uplinks carry all that the cards can send, and only the cards are shared.
    """

    same_s2_frac: float = 0.95
    across_s2_frac: float = 0.8
    across_clusters_frac: float = 0.3
    s1_oversubscription: float = 1.0
    s2_oversubscription: float = 1.0


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """One P/D service: what it runs, on what, for whom, and how its instances start.

    Start-up is log-normal with median ``start_median_s``; ``start_failure_frac`` of the attempts
    fail at the end of it. Within ``soft_s`` of leaving, an instance that drains can return
    without a start; at 0, the default, none does. Services of one ``stream`` have the same luck:
    the requests of one workload, starts and noise of measuring are the very same for them;
    without one each service draws its own.
    """

    key: str
    cluster: str
    prefill: Profile
    decode: Profile
    workload: Workload
    initial: Instances
    start_median_s: float = 60.0
    start_sigma: float = 0.25
    start_failure_frac: float = 0.01
    soft_s: float = 0.0
    transfer: Transfer = Transfer()
    seed: int = 0
    stream: str = ""

    @property
    def drawn_by(self) -> str:
        """What tells its draws from those of other services."""
        return self.stream or self.key

    def profile(self, role: Role) -> Profile:
        """Return the engine of one role."""
        return self.prefill if role is Role.PREFILL else self.decode


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One machine: where it hangs, what it holds, whether new instances may use it."""

    name: str
    cluster: str
    hardware: str
    s1: str
    s2: str
    gpus: int
    usable: bool = True
    state: NodeState = "ok"
