"""What one person may do where, read once: for pages that ask it of many things."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from django.db.models import Model, Q
from django.db.models.functions import Now

from controller.models import Grant
from controller.models.scopes import Chain, chain_of
from controller.services import people
from controller.services.accounts import ROLES
from controller.services.people import Person, account_of

RIGHTS: Final[Mapping[str, str]] = {
    people.FREEZE: "freeze automatic change",
    people.RESUME: "resume automatic change",
    people.OVERRIDE: "set, extend and end overrides",
    people.PROPOSE: "propose changes by hand",
    people.APPROVE: "approve and reject changes",
    people.BREAK_GLASS: "let a change through alone",
    people.EDIT_POLICY: "change policies and placement rules",
    people.CORDON: "cordon, drain and return nodes",
    people.EDIT_FLEET: "change the inventory",
    people.EDIT_SOURCES: "change and test where metrics are read",
    people.CONNECT: "connect clusters and check rights there",
    people.SET_UP: "set up services",
    people.CHANGE_MODE: "say what may be done with a service",
    people.BACKTEST: "run backtests",
    people.RULE: "change the rules that approve by themselves",
    people.GRANT: "grant and end roles",
    people.PEOPLE: "lift locks, end sessions and reset second factors of people",
}
"""What a page calls each right."""


@dataclass(frozen=True, slots=True)
class Held:
    """One role within a scope; all of ``scope`` ``None`` is the fleet."""

    role: str
    scope: Chain

    def gives(self, right: str, chain: Chain) -> bool:
        """Return whether it gives a right over what lies in ``chain``."""
        covers = all(
            mine is None or mine == its for mine, its in zip(self.scope, chain, strict=True)
        )
        return covers and right in ROLES.get(self.role, ())

    @property
    def rows(self) -> Q:
        """The rows with a ``service`` inside the scope."""
        region, cluster, service = self.scope
        if region is not None:
            return Q(service__cluster__region=region)
        if cluster is not None:
            return Q(service__cluster=cluster)
        return Q(service=service) if service is not None else ~Q(pk__in=())


class Rights:
    """The rights of a person: those of their groups everywhere, those of grants within a scope.

    Grants are read when they are first asked about, in one query, and then kept.
    """

    def __init__(self, person: Person) -> None:
        self.person = person

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """The roles within a scope; none for the command line and disabled accounts."""
        account = account_of(self.person)
        if account is None or not account.is_active:
            return ()
        rows = Grant.objects.filter(in_force(), user=account).values_list(
            "role", "region", "cluster", "service"
        )
        return tuple(Held(role, Chain(*scope)) for role, *scope in rows)

    def may(self, right: str, about: Model | None = None) -> bool:
        """Return what :func:`people.may` would; ``about`` is read with its cluster."""
        if self.person.has_perm(right):
            return True
        chain = chain_of(about) if self.held else Chain()
        return any(one.gives(right, chain) for one in self.held)

    def somewhere(self, right: str) -> bool:
        """Return whether the person has the right over anything at all."""
        return self.person.has_perm(right) or any(
            right in ROLES.get(one.role, ()) for one in self.held
        )

    def reach(self, right: str) -> Q:
        """Return the rows with a ``service`` that the person has the right over."""
        if self.person.has_perm(right):
            return Q()
        found = Q(pk__in=())
        for one in self.held:
            if right in ROLES.get(one.role, ()):
                found |= one.rows
        return found


def in_force() -> Q:
    """Return the grants that nobody ended and that did not run out."""
    return Q(ended_at=None) & (Q(expires_at=None) | Q(expires_at__gt=Now()))


def read_rights(person: Person) -> Rights:
    """Return what a person may do."""
    return Rights(person)
