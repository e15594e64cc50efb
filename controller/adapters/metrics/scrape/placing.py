"""Which instance of which service a scrape speaks of: the target says it, or what it exports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from controller.core.readings.attach import Attach, ByLabels, ByPod
from controller.core.readings.presets import PRESETS
from controller.core.readings.recipe import Leaf
from controller.core.readings.scrapes import Instance, Sample, Scrape, owned, told_role
from controller.core.readings.sources import Target
from controller.core.types import Role

MOST_NAME: Final = 253
"""Letters of a pod's name; no expression is tried on longer ones."""
Owner = tuple[str, Role | None, str]
"""Service, role and name of an instance."""


@dataclass(frozen=True, slots=True)
class Seen:
    """Targets with what they say now and said before, by address, and the roles they told."""

    targets: Sequence[Target]
    now: Mapping[str, Scrape]
    before: Mapping[str, Scrape]
    roles: Mapping[str, Role]

    def role_of(self, target: Target) -> Role | None:
        """Return its role as configured, or as it told now or at an earlier look."""
        return target.role or self.roles.get(target.url)

    def engines(self) -> list[Instance]:
        """Return the instances that answered for themselves."""
        return [
            Instance(
                target.instance,
                target.service,
                self.role_of(target),
                self.now[target.url],
                self.before.get(target.url),
            )
            for target in self.targets
            if target.service and target.url in self.now
        ]

    def pods(self, leaves: Sequence[Leaf], attach: Attach) -> Iterator[Instance]:
        """Yield whom exporters speak of that are no instance themselves.

        ``leaves`` have the same owner, if any. Only samples that ``attach.only`` lets pass count.
        """
        names = {name for leaf in leaves for name in leaf.names}
        by = leaves[0].owner or _instance_labels(attach)
        placing = _Placing(self, attach)
        for target in self.targets:
            if target.service or target.url not in self.now:
                continue
            earlier = self.before.get(target.url)
            before = {} if earlier is None else owned(_only(earlier, names, attach), by)
            for pod, now in owned(_only(self.now[target.url], names, attach), by).items():
                owner = placing.of(pod, now)
                if owner is not None:
                    service, role, name = owner
                    yield Instance(name, service, role, now, before.get(pod))


def told_roles(
    targets: Sequence[Target], scrapes: Mapping[str, Scrape], earlier: Mapping[str, str]
) -> dict[str, Role]:
    """Return, by address, the roles that engines tell themselves; of the silent the last one."""
    found: dict[str, Role] = {}
    for target in targets:
        if not target.service or target.role is not None:
            continue
        scrape = scrapes.get(target.url)
        role = _told(scrape) if scrape is not None else _kept(earlier.get(target.url))
        if role is not None:
            found[target.url] = role
    return found


def _told(scrape: Scrape) -> Role | None:
    speaking = (p for p in PRESETS.values() if p.roles and scrape.names.intersection(p.proof))
    return next((role for p in speaking if (role := told_role(p.roles, scrape))), None)


def _kept(text: str | None) -> Role | None:
    return Role(text) if text in set(Role) else None


def _instance_labels(attach: Attach) -> tuple[str, ...]:
    return attach.instance if isinstance(attach, ByLabels) else (attach.pod,)


def _only(scrape: Scrape, names: set[str], attach: Attach) -> Scrape:
    """Keep the samples that are asked for and that the expressions of ``only`` match whole."""
    terms = [(label, re.compile(text)) for label, text in attach.only.items()]

    def passes(sample: Sample) -> bool:
        return all(text.fullmatch(sample.labels.get(label, "")) for label, text in terms)

    samples = {
        name: [sample for sample in found if passes(sample)]
        for name, found in scrape.samples.items()
        if name in names
    }
    return Scrape(scrape.at_s, samples, scrape.names)


class _Placing:
    """Finds the instance of a pod: by the names of targets, its own name, or its labels."""

    def __init__(self, seen: Seen, attach: Attach) -> None:
        self._attach = attach
        self._known: dict[str, Owner | None] = {}
        for target in seen.targets:
            if target.service:
                owner = (target.service, seen.role_of(target), target.instance)
                # A name that two services have tells nothing.
                same = self._known.get(target.instance, owner) == owner
                self._known[target.instance] = owner if same else None

    def of(self, pod: str, scrape: Scrape) -> Owner | None:
        """Return whose pod it is, ``None`` where nothing tells."""
        if pod in self._known:
            return self._known[pod]
        match self._attach:
            case ByPod(patterns):
                return _by_name(pod, patterns)
            case ByLabels():
                return _by_labels(pod, scrape, self._attach)
            case _:
                return None


def _by_name(pod: str, patterns: Mapping[Role | None, str]) -> Owner | None:
    if len(pod) > MOST_NAME:
        return None
    for role, text in patterns.items():
        found = re.fullmatch(text, pod)
        if found is not None and found["service"]:
            return found["service"], role, pod
    return None


def _by_labels(pod: str, scrape: Scrape, attach: ByLabels) -> Owner | None:
    meaning = {value: role for role, value in attach.roles.items()}
    said = {
        (sample.labels.get(attach.service, ""), meaning.get(sample.labels.get(attach.role, "")))
        for samples in scrape.samples.values()
        for sample in samples
    }
    if len(said) != 1:
        return None
    service, role = said.pop()
    return (service, role, pod) if service else None
