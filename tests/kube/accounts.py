"""Who asks, and what they may (Kubernetes, "Authenticating" and "Using RBAC Authorization")."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.kube.status import ApiError

ANY = ("*",)


@dataclass(frozen=True)
class Rule:
    """What is allowed; nothing is refused by a rule."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    """Plurals, and subresources as ``deployments/scale``."""
    groups: tuple[str, ...] = ANY
    namespaces: tuple[str, ...] = ()
    """Where; empty: in the whole cluster, as a ClusterRoleBinding gives."""
    names: tuple[str, ...] = ()

    def allows(self, asked: Asked) -> bool:
        """Say whether this rule is enough."""
        return (
            _among(asked.verb, self.verbs)
            and _among(asked.group, self.groups)
            and (
                _among(asked.resource, self.resources)
                or f"*/{asked.subresource}" in self.resources
            )
            and (not self.namespaces or asked.namespace in self.namespaces)
            and (not self.names or asked.name in self.names)
        )


def _among(value: str, listed: tuple[str, ...]) -> bool:
    return "*" in listed or value in listed


@dataclass(frozen=True)
class Asked:
    """An action that may be allowed."""

    verb: str
    group: str = ""
    plural: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}/{self.subresource}" if self.subresource else self.plural


EVERYTHING = Rule(ANY, ANY)


@dataclass(frozen=True)
class Account:
    """A user or service account, known by a bearer token."""

    name: str
    token: str
    rules: tuple[Rule, ...]
    expired: bool = False
    groups: tuple[str, ...] = ("system:authenticated",)

    def may(self, asked: Asked) -> bool:
        return any(rule.allows(asked) for rule in self.rules)


class Accounts:
    """All accounts of a cluster."""

    def __init__(self) -> None:
        self._by_token: dict[str, Account] = {}

    def add(self, name: str, rules: Iterable[Rule], token: str = "") -> str:
        """Make an account, or another token of it; the token."""
        account = Account(name, token or secrets.token_urlsafe(24), tuple(rules))
        self._by_token[account.token] = account
        return account.token

    def limit(self, name: str, rules: Iterable[Rule]) -> None:
        """Give an account other rules; its tokens stay."""
        given = tuple(rules)
        for token, account in list(self._by_token.items()):
            if account.name == name:
                self._by_token[token] = replace(account, rules=given)

    def expire(self, token: str) -> None:
        """Make a token one of yesterday's."""
        self._by_token[token] = replace(self._by_token[token], expired=True)

    def who(self, header: str) -> Account:
        """Return the account behind an Authorization header; raises the 401."""
        way, _, token = header.partition(" ")
        account = self._by_token.get(token.strip()) if way.lower() == "bearer" else None
        if account is None or account.expired:
            raise ApiError(401, "Unauthorized")
        return account


def forbidden(account: Account, asked: Asked) -> ApiError:
    """Word the refusal as the API server does."""
    full = f"{asked.plural}.{asked.group}" if asked.group else asked.plural
    about = f'{full} "{asked.name}"' if asked.name else full
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    text = (
        f'{about} is forbidden: User "{account.name}" cannot {asked.verb} resource '
        f'"{asked.resource}" in API group "{asked.group}" {where}'
    )
    told = {"name": asked.name, "group": asked.group, "kind": asked.plural}
    return ApiError(403, text, details={key: value for key, value in told.items() if value})


def review(account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a review of oneself: what one may, or who one is."""
    if body.get("kind") == "SelfSubjectReview":
        return subject_review(account)
    return access_review(account, body)


def access_review(account: Account, body: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a SelfSubjectAccessReview from the rules that are enforced."""
    spec = body.get("spec") or {}
    wish = spec.get("resourceAttributes") or {}
    asked = Asked(
        verb=wish.get("verb", ""),
        group=wish.get("group", ""),
        plural=wish.get("resource", ""),
        subresource=wish.get("subresource", ""),
        namespace=wish.get("namespace", ""),
        name=wish.get("name", ""),
    )
    allowed = account.may(asked)
    reason = {"reason": f'RBAC: a rule of "{account.name}" allows it'} if allowed else {}
    return {
        "kind": "SelfSubjectAccessReview",
        "apiVersion": "authorization.k8s.io/v1",
        "metadata": {},
        "spec": spec,
        "status": {"allowed": allowed, **reason},
    }


def subject_review(account: Account) -> dict[str, Any]:
    """Answer a SelfSubjectReview: who the server takes one for."""
    return {
        "kind": "SelfSubjectReview",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {},
        "status": {"userInfo": {"username": account.name, "groups": list(account.groups)}},
    }
