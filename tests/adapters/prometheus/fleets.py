"""Histories of small services for a real Prometheus, one for each thing that can be wrong."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean

from controller.core.readings.attach import Attach, ByInfo, ByLabels
from controller.core.readings.presets import PRESETS, leaves_of
from controller.core.readings.recipe import Fold, Kind, Leaf
from controller.core.types import ROLES, Role
from tests.prometheus import Series, Value, rising

TOKENS = "vllm:generation_tokens_total"
WAITING = "vllm:num_requests_waiting"
BOUNDS = {"0.1": 0.5, "1": 0.75, "+Inf": 1.0}
FOLDS: Mapping[Fold, Callable[[Sequence[float]], float]] = {
    Fold.SUM: sum,
    Fold.MEAN: fmean,
    Fold.MOST: max,
}


def tokens(service: str, instance: str, values: Sequence[Value], **labels: str) -> Series:
    """Return the tokens that one decode engine generated."""
    return Series(
        labels.pop("name", TOKENS),
        {
            "service": service,
            "role": "decode",
            "instance": instance,
            "job": "engines",
            "engine": "0",
            **labels,
        },
        values,
    )


def waiting(service: str, instance: str, value: Value, **labels: str) -> Series:
    """Return a gauge of one decode engine that stays as it is."""
    return tokens(service, instance, [value] * 9, name=WAITING, **labels)


def attach_of(preset: str) -> Attach:
    """Return how a preset's series are told apart here: its own role, a label of ours, a join."""
    if any(leaf.owner for leaf in leaves_of(PRESETS[preset].recipes.values())):
        return ByInfo()
    for label, roles in PRESETS[preset].roles.items():
        return ByLabels(role=label, roles={role: text for text, role in roles.items()})
    return ByLabels()


def exported(preset: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all series of a preset's service: two instances, two of what is kept apart."""
    attach = attach_of(preset)
    made = {}
    for leaf in leaves_of(PRESETS[preset].recipes.values()):
        for role in ROLES if leaf.role is None else (leaf.role,):
            for at in range(4):
                labels = _labels(preset, leaf, role, attach, at)
                for bound in BOUNDS if leaf.kind is Kind.BUCKETS else ("",):
                    key = tuple(sorted({**labels, **({"le": bound} if bound else {})}.items()))
                    rate = (
                        1 + zlib.crc32(repr((leaf.names[0], sorted(labels.items()))).encode()) % 89
                    )
                    made[leaf.names[0], key] = rate * BOUNDS.get(bound, 1.0)
    return made


def _labels(preset: str, leaf: Leaf, role: Role, attach: Attach, at: int) -> dict[str, str]:
    instance, part = f"{role}-{at // 2}", at % 2
    labels = {label: f"{label}-{part}" for label in leaf.apart}
    labels |= {label: _matching(pattern) for label, pattern in leaf.having}
    if isinstance(attach, ByInfo):
        labels |= {"instance": "exporter", leaf.owner[0]: f"{preset}-{instance}"}
        labels[leaf.owner[0].replace("pod", "namespace")] = "llm"
    else:
        labels |= {"instance": instance, "service": preset}
        if isinstance(attach, ByLabels):
            labels[attach.role] = attach.roles[role]
    return {label: text for label, text in labels.items() if text}


def _matching(pattern: str) -> str:
    tries = (pattern, pattern.replace(".*", "compute"), "0", "x")
    return next(each for each in tries if re.fullmatch(pattern, each))


def of_presets() -> Iterator[Series]:
    """Yield the series of a service for each preset, scraped by two jobs, and who is who."""
    kinds = {
        name: leaf.kind
        for preset in PRESETS.values()
        for leaf in leaves_of(preset.recipes.values())
        for name in leaf.names
    }
    for preset in PRESETS:
        for (name, labels), figure in exported(preset).items():
            values = [figure] * 9 if kinds[name] is Kind.GAUGE else rising(figure)
            for job in ("engines", "again"):
                yield Series(name, {**dict(labels), "job": job}, values)
        if isinstance(attach_of(preset), ByInfo):
            yield from (
                info(preset, role, f"{preset}-{role}-{at}") for role in ROLES for at in (0, 1)
            )


def info(service: str, role: str, pod: str) -> Series:
    """Return what the controller itself says of an instance."""
    labels = {"service": service, "role": role, "namespace": "llm", "pod": pod, "group": "g"}
    return Series("heteroscale_instance_info", labels, [1] * 9)


def expected(preset: str, leaf: Leaf, bound: str = "") -> float:
    """Return a leaf of a preset's service, worked out from its series one by one."""
    attach = attach_of(preset)
    by_instance = defaultdict(list)
    seen = set()
    for (name, key), figure in exported(preset).items():
        labels = dict(key)
        instance = labels[leaf.owner[0]] if leaf.owner else labels["instance"]
        role = instance.removeprefix(f"{preset}-").split("-")[0]
        matches = all(re.fullmatch(want, labels.get(label, "")) for label, want in leaf.having)
        if name != leaf.names[0] or labels.get("le", "") != bound or not matches:
            continue
        if leaf.role is None or role == leaf.role:
            one = (instance, *(labels.get(label, "") for label in leaf.apart))
            assert one not in seen, (attach, one)
            seen.add(one)
            by_instance[instance].append(figure)
    return FOLDS[leaf.over]([FOLDS[leaf.within](each) for each in by_instance.values()])


def faulty() -> Iterator[Series]:
    """Yield services of which each has one thing wrong, named after it."""
    yield from (
        tokens("two-engines", "a", rising(rate), engine=at) for at, rate in (("0", 10), ("1", 5))
    )
    yield from (tokens("two-jobs", "a", rising(10), job=job) for job in ("engines", "pods"))
    # 1,000 to 1,600 in 60 s, then a restart: 150 s⁻¹ since would be 40 minutes of traffic.
    yield tokens("restarted", "a", [1000, 1150, 1300, 1450, 1600, 1750, 1900, 150, 300])
    yield tokens("restarted", "b", rising(10))
    yield tokens("half-renamed", "a", rising(10))
    yield tokens("half-renamed", "b", rising(20), name="vllm:generation_tokens_total_v2")
    # b has both names, as releases do that rename.
    for instance, name, rate in (("a", "old", 10), ("b", "old", 20), ("b", "new", 20)):
        for le, share in BOUNDS.items():
            values = rising(rate * share)
            yield tokens("renamed-buckets", instance, values, name=f"{name}_bucket", le=le)
    yield tokens("gap", "a", [*rising(10)[:4], None, None, None, None, None])
    yield tokens("gap", "b", rising(20))
    yield tokens("first-scrape", "a", rising(10))
    yield tokens("first-scrape", "b", [None] * 8 + [5000])
    yield tokens("idle", "a", [1000] * 9)
    for name, value in (("not-a-number", "NaN"), ("infinite", "+Inf")):
        yield waiting(name, "a", 3)
        yield waiting(name, "b", value)
    yield from _elsewhere()
    yield from _leaving()


LOAD = ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc")


def _leaving() -> Iterator[Series]:
    """Yield the gauges of instances that are about to go, each in a pod named after its case."""
    for pod, values in (
        ("idle", (0, 0, 0)),
        ("busy", (2, 1, 0.3)),
        ("only-running", (0, None, 0)),
        ("no-memory", (0, 0, None)),
        ("not-a-number", ("NaN", 0, 0)),
        ("negative", (-1, 0, 0)),
        ("keeps-memory", (0, 0, 0.02)),
        ("dotted", (0, 0, 0)),
    ):
        yield from _load(values, pod=pod, instance=f"{pod}:8000")
    for at, running in (("0", 1), ("1", 2)):
        yield from _load((running, 4, 0.1), pod="two-engines", instance="b:8000", engine=at)
    for port in ("8000", "8001"):
        yield from _load((1, 0, 0), pod="two-ports", instance=f"c:{port}")
    for job in ("engines", "pods"):
        yield from _load((5, 0, 0.1), pod="two-jobs", instance="d:8000", job=job)
    yield from _load((0, 0, 0), pod="stale", instance="e:8000", later_s=-60)
    yield from _load((0, 0, 0), pod="half-stale", instance="f:8000")
    yield from _load((7, 0, 0), pod="half-stale", instance="f:8001", later_s=-60)
    yield from _load((3, 0, 0), instance="without-pod")
    yield from _load((3, 0, 0), pod="joined-leaving-0", namespace="llm", instance="j:8000")
    yield info("leaving", "decode", "joined-leaving-0")
    yield from _load((9, 9, 1), pod="idle", instance="idle:8000", service="staying")


def _load(values: Sequence[Value], *, later_s: int = 0, **labels: str) -> Iterator[Series]:
    usual = {"service": "leaving", "role": "decode", "job": "engines", "engine": "0"}
    for name, value in zip(LOAD, values, strict=True):
        if value is not None:
            yield Series(name, usual | labels, [value] * 9, later_s)


def _elsewhere() -> Iterator[Series]:
    old = waiting("quiet", "a", 7)
    yield Series(old.name, old.labels, old.values, later_s=-120)
    ahead = waiting("ahead", "a", 7)
    yield Series(ahead.name, ahead.labels, [7], later_s=600)
    for at in range(10_000):
        yield Series(WAITING, {"service": f"foreign-{at}", "role": "decode", "instance": "x"}, [5])
    yield waiting("elsewhere", "a", 1, namespace="ours")
    yield waiting("elsewhere", "b", 90, namespace="theirs")
    yield Series(
        WAITING,
        {"namespace": "llm", "pod": "joined-decode-0", "instance": "a", "engine": "0"},
        [4],
    )
    yield Series(
        WAITING,
        {"namespace": "llm", "pod": "joined-decode-1", "instance": "b", "engine": "0"},
        [5],
    )
    yield Series(
        WAITING,
        {"namespace": "llm", "pod": "joined-prefill-0", "instance": "c", "engine": "0"},
        [70],
    )
    yield from (info("joined", role, f"joined-{role}-{at}") for role in ROLES for at in (0, 1))
    # A pod that is told of twice must neither fail the query nor count twice.
    yield info("other", "decode", "joined-decode-1")
