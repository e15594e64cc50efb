"""Workloads of a cluster as they may become a service: which role each has, and its GPUs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from controller.core.kube.kinds import KINDS, WorkloadKind
from controller.core.types import ROLES, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Object = Mapping[str, object]
VENDORS: Final = ("nvidia.com/gpu", "amd.com/gpu")
FRONTENDS: Final = ("frontend", "router", "gateway", "processor", "planner")
"""Components of a group that generate no tokens."""
_SIGNS: Final = {
    Role.PREFILL: re.compile(r"(?<![a-z])(prefill(er)?s?|ctx|context)(?![a-z])|prefillworker"),
    Role.DECODE: re.compile(r"(?<![a-z])(decod(e|er|ing)s?|gen|generation)(?![a-z])|decodeworker"),
}
_WORDS: Final = re.compile(
    r"[-_.]?(prefill(er)?s?|ctx|context|decod(e|er|ing)s?|gen|generation)(?![a-z])[-_.]?"
)
_PURPOSE: Final = re.compile(r"role|component|stage|phase", re.IGNORECASE)
"""Keys of labels that are there to tell it."""
_ENGINES: Final = ("vllm", "sglang", "tensorrt", "trtllm", "dynamo", "lmdeploy")
_SPEC: Final = ("spec", "template", "spec")


@dataclass(frozen=True, slots=True)
class Offer:
    """One object that may hold the instances of a role.

    ``role`` is guessed and ``why`` says by what; ``stem`` is its name without the role. ``gpus``
    are those of one instance, ``None`` where its object does not tell.
    """

    kind: WorkloadKind
    api: str
    plural: str
    namespace: str
    name: str
    part: str = ""
    count: int = 0
    gpus: int | None = None
    role: Role | None = None
    why: str = ""
    stem: str = ""
    image: str = ""
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def key(self) -> str:
        """What addresses and commands call it: ``deployment/prod/chat-decode[/part]``."""
        return "/".join(filter(None, (self.kind.value, self.namespace, self.name, self.part)))

    @property
    def words(self) -> str:
        """What it is called in a sentence."""
        part = f" ({self.part})" if self.part else ""
        return f"{KINDS[self.kind].words} {self.namespace}/{self.name}{part}"

    @property
    def engine(self) -> str:
        """What of known engines its image names."""
        return next((each for each in _ENGINES if each in self.image), "")


@dataclass(frozen=True, slots=True)
class Offered:
    """What may be chosen, and in sentences what could not be listed."""

    offers: tuple[Offer, ...]
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two that belong together by their names."""

    name: str
    prefill: Offer
    decode: Offer


def offers_of(kind: WorkloadKind, api: str, plural: str, obj: Object) -> Iterator[Offer]:
    """Yield what an object offers: itself, or each of its components; nothing if it is odd."""
    name, namespace = _text(obj, "metadata", "name"), _text(obj, "metadata", "namespace")
    if not name or not namespace:
        return
    if kind is WorkloadKind.DYNAMO:
        for part, each in _below(obj, "spec", "services").items():
            if isinstance(each, Mapping) and not any(word in part.lower() for word in FRONTENDS):
                yield _dynamo((api, plural, namespace, name), part, each)
        return
    part = ""
    if kind is WorkloadKind.ROLE_BASED_GROUP:
        part = _text(obj, "spec", "scaleTargetRef", "role")
        name = _text(obj, "spec", "scaleTargetRef", "name")
        if not part or not name:
            return
    labels = {**_labels(obj, "metadata", "labels"), **_labels(obj, "spec", "template", "metadata")}
    role, why = _role(f"{name}-{part}" if part else name, labels)
    yield Offer(
        kind,
        api,
        plural,
        namespace,
        name,
        part,
        count=_whole(_at(obj, "spec", "replicas")) or 0,
        gpus=_gpus(kind, obj),
        role=role,
        why=why,
        stem=name if part else _stem(name),
        image=_image(obj, *_SPEC) or _image(obj, *_LWS_WORKER),
        selector=_labels(obj, "spec", "selector", "matchLabels"),
    )


def pairs(offers: Iterable[Offer]) -> tuple[Pair, ...]:
    """Return those of one namespace and stem of which just one is prefill and one decode."""
    groups: dict[tuple[str, str], list[Offer]] = defaultdict(list)
    for offer in offers:
        groups[offer.namespace, offer.stem].append(offer)
    found = []
    for (_, stem), each in groups.items():
        by_role = {role: [one for one in each if one.role is role] for role in ROLES}
        if all(len(ones) == 1 for ones in by_role.values()):
            (prefill,), (decode,) = by_role[Role.PREFILL], by_role[Role.DECODE]
            found.append(Pair(stem or prefill.namespace, prefill, decode))
    return tuple(sorted(found, key=lambda pair: (pair.name, pair.prefill.namespace)))


_LWS: Final = ("spec", "leaderWorkerTemplate")
_LWS_WORKER: Final = (*_LWS, "workerTemplate", "spec")
_LWS_LEADER: Final = (*_LWS, "leaderTemplate", "spec")


def _dynamo(where: tuple[str, str, str, str], part: str, body: Object) -> Offer:
    api, plural, namespace, name = where
    told = " ".join(_text(body, key) for key in ("subComponentType", "componentType"))
    role, why = _role(f"{part} {told}", {})
    each = _whole(_at(body, "resources", "limits", "gpu"))
    nodes = _whole(_at(body, "multinode", "nodeCount")) or 1
    return Offer(
        WorkloadKind.DYNAMO,
        api,
        plural,
        namespace,
        name,
        part,
        count=_whole(_at(body, "replicas")) or 0,
        gpus=each * nodes if each is not None else None,
        role=role,
        why=why,
        stem=name,
        image=_text(body, "extraPodSpec", "mainContainer", "image"),
    )


def _gpus(kind: WorkloadKind, obj: Object) -> int | None:
    if kind is WorkloadKind.LEADER_WORKER_SET:
        worker = _of_spec(obj, *_LWS_WORKER)
        leader = _of_spec(obj, *_LWS_LEADER)
        size = _whole(_at(obj, *_LWS, "size")) or 1
        if worker is None:
            return None
        return (worker if leader is None else leader) + worker * (size - 1)
    return _of_spec(obj, *_SPEC)


def _of_spec(obj: Object, *path: str) -> int | None:
    """Return the GPUs that the containers of a pod ask for; ``None`` without any containers."""
    containers = [each for each in _list(obj, *path, "containers") if isinstance(each, Mapping)]
    if not containers:
        return None
    asked = 0
    for each in containers:
        counts = (
            _whole(_at(each, "resources", kind, vendor))
            for vendor in VENDORS
            for kind in ("limits", "requests")
        )
        asked += next((count for count in counts if count is not None), 0)
    return asked


def _image(obj: Object, *path: str) -> str:
    containers = [each for each in _list(obj, *path, "containers") if isinstance(each, Mapping)]
    asking = [each for each in containers if _at(each, "resources", "limits")]
    return _text((asking or containers or [{}])[0], "image").lower()


def _role(name: str, labels: Mapping[str, str]) -> tuple[Role | None, str]:
    """Return which role is told, and by what: labels that are for it, the name, other labels."""
    told = {key: found for key, value in labels.items() if (found := _in(value)) is not None}
    named = {key: found for key, found in told.items() if _PURPOSE.search(key)}
    for key, found in named.items():
        return found, f"label {key}={labels[key]}"
    if (by_name := _in(name)) is not None:
        return by_name, f"its name, {name.partition(' ')[0]}"
    for key, found in told.items():
        return found, f"label {key}={labels[key]}"
    return None, ""


def _in(text: str) -> Role | None:
    low = text.lower()
    roles = [role for role, sign in _SIGNS.items() if sign.search(low)]
    return roles[0] if len(roles) == 1 else None


def _stem(name: str) -> str:
    return _WORDS.sub("-", name, count=1).strip("-_.")


def _at(obj: object, *path: str) -> object:
    for key in path:
        obj = obj.get(key) if isinstance(obj, Mapping) else None
    return obj


def _text(obj: Object, *path: str) -> str:
    found = _at(obj, *path)
    return found if isinstance(found, str) else ""


def _below(obj: Object, *path: str) -> Mapping[str, object]:
    found = _at(obj, *path)
    return found if isinstance(found, Mapping) else {}


def _list(obj: Object, *path: str) -> Sequence[object]:
    found = _at(obj, *path)
    return found if isinstance(found, list) else ()


def _labels(obj: Object, *path: str) -> dict[str, str]:
    found = _below(obj, *path)
    found = _below(found, "labels") if path[-1] == "metadata" else found
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _whole(value: object) -> int | None:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    return int(text) if re.fullmatch(r"\d{1,6}", text) else None
