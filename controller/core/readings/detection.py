"""From a survey to proposals: services, roles, engine, goals, and what each is made out from."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from controller.core.phrases import duration, listed, plural
from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.goals import (
    Carried,
    Goal,
    carried,
    goal_of,
    quantile_of,
    ratio_of,
    summed,
    target_of,
)
from controller.core.readings.presets import PRESETS
from controller.core.readings.recipe import Speaker
from controller.core.readings.survey import (
    DAY_S,
    DCGM,
    GPU_MODEL,
    GPU_OWNER,
    HOUR_S,
    OUTPUT,
    PREFILLED,
    QUARTER_S,
    REQUESTS,
    SM_ACTIVE,
    TBT,
    TTFT,
    Row,
    Survey,
    asked_of,
)
from controller.core.readings.telling import Figures, Group, Key, Member, groups_of, plain_model
from controller.core.types import ROLES, Floats, Role

FEWEST_SCRAPES: Final = 4
USUAL_WINDOW_S: Final = 60
MOST_NAMES: Final = 5
LONGEST_SLUG: Final = 63
NEW_HARDWARE: Final = "new:"
"""Before the GPU model of a hardware type that is yet to be made."""
UNKNOWN_GPU: Final = "unknown GPU"
ENABLE_SM: Final = (
    f"SM activity is not exported: add {SM_ACTIVE} to the counters file of dcgm-exporter"
    " (option -f; the line is there, commented out) and restart it."
)


class UnansweredError(Exception):
    """An endpoint could not be surveyed at all; the text says why."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A statement, and the metrics, labels and figures it rests on."""

    says: str
    rests_on: str


@dataclass(frozen=True, slots=True)
class RoleFound:
    """Instances of one role: now, the fewest and most of a day, and what they run on.

    ``gpus`` are per instance and None where nobody tells.
    """

    now: int
    least: int
    most: int
    names: tuple[str, ...]
    reason: str
    gpus: int | None = None
    gpu_model: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A service as it may be set up; ``blockers`` are why it can't be yet.

    ``attach`` is how its series are known, under the name ``known_as``. ``target`` is decode
    tokens/s per decode instance and ``pd_ratio`` prefill instances per decode instance; what
    nothing tells is None. ``load`` are rates by what they count [1/s].
    """

    slug: str
    known_as: str
    namespace: str
    models: tuple[str, ...]
    presets: tuple[str, ...]
    attach: Attach | None
    way: str
    roles: Mapping[Role, RoleFound]
    untold: RoleFound | None = None
    ttft: Goal | None = None
    tbt: Goal | None = None
    load: Mapping[str, Carried] | None = None
    target: float | None = None
    pd_ratio: float | None = None
    confidence: str = "high"
    problems: tuple[str, ...] = ()
    blockers: tuple[str, ...] = ()
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True, slots=True)
class Detection:
    """All proposals, and sentences about the whole endpoint."""

    proposals: tuple[Proposal, ...]
    told: tuple[str, ...]


def detect(survey: Survey) -> Detection:
    """Return what a survey proposes, the largest services first."""
    figures, gpus = Figures(survey), _gpus(survey)
    groups = _with_frontends(groups_of(survey))
    made = [_proposal(each, survey, figures, gpus) for each in groups]
    made.sort(key=lambda each: (-sum(one.now for one in each.roles.values()), each.slug))
    return Detection(_distinct(made), (*survey.told, *_about(survey, gpus)))


def _with_frontends(groups: Sequence[Group]) -> list[Group]:
    """Join frontends to the services whose requests they see, where labels allow it."""
    fronts = [each for each in groups if _is_frontend(each)]
    found: list[Group] = []
    taken: set[int] = set()
    for group in (each for each in groups if not _is_frontend(each)):
        models = {plain_model(one.model) for one in group.members if one.model}
        joined: list[str] = []
        apart: list[str] = []
        for at, front in enumerate(fronts):
            if models & {plain_model(one.model) for one in front.members}:
                taken.add(at)
                (joined if _shares_label(front, group) else apart).append(front.members[0].preset)
        found.append(replace(group, frontends=tuple(joined), apart=tuple(apart)))
    return [*found, *(front for at, front in enumerate(fronts) if at not in taken)]


def _shares_label(front: Group, group: Group) -> bool:
    attach = group.attach
    return isinstance(attach, ByLabels) and all(
        one.labels.get(attach.service) == group.known_as for one in front.members
    )


def _is_frontend(group: Group) -> bool:
    presets = {one.preset for one in group.members}
    return all(PRESETS[each].speaker is Speaker.FRONTEND for each in presets)


def _distinct(made: Sequence[Proposal]) -> tuple[Proposal, ...]:
    """Give services whose names became the same different ones."""
    taken: set[str] = set()
    found = []
    for each in made:
        names = (each.slug, f"{each.slug}-{slug_of(each.namespace)}")
        numbered = (f"{each.slug[:56]}-{at}" for at in range(2, len(made) + 2))
        slug = next(name for name in (*names, *numbered) if name not in taken)
        taken.add(slug)
        found.append(replace(each, slug=slug[:LONGEST_SLUG]))
    return tuple(found)


def slug_of(text: str) -> str:
    """Return a name that an address may hold."""
    plain = re.sub(r"[^a-z0-9]+", "-", text.rpartition("/")[2].casefold()).strip("-")
    return plain[:LONGEST_SLUG].strip("-") or "service"


@dataclass(frozen=True, slots=True)
class _Gpus:
    """How many GPUs an owner has, and of which model."""

    count: int
    model: str


def _gpus(survey: Survey) -> dict[Key, _Gpus]:
    found: dict[Key, _Gpus] = {}
    for row in survey.gpus:
        pod, other, space, other_space = (row.labels.get(name, "") for name in GPU_OWNER)
        owner = (space, pod) if pod else (other_space, other)
        if owner[1] and not np.isnan(row.values[-1]):
            there = found.get(owner, _Gpus(0, ""))
            count = there.count + int(row.values[-1])
            found[owner] = _Gpus(count, row.labels.get(GPU_MODEL, "") or there.model)
    return found


def _proposal(
    group: Group, survey: Survey, figures: Figures, gpus: Mapping[Key, _Gpus]
) -> Proposal:
    roles = {role: [one for one in group.members if one.role is role] for role in ROLES}
    untold = [one for one in group.members if one.role is None]
    presets = tuple(dict.fromkeys((*(one.preset for one in group.members), *group.frontends)))
    models = tuple(dict.fromkeys(one.model for one in group.members if one.model))
    name = group.known_as or next(iter(models), "") or group.namespace
    base = Proposal(
        slug=slug_of(name),
        known_as=group.known_as,
        namespace=group.namespace,
        models=models,
        presets=presets,
        attach=group.attach,
        way=group.way,
        roles={role: _role(mine, gpus) for role, mine in roles.items() if mine},
        untold=_role(untold, gpus) if untold else None,
    )
    measured = _measured(base, group, figures)
    judged = _judged(measured, group, survey, gpus)
    return replace(judged, evidence=_evidence(judged, group, survey))


def _counts(members: Sequence[Member]) -> Floats:
    """Return how many of them were there at each look (Q,)."""
    seen = np.isfinite(np.stack([one.seen for one in members]))
    counts: Floats = seen.sum(axis=0).astype(np.float64)
    return counts


def _role(members: Sequence[Member], gpus: Mapping[Key, _Gpus]) -> RoleFound:
    counts = _counts(members)
    there = counts[counts > 0]
    owned = [gpus[one.key] for one in members if one.key in gpus]
    models = sorted({each.model for each in owned if each.model})
    return RoleFound(
        now=int(counts[-1]),
        least=int(there.min()) if there.size else 0,
        most=int(counts.max()),
        names=tuple(one.pod or one.key[1] for one in members[:MOST_NAMES]),
        reason=members[0].reason,
        gpus=int(np.median([each.count for each in owned])) if owned else None,
        gpu_model=models[0] if models else "",
    )


def _rows(members: Iterable[Member], figures: Figures, what: str) -> list[Row]:
    return [row for one in members for row in figures.rows(one, what)]


def _measured(base: Proposal, group: Group, figures: Figures) -> Proposal:
    """Return the proposal with goals, load, target and ratio."""
    members = {role: [one for one in group.members if one.role is role] for role in ROLES}
    # Where nobody tells a role, what was counted stands for both.
    prefill = members[Role.PREFILL] or list(group.members)
    decode = members[Role.DECODE] or list(group.members)
    asked = ((TTFT, prefill, members[Role.DECODE]), (TBT, decode, members[Role.PREFILL]))
    hourly = {
        what: quantile_of(_rows(mine, figures, what) or figures.together(mine, others, what))
        for what, mine, others in asked
    }
    goals = {what: goal_of(values) for what, values in hourly.items() if values is not None}
    rates = {
        REQUESTS: summed(_rows(prefill, figures, REQUESTS)),
        PREFILLED: summed(_rows(prefill, figures, PREFILLED)),
        OUTPUT: summed(_rows(decode, figures, OUTPUT)),
    }
    load = {what: found for what, each in rates.items() if (found := carried(each))}
    output = rates[OUTPUT]
    target = None
    if output is not None and members[Role.DECODE]:
        kept = np.ones(output.shape, dtype=np.bool_)
        for what, goal in goals.items():
            values = hourly[what]
            if goal and values is not None:
                kept &= ~(values > goal.value_s)
        target = target_of(output, _hourly(_counts(members[Role.DECODE]), output.size), kept)
    pairs = [_counts(members[role]) for role in ROLES if members[role]]
    return replace(
        base,
        ttft=goals.get(TTFT),
        tbt=goals.get(TBT),
        load=load,
        target=target,
        pd_ratio=ratio_of(*pairs) if len(pairs) == len(ROLES) else None,
    )


def _hourly(counts: Floats, hours: int) -> Floats:
    """Return the mean instances of each hour (T,) from looks each quarter, the newest last."""
    per = HOUR_S // QUARTER_S
    found = np.full(hours, np.nan)
    for at in range(hours):
        end = counts.size - per * at
        if end > 0:
            found[hours - 1 - at] = counts[max(end - per, 0) : end].mean()
    known: Floats = np.nan_to_num(found)
    return known


def _judged(base: Proposal, group: Group, survey: Survey, gpus: Mapping[Key, _Gpus]) -> Proposal:
    """Return the proposal with its problems, what keeps it from being set up, and confidence."""
    blockers = tuple(_blockers(base))
    problems = [*_one_role(base), *_odd(base), *_apart(group), *_thin(base, group, survey)]
    presets = base.presets
    if any(one.key in gpus for one in group.members):
        if isinstance(base.attach, ByInfo | ByPod):
            presets = (*presets, DCGM)
        else:
            problems.append(
                "GPU figures can't be joined to it: its GPUs are known by pod. Let this Prometheus"
                " scrape /metrics of the controller, which says what pods are of it."
            )
    elif gpus and base.roles:
        problems.append("DCGM exporters name none of its pods: GPU figures are of nobody.")
    if DCGM in presets and SM_ACTIVE not in survey.names:
        problems.append(ENABLE_SM)
    confidence = "low" if blockers else "medium" if problems else "high"
    return replace(
        base,
        presets=presets,
        problems=tuple(problems),
        blockers=blockers,
        confidence=confidence,
    )


def _blockers(base: Proposal) -> Iterable[str]:
    if base.untold and not base.roles:
        count = plural(max(base.untold.now, base.untold.most), "instance")
        frontends = [each for each in base.presets if PRESETS[each].speaker is Speaker.FRONTEND]
        if "both phases" in base.untold.reason or "itself" in base.untold.reason or frontends:
            yield (
                f"{count} for both phases in one: a service here has instances of each role."
                " Start them apart, or leave them alone."
            )
        else:
            yield f"{count} whose role nobody tells: add a label role at the scrape, as below."
    elif base.attach is None:
        yield "No label tells its roles, only what engines do: add a label role, as below."


def _one_role(base: Proposal) -> Iterable[str]:
    if len(base.roles) == 1:
        (role,) = base.roles
        other = next(each for each in ROLES if each is not role)
        yield f"Only {role} was found: nothing is scaled until {other} is there as well."


def _odd(base: Proposal) -> Iterable[str]:
    engines = [each for each in base.presets if PRESETS[each].speaker is Speaker.ENGINE]
    if len(engines) > 1:
        titles = listed([PRESETS[each].title for each in engines])
        yield f"Two engines in one service: {titles}. Of a figure counts the first that has it."
    if len(base.models) > 1:
        same = len({plain_model(each) for each in base.models}) == 1
        text = "One model under several names" if same else "Several models under one name"
        yield f"{text}: {listed(base.models[:MOST_NAMES])}. It is known by another label."


def _apart(group: Group) -> Iterable[str]:
    for each in group.apart:
        yield (
            f"The {PRESETS[each].title} serves its model, and its series do not name the service:"
            " give them the same labels, and latencies are what users feel."
        )


def _thin(base: Proposal, group: Group, survey: Survey) -> Iterable[str]:
    for preset in dict.fromkeys(one.preset for one in group.members):
        every_s = survey.scrape_s.get(preset, 0.0)
        if every_s * FEWEST_SCRAPES > USUAL_WINDOW_S * 1.1:
            yield (
                f"{PRESETS[preset].title} is scraped every {every_s:.0f} s: {FEWEST_SCRAPES}"
                f" scrapes take {FEWEST_SCRAPES * every_s:.0f} s, so that its figures follow the"
                f" load later than the usual {USUAL_WINDOW_S} s."
            )
    counts = _counts(group.members)
    since_s = (counts.size - 1 - int((counts > 0).argmax())) * QUARTER_S if counts.any() else 0
    if since_s < DAY_S - QUARTER_S:
        yield (
            f"Seen for {duration(since_s)} of 24 h: goals and target are of what happened then."
            if since_s
            else "Seen now and at no look before: goals and target are of less than 15 min."
        )
    missing = [f"no {word}" for word, goal in _goals(base) if goal is None]
    if missing and base.roles:
        said = listed(missing)
        yield f"{said[0].upper()}{said[1:]} was measured: give the goal by hand."


def _goals(base: Proposal) -> Iterable[tuple[str, Goal | None]]:
    return ("TTFT", base.ttft), ("TBT", base.tbt)


def _evidence(base: Proposal, group: Group, survey: Survey) -> tuple[Evidence, ...]:
    titles = listed([PRESETS[each].title for each in base.presets])
    proofs = sorted(
        name for each in base.presets for name in PRESETS[each].proof if name in survey.names
    )
    found = [
        Evidence(f"It is {titles}.", ", ".join(proofs)),
        Evidence(f"It is one service, {base.known_as or base.slug}.", group.why),
    ]
    for role, one in (*base.roles.items(), (None, base.untold)):
        if one is None:
            continue
        word = f"{role}" if role else "role unknown"
        said = f"{plural(one.now, 'instance')} now, {one.least} to {one.most} in 24 h: {word}."
        found.append(Evidence(said, f"{one.reason}; {listed(one.names)}"))
        if one.gpus is not None:
            said = f"{plural(one.gpus, 'GPU')} an instance, {one.gpu_model or 'model untold'}."
            found.append(Evidence(said, f"UUIDs by owner pod and {GPU_MODEL} of DCGM"))
    found += _of_figures(base, survey)
    return tuple(found)


def _of_figures(base: Proposal, survey: Survey) -> Iterable[Evidence]:
    leaves = asked_of(PRESETS[base.presets[0]])

    def metric(what: str) -> str:
        return leaves[what].names[0] if what in leaves else ""

    for word, what, goal in (("TTFT", TTFT, base.ttft), ("TBT", TBT, base.tbt)):
        if goal:
            yield Evidence(f"{word} p95 {goal.value_s:g} s.", f"{metric(what)}: {goal.text}")
    for what, each in (base.load or {}).items():
        said = f"{_WORDS[what]}: {each.peak:,.4g}/s at most, {each.mean:,.4g}/s on average."
        yield Evidence(said, f"rate of {metric(what)} over {duration(survey.over_s)} each hour")
    if base.target:
        said = f"{base.target:g} tokens/s for each decode instance."
        yield Evidence(said, "the most of an hour that kept both goals, by instances then")
    if base.pd_ratio:
        said = f"P/D ratio {base.pd_ratio:g}: prefill instances for each decode instance."
        yield Evidence(said, "median of the counts each 15 min")


_WORDS: Final[Mapping[str, str]] = {
    REQUESTS: "Requests",
    PREFILLED: "Prompt tokens",
    OUTPUT: "Generated tokens",
}


def _about(survey: Survey, gpus: Mapping[Key, _Gpus]) -> Iterable[str]:
    if not survey.instances:
        names = listed([preset.title for preset in PRESETS.values()])
        yield f"It has no metric of an engine that is known here ({names}) in the last minutes."
    if survey.gpus and not gpus:
        yield (
            "DCGM exporters name no owner of a GPU: run them in the cluster with"
            " DCGM_EXPORTER_KUBERNETES=true."
        )


def highest(counts: int) -> int:
    """Return a ceiling to begin with, twice the most that was seen."""
    return max(2, math.ceil(2 * counts))


SNIPPET: Final = """\
# In the scrape config of the engines; take the label of your pods that has the role.
relabel_configs:
  - source_labels: [__meta_kubernetes_pod_label_app]
    target_label: service
  - source_labels: [__meta_kubernetes_pod_label_role]
    regex: (prefill|decode)
    target_label: role
  - source_labels: [__meta_kubernetes_namespace]
    target_label: namespace
  - source_labels: [__meta_kubernetes_pod_name]
    target_label: pod
"""
"""How series get the labels that tell roles."""
