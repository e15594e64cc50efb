"""One placement cycle of a file: nodes, services and requests in, a plan out."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from controller.core.fleet import Level, NodeRow
from controller.core.placement.cycle import plan_cycle
from controller.core.placement.layout import Facts, fleet_of
from controller.core.placement.values import (
    Affinity,
    Choice,
    Held,
    PartNeed,
    Plan,
    Request,
    RoleForm,
    RoleNeed,
    Spread,
    Tenant,
)
from controller.core.types import Instances, Role
from controller.management.fields import (
    MISSING,
    Plain,
    a_count,
    a_flag,
    a_list,
    a_number,
    a_text,
    an_object,
    bad,
    get,
    one_of,
    read_document,
)

LEVELS: Final[Mapping[str, Level]] = {
    "s1": Level.S1,
    "s2": Level.S2,
    "cluster": Level.CLUSTER,
}
WORDS: Final = {level: name for name, level in LEVELS.items()}
MOST_GPUS: Final = 1024
MOST_INSTANCES: Final = 100_000


def answered_cycle(name: str) -> dict[str, object]:
    """Return the plan for a file, or for standard input if it is a dash.

    Raises :class:`~controller.management.answering.AnswerError` for a file that can't be read.
    """
    told = read_document(name)
    nodes = _Nodes()
    for at, one in enumerate(a_list(told, "nodes")):
        nodes.add(one, f"nodes[{at}]")
    tenants = [
        _tenant(one, nodes, f"services[{at}]") for at, one in enumerate(a_list(told, "services"))
    ]
    _once((tenant.name for tenant in tenants), "services[{}].name")
    names = {tenant.name for tenant in tenants}
    asked = [
        _request(one, names, f"requests[{at}]") for at, one in enumerate(a_list(told, "requests"))
    ]
    _once((request.service for request in asked), "requests[{}].service")
    begun_s = time.perf_counter()
    plan = plan_cycle(fleet_of(nodes.rows, tenants, nodes.facts()), tenants, asked)
    wall_ms = 1000 * (time.perf_counter() - begun_s)
    return {**plan_answer(plan), "wall_ms": round(wall_ms, 3)}


def plan_answer(plan: Plan) -> dict[str, object]:
    """Return a plan as the command prints it (cli: place)."""
    return {
        "placements": [
            {
                "service": one.service,
                "group": one.group,
                "new_group": one.is_new_group,
                "role": one.role.value,
                "instance": one.instance,
                "nodes": dict(one.nodes),
                "hardware": one.hardware,
                "level": WORDS[one.where.level],
                "domain": one.where.label,
                **({"part": one.part} if one.part else {}),
            }
            for one in plan.placements
        ],
        "removals": [
            {
                "service": one.service,
                "group": one.group,
                "role": one.role.value,
                "instance": one.instance,
                "nodes": dict(one.nodes),
                "why": one.why,
            }
            for one in plan.removals
        ],
        "unplaced": [
            {
                "service": one.service,
                "asked": one.asked._asdict(),
                "placed": one.placed._asdict(),
                "reason_code": one.code.value,
                "sentence": one.sentence,
                "would_fit_if": one.would_fit_if,
            }
            for one in plan.unplaced
        ],
        "groups": [
            {
                "name": one.name,
                "service": one.service,
                "domain": one.where.label if one.where else None,
                "level": WORDS[one.where.level] if one.where else None,
                "subgroup_priority": one.subgroup,
                **one.counts._asdict(),
            }
            for one in plan.groups
        ],
        "candidates": {
            service: [
                {
                    "level": WORDS[one.where.level],
                    "domain": one.where.label,
                    "units": one.units,
                    "scarcity": one.scarcity,
                    "free_gpus": one.left_over,
                    "group": one.group,
                    "lost": one.lost,
                }
                for one in looked
            ]
            for service, looked in plan.looked_at.items()
            if looked
        },
    }


@dataclass(slots=True)
class _Nodes:
    """The nodes of a file as they are read, with what is checked over all of them."""

    rows: list[NodeRow] = field(default_factory=list)
    hardware: dict[str, str] = field(default_factory=dict)
    above: dict[tuple[str, str], str] = field(default_factory=dict)
    labels: dict[str, dict[str, str]] = field(default_factory=dict)
    taints: dict[str, frozenset[str]] = field(default_factory=dict)
    barred: dict[str, str] = field(default_factory=dict)

    def add(self, told: Plain, where: str) -> None:
        gpus = a_count(told, "gpus", where, most=MOST_GPUS)
        row = NodeRow(
            name=a_text(told, "name", where),
            cluster=a_text(told, "cluster", where, default=""),
            s2=a_text(told, "s2", where, default=""),
            s1=a_text(told, "s1", where, default=""),
            rack=a_text(told, "rack", where, default=""),
            hardware=a_text(told, "hardware", where),
            gpus=gpus,
            free=a_count(told, "gpus_free", where, most=gpus, default=gpus),
            usable=a_flag(told, "schedulable", where, default=True),
        )
        if row.name in self.hardware:
            raise bad(f"{row.name!r} is there twice", f"{where}.name")
        if row.s1 and self.above.setdefault((row.cluster, row.s1), row.s2) != row.s2:
            other = self.above[row.cluster, row.s1]
            raise bad(f"S1 {row.s1!r} is under {row.s2!r} and {other!r}", f"{where}.s2")
        self.rows.append(row)
        self.hardware[row.name] = row.hardware
        labels = an_object(told, "labels", where, default={})
        if labels:
            self.labels[row.name] = {str(key): str(value) for key, value in labels.items()}
        taints = a_list(told, "taints", where, default=[])
        if taints:
            self.taints[row.name] = frozenset(map(str, taints))
        if not row.usable:
            self.barred[row.name] = "not schedulable"

    def facts(self) -> Facts:
        return Facts(self.labels, self.taints, self.barred)


def _once(names: Iterator[str], where: str) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if name in seen:
            raise bad(f"{name!r} is there twice", where.format(at))
        seen.add(name)


def _tenant(told: Plain, nodes: _Nodes, where: str) -> Tenant:
    name = a_text(told, "name", where)
    given = an_object(told, "roles", where)
    unknown = given.keys() - {role.value for role in Role}
    if unknown or not given:
        raise bad("name prefill, decode or both", f"{where}.roles")
    roles = {
        role: _form(given[role.value], f"{where}.roles.{role.value}")
        for role in Role
        if role.value in given
    }
    affinity = an_object(told, "affinity", where, default={})
    within = f"{where}.affinity"
    level = LEVELS[one_of(affinity, "level", within, tuple(LEVELS), "s2")]
    mode = one_of(affinity, "mode", within, ("required", "preferred"), "preferred")
    return Tenant(
        name=name,
        roles=roles,
        held=tuple(_held(told, name, roles, nodes, where)),
        priority=a_count(told, "priority", where, least=-1_000_000, most=1_000_000, default=0),
        affinity=Affinity(level, required=mode == "required"),
        pd_ratio=_ratio(told, where),
        spread=_spread(told, level, where),
    )


def _ratio(told: Plain, where: str) -> float | None:
    if get(told, "pd_ratio", where) in (MISSING, None):
        return None
    return a_number(told, "pd_ratio", where, default=1.0)


def _spread(told: Plain, affinity: Level, where: str) -> Spread | None:
    if get(told, "spread", where) in (MISSING, None):
        return None
    spread, here = an_object(told, "spread", where), f"{where}.spread"
    level = LEVELS[one_of(spread, "level", here, tuple(LEVELS), "s2")]
    if level < affinity:
        raise bad("use a level that is not nearer than the affinity", f"{here}.level")
    return Spread(level, a_count(spread, "domains", here, least=2, default=2))


def _form(told: Plain, where: str) -> RoleForm:
    parts = an_object(told, "parts", where, default={})
    if not parts:
        return RoleForm(_need(told, where))
    return RoleForm(
        parts=tuple(
            PartNeed(
                name,
                a_count(one, "pods", f"{where}.parts.{name}", least=1, default=1),
                _need(one, f"{where}.parts.{name}"),
            )
            for name, one in parts.items()
        ),
        level=LEVELS[one_of(told, "level", where, tuple(LEVELS), "s1")],
    )


def _need(told: Plain, where: str) -> RoleNeed:
    hardware = a_list(told, "hardware", where)
    if not hardware:
        raise bad("name at least one hardware type", f"{where}.hardware")
    select = an_object(told, "select", where, default={})
    return RoleNeed(
        hardware=tuple(
            Choice(
                a_text(one, "type", f"{where}.hardware[{at}]"),
                a_count(one, "gpus_per_instance", f"{where}.hardware[{at}]", least=1),
                a_number(one, "throughput", f"{where}.hardware[{at}]", default=1.0),
            )
            for at, one in enumerate(hardware)
        ),
        nodes=a_count(told, "nodes_per_instance", where, least=1, default=1),
        select={
            str(key): tuple(map(str, value)) if isinstance(value, list) else (str(value),)
            for key, value in select.items()
        },
        tolerate=frozenset(map(str, a_list(told, "tolerate", where, default=[]))),
    )


def _held(
    told: Plain, service: str, roles: Mapping[Role, RoleForm], nodes: _Nodes, where: str
) -> Iterator[Held]:
    """Yield the instances a service has; bindings without an instance's name are told apart."""
    numbers = dict.fromkeys(Role, 0)
    for at, group in enumerate(a_list(told, "groups", where, default=[])):
        here = f"{where}.groups[{at}]"
        name = a_text(group, "name", here)
        bindings = [
            _binding(one, roles, f"{here}.bindings[{i}]")
            for i, one in enumerate(a_list(group, "bindings", here, default=[]))
        ]
        for role, instance, part, taken in _instances(bindings, roles, nodes):
            numbers[role] += 1
            called = instance or f"{service}-{role.value}-{numbers[role]}"
            yield Held(called, role, name, taken, part=part, unit=called if part else "")


@dataclass(frozen=True, slots=True)
class _Binding:
    role: Role
    node: str
    gpus: int
    instance: str
    part: str


def _binding(told: Plain, roles: Mapping[Role, RoleForm], where: str) -> _Binding:
    role = Role(one_of(told, "role", where, tuple(role.value for role in roles), ""))
    return _Binding(
        role,
        a_text(told, "node", where),
        a_count(told, "gpus", where, least=1, most=MOST_GPUS),
        a_text(told, "instance", where, default=""),
        a_text(told, "part", where, default=""),
    )


Taken = tuple[tuple[str, int], ...]


def _instances(
    bindings: Sequence[_Binding], roles: Mapping[Role, RoleForm], nodes: _Nodes
) -> Iterator[tuple[Role, str, str, Taken]]:
    """Yield role, name, part and nodes of each instance that bindings stand for.

    Rows of one named instance belong together. Without names, as many rows as an instance has
    nodes make one, and a row with several times its GPUs is several.
    """
    named: dict[tuple[Role, str, str], list[tuple[str, int]]] = {}
    whole: dict[Role, list[tuple[str, int]]] = {role: [] for role in roles}
    for one in bindings:
        need = roles[one.role].need
        if one.instance or one.part or need is None:
            named.setdefault((one.role, one.instance, one.part), []).append((one.node, one.gpus))
        elif need.nodes > 1:
            whole[one.role].append((one.node, one.gpus))
        else:
            each = _gpus_each(need, nodes.hardware.get(one.node, ""))
            count = one.gpus // each if one.gpus % each == 0 else 1
            for _ in range(count):
                yield one.role, "", "", ((one.node, one.gpus // count),)
    for role, taken in whole.items():
        need = roles[role].need
        many = need.nodes if need else 1
        for at in range(0, len(taken), many):
            yield role, "", "", tuple(taken[at : at + many])
    for (role, instance, part), rows in named.items():
        yield role, instance, part, tuple(rows)


def _gpus_each(need: RoleNeed, hardware: str) -> int:
    fitting = (choice.gpus for choice in need.hardware if choice.type == hardware)
    return next(fitting, need.hardware[0].gpus)


def _request(told: Plain, names: set[str], where: str) -> Request:
    service = a_text(told, "service", where)
    if service not in names:
        raise bad(f"there is no service {service!r}", f"{where}.service")
    counts = (
        a_count(told, role.value, where, least=-MOST_INSTANCES, most=MOST_INSTANCES, default=0)
        for role in Role
    )
    return Request(
        service, Instances(*counts), a_count(told, "refused", where, most=1_000_000, default=0)
    )
