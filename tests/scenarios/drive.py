"""The live loop over simulated engines on a virtual clock, without rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from controller.core import cycle
from controller.core.budgets import Allowance, FleetRules, removed_between
from controller.core.memory import Memory, remember
from controller.core.ports import ScaleOrder
from controller.core.registration import in_step
from controller.core.types import Decision, Gate, Hold, Mode, ServiceSpec
from controller.simulator.demo import DEMO_NODES, DemoService
from controller.simulator.engines import Engines
from controller.simulator.ports import SimulatedCluster, SimulatorSource
from controller.simulator.workload import Workload
from controller.simulator.world import World

BEGIN_S = 1_700_000_000.0
TICK_S = 15.0


def spec_of(service: DemoService) -> ServiceSpec:
    """Return a demonstration service as the loop knows it."""
    return ServiceSpec(
        key=service.slug,
        cluster=service.cluster,
        mode=service.mode,
        slo=service.slo,
        limits=service.limits,
        policy=service.policy,
        gpus_per_instance=service.gpus_per_instance,
        hardware=service.hardware,
        priority=service.priority,
    )


@dataclass
class Drive:
    """Engines, their controller, and everything it decided."""

    services: Sequence[DemoService]
    specs: dict[str, ServiceSpec]
    engines: Engines
    now_s: float = BEGIN_S
    memory: dict[str, Memory] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    on_tick: Callable[["Drive"], None] | None = None
    rules: FleetRules | None = None
    removed: list[tuple[float, int]] = field(default_factory=list)

    @classmethod
    def of(
        cls, services: Sequence[DemoService], *, load: Workload | None = None, seed: int = 1
    ) -> "Drive":
        """Return a drive of these services; ``load`` replaces what they generate themselves."""
        world = World(
            [service.model(load) for service in services],
            [node.spec() for node in DEMO_NODES],
            start_s=BEGIN_S,
            seed=seed,
        )
        specs = {service.slug: spec_of(service) for service in services}
        return cls(services, specs, Engines(world))

    def recall(self, service: str) -> Memory:
        """Return what is remembered of a service."""
        return self.memory.get(service, Memory())

    @contextmanager
    def lend(self, now_s: float) -> Iterator[Engines]:
        """Lend the engines as they are then."""
        self.engines.world.advance(now_s)
        yield self.engines

    def allowance(self) -> Allowance | None:
        """Return what the fleet may give up and hold now; ``None`` without rules."""
        if self.rules is None:
            return None
        since_s = self.now_s - self.rules.window_s
        return Allowance(self.rules, sum(gpus for at_s, gpus in self.removed if at_s > since_s))

    def run(self, seconds: float, hold: Hold | None = None) -> "Drive":
        """Tick for so long; changes are carried out at once, in every mode but observe.

        What the fleet's budget made a proposal waits for a person who doesn't come.
        """
        until_s = self.now_s + seconds
        source = SimulatorSource(self.lend, window_s=60.0)
        cluster = SimulatedCluster(self.lend)
        while self.now_s < until_s:
            self.now_s += TICK_S
            specs = list(self.specs.values())
            seen = cycle.look(specs, source, now_s=self.now_s, max_age_s=45.0)
            outcome = cycle.decide_all(
                specs,
                seen,
                recall=self.recall,
                hold_of=lambda _: hold,
                allowance=self.allowance(),
            )
            for decision in outcome.decisions:
                self._carry_out(decision, cluster)
            self.decisions += outcome.decisions
            if self.on_tick is not None:
                self.on_tick(self)
        return self

    def _carry_out(self, decision: Decision, cluster: SimulatedCluster) -> None:
        spec, key = self.specs[decision.service], decision.service
        by_itself = decision.gate is Gate.ACT
        acted = by_itself or (decision.gate is Gate.PROPOSE and spec.mode is Mode.APPROVE)
        if by_itself:
            gpus = removed_between(decision.current, decision.final, spec.gpus_per_instance)
            self.removed.append((self.now_s, gpus))
        if acted:
            seen = cluster.read(key, now_s=self.now_s)
            rule = in_step(decision, seen.ready, spec)
            order = ScaleOrder(
                f"{key} {self.now_s}", key, 1, decision.final, seen.resource_version, in_step=rule
            )
            cluster.apply(order, now_s=self.now_s)
        self.memory[key] = remember(
            self.recall(key), decision, slo=spec.slo, keep_s=3600.0, acted=acted
        )

    def of_service(self, key: str) -> list[Decision]:
        """Return the decisions of one service."""
        return [decision for decision in self.decisions if decision.service == key]
