"""What a manifest gives: roles and bindings as rules of an account.

Kubernetes, "Using RBAC Authorization", "Role and ClusterRole", "RoleBinding and
ClusterRoleBinding": a ClusterRole that a RoleBinding names counts in its namespace alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.kube.accounts import Rule

Manifest = Mapping[str, Any]


def granted(manifests: Sequence[Manifest]) -> dict[str, list[Rule]]:
    """Return the rules of each service account that a manifest binds roles to."""
    roles = {_key(each): each for each in manifests if each["kind"] in {"Role", "ClusterRole"}}
    found: dict[str, list[Rule]] = {}
    for binding in manifests:
        if binding["kind"] not in {"RoleBinding", "ClusterRoleBinding"}:
            continue
        rules = list(_rules(binding, roles))
        for subject in binding.get("subjects") or ():
            found.setdefault(_name(subject), []).extend(rules)
    return found


def _key(role: Manifest) -> tuple[str, str, str]:
    meta = role["metadata"]
    within = meta.get("namespace", "default") if role["kind"] == "Role" else ""
    return role["kind"], within, meta["name"]


def _name(subject: Manifest) -> str:
    if subject["kind"] == "ServiceAccount":
        return f"system:serviceaccount:{subject['namespace']}:{subject['name']}"
    name: str = subject["name"]
    return name


def _rules(binding: Manifest, roles: Mapping[tuple[str, str, str], Manifest]) -> Iterator[Rule]:
    about, namespace = binding["roleRef"], ""
    if binding["kind"] == "RoleBinding":
        namespace = binding["metadata"].get("namespace", "default")
    within = namespace if about["kind"] == "Role" else ""
    role = roles.get((about["kind"], within, about["name"]))
    if role is None:
        raise LookupError(f"{about['kind']} {about['name']} is bound and not there")
    for rule in _of(role.get("rules") or ()):
        yield replace(rule, namespaces=(namespace,)) if namespace else rule


def _of(rules: Iterable[Manifest]) -> Iterator[Rule]:
    for each in rules:
        if each.get("resources"):
            yield Rule(
                verbs=tuple(each["verbs"]),
                resources=tuple(each["resources"]),
                groups=tuple(each.get("apiGroups") or ()),
                names=tuple(each.get("resourceNames") or ()),
            )
