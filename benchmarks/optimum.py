"""Our whole groups on random fleets beside the most there can be, by an integer program.

Run it with ``.venv/bin/python -m benchmarks.optimum --fleets 200 [--rows FILE]``. Rows that the
file has are read and the others added one by one, so that a run that was ended goes on.

Groups are counted, not named. Pods of a role lie on the nodes of one S1, type and number of free
GPUs; sizes divide each other, so these nodes hold them exactly when, for each size, the pods of
that size and above need no more slots than there are. Where a program isn't proved in time its
bound counts as the optimum.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import django
import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from benchmarks.fleets import fleet

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "heteroscale_site.settings")
django.setup()

from controller.management.place_fleet import answered_fleet  # noqa: E402

LIMIT_S: Final = 60.0
"""Most time for one program; there are two to four a fleet."""
LEVELS: Final = ("s1", "s2", "cluster")
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Nodes:
    """Equal nodes: under one S1, of one type, with as many GPUs free."""

    s1: str
    s2: str
    hardware: str
    free: int

    def domain(self, level: str) -> str:
        return {"s1": self.s1, "s2": self.s2, "cluster": ""}[level]


@dataclass(frozen=True, slots=True)
class _Solved:
    """What a program found, and what it may at most be; ``None`` when no way was found."""

    found: int | None
    bound: int


@dataclass(slots=True)
class _Program:
    """Columns and rows of an integer program; a column is known by a name."""

    most: list[float] = field(default_factory=list)
    columns: dict[tuple[Any, ...], int] = field(default_factory=dict)
    entries: list[tuple[int, int, float]] = field(default_factory=list)
    limits: list[tuple[float, float]] = field(default_factory=list)

    def column(self, *name: object, most: float = np.inf) -> int:
        """Return the column of a name, a new one for a new name."""
        if name not in self.columns:
            self.columns[name] = len(self.most)
            self.most.append(most)
        return self.columns[name]

    def row(self, terms: Iterable[tuple[int, float]], least: float, most: float) -> None:
        """Demand that a sum of columns is between two numbers."""
        self.entries += [(len(self.limits), column, factor) for column, factor in terms]
        self.limits.append((least, most))

    def maximise(self, chosen: Iterable[int]) -> _Solved:
        """Return the most that the sum of some columns can be."""
        cost = np.zeros(len(self.most))
        cost[list(chosen)] = -1
        if not cost.any():
            return _Solved(0, 0)
        rows, columns, factors = zip(*self.entries, strict=True)
        matrix = csr_array((factors, (rows, columns)), shape=(len(self.limits), len(cost)))
        least, most = zip(*self.limits, strict=True)
        constraints = LinearConstraint(matrix, least, most)
        solved, relaxed = (
            milp(
                cost,
                integrality=np.full(len(cost), whole),
                bounds=Bounds(0, self.most),
                constraints=constraints,
                options={"time_limit": limit_s, "mip_rel_gap": 0.0},
            )
            for whole, limit_s in ((1, LIMIT_S), (0, np.inf))
        )
        bounds = [relaxed.fun, *([] if solved.mip_dual_bound is None else [solved.mip_dual_bound])]
        found = None if solved.x is None else round(-solved.fun)
        return _Solved(found, int(np.floor(-max(bounds) + 1e-6)))


class Optimum:
    """The most groups of a fleet, and what is possible besides with as many."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self.services = [
            {**one, "roles": {name: role for name, role in one["roles"].items() if role["pods"]}}
            for one in told["services"]
        ]
        self.count = Counter(
            _Nodes(
                node["at"]["s1"], node["at"]["s2"], node["labels"]["hw"], int(node["free"]["gpu"])
            )
            for node in told["nodes"]
        )
        types = defaultdict(set), defaultdict(set)
        for one in self.count:
            types[0][one.s1].add(one.hardware)
            types[1][one.s2].add(one.hardware)
        self.high = {one for one in self.count if len(types[0][one.s1]) > 1}
        self.medium = {one for one in self.count if len(types[1][one.s2]) > 1} - self.high

    def is_at_stake(self, nodes: Iterable[_Nodes]) -> bool:
        """Return whether there are such nodes, and services that needn't sit on them."""
        return bool(nodes) and not all(map(wants_s1, self.services))

    def most(self, *, spared: Iterable[_Nodes] = ()) -> _Solved:
        """Return the most groups, with no service that needn't on nodes that are spared."""
        program, groups = self._program(set(spared), near=False)
        return program.maximise(column for columns in groups.values() for column in columns)

    def most_near(self, groups: int) -> _Solved:
        """Return the most groups wholly under one S1, of services that want that."""
        program, columns = self._program(set(), near=True)
        program.row([(one, 1) for every in columns.values() for one in every], groups, np.inf)
        return program.maximise(columns["near"])

    def _program(
        self, spared: set[_Nodes], *, near: bool
    ) -> tuple[_Program, dict[str, list[int]]]:
        program = _Program()
        load: dict[_Nodes, list[tuple[int, int]]] = defaultdict(list)
        columns: dict[str, list[int]] = {"near": [], "far": []}
        for at, service in enumerate(self.services):
            levels = {service["require"]: "near" if service["require"] == "s1" else "far"}
            if near and wants_s1(service):
                levels["s1"] = "near"
            usable = self.count.keys() - (set() if wants_s1(service) else spared)
            own: list[int] = []
            for level, kind in levels.items():
                made = self._service(program, (at, level), usable, load)
                columns[kind] += made
                own += made
            program.row([(one, 1) for one in own], 0, service["groups"])
        self._capacity(program, load)
        return program, columns

    def _service(
        self,
        program: _Program,
        which: tuple[int, str],
        usable: Iterable[_Nodes],
        load: dict[_Nodes, list[tuple[int, int]]],
    ) -> list[int]:
        """Add groups of a service that lie in one domain of a level each."""
        at, level = which
        service = self.services[at]
        domains: dict[str, list[_Nodes]] = defaultdict(list)
        for one in sorted(usable, key=repr):
            domains[one.domain(level)].append(one)
        groups = []
        for domain, nodes in domains.items():
            column = program.column(at, level, domain, most=service["groups"])
            groups.append(column)
            for name, role in service["roles"].items():
                pods = []
                for one in nodes:
                    if one.hardware in role["hw"] and one.free >= role["gpu"]:
                        pod = program.column(at, level, name, one)
                        load[one].append((pod, role["gpu"]))
                        pods.append((pod, 1.0))
                program.row([*pods, (column, -role["pods"])], 0, 0)
        return groups

    def _capacity(self, program: _Program, load: dict[_Nodes, list[tuple[int, int]]]) -> None:
        for one, pods in load.items():
            for size in {gpus for _, gpus in pods}:
                slots = self.count[one] * (one.free // size)
                terms = [(pod, gpus // size) for pod, gpus in pods if gpus >= size]
                program.row(terms, 0, slots)


def wants_s1(service: Mapping[str, Any]) -> bool:
    """Return whether a service requires or prefers one S1; the others need no scarce one."""
    return "s1" in {service["require"], service.get("prefer")}


class Judged:
    """An answer looked at node by node: what it has placed, and whether it may."""

    def __init__(self, told: Mapping[str, Any], groups: Iterable[Mapping[str, Any]]) -> None:
        self.services = {one["id"]: one for one in told["services"]}
        self.nodes = {one["id"]: one for one in told["nodes"]}
        self.taken: Counter[str] = Counter()
        self.unneeding: Counter[str] = Counter()
        self.groups = self.near = 0
        counted: Counter[str] = Counter()
        for group in groups:
            self._judge(group)
            counted[group["service"]] += 1
        for name, count in counted.items():
            _demand(count <= self.services[name]["groups"], name)
        for name, gpus in self.taken.items():
            _demand(gpus <= self.nodes[name]["free"]["gpu"], name)

    def _judge(self, group: Mapping[str, Any]) -> None:
        service = self.services[group["service"]]
        at: dict[str, set[str]] = {"cluster": set(), "s2": set(), "s1": set()}
        for name, role in service["roles"].items():
            placed = group.get(name, {})
            _demand(sum(placed.values()) == role["pods"], f"{service['id']} {name}")
            for node, pods in placed.items():
                _demand(self.nodes[node]["labels"]["hw"] in role["hw"], node)
                self.taken[node] += pods * role["gpu"]
                if not wants_s1(service):
                    self.unneeding[node] += pods * role["gpu"]
                at["s1"].add(self.nodes[node]["at"]["s1"])
                at["s2"].add(self.nodes[node]["at"]["s2"])
        _demand(len(at[service["require"]]) <= 1, service["id"])
        self.groups += 1
        self.near += wants_s1(service) and len(at["s1"]) == 1

    def scarce_gpus(self, nodes: Iterable[_Nodes]) -> int:
        """Return the GPUs under some S1s that services hold which needn't."""
        domains = {one.s1 for one in nodes}
        return sum(
            gpus
            for name, gpus in self.unneeding.items()
            if self.nodes[name]["at"]["s1"] in domains
        )


def _demand(met: bool, what: str) -> None:  # noqa: FBT001 - as an assertion
    if not met:
        raise ValueError(f"the answer isn't valid: {what}")


def ours(number: int) -> Row:
    """Return what ``place --fleet`` does with a fleet, and how long it takes."""
    told = fleet(number)
    optimum = Optimum(told)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(told, file)
        file.flush()
        begun_s = time.process_time()
        answer: Any = answered_fleet(file.name)
        took_s = time.process_time() - begun_s
    judged = Judged(told, answer["groups"])
    return {
        "groups": judged.groups,
        "near": judged.near,
        "high_gpus": judged.scarce_gpus(optimum.high),
        "scarce_gpus": judged.scarce_gpus(optimum.high | optimum.medium),
        "took_s": took_s,
    }


def best(number: int) -> Row:
    """Return the optimum of a fleet: found and bound of each figure, and what can be spared.

    What can be spared is ``None`` where there is nothing to spare.
    """
    optimum = Optimum(fleet(number))
    groups = optimum.most()
    count = groups.found or 0
    near = optimum.most_near(count)
    spared = [
        optimum.most(spared=nodes).found == count if optimum.is_at_stake(nodes) else None
        for nodes in (optimum.high, optimum.high | optimum.medium)
    ]
    return {
        "groups": [groups.found, groups.bound],
        "near": [near.found, near.bound],
        "high_spared": spared[0],
        "scarce_spared": spared[1],
    }


def _rows(path: Path, numbers: Iterable[int]) -> Iterator[tuple[int, Row]]:
    """Yield the optimum of each fleet, read where it is known and else worked out and kept."""
    known = {}
    if path.exists():
        known = {row["fleet"]: row for row in map(json.loads, path.read_text().splitlines())}
    for number in numbers:
        if number not in known:
            known[number] = {"fleet": number, **best(number)}
            with path.open("a") as file:
                file.write(json.dumps(known[number]) + "\n")
        yield number, known[number]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fleets", type=int, default=200)
    parser.add_argument("--from", type=int, default=0, dest="first", help="number of the first")
    parser.add_argument("--rows", type=Path, default=Path("var/optimum.jsonl"))
    parser.add_argument("--optimum-only", action="store_true")
    told = parser.parse_args()
    told.rows.parent.mkdir(parents=True, exist_ok=True)
    numbers = range(told.first, told.first + told.fleets)
    if told.optimum_only:
        for number, row in _rows(told.rows, numbers):
            print(number, row, flush=True)
        return
    pairs = []
    for number, row in _rows(told.rows, numbers):
        pairs.append((row, ours(number)))
        print(number, *pairs[-1], file=sys.stderr, flush=True)
    _print(pairs)


def _print(pairs: list[tuple[Row, Row]]) -> None:
    print(f"CPython {platform.python_version()}, {len(pairs)} fleets, every answer valid")
    for name, what in (("groups", "groups"), ("near", "under one S1")):
        # A fleet with fewer groups may have more pairs than the optimum: they make up for none.
        found = [(min(mine[name], row[name][1]), row[name][1]) for row, mine in pairs]
        total = sum(one for one, _ in found), sum(most for _, most in found)
        worst = min((one / most for one, most in found if most), default=1.0)
        reached = sum(one == most for one, most in found)
        proved = sum(row[name][0] == row[name][1] for row, _ in pairs)
        print(
            f"{what:16} {total[0]:,} of {total[1]:,} = {total[0] / max(total[1], 1):.2%}, "
            f"worst fleet {worst:.1%}, all of them in {reached}, optimum proved in {proved}"
        )
    for name in ("high", "scarce"):
        can = [mine[f"{name}_gpus"] for row, mine in pairs if row[f"{name}_spared"]]
        some = [gpus for gpus in can if gpus]
        print(
            f"{name + ' spared':16} {len(can) - len(some)} of {len(can)} fleets; else GPUs {some}"
        )
    took_s = [mine["took_s"] for _, mine in pairs]
    print(f"{'time':16} median {statistics.median(took_s):.2f} s, worst {max(took_s):.2f} s")


if __name__ == "__main__":
    main()
