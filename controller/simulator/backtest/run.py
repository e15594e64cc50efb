"""Play a question: every contestant on the same load, tick by tick on a virtual clock."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from controller.core import cycle
from controller.core.cycle import Look
from controller.core.memory import Memory, remember
from controller.core.ports import Pool, ScaleOrder, View
from controller.core.registration import in_step
from controller.core.types import Decision, Gate, Hold, Observation, ServiceSpec
from controller.simulator.backtest.answer import Answer
from controller.simulator.backtest.contestants import Contestant
from controller.simulator.backtest.plan import Plan, plan
from controller.simulator.backtest.question import Question, QuestionError
from controller.simulator.backtest.record import Change, Record
from controller.simulator.backtest.score import concluded
from controller.simulator.engines import Engines
from controller.simulator.ports import SimulatedCluster
from controller.simulator.references.port import Seen
from controller.simulator.world import Setup, World

WINDOW_S: Final = 60.0
MAX_AGE_S: Final = 45.0
"""As the live loop has them by default."""


def run(
    question: Question, *, clock: Callable[[], float], progress: Callable[[float], None]
) -> Answer:
    """Return what became of each candidate.

    ``clock`` gives seconds of computing time, for ``wall_s``; ``progress`` is told the share that
    is done after every tick, and what it raises ends the run. Raises
    :class:`QuestionError` for a question that can't be played.
    """
    begun_s = clock()
    drive = _Drive(plan(question))
    for tick in range(drive.record.ticks):
        drive.tick(tick, clock)
        progress(tick / drive.record.ticks)
    return concluded(drive.plan, drive.world, drive.record, wall_s=clock() - begun_s)


def start_of(question: Question) -> float:
    """Return the time at which a run begins [s since the epoch], on a tick.

    Only windows of a schedule look at the clock; without any, time is counted from 0.
    """
    if not any(candidate.document for candidate in question.candidates):
        return 0.0
    tick_s = question.tick_s
    return tick_s * ((question.begins_s + question.start_s) // tick_s)


class _Source:
    """The metrics port: what the engines report, and what is free in each contestant's cluster."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pools: dict[tuple[str, str], Pool] = {}

    def observe(self, services: Sequence[ServiceSpec], *, now_s: float) -> View:
        """Advance the engines to ``now_s`` and read them."""
        self._world.advance(now_s)
        keys = [spec.key for spec in services]
        windows = self._world.windows(keys, now_s, WINDOW_S)
        # Nobody here asks which instances there are, and there are thousands.
        observations = {
            key: Observation(window, self._world.state(key))
            for key, window in zip(keys, windows, strict=True)
        }
        places = {(spec.cluster, kind) for spec in services for kind in spec.hardware.values()}
        return View(observations, [self._pool(place) for place in sorted(places)], {})

    def _pool(self, place: tuple[str, str]) -> Pool:
        """Return a pool of which only what is free matters; the same one while that stays."""
        free = self._world.free_gpus(*place)
        known = self._pools.get(place)
        if known is None or known.free != free:
            known = Pool(*place, free, 0, 0, free, 0, 0, 0, 0, free)
            self._pools[place] = known
        return known


class _Drive:
    """The world, who takes part, and what is remembered of ours."""

    def __init__(self, planned: Plan) -> None:
        asked = planned.question
        self.plan = planned
        self.start_s = start_of(asked)
        self.world = World(
            planned.services(),
            planned.nodes(),
            start_s=self.start_s,
            seed=asked.seed,
            setup=Setup(fidelity=planned.fidelity.wanted, load_from_s=asked.start_s),
        )
        goals = asked.slo.ttft_s, asked.slo.tbt_s
        self.world.judge({contestant.key: goals for contestant in planned.contestants})
        ticks = max(int(asked.span_s // asked.tick_s), 1)
        self.record = Record(ticks, len(planned.contestants))
        self._specs = [contestant.spec for contestant in planned.contestants]
        self._ours = [c.spec for c in planned.contestants if c.reference is None]
        self._rows = {c.key: row for row, c in enumerate(planned.contestants)}
        self._memory = {spec.key: Memory() for spec in self._ours}
        self._source = _Source(self.world)
        self._engines = Engines(self.world)
        self._cluster = SimulatedCluster(self._lend)

    @contextmanager
    def _lend(self, now_s: float) -> Iterator[Engines]:
        del now_s
        yield self._engines

    def tick(self, tick: int, clock: Callable[[], float]) -> None:
        """Look, decide and act once for every contestant."""
        now_s = self.start_s + (tick + 1) * self.plan.question.tick_s
        seen = cycle.look(self._specs, self._source, now_s=now_s, max_age_s=MAX_AGE_S)
        self._decide_ours(tick, seen, clock)
        for contestant in self.plan.contestants:
            if contestant.reference is not None:
                self._ask(contestant, tick, seen, clock)
        self.record.take(tick, self.world)

    def _decide_ours(self, tick: int, seen: Look, clock: Callable[[], float]) -> None:
        """Run the decision code as it runs live, and carry out what it would carry out."""
        if not self._ours:
            return
        begun_s = clock()
        outcome = cycle.decide_all(
            self._ours, seen, recall=self._memory.__getitem__, hold_of=_nothing_held
        )
        for key, failure in outcome.failures.items():
            # A policy that fails holds still, and would be praised for it.
            raise QuestionError("decision_failed", f"{key}: {failure}", "policy")
        for decision in outcome.decisions:
            acted = decision.gate is Gate.ACT
            if acted:
                self._act(decision, tick, seen)
            spec = self._specs[self._rows[decision.service]]
            self._memory[decision.service] = remember(
                self._memory[decision.service],
                decision,
                slo=spec.slo,
                keep_s=spec.policy.stabilisation_s,
                acted=acted,
            )
        share_s = (clock() - begun_s) / len(self._ours)
        for spec in self._ours:
            self.record.decided_s[self._rows[spec.key]] += share_s

    def _ask(
        self, contestant: Contestant, tick: int, seen: Look, clock: Callable[[], float]
    ) -> None:
        begun_s, key = clock(), contestant.key
        state = seen.view.observations[key].state
        if contestant.reference is None or state is None:
            return
        want = contestant.reference.want(Seen(seen.now_s - self.start_s, seen.signals[key], state))
        if want != state.desired:
            self._scale(
                ScaleOrder(f"{key} {tick}", key, 1, want, state.resource_version), tick, seen
            )
        self.record.decided_s[self._rows[key]] += clock() - begun_s

    def _act(self, decision: Decision, tick: int, seen: Look) -> None:
        """Send what a decision becomes, with the rule of registration that goes with it live."""
        key = decision.service
        state = seen.view.observations[key].state
        if state is None:
            return
        rule = in_step(decision, state.ready, self._specs[self._rows[key]])
        order = ScaleOrder(
            f"{key} {tick}", key, 1, decision.final, state.resource_version, in_step=rule
        )
        self._scale(order, tick, seen)

    def _scale(self, order: ScaleOrder, tick: int, seen: Look) -> None:
        before, _ = self.world.desired(order.service)
        self._cluster.apply(order, now_s=seen.now_s)
        self.record.changes[self._rows[order.service]].append(Change(tick, before, order.want))


def _nothing_held(_service: str) -> Hold | None:
    return None
