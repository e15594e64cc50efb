"""Which instances make one service and what role each has, by what their series say or do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.presets import PRESETS
from controller.core.readings.survey import (
    COARSE,
    FURTHER,
    GENERATED,
    INSTANCE,
    MODELS,
    NAMESPACES,
    PODS,
    REQUESTS,
    ROLES_BY,
    SERVICES,
    SOURCE,
    SOURCES,
    Row,
    Survey,
)
from controller.core.types import ROLES, Floats, Role

Key = tuple[str, str]
"""Namespace and pod of an instance, or nothing and its address."""

_ONE_TOKEN: Final = 1.5
"""A prefill engine generates the first token of a request and no more."""
_FEWEST_REQUESTS: Final = 1e-3
_MOSTLY: Final = 0.5
_SHORT: Final[Mapping[str, Role]] = {
    "p": Role.PREFILL,
    "d": Role.DECODE,
    "kv_producer": Role.PREFILL,
    "kv_consumer": Role.DECODE,
}
_BOTH_IN_ONE: Final = frozenset({"unified", "aggregated", "agg", "prefill_and_decode", "both"})
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PARTS: Final = (
    {Role.PREFILL: "prefill(?:er|s)?", Role.DECODE: "decode(?:r|s)?"},
    {Role.PREFILL: "p", Role.DECODE: "d"},
)
_SHAPES: Final = (
    "(?P<service>.+?)-(?:{})(?:[-0-9].*)?",
    "(?:{})-(?P<service>.+?)(?:-[a-z0-9]{{5,10}})?-[a-z0-9]+",
)


@dataclass(frozen=True, slots=True)
class Member:
    """One instance, the preset that knows it, when it was seen (T,), and its role with why."""

    key: Key
    preset: str
    labels: Mapping[str, str]
    seen: Floats
    role: Role | None = None
    reason: str = ""

    @property
    def model(self) -> str:
        """The model it serves, as it says; empty where it doesn't."""
        return next((self.labels[name] for name in MODELS if self.labels.get(name)), "")

    @property
    def pod(self) -> str:
        """The name of its pod; empty where nobody says."""
        return self.key[1] if self.pod_label else ""

    @property
    def pod_label(self) -> str:
        """The label that names its pod; empty where none does."""
        return next((name for name in PODS if self.labels.get(name)), "")

    @property
    def namespace(self) -> str:
        """The namespace it is in; empty where nobody says."""
        return self.labels.get(self.namespace_label, "")

    @property
    def namespace_label(self) -> str:
        """The label that names its namespace."""
        return next((name for name in NAMESPACES if self.labels.get(name)), NAMESPACES[0])


@dataclass(frozen=True, slots=True)
class Group:
    """Instances that make one service: how their series are known, if they can be, and why.

    ``frontends`` are presets of frontends that are known the same way, ``apart`` those of which
    only the model says that they belong to it.
    """

    members: tuple[Member, ...]
    known_as: str
    namespace: str
    attach: Attach | None
    way: str
    why: str
    frontends: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()


def key_of(labels: Mapping[str, str]) -> Key:
    """Return what tells an instance from others: its pod if it has one, else its address."""
    pod = next((labels[name] for name in PODS if labels.get(name)), "")
    if not pod:
        return ("", labels.get(INSTANCE, ""))
    return (next((labels[name] for name in NAMESPACES if labels.get(name)), ""), pod)


def plain_model(name: str) -> str:
    """Return a model's name as all layers spell it (trap 9)."""
    return name.rpartition("/")[2].casefold()


def _signature(labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in COARSE)


class Figures:
    """What each instance counted, found by its key."""

    def __init__(self, survey: Survey) -> None:
        """Look through all rows once."""
        self._rows: dict[tuple[str, str, Key], list[Row]] = defaultdict(list)
        self._coarse: dict[tuple[str, str, tuple[str, ...]], list[Row]] = defaultdict(list)
        for (preset, what), rows in survey.figures.items():
            for row in rows:
                if any(key := key_of(row.labels)):
                    self._rows[preset, what, key].append(row)
                else:
                    self._coarse[preset, what, _signature(row.labels)].append(row)

    def rows(self, one: Member, what: str) -> list[Row]:
        """Return what an instance counted, of one of the jobs that scrape it."""
        found = self._rows.get((one.preset, what, one.key), [])
        job = one.labels.get("job")
        return [row for row in found if row.labels.get("job") == job] or found

    def together(
        self, members: Sequence[Member], others: Sequence[Member], what: str
    ) -> list[Row]:
        """Return what instances counted that are not told apart, by labels that no other has."""
        mine = {(one.preset, what, _signature(one.labels)) for one in members}
        theirs = {(one.preset, what, _signature(one.labels)) for one in others}
        return [row for key in sorted(mine - theirs) for row in self._coarse.get(key, ())]

    def total(self, one: Member, what: str) -> float:
        """Return the mean rate [1/s] over the hours in which the instance was there."""
        rows = [row.values for row in self.rows(one, what) if not np.isnan(row.values).all()]
        return float(sum(np.nanmean(values) for values in rows))


def members_of(survey: Survey, preset: str) -> list[Member]:
    """Return the instances of a preset once each, though two jobs may scrape them (M12)."""
    found: dict[Key, Member] = {}
    for row in sorted(
        survey.instances.get(preset, ()), key=lambda each: sorted(each.labels.items())
    ):
        key = key_of(row.labels)
        if key in found:
            seen = np.fmax(found[key].seen, row.values)
            found[key] = replace(found[key], seen=seen)
        else:
            found[key] = Member(key, preset, row.labels, row.values)
    return list(found.values())


def groups_of(survey: Survey) -> list[Group]:
    """Return the services of a survey, those known by the same labels or pods as one."""
    made: dict[tuple[str, str, str], Group] = {}
    figures = Figures(survey)
    for preset in survey.instances:
        for each in _of_preset(survey, preset, figures):
            key = (each.known_as, each.namespace, repr(_open(each.attach)))
            made[key] = _united(made[key], each) if key in made else each
    return list(made.values())


def _open(attach: Attach | None) -> Attach | None:
    """Leave out what each engine calls the roles: two of one service may differ in it."""
    return replace(attach, roles={}) if isinstance(attach, ByLabels) else attach


def _united(one: Group, other: Group) -> Group:
    attach = one.attach
    if isinstance(attach, ByLabels) and isinstance(other.attach, ByLabels):
        both = (attach.roles, other.attach.roles)
        roles = {
            role: "|".join(dict.fromkeys(each[role] for each in both if role in each))
            for role in ROLES
        }
        attach = replace(attach, roles={role: text for role, text in roles.items() if text})
    return replace(one, attach=attach, members=(*one.members, *other.members))


def _of_preset(survey: Survey, preset: str, figures: Figures) -> Iterator[Group]:
    rest = {each.key: each for each in members_of(survey, preset)}
    everyone = list(rest.values())
    infos = {key_of(row.labels): row.labels for row in survey.infos}
    ways = (_by_label, _by_info, _by_pod, _by_behaviour, _by_nobody)
    for way in ways:
        for group in way(list(rest.values()), _Look(figures, everyone, infos)):
            for each in group.members:
                rest.pop(each.key, None)
            yield group


@dataclass(frozen=True, slots=True)
class _Look:
    figures: Figures
    everyone: Sequence[Member]
    infos: Mapping[Key, Mapping[str, str]]


def role_in(label: str, text: str) -> Role | None:
    """Return the role that the value of a label names."""
    low = text.casefold()
    is_prefill, is_decode = "prefill" in low, "decode" in low
    if is_prefill != is_decode:
        return Role.PREFILL if is_prefill else Role.DECODE
    if label in ROLES_BY and low in _SHORT:
        return _SHORT[low]
    meaning = (preset.roles.get(label, {}) for preset in PRESETS.values())
    return next((roles[text] for roles in meaning if text in roles), None)


def _by_label(rest: Sequence[Member], look: _Look) -> Iterator[Group]:
    left = {each.key: each for each in rest}
    for label in (*ROLES_BY, *FURTHER, *SERVICES):
        told = []
        for each in left.values():
            text = each.labels.get(label, "")
            if text and (role := role_in(label, text)):
                told.append(replace(each, role=role, reason=f"its label {label} is {text}"))
        for group in _grouped(told, label, look):
            # A label that each role has for itself, such as the job, tells a role and no service.
            if label in ROLES_BY or len({each.role for each in group.members}) == len(ROLES):
                for each in group.members:
                    left.pop(each.key, None)
                yield group


def _grouped(told: Sequence[Member], label: str, look: _Look) -> Iterator[Group]:
    """Yield groups by the label that unites both roles best."""
    for members in _apart(told).values():
        name = _service_label(members)
        if not name:
            continue
        roles = _meanings(label, members)
        spaces = _spaces(name, look.everyone)
        for known_as, mine in _by_value(members, name).items():
            only = _only(name, mine[0], spaces[known_as])
            attach = ByLabels(name, label, roles, only=only)
            why = f"the label {name} is {known_as} and the label {label} tells the role"
            yield Group(tuple(mine), known_as, mine[0].namespace, attach, f"label {label}", why)


def _apart(members: Sequence[Member]) -> dict[str, list[Member]]:
    found: dict[str, list[Member]] = defaultdict(list)
    for each in members:
        found[each.namespace].append(each)
    return found


def _by_value(members: Sequence[Member], label: str) -> dict[str, list[Member]]:
    found: dict[str, list[Member]] = defaultdict(list)
    for each in members:
        found[each.labels[label]].append(each)
    return found


def _service_label(members: Sequence[Member]) -> str:
    """Return the label whose values have most instances in groups of both roles and one model."""
    best, most = "", (-1, -1)
    for name in SERVICES:
        if not all(each.labels.get(name) for each in members):
            continue
        groups = _by_value(members, name).values()
        paired = sum(len(each) for each in groups if {one.role for one in each} >= set(ROLES))
        alone = all(len({plain_model(one.model) for one in each}) == 1 for each in groups)
        if (score := (paired, int(alone))) > most:
            best, most = name, score
    return best


def _spaces(name: str, everyone: Sequence[Member]) -> dict[str, set[str]]:
    """Return the namespaces in which each value of a label is found."""
    found: dict[str, set[str]] = defaultdict(set)
    for each in everyone:
        found[each.labels.get(name, "")].add(each.namespace)
    return found


def _only(name: str, one: Member, spaces: set[str]) -> dict[str, str]:
    """Return the namespace, where the same name stands for something else in another."""
    space = one.namespace_label
    mine = one.namespace
    others = spaces - {mine}
    return {space: _exact(mine)} if others and mine and name != space else {}


def _exact(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _meanings(label: str, members: Sequence[Member]) -> dict[Role, str]:
    """Return the values of a label by role; that of a role not seen yet is as its opposite's."""
    values = {role: {one.labels[label] for one in members if one.role is role} for role in ROLES}
    found = {role: _matching(role, values[role]) for role in ROLES if values[role]}
    for role, other in (ROLES, ROLES[::-1]):
        if role not in found and other.value in found[other]:
            found[role] = found[other].replace(other.value, role.value)
    return {role: found[role] for role in ROLES if role in found}


def _matching(role: Role, values: set[str]) -> str:
    """Return an expression for the values of a label that stand for a role."""
    if len(values) > 1 and all(role.value in value for value in values):
        return f".*{role.value}.*"
    return "|".join(sorted(map(_exact, values)))


def _by_info(rest: Sequence[Member], look: _Look) -> Iterator[Group]:
    told: dict[str, list[Member]] = defaultdict(list)
    for each in rest:
        said = look.infos.get(each.key, {}) if each.pod_label else {}
        if said.get("service") and said.get("role") in set(Role):
            why = f"heteroscale_instance_info says {said['role']} of its pod"
            told[said["service"]].append(replace(each, role=Role(said["role"]), reason=why))
    for service, members in told.items():
        one = members[0]
        attach = ByInfo(one.namespace_label, one.pod_label)
        why = f"heteroscale_instance_info names {service} for its pods"
        yield Group(tuple(members), service, one.namespace, attach, "instance info", why)


def pod_patterns() -> Iterator[dict[Role | None, str]]:
    """Yield expressions for pods of both roles, the words first, then single letters."""
    for words in _PARTS:
        for shape in _SHAPES:
            yield {role: shape.format(word) for role, word in words.items()}


def _by_pod(rest: Sequence[Member], look: _Look) -> Iterator[Group]:
    left = {each.key: each for each in rest if each.pod_label}
    for patterns in pod_patterns():
        found: dict[Key, list[Member]] = defaultdict(list)
        fits = {each.key: _fits(patterns, each.pod) for each in look.everyone if each.pod_label}
        seen = _Pods.of(fits)
        for each in left.values():
            if len(fits[each.key]) == 1:
                role, service = fits[each.key][0]
                why = f"its pod {each.pod} is named so"
                found[each.key[0], service].append(replace(each, role=role, reason=why))
        for (space, service), members in found.items():
            # A letter alone is a role only beside the other one.
            if _is_letters(patterns) and len({each.role for each in members}) < len(ROLES):
                continue
            for each in members:
                left.pop(each.key)
            yield _of_pods((space, service), members, patterns, seen)


def _is_letters(patterns: Mapping[Role | None, str]) -> bool:
    return "prefill" not in patterns[Role.PREFILL]


@dataclass(frozen=True, slots=True)
class _Pods:
    """How many names of pods expressions fit, and in which namespaces each service is then."""

    count: int
    one_role: int
    both_roles: int
    spaces: Mapping[str, set[str]]

    @classmethod
    def of(cls, fits: Mapping[Key, Sequence[tuple[Role, str]]]) -> _Pods:
        """Return it of what the expressions make of each pod."""
        spaces: dict[str, set[str]] = defaultdict(set)
        for (space, _), fit in fits.items():
            for _, service in fit:
                spaces[service].add(space)
        one_role = sum(len(fit) == 1 for fit in fits.values())
        return cls(len(fits), one_role, sum(len(fit) > 1 for fit in fits.values()), spaces)


def _of_pods(
    key: Key, members: Sequence[Member], patterns: dict[Role | None, str], seen: _Pods
) -> Group:
    space, service = key
    one = members[0]
    elsewhere = seen.spaces[service] - {space}
    only = {one.namespace_label: _exact(space)} if elsewhere and space else {}
    attach = ByPod(patterns, one.namespace_label, one.pod_label, only=only)
    why = (
        f"pods are named {service}-<role>; of {seen.count} pod names seen the expressions fit"
        f" {seen.one_role}, and {seen.both_roles or 'none'} of both roles"
    )
    return Group(tuple(members), service, space, attach, "pod name", why)


def _fits(patterns: Mapping[Role | None, str], pod: str) -> list[tuple[Role, str]]:
    return [
        (role, match["service"])
        for role, text in patterns.items()
        if role and (match := re.fullmatch(text, pod))
    ]


def _by_behaviour(rest: Sequence[Member], look: _Look) -> Iterator[Group]:
    told = [each for each in (_behaving(one, look.figures) for one in rest) if each.role]
    for members in _apart(told).values():
        # Without an engine that stops at the first token, long answers are no sign of a role.
        if not any(each.role is Role.PREFILL for each in members):
            continue
        if separating := _separating(members):
            yield from _grouped(members, separating, look)
            continue
        name = _service_label(members)
        for known_as, mine in (_by_value(members, name) if name else {"": members}).items():
            why = "its engines behave so; no label and no name of a pod tells the roles"
            yield Group(tuple(mine), known_as, mine[0].namespace, None, "behaviour", why)


def _separating(members: Sequence[Member]) -> str:
    """Return a label of which no value has engines of both roles."""
    for name in (*ROLES_BY, *FURTHER, *SERVICES):
        if not all(each.labels.get(name) for each in members):
            continue
        roles = [{one.role for one in mine} for mine in _by_value(members, name).values()]
        if len(roles) >= len(ROLES) and all(len(each) == 1 for each in roles):
            return name
    return ""


def _behaving(one: Member, figures: Figures) -> Member:
    """Return an engine with the role that its tokens tell, if any."""
    requests = figures.total(one, REQUESTS)
    if not requests > _FEWEST_REQUESTS or not figures.rows(one, GENERATED):
        return one
    each = figures.total(one, GENERATED) / requests
    if each <= _ONE_TOKEN:
        said = f"it generated {each:.2f} tokens a request, as prefill engines do"
        return replace(one, role=Role.PREFILL, reason=said)
    return _generating(one, figures, each)


def _generating(one: Member, figures: Figures, each: float) -> Member:
    """Return an engine that generates as one of decode, unless it computes prompts itself."""
    sources: dict[str, float] = defaultdict(float)
    for row in figures.rows(one, SOURCES):
        sources[row.labels.get(SOURCE, "")] += float(np.nansum(row.values))
    if not sum(sources.values()):
        said = f"it generated {each:.0f} tokens a request beside engines that generate one"
        return replace(one, role=Role.DECODE, reason=said)
    taken = sources["external_kv_transfer"] / sum(sources.values())
    if taken < _MOSTLY:
        return replace(one, reason=f"it computed {1 - taken:.0%} of its prompt tokens itself")
    said = f"it took {taken:.0%} of its prompt tokens over from other engines"
    return replace(one, role=Role.DECODE, reason=said)


def _by_nobody(rest: Sequence[Member], look: _Look) -> Iterator[Group]:
    """Yield engines that do both phases, and those whose role nobody tells."""
    for members in _apart([_behaving(each, look.figures) for each in rest]).values():
        name = _service_label(members)
        for known_as, mine in (_by_value(members, name) if name else {"": members}).items():
            told = tuple(replace(each, role=None, reason=_silent(each)) for each in mine)
            why = f"the label {name} is {known_as}" if name else "no label names a service"
            yield Group(told, known_as, mine[0].namespace, None, "nobody", why)


def _silent(one: Member) -> str:
    for label in ROLES_BY:
        text = one.labels.get(label, "")
        if text.casefold() in _BOTH_IN_ONE:
            return f"its label {label} is {text}: it does both phases"
        if text == "dynamic":
            return f"its label {label} is dynamic: its role may change while it runs"
    return one.reason if one.role is None and one.reason else "nothing tells its role"
