"""The simulated world: services under load, on nodes, scaled and observed like real ones."""

import io
import json
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil, floor
from typing import Final, Literal

import numpy as np

from controller.core.ports import Pool
from controller.core.types import (
    Floats,
    Instances,
    Observation,
    Role,
    ServiceState,
    Window,
)
from controller.simulator.arrivals import (
    BLOCK,
    FIELDS,
    INPUT,
    OUTPUT,
    REQUESTS,
    UNCACHED,
    Block,
    Feed,
    LoadClock,
    slowest_prefill_s,
)
from controller.simulator.decode import DRAINING, FluidDecode, StepTimes
from controller.simulator.exact_service import ExactService
from controller.simulator.exported import Engine, Exported, exported
from controller.simulator.fleet import Fleet
from controller.simulator.instances import FREELY, Terms
from controller.simulator.links import NON_BLOCKING, Links, line_bytes_s, sent_bytes_per_token
from controller.simulator.meters import Meters
from controller.simulator.model import Fabric, Fault, NodeSpec, ServiceModel
from controller.simulator.pools import Holding, holdings
from controller.simulator.prefill import ExactPrefill, FluidPrefill
from controller.simulator.sampling import Now, Record, Sample, Sampler, damaged, window
from controller.simulator.stored import (
    Header,
    ServiceStamp,
    samples_as_arrays,
    samples_from_arrays,
    unpacked,
)

__all__ = ["Fault", "NodeSpec", "ServiceModel", "Setup", "World"]

Fidelity = Literal["fluid", "exact prefill", "exact"]
Wanted = Literal["auto", "exact", "fluid"]

EXACT_ABOVE_S: Final = 0.5
"""Half a bin: with slower prompts (99th percentile) the fluid overestimates waiting."""

SAMPLE_S: Final = 15
"""Samples are taken at whole multiples of this product time."""

SAMPLES_KEPT: Final = 12
IDLE_BATCH: Final = 0.01
"""A smaller mean batch leaves nothing to finish."""

LONGEST_DRAIN_S: Final = 600.0
"""Cap on the time a draining decode instance may take to finish its sequences."""


@dataclass(frozen=True, slots=True)
class Setup:
    """How a world is simulated: fidelity, network, and the load time at which it begins [s].

    A metered one also counts what each instance would export.
    """

    fidelity: Wanted = "auto"
    fabric: Fabric = NON_BLOCKING
    load_from_s: float = 0.0
    metered: bool = False


_USUAL: Final = Setup()


class World:
    """Advances in 1 s bins; every service is a column of the same arrays.

    Inside, time is *running time*: seconds simulated since the start. Product time is running
    time plus an offset that :meth:`skip` moves, and load time runs ``speed`` times as fast.
    """

    def __init__(  # noqa: PLR0913 - what a world is, where it is in time, and its luck
        self,
        services: Sequence[ServiceModel],
        nodes: Sequence[NodeSpec],
        *,
        start_s: float,
        seed: int,
        speed: float = 1.0,
        setup: Setup = _USUAL,
    ) -> None:
        """Start at ``start_s`` [s since the epoch] with the initial instances ready."""
        self._setup = setup
        self._services = {service.key: service for service in services}
        self._row = {service.key: row for row, service in enumerate(services)}
        self._seed = seed
        self.speed = speed
        self._run_s = 0
        self._offset_s = float(floor(start_s))
        self._clocks = [LoadClock(setup.load_from_s, 0.0, speed) for _ in services]
        self._make_engines()
        self._states: dict[str, ServiceState] = {}
        self._holdings: list[Holding] = []
        self._fleet = Fleet(nodes, seed)
        for service in services:
            self._fleet.add(service, 0.0)
        self._links = Links.of(self._fleet, services, setup.fabric)
        self._moved = False
        self._count_instances(self._row)

    def _make_engines(self) -> None:
        services = list(self._services.values())
        rows = len(services)
        self._slowest_s = [slowest_prefill_s(service) for service in services]
        self._whole = {
            row: ExactService(service.prefill, service.decode)
            for row, service in enumerate(services)
            if self._setup.fidelity == "exact"
        }
        self._exact = {row: whole.prefill for row, whole in self._whole.items()} or {
            row: ExactPrefill(service.prefill.a)
            for row, service in enumerate(services)
            if self._setup.fidelity == "auto" and self._slowest_s[row] > EXACT_ABOVE_S
        }
        self._fluid = np.array([float(row not in self._exact) for row in range(rows)])
        self._flows = np.array([float(row not in self._whole) for row in range(rows)])
        self._feeds = self._shared_feeds(services)
        times = StepTimes([service.decode for service in services])
        self._prefill = FluidPrefill(np.array([s.prefill.a for s in services]), rows)
        self._decode = FluidDecode(times, rows)
        self._sampler = Sampler(services, times, self._seed)
        self._record = Record(SAMPLE_S, rows)
        self._meters = Meters(rows) if self._setup.metered else None
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_KEPT)
        self._faults: dict[int, Fault] = {}
        self._load = np.zeros((BLOCK, FIELDS, rows))
        self._known = np.ones((BLOCK, rows))
        self._block = -1
        self._gather_transfers(services)
        self._count_from_nothing(rows)

    def _shared_feeds(self, services: Sequence[ServiceModel]) -> list[Feed]:
        """Return the feed of each row; rows with the same stream of requests share one."""
        made: dict[tuple[object, ...], Feed] = {}
        feeds = []
        for row, service in enumerate(services):
            single = row in self._exact
            same = service.stream, id(service.workload), service.prefill, service.seed, single
            key = same if service.stream else (service.key,)
            if key not in made:
                made[key] = Feed(service, self._seed, single=single)
            feeds.append(made[key])
        return feeds

    def _gather_transfers(self, services: Sequence[ServiceModel]) -> None:
        self._sent_bytes = np.array([sent_bytes_per_token(service) for service in services])
        self._setup_s = [service.transfer.setup_s for service in services]
        open_frac = np.array([1 - service.transfer.overlap_frac for service in services])
        lines = np.array([line_bytes_s(service) for service in services])
        self._free_per_token_s = open_frac * self._sent_bytes / lines
        self._per_token_s = self._free_per_token_s.copy()

    def _count_from_nothing(self, rows: int) -> None:
        self._sampled = 0
        self._ready = np.zeros((2, rows))
        self.wished = np.zeros((2, rows))
        self._serving = np.zeros((2, rows))
        self._leaving = np.zeros(rows)
        self._in_flight_s = np.zeros(rows)
        self._tokens_before = np.zeros(rows)
        self.gpus = np.zeros(rows)
        self.gpu_s = np.zeros(rows)
        self.asked = np.zeros((4, rows))
        self.made = np.zeros(rows)

    @property
    def now_s(self) -> float:
        """Product time the world has reached, a whole second [s since the epoch]."""
        return self._run_s + self._offset_s

    @property
    def keys(self) -> frozenset[str]:
        """The services there are."""
        return frozenset(self._services)

    def fidelity(self, key: str) -> Fidelity:
        """How a service is simulated.

        By itself prefill is exact when the 99th percentile of a prompt takes over
        ``EXACT_ABOVE_S``, and decode fluid.
        """
        if self._row[key] in self._whole:
            return "exact"
        return "exact prefill" if self._row[key] in self._exact else "fluid"

    def advance(self, to_s: float) -> None:
        """Simulate up to the last whole second not after ``to_s``."""
        end = self._run_s + max(floor(to_s - self.now_s), 0)
        while self._run_s < end:
            self._load_block(self._run_s)
            counts, released = self._foresee(min(end, self._next_stop()))
            until = self._run_s + len(counts)
            self._run_exact(until)
            self._stretch(until, counts)
            for row in released:
                self._decode.release(row)
            if self.now_s % SAMPLE_S == 0:
                self._sample()

    def _run_exact(self, until: int) -> None:
        for row, queue in self._exact.items():
            if row in self._whole:
                self._whole[row].run(until, partial(self._transfer_s, row))
            else:
                queue.run(until)

    def _transfer_s(self, row: int, tokens: Floats) -> Floats:
        taken: Floats = self._setup_s[row] + self._per_token_s[row] * tokens
        return taken

    def _next_stop(self) -> int:
        """Return the running time up to which nothing is sampled and the load is at hand."""
        to_sample = SAMPLE_S - int(self.now_s) % SAMPLE_S
        to_block = BLOCK - self._run_s % BLOCK
        return self._run_s + min(to_sample, to_block)

    def _foresee(self, until: int) -> tuple[Floats, list[int]]:
        """Let instances come and go up to ``until``; return who serves in each bin till then.

        Instances start and leave at times known beforehand, so the bins need no stop for them:
        the counts, shape ``(T, 4, n)``, are ready prefill, ready and draining decode, and
        draining prefill instances.
        The stretch ends early where the last draining instance of a service leaves: then its row
        is returned, for what it didn't finish to be put back. Exact services do stop, and so do
        all while somebody moves: how long that one drains depends on what it holds by then.
        """
        begin = at = self._run_s
        counts = np.empty((until - begin, 4, len(self._row)))
        released: list[int] = []
        while at < until:
            if at >= self._fleet.next_event_s:
                if (self._exact or self._fleet.moves) and at > begin:
                    break
                released = self._end_phases(at)
                if released and at > begin:
                    break
                for row in released:
                    self._decode.release(row)
                released = []
            event_s = self._fleet.next_event_s
            then = until if event_s >= until else max(ceil(event_s), at + 1)
            counts[at - begin : then - begin, :1] = self._ready[:1]
            counts[at - begin : then - begin, 1:3] = self._serving
            counts[at - begin : then - begin, 3] = self._leaving
            self.gpu_s += self.gpus * (then - at)
            at = then
        return counts[: at - begin], released

    def skip(self, to_s: float) -> None:
        """Let product time pass while engines, load and actuation rest.

        Samples are due at round product times, so the next one may now be further away than a
        sample is long: what was gathered for it before the rest is dropped.
        """
        rested_s = max(floor(to_s) - self.now_s, 0.0)
        if rested_s > 0.0:
            self._offset_s += rested_s
            self._fleet.rest(rested_s, self._run_s)
            self._record.count = 0
            if self._meters:
                # Whoever asked meanwhile has seen counts that now never were.
                self._meters.restart()

    def _stretch(self, until: int, counts: Floats) -> None:
        """Advance bins of one block, none of which is sampled."""
        begin = self._run_s
        load = self._load[begin % BLOCK : begin % BLOCK + until - begin]
        prefilled = self._prefill.run(load * self._fluid, counts[:, 0])
        flow = prefilled.flow
        for row, queue in self._exact.items():
            flow[:, :, row] = [queue.leave(bin_s) for bin_s in range(begin, until)]
        # Sequences, tokens to come, context: the first token counts as one of the output.
        joining = flow[:, [REQUESTS, OUTPUT, INPUT]] * self._flows
        decoded = self._decode.run(joining, counts[:, 1:3])
        for row, whole in self._whole.items():
            for figure, values in whole.bins(until - begin).items():
                getattr(decoded, figure)[:, row] = values
        self.asked = _added(self.asked, load[:, :4])
        self.made = _added(self.made, decoded.made)
        if self._meters:
            done = {
                Role.PREFILL: flow[:, [REQUESTS, INPUT, UNCACHED]],
                Role.DECODE: np.stack((flow[:, INPUT], decoded.made), axis=1),
            }
            sharing = np.stack((counts[:, 0] + counts[:, 3], counts[:, 1] + counts[:, 2]), axis=1)
            self._meters.run(begin, done, sharing)
        self._record.add(
            (
                load[:, REQUESTS],
                prefilled.wait_s,
                flow[:, INPUT],
                flow[:, UNCACHED],
                prefilled.busy,
                decoded.made,
                decoded.step_s,
                decoded.batch,
                decoded.context,
                decoded.limit,
                decoded.queued,
                decoded.admitted,
                self._known[begin % BLOCK : begin % BLOCK + until - begin],
            )
        )
        self._run_s = until

    def _load_block(self, run_s: int) -> None:
        """Have the arrivals of the block around ``run_s`` at hand."""
        block = run_s // BLOCK
        if block == self._block:
            return
        blocks: dict[tuple[int, LoadClock], Block] = {}
        spread = np.empty(len(self._row))
        for row, feed in enumerate(self._feeds):
            key = id(feed), self._clocks[row]
            if key not in blocks:
                blocks[key] = feed.block(block * BLOCK, self._clocks[row])
            made = blocks[key]
            self._load[:, :, row] = made.fields.T
            self._known[:, row] = made.known
            spread[row] = np.mean(made.shape.output**2)
            self._sampler.expect(row, made.shape)
            if row in self._exact and made.single is not None:
                self._exact[row].offer(made.single, run_s)
        self._decode.expect(spread)
        self._block = block

    def _end_phases(self, run_s: int) -> list[int]:
        """Let phases end that are due; return the rows whose last draining instance left."""
        changed = self._fleet.advance(self._services, run_s, self._time_to_drain_s)
        draining = self._serving[DRAINING] + self._hand_over(run_s)
        self._count_instances(changed)
        for row, whole in self._whole.items():
            if self._serving[DRAINING, row] < draining[row]:
                whole.decode.release(run_s, int(self._serving[DRAINING, row]))
        gone = (draining > 0) & (self._serving[DRAINING] == 0) & (self._flows > 0)
        return [int(row) for row in np.flatnonzero(gone)]

    def _hand_over(self, run_s: int) -> Floats:
        """Let decode instances of which the successors came up drain, shape ``(n,)``."""
        left = np.zeros(len(self._row))
        for (key, role), number in self._fleet.handed_over.items():
            if role is Role.DECODE:
                row, ready = self._row[key], self._states[key].decode.ready
                left[row] = number
                self._decode.drain(row, number / ready)
                if row in self._whole:
                    self._whole[row].decode.resize(ready - number, run_s)
        return left

    def _count_instances(self, keys: Iterable[str]) -> None:
        for key in keys:
            row = self._row[key]
            states = [self._fleet.state(key, role) for role in Role]
            version = str(self._fleet.versions[key])
            self._states[key] = ServiceState(states[0], states[1], version)
            self._holdings = []
            self._ready[:, row] = [state.ready for state in states]
            self.wished[:, row] = self._fleet.desired[key]
            self._serving[:, row] = states[1].ready, states[1].draining
            self._leaving[row] = states[0].draining
            if self._meters:
                self._meters.note(row, self._fleet.instances[key])
            self.gpus[row] = self._fleet.held_gpus(key)
            if row in self._whole:
                self._whole[row].resize(self._states[key].ready, self._run_s)
            elif row in self._exact:
                self._exact[row].resize(states[0].ready, self._run_s)
        self._moved = True

    def _sample(self) -> None:
        run_s = self._run_s
        busy = {row: self._measured_busy(row) for row in self._exact}
        waiting = self._prefill.waiting[REQUESTS].copy()
        for row, queue in self._exact.items():
            waiting[row] = queue.waiting(run_s)
        load = self._load[(run_s - 1) % BLOCK]
        sent_bytes_s = self._record.of("prefilled").mean(axis=0) * self._sent_bytes
        if self._moved:
            self._links = self._links.moved(self._fleet)
            self._moved = False
        self._per_token_s = self._free_per_token_s * self._links.delay_factor(sent_bytes_s)
        now = Now(
            at_s=self.now_s,
            index=self._sampled,
            ready=self._ready,
            young=self._young(),
            stationary_s=self._prefill.stationary_s(load, self._ready[0]),
            per_token_s=self._per_token_s,
            waiting=waiting,
            tokens=self.asked[OUTPUT] - self._tokens_before,
            ttft_s={
                row: queue.ttft_s() for row, queue in self._exact.items() if row not in self._whole
            },
            busy=busy,
            measured={row: whole.measured() for row, whole in self._whole.items()},
        )
        self._tokens_before = self.asked[OUTPUT].copy()
        sample = self._sampler.take(self._record, now)
        if self._meters:
            sharing = np.stack((self._ready[0] + self._leaving, self._serving.sum(axis=0)))
            self._meters.sample(self._sampler.latencies, self._decode.inside()[0], sharing)
        self._samples.append(damaged(sample, self._faults))
        self._faults = {r: f for r, f in self._faults.items() if f is not Fault.RESET}
        self._sampled += 1
        self._record.count = 0

    def _young(self) -> Floats:
        """Return the instances that became ready within the last sample, shape ``(2, n)``."""
        since_s = self._run_s - SAMPLE_S
        if self._fleet.newest_s <= since_s:
            return np.zeros_like(self._ready)
        counts = [[self._fleet.young(key, role, since_s) for key in self._row] for role in Role]
        return np.array(counts, dtype=np.float64)

    def _measured_busy(self, row: int) -> float:
        """Return the share of time an exact queue's instances worked since the last sample."""
        queue = self._exact[row]
        ahead_s = queue.ahead_s(self._run_s)
        worked_s = queue.started_s + self._in_flight_s[row] - ahead_s
        queue.started_s = 0.0
        self._in_flight_s[row] = ahead_s
        share = max(worked_s, 0.0) / max(queue.instances * self._record.count, 1)
        return float(min(share, 1.0))

    def scale(self, key: str, want: Instances, terms: Terms = FREELY) -> None:
        """Ask for instances: new ones start, surplus ones drain. Raises ``KeyError``.

        Those that come up register as ``terms.in_step`` allows, in product time.
        """
        service, row = self._services[key], self._row[key]
        before = self._states[key].decode
        drain_s = {role: self._time_to_drain_s(key, role) for role in Role}
        rule = terms.in_step
        if rule is not None:
            rule = replace(rule, until_s=rule.until_s - self._offset_s)
            terms = replace(terms, in_step=rule)
        self._fleet.scale(service, want, self._run_s, drain_s, terms)
        more = self._fleet.state(key, Role.DECODE).ready - before.ready
        if row in self._whole and more > 0:
            # Before the counts: else an empty engine would come beside the one that returns.
            self._whole[row].decode.give_back(more, self._run_s)
        self._count_instances([key])
        if more < 0:
            self._decode.drain(row, -more / before.ready)
        elif more:
            self._decode.give_back(row, more / before.draining)

    def _time_to_drain_s(self, key: str, role: Role) -> float:
        """Return how long an instance that leaves now has to finish what it holds.

        For prefill the slowest prompt, for decode what is left of the longest running sequence
        (99th percentile), capped.
        """
        service, row = self._services[key], self._row[key]
        if role is Role.PREFILL:
            return self._slowest_s[row]
        if row in self._whole:
            left_s = self._whole[row].decode.longest_s(self._run_s)
            return min(max(left_s, 1.0), LONGEST_DRAIN_S)
        if self._decode.batch[row] < IDLE_BATCH:
            return 1.0
        held = self._decode.pool[:, 0, row]
        longest = held[1] / max(held[0], 1e-9) * service.workload.lengths.output[-2]
        return float(min(max(longest * self._decode.step_s[row], 1.0), LONGEST_DRAIN_S))

    def desired(self, key: str) -> tuple[Instances, int]:
        """Return the counts last asked for and the version that moves with them."""
        return self._fleet.desired[key], self._fleet.versions[key]

    def ready(self, key: str) -> Instances:
        """Return the instances that serve."""
        return self.state(key).ready

    def state(self, key: str) -> ServiceState:
        """Return both roles of a service as its cluster reports them."""
        return self._states[key]

    def inject(self, key: str, fault: Fault) -> None:
        """Break the figures of a service from the next sample on; ``Fault.NONE`` mends them."""
        self._faults.pop(self._row[key], None)
        if fault is not Fault.NONE:
            self._faults[self._row[key]] = fault
        if fault is Fault.RESET and self._meters:
            self._meters.restart(self._row[key])

    def observe(
        self, keys: Sequence[str], now_s: float, window_s: float
    ) -> Mapping[str, Observation]:
        """Return the samples of the last ``window_s`` and the present counts of each service.

        An instance counts as expected from its first full sample period on: before, its counters
        have no rate, and the totals lack its share. Raises ``KeyError`` for an unknown service.
        """
        return {
            key: Observation(found, self.state(key), self._fleet.refs(key))
            for key, found in zip(keys, self.windows(keys, now_s, window_s), strict=True)
        }

    def windows(self, keys: Sequence[str], now_s: float, window_s: float) -> list[Window]:
        """Return the samples of the last ``window_s`` of each service. Raises ``KeyError``."""
        rows = [self._row[key] for key in keys]
        return window(self._samples, rows, (now_s - window_s, now_s))

    def exported(self, key: str) -> list[Exported]:
        """Return what each instance of a service that has a node would export now.

        Only a metered world counts. Raises ``KeyError`` for an unknown service.
        """
        row, meters = self._row[key], self._meters or Meters(len(self._row))
        queue = self._exact.get(row)
        waiting = self._prefill.waiting[REQUESTS, row]
        engines = Engine(
            waiting={
                Role.PREFILL: float(queue.waiting(self._run_s) if queue else waiting),
                Role.DECODE: float(self._decode.queue[0, row]),
            },
            sequences=float(self._decode.pool[0, :, row].sum()),
            context=float(self._decode.pool[2, :, row].sum()),
            signals=self._samples[-1].values[row] if self._samples else None,
            fault=self._faults.get(row, Fault.NONE),
        )
        return exported(
            self._services[key],
            self._fleet.instances[key],
            lambda instance: meters.of(row, instance),
            engines,
        )

    def pools(self, now_s: float) -> list[Pool]:
        """Return the GPUs per cluster and hardware type at the newest state (see ``pools``)."""
        del now_s
        utilisation = {
            (key, role): float(self._sampler.utilisation[at, row])
            for key, row in self._row.items()
            for at, role in enumerate(Role)
        }
        self._holdings = self._holdings or holdings(self._fleet)
        return [holding.pool(utilisation) for holding in self._holdings]

    def free_gpus(self, cluster: str, hardware: str) -> int:
        """Return the GPUs new instances can have."""
        return self._fleet.room.get((cluster, hardware), 0)

    def held_gpus(self, key: str) -> int:
        """Return the GPUs the instances of a service hold, from allocation to release."""
        return self._fleet.held_gpus(key)

    def in_flight(self) -> Floats:
        """Return requests, and output tokens still to make, of every service, shape ``(2, n)``."""
        prefill = self._prefill.waiting.copy()
        for row, queue in self._exact.items():
            prefill[:, row] = queue.inside(self._run_s)
        decode = self._decode.inside()
        total = np.stack((prefill[REQUESTS] + decode[0], prefill[OUTPUT] + decode[1]))
        for row, whole in self._whole.items():
            total[:, row] = whole.in_flight(self._run_s)
        return total

    def judge(self, goals_s: Mapping[str, tuple[float, float]]) -> None:
        """Count from now on which requests keep the goals of (TTFT, TBT) by service [s]."""
        goals = np.full((2, len(self._row)), np.inf)
        for key, goal in goals_s.items():
            goals[:, self._row[key]] = goal
            if self._row[key] in self._whole:
                self._whole[self._row[key]].goals_s = goal
        self._sampler.judge(goals)

    @property
    def serving(self) -> Floats:
        """Instances that are ready, shape ``(2, n)``."""
        return self._ready

    @property
    def newest(self) -> Sample:
        """The last sample. Raises ``IndexError`` before the first."""
        return self._samples[-1]

    @property
    def kept(self) -> Floats:
        """What the newest sample's requests had within the goals (see ``Measured.kept``)."""
        return self._sampler.attained

    def late(self, key: str) -> int:
        """Return the requests of an exact service that have missed the TTFT goal unfinished.

        The fluid counts a request when it comes, so none is left over.
        """
        row = self._row[key]
        return self._whole[row].late(self._run_s) if row in self._whole else 0

    def dump(self) -> bytes:
        """Return the state as an npz archive (plain arrays and JSON, nothing executable).

        Raises ``ValueError`` for a world that is exact throughout: those are run to their end.
        """
        if self._whole:
            raise ValueError("a world that is exact throughout can't be stored")
        header = Header(
            run_s=self._run_s,
            offset_s=self._offset_s,
            speed=self.speed,
            recorded=self._record.count,
            sampled=self._sampled,
            services={
                key: ServiceStamp(
                    workload=self._services[key].workload.name,
                    base_load_s=self._clocks[row].base_load_s,
                    base_run_s=self._clocks[row].base_run_s,
                    fault=self._faults.get(row, Fault.NONE).value,
                )
                for key, row in self._row.items()
            },
            order=list(self._row),
            fleet=self._fleet.dump(),
        )
        counted: dict[str, Floats] = {}
        if self._meters:
            header["meters"], counted = self._meters.dump(list(self._row))
        arrays: dict[str, Floats] = {**self._arrays(), **counted}
        for row, queue in self._exact.items():
            for name, array in queue.dump(self._run_s).items():
                arrays[f"exact/{list(self._row)[row]}/{name}"] = array
        arrays.update(samples_as_arrays(self._samples))
        out = io.BytesIO()
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        np.savez(out, allow_pickle=False, header=text, **arrays)
        return out.getvalue()

    def _arrays(self) -> Mapping[str, Floats]:
        """Return the arrays that are the state; their last axis is the service."""
        return {
            "backlog_s": self._prefill.backlog_s,
            "load": self._prefill.load,
            "waiting": self._prefill.waiting,
            "pool": self._decode.pool,
            "queue": self._decode.queue,
            "step_s": self._decode.step_s,
            "batch": self._decode.batch,
            "record": self._record.rows,
            "utilisation": self._sampler.utilisation,
            "in_flight_s": self._in_flight_s,
            "asked": self.asked,
            "made": self.made,
        }

    @classmethod
    def restore(  # noqa: PLR0913 - what was stored, and what a world is besides
        cls,
        services: Sequence[ServiceModel],
        nodes: Sequence[NodeSpec],
        blob: bytes,
        *,
        seed: int,
        speed: float = 1.0,
        setup: Setup = _USUAL,
    ) -> "World":
        """Return the world :meth:`dump` stored, with the services and nodes there are now.

        A service that is new starts with its initial instances; one whose workload has another
        name begins that workload at its load time 0; another speed goes on from the same load
        time. Prefill backlogs don't survive a change between fluid and exact. With everything
        the same the world goes on bit for bit. Raises ``ValueError`` for a blob that is none.
        """
        world = cls(services, nodes, start_s=0.0, seed=seed, speed=speed, setup=setup)
        world.load(blob)
        return world

    def load(self, blob: bytes) -> None:
        """Take over a stored state, as :meth:`restore` says."""
        header, arrays = unpacked(blob)
        self._run_s, self._offset_s = header["run_s"], header["offset_s"]
        self._record.count, self._sampled = header["recorded"], header["sampled"]
        self._clocks = [self._clock(header, s) for s in self._services.values()]
        self._fleet = Fleet(list(self._fleet.nodes.values()), self._seed)
        self._fleet.load(header["fleet"], self._services, header["run_s"])
        for key, service in self._services.items():
            if key not in header["services"]:
                self._fleet.add(service, header["run_s"])
        self._take_over(header, arrays)
        self._count_instances(self._row)
        if self._meters and self.speed != header["speed"]:
            # Whoever reads on has seen counts of the other load.
            self._meters.restart()

    def _clock(self, header: Header, service: ServiceModel) -> LoadClock:
        stamp = header["services"].get(service.key)
        if stamp is None or stamp["workload"] != service.workload.name:
            return LoadClock(0.0, header["run_s"], self.speed)
        clock = LoadClock(stamp["base_load_s"], stamp["base_run_s"], header["speed"])
        if self.speed == header["speed"]:
            return clock
        return LoadClock(clock.load_s(header["run_s"]), header["run_s"], self.speed)

    def _take_over(self, header: Header, arrays: Mapping[str, Floats]) -> None:
        order = header["order"]
        kept = [(self._row[key], order.index(key)) for key in order if key in self._row]
        new, old = ([pair[at] for pair in kept] for at in (0, 1))
        for name, array in self._arrays().items():
            array[..., new] = arrays[name][..., old]
        self._samples.extend(samples_from_arrays(arrays, (len(self._row), new, old)))
        if self._meters:
            self._meters.load(header.get("meters", {}), arrays, (self._row, new, old))
        for key, stamp in header["services"].items():
            if key in self._row:
                self._take_over_queue(key, arrays)
                self.inject(key, Fault(stamp["fault"]))

    def _take_over_queue(self, key: str, arrays: Mapping[str, Floats]) -> None:
        row, prefix = self._row[key], f"exact/{key}/"
        state = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        queue = self._exact.get(row)
        if queue is not None and state:
            queue.load(state)
        elif queue is not None or state:
            self._prefill.backlog_s[row] = 0.0
            self._prefill.waiting[:, row] = 0.0
            self._in_flight_s[row] = 0.0


def _added(total: Floats, more: Floats) -> Floats:
    """Return a running total after each of ``more``, shape ``(T, …)``, however time is cut."""
    found: Floats = np.cumsum(np.concatenate((total[np.newaxis], more)), axis=0)[-1]
    return found
