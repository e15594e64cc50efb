"""What a cluster lets us do: asked right by right, kept with the access, told in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from django.db.models import Q
from django.db.models.functions import Now

from controller.core.kube import preflight, rights
from controller.core.kube.access import Res
from controller.core.kube.errors import KubeError, MissingError
from controller.core.kube.kinds import KINDS, Gate, WorkloadKind
from controller.core.kube.preflight import Check, Found
from controller.core.kube.rights import Right, Used
from controller.models.clock import database_now
from controller.services import people
from inventory.models import ClusterAccess, Service, Workload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from controller.services.people import Person
    from inventory.models import Cluster


class Server(Protocol):
    """What is asked of an API server here."""

    def may(
        self, verb: str, res: Res, namespace: str = "", *, subresource: str = "", name: str = ""
    ) -> bool:
        """Return whether we may."""
        ...

    def account(self) -> str:
        """Return as whom it knows us."""
        ...

    def version(self) -> str:
        """Return its version."""
        ...

    def clock_s(self) -> float | None:
        """Return what its clock shows [s since the epoch]."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked at: rights for these workloads, in these namespaces, for looking or acting.

    Without namespaces rights have to hold in all of them.
    """

    used: Sequence[Used]
    namespaces: Sequence[str] = ()
    acts: bool = False

    @property
    def where(self) -> Sequence[str]:
        """The namespaces to ask about; an empty one is all of them."""
        return self.namespaces or ("",)


@dataclass(frozen=True, slots=True)
class Preflight:
    """What a look found, and as whom the server knows us."""

    checks: tuple[Check, ...]
    account: str = ""

    @property
    def lacking(self) -> tuple[Check, ...]:
        """What is needed and not there."""
        return tuple(check for check in self.checks if check.lacks)

    @property
    def unanswered(self) -> str:
        """Why it could not be asked at all, empty if it could."""
        said = (check.said for check in self.lacking if check.what == "answers")
        return next(said, "")


def asked_of(cluster: Cluster) -> Asked:
    """Return what a cluster has to allow for the workloads that are known in it; three queries."""
    rows = Workload.objects.filter(service__cluster=cluster).order_by("kind", "api", "plural")
    columns = rows.values_list("kind", "api", "plural", "gate").distinct()
    used = [_used(*each) for each in columns]
    access = ClusterAccess.objects.filter(cluster=cluster).values_list("namespaces", flat=True)
    acting = Service.objects.filter(~Q(mode=Service.Mode.OBSERVE), cluster=cluster).exists()
    return Asked(used or rights.usual(), next(iter(access), ()), acts=acting)


def _used(kind: str, api: str, plural: str, gate: str) -> Used:
    about = KINDS[WorkloadKind(kind)]
    res = Res(api or about.api, plural or about.plural)
    return Used(WorkloadKind(kind), res, Gate(gate))


def look(server: Server, asked: Asked) -> Preflight:
    """Ask a server what we may; the first time it does not answer ends it."""
    try:
        version = server.version()
    except KubeError as fault:
        return Preflight((Check("answers", Found.LACKS, fault.text),))
    checks = [Check("answers", Found.OK, f"Kubernetes {version or 'of no version'}.")]
    account = ""
    try:
        account = server.account()
        checks.append(_account(account))
        checks.append(preflight.of_clock(_skew_s(server)))
        checks += _rights(server, asked)
        checks += _excesses(server, asked)
    except MissingError:
        said = "It answers, but not as a Kubernetes API: is this its address?"
        checks.append(Check("rights", Found.LACKS, said))
    except KubeError as fault:
        checks.append(Check("rights", Found.LACKS, fault.text))
    return Preflight(tuple(checks), account)


def note(cluster: Cluster, found: Preflight) -> None:
    """Keep what a look found; it changes nothing of how the cluster is reached."""
    ClusterAccess.objects.filter(cluster=cluster).update(
        checks=[check.plain() for check in found.checks],
        account=found.account[:300],
        checked_at=Now(),
    )


def check(cluster: Cluster, api_of: Callable[[Cluster], Server], *, user: Person) -> Preflight:
    """Look at a cluster and keep what was found. Raises :class:`ForbiddenError`.

    ``api_of`` raises :class:`KubeError` where it can't even be asked.
    """
    people.require(user, people.CONNECT)
    try:
        found = look(api_of(cluster), asked_of(cluster))
    except KubeError as fault:
        found = Preflight((Check("answers", Found.LACKS, fault.text),))
    note(cluster, found)
    return found


def _account(account: str) -> Check:
    if not account:
        return Check("account", Found.UNKNOWN, "It does not tell as whom it knows us.")
    if account == "system:anonymous":
        return Check("account", Found.LACKS, "It does not know us: the token names no account.")
    return Check("account", Found.OK, f"We are {account}.")


def _skew_s(server: Server) -> float | None:
    clock_s = server.clock_s()
    return None if clock_s is None else clock_s - database_now().timestamp()


def _rights(server: Server, asked: Asked) -> Iterator[Check]:
    for right in rights.wanted(asked.used):
        for namespace in ("",) if right.everywhere else asked.where:
            lacking = [verb for verb in right.verbs if not _may(server, right, verb, namespace)]
            where = "" if right.everywhere else namespace or "all namespaces"
            needed = asked.acts or not right.acts
            yield preflight.of_right(right, where, lacking, needed=needed)


def _may(server: Server, right: Right, verb: str, namespace: str) -> bool:
    return server.may(verb, right.res, namespace, subresource=right.subresource)


def _excesses(server: Server, asked: Asked) -> Iterator[Check]:
    for excess in rights.EXCESSES:
        for namespace in ("",) if excess.everywhere else asked.where:
            if server.may(excess.verb, excess.res, namespace, subresource=excess.subresource):
                where = "" if excess.everywhere else namespace or "all namespaces"
                yield preflight.of_excess(excess, where)
                break
