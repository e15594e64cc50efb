"""How series are told apart and what is scraped, as JSON that rows keep and forms fill."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from controller.core.readings.attach import Attach, ByInfo, ByLabels, ByPod
from controller.core.readings.sources import Target
from controller.core.types import ROLES, Role

WAYS: Final = ("labels", "info", "pod")
"""By labels of the series, by ``heteroscale_instance_info``, by the name of the pod."""
MOST_TARGETS: Final = 2000
LONGEST: Final = 300
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*", re.ASCII)
_URL: Final = re.compile(r"https?://[^\s/@]+(/\S*)?", re.ASCII)
_BOTH: Final = "both"


class PlainError(ValueError):
    """What is kept can't be used; ``field`` is what is wrong and the text how to mend it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


def attach_of(plain: object) -> Attach:
    """Return how series are known, from JSON; ``{}`` are the labels ``service`` and ``role``.

    ``{"by": "labels", "service", "role", "roles": {"prefill": value, "decode": value}}``,
    ``{"by": "info", "namespace", "pod"}`` or ``{"by": "pod", "patterns": {"prefill": expression,
    "decode": expression, "both": expression}, "namespace", "pod"}``, each with ``instance``, a
    list of labels, and ``only``, an expression for each further label. What is absent is usual.
    Raises :class:`PlainError` naming the field.
    """
    if not isinstance(plain, Mapping):
        raise PlainError("attach", "Say as an object how series are known.")
    by = plain.get("by", WAYS[0])
    instance = _labels(plain.get("instance", ["instance"]))
    only = _expressions("only", plain.get("only", {}), keys=None)
    match by:
        case "labels":
            usual = {role.value: role.value for role in ROLES}
            given = _expressions("roles", plain.get("roles", usual), keys=frozenset(usual))
            roles = {Role(name): text for name, text in given.items()}
            service, role = _label(plain, "service"), _label(plain, "role")
            return ByLabels(service, role, roles, instance, only)
        case "info":
            return ByInfo(_label(plain, "namespace"), _label(plain, "pod"), instance, only)
        case "pod":
            return ByPod(
                _patterns(plain.get("patterns", {})),
                _label(plain, "namespace"),
                _label(plain, "pod"),
                instance,
                only,
            )
        case _:
            raise PlainError("by", f"Say one of {', '.join(WAYS)}.")


def attach_plain(attach: Attach) -> dict[str, object]:
    """Return the JSON that :func:`attach_of` reads back."""
    common = {"instance": list(attach.instance), "only": dict(attach.only)}
    own: dict[str, object]
    match attach:
        case ByLabels():
            roles = {role.value: text for role, text in attach.roles.items()}
            own = {"by": "labels", "service": attach.service, "role": attach.role, "roles": roles}
        case ByInfo():
            own = {"by": "info", "namespace": attach.namespace, "pod": attach.pod}
        case ByPod():
            patterns = {role or _BOTH: text for role, text in attach.patterns.items()}
            own = {
                "by": "pod",
                "patterns": patterns,
                "namespace": attach.namespace,
                "pod": attach.pod,
            }
    return {**own, **common}


def targets_of(plain: object) -> tuple[Target, ...]:
    """Return the targets of ``[{"url", "instance", "service", "role"}, …]``.

    Without ``instance`` it is what stands in the address between ``//`` and ``/``. Raises
    :class:`PlainError` with the number of the target, from 1.
    """
    if not isinstance(plain, Sequence) or isinstance(plain, str):
        raise PlainError("targets", "Give a list of targets.")
    if len(plain) > MOST_TARGETS:
        raise PlainError("targets", f"{len(plain)} targets are more than {MOST_TARGETS}.")
    found = tuple(_target(at, each) for at, each in enumerate(plain, start=1))
    seen: set[str] = set()
    for at, each in enumerate(found, start=1):
        if each.url in seen:
            raise PlainError("targets", f"Target {at} is there twice: {each.url}.")
        seen.add(each.url)
    return found


def targets_plain(targets: Sequence[Target]) -> list[dict[str, str]]:
    """Return the JSON that :func:`targets_of` reads back."""
    return [
        {
            "url": each.url,
            "instance": each.instance,
            "service": each.service,
            "role": each.role.value if each.role else "",
        }
        for each in targets
    ]


def _target(at: int, plain: object) -> Target:
    if not isinstance(plain, Mapping) or not all(isinstance(v, str) for v in plain.values()):
        raise PlainError("targets", f"Target {at} is no object of texts.")
    url, role, service = plain.get("url", ""), plain.get("role", ""), plain.get("service", "")
    if len(url) > LONGEST or not _URL.fullmatch(url):
        said = "has no address like http://10.0.0.7:8000/metrics, without user and password"
        raise PlainError("targets", f"Target {at} {said}.")
    if role and role not in set(Role):
        raise PlainError("targets", f"Target {at}: the role is prefill or decode, not {role!r}.")
    if role and not service:
        raise PlainError("targets", f"Target {at} has a role and no service.")
    instance = plain.get("instance", "") or url.split("//", 1)[1].split("/", 1)[0]
    return Target(url, instance, service, Role(role) if role else None)


def _labels(plain: object) -> tuple[str, ...]:
    if not isinstance(plain, Sequence) or isinstance(plain, str) or not plain:
        raise PlainError("instance", "List the labels that tell instances apart.")
    for each in plain:
        if not isinstance(each, str) or not _LABEL.fullmatch(each):
            raise PlainError("instance", f"{each!r} is no name of a label.")
    return tuple(plain)


def _label(plain: Mapping[object, object], name: str) -> str:
    given = plain.get(name, name)
    if not isinstance(given, str) or not _LABEL.fullmatch(given):
        raise PlainError(name, f"{given!r} is no name of a label.")
    return given


def _expressions(field: str, plain: object, *, keys: frozenset[str] | None) -> dict[str, str]:
    if not isinstance(plain, Mapping):
        raise PlainError(field, "Give a text for each name.")
    for name, text in plain.items():
        if not isinstance(name, str) or not isinstance(text, str) or len(text) > LONGEST:
            raise PlainError(field, f"Give a text of at most {LONGEST} characters for each name.")
        if keys is not None and name not in keys:
            raise PlainError(field, f"{name!r} is none of {', '.join(sorted(keys))}.")
        if keys is None and not _LABEL.fullmatch(name):
            raise PlainError(field, f"{name!r} is no name of a label.")
    return {name: text for name, text in plain.items() if text}


def _patterns(plain: object) -> dict[Role | None, str]:
    keys = frozenset({*(role.value for role in ROLES), _BOTH})
    found = _expressions("patterns", plain, keys=keys)
    if not found:
        raise PlainError("patterns", "Give an expression for prefill and one for decode.")
    for text in found.values():
        try:
            groups = re.compile(text).groupindex
        except re.error as fault:
            raise PlainError("patterns", f"{text!r} can't be read: {fault}.") from None
        if "service" not in groups:
            raise PlainError("patterns", f"{text!r} has no group (?P<service>…).")
    return {None if name == _BOTH else Role(name): text for name, text in found.items()}
