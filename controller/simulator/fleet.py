"""Nodes and instances: where an instance goes, how it starts, fails, drains and lets go."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush
from itertools import count
from math import ceil, exp, inf
from statistics import NormalDist
from typing import Final, NotRequired, TypedDict

from controller.core.ports import MoveTo, Spot
from controller.core.registration import InStep, PlainRule, Starts, registered
from controller.core.types import InstanceRef, Instances, Role, RoleState
from controller.simulator.arrivals import stream_key
from controller.simulator.instances import (
    FREELY,
    Instance,
    InstanceRow,
    Moves,
    Phase,
    Terms,
    group_near,
)
from controller.simulator.model import NodeSpec, ServiceModel

SCHEDULE_LAG_S: Final = (5.0, 30.0)
"""Between the wish for an instance and the start of loading."""

RETRY_S: Final = 5.0
"""How long after GPUs came free an instance without a node looks for one."""

BACK_OFF_S: Final = (10.0, 300.0)
"""Wait after the first failed start, doubled each time up to the second figure."""


Where = tuple[str, str, str]
"""Cluster, S1 and S2 switch."""


PROBE_S: Final = 5.0
"""How often somebody looks whether a starting instance is ready."""

FAILURE, LAG, LOADING = range(3)
"""What luck decides of a start."""

_NORMAL: Final = NormalDist()
_MASK: Final = 2**64 - 1


class ServiceRow(TypedDict):
    """What a fleet remembers of a service, as plain values; the rule ends in running time."""

    desired: tuple[int, int]
    version: int
    serial: int
    in_step: NotRequired[PlainRule]


class FleetState(TypedDict):
    """A fleet as plain values."""

    instances: list[InstanceRow]
    services: dict[str, ServiceRow]


_LEAVES_LAST: Final = {Phase.HELD: 1, Phase.READY: 2}
"""Who is up goes after those that are not, and who serves last."""

_WITH_THE_OTHER: Final = 3
"""Who starts to take another's place goes when that one has gone."""

DrainTime = Callable[[str, Role], float]
"""How long an instance of a service that leaves now has to finish what it holds [s]."""


def _at_once(_key: str, _role: Role) -> float:
    return 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """How many serving instances of each role a service has under each S1.

    A fleet hands out the same object as long as the instances of the service stay as they are.
    """

    prefill: Mapping[Where, int]
    decode: Mapping[Where, int]


class Fleet:
    """Every node and instance of a world; GPUs count from allocation to release.

    An instance holds its GPUs while it loads; a failed start gives them back until the next try.
    One whose node turned unhealthy under it has failed too, and holds them until it is moved or
    removed, or its node is well again: then it starts anew.
    """

    def __init__(self, nodes: Sequence[NodeSpec], seed: int) -> None:
        self.nodes: Mapping[str, NodeSpec] = {node.name: node for node in nodes}
        self.free: dict[str, int] = {node.name: node.gpus for node in nodes}
        self.instances: dict[str, list[Instance]] = {}
        self.desired: dict[str, Instances] = {}
        self.versions: dict[str, int] = {}
        self.in_step: dict[str, InStep] = {}
        self.next_event_s, self.newest_s = inf, -inf
        self.moves = Moves()
        self.handed_over: Counter[tuple[str, Role]] = Counter()
        self._seed = seed
        self._serials: dict[str, int] = {}
        self._order: dict[str, int] = {}
        self.room: dict[tuple[str, str], int] = defaultdict(int)
        self._usable = self._by_place()
        # Fewest GPUs found not to fit since any came free there: spares others the search.
        self._too_many: dict[tuple[str, str], int] = {}
        # Who waits for room looks again when some comes free, not every few seconds.
        self._parked: dict[tuple[str, str], dict[tuple[int, int], Instance]] = defaultdict(dict)
        self._freed: set[tuple[str, str]] = set()
        self._used: dict[str, Counter[str]] = defaultdict(Counter)
        self._counts: dict[tuple[str, Role], Counter[Phase]] = defaultdict(Counter)
        self._newest: dict[tuple[str, Role], float] = {}
        self._due: list[tuple[float, int, Instance]] = []
        self._pushed = count()
        self._refs: dict[str, tuple[InstanceRef, ...]] = {}
        self._where: dict[tuple[str, Role], Counter[Where]] = defaultdict(Counter)
        self._spreads: dict[str, Spread] = {}

    def _by_place(self) -> dict[tuple[str, str], list[NodeSpec]]:
        """Return the nodes that take instances by cluster and hardware; note their room."""
        found: dict[tuple[str, str], list[NodeSpec]] = defaultdict(list)
        for node in self.nodes.values():
            if node.usable:
                found[node.cluster, node.hardware].append(node)
                self.room[node.cluster, node.hardware] += node.gpus
        return found

    def add(self, service: ServiceModel, now_s: float) -> None:
        """Bring a new service up: initial instances are ready at once where nodes have room."""
        self._begin(service.key, service.initial, 1, 0)
        for role in Role:
            for instance in self._wanted(service, role, service.initial.of(role), now_s):
                if self._place(service, instance):
                    self._enter(instance, Phase.READY, inf)
                else:
                    self._park(service, instance)
        self._plan(now_s)

    def _begin(self, key: str, desired: Instances, version: int, serial: int) -> None:
        self._order[key] = len(self._order)
        self.instances[key] = []
        self.desired[key] = desired
        self.versions[key], self._serials[key] = version, serial

    def scale(
        self,
        service: ServiceModel,
        want: Instances,
        now_s: float,
        drain_s: Mapping[Role, float],
        terms: Terms = FREELY,
    ) -> None:
        """Start or drain instances until ``want`` of each role are ready or on their way.

        Those named in ``terms.leave`` go first, then the youngest, those that don't serve yet
        before those that do; a serving one keeps its GPUs for ``drain_s`` of its role, and at
        least for the service's ``soft_s``. Within ``soft_s`` of leaving it returns to serving at
        once when the service grows; the last to leave returns first.

        Those that start take ``terms.spots`` of their role in order, and look for themselves
        where a spot can't be had. For each of ``terms.moves`` one starts that is no wish of its
        own: the moment it is up the other one drains. Who serves is never given up for a pair
        that is under way. The version moves when the counts change or somebody is to move.

        Those that come up register as ``terms.in_step`` allows, which ends in running time and
        replaces the rule before; whoever is held now is looked at again at the next step.
        """
        key = service.key
        if want == self.desired[key] and not terms.moves:
            return
        self.desired[key] = want
        self.versions[key] += 1
        self.in_step.pop(key, None)
        if terms.in_step is not None:
            self.in_step[key] = terms.in_step
        new: list[Instance] = []
        for role in Role:
            missing = want.of(role) - self._wishes(key, role)
            gone_s = now_s + max(drain_s[role], service.soft_s)
            self._shrink(self.of(key, role), -missing, (now_s, gone_s), terms.leave)
            new += self._grow(service, role, missing, now_s, terms.spots)
        new += self._begin_moves(service, terms.moves, now_s)
        for instance in sorted(new, key=lambda i: not self._spot(service, i)):
            self._try(service, instance, now_s)
        for instance in self._held(key):
            self._enter(instance, Phase.HELD, now_s)
        self._plan(now_s)

    def rest(self, rested_s: float, now_s: float) -> None:
        """Let ``rested_s`` pass for the rules of registration alone, which end by the clock."""
        for key, rule in self.in_step.items():
            self.in_step[key] = replace(rule, until_s=rule.until_s - rested_s)
            for instance in self._held(key):
                self._enter(instance, Phase.HELD, self.in_step[key].until_s)
        self._plan(now_s)

    def _wishes(self, key: str, role: Role) -> int:
        """Return how many instances there are of those wished for; a pair is one."""
        staying = sum(i.phase is not Phase.DRAINING for i in self.of(key, role))
        return staying - sum(new.key == key and new.role is role for _, new in self.moves)

    def _grow(
        self, service: ServiceModel, role: Role, missing: int, now_s: float, spots: Sequence[Spot]
    ) -> list[Instance]:
        """Have as many return or start; return those that have to look elsewhere than told."""
        soft = [
            i
            for i in self.of(service.key, role)
            if i.phase is Phase.DRAINING and i.returns and now_s - i.since_s < service.soft_s
        ]
        soft.sort(key=lambda i: (-i.since_s, i.serial))
        back = soft[: max(missing, 0)]
        for instance in back:
            self._enter(instance, Phase.READY, inf)
            self.newest_s = max(self.newest_s, instance.since_s)
        new = self._wanted(service, role, missing - len(back), now_s)
        for instance, spot in zip(new, (s for s in spots if s.role is role), strict=False):
            instance.send_to(spot)
        elsewhere = []
        for instance in new:
            if instance.spot and not self._spot(service, instance):
                # Tried last, or it might take GPUs that another one is sent to.
                elsewhere.append(instance)
            else:
                self._try(service, instance, now_s)
        return elsewhere

    def _shrink(
        self,
        mine: Sequence[Instance],
        surplus: int,
        times_s: tuple[float, float],
        leave: Sequence[str],
    ) -> None:
        """Take back ``surplus`` wishes; ``times_s`` is now and when those that serve are gone."""
        named = {name: at for at, name in enumerate(leave)}
        left = [i for i in mine if i.phase is not Phase.DRAINING]
        while surplus > 0:
            instance = min(left, key=lambda i: self._rank_of_leaving(i, named))
            left.remove(instance)
            # The other half of a pair takes the place of the one that goes.
            surplus -= self._leave(instance, *times_s) is None

    def _rank_of_leaving(
        self, instance: Instance, named: Mapping[str, int]
    ) -> tuple[int, int, bool, int]:
        stays = _LEAVES_LAST.get(instance.phase, 0)
        if self.moves.replaced_by(instance):
            stays = _WITH_THE_OTHER
        moves = self.moves.successor(instance) is not None
        return named.get(instance.name, len(named)), stays, moves, -instance.serial

    def _leave(self, instance: Instance, now_s: float, gone_s: float) -> Instance | None:
        """Let an instance drain until ``gone_s``, or go; return the other half of its pair."""
        other = self.moves.end(instance)
        if instance.phase is Phase.READY:
            instance.since_s = now_s
            self._enter(instance, Phase.DRAINING, gone_s)
        else:
            self._remove(instance)
        return other

    def _begin_moves(
        self, service: ServiceModel, moves: Sequence[MoveTo], now_s: float
    ) -> list[Instance]:
        """Return a new one for each that is to move; of two words about one the last counts."""
        named = {i.name: i for i in self.instances[service.key] if i.phase is not Phase.DRAINING}
        new: dict[Instance, Instance] = {}
        for move in moves:
            found = named.get(move.instance)
            if found is None:
                continue
            old = self.moves.replaced_by(found) or found
            before = self.moves.successor(old)
            if before and before.spot == move.spot:
                continue
            if before:
                self._remove(before)
                named.pop(before.name, None)
            (new[old],) = self._wanted(service, old.role, 1, now_s)
            new[old].send_to(move.spot)
            self.moves.begin(old, new[old])
        return list(new.values())

    def advance(
        self, services: Mapping[str, ServiceModel], now_s: float, drain_s: DrainTime = _at_once
    ) -> set[str]:
        """Let every phase end that is due by ``now_s``; return the services that changed.

        An instance of which the successor came up leaves within ``drain_s``; ``handed_over``
        says how many that served did.
        """
        self.handed_over.clear()
        if now_s < self.next_event_s:
            return set()
        due: dict[tuple[int, int], Instance] = {}
        while self._due and self._due[0][0] <= now_s:
            until_s, _, instance = heappop(self._due)
            if instance.until_s == until_s:
                due[self._order[instance.key], instance.serial] = instance
        # By service and serial, not by time: a change of the cut of time must not change who
        # gets the last free node.
        for place in sorted(due):
            self._end_phase(services[due[place].key], due[place], now_s, drain_s)
        keys = {instance.key for instance in due.values()}
        for key in keys:
            self._register(key, now_s)
        self._plan(now_s)
        return keys

    def _end_phase(
        self, service: ServiceModel, instance: Instance, now_s: float, drain_s: DrainTime
    ) -> None:
        if instance.phase is Phase.DRAINING:
            self._remove(instance)
        elif instance.phase in {Phase.PENDING, Phase.FAILED}:
            self._try(service, instance, now_s)
        elif instance.phase is Phase.STARTING:
            self._end_start(service, instance, now_s, drain_s)

    def _end_start(
        self, service: ServiceModel, instance: Instance, now_s: float, drain_s: DrainTime
    ) -> None:
        instance.since_s = now_s
        if self._luck(service, instance, FAILURE) < service.start_failure_frac:
            self._let_go(instance)
            back_off_s = min(BACK_OFF_S[0] * 2.0 ** (instance.tries - 1), BACK_OFF_S[1])
            self._enter(instance, Phase.FAILED, now_s + back_off_s)
            return
        instance.spot = None
        old = self.moves.replaced_by(instance)
        if old and old.phase is Phase.READY:
            self._hand_over(old, instance, now_s, drain_s)
            return
        if old:
            self._leave(old, now_s, now_s)
        self._enter(instance, Phase.HELD, inf)

    def _hand_over(self, old: Instance, new: Instance, now_s: float, drain_s: DrainTime) -> None:
        """Have one serve instead of another: no role gets ahead, so no rule holds it back."""
        old.returns = False
        self._leave(old, now_s, now_s + drain_s(old.key, old.role))
        self.newest_s = now_s
        self._enter(new, Phase.READY, inf)
        self.handed_over[old.key, old.role] += 1

    def _held(self, key: str) -> list[Instance]:
        """Return who of a service is kept out of service discovery, oldest first."""
        if not any(self._counts[key, role][Phase.HELD] for role in Role):
            return []
        held = [i for i in self.instances[key] if i.phase is Phase.HELD]
        return sorted(held, key=lambda i: (i.since_s, i.serial))

    def _register(self, key: str, now_s: float) -> None:
        """Let those of the held join that may; the others wait until their rule ends."""
        held = self._held(key)
        if not held:
            return
        rule = self.in_step.get(key)
        until_s = inf if rule is None else rule.until_s
        serves = registered(self._starts(key), rule, now_s=now_s)
        room = {role: serves.of(role) - self._counts[key, role][Phase.READY] for role in Role}
        for instance in held:
            if room[instance.role] > 0:
                room[instance.role] -= 1
                instance.since_s = self.newest_s = now_s
                self._enter(instance, Phase.READY, inf)
            elif instance.until_s != until_s:
                self._enter(instance, Phase.HELD, until_s)

    def _starts(self, key: str) -> Starts:
        """Return how far the instances are; one without a node, or that failed, is not coming.

        Nor is one that will take the place of another that serves: there won't be more of them.
        """
        serving, held, coming = (
            Instances(*(self._counts[key, role][phase] for role in Role))
            for phase in (Phase.READY, Phase.HELD, Phase.STARTING)
        )
        instead = Counter(
            new.role
            for old, new in self.moves
            if (old.key, old.phase, new.phase) == (key, Phase.READY, Phase.STARTING)
        )
        coming = Instances(*(coming.of(role) - instead[role] for role in Role))
        return Starts(serving, held, coming)

    def _enter(self, instance: Instance, phase: Phase, until_s: float) -> None:
        counts = self._counts[instance.key, instance.role]
        counts[instance.phase] -= 1
        counts[phase] += 1
        if instance.phase is Phase.READY:
            self._serve(instance, -1)
        instance.phase, instance.until_s = phase, until_s
        if phase is Phase.READY:
            self._serve(instance, 1)
        self._moved(instance)

    def _serve(self, instance: Instance, more: int) -> None:
        """Count an instance in or out where it serves."""
        node = self.nodes[next(iter(instance.nodes))]
        self._where[instance.key, instance.role][node.cluster, node.s1, node.s2] += more
        self._spreads.pop(instance.key, None)

    def _moved(self, instance: Instance) -> None:
        """Note when the instance is due; forget what its service looked like."""
        self._expect(instance)
        self._refs.pop(instance.key, None)
        if instance.phase is Phase.READY:
            place = instance.key, instance.role
            self._newest[place] = max(self._newest.get(place, -inf), instance.since_s)

    def _expect(self, instance: Instance) -> None:
        if instance.until_s < inf:
            heappush(self._due, (instance.until_s, next(self._pushed), instance))

    def _try(self, service: ServiceModel, instance: Instance, now_s: float) -> None:
        """Take GPUs and begin loading, or look again in ``RETRY_S``."""
        if not self._place(service, instance):
            self._enter(instance, Phase.PENDING, inf)
            self._park(service, instance)
            return
        instance.tries += 1
        low_s, high_s = SCHEDULE_LAG_S
        lag_s = low_s + (high_s - low_s) * self._luck(service, instance, LAG)
        spread = _NORMAL.inv_cdf(self._luck(service, instance, LOADING))
        load_s = service.start_median_s * exp(service.start_sigma * spread)
        ready_s = ceil((now_s + lag_s + load_s) / PROBE_S) * PROBE_S
        instance.since_s = now_s
        self._enter(instance, Phase.STARTING, ready_s)

    def _park(self, service: ServiceModel, instance: Instance) -> None:
        place = service.cluster, service.profile(instance.role).hardware
        instance.until_s = inf
        self._parked[place][self._order[instance.key], instance.serial] = instance

    def _wake(self, now_s: float) -> None:
        """Have as many instances look for room as could find some where GPUs came free."""
        for place in sorted(self._freed):
            parked, room = self._parked[place], self.room[place]
            for number in sorted(parked):
                if room <= 0:
                    break
                instance = parked.pop(number)
                room -= instance.gpus
                instance.until_s = now_s + RETRY_S
                self._expect(instance)
        self._freed.clear()

    def _luck(self, service: ServiceModel, instance: Instance, what: int) -> float:
        """Return a number between 0 and 1 for one try of an instance, the same at any time."""
        role = tuple(Role).index(instance.role)
        key = stream_key(service.drawn_by)
        return _uniform(
            (self._seed, service.seed, key, role, instance.serial, instance.tries, what)
        )

    def _wanted(
        self, service: ServiceModel, role: Role, number: int, now_s: float
    ) -> list[Instance]:
        made = []
        for _ in range(number):
            self._serials[service.key] += 1
            serial = self._serials[service.key]
            instance = Instance(service.key, role, serial, service.profile(role).tp)
            instance.since_s = now_s
            made.append(instance)
            self._join(instance)
        return made

    def _join(self, instance: Instance) -> None:
        self.instances[instance.key].append(instance)
        self._counts[instance.key, instance.role][instance.phase] += 1
        if instance.phase is Phase.READY:
            self._serve(instance, 1)
        self._moved(instance)

    def _place(self, service: ServiceModel, instance: Instance) -> bool:
        nodes = self._spot(service, instance) or self._fit(service, instance)
        if nodes:
            self._take(instance, nodes)
        return bool(nodes)

    def _spot(self, service: ServiceModel, instance: Instance) -> dict[str, int]:
        """Return the nodes an instance was sent to, if it can have all of them now."""
        nodes = dict(instance.spot.nodes) if instance.spot else {}
        fits = self._still_there(service, instance, nodes)
        return nodes if fits and all(self.nodes[name].usable for name in nodes) else {}

    def _take(self, instance: Instance, nodes: Mapping[str, int]) -> None:
        for name, gpus in nodes.items():
            self._give(self.nodes[name], -gpus)
        self._used[instance.key].update(nodes)
        instance.nodes = dict(nodes)
        if not instance.group:
            instance.group = group_near(instance, self.instances[instance.key], self.nodes)

    def _give(self, node: NodeSpec, gpus: int) -> None:
        self.free[node.name] += gpus
        if node.usable:
            place = node.cluster, node.hardware
            self.room[place] += gpus
            if gpus > 0 and self._parked.get(place):
                self._freed.add(place)

    def _fit(self, service: ServiceModel, instance: Instance) -> dict[str, int]:
        """Choose nodes: near the service's others (S1, then S2), then the tightest fit, by name.

        An instance larger than a node takes whole free nodes under one S1.
        """
        place = service.cluster, service.profile(instance.role).hardware
        if instance.gpus >= self._too_many.get(place, inf):
            return {}
        near1, near2 = self._domains(service.key)

        def rank(node: NodeSpec) -> tuple[bool, bool, int, str]:
            return node.s1 not in near1, node.s2 not in near2, self.free[node.name], node.name

        nodes = self._usable[place]
        roomy = [node for node in nodes if self.free[node.name] >= instance.gpus]
        if roomy:
            return {min(roomy, key=rank).name: instance.gpus}
        whole = [node for node in nodes if self.free[node.name] == node.gpus > 0]
        found = _joined(sorted(whole, key=rank), instance.gpus)
        if not found:
            self._too_many[place] = instance.gpus
        return found

    def _domains(self, key: str) -> tuple[set[str], set[str]]:
        used = [self.nodes[name] for name in self._used[key]]
        return {node.s1 for node in used}, {node.s2 for node in used}

    def _let_go(self, instance: Instance) -> None:
        used = self._used[instance.key]
        for name, gpus in instance.nodes.items():
            node = self.nodes[name]
            self._give(node, gpus)
            used[name] -= gpus
            if not used[name]:
                del used[name]
            self._too_many.pop((node.cluster, node.hardware), None)
        instance.nodes = {}
        instance.send_to(instance.spot)

    def _remove(self, instance: Instance) -> None:
        self.moves.end(instance)
        self._let_go(instance)
        self.instances[instance.key].remove(instance)
        self._counts[instance.key, instance.role][instance.phase] -= 1
        instance.until_s = inf
        if instance.phase is Phase.PENDING:
            for parked in self._parked.values():
                parked.pop((self._order[instance.key], instance.serial), None)
        self._moved(instance)

    def _plan(self, now_s: float) -> None:
        if self._freed:
            self._wake(now_s)
        while self._due and self._due[0][2].until_s != self._due[0][0]:
            heappop(self._due)
        self.next_event_s = self._due[0][0] if self._due else inf

    def all(self) -> Iterator[Instance]:
        """Every instance of every service."""
        for instances in self.instances.values():
            yield from instances

    def of(self, key: str, role: Role) -> list[Instance]:
        """Return the instances of one role."""
        return [i for i in self.instances[key] if i.role is role]

    def refs(self, key: str) -> tuple[InstanceRef, ...]:
        """Return the instances of a service by name; one without a node or spot has no group yet.

        Built when asked for, once per change.
        """
        if key not in self._refs:
            self._refs[key] = tuple(
                InstanceRef(
                    name=i.name,
                    role=i.role,
                    group=i.group,
                    node=",".join(i.nodes),
                    state=i.phase.value,
                )
                for i in self.instances[key]
            )
        return self._refs[key]

    def state(self, key: str, role: Role) -> RoleState:
        """Return the counts of one role; an instance without a node counts as starting."""
        counts = self._counts[key, role]
        return RoleState(
            desired=self.desired[key].of(role),
            ready=counts[Phase.READY],
            starting=counts[Phase.STARTING] + counts[Phase.PENDING],
            draining=counts[Phase.DRAINING],
            failed=counts[Phase.FAILED],
            held=counts[Phase.HELD],
        )

    def held_gpus(self, key: str) -> int:
        """Return the GPUs the instances of a service hold, from allocation to release."""
        return self._used[key].total()

    def young(self, key: str, role: Role, since_s: float) -> int:
        """Return how many instances became ready after ``since_s``."""
        if self._newest.get((key, role), -inf) <= since_s:
            return 0
        return sum(i.phase is Phase.READY and i.since_s > since_s for i in self.of(key, role))

    def spread(self, key: str) -> Spread:
        """Return where the serving instances of a service are; the same object until they move."""
        if key not in self._spreads:
            # A unary plus leaves out the places where nobody serves any more.
            self._spreads[key] = Spread(*(+self._where[key, role] for role in Role))
        return self._spreads[key]

    def dump(self) -> FleetState:
        """Return the state as plain values."""
        return {
            "instances": [self._instance_row(i) for i in self.all()],
            "services": {key: self._service_row(key) for key in self.desired},
        }

    def _instance_row(self, instance: Instance) -> InstanceRow:
        row, old = instance.row(), self.moves.replaced_by(instance)
        if old:
            row["replaces"] = old.serial
        return row

    def _service_row(self, key: str) -> ServiceRow:
        wanted = self.desired[key]
        row: ServiceRow = {
            "desired": (wanted.prefill, wanted.decode),
            "version": self.versions[key],
            "serial": self._serials[key],
        }
        if key in self.in_step:
            row["in_step"] = self.in_step[key].plain()
        return row

    def load(self, state: FleetState, services: Mapping[str, ServiceModel], now_s: float) -> None:
        """Take over a state by key, in a fleet without instances.

        Services that are gone give their GPUs back. An instance whose nodes are gone, or no
        longer fit its engine, is lost and looks for new ones. One that is up on a node that is
        unhealthy now has failed and stays there.
        """
        for key in services:
            if key in state["services"]:
                self._begin_again(key, state["services"][key])
        for saved in state["instances"]:
            if saved["key"] in self.instances:
                self._adopt(services[saved["key"]], saved, now_s)
        self._adopt_moves(state["instances"])
        self.newest_s = max(self._newest.values(), default=-inf)
        for instance in self.all():
            service = services[instance.key]
            if instance.phase is Phase.PENDING and instance.until_s == inf:
                self._park(service, instance)
                if self._spot(service, instance) or self._fit(service, instance):
                    self._freed.add((service.cluster, service.profile(instance.role).hardware))
        self._plan(now_s)

    def _begin_again(self, key: str, row: ServiceRow) -> None:
        self._begin(key, Instances(*row["desired"]), row["version"], row["serial"])
        if "in_step" in row:
            self.in_step[key] = InStep.from_plain(row["in_step"])

    def _adopt(self, service: ServiceModel, row: InstanceRow, now_s: float) -> None:
        instance = Instance.from_row(row, service.profile(Role(row["role"])).tp)
        if self._goes_on(service, instance, row["nodes"], now_s):
            self._take(instance, row["nodes"])
        elif instance.phase is Phase.DRAINING:
            return
        elif row["nodes"]:
            instance.phase, instance.since_s, instance.until_s = Phase.PENDING, now_s, now_s
            instance.send_to(instance.spot)
        self._join(instance)

    def _goes_on(
        self, service: ServiceModel, instance: Instance, nodes: Mapping[str, int], now_s: float
    ) -> bool:
        """Return whether an instance keeps its nodes; what is up on an unhealthy one fails."""
        if not self._still_there(service, instance, nodes):
            return False
        if not any(self.nodes[name].state == "unhealthy" for name in nodes):
            return instance.phase is not Phase.FAILED
        if instance.phase in _LEAVES_LAST:
            instance.phase, instance.since_s, instance.until_s = Phase.FAILED, now_s, inf
        return instance.phase in {Phase.FAILED, Phase.DRAINING}

    def _adopt_moves(self, rows: Sequence[InstanceRow]) -> None:
        known = {(i.key, i.serial): i for i in self.all()}
        for row in rows:
            new = known.get((row["key"], row["serial"]))
            old = known.get((row["key"], row.get("replaces", 0)))
            if new and old:
                self.moves.begin(old, new)

    def _still_there(
        self, service: ServiceModel, instance: Instance, nodes: Mapping[str, int]
    ) -> bool:
        place = (service.cluster, service.profile(instance.role).hardware)
        return sum(nodes.values()) == instance.gpus and all(
            name in self.nodes
            and (self.nodes[name].cluster, self.nodes[name].hardware) == place
            and 0 < taken <= self.free[name]
            for name, taken in nodes.items()
        )


def _uniform(numbers: Sequence[int]) -> float:
    """Return a number strictly between 0 and 1 that depends on ``numbers`` only (SplitMix64)."""
    state = 0
    for number in numbers:
        state = (state ^ number) * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03 & _MASK
        state = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        state ^= state >> 27
    return ((state >> 11) + 0.5) / 2.0**53


def _joined(nodes: Sequence[NodeSpec], gpus: int) -> dict[str, int]:
    """Return the first whole nodes under one S1 that make ``gpus`` together, or none."""
    under: dict[str, dict[str, int]] = {}
    for node in nodes:
        taken = under.setdefault(node.s1, {})
        taken[node.name] = min(node.gpus, gpus - sum(taken.values()))
        if sum(taken.values()) == gpus:
            return taken
    return {}
