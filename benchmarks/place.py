"""How long placement takes: a query, a cycle of requests in three orders, rows to arrays.

Run it with ``.venv/bin/python -m benchmarks.place [NODES …]``; 6,000 and 50,000 without one. The
fleet is made up: S2s of 16 S1s, S1s of 16 nodes of 8 GPUs, two hardware types, and half of the
nodes part-used. Prints a table in Markdown: computing time of one core, the least and the median
of many runs.
"""

import random
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count, islice
from statistics import median
from time import perf_counter, thread_time
from typing import Final

from benchmarks.study.table import table
from controller.core.fleet import FleetView, Level, NodeRow, view_of
from controller.core.placement.choose import Ask, Choosing
from controller.core.placement.cycle import choosing_of, plan_cycle, wanted_of
from controller.core.placement.layout import fleet_of
from controller.core.placement.slots import Option, Part, Size, Slots
from controller.core.placement.values import (
    Affinity,
    Choice,
    Request,
    RoleForm,
    RoleNeed,
    Tenant,
    Unplaced,
)
from controller.core.placement.whole import pressure_of
from controller.core.placement.why import refusal
from controller.core.types import Instances, Role

GPUS: Final = 8
NODES_PER_S1: Final = 16
S1_PER_S2: Final = 16
S2_PER_CLUSTER: Final = 12
TYPES: Final = ("h20", "h800")
SIZES: Final = (1, 2, 4, 8)
TWO_NODES: Final = Size(8, 2)
REQUESTS: Final = 1000
ORDERS: Final = 3
SPAN_S: Final = 2.0
"""How long each figure is measured, but never less than five times."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: least and median [ms] of so many runs, and what is aimed at [ms]."""

    what: str
    nodes: int
    least_ms: float
    median_ms: float
    runs: int
    aim_ms: float | None


@dataclass(frozen=True, slots=True)
class Timed:
    """What is measured: ``make`` prepares a run outside the time, ``run`` is inside it."""

    what: str
    aim_ms: float | None
    make: Callable[[], Callable[[], object]]


@dataclass(frozen=True, slots=True)
class Setting:
    """A fleet with the requests of one cycle, each with its priority."""

    rows: list[NodeRow]
    view: FleetView
    asks: list[tuple[int, Ask]]
    sizes: frozenset[Size]

    def aim_ms(self, most_ms: float, large_ms: float | None = None) -> float | None:
        """Return what is aimed at for a fleet of up to 6,000 nodes, or for larger ones."""
        return most_ms if len(self.rows) <= 6_000 else large_ms

    def choosing(self) -> Choosing:
        """Return everything counted anew."""
        asks = [ask for _, ask in self.asks]
        return Choosing(Slots(self.view, self.sizes), pressure_of(self.view, asks))


def fleet(nodes: int) -> list[NodeRow]:
    """Return rows of a fleet: of every three S2s one of each type, and one of S1s of both."""
    rng = random.Random(nodes)  # noqa: S311 - no secret
    rows = []
    for at in range(nodes):
        s1 = at // NODES_PER_S1
        s2 = s1 // S1_PER_S2
        mixed = s2 % 3 == 2
        kind = (at if s1 % 2 else s1 // 2) % 2 if mixed else s2 % 3
        free = rng.randrange(GPUS) if rng.random() < 0.5 else GPUS
        name, rack = f"gpu{at:05}", f"rack{at // 4:05}"
        cluster = f"cluster-{s2 // S2_PER_CLUSTER:02}"
        hardware = TYPES[kind]
        rows.append(
            NodeRow(name, cluster, f"s2-{s2:03}", f"s1-{s1:04}", rack, hardware, GPUS, free)
        )
    rng.shuffle(rows)
    return rows


def requests(view: FleetView) -> Iterator[tuple[int, Ask]]:
    """Yield requests of different services with their priorities, one kind after another."""
    rng = random.Random(7)  # noqa: S311 - no secret
    kinds = [kind for kind, _ in enumerate(view.topology.types)]
    for at in count():
        parts = _parts(rng, kinds)
        require = rng.choice(tuple(Level))
        prefer = rng.choice((None, *(level for level in Level if level < require)))
        yield (
            rng.randrange(3),
            Ask(f"service-{at:04}", parts, rng.randint(1, 2), require=require, prefer=prefer),
        )


def _parts(rng: random.Random, kinds: list[int]) -> tuple[Part, ...]:
    """Return a pair of roles: one in ten decodes over two nodes, one in five lacks prefill."""
    prefill, decode = rng.choice(SIZES), rng.choice(SIZES)
    types = rng.sample(kinds, len(kinds))
    small = tuple(Option(kind, Size(prefill)) for kind in types[: rng.randint(1, 2)])
    large = tuple(Option(kind, Size(decode)) for kind in types[-rng.randint(1, 2) :])
    if rng.random() < 0.1:
        large = (Option(types[-1], TWO_NODES),)
    pods = rng.randint(1, 2), rng.randint(1, 4)
    pair = Part("prefill", pods[0], small), Part("decode", pods[1], large)
    return pair[1:] if rng.random() < 0.2 else pair


def pair_of(view: FleetView) -> Ask:
    """Return one unit of prefill on one type and decode on either, in one S1."""
    first, second = (kind for kind, _ in enumerate(view.topology.types))
    either = (Option(first, Size(8)), Option(second, Size(8)))
    parts = (Part("prefill", 2, (Option(second, Size(4)),)), Part("decode", 1, either))
    return Ask("chat", parts, 1, require=Level.S1)


def setting_of(nodes: int) -> Setting:
    """Return a fleet of so many nodes with its requests."""
    rows = fleet(nodes)
    view = view_of(rows)
    asks = list(islice(requests(view), REQUESTS))
    sizes = frozenset(
        option.size for _, ask in asks for part in ask.parts for option in part.options
    )
    return Setting(rows, view, asks, sizes)


def kept(setting: Setting) -> Timed:
    """One query on counts that are kept up to date: what it takes stays taken."""
    choosing, ask = setting.choosing(), pair_of(setting.view)

    def make() -> Callable[[], object]:
        nonlocal choosing
        if not choosing.room(ask, Level.S1).any():
            choosing = setting.choosing()
        return lambda: choosing.place(ask)

    return Timed("one P/D query, counts kept", setting.aim_ms(0.05), make)


def rebuilt(setting: Setting) -> Timed:
    """One query with everything counted anew from what is free."""
    ask, pressure = pair_of(setting.view), setting.choosing().pressure
    sizes = {option.size for part in ask.parts for option in part.options}

    def run() -> object:
        return Choosing(Slots(setting.view, sizes), pressure).place(ask)

    return Timed("one P/D query, counts rebuilt", setting.aim_ms(0.15, 1.5), lambda: run)


def cycle(setting: Setting) -> Timed:
    """All requests, by priority and in three orders, each order on a copy."""
    choosing = setting.choosing()
    pressure = choosing.pressure
    cost = {
        ask.service: ask.units
        * sum(
            part.pods * pressure[part.options[0].type] * part.options[0].size.gpus
            for part in ask.parts
        )
        for _, ask in setting.asks
    }
    orders = [
        [ask for _, ask in sorted(setting.asks, key=key)]
        for key in (
            lambda one: one[0],
            lambda one: (one[0], cost[one[1].service]),
            lambda one: (one[0], -cost[one[1].service]),
        )
    ]

    def run() -> object:
        return max(
            sum(share.units for ask in order for share in copy.place(ask))
            for order, copy in zip(orders, (choosing.copy() for _ in orders), strict=True)
        )

    return Timed(
        f"{REQUESTS:,} requests, {ORDERS} orders on copies", setting.aim_ms(150.0), lambda: run
    )


def copied(setting: Setting) -> Timed:
    """Copy everything, to try something on."""
    choosing = setting.choosing()
    return Timed("a copy of the counts", None, lambda: choosing.copy)


def arrays(setting: Setting) -> Timed:
    """Rows to arrays, without the database."""
    return Timed("rows to arrays", None, lambda: lambda: view_of(setting.rows))


def pressure(setting: Setting) -> Timed:
    """How contended each type is, over all requests."""
    asks = [ask for _, ask in setting.asks]
    return Timed(
        f"pressure of {REQUESTS:,} requests", None, lambda: lambda: pressure_of(setting.view, asks)
    )


def tenants(setting: Setting) -> list[Tenant]:
    """Return the services of the requests as the product knows them."""
    types = setting.view.topology.types
    return [
        Tenant(
            ask.service,
            {
                Role(part.role): RoleForm(
                    RoleNeed(
                        tuple(
                            Choice(types[kind], size.gpus * size.nodes, throughput)
                            for kind, size, throughput in part.options
                        ),
                        nodes=part.options[0].size.nodes,
                    )
                )
                for part in ask.parts
            },
            priority=priority,
            affinity=Affinity(
                ask.require if ask.prefer is None else ask.prefer, ask.prefer is None
            ),
        )
        for priority, ask in setting.asks
    ]


def product(setting: Setting) -> Timed:
    """Run a whole cycle as the product does: orders, names, groups, reasons of each answer."""
    services = tenants(setting)
    known = fleet_of(setting.rows, services)
    asked = [
        Request(
            ask.service,
            Instances(
                *(
                    sum(ask.units * part.pods for part in ask.parts if part.role == role)
                    for role in Role
                )
            ),
        )
        for _, ask in setting.asks
    ]
    what = f"a cycle of {REQUESTS:,} requests with reasons"
    return Timed(what, setting.aim_ms(150.0), lambda: lambda: plan_cycle(known, services, asked))


def refused(setting: Setting) -> Timed:
    """Refuse a request that has no room, with the reason and what would make it fit."""
    form = RoleForm(RoleNeed((Choice(TYPES[0], GPUS),)))
    large = Tenant("large", dict.fromkeys(Role, form), affinity=Affinity(Level.S1, required=True))
    known = fleet_of(setting.rows, [large])
    asked = Request("large", Instances(NODES_PER_S1, NODES_PER_S1))
    wanted = wanted_of(known, large, asked)
    if wanted is None:
        raise ValueError("nothing is asked for")
    whole = replace(wanted.ask, units=1, parts=_times(wanted.ask.parts, wanted.ask.units))
    choosing = choosing_of(known, [whole])
    told = (asked.change, Instances(0, 0))

    def run() -> object:
        shares = choosing.place(whole)
        return shares or refusal(known, choosing, large, whole, told)

    if not isinstance(run(), Unplaced):
        raise TypeError("it was placed")
    return Timed("a refusal with its explanation", setting.aim_ms(1.0), lambda: run)


def _times(parts: tuple[Part, ...], units: int) -> tuple[Part, ...]:
    return tuple(replace(part, pods=part.pods * units) for part in parts)


FIGURES: Final = (kept, rebuilt, refused, product, cycle, copied, pressure, arrays)


def measured(timed: Timed, nodes: int) -> Row:
    """Return the times of many runs."""
    took_ms: list[float] = []
    begun_s = perf_counter()
    while len(took_ms) < 5 or perf_counter() - begun_s < SPAN_S:
        run = timed.make()
        start_s = thread_time()
        run()
        took_ms.append(1e3 * (thread_time() - start_s))
    return Row(timed.what, nodes, min(took_ms), median(took_ms), len(took_ms), timed.aim_ms)


def memory_mib(rows: list[NodeRow]) -> float:
    """Return what the arrays and counts of a fleet hold [MiB], without the rows themselves."""
    tracemalloc.start()
    view = view_of(rows)
    slots = Slots(view, {Size(size) for size in SIZES} | {TWO_NODES})
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del view, slots
    return held / 2**20


def main() -> None:
    """Print the times of all figures at each size of fleet, and the memory of the arrays."""
    sizes = [int(word) for word in sys.argv[1:]] or [6_000, 50_000]
    found, memory = [], []
    for nodes in sizes:
        setting = setting_of(nodes)
        found += [measured(figure(setting), nodes) for figure in FIGURES]
        memory.append(f"{nodes:,} nodes {memory_mib(setting.rows):.1f} MiB")
    print(table(found, ("", ",d", ".3f", ".3f", ",d", "g")))
    print(f"\narrays and counts: {', '.join(memory)}")


if __name__ == "__main__":
    main()
